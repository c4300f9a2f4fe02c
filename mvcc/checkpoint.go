package mvcc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// A checkpoint moves what was committed into the page file, while commits and
// readers go on:
//
//  1. Freeze: under the applying lock, between two groups, the active overlay
//     becomes the frozen one and an empty one takes its place. The log position
//     behind the last applied group goes with it.
//  2. Write the frozen overlay into a batch of the page file, large values as
//     records unless there are very few, and commit the batch with that log
//     position.
//  3. Drop the frozen overlay: the page file has it (view.go, invariant 2).
//  4. Release the log that neither meta page needs.
//
// If 2 fails nothing changed: the frozen overlay stays readable, and the next
// checkpoint begins with it. A failed sync poisons.
type checkpoints struct {
	token chan struct{} // holds one element while no checkpoint runs
	wake  chan struct{} // capacity 1

	frozenAt atomic.Uint64 // log position of the frozen overlay
	done     atomic.Uint64 // log position of the last checkpoint

	count, failed atomic.Uint64
	last          atomic.Int64 // duration
}

func (la *layers) bytes() int64 {
	n := la.active.bytes.Load()
	if la.frozen != nil {
		n += la.frozen.bytes.Load()
	}
	return n
}

// Checkpoint moves everything committed before the call into the page file.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.writable(); err != nil {
		return err
	}
	return s.checkpoint(ctx, false)
}

func (s *Store) checkpoint(ctx context.Context, clean bool) error {
	select {
	case <-s.check.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.check.token <- struct{}{} }()
	err := s.checkpointAlone(ctx, clean)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(err, dberr.ErrPoisoned) {
		return err
	}
	s.check.failed.Add(1)
	s.o.Logger.Warn("checkpoint failed", slog.Any("error", err))
	if errors.Is(err, dberr.ErrPoisoned) {
		return s.poison(err)
	}
	return fmt.Errorf("checkpoint: %w", err)
}

func (s *Store) checkpointAlone(ctx context.Context, clean bool) error {
	for {
		frozen, leftover := s.freeze()
		if frozen == nil && !clean {
			return nil
		}
		if err := s.writeFrozen(ctx, frozen, clean && !leftover); err != nil {
			return err
		}
		if !leftover {
			return nil
		}
	}
}

// freeze is step 1. It returns nil if there is nothing to write. leftover says
// that the overlay was frozen before, so the active one may hold more.
func (s *Store) freeze() (frozen *overlay, leftover bool) {
	s.applying.Lock()
	defer s.applying.Unlock()
	la := s.layers.Load()
	if la.frozen != nil {
		return la.frozen, true
	}
	s.check.frozenAt.Store(s.applied)
	if la.active.empty() {
		return nil, false
	}
	s.layers.Store(&layers{frozen: la.active, active: newOverlay()})
	return la.active, false
}

// writeFrozen is steps 2 to 4; frozen may be nil.
func (s *Store) writeFrozen(ctx context.Context, frozen *overlay, clean bool) error {
	start := s.o.Now()
	b, err := s.pager.Begin()
	if err != nil {
		return err
	}
	defer b.Abort()
	if frozen != nil {
		if err := s.fill(ctx, b, frozen); err != nil {
			return err
		}
	}
	if err := b.Commit(ctx, s.check.frozenAt.Load(), clean); err != nil {
		return err
	}
	s.applying.Lock()
	s.layers.Store(&layers{active: s.layers.Load().active})
	s.applying.Unlock()
	s.check.done.Store(s.check.frozenAt.Load())
	s.check.count.Add(1)
	s.check.last.Store(int64(s.o.Now().Sub(start)))
	if log := s.log.Load(); log != nil && !clean {
		if err := log.Release(wal.LSN(s.pager.State().OldestLog)); err != nil {
			return err
		}
	}
	return nil
}

// fill writes an overlay into a batch.
func (s *Store) fill(ctx context.Context, b *pager.Batch, o *overlay) error {
	stays := o.staysInline(s.pager.State().PageSize)
	page := s.pager.View()
	defer page.Close()
	i := 0
	for n := o.head.following(); n != nil; n = n.following() {
		if i++; i%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		val := n.value()
		if n.key[0] == kindType { // the one kind with an envelope that two commits may write
			if err := freeOld(b, page, n.key); err != nil {
				return err
			}
		}
		if placeable(n.key, val) && len(val) > stays {
			pl, err := b.Record(val[1:])
			if err != nil {
				return err
			}
			val = placed(pl)
		}
		if err := b.Put(n.key, val); err != nil {
			return err
		}
	}
	return nil
}

// staysInline returns up to which length values of an overlay stay in the tree
// although they could be placed. A checkpoint leaves the rest of its last
// record page empty for good. So if all that it could place is less than half a
// page, it places only what would crowd a leaf.
func (o *overlay) staysInline(pageSize int) int {
	sum := 0
	for n := o.head.following(); n != nil; n = n.following() {
		if val := n.value(); placeable(n.key, val) {
			if sum += len(val); sum >= pageSize/2 {
				return 0
			}
		}
	}
	return pageSize / 8
}

func placeable(key, val []byte) bool {
	return hasEnvelope(key[0]) && len(val) > 1+inlineMax && val[0] == envInline
}

// freeOld gives back the record of a row that is about to be overwritten.
func freeOld(b *pager.Batch, page *pager.View, key []byte) error {
	old, ok, err := page.Get(key)
	if err != nil || !ok {
		return err
	}
	e, err := decodeEnvelope(old)
	if err != nil || e.how != envPlaced {
		return err
	}
	return b.FreeRecord(e.place)
}

// checkpointDue reports whether the log is long enough; the applying lock is
// held.
func (s *Store) checkpointDue() bool {
	return s.o.CheckpointBytes > 0 && s.applied-s.check.done.Load() >= uint64(s.o.CheckpointBytes)
}

func (s *Store) wakeCheckpointer() {
	select {
	case s.check.wake <- struct{}{}:
	default:
	}
}

// checkpointer is the background goroutine.
func (s *Store) checkpointer(ctx context.Context) {
	defer s.background.Done()
	defer func() {
		if p := recover(); p != nil {
			s.poison(fmt.Errorf("panic in a checkpoint: %v\n%s", p, debug.Stack()))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.check.wake:
			_ = s.checkpoint(ctx, false) // counted, logged, and seen by backpressure
		}
	}
}

// pressure is how many times CheckpointBytes the overlays may hold before
// commits wait for a checkpoint.
const pressure = 4

// backpressure bounds memory: while too much waits for a checkpoint the caller
// takes part in making one.
func (s *Store) backpressure(ctx context.Context) error {
	limit := s.o.CheckpointBytes * pressure
	for limit > 0 && s.layers.Load().bytes() > limit {
		if err := s.checkpoint(ctx, false); err != nil {
			return err
		}
	}
	return nil
}
