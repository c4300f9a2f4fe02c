package pager

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// An extent is records that are written outside a batch, so that a big commit
// writes its bytes once: into the page file, while it is prepared. The log then
// names their places, and the next checkpoint takes them over as they lie.
//
// The life of an extent, and who knows of its pages:
//
//		NewExtent --Record, Sync--> in flight --Keep--> kept --Adopt, Commit--> used
//		                               |                  |
//		                            Release             crash: the log names it,
//		                            or crash            Named reserves it again
//		                               v
//		                             free
//
//	 1. Nothing on disk says that the pages of an extent are taken: in all roots
//	    they are free. In flight and kept they are reserved in memory (allocator),
//	    after a crash they are free unless the log names them. So an extent that
//	    died costs nothing, and one that the log names must be reserved before
//	    anything is allocated (Named before the first Begin or NewExtent).
//	 2. The log names a place only after Sync, which makes the bytes and the
//	    file's size durable. (At lower levels of durability it may be named
//	    earlier: then recovery reads it, and its checksum tells.)
//	 3. A kept extent stays reserved until a batch that adopted places of it is
//	    committed; an aborted batch changes nothing.
//	 4. All places of one extent that are adopted at all are adopted by one batch:
//	    they belong to one commit, and a checkpoint takes whole commits. So when
//	    that batch is committed, what it did not adopt is free. It stays held like
//	    other pages that this root freed: while the meta before is there, a
//	    fallback to it replays the log that names them. The same holds for places
//	    that are adopted and freed by one batch.
//	 5. The pages of an extent hold nothing but its records.
type Extent struct {
	p         *Pager
	out       output
	records   recordRun
	pages     pageSet
	startSize uint64
	named     bool // not of this session: any place may be adopted at any time
	err       error
	over      bool // kept or released
}

// NewExtent begins an extent. Any number of them may be written at a time, each
// by one goroutine, beside a batch and beside Views.
func (p *Pager) NewExtent() (*Extent, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	e := &Extent{p: p, pages: pageSet{}, startSize: p.size.Load()}
	e.out = output{p: p, written: &p.writtenExtents}
	e.out.early, _ = p.file.(vfs.EarlyWriter)
	e.records.out.output, e.records.source = &e.out, e
	return e, nil
}

