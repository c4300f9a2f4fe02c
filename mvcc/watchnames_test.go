package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// The names of any two versions of any branches, found in one walk, are bound to what
// looking each of them up finds: before and after retention and a checkpoint, names of
// many states, names that begin with each other, deleted and never bound.
func TestNamesOfAnyTwoVersions(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 6))
		o := testOptions(newFS(t))
		o.maxLineage = 3
		s := mustOpen(t, o)
		names := []string{"hot", "\x00", "a", "a\x00", "a\x00\x00b", "a\xff"}
		for i := range 40 {
			names = append(names, fmt.Sprintf("n%02d", i))
		}
		branches := []string{MainBranch}
		for i := range 120 {
			if i%20 == 19 {
				name := fmt.Sprint("b", i)
				if err := s.CreateBranch(bg, name, must(s.Head(bg, pick(rng, branches)))(t)); err != nil {
					t.Fatal(err)
				}
				branches = append(branches, name)
			}
			tx := begin(t, s, pick(rng, branches))
			id := tx.NewPod()
			putPod(t, tx, box(id, "x"))
			for _, name := range []string{"hot", pick(rng, names), pick(rng, names)} {
				if rng.IntN(4) == 0 {
					if err := tx.DeleteName(bg, name); err != nil && !errors.Is(err, dberr.ErrNotFound) {
						t.Fatal(err)
					}
				} else {
					setName(t, tx, name, id)
				}
			}
			must(tx.Commit(bg, CommitInfo{}))(t)
			switch {
			case i%40 == 25:
				if err := s.Checkpoint(bg); err != nil {
					t.Fatal(err)
				}
			case i%50 == 49 && seed%2 == 1:
				prune(t, s, 9)
			}
		}
		var kept []*Snapshot
		for v := Version(0); v <= s.published.Load().version; v++ {
			if sn, err := s.At(bg, v); err == nil {
				defer sn.Close()
				kept = append(kept, sn)
			}
		}
		slices.Sort(names)
		for range 200 {
			a, b := pick(rng, kept), pick(rng, kept)
			prefix := pick(rng, []string{"", "", "a", "a\x00", "n1", "hot", "zz"})
			var want, got []NameChange
			for _, name := range names {
				x, _ := a.Root(bg, name)
				y, _ := b.Root(bg, name)
				if strings.HasPrefix(name, prefix) && (x != 0 || y != 0) {
					want = append(want, NameChange{name, x, y})
				}
			}
			if err := s.NamesOfBoth(bg, a, b, prefix, func(c NameChange) { got = append(got, c) }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, versions %d and %d, prefix %q: %v, expected %v", seed, a.version, b.version, prefix, got, want)
			}
			want = slices.DeleteFunc(want, func(c NameChange) bool { return c.Before == c.After })
			if got := must(s.NamesChanged(bg, a, b, prefix))(t); !slices.Equal(got, want) {
				t.Fatalf("seed %d, versions %d and %d, prefix %q: changed %v, expected %v", seed, a.version, b.version, prefix, got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// More names than are read in one view.
func TestNamesOfBothInManyViews(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	const n = 3*nameWalkRows/2 + 7
	tx := begin(t, s, MainBranch)
	id := tx.NewPod()
	putPod(t, tx, box(id, "x"))
	for i := range n {
		setName(t, tx, fmt.Sprintf("n%05d", i), id)
	}
	sn := must(tx.CommitOpen(bg, CommitInfo{}))(t)
	defer sn.Close()
	i := 0
	err := s.NamesOfBoth(bg, sn, sn, "", func(c NameChange) {
		if (c != NameChange{fmt.Sprintf("n%05d", i), id, id}) {
			t.Fatalf("%d: %+v", i, c)
		}
		i++
	})
	if err != nil || i != n {
		t.Fatalf("%d names (%v)", i, err)
	}
}
