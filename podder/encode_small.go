package podder

import (
	"encoding/binary"
	"unsafe"
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
	_, g, ok := r.plan.smallMap(r.addr)
	if !ok {
		return 0
	}
	var list [mapGroupSlots]plainEntry
	n := e.shortEntries(r.plan, g, &list)
	if n == 0 {
		if n, ok = e.groupEntries(r.plan, g, &list); !ok {
			return 0
		}
	}
	for k := 1; k < n; k++ {
		if list[k-1].hash >= list[k].hash {
			sortPlain(list[:n], e.keys)
			break
		}
	}
	e.buf = append(e.buf, byte(n), 0)
	if e.buf, ok = appendRows(e.buf, e.keys, list[:n]); !ok {
		for _, x := range list[:n] {
			e.buf = append(e.buf, e.keys[x.from:x.end]...)
		}
	}
	return mapHead
}

// groupEntries encodes the entries of a small map into keys, and lists them.
func (e *encoder) groupEntries(p *plan, g mapGroup, list *[mapGroupSlots]plainEntry) (int, bool) {
	n := 0
	keys, ok := e.keys[:0], true
	for ; g.full != 0; n++ {
		var at unsafe.Pointer
		at, g = g.next(p.layout.size)
		x := plainEntry{from: uint32(len(keys))}
		if keys, ok = appendPlain(keys, p.key, at); !ok {
			return 0, false
		}
		x.hash = e.eng.hashKey(keys[x.from:])
		if keys, ok = appendPlain(keys, p.elem, unsafe.Add(at, p.layout.elem)); !ok { // in the slot
			return 0, false
		}
		x.end = uint32(len(keys))
		list[n] = x
	}
	e.keys = keys
	return n, true
}

// shortEntries is groupEntries of short strings with an integer or a short string each,
// as most small maps have. It returns 0 if they are something else.
func (e *encoder) shortEntries(p *plan, g mapGroup, list *[mapGroupSlots]plainEntry) int {
	if cap(e.keys) < shortGroupBytes+8 {
		e.keys = make([]byte, 0, shortGroupBytes+8)
	}
	e.keys = e.keys[:shortGroupBytes]
	n := p.shortEntries(unsafe.Pointer(unsafe.SliceData(e.keys)), 0, g, list)
	if n < 2 {
		return n // there is nothing to order
	}
	e.eng.hashShortKeys(e.keys, list[:n])
	return n
}

// shortGroupBytes is room for what plan.shortEntries writes.
const shortGroupBytes = mapGroupSlots * 2 * commonMost

// shortEntries writes the entries without their hashes, from place at in the buffer that
// begins at begin on. It calls nothing, as common.
func (p *plan) shortEntries(begin unsafe.Pointer, at int, g mapGroup, list *[mapGroupSlots]plainEntry) int {
	elem := p.elem.only
	if p.key.only != opString || elem != opInt64 && elem != opString {
		return 0
	}
	n, to := 0, unsafe.Add(begin, at)
	for ; g.full != 0; n++ {
		var key unsafe.Pointer
		key, g = g.next(p.layout.size)
		s := *(*string)(key)
		if len(s) > commonBytes {
			return 0
		}
		x := &list[n&(mapGroupSlots-1)]
		x.from = uint32(uintptr(to) - uintptr(begin))
		*(*byte)(to) = byte(len(s)) << 1
		copyFew(unsafe.Add(to, 1), unsafe.Pointer(unsafe.StringData(s)), len(s))
		to = unsafe.Add(to, 1+len(s))
		if at := unsafe.Add(key, p.layout.elem); elem == opInt64 { // in the slot
			v := *(*int64)(at)
			to = putUvarint(to, uint64(v<<1^v>>63))
		} else {
			if s = *(*string)(at); len(s) > commonBytes {
				return 0
			}
			*(*byte)(to) = byte(len(s)) << 1
			copyFew(unsafe.Add(to, 1), unsafe.Pointer(unsafe.StringData(s)), len(s))
			to = unsafe.Add(to, 1+len(s))
		}
		x.end = uint32(uintptr(to) - uintptr(begin))
	}
	return n
}

// appendRows appends the entries of a list, which lie in from. It copies in steps, so it
// needs room for more than it appends, there and in dst; else it appends nothing.
func appendRows(dst, from []byte, list []plainEntry) (_ []byte, ok bool) {
	const step = 8
	if cap(dst)-len(dst) < cap(from) || cap(from)-len(from) < step {
		return dst, false
	}
	to, rows := unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst)), len(dst)), unsafe.Pointer(unsafe.SliceData(from))
	end := len(dst)
	for k := range list {
		row, n := unsafe.Add(rows, list[k].from), uintptr(list[k].end-list[k].from)
		for i := uintptr(0); i < n; i += step {
			*(*[step]byte)(unsafe.Add(to, i)) = *(*[step]byte)(unsafe.Add(row, i))
		}
		to = unsafe.Add(to, n)
		end += int(n)
	}
	return dst[:end], true
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
	if sp.perRun < 0x80 && sp.count < 0x80 { // reach is not more than count
		e.buf = append(e.buf, byte(sp.count), byte(sp.reach), byte(sp.perRun))
	} else {
		e.buf = binary.AppendUvarint(e.buf, uint64(sp.count))
		e.buf = binary.AppendUvarint(e.buf, uint64(sp.reach))
		e.buf = binary.AppendUvarint(e.buf, uint64(sp.perRun))
	}
	head := len(e.buf) - from
	e.values(r.plan, r.addr, sp.reach)
	return head
}
