package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

func TestEmptyCommitReturnsItsBase(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, v1, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, boxAgain(id, "one")); err != nil {
		t.Fatal(err)
	}
	if err := tx.SetName(bg, "x", id); err != nil {
		t.Fatal(err)
	}
	if v, err := tx.Commit(bg, CommitInfo{}); v != v1 || err != nil {
		t.Fatalf("commit of nothing new gave %d, %v; expected %d", v, err, v1)
	}
	tx.Rollback()
	if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrClosed) {
		t.Fatalf("a second commit gave %v", err)
	}
}

func TestWritersOfOnePodConflict(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, v1, _ := commitBox(t, s, MainBranch, "x", 0, "one")
	a, b := begin(t, s, MainBranch), begin(t, s, MainBranch)
	for i, tx := range []*Tx{a, b} {
		if err := tx.Put(bg, boxAgain(id, fmt.Sprint("by ", i))); err != nil {
			t.Fatal(err)
		}
	}
	v2 := must(a.Commit(bg, CommitInfo{}))(t)
	_, err := b.Commit(bg, CommitInfo{})
	var c *dberr.ConflictError
	if !errors.As(err, &c) || c.Base != v1 || c.With != v2 || !slices.Equal(c.Pods, []uint64{uint64(id)}) {
		t.Fatalf("the second writer got %v (%+v)", err, c)
	}
	if got := read(t, s, v2, id); got != "by 0" {
		t.Fatalf("pod is %q", got)
	}
	if s.Stats().Conflicts != 1 {
		t.Fatal("the conflict was not counted")
	}
}

func TestGuardedPodConflicts(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	x, _, _ := commitBox(t, s, MainBranch, "x", 0, "x")
	y, _, _ := commitBox(t, s, MainBranch, "y", 0, "y")
	for _, guarded := range []bool{true, false} {
		tx := begin(t, s, MainBranch)
		if guarded {
			tx.Guard(func(id pod.ID) bool { return id == y })
		}
		text := fmt.Sprint(guarded)
		if err := tx.Put(bg, boxAgain(x, text)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := commitBox(t, s, MainBranch, "", y, text); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(bg, CommitInfo{}); errors.Is(err, dberr.ErrConflict) != guarded {
			t.Fatalf("guarded=%v: %v", guarded, err)
		}
	}
}

// slowSync lets a test hold the log's sync, so that commits queue behind it.
type slowSync struct {
	vfs.FS
	mu   sync.Mutex
	held chan struct{}
	wait int // syncs that are held
}

func (f *slowSync) waiting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wait > 0
}

type slowFile struct {
	vfs.File
	fs *slowSync
}

func (f *slowSync) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	if err == nil && strings.Contains(name, ".wal/") {
		file = &slowFile{file, f}
	}
	return file, err
}

func (f *slowFile) SyncData() error {
	f.fs.mu.Lock()
	held := f.fs.held
	if held != nil {
		f.fs.wait++
	}
	f.fs.mu.Unlock()
	if held != nil {
		<-held
	}
	return f.File.SyncData()
}

func (f *slowSync) hold() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	held := make(chan struct{})
	f.held = held
	return sync.OnceFunc(func() {
		f.mu.Lock()
		f.held = nil
		f.mu.Unlock()
		close(held)
	})
}

type outcome struct {
	v   Version
	err error
}

func commitAsync(tx *Tx) chan outcome {
	c := make(chan outcome, 1)
	go func() {
		v, err := tx.Commit(bg, CommitInfo{})
		c <- outcome{v, err}
	}()
	return c
}

