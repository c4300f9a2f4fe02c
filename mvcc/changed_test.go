package mvcc

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// Of any two kept versions, of one branch or two, before and after retention, Changed
// names the pods that resolve to different numbers, and no others.
func TestChangedPodsOfAnyTwoVersions(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 5))
		o := testOptions(newFS(t))
		o.maxLineage = 2
		if seed%4 > 1 { // most are compared by their sets, not by the commits between
			o.nearCommits = 3
		}
		s := mustOpen(t, o)
		branches := []string{MainBranch}
		var pods []pod.ID
		for i := range 150 {
			if i%25 == 24 {
				name := fmt.Sprint("b", i)
				if err := s.CreateBranch(bg, name, must(s.Head(bg, pick(rng, branches)))(t)); err != nil {
					t.Fatal(err)
				}
				branches = append(branches, name)
			}
			tx := begin(t, s, pick(rng, branches))
			for range 1 + rng.IntN(4) {
				id := pod.ID(0)
				if len(pods) > 0 && rng.IntN(3) > 0 {
					id = pick(rng, pods)
				}
				if ok := id != 0 && must(tx.base.Has(bg, id))(t); !ok {
					id = tx.NewPod()
					pods = append(pods, id)
					if err := tx.Put(bg, box(id, "new")); err != nil {
						t.Fatal(err)
					}
				} else if tx.find(id) == nil {
					if err := tx.Put(bg, boxAgain(id, fmt.Sprint(i))); err != nil {
						t.Fatal(err)
					}
				}
			}
			must(tx.Commit(bg, CommitInfo{}))(t)
			if i%60 == 59 && seed%2 == 1 {
				must(s.Prune(bg, PruneOptions{KeepLast: 4}))(t)
			}
		}
		var kept []*Snapshot
		for v := Version(0); v <= s.published.Load().version; v++ {
			if sn, err := s.At(bg, v); err == nil {
				defer sn.Close()
				kept = append(kept, sn)
			}
		}
		for range 300 {
			a, b := pick(rng, kept), pick(rng, kept)
			var want []pod.ID
			for _, id := range pods {
				x, _ := a.Number(bg, id)
				y, _ := b.Number(bg, id)
				if x != y {
					want = append(want, id)
				}
			}
			slices.Sort(want)
			if got := must(s.Changed(bg, a, b))(t); !slices.Equal(got, want) {
				t.Fatalf("seed %d, versions %d and %d: %v, expected %v", seed, a.version, b.version, got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
