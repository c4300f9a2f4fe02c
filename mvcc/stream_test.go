package mvcc

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// bigTx prepares a transaction that is streamed. Every third pod is like the one
// before it, every fifth too small for a shared body.
func bigTx(t testing.TB, s *Store, seed uint64, pods int) (tx *Tx, ids []pod.ID, texts []string) {
	t.Helper()
	tx = begin(t, s, MainBranch)
	for i := range pods {
		text := randomText(seed<<20+uint64(i), 8000)
		switch {
		case i%5 == 4:
			text = text[:200]
		case i%3 == 2:
			text = texts[i-1]
		}
		id := tx.NewPod()
		if err := tx.Put(bg, box(id, text)); err != nil {
			t.Fatal(err)
		}
		ids, texts = append(ids, id), append(texts, text)
	}
	if tx.stream == nil {
		t.Fatal("the transaction is not streamed")
	}
	return tx, ids, texts
}

func readAll(t testing.TB, s *Store, v Version, ids []pod.ID, texts []string) {
	t.Helper()
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	for i, p := range must(sn.Pods(bg, ids))(t) {
		if string(p.Slots[0].Bytes) != texts[i] {
			t.Fatalf("version %d: pod %d differs", v, ids[i])
		}
	}
}

func TestBigCommitGoesIntoAnExtentOnce(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	tx, ids, texts := bigTx(t, s, 1, 400)
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	if st := s.Stats(); st.LogBytes > 200<<10 || st.OverlayBytes > 200<<10 {
		t.Fatalf("%d bytes of log, %d of overlay", st.LogBytes, st.OverlayBytes)
	}
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)

	crashed := testOptions(fs.Crash(vfs.CrashLoseAll, 1))
	r := mustOpen(t, crashed)
	readAll(t, r, v, ids, texts)
	verifyClean(t, r)
	// What is written after the recovery must not land on what the log names.
	tx2, ids2, texts2 := bigTx(t, r, 2, 300)
	v2 := must(tx2.Commit(bg, CommitInfo{}))(t)
	if err := r.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	readAll(t, r, v, ids, texts)
	readAll(t, r, v2, ids2, texts2)
	verifyClean(t, r)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}

	before := s.Stats().FileBytes
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	if grown := s.Stats().FileBytes - before; grown > 300<<10 {
		t.Fatalf("the checkpoint wrote it again: the file grew by %d bytes", grown)
	}
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)
}

func TestBigTransactionsThatEndInNothingLeaveNothing(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	o := testOptions(fault)
	o.streamFrom = 64 << 10
	s := mustOpen(t, o)
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "opens the log")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for i := range 8 {
		tx, _, _ := bigTx(t, s, uint64(i), 200)
		if i%2 == 0 {
			tx.Rollback()
		} else {
			// The log finds the disk full: the group is undone.
			if err := tx.stream.finish(bg); err != nil {
				t.Fatal(err)
			}
			fault.FailKind(vfs.OpWrite, vfs.ErrDiskFull, true)
			if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrDiskFull) {
				t.Fatalf("a commit without room in the log: %v", err)
			}
			fault.Heal()
			if _, _, err := commitBox(t, s, MainBranch, "", id, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if i == 1 {
			size = s.Stats().FileBytes
		}
	}
	if got := s.Stats().FileBytes; got > size {
		t.Fatalf("the file grew from %d to %d bytes", size, got)
	}
	tx, ids, texts := bigTx(t, s, 9, 200)
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFailedSyncOfAnExtentIsKnownToBeAbsent(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.streamFrom = 64 << 10
	s := mustOpen(t, o)
	_, v, err := commitBox(t, s, MainBranch, "x", 0, "opens the log")
	if err != nil {
		t.Fatal(err)
	}
	tx, _, _ := bigTx(t, s, 1, 200)
	fs.FailSync(1)
	if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
		t.Fatalf("Commit: %v", err)
	}
	if _, err := s.Begin(bg, MainBranch, v); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a later transaction: %v", err)
	}
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	o.FS = fs.Restart()
	s = mustOpen(t, o)
	defer s.Close()
	if h := must(s.Head(bg, MainBranch))(t); h != v {
		t.Fatalf("head is %d, expected %d", h, v)
	}
	verifyClean(t, s)
}

// The sync of the log fails, another transaction goes on writing into extents,
// and the commit turns out to be there.
func TestExtentOfAnUnknownCommitIsNotUsedAgain(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.streamFrom = 64 << 10
	s := mustOpen(t, o)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "opens the log"); err != nil {
		t.Fatal(err)
	}
	other := begin(t, s, MainBranch)
	tx, ids, texts := bigTx(t, s, 1, 200)
	if err := tx.stream.finish(bg); err != nil {
		t.Fatal(err)
	}
	fs.FailSync(1)
	var unknown *dberr.CommitUnknownError
	if _, err := tx.Commit(bg, CommitInfo{}); !errors.As(err, &unknown) {
		t.Fatalf("Commit: %v", err)
	}
	for i := range 400 {
		if err := other.Put(bg, box(other.NewPod(), randomText(uint64(77000+i), 8000))); err != nil {
			break
		}
	}
	other.Rollback()
	s.Close()
	o.FS = fs.Crash(vfs.CrashKeepAll, 1)
	s = mustOpen(t, o)
	defer s.Close()
	v, there, err := s.Lookup(bg, unknown.Token)
	if err != nil || !there {
		t.Fatalf("Lookup: %v, %v", there, err)
	}
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)
}

