package pager

import (
	"errors"
	"fmt"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// allocator is the one state of who may write which page. Batch and extents
// use it at the same time.
//
// Definitions. Each page of the file is one of these:
//
//	used      needed by the newest root
//	held      not that, but an older root needs it: the older meta's, one that a
//	          View pins, one of a reader slot (Pager.pending)
//	fresh     taken by the running batch (Batch.fresh)
//	reserved  taken by an extent: in flight, or kept because the log names it
//	usable    all others
//
// Invariants:
//
//  1. Only usable pages are handed out, each to one taker (storage.md: usable is
//     persisted free minus held, in flight, and named by the log).
//  2. A page becomes usable when the last root that needed it is neither in a
//     meta slot nor pinned (release); when a batch or an extent that took it
//     gives it back; when the file grows.
//  3. The file is cut only at or behind the last page that is not usable, with
//     the lock held. So a cut never hits what a meta, a View, a slot, or an
//     extent needs, whatever is allocated at the same time: that is fence,
//     wait and verification of a truncation in one step.
//  4. The last reserve pages of the file are usable, but for what a running
//     batch took of them: extents stay below, or make the file grow first
//     (reserve.go).
//
// Policy: the lowest page that fits. So the end of the file empties by itself,
// and what is behind the last page in use is cut now and then (compact.go).
type allocator struct {
	file     vfs.File
	path     string
	pageSize uint64

	mu       sync.Mutex
	usable   usable
	reserve  uint64               // pages at the end that only batches take
	reserved uint64               // pages of extents
	kept     map[*Extent]struct{} // extents that the log names
	lastKept *Extent              // of those, the one that was asked for last; may be nil
	publish  func(pages uint64)   // the file has that many pages
}

// want says what somebody needs.
type want struct {
	need, most uint64 // adjacent pages
	prefer     uint64 // rather so many, if they need not be made
	below      uint64 // preferred below this page; 0 = anywhere
	spare      bool   // leave the reserve alone
}

type run struct{ start, n uint64 }

// newAllocator knows the pages of a file of so many pages whose root is s: what
// is neither used nor held is usable.
func newAllocator(p *Pager, s *space, held []freedSet) *allocator {
	a := &allocator{
		file: p.file, path: p.path, pageSize: uint64(p.pageSize), publish: p.size.Store,
		kept: map[*Extent]struct{}{},
	}
	size := p.size.Load()
	a.usable.resize(size)
	for i := 0; uint64(i)*chunkPages < size; i++ {
		base := uint64(i) * chunkPages
		free := s.freeIn(i)
		for _, h := range held {
			if bm := h.pages[i]; bm != nil {
				free.AndNot(bm)
			}
		}
		for from, to := range free.Ranges() {
			if start, end := base+uint64(from), min(base+to, size); start < end {
				a.usable.give(start, end-start)
			}
		}
	}
	return a
}

// take hands out a run, and says whether it lies above the fence.
func (a *allocator) take(w want) (r run, above bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, above, err = a.takeLocked(w)
	if err == nil && w.spare {
		a.reserved += r.n
	}
	return r, above, err
}

func (a *allocator) takeLocked(w want) (run, bool, error) {
	u := &a.usable
	if w.below != 0 {
		if start, ok := u.choose(w, w.below); ok {
			return a.cutRun(start, w.most, w.below), false, nil
		}
	}
	limit := a.limit(w.spare)
	start, ok := u.choose(w, limit)
	if !ok {
		keep := uint64(0)
		if w.spare {
			keep = a.reserve
		}
		if err := a.grow(w.need + keep - min(w.need+keep, u.size-u.end)); err != nil {
			return run{}, false, err
		}
		limit = a.limit(w.spare)
		if start, ok = u.find(w.need, limit); !ok {
			panic(fmt.Sprintf("pager: no run of %d pages after growing", w.need))
		}
	}
	return a.cutRun(start, w.most, limit), w.below != 0, nil
}

// choose finds the lowest run of the preferred length, or of the needed one.
func (u *usable) choose(w want, limit uint64) (uint64, bool) {
	if w.prefer > w.need {
		if start, ok := u.find(w.prefer, limit); ok {
			return start, true
		}
	}
	return u.find(w.need, limit)
}

// hasBelow reports whether a page below the given one can be had.
func (a *allocator) hasBelow(no uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.usable.find(1, no)
	return ok
}

// limit is the page below which somebody may take pages.
func (a *allocator) limit(spare bool) uint64 {
	if spare {
		return a.usable.size - min(a.reserve, a.usable.size)
	}
	return a.usable.size
}

func (a *allocator) cutRun(start, most, limit uint64) run {
	n := a.usable.next(start, min(start+most, limit), false) - start
	a.usable.take(start, n)
	return run{start, n}
}

// extend takes up to n pages behind a run, as many as are usable there.
func (a *allocator) extend(end, n uint64, w want) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	limit := a.limit(w.spare)
	if w.below != 0 && end <= w.below {
		limit = min(limit, w.below)
	}
	if end >= limit || !a.usable.has(end) {
		return 0
	}
	r := a.cutRun(end, n, limit)
	if w.spare {
		a.reserved += r.n
	}
	return r.n
}

