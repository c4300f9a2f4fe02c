package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Pointer codes: 0 nil, 1 a value of size zero, else a target plus 2.
const (
	codeNil      = 0
	codeZeroSize = 1
	codeBase     = 2
	codeExternal = 1 // bit of code-codeBase: number is in the reference table
	codeInterior = 2 // bit of code-codeBase: element index and steps follow
	codeShift    = 2
)

// spot is where a reference leads: avail consecutive values of type typ.
type spot struct {
	addr  unsafe.Pointer
	typ   reflect.Type
	plan  *decodePlan // of typ; nil for a live region of a pod that is not here
	avail int
	kind  pod.Kind
	in    loadSlot    // where it begins is stored; no pod if that is not known
	cut   bool        // a part of what was there: the program has less of it
	array *decodePlan // of which it is element index
	index uint64
}

// refer reads the rest of a pointer code and returns where it leads. It
// reports false if that is not known: an error was recorded, or a pod is
// missing and will be fetched.
func (l *loader) refer(p *loadPod, c *cursor, code uint64) (spot, bool) {
	return l.referVia(p, c, code, 0)
}

func (l *loader) referVia(p *loadPod, c *cursor, code uint64, hops int) (spot, bool) {
	if (code-codeBase)&codeInterior == 0 {
		return l.referTo(p, code, hops)
	}
	first := len(l.steps)
	index := l.readInterior(c)
	if c.bad {
		l.corrupt("reference ends early")
		return spot{}, false
	}
	if len(l.steps) > first {
		l.want = nil // what is wanted is a part of what is there
	}
	at, ok := l.referTo(p, code, hops)
	if ok {
		at, ok = l.descend(at, index, l.steps[first:])
		at.in = loadSlot{}
	}
	l.steps = l.steps[:first]
	return at, ok
}

// near reads the reference of the common case: to a whole region, of the very
// type, in a pod that is here. In all others it returns nil and has read nothing.
func (l *loader) near(p *loadPod, c *cursor, same uintptr) *loadRegion {
	start := c.off
	if same == 0 || start >= len(c.buf) {
		return nil
	}
	y, ok := c.small()
	if !ok {
		y = c.longUvarint()
	}
	if y -= codeBase; y&codeInterior == 0 { // nor nil, nor a value of size zero
		in, n := p, y>>codeShift
		if y&codeExternal != 0 {
			in, n = p.outside(n)
		}
		if in != nil && n < uint64(len(in.slots)) {
			r := &in.slots[n]
			if (r.addr != nil || l.placeNear(in, pod.Slot(n))) && r.typ != nil && r.typ.same == same {
				if l.named.g != nil {
					l.named.follow(l.at, loadSlot{in, pod.Slot(n)}, r.addr)
				}
				return r
			}
		}
	}
	c.off, c.bad = start, false
	return nil
}

// outside returns the slot to which a number in the reference table leads, if that
// was followed before and its pod is here.
func (p *loadPod) outside(number uint64) (in *loadPod, slot uint64) {
	if number < uint64(len(p.refs)) {
		if in = p.refs[number]; in != nil && in.merged != nil {
			if s := p.merged.Refs[number].Slot; in.merged.Exported(s) {
				return in, uint64(s)
			}
		}
	}
	return nil, 0
}

// referTo returns the start of the region that a code names.
func (l *loader) referTo(p *loadPod, code uint64, hops int) (spot, bool) {
	y := code - codeBase
	number := y >> codeShift
	target := p
	slot := pod.Slot(number)
	if y&codeExternal != 0 {
		if number >= uint64(len(p.merged.Refs)) || p.merged.Refs[number].Pod == 0 {
			l.corrupt("reference %d of %d in the table", number, len(p.merged.Refs))
			return spot{}, false
		}
		slot = p.merged.Refs[number].Slot
		if p.refs == nil {
			p.refs = take(&l.idle.refs, len(p.merged.Refs))
		}
		if target = p.refs[number]; target == nil {
			target = l.pod(p.merged.Refs[number].Pod)
			p.refs[number] = target
		}
	} else if number >= uint64(len(p.slots)) {
		l.corrupt("reference to slot %d of %d", number, len(p.slots))
		return spot{}, false
	}
	return l.reach(p, loadSlot{target, slot}, y&codeInterior != 0, hops)
}

// reach returns the start of the region in a slot to which a reference in pod p
// leads.
func (l *loader) reach(p *loadPod, to loadSlot, interior bool, hops int) (spot, bool) {
	at, ok := l.regionAt(p, to, interior, hops)
	if ok && hops == 0 && l.named.g != nil {
		if at.in.pod != nil {
			to = at.in
		}
		l.named.follow(l.at, to, at.addr)
	}
	return at, ok
}

