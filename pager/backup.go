package pager

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// BackupReport says what a backup wrote.
type BackupReport struct {
	Generation  uint64 // root generation
	LogPos      uint64 // what it holds of the log
	Bytes       int64  // of the stream
	TreePages   uint64
	RecordPages uint64
	FreePages   uint64 // written as zeros
}

// Backup writes the current root to w as a page file that was closed cleanly:
// both metas, every used page, and zeros for the others. It goes on beside
// views and batches, and pins the root's pages until it is done.
//
// Nothing is copied that was not checked: each tree page against its parent,
// each record against its place. places calls add for the place of every record
// of v's root, in any order. What is wrong ends the backup with a
// *dberr.CorruptError that says where; the stream is cut off then. Memory: 16
// bytes for each tree page and record.
func (p *Pager) Backup(ctx context.Context, w io.Writer, places func(v *View, add func(Place) error) error, progress func(done, total int64)) (BackupReport, error) {
	p.mu.Lock()
	v, m := p.View(), *p.newest() // of one moment: roots are published under the lock
	p.mu.Unlock()
	defer v.Close()
	if err := v.usable(); err != nil {
		return BackupReport{}, err
	}
	s, err := p.spaceOf(v.g)
	if err != nil {
		return BackupReport{}, err
	}
	c := &copier{p: p, ctx: ctx, w: w, v: v, space: s, progress: progress}
	c.report = BackupReport{Generation: v.g.number, LogPos: m.logPos, Bytes: int64(v.g.pages) * int64(p.pageSize)}
	if err := c.plan(places); err != nil {
		return c.report, err
	}
	m.clean = true
	if err := c.metas(m); err != nil {
		return c.report, err
	}
	return c.report, p.judge(c.pages())
}

// copier is one backup. It meets trees and records in the order of the file.
type copier struct {
	p        *Pager
	ctx      context.Context
	w        io.Writer
	v        *View
	space    *space
	progress func(done, total int64)
	report   BackupReport

	trees   []ref   // by page, those to come
	records []Place // by offset, those to come; the first may have begun
	crc     uint32  // of what has been met of the first record
	buf     []byte
}

const copyBytes = 1 << 20 // of one read and one write

// plan finds out what each page must hold.
func (c *copier) plan(places func(v *View, add func(Place) error) error) error {
	if c.v.g.root.page != 0 {
		if err := c.walk(c.v.g.root, c.v.g.level); err != nil {
			return err
		}
	}
	add := func(pl Place) error {
		if pl.Len != 0 {
			c.records = append(c.records, pl)
		}
		return nil
	}
	if err := places(c.v, add); err != nil {
		return err
	}
	_ = add(c.v.g.place)
	for _, k := range c.space.chunks {
		if k != nil {
			_ = add(k.place)
		}
	}
	slices.SortFunc(c.trees, func(a, b ref) int { return cmp.Compare(a.page, b.page) })
	slices.SortFunc(c.records, func(a, b Place) int { return cmp.Compare(a.Off, b.Off) })
	end := uint64(0)
	for _, pl := range c.records {
		if !pl.within(end, c.v.g.pages*uint64(c.p.pageSize)) {
			return c.p.corrupt(int64(pl.Off&(maxFileBytes-1)), "record place %s overlaps another, or is outside the file of %d pages", pl, c.v.g.pages)
		}
		end = pl.Off + uint64(pl.Len)
	}
	return nil
}

// walk lists the pages of the tree. The leaves are not read.
func (c *copier) walk(r ref, level int) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if uint64(len(c.trees)) >= c.v.g.pages { // children that several parents name
		return c.p.corrupt(c.p.pageOffset(r.page), "the tree has more pages than the file")
	}
	c.trees = append(c.trees, r)
	if level == 0 {
		return nil
	}
	pg, err := c.p.load(r, level)
	if err != nil {
		return err
	}
	for i := range pg.count {
		if err := c.walk(pg.child(i), level-1); err != nil {
			return err
		}
	}
	return nil
}