// waitQueued waits until n commits are sequenced and not durable.
func waitQueued(t *testing.T, s *Store, n int) {
	t.Helper()
	for range 5000 {
		if err := s.seq.acquire(bg); err != nil {
			t.Fatal(err)
		}
		s.seq.reap()
		got := len(s.seq.queue)
		s.release()
		if got == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d commits never queued", n)
}

func TestQueuedCommitsAreValidatedAndInvisible(t *testing.T) {
	fs := &slowSync{FS: newFS(t)}
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	x, _, _ := commitBox(t, s, MainBranch, "x", 0, "x0")
	y, v2, _ := commitBox(t, s, MainBranch, "y", 0, "y0")
	first, loser, other, named := begin(t, s, MainBranch), begin(t, s, MainBranch), begin(t, s, MainBranch), begin(t, s, MainBranch)
	put := func(tx *Tx, c *pod.Change) {
		t.Helper()
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
	}
	put(first, boxAgain(x, "x1"))
	if err := first.SetName(bg, "z", x); err != nil {
		t.Fatal(err)
	}
	put(loser, boxAgain(x, "x2"))
	put(other, boxAgain(y, "y1"))
	if err := named.SetName(bg, "z", y); err != nil {
		t.Fatal(err)
	}
	release := fs.hold()
	defer release()
	a := commitAsync(first)
	waitQueued(t, s, 1)
	if _, err := loser.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
		t.Fatalf("a writer of a pod that a queued commit wrote got %v", err)
	}
	if _, err := named.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrConflict) {
		t.Fatalf("a writer of a name that a queued commit wrote got %v", err)
	}
	b := commitAsync(other)
	waitQueued(t, s, 2)
	if h := must(s.Head(bg, MainBranch))(t); h != v2 {
		t.Fatalf("head is %d before the sync, expected %d", h, v2)
	}
	if _, err := s.At(bg, v2+1); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("a version that is not durable: %v", err)
	}
	release()
	if ra, rb := <-a, <-b; ra.err != nil || rb.err != nil || ra.v != v2+1 || rb.v != v2+2 {
		t.Fatalf("outcomes %+v, %+v", ra, rb)
	}
	if got := read(t, s, v2+2, x) + read(t, s, v2+2, y); got != "x1y1" {
		t.Fatalf("read %q", got)
	}
	verifyClean(t, s)
}

func TestDanglingReferenceIsRefused(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	x, v1, _ := commitBox(t, s, MainBranch, "x", 0, "x")
	for _, r := range []pod.Ref{{Pod: x, Slot: 1}, {Pod: 999}} {
		tx := begin(t, s, MainBranch)
		if err := tx.Put(bg, box(tx.NewPod(), "p", r)); err != nil {
			t.Fatal(err)
		}
		_, err := tx.Commit(bg, CommitInfo{})
		if !errors.Is(err, dberr.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("pod %d, slot %d", r.Pod, r.Slot)) {
			t.Fatalf("reference %v gave %v", r, err)
		}
	}
	tx := begin(t, s, MainBranch)
	if err := tx.SetName(bg, "n", 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("a name without its root gave %v", err)
	}
	if h := must(s.Head(bg, MainBranch))(t); h != v1 {
		t.Fatalf("head is %d", h)
	}
}

func TestConflictNamesTheFirstCommitItCollidesWith(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	x, _, err := commitBox(t, s, MainBranch, "x", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	y, base, err := commitBox(t, s, MainBranch, "y", 0, "y")
	if err != nil {
		t.Fatal(err)
	}
	late := begin(t, s, MainBranch)
	if err := late.Put(bg, boxAgain(x, "late")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []pod.ID{y, x, x, y} {
		if _, _, err := commitBox(t, s, MainBranch, "", id, fmt.Sprint("again ", s.Stats().Versions)); err != nil {
			t.Fatal(err)
		}
	}
	_, err = late.Commit(bg, CommitInfo{})
	var c *dberr.ConflictError
	if !errors.As(err, &c) || c.With != base+2 || c.Base != base || !slices.Equal(c.Pods, []uint64{uint64(x)}) {
		t.Fatalf("%+v, expected a conflict with version %d on pod %d", err, base+2, x)
	}
}

// Whether anybody refers to it, in a pod or by a name, cannot be known where
// commits are under way: so nobody takes an exported slot away.
func TestExportedSlotStaysExported(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	tx := begin(t, s, MainBranch)
	two := box(tx.NewPod(), "two")
	two.Slots = append(two.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte("b")}})
	two.Exports = append(two.Exports, pod.Export{Slot: 1})
	if err := tx.Put(bg, two); err != nil {
		t.Fatal(err)
	}
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	kept := boxAgain(two.ID, "two")
	dropped := boxAgain(two.ID, "two")
	dropped.Drop = []pod.Slot{1}
	whole := boxAgain(two.ID, "other")
	whole.Whole = true
	for what, c := range map[string]*pod.Change{"kept": kept, "dropped": dropped, "written whole without it": whole} {
		tx := begin(t, s, MainBranch)
		err := tx.Put(bg, c)
		if !errors.Is(err, dberr.ErrInvalid) || !strings.Contains(err.Error(), fmt.Sprintf("pod %d no longer exports slot 1", two.ID)) {
			t.Fatalf("slot 1 %s: %v", what, err)
		}
		if got := must(tx.Commit(bg, CommitInfo{}))(t); got != v {
			t.Fatalf("slot 1 %s: version %d", what, got)
		}
	}
	verifyClean(t, s)
}

