package mvcc

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
)

// lasting begins an operation that may take long and keeps the pages of one state
// meanwhile. It is counted for Stats, and Close ends it instead of waiting: ctx is
// cancelled then. end ends it and returns what the operation answers for its error.
func (s *Store) lasting(ctx context.Context, running *atomic.Int32) (_ context.Context, end func(error) error) {
	running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.life, func() { cancel(dberr.ErrClosed) })
	return ctx, func(err error) error {
		closed := errors.Is(context.Cause(ctx), dberr.ErrClosed)
		stop()
		cancel(nil)
		running.Add(-1)
		if err != nil && closed {
			return dberr.ErrClosed
		}
		return err
	}
}
