package mvcc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// chain is branches of which each begins on the one before.
type chain struct {
	t     *testing.T
	rng   *rand.Rand
	s     *Store
	ids   map[string]pod.ID
	state map[string]string // of the newest branch, by name
	all   []link            // by branch
}

type link struct {
	branch string
	at     Version // its fork
	head   Version
	state  map[string]string
}

// grow makes a branch on the newest one and commits to it.
func (c *chain) grow(names int) {
	c.t.Helper()
	branch, at := MainBranch, Version(0)
	if n := len(c.all); n > 0 {
		branch, at = fmt.Sprint("b", n), c.all[n-1].head
		if err := c.s.CreateBranch(bg, branch, at); err != nil {
			c.t.Fatal(err)
		}
	}
	tx := begin(c.t, c.s, branch)
	c.state = maps.Clone(c.state)
	for range 1 + c.rng.IntN(3) {
		name, text := fmt.Sprint("v", c.rng.IntN(names)), fmt.Sprintf("%0*d", c.rng.IntN(1500), c.rng.IntN(50))
		_, has := c.state[name]
		switch {
		case has && c.rng.IntN(8) == 0:
			if err := tx.DeleteName(bg, name); err != nil {
				c.t.Fatal(err)
			}
			delete(c.state, name)
			continue
		case !has:
			ch := box(tx.NewPod(), text)
			c.ids[name] = ch.ID
			if err := errors.Join(tx.Put(bg, ch), tx.SetName(bg, name, ch.ID)); err != nil {
				c.t.Fatal(err)
			}
		case tx.find(c.ids[name]) == nil:
			if err := tx.Put(bg, boxAgain(c.ids[name], text)); err != nil {
				c.t.Fatal(err)
			}
		default:
			continue
		}
		c.state[name] = text
	}
	head := must(tx.Commit(bg, CommitInfo{}))(c.t)
	c.all = append(c.all, link{branch, at, head, c.state})
}

// check reads the head of one branch.
func (c *chain) check(i int) {
	c.t.Helper()
	l := c.all[i]
	sn := must(c.s.At(bg, l.head))(c.t)
	defer sn.Close()
	if n := len(sn.lineage); n > maxLineage+1 {
		c.t.Fatalf("a read of branch %d looks at %d lines", i, n)
	}
	got := map[string]string{}
	for name, err := range sn.Names(bg, "") {
		if err != nil {
			c.t.Fatal(err)
		}
		got[name] = string(must(sn.Pods(bg, []pod.ID{must(sn.Root(bg, name))(c.t)}))(c.t)[0].Slots[0].Bytes)
	}
	if !maps.Equal(got, l.state) {
		c.t.Fatalf("branch %d shows %v, expected %v", i, got, l.state)
	}
}

// checkLog expects the history of the newest branch to lead through all branches.
func (c *chain) checkLog() {
	c.t.Helper()
	i := len(c.all)
	for e, err := range c.s.Log(bg, c.all[i-1].branch) {
		if err != nil {
			c.t.Fatal(err)
		}
		i--
		if e.Version != c.all[i].head || e.Branch != c.all[i].branch {
			c.t.Fatalf("history has version %d of %s, expected %d of %s", e.Version, e.Branch, c.all[i].head, c.all[i].branch)
		}
		if i > 0 && (len(e.Parents) != 1 || e.Parents[0] != c.all[i].at) {
			c.t.Fatalf("version %d has parents %v, expected %d", e.Version, e.Parents, c.all[i].at)
		}
	}
	if i != 0 {
		c.t.Fatalf("the history ends %d branches early", i)
	}
}

func newChain(t *testing.T, s *Store) *chain {
	return &chain{t: t, rng: rand.New(rand.NewPCG(max(*seedFlag, 1), 31)), s: s, ids: map[string]pod.ID{}, state: map[string]string{}}
}

// Branches on branches on branches, a thousand times: each reads as it should at
// the cost of few lines, its history leads through all, and they survive
// reopening with and without a crash, pruning, salvage and Verify.
func TestBranchesOnBranchesToAnyDepth(t *testing.T) {
	depth := 1000
	if testing.Short() {
		depth = 300
	}
	fs := newFS(t)
	o := testOptions(fs)
	o.CheckpointBytes = 256 << 10
	c := newChain(t, mustOpen(t, o))
	for range depth {
		c.grow(40)
	}
	checkAll := func() {
		t.Helper()
		for i := range c.all {
			if i < 100 || i%17 == 0 || i > depth-40 {
				c.check(i)
			}
		}
		c.checkLog()
		verifyClean(t, c.s)
	}
	checkAll()
	crashed := fs.Crash(vfs.CrashLoseAll, 1)
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	o.FS = crashed
	c.s = mustOpen(t, o)
	checkAll()
	if _, err := c.s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
		t.Fatal(err)
	}
	checkAll() // each version is one that a branch begins at, or a head
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	rep := must(Salvage(bg, SalvageOptions{FS: crashed, From: o.Path, To: "dir/b.pod", Rand: seeded(3)}))(t)
	if !rep.Nothing() {
		t.Fatalf("salvaging what is sound lost %v", rep.Lost)
	}
	o.Path = "dir/b.pod"
	c.s = mustOpen(t, o)
	checkAll()
	c.grow(40)
	checkAll()
	copies := 0
	for _, l := range c.s.lines.Load().byID {
		if l.origin != nil {
			copies++
		}
	}
	if copies == 0 || copies > depth/minCopied {
		t.Errorf("%d of %d branches began with a copy, expected at most every %dth", copies, depth, minCopied)
	}
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is copied is the part that changed, not the database, and each part of it a few times.
func TestDeepBranchesCopyWhatChanged(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	tx := begin(t, s, MainBranch)
	var ids []pod.ID
	for range 5000 {
		ids = append(ids, tx.NewPod())
		if err := tx.Put(bg, box(ids[len(ids)-1], "base")); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.SetName(bg, "x", ids[0]); err != nil {
		t.Fatal(err)
	}
	head := must(tx.Commit(bg, CommitInfo{}))(t)
	const depth = 300
	for i := range depth {
		branch := fmt.Sprint("b", i)
		if err := s.CreateBranch(bg, branch, head); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, s, branch)
		if err := tx.Put(bg, boxAgain(ids[i], "changed")); err != nil {
			t.Fatal(err)
		}
		head = must(tx.Commit(bg, CommitInfo{}))(t)
	}
	if n := s.Stats().PodVersions; n > 5000+8*depth {
		t.Errorf("%d pod versions after 5000 and one on each of %d branches", n, depth)
	}
	verifyClean(t, s)
}

