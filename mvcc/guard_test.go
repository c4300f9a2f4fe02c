package mvcc

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// podSet is a PodSet that counts how often it is asked.
type podSet struct {
	ids          map[pod.ID]bool
	has, visited int
}

func (s *podSet) Len() int { return len(s.ids) }

func (s *podSet) Has(id pod.ID) bool {
	s.has++
	return s.ids[id]
}

func (s *podSet) All() iter.Seq[pod.ID] {
	return func(yield func(pod.ID) bool) {
		for id := range s.ids {
			s.visited++
			if !yield(id) {
				return
			}
		}
	}
}

// Pods read are validated one by one, or by what was written since the base,
// whichever is less; both find the same.
func TestGuardedPodsConflictHoweverTheyAreLookedUp(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var ids []pod.ID
	for i := range 40 {
		id, _, err := commitBox(t, s, MainBranch, fmt.Sprint("v", i), 0, "new")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	n := 0
	for _, commits := range []int{1, 30} { // against sets of 2 and of 20 pods
		for _, size := range []int{2, 20} {
			for _, hit := range []bool{true, false} {
				set := &podSet{ids: map[pod.ID]bool{}}
				for _, id := range ids[:size] {
					set.ids[id] = true
				}
				tx := begin(t, s, MainBranch)
				base := tx.base.version
				tx.GuardPods(set)
				if err := tx.Put(bg, boxAgain(ids[39], fmt.Sprint(n))); err != nil {
					t.Fatal(err)
				}
				for k := range commits {
					n++
					id := ids[20+k%10]
					if hit && k == 0 {
						id = ids[1]
					}
					if _, _, err := commitBox(t, s, MainBranch, "", id, fmt.Sprint(n)); err != nil {
						t.Fatal(err)
					}
				}
				n++
				_, err := tx.Commit(bg, CommitInfo{})
				what := fmt.Sprintf("%d commits, %d pods, hit=%v", commits, size, hit)
				var c *dberr.ConflictError
				switch {
				case hit && (!errors.As(err, &c) || !slices.Equal(c.Pods, []uint64{uint64(ids[1])}) || c.With != base+1):
					t.Errorf("%s: %v, %+v", what, err, c)
				case !hit && err != nil:
					t.Errorf("%s: %v", what, err)
				}
				if few := commits < size; few != (set.has > 0) || few == (set.visited > 0) {
					t.Errorf("%s: asked %d times, listed %d", what, set.has, set.visited)
				}
			}
		}
	}
}

// The cost of validating a few pods does not grow with what was committed since.
func TestPodsReadAreNotLookedForInTheHistory(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	x, _, _ := commitBox(t, s, MainBranch, "x", 0, "0")
	y, _, _ := commitBox(t, s, MainBranch, "y", 0, "0")
	tx := begin(t, s, MainBranch)
	set := &podSet{ids: map[pod.ID]bool{x: true}}
	tx.GuardPods(set)
	if err := tx.Put(bg, box(tx.NewPod(), "new")); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		if _, _, err := commitBox(t, s, MainBranch, "", y, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
		t.Fatal(err)
	}
	if set.has != 0 || set.visited != 1 {
		t.Fatalf("asked %d times, listed %d", set.has, set.visited)
	}
}

// A range of names that was looked through conflicts with names that come, go or
// are bound anew in it, and with nothing else: as the list of recent changes
// says, and as the index says where the list does not reach back.
func TestRangesOfNamesAreValidated(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for _, n := range []string{"a/1", "a/2", "a/3", "b/1", "a\x00", "a"} {
		if _, _, err := commitBox(t, s, MainBranch, n, 0, n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateBranch(bg, "side", must(s.Head(bg, MainBranch))(t)); err != nil {
		t.Fatal(err)
	}
	ranges := []nameRange{
		{"a/", "", ""}, {"a/", "", "a/2"}, {"a/", "a/2", ""}, {"a/", "a/2", "a/2"}, {"", "", ""},
		{"", "a", "a/2"}, {"c", "", ""}, {"a\x00", "", ""}, {"a/9", "", ""},
	}
	names := []string{"a", "a/", "a/0", "a/1", "a/15", "a/2", "a/3", "a/9", "b", "b/1", "c/1", "a\x00", "a\x00b", "\xff"}
	for _, forgetful := range []bool{false, true} {
		for _, branch := range []string{MainBranch, "side"} {
			for _, r := range ranges {
				for i, name := range names {
					tx := begin(t, s, MainBranch)
					id := tx.NewPod()
					if err := tx.Put(bg, box(id, "x")); err != nil {
						t.Fatal(err)
					}
					tx.GuardNames(r.prefix, r.from, r.to)
					other := begin(t, s, branch)
					_, err := other.base.Root(bg, name)
					if err == nil && i%2 == 0 {
						err = other.DeleteName(bg, name)
					} else {
						id := other.NewPod()
						err = other.Put(bg, box(id, "y"))
						if err == nil {
							err = other.SetName(bg, name, id)
						}
					}
					if err != nil {
						t.Fatal(err)
					}
					if _, err := other.Commit(bg, CommitInfo{}); err != nil {
						t.Fatal(err)
					}
					if forgetful {
						s.seq.renamings.forget(s.seq.counters.version)
					}
					_, err = tx.Commit(bg, CommitInfo{})
					want := branch == MainBranch && r.holds(name)
					var c *dberr.ConflictError
					if want != errors.Is(err, dberr.ErrConflict) || want && (!errors.As(err, &c) || !slices.Equal(c.Names, []string{name})) {
						t.Errorf("forgetful %v, branch %s, range %q, name %q: %v", forgetful, branch, r, name, err)
					}
				}
			}
		}
	}
}

// The list of changes stays bounded, and says when it does not reach back.
func TestRecentRenamingsAreBounded(t *testing.T) {
	var c renamings
	version := Version(0)
	add := func(n int) {
		version++
		names := map[string]pid{}
		for i := range n {
			names[fmt.Sprint(i)] = 1
		}
		c.add(1, version, names)
	}
	for range 3 * maxRenamings {
		add(1)
		if len(c.list) > maxRenamings {
			t.Fatalf("%d changes are kept", len(c.list))
		}
		for _, back := range []Version{0, 1, 100, maxRenamings / 2, maxRenamings} {
			if back > version {
				continue
			}
			if list, ok := c.since(version - back); ok && len(list) != int(back) {
				t.Fatalf("%d changes since %d versions ago", len(list), back)
			} else if !ok && back < maxRenamings/2-1 {
				t.Fatalf("%d versions ago are not known", back)
			}
		}
	}
	add(maxRenamings) // bulk
	if _, ok := c.since(version - 1); ok || len(c.list) != 0 {
		t.Fatal("a bulk change is kept")
	}
	if list, ok := c.since(version); !ok || len(list) != 0 {
		t.Fatal("nothing has changed since the newest version")
	}
	add(maxRenamings / 2)
	add(maxRenamings / 2)
	add(2) // cuts in the midst of a version
	if list, ok := c.since(version - 1); !ok || len(list) != 2 {
		t.Fatalf("%d changes, %v", len(list), ok)
	}
	if list, ok := c.since(version - 3); ok {
		t.Fatalf("%d changes of a version that was cut", len(list))
	}
}

// Names go backward as they go forward, in the page file and in memory, with
// deleted ones among them, on a branch and in old versions.
func TestNamesBackward(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	states := map[Version]map[string]bool{}
	now := map[string]bool{}
	for round := range 60 {
		tx := begin(t, s, MainBranch)
		for range 12 {
			name := strings.Repeat([]string{"a", "b", "\x00", "\xff"}[rng.IntN(4)], rng.IntN(3)) + fmt.Sprint(rng.IntN(150))
			if now[name] && rng.IntN(3) == 0 {
				if err := tx.DeleteName(bg, name); err != nil {
					t.Fatal(err)
				}
				delete(now, name)
				continue
			}
			id := tx.NewPod()
			if err := tx.Put(bg, box(id, name)); err != nil {
				t.Fatal(err)
			}
			if err := tx.SetName(bg, name, id); err != nil {
				t.Fatal(err)
			}
			now[name] = true
		}
		states[must(tx.Commit(bg, CommitInfo{}))(t)] = maps.Clone(now)
		if round%17 == 16 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	for v, names := range states {
		sn := must(s.At(bg, v))(t)
		for _, prefix := range []string{"", "a", "aa", "b1", "\x00", "\xff", "\xff\xff", "zz"} {
			var want, got, forward []string
			for n := range names {
				if strings.HasPrefix(n, prefix) {
					want = append(want, n)
				}
			}
			slices.Sort(want)
			for n, err := range sn.Names(bg, prefix) {
				if err != nil {
					t.Fatal(err)
				}
				forward = append(forward, n)
			}
			for n, err := range sn.NamesBackward(bg, prefix) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, n)
			}
			slices.Reverse(got)
			if !slices.Equal(got, want) || !slices.Equal(forward, want) {
				t.Fatalf("version %d, prefix %q: backward %q, forward %q, want %q", v, prefix, got, forward, want)
			}
		}
		sn.Close()
	}
}

// A transaction that depends on a name collides with whoever binds it anew, also if so much
// was renamed since that the name is looked for in the index.
func TestGuardedNamesConflictHoweverMuchWasRenamed(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "guarded", 0, "first"); err != nil {
		t.Fatal(err)
	}
	for _, others := range []int{0, 1, 2 * fewRenamings} {
		for _, hit := range []bool{true, false} {
			tx := begin(t, s, MainBranch)
			tx.GuardName("guarded")
			if err := tx.Put(bg, box(tx.NewPod(), "mine")); err != nil {
				t.Fatal(err)
			}
			for i := range others {
				if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(others, hit, i), 0, "other"); err != nil {
					t.Fatal(err)
				}
			}
			if hit {
				other := begin(t, s, MainBranch)
				if err := other.RebindName(bg, "guarded"); err != nil {
					t.Fatal(err)
				}
				must(other.Commit(bg, CommitInfo{}))(t)
			}
			if _, err := tx.Commit(bg, CommitInfo{}); errors.Is(err, dberr.ErrConflict) != hit {
				t.Errorf("%d other names, bound anew: %v: %v", others, hit, err)
			}
		}
	}
}

