package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// Disks of many sizes fill up with commits of all kinds; whatever was answered
// gets into the page file, and retention gets space back.
func TestACheckpointFindsRoomOnAFullDisk(t *testing.T) {
	refused := 0
	for seed := range uint64(24) {
		rng := rand.New(rand.NewPCG(seed, 5))
		fs := newFS(t)
		fs.SetCapacity(1<<20 + rng.Int64N(3<<20))
		o := testOptions(fs)
		o.streamFrom = []int64{0, 20000}[seed%2]
		o.SegmentBytes = 64 << 10
		s := mustOpen(t, o)
		var ids []pod.ID
		full := 0
		for i := 0; full < 4 && i < 3000; i++ {
			tx := begin(t, s, MainBranch)
			made, err := fillTx(tx, rng, ids)
			if err == nil {
				_, err = tx.Commit(bg, CommitInfo{})
			}
			tx.Rollback()
			switch {
			case errors.Is(err, dberr.ErrDiskFull):
				full++
				refused++
				if err := s.Checkpoint(bg); err != nil {
					t.Fatalf("seed %d: checkpoint after commit %d was refused: %v", seed, i, err)
				}
				continue
			case err != nil:
				t.Fatalf("seed %d: commit %d: %v", seed, i, err)
			case rng.IntN(40) == 0:
				if err := s.Checkpoint(bg); err != nil {
					t.Fatalf("seed %d: checkpoint after commit %d: %v", seed, i, err)
				}
			}
			ids = append(ids, made...)
		}
		if full < 4 {
			t.Fatalf("seed %d: the disk was never full", seed)
		}
		if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
			t.Fatalf("seed %d: prune on the full disk: %v", seed, err)
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatalf("seed %d: Close: %v", seed, err)
		}
	}
	t.Logf("%d commits refused", refused)
}

// fillTx writes a few new pods, the first with a name, and changes a few old ones.
func fillTx(tx *Tx, rng *rand.Rand, old []pod.ID) (made []pod.ID, err error) {
	for range 1 + rng.IntN(12) {
		id := tx.NewPod()
		if err := tx.Put(bg, box(id, randomText(rng.Uint64(), rng.IntN(1+rng.IntN(6000))))); err != nil {
			return nil, err
		}
		made = append(made, id)
	}
	for range min(rng.IntN(20), len(old)) {
		id := old[rng.IntN(len(old))]
		if tx.find(id) != nil {
			continue
		}
		if err := tx.Put(bg, boxAgain(id, fmt.Sprint(rng.Uint64()))); err != nil {
			return nil, err
		}
	}
	return made, tx.SetName(bg, fmt.Sprint(rng.Uint64()), made[0])
}

// The log, which is long before a checkpoint is due, fills the disk. A commit is
// refused, and the background makes room: those after it go on without anybody's
// doing, until what lives in the file needs the disk.
func TestAFullDiskIsTidiedUpInTheBackground(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.CheckpointBytes, o.SegmentBytes = 1<<30, 64<<10
	made := make(chan CheckpointEvent, 1000)
	o.Events.Checkpoint = func(e CheckpointEvent) { made <- e }
	s := mustOpen(t, o)
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "first")
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(fs.Used() + 1<<20)
	again := func(i int) error {
		_, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint("state ", i)) // a sector of log, much less in the file
		return err
	}
	n := 0
	for err = again(n); err == nil; err = again(n) {
		if n++; n > 5000 {
			t.Fatal("the disk is never full")
		}
	}
	t.Logf("full after %d commits", n)
	for refused, most := 0, 3*n; n < most; {
		switch err := again(n); {
		case err == nil:
			n++
		case !errors.Is(err, dberr.ErrDiskFull) || errors.Is(err, dberr.ErrPoisoned):
			t.Fatal(err)
		default:
			if refused++; refused > 100 {
				t.Fatalf("commit %d is refused again and again: %v", n, err)
			}
			select {
			case <-made:
			case <-time.After(time.Minute):
				t.Fatalf("commit %d is refused, and nobody makes room: %v", n, err)
			}
		}
	}
	verifyClean(t, s)
}

// fullForLog has no room for what is written to a log while full.
type fullForLog struct {
	vfs.FS
	full atomic.Bool
}

type fullForLogFile struct {
	vfs.File
	fs *fullForLog
}

func (f *fullForLog) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	if err == nil && strings.Contains(name, ".wal/") {
		file = fullForLogFile{file, f}
	}
	return file, err
}

func (f fullForLogFile) WriteAt(b []byte, off int64) (int, error) {
	if f.fs.full.Load() {
		return 0, vfs.ErrDiskFull
	}
	return f.File.WriteAt(b, off)
}

// The end of the log does not fit on the disk: the page file has everything, so
// Close does without it.
func TestCloseNeedsNoRoomForTheEndOfTheLog(t *testing.T) {
	fs := &fullForLog{FS: newFS(t)}
	s := mustOpen(t, testOptions(fs))
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "text"); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, testOptions(fs))
	defer s.Close()
	if head, err := s.Head(bg, MainBranch); err != nil || head != 1 {
		t.Fatalf("head %d: %v", head, err)
	}
	verifyClean(t, s)
}