// ready says whether the file may be written, and loads the space. It does not
// wait for a meta write if the space is there.
func (p *Pager) ready() error {
	if err := p.writable(); err != nil || p.loaded.Load() {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loadSpace()
}

// Record stores bytes and returns their place. They can be read (View.ReadRecord)
// after Flush or Sync. A full disk (dberr.ErrDiskFull), like any error, ends the
// extent: only Release is left.
func (e *Extent) Record(data []byte) (Place, error) {
	if err := e.usable(); err != nil {
		return Place{}, err
	}
	if len(data) == 0 {
		return Place{}, nil
	}
	if uint64(len(data)) > math.MaxUint32 {
		return Place{}, fmt.Errorf("%w: record of %d bytes", dberr.ErrTooLarge, len(data))
	}
	pl, err := e.records.add(data)
	return pl, e.broken(err)
}

// Flush writes what is buffered, without making it durable.
func (e *Extent) Flush() error {
	if err := e.usable(); err != nil {
		return err
	}
	return e.broken(e.records.close())
}

// Sync makes all records so far durable. If that fails nothing is written to the
// file any more (dberr.ErrPoisoned), and what the log does not name is absent.
// The context is looked at before the sync.
func (e *Extent) Sync(ctx context.Context) error {
	if err := e.Flush(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.out.unsynced == 0 {
		return nil
	}
	return e.broken(e.out.sync())
}

func (e *Extent) usable() error {
	switch {
	case e.err != nil:
		return e.err
	case e.over, e.p.closed.Load():
		return dberr.ErrClosed
	}
	return e.p.Poisoned()
}

// broken remembers the first failure.
func (e *Extent) broken(err error) error {
	if err != nil && e.err == nil {
		e.err = diskFull(err)
		return e.err
	}
	return err
}

// Keep says that the log names the extent now: its pages stay reserved until a
// committed batch adopted its places. Everything must be flushed. The extent
// takes no more records.
func (e *Extent) Keep() {
	if e.records.end != 0 {
		panic("pager: an extent is kept that was not flushed")
	}
	if e.over {
		return
	}
	e.over = true
	e.p.alloc.keep(e)
}

// Release gives the extent up: its pages are usable again. After Keep, and a
// second time, it does nothing.
func (e *Extent) Release() {
	if e.over {
		return
	}
	e.over = true
	a := e.p.alloc
	a.giveSet(e.pages, true)
	if errors.Is(e.err, vfs.ErrDiskFull) && e.p.Poisoned() == nil && !e.p.closed.Load() {
		_, _ = a.cut(e.startSize) // others may need it more; if it cannot be cut it stays
	}
}

func (e *Extent) takeRun(w want) (run, error) {
	w.spare = true
	r, _, err := e.p.alloc.take(w)
	if err == nil {
		e.pages.add(r.start, r.n)
	}
	return r, err
}

func (e *Extent) extendRun(end, n uint64) uint64 {
	n = e.p.alloc.extend(end, n, want{spare: true})
	e.pages.add(end, n)
	return n
}

// closeRun gives back the pages of a run that no record reached.
func (e *Extent) closeRun(r run, live []uint32) {
	for i, n := range live {
		if n == 0 {
			e.pages.remove(r.start + uint64(i))
			e.p.alloc.give(r.start+uint64(i), 1, true)
		}
	}
}

// Named says that the log names a place past the checkpoint. Recovery calls it
// for every such place before the first Begin and the first NewExtent. A place
// outside the file, or in pages that are in use, is a *dberr.CorruptError, and
// nothing is reserved.
func (p *Pager) Named(pl Place) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.Len == 0 {
		return nil
	}
	if !p.inFile(pl) {
		return p.corrupt(-1, "the log names a record at %s, outside the file of %d pages", pl, p.size.Load())
	}
	if p.readOnly { // nothing is allocated
		return nil
	}
	if err := p.writable(); err != nil {
		return err
	}
	if err := p.loadSpace(); err != nil {
		return err
	}
	p.release()
	if p.named == nil {
		p.named = &Extent{p: p, pages: pageSet{}, named: true, over: true}
		p.alloc.keep(p.named)
	}
	if no, ok := p.alloc.reserveNamed(p.named, pl); !ok {
		return p.corrupt(int64(pl.Off), "the log names a record at %s, but page %d is in use", pl, no)
	}
	return nil
}

// Adopt makes a record that the log named part of the new root: from here on it
// is a record like any other, and the caller puts its place into the tree. What
// was stored since the checkpoint before and is not needed any more is adopted
// and freed.
func (b *Batch) Adopt(pl Place) error {
	if err := b.usable(); err != nil {
		return err
	}
	return b.broken(b.adopt(pl))
}

func (b *Batch) adopt(pl Place) error {
	if pl.Len == 0 {
		return nil
	}
	if !b.p.inFile(pl) {
		return b.p.corrupt(-1, "adopted record place %s is outside the file", pl)
	}
	for no, n := range overlaps(pl, uint64(b.p.pageSize)) {
		e := b.p.alloc.keeper(no)
		if e == nil {
			return b.p.corrupt(int64(pl.Off), "adopted record place %s: page %d is not reserved for the log", pl, no)
		}
		if !b.edit.revive(no, n, b.p.pageSize) {
			return b.p.corrupt(int64(pl.Off), "adopted record place %s: page %d holds other records there", pl, no)
		}
		if b.adopted[e] == nil {
			b.adopted[e] = pageSet{}
		}
		b.adopted[e].add(no, 1)
		b.freed.remove(no)
	}
	return nil
}

// freeRest frees what the adopted extents have besides (rule 4).
func (b *Batch) freeRest() {
	for e, pages := range b.adopted {
		if !e.named {
			b.freed.addSet(e.pages.without(pages))
		}
	}
}

// keep registers an extent that the log names.
func (a *allocator) keep(e *Extent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept[e] = struct{}{}
}

// keeper returns the kept extent that has the page, or nil.
func (a *allocator) keeper(no uint64) *Extent {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.lastKept; e != nil && e.pages.has(no) {
		return e
	}
	for e := range a.kept {
		if e.pages.has(no) {
			a.lastKept = e
			return e
		}
	}
	return nil
}

// reserveNamed adds the pages of a place to the extent of the recovered log, or
// returns the one that is not usable.
func (a *allocator) reserveNamed(e *Extent, pl Place) (uint64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for no := range overlaps(pl, a.pageSize) {
		if !e.pages.has(no) && !a.usable.has(no) {
			return no, false
		}
	}
	for no := range overlaps(pl, a.pageSize) {
		if !e.pages.has(no) {
			a.usable.take(no, 1)
			e.pages.add(no, 1)
			a.reserved++
		}
	}
	return 0, true
}

// forget ends the reservation of what a committed batch adopted, and of the rest
// of its extent: these pages are used now, or held.
func (a *allocator) forget(e *Extent, adopted pageSet) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !e.named {
		a.reserved -= e.pages.count()
		delete(a.kept, e)
		a.lastKept = nil
		return
	}
	a.reserved -= adopted.count()
	e.pages = e.pages.without(adopted)
}
