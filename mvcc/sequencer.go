package mvcc

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/wal"
)

// The sequencer is one stage that every commit passes alone, in log order:
//
//	validate → number → compute what is removed → encode → submit to the log
//
// and then, when the log says that the group is durable, in the same order and
// in the log's own goroutine:
//
//	apply to the overlay → publish the head → wake the committer
//
// Definitions. Sequenced: submitted, outcome open. Queued: sequenced and not yet
// durable. The sequencer's state is the state after everything queued.
//
// Invariants:
//
//  1. A commit is validated against everything sequenced before it, durable or
//     not. So log order = commit order = visibility order, and two commits of
//     one log group cannot both pass on the same pod.
//  2. Nothing is visible before it is durable: readers stop at published, which
//     is swapped only after the whole group is in the overlay. Keys carry
//     numbers, so what is in the overlay but not published is not found.
//  3. Between validation and Submit the token is held; the log refuses Submit
//     after an undone group until Resume, and Resume is called only with the
//     token held and nothing queued. So nothing that was validated on top of an
//     undone commit slips in, and its numbers can be given out again.
//  4. An entry of pending (what queued commits wrote) outlives its commit's
//     apply: it is dropped by the next holder of the token, before that one
//     takes its view. So pending and view together miss nothing.
//  5. A commit's context counts until Submit. After that Commit waits for the
//     outcome.
//
// Outcomes other than durable: ErrDiskFull fails the group and all queued
// behind it, nothing of them remains (invariant 3). Every other error poisons:
// this store writes nothing any more, reads go on.
type sequencer struct {
	token    chan struct{} // holds one element while nobody sequences
	requests requests
	counters counters
	heads    map[uint32]head
	lastTime int64
	queue    []*queued
	pending  pending
	// renamings is what commits since have done to names.
	renamings renamings
	windows   map[uint32]*window
	watches   map[uint32]*refWatch // of collects that run, by line (collect.go)
	undone    atomic.Bool
	bytes     atomic.Int64 // that the queued groups will take in the overlay
	rows      atomic.Int64 // that they have
	awaited   atomic.Int32 // commits whose outcome somebody waits for
	reserved  int64        // bytes that the page file keeps for the next checkpoint
}

// queued is a sequenced group.
type queued struct {
	g        *group
	line     *line // nil for upkeep
	head     head
	newLine  bool
	bytes    int64   // that it will take in the overlay, about
	rows     int64   // of the index that it writes or removes
	stream   *stream // of a big commit
	what     written
	place    atomic.Pointer[place] // of its one pod version; nil if nobody has found it
	finished chan struct{}
	err      error // valid when finished is closed
	awaited  bool  // likewise: the log waits for the committer to say that it runs
}

// written is what later commits, and the moment of becoming durable, need to
// know of a commit. It is empty for a new branch.
type written struct {
	puts  []*put
	names map[string]pid
	types map[pod.TypeID][]byte
	users map[uint64]uint64 // of shared bodies that it uses: all users after it
}

// pending finds what queued commits wrote.
type pending struct {
	pods  map[podOnLine]pendingPod
	names map[nameOnLine]Version
	users map[uint64]pendingUsers
}

type pendingUsers struct {
	n uint64
	q *queued
}

type podOnLine struct {
	line uint32
	pod  pid
}

type nameOnLine struct {
	line uint32
	name string
}

type pendingPod struct {
	put *put
	q   *queued
}

func newPending() pending {
	return pending{map[podOnLine]pendingPod{}, map[nameOnLine]Version{}, map[uint64]pendingUsers{}}
}

// acquire takes the token, for what is no commit (combine.go). Store.release
// gives it back.
func (q *sequencer) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-q.token:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reap forgets finished commits at the front of the queue (invariant 4).
func (q *sequencer) reap() {
	n := 0
	for ; n < len(q.queue); n++ {
		select {
		case <-q.queue[n].finished:
			q.forget(q.queue[n])
			continue
		default:
		}
		break
	}
	clear(q.queue[:n])
	if q.queue = q.queue[n:]; len(q.queue) == 0 {
		q.queue = nil
	}
}

func (q *sequencer) forget(c *queued) {
	for _, p := range c.what.puts {
		k := podOnLine{c.line.id, p.id}
		if q.pending.pods[k].q == c {
			delete(q.pending.pods, k)
		}
	}
	for name := range c.what.names {
		k := nameOnLine{c.line.id, name}
		if q.pending.names[k] == c.g.row.version {
			delete(q.pending.names, k)
		}
	}
	for no := range c.what.users {
		if q.pending.users[no].q == c {
			delete(q.pending.users, no)
		}
	}
}

// tidy lets go of finished commits if nobody is sequencing; who is will do it.
func (s *Store) tidy() {
	select {
	case <-s.seq.token:
		s.seq.reap()
		s.release()
	default:
	}
}

// ready brings the sequencer's state up to date; the token is held.
func (s *Store) ready(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	if s.seq.undone.Load() {
		for _, c := range s.seq.queue { // all of them are failing (invariant 3)
			<-c.finished
		}
		if err := s.writable(); err != nil {
			return err
		}
		s.seq.queue, s.seq.pending, s.seq.windows = nil, newPending(), map[uint32]*window{}
		s.rewind()
		if err := s.log.Load().Resume(); err != nil {
			return s.logError(err)
		}
		s.seq.undone.Store(false)
	}
	s.seq.reap()
	return s.openLog(ctx)
}

