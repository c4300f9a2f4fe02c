package pager

import "context"

// CheckReport is what Check saw.
type CheckReport struct {
	Generation  uint64
	Pages       uint64 // below the highest used one, meta slots included
	TreePages   uint64
	RecordPages uint64
	FreePages   uint64
	LiveBytes   uint64 // of records, space frames and directory included
	DeadBytes   uint64 // in record pages
	Entries     uint64
	Levels      int
	TreeBytes   uint64 // filled bytes of tree pages
}

// Check reads the current root from the file, not from the cache: every tree
// page's checksum, level and key order, and that each page of the file is
// exactly one of tree, record and free. progress, if not nil, is called now
// and then with pages done and to do. It may run beside readers and a batch;
// what it finds wrong is a *dberr.CorruptError.
func (p *Pager) Check(ctx context.Context, progress func(done, total uint64)) (CheckReport, error) {
	v := p.View()
	defer v.Close()
	if err := v.usable(); err != nil {
		return CheckReport{}, err
	}
	s, err := p.spaceOf(v.g)
	if err != nil {
		return CheckReport{}, err
	}
	c := &checker{p: p, ctx: ctx, space: s, seen: pageSet{}, progress: progress}
	used, rec := s.counts()
	c.total = used - rec - firstPage(p.pageSize)
	c.report = CheckReport{Generation: v.g.number, Pages: v.g.pages, RecordPages: rec, FreePages: v.g.pages - used}
	if v.g.root.page != 0 {
		c.report.Levels = v.g.level + 1
		if err := c.walk(v.g.root, v.g.level, nil, nil); err != nil {
			return c.report, err
		}
	}
	return c.report, c.account(v.g)
}

// spaceOf returns the space of a pinned root.
func (p *Pager) spaceOf(g *generation) (*space, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g.space == nil { // not loaded, so no batch began and g is current
		if err := p.loadSpace(); err != nil {
			return nil, err
		}
	}
	return g.space, nil
}

type checker struct {
	p        *Pager
	ctx      context.Context
	space    *space
	seen     pageSet
	done     uint64
	total    uint64
	progress func(done, total uint64)
	report   CheckReport
}

const checkStep = 256 // pages between two looks at the context

func (c *checker) walk(r ref, level int, lower, upper []byte) error {
	if c.done%checkStep == 0 {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if c.progress != nil {
			c.progress(c.done, c.total)
		}
	}
	c.done++
	off := c.p.pageOffset(r.page)
	pg, err := c.p.loadUncached(r)
	if err != nil {
		return err
	}
	if int(pg.level) != level {
		return c.p.corrupt(off, "page %d has level %d where its parent wants %d", r.page, pg.level, level)
	}
	switch {
	case c.seen.has(r.page):
		return c.p.corrupt(off, "page %d is referred to twice", r.page)
	case c.space.isFree(r.page):
		return c.p.corrupt(off, "page %d is in the tree and marked free", r.page)
	case c.space.isRecord(r.page):
		return c.p.corrupt(off, "page %d is in the tree and marked as a record page", r.page)
	}
	c.seen.add(r.page, 1)
	c.report.TreePages++
	n, err := decodeNode(pg, lower, upper)
	if err != nil {
		return c.p.corrupt(off, "page %d: %v", r.page, err)
	}
	c.report.TreeBytes += uint64(n.size())
	if level == 0 {
		c.report.Entries += uint64(len(n.keys))
		return nil
	}
	for i := range n.kids {
		to := upper
		if i+1 < len(n.keys) {
			to = n.keys[i+1]
		}
		if err := c.walk(n.kids[i].ref, level-1, n.keys[i], to); err != nil {
			return err
		}
	}
	return nil
}

// account finds pages that are neither free nor used, and adds up the rest.
func (c *checker) account(g *generation) error {
	if c.report.Entries != g.entries {
		return c.p.corrupt(0, "tree has %d entries, the meta says %d", c.report.Entries, g.entries)
	}
	first := firstPage(c.p.pageSize)
	if sum := first + c.report.TreePages + c.report.RecordPages + c.report.FreePages; sum != g.pages {
		for no := first; no < g.pages; no++ {
			if !c.space.isFree(no) && !c.space.isRecord(no) && !c.seen.has(no) {
				return c.p.corrupt(c.p.pageOffset(no), "page %d is lost: not in the tree, no record page, not free (%d of %d pages accounted)", no, sum, g.pages)
			}
		}
		return c.p.corrupt(0, "%d of %d pages accounted", sum, g.pages)
	}
	for _, k := range c.space.chunks {
		if k == nil {
			continue
		}
		for at := range k.deadPages() {
			c.report.DeadBytes += uint64(k.dead[at])
		}
	}
	c.report.LiveBytes = c.report.RecordPages*uint64(c.p.pageSize) - c.report.DeadBytes
	return nil
}

// CheckRecords compares the accounting of record bytes with the places of all
// records that the caller knows to be live in the root that v pins: every page
// must have exactly their bytes. places calls add for each place, in any
// order, and returns the error of add or its own.
func (p *Pager) CheckRecords(v *View, places func(add func(Place) error) error) error {
	if err := v.usable(); err != nil {
		return err
	}
	s, err := p.spaceOf(v.g)
	if err != nil {
		return err
	}
	ps := uint64(p.pageSize)
	live := map[uint64]int{}
	add := func(pl Place) error {
		if pl.Len != 0 && !pl.within(firstPage(p.pageSize)*ps, v.g.pages*ps) {
			return p.corrupt(-1, "record place %s is outside the file of %d pages", pl, v.g.pages)
		}
		for no, n := range overlaps(pl, ps) {
			if live[no] += n; live[no] > p.pageSize || !s.isRecord(no) {
				return p.corrupt(int64(pl.Off), "record %s lies in page %d, which holds %d bytes of records, record page: %v", pl, no, live[no], s.isRecord(no))
			}
		}
		return nil
	}
	if err := places(add); err != nil {
		return err
	}
	if err := add(v.g.place); err != nil {
		return err
	}
	for _, c := range s.chunks {
		if c != nil {
			if err := add(c.place); err != nil {
				return err
			}
		}
	}
	for i, c := range s.chunks {
		if c == nil {
			continue
		}
		for it := c.rec.Iterator(); it.HasNext(); {
			no := uint64(i)*chunkPages + uint64(it.Next())
			if want := p.pageSize - s.deadBytes(no); live[no] != want {
				return p.corrupt(p.pageOffset(no), "page %d is accounted with %d live record bytes and has %d", no, want, live[no])
			}
		}
	}
	return nil
}
