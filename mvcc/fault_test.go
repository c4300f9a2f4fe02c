package mvcc

import (
	"errors"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/wal"
)

func TestFailedSyncPoisonsAndReadsGoOn(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, v1, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	fs.FailSync(1)
	if _, _, err := commitBox(t, s, MainBranch, "", id, "two"); !errors.Is(err, dberr.ErrCommitUnknown) {
		t.Fatalf("the commit whose sync failed: %v", err)
	}
	if _, err := s.Begin(bg, MainBranch, v1); !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
		t.Fatalf("a later transaction: %v", err)
	}
	if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a later checkpoint: %v", err)
	}
	if got := read(t, s, v1, id); got != "one" {
		t.Fatalf("read %q", got)
	}
	if h := must(s.Head(bg, MainBranch))(t); h != v1 {
		t.Fatalf("head is %d", h)
	}
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	o.FS = fs.Restart()
	s = mustOpen(t, o)
	h := must(s.Head(bg, MainBranch))(t)
	if h != v1 && h != v1+1 {
		t.Fatalf("head after reopening is %d", h)
	}
	if got := read(t, s, h, id); (got == "one") != (h == v1) {
		t.Fatalf("version %d reads %q", h, got)
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedCheckpointSyncPoisonsAndLosesNothing(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, v1, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	fs.FailSync(1)
	if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
		t.Fatalf("Checkpoint: %v", err)
	}
	if got := read(t, s, v1, id); got != "one" {
		t.Fatalf("read %q", got)
	}
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	for kind := vfs.CrashLoseAll; kind <= vfs.CrashMix; kind++ {
		o.FS = fs.Crash(kind, 1)
		s := mustOpen(t, o)
		if got := read(t, s, v1, id); got != "one" {
			t.Fatalf("read %q", got)
		}
		verifyClean(t, s)
		s.Close()
	}
}

