package podder

import (
	"encoding/binary"
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
		r.weight = clampWeight(p.est + n)
		return n >= 0
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
		sum := mapHead
		for full := g.full; g.full != 0; {
			var at unsafe.Pointer
			at, g = g.next(p.layout.size)
			key, elem := p.key.shortStrings(at), p.elem.shortStrings(unsafe.Add(at, p.layout.elem))
			if key < 0 || elem < 0 {
				return false
			}
			sum += p.key.est + p.elem.est + key + elem
			if g.full == 0 && bits.OnesCount64(full) != int(m.used) {
				return false
			}
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

// smallMap returns the only group of the map at m, if it can be read as memory, leads
// nowhere but for long strings, and is not being written.
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
	if m.used == 0 {
		return m, mapGroup{}, true
	}
	return m, groupAt(m.dir), m.dir != nil
}

// smallMapSlot appends map region r in its stored form and returns how long the head of
// that is: 0, and has appended nothing, if it was not looked at by glance, or is not as
// that found it.
func (e *encoder) smallMapSlot(r *region) int {
	if r.extra >= 0 || r.written != 0 {
		return 0
	}
	p := r.plan
	m, g, ok := p.smallMap(r.addr)
	if !ok || bits.OnesCount64(g.full) != int(m.used) {
		return 0
	}
	start := len(e.buf)
	buf := append(e.buf, byte(m.used), 0)
	var list [mapGroupSlots]plainEntry
	n, last, sorted := 0, uint64(0), true
	for g.full != 0 {
		var at unsafe.Pointer
		at, g = g.next(p.layout.size)
		from := len(buf)
		if p.key.only == opString && len(*(*string)(at)) < longString { // mostly
			buf = appendShort(buf, *(*string)(at))
		} else if buf, ok = appendPlain(buf, p.key, at); !ok {
			return 0
		}
		hash := uint64(0)
		if m.used > 1 {
			hash = e.eng.hashKey(buf[from:])
		}
		if elem := unsafe.Add(at, p.layout.elem); p.elem.only == opInt64 {
			buf = binary.AppendVarint(buf, *(*int64)(elem))
		} else if buf, ok = appendPlain(buf, p.elem, elem); !ok {
			return 0
		}
		list[n] = plainEntry{hash, uint32(from - start), uint32(len(buf) - start)}
		sorted = sorted && (n == 0 || last < hash)
		last = hash
		n++
	}
	if !sorted {
		sortPlain(list[:n], buf[start:])
		e.keys = append(e.keys[:0], buf[start:]...)
		buf = buf[:start+mapHead]
		for k := range n {
			buf = append(buf, e.keys[list[k].from:list[k].end]...)
		}
	}
	e.buf = buf
	return mapHead
}

// shortArray appends array region r in its stored form and returns how long the head of
// that is, if it has a few elements in one run and is no row of numbers. Else it returns
// 0, and has appended nothing.
func (e *encoder) shortArray(r *region) int {
	sp := e.st.spans.at(r.extra)
	if r.plan.flat || sp.reach == 0 || sp.reach >= shadowElements {
		return 0
	}
	e.chooseRuns(r, sp)
	if sp.reach > sp.perRun {
		return 0
	}
	from := len(e.buf)
	buf := binary.AppendUvarint(e.buf, uint64(sp.count))
	buf = binary.AppendUvarint(buf, uint64(sp.reach))
	buf = binary.AppendUvarint(buf, uint64(sp.perRun))
	head := len(buf) - from
	pl, at, one := r.plan, r.addr, r.plan.only
	for k := 0; ; {
		switch {
		case one == opString && len(*(*string)(at)) < longString:
			buf = appendShort(buf, *(*string)(at))
		case one == opPointer && *(*unsafe.Pointer)(at) != nil && pl.ops[0].sub.size > 0:
			buf = e.whole(buf, *(*unsafe.Pointer)(at), pl.ops[0].sub, pod.SlotObject, 1)
		default:
			e.buf = buf
			e.value(pl, at)
			buf = e.buf
		}
		if k++; k == sp.reach {
			e.buf = buf
			return head
		}
		at = unsafe.Add(at, pl.size) // not behind the last one: that may be another's memory
	}
}
