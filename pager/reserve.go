package pager

import "fmt"

// The reserve against a full disk. A commit is acknowledged when the log has it;
// the checkpoint that moves it into the page file comes later and must not fail
// then. So before a commit is acknowledged the room for that checkpoint is made.
//
// Why a checkpoint that fits the reserve cannot hit a full disk:
//
//  1. Reserve(n) returns nil only if the last n bytes of the file, and the base
//     on top of that, are usable pages: adjacent, and preallocated, so that the
//     file system has given out their blocks. (The medium must keep that
//     promise: a file system that copies on write, or compresses, may not.)
//  2. Extents stay below the reserve, or make the file grow by what they need
//     and what is missing of the reserve (allocator, invariant 4). Cutting the
//     file leaves it. So only batches take pages of it, and they give back on
//     Abort, or use on Commit, no more than what they write.
//  3. A batch that writes at most n bytes, in records of which the longest one
//     was counted once more, finds room for each: single pages come from
//     anywhere; a record's run begins in any hole that is long enough, or else
//     in the reserve, where runs follow each other without gaps except where
//     tree pages were written between two records: there the rest of a run that
//     was too short stays behind, which is less than a record, and the next tree
//     pages fill it, because the lowest page is taken first.
//  4. The meta slots exist. So nothing that such a batch does makes the file
//     grow.
//  5. The caller counts everything that is not in a committed batch yet: while a
//     batch runs, what it was made of and what came since. Then, whatever the
//     running batch has taken already, what is left is enough for the rest of
//     it and for the next one. After its commit the caller says the lower
//     number; until then the higher one holds.
//
// What a batch replaces becomes usable two generations later, so the reserve does
// not count on it.
const baseReserve = 256 << 10 // bytes beside what is asked for: meta data of a checkpoint, a prune

// Reserve makes sure that batches find so many bytes of usable space, and the
// base beside it, however full the disk gets: what the next checkpoint may
// write, tree pages (TreeBytes) and records, the longest record counted twice.
// It replaces what was reserved before. It is cheap while the file has the
// space; otherwise the file grows. dberr.ErrDiskFull: there is no such space, and
// what was reserved before still is.
func (p *Pager) Reserve(bytes int64) error {
	if err := p.ready(); err != nil {
		return err
	}
	if bytes < 0 || uint64(bytes) > maxFileBytes {
		return fmt.Errorf("pager: reserve of %d bytes", bytes)
	}
	ps := uint64(p.pageSize)
	return diskFull(p.alloc.setReserve((uint64(bytes) + baseReserve + ps - 1) / ps))
}

func (a *allocator) setReserve(pages uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if tail := a.usable.size - a.usable.end; tail < pages {
		if err := a.grow(pages - tail); err != nil {
			return err
		}
	}
	a.reserve = pages
	return nil
}

// TreeBytes is the most that a batch writes into tree pages and the map of the
// free space when it puts or deletes so many rows, with so many bytes of keys and
// values: for Reserve.
func (p *Pager) TreeBytes(rows, bytes int64) int64 {
	if rows <= 0 {
		return 0
	}
	g := p.current.Load()
	ps, tree := int64(p.pageSize), int64(p.treePages.Load())
	// A leaf that is touched is written, and may be split by one short row; long
	// rows fill further pages, at least three eighths of each.
	touched := min(rows, tree)
	leaves := 2*touched + 3*(bytes+leafOverhead*rows)/ps + 2
	branches := min(rows*int64(g.level+1), tree) + leaves/4 + 2
	chunks := int64(g.pages/chunkPages) + 1
	return (leaves+branches)*ps + chunks*(4*maxBitmap+3*chunkPages)
}
