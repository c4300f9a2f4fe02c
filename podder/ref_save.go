package podder

import (
	"encoding/binary"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A save visits what a loaded Ref leads to like what a pointer leads to. Of one that
// is not loaded it writes the reference that was read, and visits the object if
// that lives in the graph all the same (a pointer or another Ref led to it): else
// what was changed in it would be lost once the others are gone. A Ref of another
// graph is loaded, and its object becomes one of this graph.
//
// A region to which a Ref leads begins a pod, if it is new, and those who are met
// beside it do not join that pod. It is exported wherever it is, so that later loads
// can leave it alone.

// ref visits a Ref.
func (w *walk) ref(o *op, at unsafe.Pointer) {
	c := refAt(at)
	if c == nil {
		return
	}
	w.pin()
	q := c.object()
	if q == nil && w.eng.keeps(c) {
		w.edge(w.stored(c.place))
		return
	}
	if q == nil {
		var err error
		if q, err = c.load(w.ctx, o.sub.typ); err != nil {
			w.failed(at, reflect.PointerTo(o.sub.typ), err)
			return
		}
	}
	if o.sub.size == 0 {
		return
	}
	i := w.object(at, q, o.sub)
	w.edge(i)
	if i >= 0 && !w.settled {
		w.unstream() // which knows nothing of heads
		w.heads = append(w.heads, i)
	}
}

// keeps reports whether the place of a cell that is not loaded is one of the engine's
// graph.
func (e *engine) keeps(c *refCell) bool {
	gate := c.gate.Load()
	return gate != nil && gate.home == e.home
}

// livesAt returns the region of the state before at a place, nil if there is none.
func (w *walk) livesAt(place pod.Ref) *region {
	n, ok := w.old.byID[place.Pod]
	if !ok || int(place.Slot) >= len(w.old.pods[n].slots) {
		return nil
	}
	i := w.old.pods[n].slots[place.Slot].region
	if i < 0 {
		return nil
	}
	switch r := w.old.regions.at(i); r.kind {
	case pod.SlotObject, pod.SlotArray, pod.SlotMap, pod.SlotOpaque:
		return r
	}
	return nil
}

// stored returns the region that lives at a place, -1 if none does.
func (w *walk) stored(place pod.Ref) int32 {
	r := w.livesAt(place)
	if r == nil {
		return -1
	}
	switch r.kind {
	case pod.SlotArray:
		sp := w.old.spans.at(r.extra)
		return w.slice(nil, &sliceWords{r.addr, sp.reach, sp.count}, r.plan, 0)
	case pod.SlotMap:
		return w.mapHeader(nil, r.addr, r.plan)
	case pod.SlotOpaque:
		return w.opaqueSlot((*opaqueSlot)(r.addr))
	}
	return w.object(nil, r.addr, r.plan)
}

// ref appends a Ref.
func (e *encoder) ref(o *op, at unsafe.Pointer) {
	c := refAt(at)
	if c == nil {
		e.buf = append(e.buf, codeNil)
		return
	}
	q := c.object()
	switch {
	case q == nil && !e.eng.keeps(c):
		e.fail(errChanged)
	case q == nil:
		if e.livesAt(c.place) != nil {
			e.take()
		}
		r := &opaqueRef{outside: c.place, tail: []byte(c.tail)}
		e.noteKept(r, false)
		e.outside(r)
	case o.sub.size == 0:
		e.buf = append(e.buf, codeZeroSize)
	default:
		e.reference(q, part{typ: o.sub.typ, count: 1})
	}
}

// markRefHeads has each region to which a Ref leads begin a piece, and the one that
// was met beside it another.
func (p *placer) markRefHeads() {
	regions := &p.st.regions
	for _, i := range p.heads {
		i = p.st.resolve(i)
		r := regions.at(i)
		p.undo.region(i)
		r.flags |= flagRefHead | flagHead | flagExported
		if i+1 < regions.len() && regions.at(i+1).parent == r.parent {
			p.undo.region(i + 1)
			regions.at(i + 1).flags |= flagHead
		}
	}
}

// orderRef appends where a Ref leads, as appendOrder does.
func (w *walk) orderRef(dst []byte, pl *plan, at unsafe.Pointer, depth int) []byte {
	c := refAt(at)
	if c == nil {
		return append(dst, 0)
	}
	if q := c.object(); q != nil {
		return w.orderPointer(dst, pl, q, depth)
	}
	dst = binary.AppendUvarint(append(dst, 2), uint64(c.place.Pod))
	dst = binary.AppendUvarint(dst, uint64(c.place.Slot))
	return append(dst, c.tail...)
}

// visitRef visits the pointer that a loaded Ref is.
func visitRef(p unsafe.Pointer, elem reflect.Type, leaf func() string, visit visitor) bool {
	c := refAt(p)
	if c == nil || c.object() == nil {
		return true
	}
	return visit(unsafe.Pointer(&c.ptr), reflect.PointerTo(elem), leaf)
}
