package mvcc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// A checkpoint moves what was committed into the page file, while commits and
// readers go on:
//
//  1. Freeze: under the applying lock, between two groups, the active overlay
//     becomes the frozen one and an empty one takes its place. The log position
//     behind the last applied group goes with it.
//  2. Make the log durable up to there if the durability level has not
//     (durability.go). Write the frozen overlay into a batch of the page file,
//     large values as records unless there are very few, and commit the batch
//     with that log position.
//  3. Drop the frozen overlay: the page file has it (view.go, invariant 2).
//  4. Release the log that neither meta page needs.
//
// If 2 fails nothing changed: the frozen overlay stays readable, and the next
// checkpoint begins with it. A failed sync poisons.
type checkpoints struct {
	token chan struct{} // holds one element while no checkpoint runs
	wake  chan struct{} // capacity 1
	// reclaim is to go on in the background; capacity 1.
	reclaim chan struct{}
	cramped atomic.Bool // the disk is full (reserve.go)

	frozenAt atomic.Uint64 // log position of the frozen overlay
	done     atomic.Uint64 // log position of the last checkpoint

	count, failed atomic.Uint64
	last, longest atomic.Int64 // durations
	pause         atomic.Int64 // the longest that a commit was held up
	sparse        sparseBlocks // of who holds the token
	compactor     *compactor   // likewise; nil if the file is well used
	pressure
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
	start := s.o.Now()
	rows, bytes, err := s.checkpointInTurn(ctx, clean)
	if rows > 0 && !clean {
		s.relax()
	}
	if fn := s.o.Events.Checkpoint; fn != nil && (rows > 0 || err != nil) {
		fn(CheckpointEvent{Err: err, Took: s.o.Now().Sub(start), Rows: rows, Bytes: bytes})
	}
	return err
}