// The second group of three is refused by a full disk: it and the third fail,
// the first stays, and the numbers are given out again.
func TestFullDiskUndoesQueuedCommits(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	slow := &slowSync{FS: fault}
	o := testOptions(slow)
	s := mustOpen(t, o)
	x, v1, err := commitBox(t, s, MainBranch, "x", 0, "x0")
	if err != nil {
		t.Fatal(err)
	}
	y, v2, err := commitBox(t, s, MainBranch, "y", 0, "y0")
	if err != nil {
		t.Fatal(err)
	}
	prepare := func(id pid, text string) *Tx {
		tx := begin(t, s, MainBranch)
		if err := tx.Put(bg, boxAgain(id, text)); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	big := make([]byte, 400000) // more than the log has written ahead
	if _, err := seeded(5).Read(big); err != nil {
		t.Fatal(err)
	}
	a, b := prepare(x, "x1"), prepare(y, string(big))
	c := begin(t, s, MainBranch)
	if err := c.Put(bg, box(c.NewPod(), string(big), pod.Ref{Pod: y})); err != nil {
		t.Fatal(err)
	}
	release := slow.hold()
	defer release()
	ra := commitAsync(a)
	waitQueued(t, s, 1)
	for s.log.Load().Stats().Batches < 2 && !slow.waiting() {
		time.Sleep(time.Millisecond)
	}
	rb := commitAsync(b)
	waitQueued(t, s, 2)
	rc := commitAsync(c)
	waitQueued(t, s, 3)
	fault.Space(0)
	release()
	if o := <-ra; o.err != nil || o.v != v2+1 {
		t.Fatalf("a: %+v", o)
	}
	for _, r := range []chan outcome{rb, rc} {
		if o := <-r; !errors.Is(o.err, dberr.ErrDiskFull) {
			t.Fatalf("a commit on a full disk: %+v", o)
		}
	}
	h := must(s.Head(bg, MainBranch))(t)
	if h != v2+1 {
		t.Fatalf("head is %d, expected %d", h, v2+1)
	}
	before := read(t, s, h, x)
	verifyClean(t, s)
	fault.Heal()
	_, v, err := commitBox(t, s, MainBranch, "", x, "again")
	if err != nil || v != h+1 {
		t.Fatalf("the commit after space returned: version %d, %v; expected %d", v, err, h+1)
	}
	if read(t, s, h, x) != before || read(t, s, v, x) != "again" || read(t, s, v1, x) != "x0" || read(t, s, v, y) != "y0" {
		t.Fatal("versions changed")
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	if read(t, s, v, x) != "again" {
		t.Fatal("the last version changed")
	}
	verifyClean(t, s)
}

func TestFullDiskCheckpointLeavesEverythingAsBefore(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	o := testOptions(fault)
	s := mustOpen(t, o)
	big := make([]byte, 300000)
	if _, err := seeded(2).Read(big); err != nil {
		t.Fatal(err)
	}
	x, v1, err := commitBox(t, s, MainBranch, "x", 0, string(big))
	if err != nil {
		t.Fatal(err)
	}
	fault.FailKind(vfs.OpWrite, vfs.ErrDiskFull, true) // with space alone a checkpoint does not fail (reserve.go)
	for range 2 {
		if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrDiskFull) {
			t.Fatalf("Checkpoint: %v", err)
		}
	}
	if read(t, s, v1, x) != string(big) {
		t.Fatal("the version changed")
	}
	verifyClean(t, s)
	fault.Heal()
	_, v2, err := commitBox(t, s, MainBranch, "", x, "two")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.CheckpointsFailed != 2 || st.Checkpoints != 2 || st.OverlayBytes != 0 {
		t.Fatalf("stats %+v", st)
	}
	if read(t, s, v1, x) != string(big) || read(t, s, v2, x) != "two" {
		t.Fatal("versions changed")
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMissingLogIsAnError(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "x"); err != nil {
		t.Fatal(err)
	}
	image := fs.Crash(vfs.CrashLoseAll, 1)
	o.FS = image
	if err := wal.Remove(image, s.logDir()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(bg, o); !errors.Is(err, dberr.ErrLogMissing) {
		t.Fatalf("Open: %v", err)
	}
}

func TestLogOfAnotherDatabaseIsRefused(t *testing.T) {
	fs := newFS(t)
	var stores []*Store
	for i, path := range []string{"dir/a.pod", "dir/b.pod"} {
		o := testOptions(fs)
		o.Path, o.Rand = path, seeded(uint64(i))
		s := mustOpen(t, o)
		if _, _, err := commitBox(t, s, MainBranch, "x", 0, path); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	image := fs.Crash(vfs.CrashLoseAll, 1)
	if err := wal.Remove(image, "dir/a.pod.wal"); err != nil {
		t.Fatal(err)
	}
	if err := image.Rename("dir/b.pod.wal", "dir/a.pod.wal"); err != nil {
		t.Fatal(err)
	}
	o := testOptions(image)
	if _, err := Open(bg, o); !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("Open: %v", err)
	}
	for _, s := range stores {
		s.Close()
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	crashed := fs.Crash(vfs.CrashLoseAll, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fs := range []*vfs.MemFS{fs, crashed} {
		o.FS, o.ReadOnly = fs, true
		before := fs.Ops()
		s := mustOpen(t, o)
		if got := read(t, s, v, id); got != "one" {
			t.Fatalf("read %q", got)
		}
		if _, err := s.Begin(bg, MainBranch, v); !errors.Is(err, dberr.ErrReadOnly) {
			t.Fatalf("Begin: %v", err)
		}
		if err := s.CreateBranch(bg, "b", v); !errors.Is(err, dberr.ErrReadOnly) {
			t.Fatalf("CreateBranch: %v", err)
		}
		if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrReadOnly) {
			t.Fatalf("Checkpoint: %v", err)
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := fs.Ops() - before; n != 0 {
			t.Fatalf("%d write operations", n)
		}
	}
}

func TestUseAfterCloseIsAnError(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	sn := must(s.At(bg, v))(t)
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, boxAgain(id, "two")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
	_, errPods := sn.Pods(bg, []pid{id})
	_, errCommit := tx.Commit(bg, CommitInfo{})
	_, errAt := s.At(bg, v)
	_, errVerify := s.Verify(bg, VerifyOptions{})
	for _, err := range []error{errPods, errCommit, errAt, errVerify, s.Checkpoint(bg)} {
		if !errors.Is(err, dberr.ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
	}
	for _, err := range sn.Names(bg, "") {
		if !errors.Is(err, dberr.ErrClosed) {
			t.Fatalf("Names after Close: %v", err)
		}
	}
	_ = s.Stats()
	sn.Close()
}
