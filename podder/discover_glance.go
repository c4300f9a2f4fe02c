package podder

import (
	"math/bits"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A first save encodes a region soon after it was met, when the pod that it is in is
// full, from memory that is still in the cache. Of regions that lead nowhere it
// needs to know but the size before that.

// glance notes the size of region r if it leads nowhere, as far as that is easily
// seen, and reports whether it does.
func (w *walk) glance(r *region) bool {
	p := r.plan
	switch r.kind {
	case pod.SlotObject:
		if !p.plain {
			return false
		}
		n := p.shortStrings(r.addr)
		if n < 0 {
			return false
		}
		r.weight = clampWeight(p.est + n)
		return true
	case pod.SlotArray:
		if !p.plain || p.flat {
			return false
		}
		sum, n := 0, w.st.spans.at(r.extra).reach
		if n > maxGlance {
			return false
		}
		for k := range n {
			more := p.shortStrings(unsafe.Add(r.addr, uintptr(k)*p.size))
			if more < 0 {
				return false
			}
			sum += more
		}
		r.weight = clampWeight(n*p.est + sum)
		return true
	case pod.SlotMap:
		m, g, ok := p.smallMap(r.addr)
		if !ok {
			return false
		}
		sum := mapHead + int(m.used)*(p.key.est+p.elem.est)
		for g.full != 0 {
			var at unsafe.Pointer
			at, g = g.next(p.layout.size)
			key, elem := p.key.shortStrings(at), 0
			if len(p.elem.refs) > 0 {
				elem = p.elem.shortStrings(unsafe.Add(at, p.layout.elem))
			}
			if key < 0 || elem < 0 {
				return false
			}
			sum += key + elem
		}
		if sum > smallBytes {
			return false
		}
		r.weight = clampWeight(sum)
		return true
	}
	return false
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
