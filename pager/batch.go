package pager

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Batch is one checkpoint: changes to the tree, new records and freed ones,
// that become the next root together or not at all. One goroutine uses it.
//
// Why a checkpoint is safe. Let g be the newest meta and g-1 the other one.
//
//  1. Begin computes usable = free in T(g), minus what a generation freed that
//     the older meta's root or a pinned root still needs. Everything below is
//     written to usable pages or behind the old end of the file, so T(g),
//     T(g-1) and all pinned roots stay as they are (invariants 2 and 3).
//  2. Records, changed tree pages, changed space frames and the space
//     directory are written. Frames and directory describe themselves: their
//     pages are reserved first (finishSpace), then their contents are fixed,
//     then they are written.
//  3. Sync. If it fails: poison; meta g is the newest on disk and whole.
//  4. Meta g+1 is written over meta g-1. If that is torn, slot g is whole. If
//     it lands, everything that it names was synced in step 3 (invariant 4).
//  5. Sync. If it fails: poison; whichever meta the disk has is a full root.
//  6. The root is published. What g+1 freed stays held until generation g+2
//     was written over slot g, and until no View pins a root that needs it.
//
// A commit that closes cleanly writes its roots as generation g+2 too, so that
// both slots say clean (invariant 5).
//
// Memory: opened nodes are bounded. When there are too many of them all but
// the root are written to their fresh pages and dropped; a fresh page that is
// opened again and changed goes back to the allocator.
type Batch struct {
	p         *Pager
	base      *generation
	alloc     *allocator
	edit      *spaceEdit
	fresh     pageSet // pages that this batch took
	freed     pageSet // pages of the base root that this batch does not need
	root      kid     // page 0 and no node: empty tree
	level     int
	entries   uint64
	opened    int // nodes in memory
	changed   bool
	tree      pageWriter
	records   recordRun
	unsynced  int64
	startSize uint64
	err       error // the first failure; nothing works after it
	done      bool
}

const (
	pacedBytes = 4 << 20 // written between two syncs
	writeBytes = 1 << 20 // of one write
)

// Begin starts a batch. There is one at a time.
func (p *Pager) Begin() (*Batch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writable(); err != nil {
		return nil, err
	}
	if p.batch != nil {
		return nil, fmt.Errorf("%w: a batch is open", dberr.ErrInvalid)
	}
	if err := p.loadSpace(); err != nil {
		return nil, err
	}
	g := p.current.Load()
	size := p.size.Load()
	b := &Batch{
		p: p, base: g, edit: p.space.edit(), fresh: pageSet{}, freed: pageSet{},
		alloc: newAllocator(p.space, p.held(), size), root: kid{ref: g.root},
		level: g.level, entries: g.entries, startSize: size,
	}
	b.tree.b, b.records.out.b = b, b
	p.batch = b
	return b, nil
}

// held returns what roots freed that an older root on disk or in a View still
// needs, and forgets the rest; p.mu is held.
func (p *Pager) held() []pageSet {
	oldest := p.oldestPinned()
	for i := range p.slots {
		if p.slots[i].generation != 0 {
			oldest = min(oldest, p.slots[i].rootGeneration)
		}
	}
	kept := p.pending[:0]
	var sets []pageSet
	for _, f := range p.pending {
		if f.generation > oldest {
			kept = append(kept, f)
			sets = append(sets, f.pages)
		}
	}
	clear(p.pending[len(kept):])
	p.pending = kept
	return sets
}

// Put stores a value. Key and value are copied. Any order works, ascending is
// fastest. An error ends the batch: only Abort is left.
func (b *Batch) Put(key, val []byte) error {
	if err := b.usable(); err != nil {
		return err
	}
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes, at most %d", dberr.ErrTooLarge, len(key), MaxKey)
	}
	if len(val) > b.p.pageSize/4 {
		return fmt.Errorf("%w: value of %d bytes, at most %d", dberr.ErrTooLarge, len(val), b.p.pageSize/4)
	}
	return b.broken(b.put(key, val))
}

// Delete removes a key; one that is not there is no error.
func (b *Batch) Delete(key []byte) error {
	if err := b.usable(); err != nil {
		return err
	}
	return b.broken(b.del(key))
}

func (b *Batch) usable() error {
	switch {
	case b.err != nil:
		return b.err
	case b.done:
		return dberr.ErrClosed
	}
	if b.p.poisoned.Load() {
		return b.p.Poisoned()
	}
	return nil
}

// broken remembers the first failure.
func (b *Batch) broken(err error) error {
	if err != nil && b.err == nil {
		b.err = diskFull(err)
		return b.err
	}
	return err
}