// rewind sets the sequencer's state to what is durable.
func (s *Store) rewind() {
	s.seq.counters = s.published.Load().counters
	s.seq.heads = map[uint32]head{}
	s.seq.renamings.forget(s.seq.counters.version)
}

// head returns a line's newest sequenced state.
func (s *Store) sequencedHead(l *line) head {
	if h, ok := s.seq.heads[l.id]; ok {
		return h
	}
	return *l.head.Load()
}

// submit hands a group to the log; the token is held. On success the group is
// the sequencer's newest state.
func (s *Store) submit(c *queued) error {
	if c.finished == nil {
		c.finished = make(chan struct{})
	}
	records := c.g.records()
	c.measure(records)
	if err := s.reserve(c); err != nil {
		s.seq.windows = map[uint32]*window{}
		return err
	}
	err := s.log.Load().Submit(records, func(end wal.LSN, err error) { s.outcome(c, end, err) })
	if err != nil {
		s.seq.windows = map[uint32]*window{}
		return s.logError(err)
	}
	s.seq.bytes.Add(c.bytes)
	s.seq.rows.Add(c.rows)
	s.seq.queue = append(s.seq.queue, c)
	s.seq.counters = c.g.counters
	if c.line != nil {
		s.seq.heads[c.line.id] = c.head
	}
	return nil
}

// measure says how much the group is.
func (c *queued) measure(records [][]byte) {
	const others = 4 // commit, branch, counters, and one more
	c.rows = others + int64(len(c.g.versions)+len(c.g.puts)+len(c.g.dels))
	if c.g.row != nil {
		c.rows += int64(c.g.row.added / idChunk)
	}
	c.bytes = c.rows * (48 + onodeOverhead)
	for _, r := range records {
		c.bytes += int64(len(r))
	}
}

// outcome is called by the log, in log order.
func (s *Store) outcome(c *queued, end wal.LSN, err error) {
	defer close(c.finished)
	known := false
	defer func() {
		if !known { // a panic, which the log deals with
			c.err = s.unknown(c, s.poison(fmt.Errorf("%w: applying it panicked", dberr.ErrCommitUnknown)))
		}
	}()
	switch {
	case err == nil:
		if c.stream != nil {
			c.stream.keep()
		}
		s.apply(c, uint64(end))
		s.settled(c)
	case undone(err):
		s.seq.undone.Store(true)
		s.cramped()
		c.err = err
	default:
		c.err = s.unknown(c, s.poison(err))
	}
	known = true
	s.seq.bytes.Add(-c.bytes)
	s.seq.rows.Add(-c.rows)
	if c.g.row != nil {
		c.awaited = true
		s.log.Load().Await()
	}
	if c.err != nil {
		s.check.step() // it will not be in the overlay that others wait for
	}
}

// unknown adds the commit's token to an error that leaves its outcome open.
func (s *Store) unknown(c *queued, err error) error {
	if c.stream != nil && errors.Is(err, dberr.ErrCommitUnknown) {
		c.stream.forget()
	}
	if c.g.row == nil || !errors.Is(err, dberr.ErrCommitUnknown) {
		return err
	}
	return &dberr.CommitUnknownError{Token: s.token(c.g.row), Cause: err}
}

// undone says that the log took a group back and goes on. A sync may fail for
// lack of space as well (quotas, thin volumes): then the outcome is unknown,
// and what cannot be known poisons whatever the cause.
func undone(err error) bool {
	return errors.Is(err, dberr.ErrDiskFull) && !errors.Is(err, dberr.ErrCommitUnknown) && !errors.Is(err, dberr.ErrPoisoned)
}

// apply is the one way in which a group becomes part of the database, live or
// replayed.
func (s *Store) apply(c *queued, end uint64) {
	if !s.applying.TryLock() { // a checkpoint is freezing
		start := s.o.Now()
		s.applying.Lock()
		raise(&s.check.pause, s.o.Now().Sub(start))
	}
	defer s.applying.Unlock()
	s.change(c.g, c.line, c.place.Load())
	s.applied = end
	now := &struct { // one piece of memory, apart from the commit's
		published
		head head
	}{published{counters: c.g.counters, version: c.g.counters.version}, c.head}
	s.published.Store(&now.published)
	if c.line != nil {
		c.line.head.Store(&now.head) // after published, so that what Head returns can be opened
	}
	if c.newLine {
		s.lines.Store(s.lines.Load().with(c.line))
	}
	if s.checkpointDue() || s.check.awaited() {
		s.wakeCheckpointer()
	}
	s.wakeReclaim()
	s.bell.ring()
}

// change puts a group into the overlay. l is nil for upkeep, p if it is not known.
func (s *Store) change(g *group, l *line, p *place) {
	s.noteNames(g)
	active := s.layers.Load().active
	if g.kind != groupUpkeep {
		g.apply(active, l.branch, p)
		return
	}
	s.upkept.Add(1)
	defer s.upkept.Add(1)
	if g.retires() {
		s.folds.Add(1)
		defer s.folds.Add(1)
	}
	g.apply(active, "", nil)
	s.noteRows(g)
}

// published is what readers may see. It is swapped whole, never changed.
type published struct {
	counters counters
	version  Version
}

// logError turns what the log says at once into the store's error.
func (s *Store) logError(err error) error {
	switch {
	case undone(err):
		s.seq.undone.Store(true)
		return err
	case errors.Is(err, dberr.ErrClosed), errors.Is(err, dberr.ErrInvalid), errors.Is(err, dberr.ErrTooLarge):
		return err
	}
	return s.poison(err)
}