// A transaction may begin at the version that the branch was made at, as on
// other branches, and sees conflicts.
func TestTransactionsBeginWhereADeepBranchBegan(t *testing.T) {
	o := testOptions(newFS(t))
	o.maxLineage = 1
	s := mustOpen(t, o)
	defer s.Close()
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.CreateBranch(bg, fmt.Sprint("b", i), v); err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			if _, v, err = commitBox(t, s, fmt.Sprint("b", i), "x", id, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if h := must(s.Head(bg, "b2"))(t); h == v {
		t.Fatal("no copy was made: the test proves nothing")
	}
	one, two := must(s.Begin(bg, "b2", v))(t), must(s.Begin(bg, "b2", v))(t)
	for _, tx := range []*Tx{one, two} {
		if err := tx.Put(bg, boxAgain(id, "new")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := one.Commit(bg, CommitInfo{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
		t.Fatalf("the second of two commits from the beginning: %v", err)
	}
	for _, base := range []Version{1, 2} {
		if _, err := s.Begin(bg, "b2", base); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("a transaction on b2 from version %d, which is not on it: %v", base, err)
		}
	}
	// Retention keeps where the branch began, though both branches have gone on.
	for _, branch := range []string{"b1", "b2", "b2"} {
		if _, _, err := commitBox(t, s, branch, "x", id, "later"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, v, id); got != "1" {
		t.Errorf("the version that b2 began at reads %q", got)
	}
	tx, err := s.Begin(bg, "b2", v)
	if err != nil {
		t.Errorf("a transaction from where b2 began, after pruning: %v", err)
	} else {
		tx.Rollback()
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if err := s.CreateBranch(ctx, "never", v); !errors.Is(err, context.Canceled) {
		t.Errorf("CreateBranch with a cancelled context: %v", err)
	}
	verifyClean(t, s)
}

// A crash or a full disk at any operation of a deep branch's creation leaves the
// branch wholly there or absent, and everything else as it was.
func TestCrashAtEveryOperationOfADeepBranch(t *testing.T) {
	start := newFS(t)
	o := testOptions(start)
	o.maxLineage, o.streamFrom = 2, 3000
	c := newChain(t, mustOpen(t, o))
	for range 4 {
		c.grow(12)
	}
	for len(c.s.lines.Load().byName[c.all[len(c.all)-1].branch].lineage) != 2 {
		c.grow(12)
	}
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	at := c.all[len(c.all)-1].head
	create := func(fs vfs.FS) error {
		o := o
		o.FS = fs
		s, err := Open(bg, o)
		if err != nil {
			return err
		}
		defer s.Close()
		return s.CreateBranch(bg, "deep", at)
	}
	whole := start.Restart()
	if err := create(whole); err != nil {
		t.Fatal(err)
	}
	there, absent := 0, 0
	check := func(what string, fs *vfs.MemFS, must bool) {
		t.Helper()
		o := o
		o.FS = fs
		s := mustOpen(t, o)
		defer s.Close()
		c.s = s
		head, err := s.Head(bg, "deep")
		switch {
		case err == nil:
			there++
			all, l := c.all, c.all[len(c.all)-1]
			c.all = append(all, link{"deep", at, head, l.state})
			c.check(len(all))
			c.all = all
		case must || !errors.Is(err, dberr.ErrNotFound):
			t.Fatalf("%s: %v", what, err)
		default:
			absent++
		}
		for i := range c.all {
			c.check(i)
		}
		verifyClean(t, s)
	}
	for n := 1; n <= whole.Ops()+1; n++ {
		fs := start.Restart()
		fs.CrashAt(n)
		err := create(fs)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashMix} {
			check(fmt.Sprintf("crash at operation %d, %v", n, kind), fs.Crash(kind, uint64(n*8+i)), err == nil)
		}
	}
	if there == 0 || absent == 0 {
		t.Fatalf("the branch was there %d times and absent %d times", there, absent)
	}
	t.Logf("%d operations, there %d times, absent %d times", whole.Ops(), there, absent)
}
