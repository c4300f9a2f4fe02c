package podder

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// opaque reports whether the region holds what is stored of a type that the
// program does not know.
func (r *loadRegion) opaque() bool { return r.typ != nil && r.typ.typ == opaqueSlotType }

// ifaceOpaque keeps a value of an unknown type: in the interface if that has no
// methods, else, in an object of a live graph, beside it (hidden).
func (l *loader) ifaceOpaque(p *loadPod, c *cursor, id pod.TypeID, iface reflect.Type, at unsafe.Pointer, unknown error) {
	st, err := l.descriptorOf(id)
	if err != nil {
		l.failAt(err)
		return
	}
	fits := opaqueType.Implements(iface)
	if !fits && (l.hidden == nil || l.scratch > 0 || l.depth > 0 || p.merged.Slots[l.at.slot].Kind != pod.SlotObject) {
		l.failAt(fmt.Errorf("in an interface with methods: %w", unknown))
		return
	}
	if !l.charge(1, uint64(opaqueSlotType.Size()), 1+leastBytes(st.node)) {
		return
	}
	o := &Opaque{text: st.node.text, seed: l.seed()}
	o.value.id = id
	k := capture{l: l, v: &o.value, from: c.off}
	k.take(p, c, st.node)
	k.upTo(c, c.off)
	switch {
	case l.err != nil || c.bad:
	case fits:
		reflect.NewAt(iface, at).Elem().Set(reflect.ValueOf(o))
	default:
		if l.inPlace && p.shadow[l.at.slot] != nil { // the object lives elsewhere
			at = unsafe.Add(p.slots[l.at.slot].addr, uintptr(at)-uintptr(p.shadow[l.at.slot]))
		}
		l.hidden[at] = o
	}
}

// ifaceInto keeps a value whose type is known, but that leads into an object whose
// type is not, with the unknown ones: its decoding, from start on, has failed.
func (l *loader) ifaceInto(p *loadPod, c *cursor, id pod.TypeID, iface reflect.Type, at unsafe.Pointer, start cursor, hooks int) {
	unknown := l.err
	l.err, l.intoUnknown = nil, false
	*c = start
	l.hooks = l.hooks[:hooks]
	*(*ifaceWords)(at) = ifaceWords{}
	l.ifaceOpaque(p, c, id, iface, at, unknown)
}

// unknownTarget records that a reference leads to a slot whose type the program
// does not know. An interface in the same slot that holds the reference can keep it.
func (l *loader) unknownTarget(err error) {
	l.intoUnknown = l.err == nil
	l.failAt(err)
}

// seed tells databases apart.
func (l *loader) seed() uint64 {
	secret := l.src.Secret()
	return binary.LittleEndian.Uint64(secret[:8])
}

// capture takes references out of stored bytes while they are passed over.
type capture struct {
	l    *loader
	v    *opaqueValue
	from int // where in the cursor's bytes the part begins that was not copied yet
}

func (k *capture) take(p *loadPod, c *cursor, n *node) {
	outer := k.l.capturing
	k.l.capturing = k
	k.l.depth++
	k.l.pass(p, c, n)
	k.l.depth--
	k.l.capturing = outer
}

// upTo copies the bytes of the cursor up to a place.
func (k *capture) upTo(c *cursor, to int) {
	k.v.data = append(k.v.data, c.buf[k.from:to]...)
	k.from = to
}

// add puts a reference in place of the bytes from start to the cursor's place.
func (k *capture) add(c *cursor, start int, r opaqueRef) {
	if c.bad || k.l.err != nil {
		return
	}
	k.upTo(c, start)
	k.from = c.off
	if size := uint64(unsafe.Sizeof(r)); !k.l.allot(size, size, 1) { // of MaxLoad alone
		return
	}
	r.at = len(k.v.data)
	k.v.refs = append(k.v.refs, r)
}

// reference takes out a pointer code, which begins at start; the interior part
// begins at tail.
func (k *capture) reference(p *loadPod, c *cursor, start, tail int, code, length, extra uint64) {
	l := k.l
	y := code - codeBase
	r := opaqueRef{tail: slices.Clone(c.buf[tail:c.off])}
	if y&codeExternal != 0 {
		if n := y >> codeShift; n < uint64(len(p.merged.Refs)) && p.merged.Refs[n].Pod != 0 {
			r.outside = p.merged.Refs[n]
			k.add(c, start, r)
			return
		}
	}
	_, slot, ok := l.target(p, code)
	if !ok {
		return
	}
	if !l.knownSlot(p, slot) {
		if r.opaque, ok = l.placeOpaque(p, slot); ok {
			k.add(c, start, r)
		}
		return
	}
	again := cursor{buf: c.buf, off: tail}
	s, ok := l.refer(p, &again, code)
	if !ok {
		return
	}
	if s.typ == nil {
		l.corrupt("opaque value refers to a slot of kind %d", s.kind)
		return
	}
	r.addr, r.kind, r.tail = s.addr, s.kind, nil
	r.part = part{typ: s.typ, count: 1}
	if length+extra > 0 {
		if length > uint64(s.avail) || extra > uint64(s.avail)-length {
			l.corrupt("slice of %d elements and %d more refers to %d", length, extra, s.avail)
			return
		}
		r.part.count, r.part.array, r.shown = int(length+extra), true, int(length)
	}
	k.add(c, start, r)
}

