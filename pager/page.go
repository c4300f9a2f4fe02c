package pager

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"
	"sync/atomic"
)

// A tree page, little endian:
//
//	 0  4  CRC-32C of page number (8 bytes) and bytes 4..page size
//	 4  1  kind: 1 leaf, 2 branch
//	 5  1  level: 0 for a leaf, a branch is one above its children
//	 6  2  count of entries n
//	 8  2  prefix length p
//	10  6  low bytes of the generation that the batch began to make, for Scan only
//	16  p  prefix: all keys of the page begin with it
//	 .  .  n+1 offsets of two bytes: where each cell begins; the last one is the end
//	 .  .  cells, in key order
//	 .  .  zeros
//
// A leaf's cell is two bytes length of the key's rest, the rest, the value. A
// branch's cell is the child's page number (8), the child's checksum (4), and
// the rest of a key that is not above any key below that child, and above
// every key below the child before it. The first separator of a branch is not below
// the one that its parent has for it: equal, mostly, and higher after what was
// below it has been deleted.
const (
	kindLeaf   = 1
	kindBranch = 2

	pageHeader     = 16
	leafOverhead   = 2 + 2  // offset, key length
	branchOverhead = 2 + 12 // offset, child, checksum
	maxLevel       = 40
)

// page is a checked page. It never changes after it was made, but for what it knows of others.
type page struct {
	ref
	buf    []byte
	kind   uint8
	level  uint8
	count  int
	prefix []byte
	table  []byte // the offsets
	// leads are the beginnings of the keys without the prefix, as numbers: most searches end here. tops is the
	// last of each leadGroup of them. A search of a page that the processor's caches do not hold waits for each piece
	// of memory that it goes to: so tops and front are beside each other, and few.
	leads, tops []uint64
	front       [24]byte // the prefix, if it is no longer
	// kids are the children that readers have met of a page that is a root above branches. Each reader goes
	// through one of them.
	kids []atomic.Pointer[page]
	// seats say of a page above leaves where in the cache the leaves are that readers have met.
	seats []atomic.Pointer[cacheEntry]
}

// leadGroup is how many leads lie in two lines of a processor's cache.
const leadGroup = 16

// leadOf is the beginning of a key as a number. What is shorter goes on in zeros.
func leadOf(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var x [8]byte
	copy(x[:], b)
	return binary.BigEndian.Uint64(x[:])
}

const generationAt = 10 // and 6 bytes

// stamp notes the generation in a page image. Nothing but Scan reads it.
func stamp(b []byte, generation uint64) {
	for i := range 6 {
		b[generationAt+i] = byte(generation >> (8 * i))
	}
}

// stamped reads what stamp wrote.
func stamped(b []byte) (generation uint64) {
	for i := range 6 {
		generation |= uint64(b[generationAt+i]) << (8 * i)
	}
	return generation
}

// capacity is how many bytes of a page may be filled: an offset has two bytes.
func capacity(pageSize int) int { return min(pageSize, 1<<16-1) }

// parsePage checks the structure of a page image, not its checksum, so that
// the accessors below need no checks. Key order is checked where it matters
// (decodeNode, Check): a reader can only get a wrong answer from wrong order.
func parsePage(b []byte) (*page, error) {
	p := &page{}
	if err := p.open(b); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	plen := len(p.prefix)
	cells := p.cells()
	prev := cells
	for i := 0; i <= p.count; i++ {
		off := int(le.Uint16(p.table[2*i:]))
		if i == 0 {
			if off != cells {
				return nil, fmt.Errorf("first cell at %d instead of %d", off, cells)
			}
			continue
		}
		if off < prev || off > len(b) {
			return nil, fmt.Errorf("cell %d ends at %d", i-1, off)
		}
		if err := p.checkCell(b[prev:off], plen); err != nil {
			return nil, fmt.Errorf("cell %d: %w", i-1, err)
		}
		prev = off
	}
	p.quicken()
	return p, nil
}

// quicken makes what searches go by. The cells are checked.
func (p *page) quicken() {
	if len(p.prefix) <= len(p.front) {
		p.prefix = p.front[:copy(p.front[:], p.prefix)]
	}
	groups := p.count / leadGroup
	all := make([]uint64, groups+p.count)
	p.tops, p.leads = all[:groups:groups], all[groups:]
	for i := range p.leads {
		p.leads[i] = leadOf(p.rest(i))
	}
	for i := range p.tops {
		p.tops[i] = p.leads[(i+1)*leadGroup-1]
	}
	switch {
	case p.level > 1:
		p.kids = make([]atomic.Pointer[page], p.count)
	case p.level == 1:
		p.seats = make([]atomic.Pointer[cacheEntry], p.count)
	}
}

