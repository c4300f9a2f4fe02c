package wal

import (
	"fmt"
	"time"
)

// meter measures the log's syncs. Recovery uses it, then only the log's
// goroutine.
type meter struct {
	now    func() time.Time
	report func(time.Duration)
	syncs  uint64
	total  time.Duration
	most   time.Duration
}

// measure runs one sync of a log file. A failed one is told apart from other
// errors by its type.
func (m *meter) measure(sync func() error) error {
	start := m.now()
	err := sync()
	took := m.now().Sub(start)
	m.syncs++
	m.total += took
	m.most = max(m.most, took)
	if m.report != nil {
		m.report(took)
	}
	if err != nil {
		return &syncError{err}
	}
	return nil
}

// sync makes all that was written durable.
func (w *writer) sync() error {
	if w.synced == w.at {
		return nil
	}
	return w.syncFile()
}

// syncFile syncs the segment that is written to, after what its groups name
// elsewhere.
func (w *writer) syncFile() error {
	if w.o.BeforeSync != nil && w.o.Sync != Full && w.grouped > w.synced {
		if err := w.o.BeforeSync(); err != nil {
			return &syncError{fmt.Errorf("before the log: %w", err)}
		}
	}
	if err := w.o.meter.measure(w.f.SyncData); err != nil {
		return err
	}
	w.synced, w.promised = w.at, w.pending
	return nil
}

// Durable returns a position that a crash leaves standing: every group that
// ends at or before it is synced. At level Full it is not behind End.
func (l *Log) Durable() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// keepInterval bounds how long a group stays unsynced at level Interval. It
// returns false if the log is poisoned.
func (l *Log) keepInterval(due *alarm) bool {
	switch {
	case l.o.Sync != Interval:
	case l.w.synced == l.w.at:
		due.stop()
	case !due.on:
		due.set(l.o.Interval)
	case due.rang():
		return l.syncOverdue(due)
	}
	return true
}

// syncOverdue syncs the groups whose interval has passed.
func (l *Log) syncOverdue(due *alarm) bool {
	due.stop()
	if err := l.w.sync(); err != nil {
		finish(l.takeAllAfter(err), l.Poisoned())
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publish()
	return true
}

// publish lets callers see what the log's goroutine did. l.mu is held.
func (l *Log) publish() {
	w := l.w
	if cur := w.cur; l.segments[len(l.segments)-1].number != cur.number {
		l.segments = append(l.segments, held{cur.number, cur.first})
		l.stats.Rotated++
	}
	l.sealing = w.unsealed != nil
	l.durable = w.synced
	l.stats.Syncs, l.stats.SyncTime, l.stats.LongestSync = w.o.meter.syncs, w.o.meter.total, w.o.meter.most
}
