package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// small gives overlays a tiny share, so that checkpoints are due all the time.
func small(fs vfs.FS) Options {
	o := testOptions(fs)
	o.CheckpointBytes = 0
	o.Now = nil
	b := divide(0)
	b.overlayBytes = 256 << 10
	o.shares = &b
	return o
}

func TestOverlaysStayWithinTheirShareWhileAReaderIsOpen(t *testing.T) {
	s := mustOpen(t, small(newFS(t)))
	_, v, err := commitBox(t, s, MainBranch, "reader", 0, "here")
	if err != nil {
		t.Fatal(err)
	}
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	var writers sync.WaitGroup
	var most int64
	var mu sync.Mutex
	for w := range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for i := range 100 {
				if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(w, " ", i), 0, randomText(uint64(w*100+i), 6000+i)); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				most = max(most, s.Stats().OverlayBytes)
				mu.Unlock()
			}
		}()
	}
	writers.Wait()
	st := s.Stats()
	if most > s.budget.overlayBytes+4*8000 { // all four may have come in with the last byte
		t.Errorf("overlays took %d bytes of %d", most, s.budget.overlayBytes)
	}
	if st.Checkpoints < 5 || st.LongestCheckpoint < st.LastCheckpoint {
		t.Errorf("stats %+v", st)
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d checkpoints, overlays up to %d bytes, longest pause %v", st.Checkpoints, most, st.LongestPause)
}

// quiet keeps the background checkpoint away until the caller wants it.
func quiet(s *Store) (release func()) {
	<-s.check.token
	return sync.OnceFunc(func() { s.check.token <- struct{}{} })
}

func TestCommitWaitsForACheckpointOrItsContext(t *testing.T) {
	s := mustOpen(t, small(newFS(t)))
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "first", 0, "opens the log"); err != nil {
		t.Fatal(err)
	}
	release := quiet(s)
	defer release()
	for s.room(30000) == ample {
		if _, _, err := commitBox(t, s, MainBranch, "x", 0, randomText(1, 25000)+fmt.Sprint(s.Stats().Commits)); err != nil {
			t.Fatal(err)
		}
	}
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), randomText(2, 200000))); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	if _, err := tx.Commit(short, CommitInfo{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a commit that waits too long: %v", err)
	}
	tx = begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), randomText(2, 200000))); err != nil {
		t.Fatal(err)
	}
	done := commitAsync(tx)
	select {
	case o := <-done:
		t.Fatalf("the commit did not wait: %+v", o)
	case <-time.After(20 * time.Millisecond):
	}
	release()
	if o := <-done; o.err != nil {
		t.Fatal(o.err)
	}
	if st := s.Stats(); st.LongestPause < 20*time.Millisecond {
		t.Fatalf("longest pause %v", st.LongestPause)
	}
	verifyClean(t, s)
}

func TestCommitsThatWaitForAFullDiskAreRefusedAndGoOnLater(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	s := mustOpen(t, small(fault))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "first", 0, "opens the log")
	if err != nil {
		t.Fatal(err)
	}
	fault.Space(2 << 20) // for the log, not for the checkpoints
	for i := 0; ; i++ {
		_, _, err := commitBox(t, s, MainBranch, "x", 0, randomText(uint64(i), 30000))
		if errors.Is(err, dberr.ErrDiskFull) {
			break
		}
		if err != nil || i > 1000 {
			t.Fatalf("commit %d on a full disk: %v", i, err)
		}
	}
	head := must(s.Head(bg, MainBranch))(t)
	fault.Heal()
	if _, v, err := commitBox(t, s, MainBranch, "", id, "again"); err != nil || v != head+1 {
		t.Fatalf("the commit after space returned: %d, %v", v, err)
	}
	verifyClean(t, s)
}

func randomText(seed uint64, n int) string {
	b := make([]byte, n)
	seeded(seed).Read(b)
	return string(b)
}

func TestEventsMayCallTheStore(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	var commits []CommitEvent
	var checkpoints []CheckpointEvent
	poisoned := make(chan error, 2)
	var s *Store
	o.Events = Events{
		Commit: func(e CommitEvent) {
			commits = append(commits, e)
			if err := s.Checkpoint(bg); err != nil {
				t.Error(err)
			}
		},
		Checkpoint: func(e CheckpointEvent) {
			checkpoints = append(checkpoints, e)
			if e.Err == nil {
				_, _, err := commitBox(t, s, MainBranch, "event", 0, "from an event")
				if len(checkpoints) < 3 && err != nil {
					t.Error(err)
				}
			}
		},
		Poison: func(err error) {
			s.Stats()
			poisoned <- err
		},
	}
	s = mustOpen(t, o)
	o.Events.Checkpoint, s.o.Events.Checkpoint = s.o.Events.Checkpoint, nil
	if _, _, err := commitBox(t, s, MainBranch, "a", 0, "text"); err != nil {
		t.Fatal(err)
	}
	if len(commits) != 1 || commits[0].Version != 1 || commits[0].Branch != MainBranch || commits[0].Pods != 1 || commits[0].Bytes == 0 {
		t.Fatalf("events of commits: %+v", commits)
	}
	s.o.Events.Commit, s.o.Events.Checkpoint = nil, o.Events.Checkpoint
	if _, _, err := commitBox(t, s, MainBranch, "b", 0, "text"); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	if len(checkpoints) != 1 || checkpoints[0].Rows == 0 || checkpoints[0].Bytes == 0 {
		t.Fatalf("events of checkpoints: %+v", checkpoints)
	}
	fs.FailSync(1)
	if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := <-poisoned; !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	if len(checkpoints) != 2 || checkpoints[1].Err == nil {
		t.Fatalf("events of checkpoints: %+v", checkpoints)
	}
	s.Close()
	if len(poisoned) != 0 {
		t.Fatal("poisoned twice")
	}
}

// At the weaker levels a checkpoint syncs the log first. It must not wait for a
// commit to deal with a group that a full disk undid: commits may be waiting for
// that checkpoint.
func TestACheckpointWorksBehindAnUndoneWeakCommit(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	o := testOptions(fault)
	o.Durability = DurabilityNone
	s := mustOpen(t, o)
	for n := range 3 {
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(n), 0, "text"); err != nil {
			t.Fatal(err)
		}
	}
	fault.FailKind(vfs.OpWrite, vfs.ErrDiskFull, false)
	if _, _, err := commitBox(t, s, MainBranch, "more", 0, "text"); !errors.Is(err, dberr.ErrDiskFull) || !s.seq.undone.Load() {
		t.Fatalf("%v, undone: %v", err, s.seq.undone.Load())
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Errorf("checkpoint: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What a crash left in the log is checkpointed at once after reopening, which may
// take long: the first commit does not wait for it.
func TestTheFirstCommitAfterACrashDoesNotWaitForACheckpoint(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "a")
	if err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, testOptions(fs.Restart()))
	defer again.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	release := quiet(again)
	defer release()
	tx := begin(t, again, MainBranch)
	if err := tx.Put(bg, boxAgain(id, "b")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(bg, 3*time.Second)
	defer cancel()
	if _, err := tx.Commit(ctx, CommitInfo{}); err != nil {
		t.Fatalf("while a checkpoint runs: %v", err)
	}
	release()
	verifyClean(t, again)
}
