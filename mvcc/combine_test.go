package mvcc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/pod"
)

// waitRequests waits until n commits wait for the token.
func waitRequests(t *testing.T, s *Store, n int) {
	t.Helper()
	for range 5000 {
		if s.seq.requests.waiting() == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("never %d requests", n)
}

// requestCommit starts a commit of one new pod while the token is held, and
// returns when it waits for it as the nth.
func requestCommit(t *testing.T, s *Store, ctx context.Context, n int, guard func(pod.ID) bool) chan outcome {
	t.Helper()
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), fmt.Sprint("request ", n))); err != nil {
		t.Fatal(err)
	}
	if guard != nil {
		tx.Guard(guard)
	}
	c := make(chan outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				c <- outcome{0, fmt.Errorf("panicked: %v", p)}
			}
		}()
		v, err := tx.Commit(ctx, CommitInfo{})
		c <- outcome{v, err}
	}()
	waitRequests(t, s, n)
	return c
}

func TestWhoHasTheTokenSequencesAllRequestsInOrder(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if err := s.seq.acquire(bg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(bg)
	first := requestCommit(t, s, bg, 1, nil)
	gone := requestCommit(t, s, ctx, 2, nil)
	last := requestCommit(t, s, bg, 3, nil)
	cancel()
	if o := <-gone; !errors.Is(o.err, context.Canceled) {
		t.Errorf("a cancelled request: %v", o.err)
	}
	waitRequests(t, s, 2)
	s.release()
	if o := <-first; o.v != 1 || o.err != nil {
		t.Errorf("the first request: version %d, %v", o.v, o.err)
	}
	if o := <-last; o.v != 2 || o.err != nil {
		t.Errorf("the last request: version %d, %v", o.v, o.err)
	}
}

// A guard that panics does so in its own committer, whoever sequences it.
func TestAPanicWhileSequencingBelongsToItsCommit(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if err := s.seq.acquire(bg); err != nil {
		t.Fatal(err)
	}
	first := requestCommit(t, s, bg, 1, nil) // moves the head, so that guards are asked
	bad := requestCommit(t, s, bg, 2, func(pod.ID) bool { panic("guard") })
	last := requestCommit(t, s, bg, 3, nil)
	s.release()
	for name, c := range map[string]chan outcome{"first": first, "last": last} {
		if o := <-c; o.err != nil {
			t.Errorf("the %s commit: %v", name, o.err)
		}
	}
	if o := <-bad; o.err == nil || o.err.Error() != "panicked: mvcc: a guard panicked: guard" {
		t.Errorf("the commit with the guard: %v", o.err)
	}
	if head, err := s.Head(bg, MainBranch); head != 2 || err != nil {
		t.Errorf("head %d, %v", head, err)
	}
}