// Abort drops the batch: everything is as before Begin. After Commit it does
// nothing.
func (b *Batch) Abort() {
	if b.done {
		return
	}
	b.done = true
	p := b.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batch = nil
	if errors.Is(b.err, vfs.ErrDiskFull) && p.poison == nil && !p.closed.Load() && p.size.Load() > b.startSize {
		// Nothing refers to what the file grew by: others may need it more.
		if p.file.Truncate(int64(b.startSize)*int64(p.pageSize)) == nil {
			p.size.Store(b.startSize)
		}
	}
}

// Commit makes the batch durable as the root of the next generation. logPos
// is what the tree then holds of the log; clean says that no log is needed to
// open the file. On error the batch is gone and nothing of it is visible: a
// full disk (dberr.ErrDiskFull) and a cancelled context leave everything as
// before, a failed sync poisons (dberr.ErrPoisoned). The context counts until
// the meta page is written.
func (b *Batch) Commit(ctx context.Context, logPos uint64, clean bool) error {
	err := b.usable()
	if err != nil {
		b.Abort()
		return err
	}
	err = b.broken(b.commit(ctx, logPos, clean))
	if err != nil {
		b.Abort()
	}
	return err
}

func (b *Batch) commit(ctx context.Context, logPos uint64, clean bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.finishTree(); err != nil {
		return err
	}
	if err := b.records.close(); err != nil {
		return err
	}
	m := *b.p.stateMeta()
	m.logPos, m.clean = logPos, clean
	if b.changed || len(b.edit.owned) != 0 {
		m.rootGeneration = m.generation + 1
		m.root, m.rootLevel, m.entries = b.root.ref, uint32(b.level), b.entries
		if err := b.finishSpace(&m); err != nil {
			return err
		}
	}
	if err := b.tree.flush(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.publish(m)
}

// stateMeta returns the newest meta. A batch is the only writer of roots;
// MarkUnclean may change the rest meanwhile, and publish reckons with that.
func (p *Pager) stateMeta() *meta {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := *p.newest()
	return &m
}

// publish is steps 3 to 6.
func (b *Batch) publish(m meta) error {
	p := b.p
	if err := b.usable(); err != nil {
		return err
	}
	if b.unsynced > 0 || p.size.Load() > b.startSize {
		if err := b.sync(); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writable(); err != nil {
		return err
	}
	isNew := m.rootGeneration > b.base.number
	if isNew && p.newest().generation+1 != m.rootGeneration {
		return fmt.Errorf("%w: meta written during the commit", dberr.ErrInvalid)
	}
	if err := p.writeMeta(m); err != nil {
		return err
	}
	b.done = true
	p.batch = nil
	if isNew {
		p.space = &b.edit.space
		p.pending = append(p.pending, freedSet{generation: m.rootGeneration, pages: b.freed})
		p.publish(&generation{
			number: m.rootGeneration, root: m.root, level: int(m.rootLevel),
			entries: m.entries, space: p.space, place: m.space, pages: m.pages,
		})
	}
	if !m.clean {
		return nil
	}
	if err := p.writeMeta(m); err != nil && p.poison != nil {
		return err
	}
	return nil // a full disk was answered with the same roots in both slots
}

// release gives back a page that the new root does not need.
func (b *Batch) release(no uint64) error {
	if no < firstPage(b.p.pageSize) || !b.edit.give(no) {
		return b.p.corrupt(b.p.pageOffset(no), "page %d is in use and marked free", no)
	}
	if b.fresh.has(no) { // written: it was opened to be changed, and open flushes
		b.fresh.remove(no)
		b.alloc.give(no, 1)
		return nil
	}
	b.freed.add(no, 1)
	return nil
}

// takePage returns a page for the tree, marked used.
func (b *Batch) takePage() (uint64, error) {
	no, ok := b.alloc.one()
	if !ok {
		if err := b.grow(1); err != nil {
			return 0, err
		}
		no, _ = b.alloc.one()
	}
	b.edit.take(no)
	b.fresh.add(no, 1)
	return no, nil
}

// takeRun returns at least need and at most want adjacent pages, not marked.
func (b *Batch) takeRun(need, want uint64) (run, error) {
	if r, ok := b.alloc.take(need, want); ok {
		return r, nil
	}
	_, tail := b.alloc.tail()
	if err := b.grow(need - min(need, tail)); err != nil {
		return run{}, err
	}
	r, ok := b.alloc.take(need, want)
	if !ok {
		panic(fmt.Sprintf("pager: no run of %d pages after growing", need))
	}
	return r, nil
}

// grow makes room for at least need pages at the end of the file: an eighth
// of its size, from 64 KiB to 64 MiB, or just what is needed where the disk
// has no more. The new size is durable before anything refers to it, with the
// sync before the meta.
func (b *Batch) grow(need uint64) error {
	p := b.p
	ps := uint64(p.pageSize)
	size := p.size.Load()
	step := max(need, min(max(size/8, 64<<10/ps), 64<<20/ps))
	if (size+step)*ps > maxFileBytes {
		return fmt.Errorf("%w: file of %d pages", dberr.ErrTooLarge, size+step)
	}
	err := p.file.Preallocate(int64(size*ps), int64(step*ps))
	if errors.Is(err, vfs.ErrDiskFull) && step > need {
		step = need
		err = p.file.Preallocate(int64(size*ps), int64(step*ps))
	}
	if err != nil {
		return fmt.Errorf("growing %s: %w", p.path, err)
	}
	p.size.Store(size + step)
	b.alloc.extend(step)
	return nil
}

// finishSpace reserves the pages of the space frames and the directory, then
// fixes their contents, then writes them (step 2). Freeing the old frames and
// taking new pages changes chunks, which need new frames in turn: it repeats
// until nothing changes. It ends, because each round changes a chunk that was
// not changed before or reserves more pages.
func (b *Batch) finishSpace(m *meta) error {
	ps := uint64(b.p.pageSize)
	if err := b.freeRecord(b.base.place); err != nil {
		return err
	}
	var ext run
	var frames map[int][]byte
	for {
		for stale := true; stale; {
			stale = false
			for i := range b.edit.owned {
				if pl := b.edit.chunks[i].place; pl.Len != 0 {
					b.edit.chunks[i].place = Place{}
					stale = true
					if err := b.freeRecord(pl); err != nil {
						return err
					}
				}
			}
		}
		frames = map[int][]byte{}
		need := directoryFixed
		for i, c := range b.edit.chunks {
			if b.edit.owned[i] && !b.edit.unused(i) {
				frames[i] = c.appendFrame(nil)
				need += len(frames[i])
			}
			if c != nil {
				need += directoryEntry
			}
		}
		for _, bm := range b.freed {
			need += 10 + 5 + int(bm.GetSerializedSizeInBytes())
		}
		pages := (uint64(need) + ps - 1) / ps
		if pages <= ext.n {
			break
		}
		for no := ext.start; no < ext.start+ext.n; no++ {
			b.edit.give(no)
		}
		b.alloc.give(ext.start, ext.n)
		var err error
		if ext, err = b.takeRun(pages, pages); err != nil {
			return err
		}
		for no := ext.start; no < ext.start+ext.n; no++ {
			b.edit.takeRecord(no, 0)
		}
	}
	return b.writeSpace(m, ext, frames)
}

func (b *Batch) writeSpace(m *meta, ext run, frames map[int][]byte) error {
	out := make([]byte, 0, ext.n*uint64(b.p.pageSize))
	off := ext.start * uint64(b.p.pageSize)
	for i, c := range b.edit.chunks {
		if f := frames[i]; f != nil {
			c.place = Place{Off: off + uint64(len(out)), Len: uint32(len(f)), CRC: sum(f)}
			out = append(out, f...)
		}
	}
	at := len(out)
	out = b.edit.appendDirectory(out, m.rootGeneration, b.freed)
	if len(out) > cap(out) {
		panic(fmt.Sprintf("pager: space needs %d bytes, %d reserved", len(out), cap(out)))
	}
	out = out[:cap(out)]
	m.space = Place{Off: off + uint64(at), Len: uint32(len(out) - at), CRC: sum(out[at:])}
	m.pages = b.edit.end()
	return b.tree.write(out, int64(off))
}

// pageWriter joins writes to adjacent places and paces them.
type pageWriter struct {
	b   *Batch
	buf []byte
	off int64
}

func (w *pageWriter) write(data []byte, off int64) error {
	if off != w.off+int64(len(w.buf)) || len(w.buf)+len(data) > writeBytes {
		if err := w.flush(); err != nil {
			return err
		}
		w.off = off
	}
	w.buf = append(w.buf, data...)
	return nil
}

// holds reports whether bytes at off are not in the file yet.
func (w *pageWriter) holds(off int64) bool { return off >= w.off && off < w.off+int64(len(w.buf)) }

func (w *pageWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	p := w.b.p
	if _, err := p.file.WriteAt(w.buf, w.off); err != nil {
		return fmt.Errorf("writing %s at byte %d: %w", p.path, w.off, err)
	}
	w.off += int64(len(w.buf))
	w.b.unsynced += int64(len(w.buf))
	w.buf = w.buf[:0]
	if w.b.unsynced < pacedBytes {
		return nil
	}
	return w.b.sync()
}

// sync makes what was written durable.
func (b *Batch) sync() error {
	p := b.p
	if err := p.file.SyncData(); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.fail(fmt.Errorf("syncing %s: %w", p.path, err))
	}
	b.unsynced = 0
	return nil
}