// checkpointInTurn waits until no other checkpoint runs.
func (s *Store) checkpointInTurn(ctx context.Context, clean bool) (rows, bytes int64, err error) {
	select {
	case <-s.check.token:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	defer func() { s.check.token <- struct{}{} }()
	rows, bytes, err = s.checkpointAlone(ctx, clean)
	switch {
	case err == nil:
	case ctx.Err() != nil && !errors.Is(err, dberr.ErrPoisoned):
		s.check.ended(nil) // given up, not failed
		return rows, bytes, err
	default:
		err = s.checkpointFailed(err)
	}
	s.check.ended(err)
	return rows, bytes, err
}

func (s *Store) checkpointFailed(err error) error {
	s.check.failed.Add(1)
	s.o.Logger.Warn("checkpoint failed", slog.Any("error", err))
	if errors.Is(err, dberr.ErrPoisoned) {
		return s.poison(err)
	}
	return fmt.Errorf("checkpoint: %w", err)
}

// checkpointAlone returns how many rows, of how many bytes, it wrote.
func (s *Store) checkpointAlone(ctx context.Context, clean bool) (rows, bytes int64, err error) {
	for {
		frozen, leftover := s.freeze()
		if frozen == nil && !clean {
			return rows, bytes, nil
		}
		if err := s.writeFrozen(ctx, frozen, clean && !leftover); err != nil {
			return rows, bytes, err
		}
		if frozen != nil {
			rows, bytes = rows+frozen.entries.Load(), bytes+frozen.bytes.Load()
		}
		if !leftover {
			break
		}
	}
	if clean {
		return rows, bytes, nil
	}
	return rows, bytes, s.compactSome(ctx)
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
	s.layers.Store(&layers{frozen: la.active, active: s.nextOverlay()})
	return la.active, false
}

// nextOverlay returns an empty overlay for what comes from now on. The lock for applying is held.
func (s *Store) nextOverlay() *overlay {
	o := newOverlay()
	o.since = s.published.Load().version
	return o
}

// writeFrozen is steps 2 to 4; frozen may be nil.
func (s *Store) writeFrozen(ctx context.Context, frozen *overlay, clean bool) error {
	start := s.o.Now()
	at := s.check.frozenAt.Load() // from when frozen is dropped it may be another overlay's (stillView)
	if err := s.syncLog(at); err != nil {
		return err
	}
	b, err := s.pager.Begin()
	if err != nil {
		return err
	}
	defer b.Abort()
	if !clean {
		b.Spare(s.othersCommit())
	}
	learn := func() {}
	if frozen != nil {
		if learn, err = s.fill(ctx, b, frozen); err != nil {
			return err
		}
	}
	if err := b.Commit(ctx, at, clean); err != nil {
		return err
	}
	learn()
	s.applying.Lock()
	s.layers.Store(&layers{active: s.layers.Load().active})
	s.applying.Unlock()
	s.check.done.Store(at)
	s.check.count.Add(1)
	took := s.o.Now().Sub(start)
	s.check.last.Store(int64(took))
	raise(&s.check.longest, took)
	if log := s.log.Load(); log != nil && !clean {
		if err := log.Release(wal.LSN(s.pager.State().OldestLog)); err != nil {
			return err
		}
	}
	return nil
}

// quietWrites is after how many writes of a checkpoint without a commit nobody
// commits any more: one takes about as long as a commit.
const quietWrites = 32

// othersCommit returns what tells the checkpoint before each write whether there
// are commits beside it, and none that waits for its end.
func (s *Store) othersCommit() func() bool {
	last, quiet := s.commits.Load(), 0
	return func() bool {
		if n := s.commits.Load(); n != last {
			last, quiet = n, 0
		}
		quiet++
		return quiet <= quietWrites && !s.check.awaited()
	}
}

// yieldRows is how many rows a checkpoint collects before it lets others run, as it
// does after each block: it is never done with its slice of a processor's time
// while committers wait for theirs, and uses what they leave while the log is
// synced.
const yieldRows = 64

// fill writes an overlay into a batch, and rewrites some sparse blocks. learn
// is called when the batch is committed.
func (s *Store) fill(ctx context.Context, b *pager.Batch, o *overlay) (learn func(), err error) {
	stays, few := o.staysInline(s.pager.State().PageSize)
	page := s.pager.View()
	defer page.Close()
	p, err := newPacker(b, page, o)
	if err != nil {
		return nil, err
	}
	p.few, p.buffers.plain = few, s.o.NoCompression
	i := 0
	for n := o.head.following(); n != nil; n = n.following() {
		if i++; i%yieldRows == 0 {
			vfs.Yield()
		}
		if i%stepRows == 0 {
			s.check.step()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		if err := p.row(n.key, n.value(), stays); err != nil {
			return nil, err
		}
	}
	from, err := s.check.sparse.look(p)
	if err != nil {
		return nil, err
	}
	return func() { s.check.sparse.learn(p, from); s.learnSums(p) }, p.finish()
}

// row adds a row of the overlay.
func (p *packer) row(key, val []byte, stays int) error {
	if key[0] == kindBlock && val != nil {
		return p.block(key, val)
	}
	if hasEnvelope(key[0]) {
		if p.overlay.unordered.Load() || key[0] == kindType { // two commits may write a type
			if err := p.lost(key); err != nil {
				return err
			}
		}
		if err := p.gained(val); err != nil {
			return err
		}
	}
	current := p.current(key, val)
	if placeable(key, val) && len(val) > stays {
		return p.place(key, val[1:], current)
	}
	return p.put(key, val)
}

// staysInline returns up to which length values of an overlay stay in the tree
// although they could be placed. A checkpoint leaves the rest of its last
// record page empty for good. So if all that it could place is less than half a
// page, it places only what would crowd a leaf. few says that one block is
// enough for what it places.
func (o *overlay) staysInline(pageSize int) (stays int, few bool) {
	sum := 0
	for n := o.head.following(); n != nil; n = n.following() {
		if val := n.value(); placeable(n.key, val) {
			if sum += len(val); sum >= max(pageSize/2, hotBytes) {
				return 0, false
			}
		}
	}
	if sum >= pageSize/2 {
		return 0, true
	}
	return pageSize / 8, true
}

func placeable(key, val []byte) bool {
	return hasEnvelope(key[0]) && len(val) > 1+inlineMax && val[0] == envInline
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
	var rested <-chan time.Time // reclaim waits for it
	reclaim := s.check.reclaim
	for {
		select {
		case <-ctx.Done():
			return
		case <-rested:
			rested, reclaim = nil, s.check.reclaim
		case <-s.check.wake:
			if s.checkpointWanted() {
				_ = s.checkpoint(ctx, false) // counted, logged, and seen by backpressure
			}
			if s.check.cramped.Swap(false) {
				_ = s.makeRoom(ctx) // likewise
			}
		case <-reclaim:
			if rest := s.reclaimSome(ctx); rest > shortestSleep {
				rested, reclaim = s.newTimer(rest).C, nil
			}
		}
	}
}
