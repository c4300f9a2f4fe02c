package wal

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// batchBytes is how much of the queue one sync takes; always at least one group.
const batchBytes = 4 << 20

// ErrUndone is returned by Submit between an undone group and Resume. It
// matches ErrDiskFull.
var ErrUndone = fmt.Errorf("wal: groups were undone, Resume comes first: %w", dberr.ErrDiskFull)

// ErrGroupLost is returned by a replay for a group that names bytes elsewhere
// which are not there. It ends the log if the group was not synced.
var ErrGroupLost = errors.New("a group names bytes that are gone")

// Log is an open log. All methods may be called concurrently.
type Log struct {
	o    Options
	w    *writer       // only the log's goroutine
	ends []LSN         // of the batch at hand, likewise
	wake chan struct{} // capacity 1: the queue or closing changed
	gone chan struct{} // closed when the goroutine has ended

	awaited atomic.Int64  // see gather.go
	back    chan struct{} // capacity 1: nobody is awaited any more, or may be
	end     atomic.Uint64 // see End; changed with mu held, for every commit asks

	mu       sync.Mutex
	queue    []group
	taken    []group // the batch at hand, if it was the whole queue
	undone   bool
	closing  bool
	closed   bool
	poison   error
	closeErr error
	segments []held // oldest first; the last one is written to
	sealing  bool   // the segment before the last one is still in use
	durable  LSN
	stats    Stats

	releasing sync.Mutex
}

// held is a segment that exists.
type held struct {
	number uint64
	first  LSN
}

// group is one entry of the queue. Without records it only asks for a sync.
type group struct {
	records [][]byte
	size    int64
	done    func(LSN, error)
}

// Stats counts since Open.
type Stats struct {
	Groups   uint64 // acknowledged
	Batches  uint64 // written and, at level Full, synced
	Bytes    uint64 // written for them, framing and padding included
	Promises uint64 // written because the log was idle
	Undone   uint64 // groups that a full disk undid
	Rotated  uint64 // segments begun
	Segments int    // files held now

	Syncs       uint64 // of log files, also those of recovery
	SyncTime    time.Duration
	LongestSync time.Duration
}

func start(o Options, w *writer, segments []held) *Log {
	l := &Log{
		o: o, w: w, wake: make(chan struct{}, 1), back: make(chan struct{}, 1), gone: make(chan struct{}),
		segments: segments,
	}
	l.end.Store(uint64(w.at))
	l.publish()
	go l.run()
	return l
}

// Submit queues one group, all or nothing. The order of Submit calls is the
// order in the log. The records must not be changed before done was called. done
// is called exactly once, in log order, by the log's goroutine: at level Full
// after the sync. Its error matches ErrDiskFull (this group and everything
// queued behind it is undone, also after a crash; the log takes no more until Resume),
// ErrCommitUnknown (the sync failed), or ErrPoisoned. If Submit itself returns
// an error, done is not called.
func (l *Log) Submit(records [][]byte, done func(end LSN, err error)) error {
	if len(records) == 0 {
		return fmt.Errorf("wal: %w: a group needs a record", dberr.ErrInvalid)
	}
	size := recordSize(commitPayload) + sector
	for _, r := range records {
		if len(r) > MaxRecord {
			return fmt.Errorf("wal: %w: record of %d bytes, at most %d", dberr.ErrTooLarge, len(r), MaxRecord)
		}
		size += recordSize(len(r))
	}
	return l.enqueue(group{records, size, done})
}

func (l *Log) enqueue(g group) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.poison != nil:
		return l.poison
	case l.closing:
		return fmt.Errorf("wal: %w", dberr.ErrClosed)
	case l.undone && g.records != nil:
		return ErrUndone
	}
	l.queue = append(l.queue, g)
	l.signal()
	return nil
}

func (l *Log) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Sync waits until everything submitted before is durable. It works between an
// undone group and Resume too: a checkpoint that makes room needs it.
func (l *Log) Sync() error {
	result := make(chan error, 1)
	err := l.enqueue(group{done: func(_ LSN, err error) { result <- err }})
	if err != nil {
		return err
	}
	return <-result
}

