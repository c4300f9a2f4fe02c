package wal

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// batchBytes is how much of the queue one sync takes; always at least one group.
const batchBytes = 4 << 20

// ErrUndone is returned by Submit between an undone group and Resume. It
// matches ErrDiskFull.
var ErrUndone = fmt.Errorf("wal: groups were undone, Resume comes first: %w", dberr.ErrDiskFull)

// Log is an open log. All methods may be called concurrently.
type Log struct {
	o    Options
	w    *writer       // only the log's goroutine
	wake chan struct{} // capacity 1: the queue or closing changed
	gone chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex
	queue    []group
	undone   bool
	closing  bool
	closed   bool
	poison   error
	closeErr error
	segments []held // oldest first; the last one is written to
	sealing  bool   // the segment before the last one is still in use
	end      LSN
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
	Segments int    // files held now
}

func start(o Options, w *writer, segments []held) *Log {
	l := &Log{
		o: o, w: w, wake: make(chan struct{}, 1), gone: make(chan struct{}),
		segments: segments, end: w.at,
	}
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
	case l.undone:
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

// Sync waits until everything submitted before is durable.
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
func (l *Log) End() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// Bytes returns how much log is held, from the oldest segment to the end.
func (l *Log) Bytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.end-l.segments[0].first) + int64(len(l.segments))*segmentHeader
}

// Stats returns counters since Open.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments = len(l.segments)
	return s
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
	var timer *time.Timer
	var alarm <-chan time.Time
	if d, ok := l.w.idle(); ok {
		timer = time.NewTimer(d)
		alarm = timer.C
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
			if timer != nil {
				timer.Stop()
				timer, alarm = nil, nil
			}
			if !l.process(&batch) {
				return
			}
			if d, ok := l.w.idle(); ok {
				timer = time.NewTimer(d)
				alarm = timer.C
			}
			continue
		}
		if closing {
			l.finalEnd()
			return
		}
		select {
		case <-l.wake:
		case <-alarm:
			timer, alarm = nil, nil
			if !l.promise() {
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
	l.queue = l.queue[n:]
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
	if err == nil && wantSync {
		err = l.w.sync()
	}
	if err != nil {
		poison := l.setPoison(err)
		answer(batch, fmt.Errorf("%w: %w", dberr.ErrCommitUnknown, err))
		finish(l.takeAll(), poison)
		return false
	}
	if groups > 0 {
		l.w.grouped = l.w.at
	}
	l.mu.Lock()
	l.end = l.w.at
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
	ends = make([]LSN, len(batch))
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
				if err := frame(a, g, left == 0); err != nil {
					return err
				}
			}
			ends[i] = a.at
		}
		return nil
	})
	return ends, err
}

func frame(a *appender, g group, last bool) error {
	start := a.at
	var sum groupSum
	for _, r := range g.records {
		sum.add(r)
		if err := a.record(dataRecord, r); err != nil {
			return err
		}
	}
	return a.commit(sum, start, last)
}

// prepare makes room and publishes which segments there are.
func (l *Log) prepare(size int64) error {
	err := l.w.prepare(size)
	l.mu.Lock()
	defer l.mu.Unlock()
	if cur := l.w.cur; l.segments[len(l.segments)-1].number != cur.number {
		l.segments = append(l.segments, held{cur.number, cur.first})
	}
	l.sealing = l.w.unsealed != nil
	return err
}

// undo answers a batch that a full disk stopped, and all that is queued.
func (l *Log) undo(batch *[]group, cause error) {
	err := fmt.Errorf("wal: group undone: %w: %w", dberr.ErrDiskFull, cause)
	l.mu.Lock()
	l.undone = true
	*batch = append(*batch, l.queue...)
	l.queue = nil
	l.stats.Undone += uint64(len(*batch))
	l.mu.Unlock()
	answer(batch, err)
}

// setPoison remembers the first cause and returns the error for later writes.
func (l *Log) setPoison(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poison == nil {
		l.poison = fmt.Errorf("%w: %w", dberr.ErrPoisoned, cause)
		l.signal()
	}
	return l.poison
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
	if cur := l.w.cur; l.segments[len(l.segments)-1].number != cur.number {
		l.segments = append(l.segments, held{cur.number, cur.first})
	}
	l.sealing = l.w.unsealed != nil
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