// sharedString takes out a string that lies in a slot of its own; its length was
// read.
func (k *capture) sharedString(p *loadPod, c *cursor, start int, n uint64) {
	at := c.off
	code := c.uvarint()
	if code < codeBase || (code-codeBase)&codeExternal != 0 {
		c.off = at
		k.l.passCode(p, c, 0, 0)
		c.uvarint()
		return
	}
	again := cursor{buf: c.buf, off: start}
	var s string
	k.l.str(p, &again, unsafe.Pointer(&s))
	c.off, c.bad = again.off, c.bad || again.bad
	if uint64(len(s)) != n {
		if k.l.err == nil {
			k.l.corrupt("shared string of %d bytes has %d", n, len(s))
		}
		return
	}
	k.add(c, start, opaqueRef{kind: pod.SlotString, text: s})
}

// knownSlot reports whether the program knows the type of a slot.
func (l *loader) knownSlot(p *loadPod, s pod.Slot) bool {
	r, d := &p.slots[s], &p.merged.Slots[s]
	switch {
	case storedKind(d) == pod.SlotString:
		return true
	case d.Kind == pod.SlotForward:
		return false
	case r.addr != nil:
		return !r.opaque()
	case l.lookup != nil && !l.inPlace:
		if lr, ok := l.lookup(p.id, s); ok && lr.addr != nil {
			return lr.kind != pod.SlotOpaque
		}
	}
	_, err := l.typeOf(d.Type)
	return err == nil
}

// placeOpaque gives a slot of an unknown type a region of its own.
func (l *loader) placeOpaque(p *loadPod, s pod.Slot) (*opaqueSlot, bool) {
	r, d := &p.slots[s], &p.merged.Slots[s]
	if r.addr != nil {
		return (*opaqueSlot)(r.addr), true
	}
	st := &storedType{typ: opaqueSlotType}
	if l.lookup != nil && !l.inPlace {
		if lr, ok := l.lookup(p.id, s); ok && lr.kind == pod.SlotOpaque && lr.addr != nil {
			*r = loadRegion{addr: lr.addr, typ: st, count: 1<<regionFlags | regionLive | regionFilled}
			return (*opaqueSlot)(lr.addr), true
		}
	}
	switch d.Kind {
	case pod.SlotObject, pod.SlotArray, pod.SlotMap, pod.SlotForward, pod.SlotChunks:
	default:
		l.corrupt("opaque value refers to a slot of kind %d", d.Kind)
		return nil, false
	}
	if !l.charge(1, uint64(opaqueSlotType.Size()), len(d.Bytes)) {
		return nil, false
	}
	q := &opaqueSlot{kind: d.Kind}
	*r = loadRegion{addr: unsafe.Pointer(q), typ: st, count: 1 << regionFlags}
	l.queue = append(l.queue, loadSlot{p, s})
	return q, true
}

// fillOpaque reads the contents of an opaque slot.
func (l *loader) fillOpaque(p *loadPod, d *pod.Data, q *opaqueSlot) {
	v := &q.value
	*v = opaqueValue{id: d.Type}
	if d.Kind == pod.SlotForward {
		c := cursor{buf: d.Bytes}
		k := capture{l: l, v: v}
		l.capturing = &k
		l.passCode(p, &c, 0, 0)
		l.capturing = nil
		l.opaqueEnd(&k, &c)
		return
	}
	st, err := l.descriptorOf(d.Type)
	if err != nil {
		l.failAt(err)
		return
	}
	if (st.node.kind == nodeEntries) != (storedKind(d) == pod.SlotMap) {
		l.corrupt("slot of kind %d and type %s", d.Kind, st.node.text)
		return
	}
	if d.Kind == pod.SlotChunks {
		l.fillOpaqueChunks(p, d, v)
		return
	}
	if d.Kind == pod.SlotObject {
		c := cursor{buf: d.Bytes}
		k := capture{l: l, v: v}
		k.take(p, &c, st.node)
		l.opaqueEnd(&k, &c)
		return
	}
	all := runsOf(d)
	for i := range all.count() {
		b, ok := all.next()
		if !ok {
			l.corrupt("runs exceed the %d bytes of a container", len(d.Bytes))
			return
		}
		c := cursor{buf: b}
		k := capture{l: l, v: v}
		switch {
		case i == 0 || d.Kind == pod.SlotArray && st.node.flat() != nil:
			c.off = len(b)
		case d.Kind == pod.SlotMap:
			for off := -1; c.off < len(b) && c.off > off && !c.bad && l.err == nil; {
				off = c.off
				k.take(p, &c, st.node.key)
				k.take(p, &c, st.node.elem)
			}
		default:
			for off := -1; c.off < len(b) && c.off > off && !c.bad && l.err == nil; {
				off = c.off
				k.take(p, &c, st.node)
			}
		}
		l.opaqueEnd(&k, &c)
		if d.Runs != nil {
			v.runs = append(v.runs, opaqueRun{len(v.data), len(v.refs)})
		}
	}
}

// opaqueEnd copies what is left and checks that all was read.
func (l *loader) opaqueEnd(k *capture, c *cursor) {
	if l.err != nil {
		return
	}
	if c.bad || c.off != len(c.buf) {
		l.corrupt("opaque value of %d bytes ends at %d", len(c.buf), c.off)
		return
	}
	k.upTo(c, c.off)
}