// follow notes that a reference in slot from leads to slot `to`, which is at addr.
func (x *namedLinks) follow(from, to loadSlot, addr unsafe.Pointer) {
	p := x.g.eng.sentinels.at(addr)
	if p == nil {
		return
	}
	ref := pod.Ref{Pod: to.pod.id, Slot: to.slot}
	first, ok := x.first[p]
	if !ok {
		first = ref
		if i := x.g.cur.firstNamed(p); i >= 0 && !x.anew {
			first = x.g.cur.placeOf(i)
		}
		if x.first == nil {
			x.first, x.from = map[*plan]pod.Ref{}, map[namedLink]loadSlot{}
		}
		x.first[p] = first
	}
	if ref != first {
		x.from[namedLink{from, p}] = to
	}
}

// regionAt is reach, and notes nothing.
func (l *loader) regionAt(p *loadPod, to loadSlot, interior bool, hops int) (spot, bool) {
	target, slot := to.pod, to.slot
	switch {
	case target == p:
	case target.released:
		r, ok := target.exported.at(slot)
		switch {
		case ok && !r.opaque():
			return r.spot(to), true
		case ok:
			l.unknownTarget(fmt.Errorf("reference to pod %d slot %d, whose type this program does not know: %w", target.id, slot, dberr.ErrUnregistered))
			return spot{}, false
		}
		l.notExported(to)
		return spot{}, false
	case target.merged == nil:
		return l.referOutside(target, slot, interior)
	case !target.merged.Exported(slot):
		l.notExported(to)
		return spot{}, false
	}
	return l.base(target, slot, hops)
}

func (l *loader) notExported(s loadSlot) {
	l.corrupt("reference to slot %d of pod %d, which is not exported", s.slot, s.pod.id)
}

// spot is where a placed slot begins.
func (r *loadRegion) spot(in loadSlot) spot {
	at := spot{addr: r.addr, avail: r.elements(), kind: r.kind(), in: in}
	if r.typ != nil {
		at.typ, at.plan = r.typ.typ, r.typ.plan
	}
	return at
}

// referOutside leads into a pod that was not fetched: to what lives, or
// nowhere until it is fetched.
func (l *loader) referOutside(p *loadPod, s pod.Slot, interior bool) (spot, bool) {
	if l.lookup != nil && !l.inPlace && !interior && !l.isReshaped(p.id, s) {
		if lr, ok := l.lookup(p.id, s); ok && lr.addr != nil && (lr.kind >= pod.SlotObject && lr.kind <= pod.SlotString) {
			return spot{addr: lr.addr, typ: lr.typ, avail: lr.count, kind: lr.kind}, true
		}
	}
	l.need(p)
	return spot{}, false
}

// readInterior reads element index and steps, leaving the steps on l.steps.
func (l *loader) readInterior(c *cursor) uint64 {
	index := c.uvarint()
	n := c.uvarint()
	if n > uint64(c.left()) {
		c.fail()
		return 0
	}
	for range n {
		l.steps = append(l.steps, c.uvarint())
	}
	return index
}

// base returns where slot s of a fetched pod is, following forwarders and
// placing the slot if this is the first reference to it.
func (l *loader) base(p *loadPod, s pod.Slot, hops int) (spot, bool) {
	if int(s) >= len(p.slots) {
		l.corrupt("reference to slot %d of pod %d, which has %d", s, p.id, len(p.slots))
		return spot{}, false
	}
	r := &p.slots[s]
	d := &p.merged.Slots[s]
	if r.addr == nil || r.opaque() {
		if d.Kind == pod.SlotForward {
			return l.forward(p, s, d, hops)
		}
		if r.addr != nil {
			_, err := l.typeOf(d.Type)
			if err == nil {
				err = fmt.Errorf("its type was unknown to what was loaded before, and is wanted now; register it, or load both in one call: %w", dberr.ErrUnregistered)
			}
			l.unknownTarget(fmt.Errorf("reference to pod %d slot %d: %w", p.id, s, err))
			return spot{}, false
		}
		if !l.place(p, s) {
			return spot{}, false
		}
	}
	return r.spot(loadSlot{p, s}), true
}

