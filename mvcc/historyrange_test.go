package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// A history with branches, deep ones too, and holes of retention: every range of it is
// what filtering all of it gives, and every time finds the newest commit not after it.
// The clock goes back now and then.
func TestRangesAndTimesOfAHistory(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 4))
		o := testOptions(newFS(t))
		o.maxLineage = 2
		now := int64(1_000_000)
		o.Now = func() time.Time { return time.Unix(0, now) }
		s := mustOpen(t, o)
		branches := []string{MainBranch}
		for i := range 120 {
			now += rng.Int64N(1000) - 200
			if i%15 == 14 {
				name, from := fmt.Sprint("b", len(branches)), pick(rng, branches)
				if i%2 == 0 {
					from = branches[len(branches)-1]
				}
				if err := s.CreateBranch(bg, name, must(s.Head(bg, from))(t)); err != nil {
					t.Fatal(err)
				}
				branches = append(branches, name)
				continue
			}
			if _, _, err := commitBox(t, s, pick(rng, branches), fmt.Sprint("x", i), 0, "text"); err != nil {
				t.Fatal(err)
			}
			if i == 80 && seed%2 == 0 {
				must(s.Prune(bg, PruneOptions{KeepLast: 3}))(t)
			}
		}
		for _, branch := range branches {
			checkHistory(t, s, branch, rng)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkHistory(t *testing.T, s *Store, branch string, rng *rand.Rand) {
	t.Helper()
	var all []Commit
	for c, err := range s.Log(bg, branch) {
		if err != nil {
			t.Fatal(err)
		}
		if n := len(all); n > 0 && !c.Time.Before(all[n-1].Time) {
			t.Fatalf("version %d is from %v, the one after from %v", c.Version, c.Time, all[n-1].Time)
		}
		all = append(all, c)
	}
	newest := s.Stats().Versions + 60
	for range 60 {
		r := LogRange{From: Version(rng.IntN(int(newest))), To: Version(rng.IntN(int(newest))), Limit: rng.IntN(4) * rng.IntN(5), Reverse: rng.IntN(2) == 0}
		var want []Version
		for _, c := range all {
			if c.Version >= r.From && (r.To == 0 || c.Version <= r.To) {
				want = append(want, c.Version)
			}
		}
		if r.Reverse {
			slices.Reverse(want)
		}
		if r.Limit > 0 {
			want = want[:min(r.Limit, len(want))]
		}
		var got []Version
		for c, err := range s.LogOf(bg, branch, r) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c.Version)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("branch %s, %+v: %v, expected %v", branch, r, got, want)
		}
	}
	for i, c := range all {
		for _, at := range []time.Time{c.Time, c.Time.Add(-1), c.Time.Add(1)} {
			want := Version(0)
			for _, x := range all {
				if !x.Time.After(at) {
					want = x.Version
					break
				}
			}
			sn, err := s.AtTime(bg, branch, at)
			if want == 0 {
				if !errors.Is(err, dberr.ErrNotFound) {
					t.Fatalf("branch %s before its first commit: %v", branch, err)
				}
				continue
			}
			if err != nil || sn.Version() != want {
				t.Fatalf("branch %s, commit %d at %v: %v, %v, expected version %d", branch, i, at, sn, err, want)
			}
			sn.Close()
		}
	}
}
