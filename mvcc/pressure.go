package mvcc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// Backpressure. What is committed and not in the page file yet lies in memory
// (overlays) and in the log, and both are bounded:
//
//  1. A checkpoint is due when the log since the last one reaches
//     Options.CheckpointBytes, or the active overlay half of its share of the
//     memory budget.
//  2. From three quarters of the share on a commit first waits for one step of
//     the checkpoint under way (stepRows rows, or its end), so commits come no
//     faster than checkpoints take them.
//  3. A commit that would lead beyond the share, or comes when the log is
//     logPressure times as long as a checkpoint wants it, waits until a
//     checkpoint made room; if that fails, so does the commit, with nothing
//     written. Only with nothing to wait for any commit goes through.
//  4. Retention, whose rows come faster than commits do, leaves an eighth of the share before that:
//     it waits until a checkpoint made room, so that commits seldom have to.
//
// Waiting holds nothing, ends with the context, and depends on no reader: a
// checkpoint waits for none.
type pressure struct {
	mu      sync.Mutex
	next    chan struct{} // closed at the next step; made by the first who waits
	waiting int
	ends    uint64 // checkpoints that ended
	err     error  // of the last one
}

const (
	stepRows    = 1024
	logPressure = 4
)

// step lets those go on who wait for a step.
func (p *pressure) step() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stepLocked()
}

func (p *pressure) stepLocked() {
	if p.next != nil {
		close(p.next)
		p.next = nil
	}
}

// ended notes how a checkpoint ended.
func (p *pressure) ended(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends++
	p.err = err
	p.stepLocked()
}

// await returns what to wait on for the next step.
func (p *pressure) await() (next <-chan struct{}, ends uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		p.next = make(chan struct{})
	}
	return p.next, p.ends, p.err
}

func (p *pressure) wait(by int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting += by
}

func (p *pressure) awaited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting > 0
}

// room says how a commit of some bytes fits.
type room int

const (
	ample room = iota
	scarce
	none
)

func (s *Store) room(bytes int64) room {
	held := s.layers.Load().bytes() + s.seq.bytes.Load()
	limit := s.budget.overlayBytes
	log := int64(s.log.Load().End()) - int64(s.check.done.Load())
	switch {
	case held == 0:
		return ample
	case held+bytes > limit || log/logPressure > s.o.CheckpointBytes:
		return none
	case held+bytes > limit/4*3:
		return scarce
	}
	return ample
}

// backpressure lets a commit of so many bytes in, and returns how long that
// took.
func (s *Store) backpressure(ctx context.Context, bytes int64) (time.Duration, error) {
	if s.o.CheckpointBytes < 0 || s.log.Load() == nil || s.room(bytes) == ample {
		return 0, nil
	}
	start := s.o.Now()
	err := s.awaitRoom(ctx, func() room { return s.room(bytes) })
	took := s.o.Now().Sub(start)
	raise(&s.check.pause, took)
	return took, err
}

// upkeepBytes is what one upkeep group may add to the overlay, roughly.
const upkeepBytes = 128 << 10

// roomForUpkeep lets an upkeep group in. On a full disk it may take what is left for commits,
// since it is what frees space.
func (s *Store) roomForUpkeep(ctx context.Context) error {
	if s.o.CheckpointBytes < 0 || s.log.Load() == nil || s.upkeepRoom() == ample {
		return nil
	}
	err := s.awaitRoom(ctx, s.upkeepRoom)
	if errors.Is(err, dberr.ErrDiskFull) && s.room(upkeepBytes) != none {
		return nil
	}
	return err
}

// upkeepRoom is room for an upkeep group.
func (s *Store) upkeepRoom() room {
	held := s.layers.Load().bytes() + s.seq.bytes.Load()
	if s.room(upkeepBytes) == ample && (held == 0 || held+upkeepBytes <= s.budget.overlayBytes/8*5) {
		return ample
	}
	return none
}

// awaitRoom waits until something fits.
func (s *Store) awaitRoom(ctx context.Context, fits func() room) error {
	s.check.wait(1)
	defer s.check.wait(-1)
	_, first, _ := s.check.await()
	for stepped := false; ; stepped = true {
		next, ends, failed := s.check.await()
		r := fits()
		switch {
		case r == ample, r == scarce && stepped:
			return nil
		case ends > first && failed != nil:
			return failed
		}
		if err := s.writable(); err != nil {
			return err
		}
		s.wakeCheckpointer()
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.life.Done():
			return dberr.ErrClosed
		}
	}
}

// checkpointDue reports whether the log or the overlay is long enough; the
// applying lock is held.
func (s *Store) checkpointDue() bool {
	if s.o.CheckpointBytes < 0 {
		return false
	}
	la := s.layers.Load()
	return s.applied-s.check.done.Load() >= uint64(s.o.CheckpointBytes) ||
		la.active.extents.Load() >= s.o.CheckpointBytes || la.active.bytes.Load() >= s.budget.overlayBytes/2
}

// checkpointWanted is for the background goroutine: it may have been woken by
// what the checkpoint before has dealt with already.
func (s *Store) checkpointWanted() bool {
	s.applying.Lock()
	defer s.applying.Unlock()
	return s.checkpointDue() || s.check.awaited()
}
