package mvcc

import (
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

func TestEveryEndOfATransactionIsAnEnd(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	ctx, cancel := cancelledContext()
	defer cancel()
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), "x")); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(ctx, CommitInfo{}); !errors.Is(err, ctx.Err()) {
		t.Fatalf("Commit: %v", err)
	}
	if n := s.Stats().OpenSnapshots; n != 0 {
		t.Fatalf("%d snapshots are open", n)
	}
	if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrClosed) {
		t.Fatalf("second Commit: %v", err)
	}
	before := s.next.pod.Load()
	if id := tx.NewPod(); id != 0 || s.next.pod.Load() != before {
		t.Fatalf("pod %d from a transaction that is over; next pod %d, was %d", id, s.next.pod.Load(), before)
	}
}

// The log recovers from the panic; the committer must not take it for success.
func TestPanicWhileApplyingIsNoSuccess(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	q := &queued{g: &group{}, finished: make(chan struct{})} // without a line
	func() {
		defer func() {
			if recover() == nil {
				t.Fatal("no panic: the test proves nothing")
			}
		}()
		s.outcome(q, 8, nil)
	}()
	<-q.finished
	if !errors.Is(q.err, dberr.ErrCommitUnknown) {
		t.Fatalf("the committer sees %v", q.err)
	}
	if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a checkpoint after it: %v", err)
	}
}