// forward leads on from a slot whose object has moved.
func (l *loader) forward(p *loadPod, s pod.Slot, d *pod.Data, hops int) (spot, bool) {
	if hops >= maxForwarders {
		l.corrupt("pod %d slot %d: cycle of forwarders", p.id, s)
		return spot{}, false
	}
	c := cursor{buf: d.Bytes}
	code := c.uvarint()
	if code < codeBase {
		l.corrupt("pod %d slot %d: forwarder to nothing", p.id, s)
		return spot{}, false
	}
	at, ok := l.referVia(p, &c, code, hops+1)
	if ok && c.off != len(c.buf) {
		l.corrupt("pod %d slot %d: forwarder of %d bytes ends at %d", p.id, s, len(c.buf), c.off)
		return spot{}, false
	}
	if ok {
		l.forwarders[loadSlot{p, s}] = at.addr
		if to := at.in.pod; l.first != nil && l.recycler != nil {
			if to == nil || to.released {
				l.fail(errReleased)
				return spot{}, false
			}
			to.keep = true // its slot says where the forwarder leads (forwardWay)
		}
	}
	return at, ok
}

// descend follows element index and steps from the start of a region.
func (l *loader) descend(at spot, index uint64, steps []uint64) (spot, bool) {
	if at.kind != pod.SlotObject && at.kind != pod.SlotArray {
		l.corrupt("reference into a slot of kind %d", at.kind)
		return spot{}, false
	}
	if index >= uint64(at.avail) {
		l.corrupt("reference to element %d of %d", index, at.avail)
		return spot{}, false
	}
	at.addr = unsafe.Add(at.addr, uintptr(index)*at.typ.Size())
	at.avail -= int(index)
	for k, step := range steps {
		for at.plan.box != nil {
			l.intoBox(&at)
		}
		switch {
		case at.plan.migrated:
			l.fail(fmt.Errorf("pod %d slot %d: a pointer leads into a value stored as %s, which a migration makes into %s: %w",
				l.at.pod.id, l.at.slot, at.plan.node.text, l.reg.typeText(at.typ), dberr.ErrTypeMismatch))
			return spot{}, false
		case at.plan.node.kind == nodeStruct && at.typ.Kind() == reflect.Struct:
			f, ok := at.plan.fields[uint32(step)]
			if !ok || step > maxFieldID {
				if step > maxFieldID {
					l.corrupt("reference to field %d of %s", step, at.plan.node.text)
					return spot{}, false
				}
				if at, ok = l.noField(at, index, steps[:k+1]); !ok {
					return spot{}, false
				}
				continue
			}
			at.addr = unsafe.Add(at.addr, f.offset)
			at.typ, at.plan, at.avail, at.array = f.plan.typ, f.plan, 1, nil
		case at.plan.node.kind == nodeArray && at.typ.Kind() == reflect.Array:
			if step >= at.plan.node.length {
				l.corrupt("reference to element %d of %s", step, at.plan.node.text)
				return spot{}, false
			}
			array := at.plan
			n := at.typ.Len()
			if step >= uint64(n) {
				what := fmt.Sprintf("element %d of %s, which the program has as %s", step, at.plan.node.text, l.reg.typeText(at.typ))
				var ok bool
				if at, ok = l.strayOrMismatch(at, index, steps[:k+1], at.plan.node.elem, what); !ok {
					return spot{}, false
				}
				at.array, at.index = array, step
				continue
			}
			at.cut = at.cut || at.plan.changed
			at.array, at.index = array, step
			at.plan = array.elem
			at.addr = unsafe.Add(at.addr, uintptr(step)*at.plan.typ.Size())
			at.typ, at.avail = at.plan.typ, n-int(step)
		case at.plan.changed:
			l.fail(fmt.Errorf("pod %d slot %d: a pointer leads into a value stored as %s, which the program has as %s: %w",
				l.at.pod.id, l.at.slot, at.plan.node.text, l.reg.typeText(at.typ), dberr.ErrTypeMismatch))
			return spot{}, false
		default:
			l.corrupt("reference into %s, which has no parts", at.plan.node.text)
			return spot{}, false
		}
	}
	return at, true
}

// fits reports whether a pointer to t may point to the spot: it holds a t, or
// something that a pointer conversion makes a t, or t is an array of its
// elements.
func (at *spot) fits(t reflect.Type) bool {
	if at.kind != pod.SlotObject && at.kind != pod.SlotArray {
		return false
	}
	if at.typ == t {
		return at.avail > 0
	}
	if t.Kind() == reflect.Array && t.Elem() == at.typ {
		return t.Len() <= at.avail
	}
	return at.avail > 0 && at.typ.Kind() == t.Kind() && reflect.PointerTo(at.typ).ConvertibleTo(reflect.PointerTo(t))
}

// room returns how many elements of type t a slice may show from the spot on:
// all that are there, or the one [N]T that the next N of them are.
func (at *spot) room(t reflect.Type) int {
	switch {
	case sameMemory(at.typ, t):
		return at.avail
	case t.Kind() == reflect.Array && t.Elem() == at.typ:
		return 1
	}
	return 0
}