// Whether somebody wrote what a transaction has read or writes is the same wherever the versions lie that were
// committed before its base, and since: in the overlay, in one that a checkpoint writes, or in the page file.
func TestConflictsAreFoundInEachLayer(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	defer func() { s.Close() }()
	const pods = 6
	var ids []pod.ID
	for i := range pods {
		id, _, err := commitBox(t, s, MainBranch, fmt.Sprint("v", i), 0, "new")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := s.CreateBranch(bg, "side", must(s.Head(bg, MainBranch))(t)); err != nil {
		t.Fatal(err)
	}
	type open struct {
		tx     *Tx
		writes pod.ID
		reads  map[pod.ID]bool
		since  map[pod.ID]bool // what others wrote
	}
	branches := []string{MainBranch, "side"}
	running := map[string][]*open{}
	rng := rand.New(rand.NewPCG(31, 32))
	some := func() pod.ID { return ids[rng.IntN(pods)] }
	conflicts, commits, quick := 0, 0, 0
	for n := range 4000 {
		branch := branches[rng.IntN(len(branches))]
		switch what := rng.IntN(20); {
		case what < 8: // begins
			o := &open{tx: begin(t, s, branch), writes: some(), reads: map[pod.ID]bool{some(): true, some(): true}, since: map[pod.ID]bool{}}
			if err := o.tx.Put(bg, boxAgain(o.writes, fmt.Sprint(n))); err != nil {
				t.Fatal(err)
			}
			o.tx.GuardPods(&podSet{ids: o.reads})
			running[branch] = append(running[branch], o)
		case what < 16 && len(running[branch]) > 0:
			i := rng.IntN(len(running[branch]))
			o := running[branch][i]
			running[branch] = slices.Delete(running[branch], i, i+1)
			want := o.since[o.writes]
			for id := range o.reads {
				want = want || o.since[id]
			}
			v, err := s.view()
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range ids {
				same := v.unwritten(o.tx.line.id, id, o.tx.base)
				if same && o.since[id] {
					t.Errorf("step %d: pod %d was written since version %d", n, id, o.tx.base.version)
				} else if same {
					quick++
				}
			}
			if v.close(); t.Failed() {
				return
			}
			if _, err := o.tx.Commit(bg, CommitInfo{}); errors.Is(err, dberr.ErrConflict) != want || err != nil && !want {
				t.Fatalf("step %d: %v, want a conflict: %v", n, err, want)
			} else if want {
				conflicts++
				continue
			}
			commits++
			for _, other := range running[branch] {
				other.since[o.writes] = true
			}
		case what == 16:
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		case what == 17: // what a checkpoint begins with; the next one ends it
			s.freeze()
		case what == 18:
			if _, err := s.Prune(bg, PruneOptions{KeepLast: 3}); err != nil {
				t.Fatal(err)
			}
		case n%10 == 0:
			for b := range running {
				for _, o := range running[b] {
					o.tx.Rollback()
				}
			}
			clear(running)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, testOptions(fs))
		}
	}
	if min(conflicts, commits, quick) < 200 {
		t.Fatalf("%d conflicts, %d commits, %d answers without the page file", conflicts, commits, quick)
	}
	for b := range running {
		for _, o := range running[b] {
			o.tx.Rollback()
		}
	}
	verifyClean(t, s)
}