// metas writes the pages of the meta slots: two metas that only differ in their
// number.
func (c *copier) metas(m meta) error {
	b := make([]byte, firstPage(c.p.pageSize)*uint64(c.p.pageSize))
	for m.generation = m.rootGeneration; m.generation < m.rootGeneration+2; m.generation++ {
		slot := slotOf(m.generation)
		copy(b[slotOffset(slot):], m.encode(slot))
	}
	return c.write(b)
}

func (c *copier) write(b []byte) error {
	n, err := c.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing the backup of %s: %w", c.p.path, diskFull(err))
	}
	return nil
}

// pages copies what lies behind the metas, run by run.
func (c *copier) pages() error {
	ps := uint64(c.p.pageSize)
	most := max(copyBytes/ps, 1)
	c.buf = make([]byte, most*ps)
	for no := firstPage(c.p.pageSize); no < c.v.g.pages; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.progress != nil {
			c.progress(int64(no*ps), c.report.Bytes)
		}
		n, free := uint64(1), c.space.isFree(no)
		for n < most && no+n < c.v.g.pages && c.space.isFree(no+n) == free {
			n++
		}
		b := c.buf[:n*ps]
		if free {
			clear(b)
			c.report.FreePages += n
		} else if err := c.used(b, no); err != nil {
			return err
		}
		if err := c.write(b); err != nil {
			return err
		}
		no += n
	}
	if len(c.trees) != 0 || len(c.records) != 0 {
		return c.p.corrupt(0, "%d tree pages and %d records lie in pages that are marked free", len(c.trees), len(c.records))
	}
	if c.progress != nil {
		c.progress(c.report.Bytes, c.report.Bytes)
	}
	return nil
}

// used reads a run of used pages and checks each.
func (c *copier) used(b []byte, no uint64) error {
	if err := c.p.read(b, c.p.pageOffset(no)); err != nil {
		return err
	}
	for ; len(b) > 0; b, no = b[c.p.pageSize:], no+1 {
		page := b[:c.p.pageSize]
		if c.space.isRecord(no) {
			c.report.RecordPages++
			if err := c.recordPage(page, no); err != nil {
				return err
			}
			continue
		}
		c.report.TreePages++
		if len(c.trees) == 0 || c.trees[0].page != no {
			return c.p.corrupt(c.p.pageOffset(no), "page %d is in use, but not in the tree and no record page", no)
		}
		if got := seededSum(no, page[4:]); got != c.trees[0].crc {
			return c.p.corrupt(c.p.pageOffset(no), "page %d has checksum %08x, its parent wants %08x", no, got, c.trees[0].crc)
		}
		c.trees = c.trees[1:]
	}
	return nil
}

// recordPage checks the records that lie in a page, or in a part of it, and that
// they are all that live there.
func (c *copier) recordPage(page []byte, no uint64) error {
	from := uint64(c.p.pageOffset(no))
	end := from + uint64(len(page))
	live := 0
	for len(c.records) > 0 && c.records[0].Off < end {
		pl := c.records[0]
		a, b := max(pl.Off, from), min(pl.Off+uint64(pl.Len), end)
		if a == pl.Off {
			c.crc = 0
		}
		if a > b { // it lies in pages that are marked free, before this one
			return c.p.corrupt(int64(pl.Off), "record %s lies in a page that is no record page", pl)
		}
		c.crc = crc32.Update(c.crc, castagnoli, page[a-from:b-from])
		live += int(b - a)
		if b < pl.Off+uint64(pl.Len) {
			break
		}
		if c.crc != pl.CRC {
			return c.p.corrupt(int64(pl.Off), "record of %d bytes has checksum %08x, its index entry wants %08x", pl.Len, c.crc, pl.CRC)
		}
		c.records = c.records[1:]
	}
	if want := c.p.pageSize - c.space.deadBytes(no); live != want {
		return c.p.corrupt(c.p.pageOffset(no), "page %d is accounted with %d live record bytes and has %d", no, want, live)
	}
	return nil
}
