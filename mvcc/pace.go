package mvcc

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// Budget bounds upkeep that goes on beside commits and readers: Collect, and
// the second step of Prune. The zero value bounds nothing.
type Budget struct {
	// Time is about how long one call may take; what is left is done by the next
	// one. 0 is no bound.
	Time time.Duration
	// BytesPerSecond is how many stored bytes are read and written in a second, on
	// average over the call. 0 is no bound.
	BytesPerSecond int64
}

// errOutOfTime ends a call whose budget of time is used up.
var errOutOfTime = errors.New("the time of the budget is over")

// pace holds one call to its budget.
type pace struct {
	Budget
	s     *Store
	start time.Time
	bytes int64
}

func newPace(b Budget, s *Store) *pace { return &pace{Budget: b, s: s, start: s.o.Now()} }

// spend counts bytes, and sleeps until they may have been read or written. It
// is errOutOfTime at the end of the time, or the context's error.
func (p *pace) spend(ctx context.Context, bytes int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.bytes += bytes
	if p.Time <= 0 && p.BytesPerSecond <= 0 {
		return nil
	}
	took := p.s.o.Now().Sub(p.start)
	if p.Time > 0 && took >= p.Time {
		return errOutOfTime
	}
	if p.BytesPerSecond <= 0 {
		return nil
	}
	ahead := time.Duration(float64(p.bytes)/float64(p.BytesPerSecond)*float64(time.Second)) - took
	if p.Time > 0 {
		ahead = min(ahead, p.Time-took)
	}
	if ahead < shortestSleep {
		return nil
	}
	t := p.s.newTimer(ahead)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shortestSleep is what is worth a timer.
const shortestSleep = time.Millisecond

// Retention lets others run while it computes. A goroutine that computes keeps its thread on a
// processor for milliseconds, and as long waits what ends a sync (vfs.Yield), and with it a commit. If no
// commit is under way only goroutines get a turn: to let threads of other programs go first costs
// retention most of its speed on a busy machine.
// What loops of retention take for a row, about; and for how long they do not yield.
const (
	readRow    = 3 * time.Microsecond // of a commit
	readPod    = 8 * time.Microsecond // version
	breathTime = 500 * time.Microsecond
)

// breathe is called for each row, and returns the context's error. The upkeep token is held.
func (s *Store) breathe(ctx context.Context, took time.Duration) error {
	if s.computed += took; s.computed < breathTime {
		return nil
	}
	s.computed = 0
	if s.seq.awaited.Load() > 0 {
		vfs.Yield()
	} else {
		runtime.Gosched()
	}
	return ctx.Err()
}
