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

// breath lets others run while retention computes. Its loops read rows, some 5 to 20 µs
// each, and a goroutine that does nothing else keeps its slice of a processor for 10 ms: as long waits the
// log for its turn when a sync has ended, and the commit that waits for the log.
type breath struct{ n int }

const (
	breathRows = 8  // after so many rows other goroutines run
	threadRows = 64 // after so many other threads too, of other programs as well (vfs.Yield)
)

// take is called for each row, and returns the context's error.
func (b *breath) take(ctx context.Context) error {
	switch b.n++; {
	case b.n%threadRows == 0:
		vfs.Yield()
	case b.n%breathRows == 0:
		runtime.Gosched()
	default:
		return nil
	}
	return ctx.Err()
}
