package podder

import (
	"math/bits"
	"unsafe"
)

// A first save encodes a region soon after it was met, when the pod that it is in is
// full, from memory that is still in the cache. Of regions that lead nowhere it
// needs to know but the size before that.

// notSeen is what glances return of what leads to other regions, or perhaps does.
const notSeen = -1

// glanceObject returns the stored size of the plain object at an address.
func (p *plan) glanceObject(at unsafe.Pointer) int {
	n := p.shortStrings(at)
	if n < 0 {
		return notSeen
	}
	return p.est + n
}

// glanceArray returns the stored size of n plain elements at an address.
func (p *plan) glanceArray(at unsafe.Pointer, n int) int {
	if n > maxGlance {
		return notSeen
	}
	sum := n * p.est
	for ; n > 0; n-- {
		more := p.shortStrings(at)
		if more < 0 {
			return notSeen
		}
		if sum += more; n > 1 { // not behind the last one: that may be another's memory
			at = unsafe.Add(at, p.size)
		}
	}
	return sum
}

// glanceMap returns the stored size of the map at an address.
func (p *plan) glanceMap(at unsafe.Pointer) int {
	m, g, ok := p.smallMap(at)
	if !ok {
		return notSeen
	}
	sum := mapHead + int(m.used)*(p.key.est+p.elem.est)
	for g.full != 0 {
		at, g = g.next(p.layout.size)
		key, elem := p.key.shortStrings(at), 0
		if len(p.elem.refs) > 0 {
			elem = p.elem.shortStrings(unsafe.Add(at, p.layout.elem)) // of the same slot
		}
		if key < 0 || elem < 0 {
			return notSeen
		}
		sum += key + elem
	}
	if sum > smallBytes {
		return notSeen
	}
	return sum
}

// maxGlance bounds the elements that are looked at before it is their turn.
const maxGlance = 1 << 10

// mapHead is what the head of a small map takes: its count and the bits of its buckets.
const mapHead = 2

// shortStrings returns how long the strings of a plain value are, -1 if one of them
// is a region.
func (p *plan) shortStrings(at unsafe.Pointer) int {
	if p.only == opString {
		if n := len(*(*string)(at)); n < longString {
			return n
		}
		return -1
	}
	if len(p.refs) == 0 {
		return 0
	}
	sum := 0
	for k := range p.refs {
		n := len(*(*string)(unsafe.Add(at, p.refs[k].off)))
		if n >= longString {
			return -1
		}
		sum += n
	}
	return sum
}

// smallMap returns the map at an address and its only group, if that can be read as
// memory, leads nowhere but for long strings, has what the map says, and is not being
// written.
func (p *plan) smallMap(at unsafe.Pointer) (*goMap, mapGroup, bool) {
	m := (*goMap)(at)
	if p.plainGroup == 0 {
		if p.plainGroup = 1; p.layout.inGroup && p.key.plain && p.wholeKey && p.elem.plain {
			p.plainGroup = 2
		}
	}
	if p.plainGroup == 1 || m.dirLen != 0 || m.writing != 0 {
		return nil, mapGroup{}, false
	}
	if m.used == 0 || m.dir == nil {
		return m, mapGroup{}, m.used == 0
	}
	g := groupAt(m.dir)
	return m, g, bits.OnesCount64(g.full) == int(m.used)
}
