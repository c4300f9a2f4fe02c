package pager

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// lookup returns the first entry ≥ key of the leaf where key belongs, its key appended to dst; if
// exact, that of key itself, without the key. ok says that there is one. The tree is not empty.
func (v *View) lookup(dst, key []byte, exact bool) (found, val []byte, ok bool, err error) {
	up, at, err := v.aboveLeaf(key)
	if err != nil {
		return nil, nil, false, err
	}
	var pg *page
	if up != nil {
		pg = up.seats[at].Load().take()
	}
	if pg == nil {
		r := v.g.root
		if up != nil {
			r = up.child(at)
		}
		var e *cacheEntry
		pg, e = v.p.cache.find(r)
		if e == nil {
			if !v.p.cache.wants(r.page) {
				return v.p.lookupPassing(r, dst, key, exact)
			}
			pg, err = v.p.loadUncached(r)
			if err = v.p.judge(err); err != nil {
				return nil, nil, false, err
			}
			e = v.p.cache.put(pg)
		}
		if err := v.p.checkLevel(pg, 0); err != nil {
			return nil, nil, false, err
		}
		if up != nil {
			up.seats[at].Store(e)
		}
	}
	i, eq := pg.search(key)
	switch {
	case exact && eq:
		return nil, pg.value(i), true, nil
	case exact || i == pg.count:
		return nil, nil, false, nil
	}
	return pg.appendKey(dst, i), pg.value(i), true, nil
}

// aboveLeaf returns the page above the leaf where key belongs, and which child that is; nil if the root is the
// leaf.
func (v *View) aboveLeaf(key []byte) (*page, int, error) {
	level := v.g.level
	if level == 0 {
		return nil, 0, nil
	}
	pg, err := v.p.load(v.g.root, level)
	if err == nil && level > 1 {
		level--
		pg, err = v.p.loadBranch(pg, pg.route(key), level)
	}
	for ; err == nil && level > 1; level-- {
		pg, err = v.p.load(pg.child(pg.route(key)), level-1)
	}
	if err != nil {
		return nil, 0, err
	}
	return pg, pg.route(key), nil
}

// passingLeaf is a leaf that is searched once and not kept: its memory is used again, and of its cells
// only those are checked that the search looks at.
type passingLeaf struct {
	page
	image []byte
}

// lookupPassing is lookup in a leaf that is read and not kept. What it returns is in memory of its own.
func (p *Pager) lookupPassing(r ref, dst, key []byte, exact bool) (found, val []byte, ok bool, err error) {
	l, _ := p.passing.Get().(*passingLeaf)
	if l == nil {
		l = &passingLeaf{image: make([]byte, p.pageSize)}
	}
	defer p.passing.Put(l)
	if err = p.judge(p.readPage(l.image, r)); err != nil {
		return nil, nil, false, err
	}
	if err = l.open(l.image); err != nil {
		return nil, nil, false, p.judge(p.misshapen(r, err))
	}
	l.ref = r
	if err = p.checkLevel(&l.page, 0); err != nil {
		return nil, nil, false, err
	}
	found, val, ok, err = l.find(dst, key, exact)
	if err != nil {
		return nil, nil, false, p.judge(p.misshapen(r, err))
	}
	return found, val, ok, nil
}

// find is search in a leaf whose cells were not checked, with what lookup returns of it.
func (l *passingLeaf) find(dst, key []byte, exact bool) (found, val []byte, ok bool, err error) {
	rest, lo, in := l.withoutPrefix(key)
	hi, eq := l.count, false
	for in && lo < hi && !eq {
		mid := int(uint(lo+hi) >> 1)
		if err := l.check(mid); err != nil {
			return nil, nil, false, err
		}
		switch c := bytes.Compare(l.rest(mid), rest); {
		case c < 0:
			lo = mid + 1
		case c > 0:
			hi = mid
		default:
			lo, eq = mid, true
		}
	}
	if lo == l.count || exact && !eq {
		return nil, nil, false, nil
	}
	if err := l.check(lo); err != nil {
		return nil, nil, false, err
	}
	if !exact {
		found = l.appendKey(dst, lo)
	}
	return found, bytes.Clone(l.value(lo)), true, nil
}

// check checks a cell.
func (l *passingLeaf) check(i int) error {
	le := binary.LittleEndian
	from, to := int(le.Uint16(l.table[2*i:])), int(le.Uint16(l.table[2*i+2:]))
	if from < l.cells() || to < from || to > len(l.buf) {
		return fmt.Errorf("cell %d from %d to %d", i, from, to)
	}
	if err := l.checkCell(l.buf[from:to], len(l.prefix)); err != nil {
		return fmt.Errorf("cell %d: %w", i, err)
	}
	return nil
}
