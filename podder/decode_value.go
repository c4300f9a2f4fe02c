package podder

import (
	"errors"
	"fmt"
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
				break
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
		case moveRaw:
			if b := c.bytes(uint64(m.count)); !c.bad {
				copy(unsafe.Slice((*byte)(at), len(b)), b) // no pointers
			}
		case moveCodec:
			if b := c.bytes(c.uvarint()); !c.bad {
				l.codec(m.codec, b, at)
			}
		case moveHand:
			l.hand(p, c, m, at)
		case moveWeak:
			l.weak(p, c, m, at)
		case moveRef:
			l.ref(p, c, m, at)
		case moveAfter:
			l.after(m.typ, at)
		case moveSkip:
			l.pass(p, c, m.node)
		case moveConvert:
			l.convert(c, m, at)
		case moveMigrate:
			l.migrate(p, c, m, at)
		case moveBox:
			l.value(p, c, m.sub, l.boxed(m, at))
		case moveUnbox:
			l.unbox(p, c, m, at)
		case moveToInterface:
			l.toInterface(p, c, m, at)
		case moveFromInterface:
			l.fromInterface(p, c, m, at)
		case moveTail:
			l.tail(p, c, m)
		}
		if c.bad || l.err != nil {
			if l.err == nil {
				l.corrupt("%s ends early", pl.node.text)
			}
			l.locate(c)
			return
		}
	}
}

// codec decodes a value with a codec of the standard library.
func (l *loader) codec(c valueCodec, b []byte, at unsafe.Pointer) {
	var err error
	if k, ok := c.(checkedCodec); ok && k.bounded != nil {
		err = k.bounded(l, b, at)
	} else {
		err = c.decode(b, at)
	}
	if err != nil && l.err == nil {
		l.codecFailed(c, err)
	}
}

