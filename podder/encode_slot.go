package podder

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// runBytes is the encoded size that a run of an array is given.
const runBytes = 256

// slot encodes region r into the buffer. Memory that is stored as it lies is
// hashed in place and not copied yet.
func (e *encoder) slot(r *region, was slotState) {
	e.edge = r.edge
	e.out = append(e.out, slotOut{})
	o := &e.out[len(e.out)-1]
	o.from, o.runs, o.links, o.kind = len(e.buf), len(e.runs), len(e.links), r.kind
	if len(e.st.chunked) > 0 {
		if list := e.st.chunked[e.current]; list != nil {
			e.chunkSlot(r, list, was, o)
			return
		}
	}
	if r.flags&flagSame != 0 {
		o.to, o.runEnd, o.hash = o.from, o.runs, was.hash
		return
	}
	switch r.kind {
	case pod.SlotArray:
		o.typ = e.typeID(r.plan, false)
		e.array(r, o)
		e.shadow(r)
	case pod.SlotMap:
		e.room(r)
		o.typ = e.typeID(r.plan, true)
		e.mapSlot(r)
	case pod.SlotOpaque:
		q := (*opaqueSlot)(r.addr)
		o.kind, o.typ = q.kind, q.value.id
		if len(q.value.runs) > 0 {
			e.opaqueRuns(&q.value)
		} else {
			e.opaque(&q.value)
		}
	case pod.SlotString:
		o.typ = typeString
		o.flat = memory(r.addr, e.st.spans.at(r.extra).count)
	default:
		o.typ = e.typeID(r.plan, false)
		if b := e.runsWritten(r); b != nil {
			e.fill(b)
		} else {
			e.value(r.plan, r.addr)
		}
	}
	o.to, o.runEnd = len(e.buf), len(e.runs)
	head, body := e.buf[o.from:o.to], o.flat
	if o.kind == pod.SlotArray && o.flat == nil {
		n := len(head)
		if o.runEnd > o.runs {
			n = int(e.runs[o.runs])
		}
		head, body = head[:n], head[n:]
	}
	o.hash = e.eng.hashSlot(o.kind, o.typ, head, body)
	o.changed = o.hash != was.hash || o.kind != was.kind
	if o.flat != nil && o.kind == pod.SlotArray && o.changed {
		e.buf = append(e.buf, o.flat...)
		o.to = len(e.buf)
		e.arrayRuns(r, len(o.flat), o)
	}
}

// largeSlot is the stored size from which room is made for a slot beforehand.
const largeSlot = 16 << 10

// room makes room for region r as its weight estimates it.
func (e *encoder) room(r *region) {
	if r.weight > largeSlot {
		e.buf = slices.Grow(e.buf, int(r.weight)+int(r.weight)/16)
	}
}

// array appends the header of an array and its elements, but for numbers that
// lie in memory as they are stored.
func (e *encoder) array(r *region, o *slotOut) {
	sp := e.st.spans.at(r.extra)
	e.chooseRuns(r, sp)
	start := len(e.buf)
	e.buf = binary.AppendUvarint(e.buf, uint64(sp.count))
	e.buf = binary.AppendUvarint(e.buf, uint64(sp.reach))
	e.buf = binary.AppendUvarint(e.buf, uint64(sp.perRun))
	e.runs = append(e.runs, uint32(len(e.buf)-start))
	if r.plan.flat && nativeLittleEndian {
		o.flat = flatMemory(r.addr, uintptr(sp.reach)*r.plan.size)
		return
	}
	if b := e.runsWritten(r); b != nil {
		for from := 0; from < sp.reach; from += sp.perRun {
			start := len(e.buf)
			b = e.fill(b)
			e.runs = append(e.runs, uint32(len(e.buf)-start))
		}
		return
	}
	e.room(r)
	for from := 0; from < sp.reach; from += sp.perRun {
		start, n := len(e.buf), min(sp.perRun, sp.reach-from)
		if at := unsafe.Add(r.addr, uintptr(from)*r.plan.size); r.plan.flat {
			for k := range n {
				e.fixed(r.plan, unsafe.Add(at, uintptr(k)*r.plan.size))
			}
		} else {
			e.values(r.plan, at, n)
		}
		e.runs = append(e.runs, uint32(len(e.buf)-start))
	}
}

// chooseRuns decides how many elements a run of array r has, for good.
func (e *encoder) chooseRuns(r *region, sp *span) { sp.perRun = runElements(r, sp) }

// runElements returns how many elements a run of array r has, whose elements were
// all visited.
func runElements(r *region, sp *span) int {
	if sp.perRun > 0 {
		return sp.perRun
	}
	size := uint(max(1, r.plan.est))
	switch {
	case sp.reach >= int(r.weight):
		size = 1
	case sp.reach > 0:
		size = uint(r.weight / uint32(sp.reach)) // less takes less to divide
	}
	if size > runBytes/2 {
		return 1
	}
	return int(runBytes / uint32(size))
}

// flatMemory views n bytes; not nil even if n is 0, so that the hash of an
// empty flat array has two parts as well.
func flatMemory(p unsafe.Pointer, n uintptr) []byte {
	if n == 0 {
		return []byte{}
	}
	return memory(p, int(n))
}

// arrayRuns adds the lengths of the runs of n bytes of flat elements.
func (e *encoder) arrayRuns(r *region, n int, o *slotOut) {
	head := e.runs[o.runs]
	o.runs = len(e.runs)
	e.runs = append(e.runs, head)
	step := e.st.spans.at(r.extra).perRun * int(r.plan.size)
	for ; n > 0; n -= step {
		e.runs = append(e.runs, uint32(min(step, n)))
	}
	o.runEnd = len(e.runs)
}

// fixed appends a number, or array of numbers, with fixed width.
func (e *encoder) fixed(pl *plan, p unsafe.Pointer) {
	for k := range pl.ops {
		o := &pl.ops[k]
		at := unsafe.Add(p, o.off)
		switch o.code {
		case opArray:
			for i := range o.n {
				e.fixed(o.sub, unsafe.Add(at, uintptr(i)*o.sub.size))
			}
		case opInt16, opUint16:
			e.buf = binary.LittleEndian.AppendUint16(e.buf, *(*uint16)(at))
		case opInt32, opUint32:
			e.buf = binary.LittleEndian.AppendUint32(e.buf, *(*uint32)(at))
		case opInt64, opUint64:
			e.buf = binary.LittleEndian.AppendUint64(e.buf, *(*uint64)(at))
		default:
			e.buf = appendScalar(e.buf, o, at)
		}
	}
}

// forward encodes a forwarder; typ is that of an object that moved as it was, else 0.
func (e *encoder) forward(m *move, was slotState, typ pod.TypeID) {
	o := slotOut{from: len(e.buf), runs: len(e.runs), runEnd: len(e.runs), links: len(e.links), kind: pod.SlotForward, typ: typ}
	e.way(e.st.regions.at(m.to), m.in)
	o.to = len(e.buf)
	o.hash = e.eng.hashSlot(o.kind, typ, e.buf[o.from:o.to], nil)
	o.changed = o.hash != was.hash || o.kind != was.kind
	e.out = append(e.out, o)
}
