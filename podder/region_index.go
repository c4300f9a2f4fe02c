package podder

import (
	"math/bits"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// regionIndex finds regions by address. Memory is cut into chunks of 1 KiB with
// one table entry for each granule of 16 bytes, the least that Go's allocator
// hands out with pointers in it. The chunks of each 64 KiB lie in a row,
// the rows are found by open addressing: neighbours in memory are neighbours in
// all tables, and where regions lie anywhere, one look at memory that is not in the
// cache tells whether there is something. A region inside another one is
// found by looking at the nearest start below it. A chunk keeps one number for each granule in
// which a region starts, in address order: the bits below that of a granule say
// which. So its memory follows the number of regions in it.
//
// Invariants, between calls of add and remove:
//
//  1. Regions in the index do not overlap, so the region that covers an address
//     is the one with the highest start at or below it, or none.
//  2. A small region is named by every chunk that it reaches into (before), a
//     large one by every page of 64 KiB (large).
type regionIndex struct {
	rows  []indexRow // by hash of their keys; a power of two
	count int        // of rows
	free  []int32    // room for numbers, shared by the chunks to come
	rooms [][]int32  // all of it
	own   *ownMemory
	large map[uintptr][]int32
	small uintptr // 1 + a page without large regions that was asked for lately, or 0
}

// indexRow has the chunks of 64 KiB.
type indexRow struct {
	key    uintptr           // address >> rowBits
	chunks *[rowChunks]chunk // nil if the row is none
}

const (
	chunkBits   = 10
	granuleBits = 4
	granule     = 1 << granuleBits
	pageBits    = 16
	largeBytes  = 8 << 10
	chunkSlots  = 1 << (chunkBits - granuleBits)
	rowBits     = 16
	rowChunks   = 1 << (rowBits - chunkBits)
)

// chunk is as long as a cache line.
type chunk struct {
	starts uint64           // granules in which a region starts
	used   uint64           // granules of which a region that is not large has, or had, a part
	first  *int32           // of the first regions that start in them, in address order; nil if it has nothing yet
	room   uint16           // of that list
	n      uint16           // its length: as many as starts has bits
	before int32            // region + 1 that reaches into the chunk from below
	few    [fewStarts]int32 // where first is to begin with: in the same cache line
}

// Most chunks hold a few regions. Room for the numbers of more comes from blocks.
const (
	fewStarts  = 8
	leastRoom  = 16
	roomsBlock = 4096
)

// list returns the numbers of the granules, and what room there is for more.
func (c *chunk) list() []int32 { return unsafe.Slice(c.first, c.room) }

// rank returns how many granules below g have regions that start there.
func (c *chunk) rank(g uintptr) int { return bits.OnesCount64(c.starts & (1<<g - 1)) }

// at returns the number of the first region of granule number k.
func (c *chunk) at(k int) *int32 { return &c.list()[k] }

// put makes region i the first that starts in granule g, where none does.
func (x *regionIndex) put(c *chunk, g uintptr, i int32) {
	if c.n == c.room {
		x.grown(c)
	}
	c.insert(g, i)
}

// insert is put if there is room.
func (c *chunk) insert(g uintptr, i int32) {
	k := uintptr(c.n)
	for above := c.starts >> g; above != 0; above &= above - 1 { // mostly none: memory grows upwards
		*c.number(k) = *c.number(k - 1)
		k--
	}
	*c.number(k) = i
	c.n++
	c.starts |= 1 << g
}

// number returns number k of the list, which has room for it.
func (c *chunk) number(k uintptr) *int32 {
	return (*int32)(unsafe.Add(unsafe.Pointer(c.first), k*unsafe.Sizeof(*c.first))) // k is below c.room
}

// grown gives a chunk twice the room.
func (x *regionIndex) grown(c *chunk) {
	room := max(leastRoom, 2*int(c.room))
	if len(x.free) < room {
		x.free = ownSlice[int32](x.own, roomsBlock)
		x.rooms = append(x.rooms, x.free)
	}
	copy(x.free, c.list())
	c.first, c.room = &x.free[0], uint16(room)
	x.free = x.free[room:]
}

// take removes the number of granule g.
func (c *chunk) take(g uintptr) {
	list := c.list()
	copy(list[c.rank(g):], list[c.rank(g)+1:])
	c.n--
	c.starts &^= 1 << g
}

// chunkAt returns the chunk of a key, which is address >> chunkBits, nil if it has nothing.
func (x *regionIndex) chunkAt(key uintptr) *chunk {
	if len(x.rows) == 0 {
		return nil
	}
	row := x.rowAt(key / rowChunks)
	if row.chunks == nil {
		return nil
	}
	if c := &row.chunks[key%rowChunks]; c.first != nil {
		return c
	}
	return nil
}

// rowAt returns the row of a key, or the empty place where it belongs; there are rows.
func (x *regionIndex) rowAt(key uintptr) *indexRow {
	for h := rowHash(key); ; h++ {
		row := &x.rows[h&uintptr(len(x.rows)-1)]
		if row.chunks == nil || row.key == key {
			return row
		}
	}
}

// rowHash is multiplicative (Knuth, "The Art of Computer Programming", volume 3, 6.4).
func rowHash(key uintptr) uintptr { return uintptr(uint64(key) * 0x9E3779B97F4A7C15 >> 32) }

// makeChunk returns the chunk of a key.
func (x *regionIndex) makeChunk(key uintptr) *chunk {
	if 2*(x.count+1) > len(x.rows) {
		x.growRows()
	}
	row := x.rowAt(key / rowChunks)
	if row.chunks == nil {
		row.key = key / rowChunks
		row.chunks = ownArray[[rowChunks]chunk](x.own)
		x.count++
	}
	c := &row.chunks[key%rowChunks]
	if c.first == nil {
		c.first, c.room = &c.few[0], fewStarts
	}
	return c
}

func (x *regionIndex) growRows() {
	old := x.rows
	x.rows = make([]indexRow, max(16, 2*len(old)))
	for _, row := range old {
		if row.chunks != nil {
			*x.rowAt(row.key) = row
		}
	}
}

// add puts region i into the index.
func (x *regionIndex) add(st *state, i int32) {
	r := st.regions.at(i)
	a := uintptr(r.addr)
	end := a + st.size(r)
	c := x.makeChunk(a >> chunkBits)
	g := a >> granuleBits % chunkSlots
	if c.starts&(1<<g) == 0 {
		r.next = -1
		x.put(c, g, i)
	} else {
		first := c.at(c.rank(g))
		r.next, *first = *first, i
	}
	if end-a >= largeBytes {
		if x.large == nil {
			x.large = map[uintptr][]int32{}
		}
		for page := a >> pageBits; page <= (end-1)>>pageBits; page++ {
			x.large[page] = append(x.large[page], i)
		}
		x.small = 0
		c.used |= 1 << g
		return
	}
	last := (end - 1) >> chunkBits
	c.used |= granules(a, end, a>>chunkBits)
	for key := a>>chunkBits + 1; key <= last; key++ {
		c = x.makeChunk(key)
		c.before = i + 1
		c.used |= granules(a, end, key)
	}
}

// granules returns the granules of chunk key of which [a, end) has a part; there
// is one.
func granules(a, end, key uintptr) uint64 {
	lo, hi := uintptr(0), uintptr(chunkSlots-1)
	if a>>chunkBits == key {
		lo = a >> granuleBits % chunkSlots
	}
	if (end-1)>>chunkBits == key {
		hi = (end - 1) >> granuleBits % chunkSlots
	}
	return granulesFrom(lo, hi-lo)
}

// claim adds region i, with size bytes at p, if they lie in one chunk and no other
// region has or had a part of their granules.
func (x *regionIndex) claim(p unsafe.Pointer, size uintptr, i int32) bool {
	a := uintptr(p)
	lo := a >> granuleBits % chunkSlots
	more := (a%granule + size - 1) >> granuleBits
	if lo+more >= chunkSlots || !x.onlySmall(a>>pageBits) {
		return false
	}
	c := x.makeChunk(a >> chunkBits)
	mine := granulesFrom(lo, more)
	if c.used&mine != 0 {
		return false
	}
	c.used |= mine
	x.put(c, lo, i)
	return true
}

// granulesFrom returns granule lo of a chunk and as many more behind it.
func granulesFrom(lo, more uintptr) uint64 { return (2<<(more%chunkSlots) - 1) << lo }

// onlySmall reports whether no large region has a part of a page.
func (x *regionIndex) onlySmall(page uintptr) bool {
	if x.large == nil || x.small == page+1 {
		return true
	}
	if len(x.large[page]) > 0 {
		return false
	}
	x.small = page + 1
	return true
}

// remove takes region i out, as it was added. Marks in chunks above it stay:
// they name an alias then, which resolves to the region that took its place.
func (x *regionIndex) remove(st *state, i int32) {
	r := st.regions.at(i)
	a := uintptr(r.addr)
	c := x.chunkAt(a >> chunkBits)
	g := a >> granuleBits % chunkSlots
	if first := c.at(c.rank(g)); *first == i {
		*first = r.next
		if r.next < 0 {
			c.take(g)
		}
	} else {
		j := *first
		for st.regions.at(j).next != i {
			j = st.regions.at(j).next
		}
		st.regions.at(j).next = r.next
	}
	if end := a + st.size(r); end-a >= largeBytes {
		for page := a >> pageBits; page <= (end-1)>>pageBits; page++ {
			list := x.large[page]
			for k, j := range list {
				if j == i {
					list[k] = list[len(list)-1]
					x.large[page] = list[:len(list)-1]
					break
				}
			}
		}
	}
}

// find returns the region that covers the address p, or -1.
func (x *regionIndex) find(st *state, p unsafe.Pointer) int32 {
	a := uintptr(p)
	g := a >> granuleBits % chunkSlots
	if c := x.chunkAt(a >> chunkBits); c != nil && c.used&(1<<g) != 0 {
		if c.starts&(1<<g) != 0 {
			if i := x.inGranule(st, *c.at(c.rank(g)), a); i >= 0 {
				return x.covers(st, i, a)
			}
		}
		if k := c.rank(g); k > 0 {
			if i := x.inGranule(st, *c.at(k - 1), a); i >= 0 {
				return x.covers(st, i, a)
			}
		}
		if c.before != 0 {
			if i := x.covers(st, st.resolve(c.before-1), a); i >= 0 {
				return i
			}
		}
	}
	if x.large != nil {
		for _, i := range x.large[a>>pageBits] {
			if x.covers(st, i, a) >= 0 {
				return i
			}
		}
	}
	return -1
}

// inGranule returns the region of one granule with the highest start at or
// below a, or -1.
func (x *regionIndex) inGranule(st *state, i int32, a uintptr) int32 {
	best, start := int32(-1), uintptr(0)
	for ; i >= 0; i = st.regions.at(i).next {
		if s := uintptr(st.regions.at(i).addr); s <= a && s >= start {
			best, start = i, s
		}
	}
	return best
}

func (x *regionIndex) covers(st *state, i int32, a uintptr) int32 {
	r := st.regions.at(i)
	if r.kind != pod.SlotFree && uintptr(r.addr) <= a && a-uintptr(r.addr) < st.size(r) {
		return i
	}
	return -1
}

// startsIn appends the regions that start in [from, end).
func (x *regionIndex) startsIn(st *state, from, end uintptr, list []int32) []int32 {
	for key := from >> chunkBits; key <= (end-1)>>chunkBits; key++ {
		c := x.chunkAt(key)
		if c == nil {
			continue
		}
		for set, k := c.starts, 0; set != 0; set, k = set&(set-1), k+1 {
			g := bits.TrailingZeros64(set)
			if granule := key<<chunkBits + uintptr(g)<<granuleBits; granule >= end || granule+1<<granuleBits <= from {
				continue
			}
			for i := *c.at(k); i >= 0; i = st.regions.at(i).next {
				if s := uintptr(st.regions.at(i).addr); s >= from && s < end {
					list = append(list, i)
				}
			}
		}
	}
	return list
}