// open makes p the page of an image of which everything but the cells is checked.
func (p *page) open(b []byte) error {
	if len(b) < pageHeader || len(b) > MaxPageSize {
		return fmt.Errorf("page of %d bytes", len(b))
	}
	le := binary.LittleEndian
	*p = page{buf: b, kind: b[4], level: b[5], count: int(le.Uint16(b[6:]))}
	plen := int(le.Uint16(b[8:]))
	if p.kind != kindLeaf && p.kind != kindBranch {
		return fmt.Errorf("page kind %d", p.kind)
	}
	if (p.kind == kindLeaf) != (p.level == 0) || p.level > maxLevel {
		return fmt.Errorf("page kind %d at level %d", p.kind, p.level)
	}
	if p.count == 0 {
		return fmt.Errorf("page without entries")
	}
	cells := pageHeader + plen + 2*(p.count+1)
	if plen > MaxKey || cells > len(b) {
		return fmt.Errorf("prefix of %d bytes and %d entries do not fit the page", plen, p.count)
	}
	p.prefix = b[pageHeader : pageHeader+plen : pageHeader+plen]
	p.table = b[pageHeader+plen : cells]
	return nil
}

// cells is where the cells begin.
func (p *page) cells() int { return pageHeader + len(p.prefix) + len(p.table) }

func (p *page) checkCell(c []byte, plen int) error {
	rest := len(c) - 12
	if p.kind == kindLeaf {
		if len(c) < 2 {
			return fmt.Errorf("%d bytes", len(c))
		}
		rest = int(binary.LittleEndian.Uint16(c))
		if rest > len(c)-2 {
			return fmt.Errorf("key of %d bytes in a cell of %d", rest, len(c))
		}
	}
	if rest < 0 || plen+rest > MaxKey {
		return fmt.Errorf("key of %d bytes", plen+rest)
	}
	return nil
}

func (p *page) cell(i int) []byte {
	t := p.table[2*i : 2*i+4]
	return p.buf[binary.LittleEndian.Uint16(t):binary.LittleEndian.Uint16(t[2:])]
}

// rest is the i-th key without the prefix.
func (p *page) rest(i int) []byte {
	c := p.cell(i)
	if p.kind == kindLeaf {
		return c[2 : 2+binary.LittleEndian.Uint16(c)]
	}
	return c[12:]
}

// value is the i-th value of a leaf. It shares the page's memory.
func (p *page) value(i int) []byte {
	c := p.cell(i)
	v := c[2+binary.LittleEndian.Uint16(c):]
	return v[:len(v):len(v)]
}

// child is the i-th child of a branch.
func (p *page) child(i int) ref {
	c := p.cell(i)
	return ref{page: binary.LittleEndian.Uint64(c), crc: binary.LittleEndian.Uint32(c[8:])}
}

func (p *page) appendKey(dst []byte, i int) []byte {
	return append(append(dst, p.prefix...), p.rest(i)...)
}

// search returns the first entry whose key is ≥ key, and whether it is equal.
func (p *page) search(key []byte) (int, bool) {
	key, at, in := p.withoutPrefix(key)
	if !in {
		return at, false
	}
	lead := leadOf(key)
	group, hi := 0, len(p.tops)
	for group < hi {
		if mid := int(uint(group+hi) >> 1); p.tops[mid] < lead {
			group = mid + 1
		} else {
			hi = mid
		}
	}
	lo := group * leadGroup
	for lo < p.count && p.leads[lo] < lead {
		lo++
	}
	// Of keys that begin alike there are few, mostly one.
	for hi = lo; hi < p.count && p.leads[hi] == lead; {
		if hi++; hi-lo == leadGroup {
			hi += sort.Search(p.count-hi, func(i int) bool { return p.leads[hi+i] > lead })
			break
		}
	}
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := bytes.Compare(p.rest(mid), key); {
		case c < 0:
			lo = mid + 1
		case c > 0:
			hi = mid
		default:
			return mid, true
		}
	}
	return lo, false
}

// withoutPrefix returns what of a key follows the prefix of all keys, or where a key without it belongs.
func (p *page) withoutPrefix(key []byte) (rest []byte, at int, in bool) {
	n := len(p.prefix)
	if len(key) >= n && bytes.Equal(key[:n], p.prefix) {
		return key[n:], 0, true
	}
	if bytes.Compare(key, p.prefix) < 0 {
		return nil, 0, false
	}
	return nil, p.count, false
}

// route returns the child of a branch below which key belongs.
func (p *page) route(key []byte) int {
	i, eq := p.search(key)
	if !eq && i > 0 {
		i--
	}
	return i
}
