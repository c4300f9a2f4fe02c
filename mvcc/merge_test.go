package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// commitOn commits something on a branch; merged is the second parent, or 0.
func commitOn(t testing.TB, s *Store, branch string, merged Version) Version {
	t.Helper()
	tx := begin(t, s, branch)
	if err := tx.Put(bg, box(tx.NewPod(), branch)); err != nil {
		t.Fatal(err)
	}
	info := CommitInfo{}
	if merged != 0 {
		info = CommitInfo{Kind: KindMerge, Merged: merged}
	}
	return must(tx.Commit(bg, info))(t)
}

func createBranch(t testing.TB, s *Store, name string, at Version) {
	t.Helper()
	if err := s.CreateBranch(bg, name, at); err != nil {
		t.Fatal(err)
	}
}

func TestMergeBase(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	base := func(a, b, want Version) {
		t.Helper()
		for _, x := range [][2]Version{{a, b}, {b, a}} {
			if got, err := s.MergeBase(bg, x[0], x[1]); err != nil || got != want {
				t.Errorf("base of %d and %d is %d (%v), expected %d", x[0], x[1], got, err, want)
			}
		}
	}
	createBranch(t, s, "empty", 0)
	v1 := commitOn(t, s, "main", 0)
	createBranch(t, s, "b", v1)
	v2 := commitOn(t, s, "main", 0)
	v3 := commitOn(t, s, "b", 0)
	base(v1, v1, v1)
	base(v1, v3, v1)
	base(v2, v3, v1)
	v4 := commitOn(t, s, "main", v3) // b into main
	base(v4, v3, v3)
	v5 := commitOn(t, s, "b", 0)
	base(v4, v5, v3)
	// Criss-cross: each takes the other's version of before.
	v6, v7 := commitOn(t, s, "main", v5), commitOn(t, s, "b", v4)
	base(v6, v7, v5)
	v8 := commitOn(t, s, "empty", 0)
	if _, err := s.MergeBase(bg, v8, v7); !errors.Is(err, dberr.ErrUnrelated) {
		t.Errorf("of unrelated branches: %v", err)
	}
	if _, err := s.MergeBase(bg, v8, 0); !errors.Is(err, dberr.ErrUnrelated) {
		t.Errorf("with the empty database: %v", err)
	}
	c := must(s.Commit(bg, v6))(t)
	if !slices.Equal(c.Parents, []Version{v4, v5}) || c.Kind != KindMerge {
		t.Errorf("%+v", c)
	}
	// While versions are retired they are gone, and their rows are there.
	s.open.retire(0, func(map[Version]bool, Version) *Set {
		gone := &Set{}
		for _, v := range []Version{v2, v3, v4, v5} {
			gone.Add(v)
		}
		return gone
	})
	base(v4, v5, v3)
	base(v6, v1, v1)
	if _, err := s.MergeBase(bg, v6, v8); !errors.Is(err, dberr.ErrUnrelated) {
		t.Errorf("of unrelated branches while versions are retired: %v", err)
	}
	err := s.alone(bg, func(*view) (*group, error) {
		return &group{counters: s.seq.counters, dels: [][]byte{commitKey(v5)}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.MergeBase(bg, v6, v8); !errors.Is(err, dberr.ErrVersionGone) {
		t.Errorf("over a version that is gone: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What the next merge begins at stays, however much is pruned, also when the merge commit is
// retired and its second parent moves to the commit that stands for it.
func TestPruneKeepsWhatWasMerged(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	createBranch(t, s, "b", commitOn(t, s, "main", 0))
	var merged, last Version
	for i := range 12 {
		merged = commitOn(t, s, "b", 0)
		commitOn(t, s, "b", 0)
		commitOn(t, s, "main", merged)
		last = commitOn(t, s, "main", 0)
		if i == 5 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, o)
		}
	}
	head := commitOn(t, s, "b", 0)
	dry := must(s.Prune(bg, PruneOptions{KeepLast: 1, DryRun: true}))(t)
	first := must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	if dry.Versions != first.Versions || first.Versions == 0 {
		t.Errorf("a dry run says %d versions, pruned are %d", dry.Versions, first.Versions)
	}
	for range 3 {
		must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
		if got, err := s.MergeBase(bg, last, head); err != nil || got != merged {
			t.Fatalf("base %d, %v, expected %d", got, err, merged)
		}
		c := must(s.Commit(bg, last))(t)
		if len(c.Parents) != 2 || c.Parents[1] != merged {
			t.Fatalf("%+v, expected to have merged %d", c, merged)
		}
		sn := must(s.At(bg, merged))(t)
		sn.Close()
		r := must(s.Verify(bg, VerifyOptions{Deep: true}))(t)
		if len(r.Problems) > 0 {
			t.Fatal(r.Problems)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
	}
	// Only the newest merged one is left beside heads and where the branch begins.
	if n := s.Stats().Versions; n > 4 {
		t.Errorf("%d versions are left", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// The base is the newest of all common ancestors, which a walk over all parents finds too.
func TestMergeBaseOfRandomHistories(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		s := mustOpen(t, testOptions(newFS(t)))
		ancestors := map[Version]map[Version]bool{0: {}}
		heads := map[string]Version{"main": 0}
		branches := []string{"main"}
		for range 60 {
			b := branches[rng.IntN(len(branches))]
			switch other := branches[rng.IntN(len(branches))]; {
			case rng.IntN(8) == 0 && len(branches) < 6:
				name := fmt.Sprint("b", len(branches))
				createBranch(t, s, name, heads[b])
				branches, heads[name] = append(branches, name), must(s.Head(bg, name))(t)
				if heads[name] != heads[b] { // a copy, which history does not have
					ancestors[heads[name]] = ancestors[heads[b]]
				}
			default:
				merged := Version(0)
				if other != b && rng.IntN(3) == 0 && heads[b] != 0 {
					merged = heads[other]
				}
				v := commitOn(t, s, b, merged)
				all := map[Version]bool{v: true}
				for _, p := range []Version{heads[b], merged} {
					for a := range ancestors[p] {
						all[a] = true
					}
				}
				ancestors[v], heads[b] = all, v
			}
		}
		for _, x := range branches {
			for _, y := range branches {
				want := Version(0)
				for a := range ancestors[heads[x]] {
					if ancestors[heads[y]][a] {
						want = max(want, a)
					}
				}
				got, err := s.MergeBase(bg, heads[x], heads[y])
				if got != want || (want == 0) != errors.Is(err, dberr.ErrUnrelated) {
					t.Fatalf("seed %d: base of %s (%d) and %s (%d) is %d, %v; expected %d", seed, x, heads[x], y, heads[y], got, err, want)
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
