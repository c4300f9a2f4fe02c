package podder

import (
	"encoding/binary"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Small maps and short arrays, which most containers are, in their stored form as
// mapSlot and array make it, at once and from memory.

// smallMapSlot appends map region r in its stored form and returns how long the head of
// that is: 0, and has appended nothing, if it was not looked at by glance, or is not as
// that found it.
func (e *encoder) smallMapSlot(r *region) int {
	if r.extra >= 0 || r.written != 0 {
		return 0
	}
	p := r.plan
	m, g, ok := p.smallMap(r.addr)
	if !ok {
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
		if buf, ok = appendPlain(buf, p.key, at); !ok {
			return 0
		}
		hash := uint64(0)
		if m.used > 1 {
			hash = e.eng.hashKey(buf[from:])
		}
		if buf, ok = appendPlain(buf, p.elem, unsafe.Add(at, p.layout.elem)); !ok {
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