// codecFailed records the error of a codec: what the program lacks, or damage.
func (l *loader) codecFailed(c valueCodec, err error) {
	if errors.Is(err, dberr.ErrUnregistered) || errors.Is(err, dberr.ErrTooLarge) || errors.Is(err, dberr.ErrTypeMismatch) {
		l.failAt(fmt.Errorf("%s: %w", c.name(), err))
		return
	}
	l.corrupt("%s: %v", c.name(), err)
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
	x, short := c.small()
	if !short {
		x = c.longUvarint()
	}
	n := x >> 1
	if x&1 == 0 {
		if b := c.bytes(n); !c.bad {
			*(*string)(at) = l.slab.copyOf(b)
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
	missing := l.missing
	if r := l.near(p, c, m.same); r != nil && r.count&regionPlain != 0 {
		*(*unsafe.Pointer)(at) = r.addr
		return
	}
	code := *c
	addr, ok := l.address(p, c, m.typ, m.empty, m.loose)
	switch {
	case ok:
		*(*unsafe.Pointer)(at) = addr
	case !missing && l.mayWait(c):
		l.waits(p, code, lateReference{at: at, move: m})
	}
}

// address decodes a pointer to a t, loose if it is stored as one to another
// type.
func (l *loader) address(p *loadPod, c *cursor, t reflect.Type, empty unsafe.Pointer, loose bool) (unsafe.Pointer, bool) {
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
	if loose {
		l.want = t
	}
	s, ok := l.refer(p, c, code)
	l.want = nil
	if !ok {
		return nil, false
	}
	if !l.pointsTo(&s, t, loose) {
		return nil, false
	}
	return s.addr, true
}

// pointsTo checks that a pointer to a t may lead to a spot, which it leads on to a
// value behind a pointer.
func (l *loader) pointsTo(s *spot, t reflect.Type, loose bool) bool {
	if l.fits(s, t) {
		return true
	}
	if !l.shortened("*"+l.reg.typeText(t), s, t, 1) {
		l.wrongTarget("*"+l.reg.typeText(t), s, loose)
	}
	return false
}

// fits is spot.fits, with a pointer to a value that is behind a pointer now led
// on to it.
func (l *loader) fits(s *spot, t reflect.Type) bool {
	if s.fits(t) {
		return true
	}
	if s.plan == nil || s.plan.box == nil {
		return false
	}
	in := *s
	if l.intoBox(&in); !in.fits(t) {
		return false
	}
	*s = in
	return true
}

// wrongTarget refuses a reference. What does not fit because types have changed
// is the program's business, everything else is damage.
func (l *loader) wrongTarget(want string, s *spot, loose bool) {
	if s.typ != nil && (loose || s.cut || s.plan == nil || s.plan.changed || !l.reg.textIs(s.plan.node.text, s.typ)) {
		stored := l.reg.typeText(s.typ)
		if s.plan != nil {
			stored = s.plan.node.text + ", now " + stored
		}
		l.fail(fmt.Errorf("pod %d slot %d: %s refers to a value that is stored as %s: all that refer to one value must agree about its type: %w",
			l.at.pod.id, l.at.slot, want, stored, dberr.ErrTypeMismatch))
		return
	}
	if s.typ == nil {
		l.corrupt("%s refers to a slot of kind %d", want, s.kind)
		return
	}
	l.corrupt("%s refers to %d of %s in a slot of kind %d", want, s.avail, l.reg.typeText(s.typ), s.kind)
}

func (l *loader) slice(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	x, short := c.small()
	if !short {
		x = c.longUvarint()
	}
	switch x {
	case 0:
		*(*sliceHeader)(at) = sliceHeader{}
		return
	case 1:
		*(*sliceHeader)(at) = sliceHeader{data: m.empty}
		return
	}
	n := x - 2
	extra, short := c.small()
	if !short {
		extra = c.longUvarint()
	}
	if r := l.near(p, c, m.same); r != nil && r.count&regionPlain != 0 {
		if room := uint64(r.elements()); n <= room && extra <= room-n && n+extra > 0 {
			*(*sliceHeader)(at) = sliceHeader{data: r.addr, len: int(n), cap: int(n + extra)}
			return
		}
		l.corrupt("slice of %d elements and %d more refers to %d", n, extra, r.elements())
		return
	}
	missing, before := l.missing, *c
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
		if m.loose {
			l.want = m.typ
		}
		s, ok := l.refer(p, c, code)
		l.want = nil
		switch {
		case ok:
			l.storeSlice(m, &s, h, at)
		case !missing && l.mayWait(c):
			l.waits(p, before, lateReference{at: at, move: m, len: h.len, cap: h.cap})
		}
		return
	}
	*(*sliceHeader)(at) = h
}

// storeSlice stores a slice of what is at a spot.
func (l *loader) storeSlice(m *decodeMove, s *spot, h sliceHeader, at unsafe.Pointer) {
	if !s.fits(m.typ) || h.cap > s.room(m.typ) {
		if !l.shortened("[]"+l.reg.typeText(m.typ), s, m.typ, h.cap) {
			l.wrongTarget("[]"+l.reg.typeText(m.typ), s, m.loose)
		}
		return
	}
	h.data = s.addr
	*(*sliceHeader)(at) = h
}

// growEmpty makes elements for a slice whose element type was empty when it
// was stored and has fields now. What it had room for beyond its length took no memory, however
// much it was, so there is none for it.
func (l *loader) growEmpty(h *sliceHeader, t reflect.Type) bool {
	h.cap = h.len
	if !l.charge(uint64(h.cap), uint64(t.Size()), 0) {
		return false
	}
	h.data = reflect.MakeSlice(reflect.SliceOf(t), h.cap, h.cap).UnsafePointer()
	return true
}

func (l *loader) mapWord(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	if r := l.near(p, c, m.same); r != nil && r.count&regionMap != 0 {
		*(*unsafe.Pointer)(at) = r.addr
		return
	}
	missing, code := l.missing, *c
	addr, ok := l.mapAddress(p, c, m.typ, m.loose)
	switch {
	case ok:
		*(*unsafe.Pointer)(at) = addr
	case !missing && l.mayWait(c):
		l.waits(p, code, lateReference{at: at, move: m})
	}
}

// mapAddress decodes a map of type t: the address that is the map.
func (l *loader) mapAddress(p *loadPod, c *cursor, t reflect.Type, loose bool) (unsafe.Pointer, bool) {
	code := c.uvarint()
	if code == codeNil {
		return nil, !c.bad
	}
	if code == codeZeroSize {
		l.corrupt("map refers to a value without size")
		return nil, false
	}
	if loose {
		l.want = t
	}
	s, ok := l.refer(p, c, code)
	l.want = nil
	if !ok || !l.isMap(&s, t, loose) {
		return nil, false
	}
	return s.addr, true
}

// isMap checks that what is at a spot is a map of type t, or the same under
// another name for its type.
func (l *loader) isMap(s *spot, t reflect.Type, loose bool) bool {
	if s.kind == pod.SlotMap && (s.typ == t || s.typ.ConvertibleTo(t)) {
		return true
	}
	l.wrongTarget(l.reg.typeText(t), s, loose && s.kind == pod.SlotMap)
	return false
}

// tooDeep records that values nest in interfaces, or what were pointers in each other, beyond the limit.
func (l *loader) tooDeep() bool {
	if l.depth < maxValueDepth {
		return false
	}
	if l.unboxing > 0 { // no save refuses that
		l.fail(fmt.Errorf("pod %d slot %d: %s: what were pointers and are values now lead to each other in a circle, or too deep: %w",
			l.at.pod.id, l.at.slot, l.unboxed, dberr.ErrTypeMismatch))
		return true
	}
	l.fail(dberr.Corrupt("", -1, "pod %d slot %d: values nest deeper than %d in interfaces", l.at.pod.id, l.at.slot, maxValueDepth))
	return true
}