// give makes pages usable; reserved says that they were an extent's.
func (a *allocator) give(start, n uint64, reserved bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.usable.give(start, n)
	if reserved {
		a.reserved -= n
	}
}

// giveSet makes all pages of a set usable.
func (a *allocator) giveSet(s pageSet, reserved bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, bm := range s {
		for from, to := range bm.Ranges() {
			a.usable.give(uint64(i)*chunkPages+uint64(from), to-uint64(from))
		}
	}
	if reserved {
		a.reserved -= s.count()
	}
}

// grow makes room for at least need pages at the end of the file: an eighth
// of its size, from 64 KiB to 64 MiB, or just what is needed where the disk
// has no more. The new size is durable before anything refers to it: who writes
// there syncs before a meta or the log names it. The lock is held.
func (a *allocator) grow(need uint64) error {
	size := a.usable.size
	step := max(need, a.step(size))
	if (size+step)*a.pageSize > maxFileBytes {
		return fmt.Errorf("%w: file of %d pages", dberr.ErrTooLarge, size+step)
	}
	err := a.file.Preallocate(int64(size*a.pageSize), int64(step*a.pageSize))
	if errors.Is(err, vfs.ErrDiskFull) && step > need {
		step = need
		err = a.file.Preallocate(int64(size*a.pageSize), int64(step*a.pageSize))
	}
	if err != nil {
		return fmt.Errorf("growing %s: %w", a.path, err)
	}
	a.publish(size + step)
	a.usable.resize(size + step)
	a.usable.give(size, step)
	return nil
}

const (
	minGrowth = 64 << 10 // bytes
	maxGrowth = 64 << 20
)

// cut shortens the file to so many pages, or to its last page that is not
// usable and the reserve behind it, whatever is more. It reports whether it
// was shortened.
func (a *allocator) cut(pages uint64) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cutLocked(pages)
}

func (a *allocator) cutLocked(pages uint64) (bool, error) {
	u := &a.usable
	if pages = max(pages, u.end+a.reserve); pages >= u.size {
		return false, nil
	}
	if err := a.file.Truncate(int64(pages * a.pageSize)); err != nil {
		return false, fmt.Errorf("cutting %s: %w", a.path, err)
	}
	a.publish(pages)
	u.resize(pages)
	return true, nil
}

// neededEnd is one past the last page that is not usable.
func (a *allocator) neededEnd() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.usable.end
}

// keptEnd is one past the last page of an extent that the log names; a may be
// nil.
func (a *allocator) keptEnd() (end uint64) {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := range a.kept {
		end = max(end, e.pages.end())
	}
	return end
}

// promised returns the pages of extents and of the reserve.
func (a *allocator) promised() (extents, reserve uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reserved, a.reserve
}
