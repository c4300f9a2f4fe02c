package mvcc

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// Compaction gives free space inside the file back to the file system, while
// commits and readers go on. It is a row of small batches of the page file, each
// as safe as a checkpoint (pager/batch.go) and as easy to give up:
//
//  1. A pass chooses a cut: where the file would end if what lives was packed.
//  2. It looks at every block, in the order of numbers. A block with much that
//     is dead is rewritten (blocklife.go); one that lies behind the cut, or in
//     pages that are mostly empty, is copied as it is: its number stays, only its
//     row changes. All of it goes to the lowest free pages.
//  3. The pass ends with the pages of the index behind the cut.
//  4. After each batch the file is cut behind the last page in use. What the
//     batch before freed is free for the next one.
//
// Passes are repeated as long as they gain something. Between two batches
// checkpoints run as usual, so nobody waits longer than one batch takes.
//
// Checkpoints do a batch of this as well when more than half of the file is free.
type compactor struct {
	cut  uint64   // page
	from uint64   // number of the next block to look at
	end  uint64   // even numbers from here on are the pass's own blocks
	live []uint16 // live bytes of pages with blocks, as of the start of the pass
	done bool     // the pass is at its end
}

const (
	compactBytes  = 2 << 20 // that one batch moves
	compactGain   = 64      // a pass that shortens the file by less than one part in so many is the last
	compactPasses = 16
	// emptyFree: checkpoints compact when more than half of the file is free, and
	// at least so much.
	emptyFree = 1 << 20
)

// CompactReport says what Compact did.
type CompactReport struct {
	Before, After int64 // size of the page file
	Moved         int64 // bytes of blocks that were moved
	Batches       int
}

// Compact makes the page file as short as what lives in it allows, about. It may
// be called at any time; commits and readers go on. It can be cancelled at any
// time, and what it reached stays. progress, if not nil, is called after each
// batch from the goroutine of Compact. Errors: ErrDiskFull when not even a batch
// fits, ErrReadOnly, ErrClosed, ErrPoisoned, ErrCorrupt.
func (s *Store) Compact(ctx context.Context, progress func(CompactReport)) (CompactReport, error) {
	report := CompactReport{}
	if err := s.writable(); err != nil {
		return report, err
	}
	if err := s.checkpoint(ctx, false); err != nil {
		return report, err
	}
	report.Before = int64(s.pager.Stats().FileBytes)
	report.After = report.Before
	for pass := range compactPasses {
		start, moved := report.After, report.Moved
		c := &compactor{}
		for !c.done {
			n, err := s.compactBatch(ctx, c, compactBytes)
			report.Moved += int64(n)
			report.Batches++
			report.After = int64(s.pager.Stats().FileBytes)
			if err != nil {
				return report, err
			}
			if progress != nil {
				progress(report)
			}
		}
		// The first pass may find no room below and only make some.
		if report.Moved == moved || pass > 0 && report.After > start-start/compactGain {
			break
		}
	}
	return report, nil
}

