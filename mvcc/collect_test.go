package mvcc

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// commitPods commits changes and names on main.
func commitPods(t testing.TB, s *Store, fill func(tx *Tx)) Version {
	t.Helper()
	tx := begin(t, s, MainBranch)
	fill(tx)
	return must(tx.Commit(bg, CommitInfo{}))(t)
}

func putPod(t testing.TB, tx *Tx, c *pod.Change) {
	t.Helper()
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
}

func setName(t testing.TB, tx *Tx, name string, id pod.ID) {
	t.Helper()
	if err := tx.SetName(bg, name, id); err != nil {
		t.Fatal(err)
	}
}

func to(id pod.ID) pod.Ref { return pod.Ref{Pod: id} }

// chainOf commits x → a → b → c, and d alone under y.
func chainOf(t testing.TB, s *Store) (a, b, c, d pod.ID) {
	t.Helper()
	commitPods(t, s, func(tx *Tx) {
		a, b, c, d = tx.NewPod(), tx.NewPod(), tx.NewPod(), tx.NewPod()
		putPod(t, tx, box(a, "a", to(b)))
		putPod(t, tx, box(b, "b", to(c)))
		putPod(t, tx, box(c, "c"))
		putPod(t, tx, box(d, "d"))
		setName(t, tx, "x", a)
		setName(t, tx, "y", d)
	})
	return a, b, c, d
}

func has(t testing.TB, s *Store, v Version, id pod.ID) bool {
	t.Helper()
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	return must(sn.Has(bg, id))(t)
}

func collectAll(t testing.TB, s *Store) CollectReport {
	t.Helper()
	rep := must(s.Collect(bg, CollectOptions{Branch: MainBranch}))(t)
	if v := verifyClean(t, s); v.Unreachable+v.UnreachableSlots != 0 && rep.Spared == 0 {
		t.Fatalf("after %+v there are %d unreachable pods and %d slots", rep, v.Unreachable, v.UnreachableSlots)
	}
	return rep
}

func TestCollectTakesAwayWhatNoVariableReaches(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	a, b, c, d := chainOf(t, s)
	if rep := collectAll(t, s); rep.Pods+rep.Commits != 0 {
		t.Fatalf("collected %+v of what is all reached", rep)
	}
	before := commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	if rep := verifyClean(t, s); rep.Unreachable != 2 {
		t.Fatalf("Verify counts %d unreachable pods, expected 2", rep.Unreachable)
	}
	dry := must(s.Collect(bg, CollectOptions{Branch: MainBranch, DryRun: true}))(t)
	rep := collectAll(t, s)
	if rep.Pods != 2 || rep.Slots != 2 || rep.Commits != 1 || dry.Pods != 2 || dry.Commits != 0 {
		t.Fatalf("collected %+v, dry run %+v", rep, dry)
	}
	for _, id := range []pod.ID{b, c} {
		if has(t, s, rep.Head, id) || !has(t, s, before, id) {
			t.Fatalf("pod %d is in the new version, or not in the old one", id)
		}
	}
	if !has(t, s, rep.Head, a) || !has(t, s, rep.Head, d) {
		t.Fatal("a live pod is gone")
	}
	if got := read(t, s, before, c); got != "c" {
		t.Fatalf("old version reads %q", got)
	}
	n := 0
	for _, err := range s.Log(bg, MainBranch) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 2 {
		t.Fatalf("Log has %d commits, expected 2: that of the collect is hidden", n)
	}
	if rep := collectAll(t, s); rep.Commits != 0 {
		t.Fatalf("a second collect made commits: %+v", rep)
	}
	if v := must(s.RevertTo(bg, MainBranch, rep.Head, CommitInfo{}))(t); v != rep.Head {
		t.Fatalf("going back to the version of a collect made version %d", v)
	}
	if _, err := s.Revert(bg, MainBranch, rep.Head, CommitInfo{}); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("Revert of a collect: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, testOptions(fs))
	defer s.Close()
	if has(t, s, rep.Head, b) {
		t.Fatal("came back with the next opening")
	}
	verifyClean(t, s)
}

// Two pods that keep each other through slots that nobody else refers to.
func TestCollectIsBySlot(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var p, r pod.ID
	two := func(id pod.ID, ref pod.Ref) *pod.Change { // slot 0 leads nowhere, slot 1 to ref
		c := box(id, "root", ref)
		c.Exports = []pod.Export{{Slot: 0}, {Slot: 1, Edges: pod.EdgeSet{All: true}}}
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte("one")}})
		return c
	}
	commitPods(t, s, func(tx *Tx) {
		p, r = tx.NewPod(), tx.NewPod()
		putPod(t, tx, two(p, to(r)))
		putPod(t, tx, box(r, "r", pod.Ref{Pod: p, Slot: 1}))
		setName(t, tx, "p", p)
	})
	rep := collectAll(t, s)
	if rep.Pods != 1 || rep.Slots != 2 || has(t, s, rep.Head, r) {
		t.Fatalf("collected %+v", rep)
	}
	sn := must(s.At(bg, rep.Head))(t)
	defer sn.Close()
	left := must(sn.Pods(bg, []pod.ID{p}))(t)[0]
	if left.Exported(1) || !left.Exported(0) || len(left.Refs) != 0 {
		t.Fatalf("left is %+v", left)
	}
}

