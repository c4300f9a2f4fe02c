package mvcc

import (
	"context"
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// Turns are given in the order of asking; who gives up is passed over.
func TestTurnsComeInOrder(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if _, err := s.AwaitTurn(bg, "nowhere"); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatal(err)
	}
	first := must(s.AwaitTurn(bg, MainBranch))(t)
	asked := func(n int) bool {
		s.turns.mu.Lock()
		defer s.turns.mu.Unlock()
		return len(s.turns.waiting[first.l]) == n
	}
	type got struct {
		who  int
		turn *Turn
		err  error
	}
	turns := make(chan got)
	contexts := make([]context.CancelFunc, 4)
	for i := range contexts {
		ctx, cancel := context.WithCancel(bg)
		defer cancel()
		contexts[i] = cancel
		go func() {
			turn, err := s.AwaitTurn(ctx, MainBranch)
			turns <- got{i, turn, err}
		}()
		for !asked(i + 1) {
		}
	}
	contexts[0]()
	if g := <-turns; g.who != 0 || !errors.Is(g.err, context.Canceled) {
		t.Fatal(g)
	}
	for _, who := range []int{1, 2} {
		if first.Over() {
			t.Fatal("over")
		}
		first.End()
		first.End()
		g := <-turns
		if g.who != who || g.err != nil || !asked(3-who) {
			t.Fatal(g, who)
		}
		first = g.turn
	}
	if err := s.Close(); err != nil { // with one waiting
		t.Fatal(err)
	}
	if g := <-turns; g.who != 3 || !errors.Is(g.err, dberr.ErrClosed) {
		t.Fatal(g)
	}
	first.End()
	if len(s.turns.waiting) != 0 {
		t.Fatal("something is left")
	}
}
