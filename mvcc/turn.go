package mvcc

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
)

// A turn is a branch for one writer: while somebody has it, commits of others on that branch
// wait. It is for a transaction that loses again and again because it is long and the others
// are many.
//
//  1. A line has one turn at a time. Who wants one gets it in the order of asking.
//  2. A commit waits for the turn that it meets, and for no other after it: so not longer than that
//     one lasts. Whoever takes a turn sees to it that it ends (End), whatever the transaction does.
//  3. A commit under the turn's context passes, so what a holder does within its turn cannot wait for
//     itself. Nobody waits here with a lock of the store, and upkeep passes too.
//  4. A commit that passed before the turn began may be sequenced after it: so a holder may lose
//     once more for each commit that was under way.
type Turn struct {
	s    *Store
	l    *line
	over chan struct{}
	once sync.Once
}

// turns are the queues of those who want one.
type turns struct {
	mu      sync.Mutex
	waiting map[*line][]chan struct{} // of each line that somebody has the turn of
}

// AwaitTurn waits for the turn of a branch.
func (s *Store) AwaitTurn(ctx context.Context, branch string) (*Turn, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	mine := s.turns.ask(l)
	if mine == nil {
		return s.newTurn(l), nil
	}
	var err error
	select {
	case <-mine:
		return s.newTurn(l), nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.life.Done():
		err = dberr.ErrClosed
	}
	if !s.turns.withdraw(l, mine) {
		s.turns.next(l) // it was given just now
	}
	return nil, err
}

// ask returns nil if the turn is free, and then it is taken, else what is closed when it is.
func (q *turns) ask(l *line) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	list, taken := q.waiting[l]
	if !taken {
		if q.waiting == nil {
			q.waiting = map[*line][]chan struct{}{}
		}
		q.waiting[l] = nil
		return nil
	}
	mine := make(chan struct{})
	q.waiting[l] = append(list, mine)
	return mine
}

func (q *turns) withdraw(l *line, mine chan struct{}) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.waiting[l]
	i := slices.Index(list, mine)
	if i < 0 {
		return false
	}
	q.waiting[l] = slices.Delete(list, i, i+1)
	return true
}

// next gives the turn to who has waited longest.
func (q *turns) next(l *line) {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.waiting[l]
	if len(list) == 0 {
		delete(q.waiting, l)
		return
	}
	close(list[0])
	q.waiting[l] = list[1:]
}

func (s *Store) newTurn(l *line) *Turn {
	t := &Turn{s: s, l: l, over: make(chan struct{})}
	l.turn.Store(t)
	return t
}

// End ends the turn: those who wait go on. It may be called twice, by several goroutines.
func (t *Turn) End() {
	t.once.Do(func() {
		t.l.turn.Store(nil)
		close(t.over)
		t.s.turns.next(t.l)
	})
}

// Over reports whether the turn has ended.
func (t *Turn) Over() bool {
	select {
	case <-t.over:
		return true
	default:
		return false
	}
}

// turnKey is the key under which a context carries a turn.
type turnKey struct{}

// In returns a context under which commits are the turn's.
func (t *Turn) In(ctx context.Context) context.Context { return context.WithValue(ctx, turnKey{}, t) }

// awaitTurn waits until the turn that somebody has of the line is over (invariants 2 and 3).
func (t *Tx) awaitTurn(ctx context.Context) error {
	turn := t.line.turn.Load()
	if turn == nil || ctx.Value(turnKey{}) == turn {
		return nil
	}
	select {
	case <-turn.over:
	case <-t.s.life.Done(): // sequencing says so
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
