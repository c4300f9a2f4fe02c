package mvcc

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Committers do not queue for the sequencer's token. Each leaves a request and
// tries to take the token: who gets it sequences all requests that there are,
// and those of the others with them, who sleep until their commit is durable.
// So a commit costs its committer one wait, and the sequencer's state stays in
// one processor's cache (flat combining: Hendler, Incze, Shavit and Tzafrir 2010).
//
//  1. A request is in the list, or with the holder of the token, or finished.
//  2. Whoever gives the token back looks into the list afterwards, and whoever
//     adds to the list tries for the token afterwards. So no request stays
//     behind.
//  3. Its context counts while it is in the list: the committer can take it out.
type request struct {
	queued
	ctx  context.Context
	t    *Tx
	info CommitInfo
	// rival is closed when all that the transaction collided with has its outcome.
	rival    chan struct{}
	near     place
	panicked any // what sequencing it panicked with: the committer passes that on
	draft    draft
}

// requests is a queue that keeps its memory.
type requests struct {
	mu    sync.Mutex
	list  []*request
	taken int // at the front of list
}

func (q *requests) add(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, r)
}

// next takes the oldest request, nil if there is none.
func (q *requests) next() *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken == len(q.list) {
		return nil
	}
	r := q.list[q.taken]
	q.list[q.taken] = nil
	if q.taken++; q.taken == len(q.list) {
		q.list, q.taken = q.list[:0], 0
	}
	return r
}

// withdraw takes a request out; false if it is not in the list any more.
func (q *requests) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := q.taken; i < len(q.list); i++ {
		if q.list[i] == r {
			q.list = slices.Delete(q.list, i, i+1)
			return true
		}
	}
	return false
}

func (q *requests) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list) - q.taken
}

// commitTx has a transaction sequenced and waits until its outcome is known.
func (s *Store) commitTx(ctx context.Context, t *Tx, info CommitInfo) (*queued, error) {
	r := &t.mem.request
	r.ctx, r.t, r.info, r.finished = ctx, t, info, make(chan struct{})
	s.seq.awaited.Add(1)
	defer s.seq.awaited.Add(-1)
	s.seq.requests.add(r)
	s.combine()
	s.lookAhead(r)
	select {
	case <-r.finished:
	case <-ctx.Done():
		if s.seq.requests.withdraw(r) {
			return nil, ctx.Err()
		}
		<-r.finished
	}
	if r.awaited {
		s.log.Load().Back()
	}
	s.tidy()
	if r.panicked != nil {
		panic(fmt.Sprintf("mvcc: a guard panicked: %v", r.panicked)) // in another goroutine
	}
	return &r.queued, r.err
}

// lookAhead finds where the one pod that a request writes will go, while the log has it or others sequence
// it. In an overlay of a hundred thousand rows most of a search is waiting for memory: better here than in
// the log's goroutine, for which all others wait. Who is alone would wait as long either way.
func (s *Store) lookAhead(r *request) {
	if order := r.t.order; len(order) == 1 && s.seq.awaited.Load() > 1 && r.near.find(s.layers.Load().active, order[0].id, r.t.line.id) {
		r.place.Store(&r.near)
	}
}

// combine sequences what is requested, unless somebody does so already.
func (s *Store) combine() {
	for s.seq.requests.waiting() > 0 {
		select {
		case <-s.seq.token:
		default:
			return
		}
		for r := s.seq.requests.next(); r != nil; r = s.seq.requests.next() {
			s.serve(r)
		}
		s.seq.token <- struct{}{}
	}
}

// release gives the token back.
func (s *Store) release() {
	s.seq.token <- struct{}{}
	s.combine()
}

// serve sequences a request, or finishes it with the reason why not.
func (s *Store) serve(r *request) {
	submitted := false
	defer func() {
		if p := recover(); p != nil {
			if err := fmt.Errorf("sequencing a commit panicked: %v", p); submitted {
				s.poison(err) // what is kept of it is not what the log has
			} else {
				r.err, r.panicked = err, p
			}
		}
		if !submitted {
			close(r.finished)
		}
	}()
	err := r.ctx.Err()
	if err == nil {
		err = s.sequence(r, &submitted)
	}
	if !submitted { // else it is the log's to say
		r.err = err
	}
}
