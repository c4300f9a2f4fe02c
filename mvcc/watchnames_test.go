package mvcc

import (
	"context"
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
// many states, names that begin with each other, deleted and never bound. The index of names,
// made at the beginning, half way or afterwards, finds those that differ and those that are bound
// to given pods.
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
		var pods []pid
		for i := range 120 {
			if i == int(seed%3)*60 {
				indexNames(t, s)
			}
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
			if pods = append(pods, id); rng.IntN(3) == 0 {
				id = 0
				for _, name := range names { // bound again to what it was bound to, or with another name
					if id == 0 || rng.IntN(8) == 0 {
						id, _ = tx.base.Root(bg, name)
					}
				}
				if id == 0 {
					id = pods[len(pods)-1]
				}
			}
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
		indexNames(t, s)
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
			some := []pid{pick(rng, pods), pick(rng, pods), 1 << 40}
			near := slices.Clone(want)
			near = slices.DeleteFunc(near, func(c NameChange) bool { return c.Before == c.After && !slices.Contains(some, c.After) })
			got = nil
			if known, err := s.NamesOf(bg, a, b, prefix, some, func(c NameChange) { got = append(got, c) }); !known || err != nil {
				t.Fatalf("seed %d: the index of names does not know (%v)", seed, err)
			}
			if !slices.Equal(got, near) {
				t.Fatalf("seed %d, versions %d and %d, prefix %q, pods %v: near %v, expected %v", seed, a.version, b.version, prefix, some, got, near)
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

// indexNames has the store make its index of names.
func indexNames(t *testing.T, s *Store) {
	t.Helper()
	if x, err := s.nameIndex(bg); x == nil || err != nil {
		t.Fatalf("no index of names (%v)", err)
	}
}

// What is noted behind the walk of the index of names is put in order when it is much, and what comes
// while that is done, or after, is found too. Where much differs, the index leaves it to a walk.
func TestIndexOfManyNames(t *testing.T) {
	o := testOptions(newFS(t))
	o.MemoryBytes = 64 << 20
	s := mustOpen(t, o)
	defer s.Close()
	rng := rand.New(rand.NewPCG(8, 8))
	var kept []*Snapshot
	var pods []pid
	commit := func(names int) {
		tx := begin(t, s, MainBranch)
		for range names {
			if len(pods) == 0 || rng.IntN(4) > 0 {
				pods = append(pods, tx.NewPod())
				putPod(t, tx, box(pods[len(pods)-1], "x"))
				setName(t, tx, fmt.Sprint("n", rng.IntN(60_000)), pods[len(pods)-1])
			}
		}
		sn := must(tx.CommitOpen(bg, CommitInfo{}))(t)
		t.Cleanup(sn.Close)
		kept = append(kept, sn)
	}
	commit(12_000)
	indexNames(t, s)
	walks := 0
	for i := range 60 {
		commit([]int{1, 30, 700}[i%3])
		from, to := rng.IntN(len(kept)), rng.IntN(len(kept))
		if i%2 == 0 {
			from, to = len(kept)-2, len(kept)-1
		}
		a, b := kept[from], kept[to]
		some := []pid{pick(rng, pods), pick(rng, pods), pods[len(pods)-1]}
		var got, want []NameChange
		err := s.NamesOfBoth(bg, a, b, "", func(c NameChange) {
			if c.Before != c.After || slices.Contains(some, c.After) {
				want = append(want, c)
			}
		})
		known := false
		if err == nil {
			known, err = s.NamesOf(bg, a, b, "", some, func(c NameChange) { got = append(got, c) })
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case !known:
			if walks++; len(want) < 1000 {
				t.Fatalf("step %d: a walk for %d names", i, len(want))
			}
		case !slices.Equal(got, want):
			t.Fatalf("step %d: versions %d and %d: %d names, expected %d", i, a.version, b.version, len(got), len(want))
		}
	}
	x := s.names.Load()
	if walks == 0 || walks > 40 || len(x.base.rows) < 13_000 || len(x.tail.rows) == 0 {
		t.Errorf("%d walks, %d rows in order and %d behind them: not all was tried", walks, len(x.base.rows), len(x.tail.rows))
	}
}

// An index of names that grows beyond its share is dropped; one that a walk finds
// too large is not made. Names that differ are found all the same.
func TestIndexOfNamesIsBounded(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	s.budget.nameBytes = 100 * (indexedNameBytes + 10)
	var kept []*Snapshot
	var id pid
	commit := func(from, to int) {
		tx := begin(t, s, MainBranch)
		if id == 0 {
			id = tx.NewPod()
			putPod(t, tx, box(id, "x"))
		}
		for i := from; i < to; i++ {
			setName(t, tx, fmt.Sprintf("n%05d", i), id)
		}
		sn := must(tx.CommitOpen(bg, CommitInfo{}))(t)
		t.Cleanup(sn.Close)
		kept = append(kept, sn)
	}
	differ := func(want int) {
		t.Helper()
		if list := must(s.NamesChanged(bg, kept[0], kept[len(kept)-1], ""))(t); len(list) != want {
			t.Fatalf("%d names differ, expected %d", len(list), want)
		}
	}
	commit(0, 20)
	indexNames(t, s)
	commit(20, 60)
	differ(40)
	if s.names.Load() == nil {
		t.Fatal("an index of 60 names was dropped")
	}
	commit(60, 120)
	if s.names.Load() != nil {
		t.Fatal("an index of 120 names is kept")
	}
	differ(100)
	if s.names.Load() != nil || !s.manyNames.Load() {
		t.Fatal("an index of 120 names was made")
	}
	commit(120, 130)
	differ(110)
}

// Commits beside the walk are found.
func TestIndexOfNamesBesideCommits(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var first, last *Snapshot
	commit := func(i, n int) {
		tx := begin(t, s, MainBranch)
		id := tx.NewPod()
		putPod(t, tx, box(id, "x"))
		for j := range n {
			setName(t, tx, fmt.Sprintf("%05d-%d", i*7919%4001, j), id)
		}
		sn := must(tx.CommitOpen(bg, CommitInfo{}))(t)
		t.Cleanup(sn.Close)
		if first == nil {
			first = sn
		}
		last = sn
	}
	commit(0, 3000)
	for i := range 60 {
		s.names.Store(nil)
		done := make(chan error)
		go func() {
			_, err := s.nameIndex(bg)
			done <- err
		}()
		for j := range 5 {
			commit(1+5*i+j, 1)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		var got []NameChange
		known := must(s.NamesOf(bg, first, last, "", nil, func(c NameChange) { got = append(got, c) }))(t)
		if !known || len(got) != 5*(i+1) {
			t.Fatalf("round %d: %d names, expected %d (%v)", i, len(got), 5*(i+1), known)
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

// A row of a name that cannot be read is no matter of names with another prefix.
func TestNamesOfAPrefixBesideADamagedOne(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	version := func(name string) Version {
		_, v, err := commitBox(t, s, MainBranch, name, 0, "x")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	first, bad, last := version("a:1"), version("z:1"), version("a:2")
	s.Close()
	spoil(t, mem, string(nameVersionKey(nameKey("z:1"), mainLine, bad)))
	s = mustOpen(t, testOptions(mem))
	defer s.Close()
	a, b := must(s.At(bg, first))(t), must(s.At(bg, last))(t)
	defer a.Close()
	defer b.Close()
	for range 2 {
		if _, err := s.NamesChanged(bg, a, b, ""); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("all names, one of which cannot be read: %v", err)
		}
		list, err := s.NamesChanged(bg, a, b, "a:")
		if err != nil || len(list) != 1 || list[0].Name != "a:2" {
			t.Fatalf("names with a prefix: %v, %v", list, err)
		}
	}
}

// With the index made, too, there is no answer after the end.
func TestNamesOfWhatIsOver(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	_, v, err := commitBox(t, s, MainBranch, "a", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	indexNames(t, s)
	a, b := must(s.At(bg, v))(t), must(s.At(bg, v))(t)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := s.NamesChanged(ctx, a, b, ""); !errors.Is(err, context.Canceled) {
		t.Fatalf("a context that is over: %v", err)
	}
	a.Close()
	b.Close()
	if _, err := s.NamesChanged(bg, a, b, ""); !errors.Is(err, dberr.ErrClosed) {
		t.Fatalf("closed snapshots: %v", err)
	}
}