func TestEqualBodiesAreStoredOnce(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	text := string(bytes.Repeat([]byte("0123456789abcdef#"), 300))
	random := make([]byte, 6000)
	if _, err := seeded(3).Read(random); err != nil {
		t.Fatal(err)
	}
	text += string(random)
	var grew []uint64
	for i := range 6 {
		before := s.Stats()
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint("x", i), 0, text); err != nil {
			t.Fatal(err)
		}
		after := s.Stats()
		grew = append(grew, after.LiveBytes-before.LiveBytes)
		if i == 2 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	if st := s.Stats(); st.SharedBodies != 1 || grew[0] < 6000 || slices.Max(grew[1:]) > 64 {
		t.Fatalf("%d shared bodies, growth %v", st.SharedBodies, grew)
	}
	v := s.pin()
	defer v.pv.Close()
	if n := must(v.users(1))(t); n != 6 {
		t.Fatalf("%d users", n)
	}
	verifyClean(t, s)
}

func TestContentCollisionIsNotShared(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	s.contentKey = func([32]byte) contentKey { return contentKey{1} }
	texts := []string{strings.Repeat("a", 2000), strings.Repeat("b", 2000), strings.Repeat("c", 2000)}
	tx := begin(t, s, MainBranch)
	var ids []pod.ID
	for _, text := range texts[:2] { // in one transaction
		ids = append(ids, tx.NewPod())
		if err := tx.Put(bg, box(ids[len(ids)-1], text)); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	id, v, err := commitBox(t, s, MainBranch, "c", 0, texts[2])
	if err != nil {
		t.Fatal(err)
	}
	s.pods.Close() // read from storage
	for i, id := range append(ids, id) {
		if got := read(t, s, v, id); got != texts[i] {
			t.Fatalf("pod %d reads %.3q…, expected %.3q…", id, got, texts[i])
		}
	}
	if st := s.Stats(); st.SharedBodies != 1 {
		t.Fatalf("%d shared bodies", st.SharedBodies)
	}
	verifyClean(t, s)
}

func TestPatchChainsAreShort(t *testing.T) {
	o := testOptions(newFS(t))
	o.MemoryBytes = -1
	s := mustOpen(t, o)
	defer s.Close()
	tx := begin(t, s, MainBranch)
	c := box(tx.NewPod(), "0")
	for i := range 50 {
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i + 1), Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte(strings.Repeat(fmt.Sprint(i), 30))}})
	}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	patches := 0
	for i := range 40 {
		tx := begin(t, s, MainBranch)
		if err := tx.Put(bg, boxAgain(c.ID, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		patches += tx.Written().Patches
		v := must(tx.Commit(bg, CommitInfo{}))(t)
		view := s.pin()
		m, _, err := view.pod(must(s.At(bg, v))(t).lineage, c.ID)
		view.pv.Close()
		if err != nil || m.depth > maxDepth {
			t.Fatalf("chain of %d, %v", m.depth, err)
		}
	}
	if patches < 30 || patches > 40-40/(maxDepth+1) {
		t.Fatalf("%d of 40 versions are patches", patches)
	}
	verifyClean(t, s)
}

func TestPodsOfOneTypeDescriptorHaveOneID(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	desc := []byte("type descriptor")
	lost, kept := begin(t, s, MainBranch), begin(t, s, MainBranch)
	id := must(lost.Type(bg, desc))(t)
	lost.Rollback()
	if again := must(kept.Type(bg, desc))(t); again != id || id != pod.FirstCatalogType {
		t.Fatalf("types %d and %d", id, again)
	}
	if err := kept.Put(bg, box(kept.NewPod(), "x")); err != nil {
		t.Fatal(err)
	}
	v := must(kept.Commit(bg, CommitInfo{}))(t)
	for range 2 {
		tx := begin(t, s, MainBranch)
		if again := must(tx.Type(bg, desc))(t); again != id {
			t.Fatalf("type %d, expected %d", again, id)
		}
		tx.Rollback()
		sn := must(s.At(bg, v))(t)
		if d := must(sn.Type(bg, id))(t); !bytes.Equal(d, desc) {
			t.Fatalf("descriptor %q", d)
		}
		if _, err := sn.Type(bg, id+1); !errors.Is(err, dberr.ErrNotFound) {
			t.Fatalf("unknown type: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
	}
	s.Close()
}

func TestCancelledCommitLeavesNothing(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), "x")); err != nil {
		t.Fatal(err)
	}
	if err := s.seq.acquire(bg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(bg, 10*time.Millisecond)
	defer cancel()
	if _, err := tx.Commit(ctx, CommitInfo{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("commit: %v", err)
	}
	s.release()
	if _, v, err := commitBox(t, s, MainBranch, "y", 0, "y"); v != 1 || err != nil {
		t.Fatalf("the next commit: %d, %v", v, err)
	}
}

func TestLogYieldsNewestFirstThroughForks(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for i := range 3 {
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), 0, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateBranch(bg, "b", 2); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateBranch(bg, "b", 2); !errors.Is(err, dberr.ErrBranchExists) {
		t.Fatalf("the branch exists: %v", err)
	}
	if _, v, err := commitBox(t, s, "b", "b", 0, "x"); v != 4 || err != nil {
		t.Fatal(v, err)
	}
	var got []Version
	var last time.Time
	for c, err := range s.Log(bg, "b") {
		if err != nil {
			t.Fatal(err)
		}
		if !last.IsZero() && !c.Time.Before(last) {
			t.Fatalf("time of %d is not before its child's", c.Version)
		}
		last = c.Time
		got = append(got, c.Version)
	}
	if !slices.Equal(got, []Version{4, 2, 1}) {
		t.Fatalf("log of b: %v", got)
	}
	for _, err := range s.Log(bg, "nowhere") {
		if !errors.Is(err, dberr.ErrNotFound) {
			t.Fatalf("log of no branch: %v", err)
		}
	}
	if _, err := s.Begin(bg, "b", 3); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("a base on another line: %v", err)
	}
}

func TestHugeCommitIsOneGroup(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	tx := begin(t, s, MainBranch)
	big := make([]byte, 3<<20)
	if _, err := seeded(1).Read(big); err != nil {
		t.Fatal(err)
	}
	id := tx.NewPod()
	if err := tx.Put(bg, box(id, string(big))); err != nil {
		t.Fatal(err)
	}
	for i := range 10000 { // more ids than a chunk
		if err := tx.Put(bg, box(tx.NewPod(), fmt.Sprint(i), pod.Ref{Pod: id})); err != nil {
			t.Fatal(err)
		}
	}
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	crashed := o
	crashed.FS = o.FS.(*vfs.MemFS).Crash(vfs.CrashLoseAll, 1)
	for _, s := range []*Store{s, mustOpen(t, crashed)} {
		if got := read(t, s, v, id); got != string(big) {
			t.Fatal("the big pod is damaged")
		}
		if rep := verifyClean(t, s); rep.PodVersions != 10001 || rep.References != 10000 {
			t.Fatalf("report %+v", rep)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