// The triple: what was dropped is referred to again, before and after the collect.
func TestCollectAndReferencesStoredAgain(t *testing.T) {
	open := func() (s *Store, drop func(), a, b, c, d pod.ID) {
		s = mustOpen(t, testOptions(newFS(t)))
		a, b, c, d = chainOf(t, s)
		return s, func() { commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) }) }, a, b, c, d
	}
	t.Run("before the commit of the collect", func(t *testing.T) {
		s, drop, _, b, c, d := open()
		defer s.Close()
		tx := begin(t, s, MainBranch)
		drop()
		again := false
		rep := must(s.Collect(bg, CollectOptions{Branch: MainBranch, Progress: func(p CollectProgress) {
			if p.Step == "sweep" && !again {
				again = true
				putPod(t, tx, boxAgain(d, "D", to(b)))
				must(tx.Commit(bg, CommitInfo{}))(t)
			}
		}}))(t)
		if !again || rep.Pods != 0 || rep.Spared != 2 {
			t.Fatalf("collected %+v", rep)
		}
		head := must(s.Head(bg, MainBranch))(t)
		if !has(t, s, head, b) || !has(t, s, head, c) {
			t.Fatal("what is referred to is gone")
		}
		verifyClean(t, s)
	})
	t.Run("after it", func(t *testing.T) {
		s, drop, _, b, _, d := open()
		defer s.Close()
		tx := begin(t, s, MainBranch)
		drop()
		collectAll(t, s)
		putPod(t, tx, boxAgain(d, "D", to(b)))
		if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
			t.Fatalf("Commit: %v, expected a conflict", err)
		}
		verifyClean(t, s)
	})
	t.Run("bound to a name after it", func(t *testing.T) {
		s, drop, _, b, _, _ := open()
		defer s.Close()
		tx := begin(t, s, MainBranch)
		drop()
		collectAll(t, s)
		setName(t, tx, "z", b)
		if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
			t.Fatalf("Commit: %v, expected a conflict", err)
		}
	})
	t.Run("written after it", func(t *testing.T) {
		s, drop, _, b, c, _ := open()
		defer s.Close()
		tx := begin(t, s, MainBranch)
		drop()
		collectAll(t, s)
		putPod(t, tx, boxAgain(b, "B", to(c)))
		if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
			t.Fatalf("Commit: %v, expected a conflict", err)
		}
	})
	t.Run("read before it", func(t *testing.T) {
		s, drop, _, _, _, d := open()
		defer s.Close()
		tx := begin(t, s, MainBranch)
		drop()
		collectAll(t, s)
		tx.GuardPods(&podSet{ids: map[pod.ID]bool{d: true}})
		putPod(t, tx, boxAgain(d, "D"))
		if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
			t.Fatalf("Commit: %v", err)
		}
	})
}