// What a power cut leaves at the weaker levels: every mix of log and extents.
func TestExtentsLostInAPowerCutEndTheLog(t *testing.T) {
	lost, kept := 0, 0
	for seed := range uint64(40) {
		fs := newFS(t)
		o := testOptions(fs)
		o.Durability, o.streamFrom = DurabilityNone, 64<<10
		s := mustOpen(t, o)
		id, v1, err := commitBox(t, s, MainBranch, "x", 0, "one")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
		tx, ids, texts := bigTx(t, s, 1, 160)
		v2 := must(tx.Commit(bg, CommitInfo{}))(t)
		_, v3, err := commitBox(t, s, MainBranch, "", id, "three")
		if err != nil {
			t.Fatal(err)
		}
		image := fs.Crash([]vfs.CrashKind{vfs.CrashMix, vfs.CrashNewestOnly, vfs.CrashKeepAll}[min(seed%20, 2)], seed)
		o.FS = image
		r := mustOpen(t, o)
		switch h := must(r.Head(bg, MainBranch))(t); h {
		case v1:
			lost++
		case v2, v3:
			readAll(t, r, v2, ids, texts)
			kept++
		default:
			t.Fatalf("head is %d", h)
		}
		verifyClean(t, r)
		if err := r.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
		// What recovery believed must survive the next power cut.
		h := must(r.Head(bg, MainBranch))(t)
		o.FS = image.Crash(vfs.CrashLoseAll, seed)
		r = mustOpen(t, o)
		if got := must(r.Head(bg, MainBranch))(t); got != h {
			t.Fatalf("head was %d, after another power cut %d", h, got)
		}
		if h >= v2 {
			readAll(t, r, v2, ids, texts)
		}
		verifyClean(t, r)
		r.Close()
	}
	if lost == 0 || kept == 0 {
		t.Fatalf("%d lost, %d kept: the test needs both", lost, kept)
	}
}

// A transaction many times as large as the memory budget commits, and the heap
// stays small.
func TestTransactionLargerThanMemoryCommits(t *testing.T) {
	const size, budget = 32 << 10, 32 << 20
	pods := 9600 // 300 MB
	if testing.Short() {
		pods /= 4
	}
	o := testOptions(vfs.OS())
	o.Path = t.TempDir() + "/a.pod"
	o.MemoryBytes, o.CheckpointBytes, o.PageSize = budget, 0, 0
	s := mustOpen(t, o)
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	tx := begin(t, s, MainBranch)
	var most uint64
	var ids []pod.ID
	for i := range pods {
		id := tx.NewPod()
		ids = append(ids, id)
		if err := tx.Put(bg, box(id, randomText(uint64(i), size))); err != nil {
			t.Fatal(err)
		}
		if i%800 == 799 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc-min(before.HeapAlloc, now.HeapAlloc))
		}
	}
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	if most > budget {
		t.Errorf("the heap held %d MB while the transaction was prepared", most>>20)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	for i := 0; i < pods; i += 97 {
		if got := read(t, s, v, ids[i]); got != randomText(uint64(i), size) {
			t.Fatalf("pod %d differs", ids[i])
		}
	}
	t.Logf("%d MB in one transaction: at most %d MB live", pods*size>>20, most>>20)
}

// At DurabilityInterval a sync of the log makes the extents durable first.
func TestASyncOfTheLogCoversWhatItNames(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.Durability, o.Interval, o.streamFrom = DurabilityInterval, time.Millisecond, 64<<10
	s := mustOpen(t, o)
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "opens the log"); err != nil {
		t.Fatal(err)
	}
	tx, ids, texts := bigTx(t, s, 1, 160)
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	for uint64(s.log.Load().Durable()) < s.applied {
		time.Sleep(time.Millisecond)
	}
	o.FS = fs.Crash(vfs.CrashLoseAll, 1)
	r := mustOpen(t, o)
	defer r.Close()
	if h := must(r.Head(bg, MainBranch))(t); h != v {
		t.Fatalf("head is %d, expected %d", h, v)
	}
	readAll(t, r, v, ids, texts)
	verifyClean(t, r)
}

// The sync of the page file fails, the process ends, and the next one finds
// everything in the system's memory. What it then stands on is durable.
func TestWhatRecoveryBelievesIsWrittenAgain(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.Durability, o.streamFrom = DurabilityNone, 64<<10
	s := mustOpen(t, o)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "opens the log"); err != nil {
		t.Fatal(err)
	}
	tx, ids, texts := bigTx(t, s, 1, 160)
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	fs.FailSync(1)
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	again := fs.Restart()
	o.FS = again
	s = mustOpen(t, o)
	if h := must(s.Head(bg, MainBranch))(t); h != v {
		t.Fatalf("head is %d, expected %d", h, v)
	}
	if err := s.log.Load().Sync(); err != nil {
		t.Fatal(err)
	}
	o.FS = again.Crash(vfs.CrashLoseAll, 1)
	s.Close()
	s = mustOpen(t, o)
	defer s.Close()
	if h := must(s.Head(bg, MainBranch))(t); h != v {
		t.Fatalf("after a power cut the head is %d, expected %d", h, v)
	}
	readAll(t, s, v, ids, texts)
	verifyClean(t, s)
}