// Resume lets Submit go on after groups were undone. The caller has rolled
// back what it built on them.
func (l *Log) Resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poison != nil {
		return l.poison
	}
	l.undone = false
	return nil
}

// End returns the position behind the last group whose done got no error.
func (l *Log) End() LSN { return LSN(l.end.Load()) }

// Bytes returns how much log is held, from the oldest segment to the end.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.End()-l.segments[0].first) + int64(len(l.segments))*segmentHeader
}

// Stats returns counters since Open.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments = len(l.segments)
	return s
}

// Poison makes the log refuse writes: its user met something after which nothing
// may be written. What is queued is known to be absent; a batch that is being
// written is finished. The first cause stays.
func (l *Log) Poison(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poison == nil {
		l.poison = cause
		if !errors.Is(cause, dberr.ErrPoisoned) {
			l.poison = fmt.Errorf("%w: %w", dberr.ErrPoisoned, cause)
		}
		l.signal()
		l.regroup()
	}
}

// Poisoned returns nil, or why the log refuses writes. The error matches
// ErrPoisoned and the first cause.
func (l *Log) Poisoned() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.poison
}

// Close waits for the queued groups and writes a clean end, unless the log is
// poisoned: then it writes nothing and returns why. A second Close returns nil.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.signal()
	l.regroup()
	l.mu.Unlock()
	<-l.gone
	l.releasing.Lock()
	defer l.releasing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return dberr.Join(l.poison, l.closeErr)
}

// run is the log's goroutine, the only one that writes.
func (l *Log) run() {
	defer close(l.gone)
	defer l.w.closeFiles()
	var batch []group
	defer func() {
		if r := recover(); r != nil {
			err := l.setPoison(fmt.Errorf("panic in the log's goroutine: %v\n%s", r, debug.Stack()))
			finish(batch, fmt.Errorf("%w: %w", dberr.ErrCommitUnknown, err))
			finish(l.takeAll(), err)
		}
	}()
	var idle, due alarm
	if d, ok := l.w.idle(); ok {
		idle.set(d)
	}
	for {
		var closing bool
		batch, closing = l.take()
		if err := l.Poisoned(); err != nil {
			answer(&batch, err)
			finish(l.takeAll(), err)
			return
		}
		if len(batch) > 0 {
			idle.stop()
			if !l.process(&batch) || !l.keepInterval(&due) {
				return
			}
			l.gather()
			if d, ok := l.w.idle(); ok {
				idle.set(d)
			}
			continue
		}
		if closing {
			l.finalEnd()
			return
		}
		select {
		case <-l.wake:
		case <-due.rings():
			if !l.syncOverdue(&due) {
				return
			}
		case <-idle.rings():
			idle.stop()
			if !l.promise() || !l.keepInterval(&due) {
				return
			}
		}
	}
}

// take removes the next batch from the queue.
func (l *Log) take() (batch []group, closing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(l.queue) && (n == 0 || size+l.queue[n].size <= batchBytes) {
		size += l.queue[n].size
		n++
	}
	batch = l.queue[:n:n]
	if n == len(l.queue) {
		// What the last batch lay in is free: all of it was answered.
		l.queue, l.taken = l.taken[:0], batch
	} else {
		l.queue, l.taken = l.queue[n:], nil
	}
	return batch, l.closing
}

func (l *Log) takeAll() []group {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queue
	l.queue = nil
	return q
}

func finish(gs []group, err error) {
	for _, g := range gs {
		g.done(0, err)
	}
}