// A collected pod may come back under its number.
func TestCollectedPodsComeBack(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	a, b, c, _ := chainOf(t, s)
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	collectAll(t, s)
	v := commitPods(t, s, func(tx *Tx) {
		putPod(t, tx, boxAgain(a, "A", to(b)))
		putPod(t, tx, box(b, "B", to(c)))
		putPod(t, tx, box(c, "C"))
	})
	if got := read(t, s, v, c); got != "C" {
		t.Fatalf("reads %q", got)
	}
	verifyClean(t, s)
	must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	verifyClean(t, s)
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	if rep := collectAll(t, s); rep.Pods != 2 {
		t.Fatalf("collected %+v", rep)
	}
}

// Tombstones go when nothing is left that they hide.
func TestTombstonesGo(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	a, _, _, _ := chainOf(t, s)
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	collectAll(t, s)
	again := func() {
		commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")); putPod(t, tx, box(tx.NewPod(), "garbage")) })
		must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
		verifyClean(t, s)
		collectAll(t, s)
	}
	for range 4 {
		again()
	}
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "AA")) })
	must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	collectAll(t, s)
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "AAA")) })
	must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	rep := verifyClean(t, s)
	if n := s.Stats().PodVersions; n != 2 || rep.Pods != 2 {
		t.Fatalf("%d pod versions are left of 2 live pods (%d)", n, rep.Pods)
	}
}

// Salvage keeps what a collect took away as it is: gone in the head, there before.
func TestSalvageAfterCollect(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	a, b, _, _ := chainOf(t, s)
	before := commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	rep := collectAll(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Salvage(bg, SalvageOptions{FS: fs, From: o.Path, To: "dir/b.pod"}); err != nil {
		t.Fatal(err)
	}
	o.Path = "dir/b.pod"
	s = mustOpen(t, o)
	defer s.Close()
	verifyClean(t, s)
	if has(t, s, rep.Head, b) || !has(t, s, before, b) {
		t.Fatal("salvage changed what is there")
	}
}

// A branch has its own head: what is collected on one is there on the other, also
// where a deep lineage is copied.
func TestCollectAndBranches(t *testing.T) {
	o := testOptions(newFS(t))
	o.maxLineage = 2
	s := mustOpen(t, o)
	defer s.Close()
	a, b, _, _ := chainOf(t, s)
	v := commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	from := MainBranch
	for _, name := range []string{"one", "two", "three", "four"} {
		if err := s.CreateBranch(bg, name, v); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, s, name)
		putPod(t, tx, boxAgain(a, name))
		v = must(tx.Commit(bg, CommitInfo{}))(t)
		if name == "two" {
			rep := must(s.Collect(bg, CollectOptions{Branch: name}))(t)
			if v = rep.Head; rep.Pods != 2 || !has(t, s, must(s.Head(bg, from))(t), b) {
				t.Fatalf("collected %+v, or on another branch too", rep)
			}
		}
		verifyClean(t, s)
	}
	if head := must(s.Head(bg, "four"))(t); has(t, s, head, b) {
		t.Fatal("a copy brought back what was collected")
	}
	for _, name := range []string{MainBranch, "one", "two", "three", "four"} {
		must(s.Collect(bg, CollectOptions{Branch: name}))(t)
	}
	if rep := verifyClean(t, s); rep.Unreachable != 0 {
		t.Fatalf("%d pods are unreachable after a collect of each branch", rep.Unreachable)
	}
	must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	verifyClean(t, s)
}

// The budget ends a call, and the next one goes on.
func TestCollectKeepsToItsTime(t *testing.T) {
	o := testOptions(newFS(t))
	var now atomic.Int64
	o.Now = func() time.Time { return time.Unix(1, now.Add(1e6)) }
	s := mustOpen(t, o)
	defer s.Close()
	a, _, _, _ := chainOf(t, s)
	commitPods(t, s, func(tx *Tx) { putPod(t, tx, boxAgain(a, "A")) })
	calls := 1
	for ; ; calls++ {
		rep := must(s.Collect(bg, CollectOptions{Branch: MainBranch, Budget: Budget{Time: time.Nanosecond}}))(t)
		verifyClean(t, s)
		if !rep.More {
			if rep.Pods != 2 {
				t.Fatalf("collected %+v", rep)
			}
			break
		}
	}
	if calls < 3 {
		t.Fatalf("done after %d calls of no time at all", calls)
	}
}