// compactBatch is one batch, in turn with checkpoints.
func (s *Store) compactBatch(ctx context.Context, c *compactor, budget uint64) (moved uint64, err error) {
	select {
	case <-s.check.token:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { s.check.token <- struct{}{} }()
	if err := s.writable(); err != nil {
		return 0, err
	}
	moved, err = s.compactAlone(ctx, c, budget)
	if err == nil || ctx.Err() != nil {
		return moved, err
	}
	return moved, fmt.Errorf("compacting: %w", s.extentError(err))
}

// compactAlone is a batch, with the token of checkpoints held. The tree has the
// log up to where the last checkpoint has; without a log the file stays clean.
func (s *Store) compactAlone(ctx context.Context, c *compactor, budget uint64) (uint64, error) {
	b, err := s.pager.Begin()
	if err != nil {
		return 0, err
	}
	defer b.Abort()
	page := s.pager.View()
	defer page.Close()
	p, err := newPacker(b, page, nil)
	if err != nil {
		return 0, err
	}
	p.buffers.plain = s.o.NoCompression
	if err := s.compactBlocks(ctx, c, p, budget); err != nil {
		return 0, err
	}
	if err := p.finish(); err != nil {
		return 0, err
	}
	if c.done {
		if err := b.MoveTree(ctx, c.cut); err != nil {
			return 0, err
		}
	}
	page.Close() // or it would keep what the batch frees
	if err := b.Commit(ctx, s.check.done.Load(), !s.unclean); err != nil {
		return 0, err
	}
	s.check.sparse.forget(p)
	s.learnSums(p)
	if err := s.pager.Shrink(ctx); err != nil {
		return p.moved, err
	}
	if log := s.log.Load(); log != nil && s.unclean {
		return p.moved, log.Release(wal.LSN(s.pager.State().OldestLog))
	}
	return p.moved, nil
}

// compactBlocks looks at blocks until enough was moved or all were seen.
func (s *Store) compactBlocks(ctx context.Context, c *compactor, p *packer, budget uint64) error {
	pageSize := uint64(s.pager.State().PageSize)
	if c.live == nil {
		var err error
		if c.cut, err = s.pager.PackedPages(); err != nil {
			return err
		}
		if err := c.measure(ctx, p.page, pageSize); err != nil {
			return err
		}
		c.end = p.next
	}
	p.b.Fence(c.cut)
	from := blockKey(c.from)
	cur := p.page.Seek(from)
	for rows := 0; p.moved < budget; rows++ {
		if !cur.Valid() || cur.Key()[0] != kindBlock {
			c.done = cur.Err() == nil
			return cur.Err()
		}
		if rows%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if len(cur.Key()) != 9 {
			return corrupt("block key %x", cur.Key())
		}
		number := be.Uint64(cur.Key()[1:])
		row, err := decodeBlockRow(number, cur.Value())
		if err != nil {
			return err
		}
		switch {
		case number%2 == 0 && number >= c.end:
		case row.liveMembers < row.members && row.liveBytes < row.contents-row.contents/4:
			err = p.rewrite(number, row)
		case c.worthMoving(row.place, pageSize):
			err = p.copy(number, row)
		}
		if err != nil {
			return err
		}
		c.from = number + 1
		cur.Next()
	}
	return cur.Err()
}

// measure adds up what the blocks need of each page.
func (c *compactor) measure(ctx context.Context, page *pager.View, pageSize uint64) error {
	c.live = []uint16{}
	return walkTree(ctx, page, []byte{kindBlock}, func(key, val []byte) error {
		row, err := decodeBlockRow(0, val)
		if err != nil {
			return err
		}
		first, last := row.place.Off/pageSize, (row.place.Off+uint64(row.place.Len)-1)/pageSize
		if n := int(last) + 1 - len(c.live); n > 0 {
			c.live = append(c.live, make([]uint16, n)...)
		}
		for no := first; no <= last; no++ {
			lo := max(row.place.Off, no*pageSize)
			hi := min(row.place.Off+uint64(row.place.Len), (no+1)*pageSize)
			c.live[no] += uint16(min(hi-lo, 1<<16-1-uint64(c.live[no])))
		}
		return nil
	})
}

// worthMoving reports whether a record lies behind the cut, or shares pages
// with much that is empty.
func (c *compactor) worthMoving(pl pager.Place, pageSize uint64) bool {
	first, last := pl.Off/pageSize, (pl.Off+uint64(pl.Len)-1)/pageSize
	if last >= c.cut {
		return true
	}
	if last >= uint64(len(c.live)) {
		return false // moved since the pass began
	}
	used := uint64(0)
	for no := first; no <= last; no++ {
		used += uint64(c.live[no])
	}
	return used < (last-first+1)*pageSize*3/4
}

// copy moves a block as it is.
func (p *packer) copy(number uint64, row blockRow) error {
	stored, err := p.page.ReadRecord(row.place)
	if err != nil {
		return err
	}
	old := row.place
	if row.place, err = p.b.Record(stored); err != nil {
		return err
	}
	p.moved += uint64(len(stored))
	if err := p.b.FreeRecord(old); err != nil {
		return err
	}
	return p.b.Put(blockKey(number), row.append(nil))
}

// compactSome is what a checkpoint does for a file that is mostly empty; the
// token of checkpoints is held.
func (s *Store) compactSome(ctx context.Context) error {
	st := s.pager.Stats()
	free := st.FreePages * uint64(s.pager.State().PageSize)
	if free < emptyFree || free < st.FileBytes/2 {
		s.check.compactor = nil
		return nil
	}
	if s.check.compactor == nil || s.check.compactor.done {
		s.check.compactor = &compactor{}
	}
	_, err := s.compactAlone(ctx, s.check.compactor, rewriteBytes)
	if err != nil {
		s.check.compactor = nil // the next checkpoint begins again
	}
	if errors.Is(err, dberr.ErrPoisoned) {
		return err
	}
	return nil
}
