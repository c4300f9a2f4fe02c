package podder

import (
	"math"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// sliceHeader is the memory of a slice. The pointer has a pointer type, so a
// store through it has a write barrier.
type sliceHeader struct {
	data unsafe.Pointer
	len  int
	cap  int
}

// value decodes one value by its plan to memory of the plan's type at base.
// All stores of pointers are stores of Go pointer types (invariant 3 of
// loader).
func (l *loader) value(p *loadPod, c *cursor, pl *decodePlan, base unsafe.Pointer) {
	for i := range pl.moves {
		m := &pl.moves[i]
		at := unsafe.Add(base, m.offset)
		switch m.code {
		case moveBool:
			b := c.byte()
			if b > 1 {
				l.corrupt("bool of value %d", b)
				return
			}
			*(*bool)(at) = b == 1
		case moveInt8:
			*(*int8)(at) = int8(c.byte())
		case moveUint8:
			*(*uint8)(at) = c.byte()
		case moveInt, moveInt16, moveInt32, moveInt64:
			l.signed(c.varint(), m.code, at)
		case moveUint, moveUint16, moveUint32, moveUint64, moveUintptr:
			l.unsigned(c.uvarint(), m.code, at)
		case move4:
			*(*uint32)(at) = c.uint32()
		case move8:
			*(*uint64)(at) = c.uint64()
		case moveString:
			l.str(p, c, at)
		case movePointer:
			l.pointer(p, c, m, at)
		case moveSlice:
			l.slice(p, c, m, at)
		case moveMap:
			l.mapWord(p, c, m, at)
		case moveInterface:
			l.iface(p, c, m, at)
		case moveArray:
			size := m.sub.typ.Size()
			for j := 0; j < m.count && !c.bad && l.err == nil; j++ {
				l.value(p, c, m.sub, unsafe.Add(at, uintptr(j)*size))
			}
		case moveCodec:
			if b := c.bytes(c.uvarint()); !c.bad {
				if err := m.codec.decode(b, at); err != nil {
					l.corrupt("%s: %v", m.codec.name(), err)
				}
			}
		case moveSkip:
			l.pass(p, c, m.skip)
		}
		if c.bad || l.err != nil {
			if l.err == nil {
				l.corrupt("%s ends early", pl.node.text)
			}
			return
		}
	}
}

func (l *loader) signed(v int64, code moveCode, at unsafe.Pointer) {
	ok := true
	switch code {
	case moveInt:
		ok = int64(int(v)) == v
		*(*int)(at) = int(v)
	case moveInt16:
		ok = int64(int16(v)) == v
		*(*int16)(at) = int16(v)
	case moveInt32:
		ok = int64(int32(v)) == v
		*(*int32)(at) = int32(v)
	case moveInt64:
		*(*int64)(at) = v
	}
	if !ok {
		l.corrupt("number %d is too big for its kind", v)
	}
}

func (l *loader) unsigned(v uint64, code moveCode, at unsafe.Pointer) {
	ok := true
	switch code {
	case moveUint:
		ok = uint64(uint(v)) == v
		*(*uint)(at) = uint(v)
	case moveUint16:
		ok = uint64(uint16(v)) == v
		*(*uint16)(at) = uint16(v)
	case moveUint32:
		ok = uint64(uint32(v)) == v
		*(*uint32)(at) = uint32(v)
	case moveUint64:
		*(*uint64)(at) = v
	case moveUintptr:
		ok = uint64(uintptr(v)) == v
		*(*uintptr)(at) = uintptr(v)
	}
	if !ok {
		l.corrupt("number %d is too big for its kind", v)
	}
}

// str decodes a string: bytes in place, or a part of a SlotString.
func (l *loader) str(p *loadPod, c *cursor, at unsafe.Pointer) {
	x := c.uvarint()
	n := x >> 1
	if x&1 == 0 {
		if b := c.bytes(n); !c.bad {
			*(*string)(at) = string(b)
		}
		return
	}
	code := c.uvarint()
	if code < codeBase {
		l.corrupt("shared string refers to nothing")
		return
	}
	s, ok := l.refer(p, c, code)
	start := c.uvarint()
	switch {
	case !ok || c.bad:
	case s.kind != pod.SlotString:
		l.corrupt("shared string refers to a slot of kind %d", s.kind)
	case start > uint64(s.avail) || n > uint64(s.avail)-start:
		l.corrupt("bytes %d to %d of a string of %d", start, start+n, s.avail)
	default:
		*(*string)(at) = unsafe.String((*byte)(unsafe.Add(s.addr, uintptr(start))), int(n))
	}
}

func (l *loader) pointer(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	start, missing := c.off, l.missing
	addr, ok := l.address(p, c, m.typ, m.empty)
	if ok {
		*(*unsafe.Pointer)(at) = addr
		return
	}
	if l.err == nil && l.scratch == 0 && !c.bad {
		again := cursor{buf: c.buf, off: start}
		if code := again.uvarint(); (code-codeBase)&codeInterior == 0 {
			l.late = append(l.late, latePointer{slot: l.at, at: at, code: code, typ: m.typ})
			l.missing = missing
		}
	}
}

// address decodes a pointer to a t.
func (l *loader) address(p *loadPod, c *cursor, t reflect.Type, empty unsafe.Pointer) (unsafe.Pointer, bool) {
	code := c.uvarint()
	switch code {
	case codeNil:
		return nil, !c.bad
	case codeZeroSize:
		if empty == nil {
			// The type was empty when this was stored and has fields now.
			empty = reflect.New(t).UnsafePointer()
		}
		return empty, true
	}
	// The common case first: the start of a region of this pod that has its
	// address already.
	if y := code - codeBase; y&(codeExternal|codeInterior) == 0 {
		if n := y >> codeShift; n < uint64(len(p.slots)) {
			if r := &p.slots[n]; r.count&regionPlain != 0 && r.typ.typ == t {
				return r.addr, true
			}
		}
	}
	s, ok := l.refer(p, c, code)
	if !ok {
		return nil, false
	}
	if !s.fits(t) {
		l.wrongTarget("*"+l.reg.typeText(t), &s)
		return nil, false
	}
	return s.addr, true
}

func (l *loader) wrongTarget(want string, s *spot) {
	if s.typ == nil {
		l.corrupt("%s refers to a slot of kind %d", want, s.kind)
		return
	}
	l.corrupt("%s refers to %d of %s in a slot of kind %d", want, s.avail, l.reg.typeText(s.typ), s.kind)
}

func (l *loader) slice(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	x := c.uvarint()
	switch x {
	case 0:
		*(*sliceHeader)(at) = sliceHeader{}
		return
	case 1:
		*(*sliceHeader)(at) = sliceHeader{data: m.empty}
		return
	}
	n := x - 2
	extra := c.uvarint()
	code := c.uvarint()
	if c.bad {
		return
	}
	if n > math.MaxInt || extra > math.MaxInt-n || n+extra == 0 {
		l.corrupt("slice of %d elements and %d more", n, extra)
		return
	}
	h := sliceHeader{len: int(n), cap: int(n + extra)}
	switch code {
	case codeNil:
		l.corrupt("slice of %d elements refers to nothing", h.cap)
		return
	case codeZeroSize:
		h.data = m.empty
		if m.typ.Size() > 0 && !l.growEmpty(&h, m.typ) {
			return
		}
	default:
		s, ok := l.refer(p, c, code)
		if !ok {
			return
		}
		if s.typ != m.typ || !s.fits(m.typ) || h.cap > s.avail {
			l.wrongTarget("[]"+l.reg.typeText(m.typ), &s)
			return
		}
		h.data = s.addr
	}
	*(*sliceHeader)(at) = h
}

// growEmpty makes elements for a slice whose element type was empty when it
// was stored and has fields now.
func (l *loader) growEmpty(h *sliceHeader, t reflect.Type) bool {
	if !l.charge(uint64(h.cap), uint64(t.Size()), 0) {
		return false
	}
	h.data = reflect.MakeSlice(reflect.SliceOf(t), h.cap, h.cap).UnsafePointer()
	return true
}

func (l *loader) mapWord(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	if addr, ok := l.mapAddress(p, c, m.typ); ok {
		*(*unsafe.Pointer)(at) = addr
	}
}

// mapAddress decodes a map of type t: the address that is the map.
func (l *loader) mapAddress(p *loadPod, c *cursor, t reflect.Type) (unsafe.Pointer, bool) {
	code := c.uvarint()
	if code == codeNil {
		return nil, !c.bad
	}
	if code == codeZeroSize {
		l.corrupt("map refers to a value without size")
		return nil, false
	}
	s, ok := l.refer(p, c, code)
	if !ok {
		return nil, false
	}
	if s.kind != pod.SlotMap || s.typ != t {
		if s.kind == pod.SlotMap && s.typ.ConvertibleTo(t) {
			return s.addr, true // the same map under two names for its type
		}
		l.wrongTarget(l.reg.typeText(t), &s)
		return nil, false
	}
	return s.addr, true
}

// tooDeep records that values nest in interfaces beyond the limit.
func (l *loader) tooDeep() bool {
	if l.depth < maxValueDepth {
		return false
	}
	l.fail(dberr.Corrupt("", -1, "pod %d slot %d: values nest deeper than %d in interfaces", l.at.pod.id, l.at.slot, maxValueDepth))
	return true
}
