package podder

import (
	"math/bits"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// regionIndex finds regions by address. Memory is cut into chunks of 1 KiB with
// one table entry for each granule of 16 bytes, the least that Go's allocator
// hands out with pointers in it; chunks are found by open addressing. Regions of
// one object type lie side by side, so a walk in allocation order stays in one
// chunk for many objects, and a region inside another one is found by looking
// at the nearest start below it.
//
// Invariants, between calls of add and remove:
//
//  1. Regions in the index do not overlap, so the region that covers an address
//     is the one with the highest start at or below it, or none.
//  2. A small region is named by every chunk that it reaches into (before), a
//     large one by every page of 64 KiB (large).
type regionIndex struct {
	table  []uint32 // chunk number + 1, by hash of its address; a power of two
	chunks []*chunkBlock
	count  uint32
	recent [recentChunks]*chunk // used lately, by the end of their keys
	large  map[uintptr][]int32
	mask   uint32
}

const (
	chunkBits   = 10
	granuleBits = 4
	pageBits    = 16
	largeBytes  = 8 << 10
	chunkSlots  = 1 << (chunkBits - granuleBits)
	blockChunks = 256

	// Objects of different sizes lie in different chunks: a walk goes on in many.
	recentChunks = 128
)

type chunk struct {
	key    uintptr // address >> chunkBits
	starts uint64  // granules in which a region starts
	before int32   // region + 1 that reaches into the chunk from below
	first  [chunkSlots]int32
}

type chunkBlock [blockChunks]chunk

func (x *regionIndex) chunkAt(key uintptr) *chunk {
	recent := &x.recent[key%recentChunks]
	if c := *recent; c != nil && c.key == key {
		return c
	}
	if x.table == nil {
		return nil
	}
	for h := chunkHash(key); ; h++ {
		n := x.table[h&x.mask]
		if n == 0 {
			return nil
		}
		c := &x.chunks[(n-1)/blockChunks][(n-1)%blockChunks]
		if c.key == key {
			*recent = c
			return c
		}
	}
}

func chunkHash(key uintptr) uint32 { return uint32(uint64(key) * 0x9E3779B97F4A7C15 >> 32) }

func (x *regionIndex) makeChunk(key uintptr) *chunk {
	if c := x.chunkAt(key); c != nil {
		return c
	}
	if uint64(x.count+1)*2 > uint64(len(x.table)) {
		x.grow()
	}
	n := x.count
	if n%blockChunks == 0 {
		x.chunks = append(x.chunks, new(chunkBlock))
	}
	x.count++
	c := &x.chunks[n/blockChunks][n%blockChunks]
	c.key = key
	x.insert(key, n+1)
	x.recent[key%recentChunks] = c
	return c
}

func (x *regionIndex) insert(key uintptr, n uint32) {
	h := chunkHash(key)
	for x.table[h&x.mask] != 0 {
		h++
	}
	x.table[h&x.mask] = n
}

func (x *regionIndex) grow() {
	size := max(64, 2*len(x.table))
	x.table = make([]uint32, size)
	x.mask = uint32(size - 1)
	for n := range x.count {
		x.insert(x.chunks[n/blockChunks][n%blockChunks].key, n+1)
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
		c.starts |= 1 << g
		r.next = -1
	} else {
		r.next = c.first[g]
	}
	c.first[g] = i
	if end-a >= largeBytes {
		if x.large == nil {
			x.large = map[uintptr][]int32{}
		}
		for page := a >> pageBits; page <= (end-1)>>pageBits; page++ {
			x.large[page] = append(x.large[page], i)
		}
		return
	}
	for key := a>>chunkBits + 1; key <= (end-1)>>chunkBits; key++ {
		x.makeChunk(key).before = i + 1
	}
}

// remove takes region i out, as it was added. Marks in chunks above it stay:
// they name an alias then, which resolves to the region that took its place.
func (x *regionIndex) remove(st *state, i int32) {
	r := st.regions.at(i)
	a := uintptr(r.addr)
	c := x.chunkAt(a >> chunkBits)
	g := a >> granuleBits % chunkSlots
	if c.first[g] == i {
		c.first[g] = r.next
		if r.next < 0 {
			c.starts &^= 1 << g
		}
	} else {
		j := c.first[g]
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
	if c := x.chunkAt(a >> chunkBits); c != nil {
		g := a >> granuleBits % chunkSlots
		if c.starts&(1<<g) != 0 {
			if i := x.inGranule(st, c.first[g], a); i >= 0 {
				return x.covers(st, i, a)
			}
		}
		if below := c.starts & (1<<g - 1); below != 0 {
			g = uintptr(63 - bits.LeadingZeros64(below))
			if i := x.inGranule(st, c.first[g], a); i >= 0 {
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
		for set := c.starts; set != 0; set &= set - 1 {
			g := bits.TrailingZeros64(set)
			if granule := key<<chunkBits + uintptr(g)<<granuleBits; granule >= end || granule+1<<granuleBits <= from {
				continue
			}
			for i := c.first[g]; i >= 0; i = st.regions.at(i).next {
				if s := uintptr(st.regions.at(i).addr); s >= from && s < end {
					list = append(list, i)
				}
			}
		}
	}
	return list
}
