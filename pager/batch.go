package pager

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Batch is one checkpoint: changes to the tree, new records and freed ones,
// that become the next root together or not at all. One goroutine uses it.
//
// Why a checkpoint is safe. Let g be the newest meta and g-1 the other one.
//
//  1. Pages come from the allocator, which hands out usable ones only: free in
//     T(g), minus what a generation freed that the older meta's root or a pinned
//     root still needs, minus those of extents (alloc.go). Everything below is
//     written to these or behind the old end of the file, so T(g), T(g-1), all
//     pinned roots and all extents stay as they are (invariants 2 and 3).
//  2. Records, changed tree pages, changed space frames and the space
//     directory are written. Frames and directory describe themselves: their
//     pages are reserved first (finishSpace), then their contents are fixed,
//     then they are written.
//  3. Sync. If it fails: poison; meta g is the newest on disk and whole.
//  4. Meta g+1 is written over meta g-1. If that is torn, slot g is whole. If
//     it lands, everything that it names was synced in step 3 (invariant 4).
//  5. Sync. If it fails: poison; whichever meta the disk has is a full root.
//  6. The root is published. What g+1 freed stays held until generation g+2
//     was written over slot g, and until no View pins a root that needs it. So do
//     pages of extents that the log before g+1 named and g+1 does not need: a
//     fallback to meta g replays that log.
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
	makes     uint64 // the generation after the newest at Begin, stamped on tree pages
	edit      *spaceEdit
	fresh     pageSet             // pages that this batch took
	freed     pageSet             // pages that roots or logs before this batch need, and its root does not
	adopted   map[*Extent]pageSet // pages with records that the log named so far
	fence     atomic.Uint64       // pages are taken below, if there are any; 0 = anywhere
	above     uint64              // pages taken above the fence
	root      kid                 // page 0 and no node: empty tree
	level     int
	entries   uint64
	opened    int    // nodes in memory
	memory    []byte // for keys and values
	changed   bool
	out       output
	tree      pageWriter
	records   recordRun
	startSize uint64
	err       error // the first failure; nothing works after it
	done      bool
}

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
	p.release()
	g := p.current.Load()
	b := &Batch{
		p: p, base: g, makes: p.newest().generation + 1, edit: p.space.edit(), fresh: pageSet{}, freed: pageSet{},
		adopted: map[*Extent]pageSet{}, root: kid{ref: g.root},
		level: g.level, entries: g.entries, startSize: p.size.Load(),
	}
	b.out = output{p: p, written: &p.written}
	b.tree.output, b.records.out.output, b.records.source = &b.out, &b.out, b
	p.batch = b
	return b, nil
}

// Spare has the batch write so that others' syncs of files on the same disk wait
// as little as possible, at the cost of its own speed, whenever fn says that
// there are such. It comes before the first Put.
func (b *Batch) Spare(fn func() bool) {
	b.out.spare = fn
	b.out.early, _ = b.p.file.(vfs.EarlyWriter)
}

// release makes usable what roots freed and no older root needs any more: none
// on disk, in a View or in a reader slot. p.mu is held, the space is loaded.
func (p *Pager) release() {
	oldest, _ := p.offer.honour(p.oldestNeeded())
	kept := p.pending[:0]
	for _, f := range p.pending {
		if f.generation > oldest {
			kept = append(kept, f)
		} else {
			p.alloc.giveSet(f.pages, false)
		}
	}
	clear(p.pending[len(kept):])
	p.pending = kept
}

// Put stores a value. Key and value are copied. Any order works, ascending is
// fastest. An error ends the batch: only Abort is left.
func (b *Batch) Put(key, val []byte) error {
	return b.PutAll([]Row{{key, val}})
}

// Row is a key with its value.
type Row struct{ Key, Val []byte }

// PutAll is Put for several rows: neighbours that ascend are put into their page
// together.
func (b *Batch) PutAll(rows []Row) error {
	if err := b.usable(); err != nil {
		return err
	}
	for _, r := range rows {
		if len(r.Key) == 0 || len(r.Key) > MaxKey {
			return fmt.Errorf("%w: key of %d bytes, at most %d", dberr.ErrTooLarge, len(r.Key), MaxKey)
		}
		if len(r.Val) > b.p.pageSize/4 {
			return fmt.Errorf("%w: value of %d bytes, at most %d", dberr.ErrTooLarge, len(r.Val), b.p.pageSize/4)
		}
	}
	for len(rows) > 0 {
		n, err := b.put(rows)
		if err != nil {
			return b.broken(err)
		}
		rows = rows[n:]
	}
	return nil
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
	return b.p.Poisoned()
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
	p.alloc.giveSet(b.fresh, false)
	if errors.Is(b.err, vfs.ErrDiskFull) && p.Poisoned() == nil && !p.closed.Load() {
		// Nothing refers to what the file grew by: others may need it more. If it
		// cannot be cut it stays.
		_, _ = p.alloc.cut(b.startSize)
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
	// The rest of the last run comes back first: what is written now goes there,
	// and the file can end behind it.
	if err := b.records.close(); err != nil {
		return err
	}
	if err := b.finishTree(); err != nil {
		return err
	}
	b.freeRest()
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
	if b.out.unsynced > 0 || p.size.Load() > b.startSize {
		if err := b.out.sync(); err != nil {
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
		p.treePages.Store(p.space.treePages())
		for e, pages := range b.adopted {
			p.alloc.forget(e, pages)
		}
		p.release()
		p.alloc.trimSome()
	}
	if !m.clean {
		return nil
	}
	if err := p.writeMeta(m); err != nil && p.Poisoned() != nil {
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
		b.p.alloc.give(no, 1, false)
		return nil
	}
	b.freed.add(no, 1)
	return nil
}

// takePage returns a page for the tree, marked used.
func (b *Batch) takePage() (uint64, error) {
	one := want{need: 1, most: 1}
	r, err := b.takeRun(one)
	if errors.Is(err, vfs.ErrDiskFull) && b.records.end != 0 {
		// The run of the records is longer than they need, and may be all that is left.
		if err := b.records.close(); err != nil {
			return 0, err
		}
		r, err = b.takeRun(one)
	}
	if err != nil {
		return 0, err
	}
	b.edit.take(r.start)
	return r.start, nil
}

// takeRun takes adjacent pages, not marked.
func (b *Batch) takeRun(w want) (run, error) {
	w.below = b.fence.Load()
	r, above, err := b.p.alloc.take(w)
	if err != nil {
		return run{}, err
	}
	if above {
		b.above += r.n
	}
	b.fresh.add(r.start, r.n)
	return r, nil
}

func (b *Batch) extendRun(end, n uint64) uint64 {
	n = b.p.alloc.extend(end, n, want{below: b.fence.Load()})
	b.fresh.add(end, n)
	return n
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
			b.fresh.remove(no)
		}
		b.p.alloc.give(ext.start, ext.n, false)
		var err error
		if ext, err = b.takeRun(want{need: pages, most: pages}); err != nil {
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
