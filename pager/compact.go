package pager

import (
	"context"
	"fmt"
)

// How the file gets shorter. The allocator takes the lowest page that fits, so
// what is rewritten moves down, and the end of the file empties by itself: then
// commits cut it, in steps (trimSome). To force it, a batch moves what lies high:
//
//	cut := p.PackedPages()                     // as if all were packed
//	batch: Fence(cut); the caller moves records at or above the cut;
//	       MoveTree(ctx, cut); Commit
//	p.Shrink(ctx)
//
// and again while that helps.
//
// Truncation. The rule is: fence the allocator below the cut, wait until both
// metas' roots, pinned roots, reader slots, and extents in flight or named by
// the log need nothing above, then meta, sync, truncate. Here the allocator
// knows of each page whether any of those needs it (alloc.go), so the cut is
// made where the last such page ends, under the allocator's lock: nobody takes
// a page between the look and the cut, so the fence is the lock, and there is
// nothing to wait for; what is pinned today is cut another day. The roots of
// both metas were durable before the pages that they do not need became usable.
//
// A fence is a wish: a batch that finds no room below takes pages above, and
// says how many (Above). Commits that write extents meanwhile take the lowest
// pages like everybody.

// Fence makes the batch take pages below the given one, as long as there are.
func (b *Batch) Fence(page uint64) { b.fence.Store(page) }

// Above is how many pages at or above the fence the batch had to take.
func (b *Batch) Above() uint64 { return b.above }

// PackedPages is the number of pages that the file would have if what is in use
// was packed, with some room for runs that do not fit the holes: a page to fence
// at. It is not below the end of the file in use if packing gains nothing.
func (p *Pager) PackedPages() (uint64, error) {
	if err := p.ready(); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	p.alloc.mu.Lock()
	defer p.alloc.mu.Unlock()
	u := &p.alloc.usable
	used := u.size - u.count
	return min(used+used/32+preferPages, u.end), nil
}

// MoveTree rewrites the tree pages at or above a page, lower if there is room
// below: leaves as they are, branches with their new children. The space frames
// up there are rewritten by Commit.
func (b *Batch) MoveTree(ctx context.Context, from uint64) error {
	if err := b.usable(); err != nil {
		return err
	}
	return b.broken(b.moveTree(ctx, from))
}

func (b *Batch) moveTree(ctx context.Context, from uint64) error {
	for i, c := range b.edit.chunks {
		if c != nil && c.place.Len != 0 && (c.place.Off+uint64(c.place.Len)-1)/uint64(b.p.pageSize) >= from {
			b.edit.chunk(i)
		}
	}
	if b.root.page == 0 && b.root.node == nil {
		return nil
	}
	m := mover{b: b, ctx: ctx, from: from}
	_, err := m.move(&b.root, b.level, nil, nil)
	return err
}

// mover walks the branches of a tree.
type mover struct {
	b    *Batch
	ctx  context.Context
	from uint64
}

// move rewrites what lies high at or below a child, and reports whether the
// child itself changed.
func (m *mover) move(k *kid, level int, lower, upper []byte) (bool, error) {
	high := k.node == nil && k.page >= m.from || k.node != nil && k.node.from.page >= m.from
	high = high && m.b.p.alloc.hasBelow(m.from)
	if level == 0 {
		if !high {
			return false, nil
		}
		return true, m.leaf(k)
	}
	if err := m.ctx.Err(); err != nil {
		return false, err
	}
	b := m.b
	was := k.node
	n, err := b.open(k, level, lower, upper)
	if err != nil {
		return false, err
	}
	changed := high
	for i := range n.kids {
		to := upper
		if i+1 < len(n.keys) {
			to = n.keys[i+1]
		}
		moved, err := m.move(&n.kids[i], level-1, n.keys[i], to)
		if err != nil {
			return false, err
		}
		changed = changed || moved
	}
	if changed {
		n.dirty = true
	} else if was == nil {
		k.node = nil
		b.opened--
	}
	if level < b.level && b.tooManyOpen() {
		return n.dirty, b.flush(k)
	}
	return n.dirty, nil
}

// leaf moves a leaf: one that is open is written with the rest.
func (m *mover) leaf(k *kid) error {
	b := m.b
	if k.node != nil {
		k.node.dirty = true
		return nil
	}
	if b.tree.holds(b.p.pageOffset(k.page)) {
		if err := b.tree.flush(); err != nil {
			return err
		}
	}
	pg, err := b.p.loadQuietly(k.ref, 0)
	if err != nil {
		return err
	}
	no, err := b.takePage()
	if err != nil {
		return err
	}
	if err := b.release(k.page); err != nil {
		return err
	}
	k.ref, err = b.writeImage(append([]byte(nil), pg.buf...), no, pg.ref)
	return err
}

// Shrink cuts the file behind the last page that anybody needs, and the
// reserve. If the two metas have different roots and no batch runs, it writes
// the newest roots to both first, so that what only the older one needed is
// free. The log before State.OldestLog is not needed afterwards, as after a
// commit. Errors: as of Commit.
func (p *Pager) Shrink(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.ready(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.batch == nil && p.oldestRoot() != p.newest().rootGeneration {
		if err := p.writeMeta(*p.newest()); err != nil {
			return diskFull(err)
		}
	}
	p.release()
	cut, err := p.alloc.cut(0)
	if err != nil || !cut {
		return err
	}
	if err := p.syncData(); err != nil {
		return fmt.Errorf("after cutting the file: %w", err)
	}
	return nil
}

// trimSome is what a commit cuts off: nothing as long as the file would grow
// back soon, and then at most maxGrowth. It is not synced: nothing refers to what
// is cut, and if the file is long again after a crash nothing is lost. Nor is a
// failure one of the commit: the file stays long.
func (a *allocator) trimSome() {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := &a.usable
	spare := a.step(u.end)
	if tail := u.size - u.end; tail > a.reserve+4*spare {
		_, _ = a.cutLocked(max(u.end+a.reserve+spare, u.size-min(u.size, maxGrowth/a.pageSize)))
	}
}

// step is by how much a file of so many pages grows.
func (a *allocator) step(size uint64) uint64 {
	return min(max(size/8, minGrowth/a.pageSize), maxGrowth/a.pageSize)
}