// process writes one batch and answers it. It returns false if the log is
// poisoned. On return batch holds what is not answered, for a panic's sake.
func (l *Log) process(batch *[]group) bool {
	size, groups, wantSync := int64(0), 0, l.w.o.Sync == Full
	for _, g := range *batch {
		size += g.size
		if g.records == nil {
			wantSync = true
		} else {
			groups++
		}
	}
	if groups > 0 {
		if err := l.prepare(size); err != nil {
			if isDiskFull(err) {
				l.undo(batch, err)
				return true
			}
			// Nothing of this batch was written: it is known to be absent.
			err = l.setPoison(err)
			answer(batch, err)
			finish(l.takeAll(), err)
			return false
		}
	}
	before := l.w.at
	ends, err := l.write(*batch, groups)
	if isDiskFull(err) {
		if cutErr := l.w.cutBack(); cutErr == nil {
			l.undo(batch, err)
			return true
		} else {
			err = dberr.Join(err, cutErr)
		}
	}
	if err == nil && groups > 0 {
		l.w.grouped = l.w.at
	}
	if err == nil && wantSync {
		err = l.w.sync()
	}
	if err != nil {
		poison := l.setPoison(err)
		answer(batch, fmt.Errorf("%w: %w", dberr.ErrCommitUnknown, err))
		finish(l.takeAll(), poison)
		return false
	}
	l.mu.Lock()
	l.end.Store(uint64(l.w.at))
	l.publish()
	l.stats.Groups += uint64(groups)
	l.stats.Batches++
	l.stats.Bytes += uint64(l.w.at - before)
	l.mu.Unlock()
	for i := range ends {
		g := next(batch)
		g.done(ends[i], nil)
	}
	return true
}

// next takes the first group off a batch and forgets its bytes there.
func next(batch *[]group) group {
	g := (*batch)[0]
	(*batch)[0] = group{}
	*batch = (*batch)[1:]
	return g
}

// answer tells every group of the batch an error.
func answer(batch *[]group, err error) {
	for len(*batch) > 0 {
		g := next(batch)
		g.done(0, err)
	}
}

// write frames the groups of a batch and returns where each one ends.
func (l *Log) write(batch []group, groups int) (ends []LSN, err error) {
	l.ends = slices.Grow(l.ends[:0], len(batch))[:len(batch)]
	ends = l.ends
	if groups == 0 {
		for i := range ends {
			ends[i] = l.w.at
		}
		return ends, nil
	}
	err = l.w.append(func(a *appender) error {
		left := groups
		for i, g := range batch {
			if g.records != nil {
				left--
				if err := a.group(g.records, left == 0); err != nil {
					return err
				}
			}
			ends[i] = a.at
		}
		return nil
	})
	return ends, err
}

// prepare makes room and publishes which segments there are.
func (l *Log) prepare(size int64) error {
	err := l.w.prepare(size)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish()
	return err
}

// undo answers a batch that a full disk stopped, and all that is queued.
func (l *Log) undo(batch *[]group, cause error) {
	err := fmt.Errorf("wal: group undone: %w: %w", dberr.ErrDiskFull, cause)
	l.mu.Lock()
	l.undone = true
	l.publish() // cutting the batch off synced what was acknowledged before it
	*batch = append(*batch, l.queue...)
	l.queue = nil
	l.stats.Undone += uint64(len(*batch))
	l.mu.Unlock()
	answer(batch, err)
}

// setPoison remembers the first cause and returns the error for later writes.
func (l *Log) setPoison(cause error) error {
	l.Poison(cause)
	return l.Poisoned()
}

// promise covers the last group while nothing else is to do. It returns false
// if the log is poisoned.
func (l *Log) promise() bool {
	err := l.w.promise()
	if err != nil && !isDiskFull(err) {
		finish(l.takeAllAfter(err), l.Poisoned())
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.stats.Promises++
	}
	l.publish()
	return true
}

// takeAllAfter poisons and empties the queue.
func (l *Log) takeAllAfter(err error) []group {
	l.setPoison(err)
	return l.takeAll()
}

func (l *Log) finalEnd() {
	err := l.w.end()
	if isDiskFull(err) {
		err = fmt.Errorf("%w: %w", dberr.ErrDiskFull, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeErr = err
}
