package podder

import (
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

var stringType = reflect.TypeFor[string]()

// candidate is memory that a reference names, before it is known whose part it
// is.
type candidate struct {
	addr         unsafe.Pointer
	plan         *plan
	kind         pod.Kind // SlotObject or SlotArray
	count, reach int
}

func (c candidate) end() uintptr { return uintptr(c.addr) + uintptr(c.count)*c.plan.size }

// settle finds the place of a candidate among the regions that it touches, with
// `in` the one that covers its start, or -1. The larger one wins, whichever was
// met first; arrays of one element type that overlap become one.
func (w *walk) settle(at unsafe.Pointer, c candidate, in int32) int32 {
	asked := c
	if in >= 0 && w.within(in, c) {
		w.other(in)
		return in
	}
	if w.partial {
		w.overlaps = true
		return -1
	}
	// What the state before knew about this memory still holds: an extent does
	// not shrink while it lives.
	if o := w.old.memory.find(w.old, c.addr); o >= 0 {
		if g, ok := w.grownTo(w.old.regions.at(o), w.old, c); ok {
			c = g
		}
	}
	hits := w.st.memory.startsIn(w.st, uintptr(c.addr), c.end(), nil)
	if i := w.st.memory.find(w.st, c.addr); i >= 0 && w.st.regions.at(i).addr != c.addr {
		hits = append(hits, i)
	}
	slices.Sort(hits)
	for _, j := range hits {
		g, ok := w.grownTo(w.st.regions.at(j), w.st, c)
		if !ok {
			w.overlap(at, asked, j)
			return -1
		}
		c = g
	}
	i := w.replace(&w.st.memory, hits, c)
	w.other(i)
	if o := w.old.memory.find(w.old, c.addr); o >= 0 {
		ro := w.old.regions.at(o)
		if ro.addr == c.addr && ro.plan == c.plan && ro.kind == c.kind {
			w.stick(i, ro)
		}
	}
	return i
}

// within reports whether c lies inside region i as a part of it, and notes how
// far into an array it reaches.
func (w *walk) within(i int32, c candidate) bool {
	r := w.st.regions.at(i)
	if c.end() > uintptr(r.addr)+w.st.size(r) {
		return false
	}
	t := part{typ: c.plan.typ, count: c.count, array: c.kind == pod.SlotArray}
	if _, ok := w.eng.locate(r, uintptr(c.addr)-uintptr(r.addr), t, nil); !ok {
		return false
	}
	if r.kind == pod.SlotArray {
		// The last element that the reference shows, in elements of r.
		off := uintptr(c.addr) - uintptr(r.addr)
		if shown := uintptr(c.reach) * c.plan.size; shown > 0 {
			w.reach(i, int((off+shown-1)/r.plan.size)+1)
		}
	}
	return true
}

// grownTo returns the candidate that holds both c and region r, if one of them
// contains the other or they are arrays of one element type.
func (w *walk) grownTo(r *region, st *state, c candidate) (candidate, bool) {
	a, end := uintptr(r.addr), uintptr(r.addr)+st.size(r)
	known := candidate{addr: r.addr, plan: r.plan, kind: r.kind, count: 1, reach: 1}
	switch r.kind {
	case pod.SlotArray:
		known.count, known.reach = st.spans.at(r.extra).count, st.spans.at(r.extra).reach
	case pod.SlotObject:
	default:
		return c, false
	}
	if st == w.old {
		known.reach = 0 // what is kept is decided by who refers to it now
	}
	if a <= uintptr(c.addr) && c.end() <= end && known.contains(w.eng, c) {
		return known.reaching(c), true
	}
	if uintptr(c.addr) <= a && end <= c.end() && c.contains(w.eng, known) {
		return c.reaching(known), true
	}
	c, known = w.split(c), w.split(known)
	if c.kind != pod.SlotArray || known.kind != c.kind || c.plan != known.plan || (max(a, uintptr(c.addr))-min(a, uintptr(c.addr)))%c.plan.size != 0 {
		return c, false
	}
	u := candidate{addr: c.addr, plan: c.plan, kind: pod.SlotArray}
	if a < uintptr(c.addr) {
		u.addr = r.addr
	}
	u.count = int((max(end, c.end()) - uintptr(u.addr)) / c.plan.size)
	return u.reaching(c).reaching(known), true
}

// split returns an object that is an array as the elements it consists of:
// windows (*[4]T, *[8]T) and slices of T may show parts of one array.
func (w *walk) split(c candidate) candidate {
	t := c.plan.typ
	if c.kind != pod.SlotObject || t.Kind() != reflect.Array || w.eng.reg.codec(t) != nil {
		return c
	}
	return candidate{addr: c.addr, plan: w.eng.planOf(t.Elem()), kind: pod.SlotArray, count: t.Len(), reach: c.reach * t.Len()}
}

// contains reports whether d, whose memory lies inside that of c, is a part of
// it by its type.
func (c candidate) contains(e *engine, d candidate) bool {
	r := region{plan: c.plan, kind: c.kind}
	_, ok := e.locate(&r, uintptr(d.addr)-uintptr(c.addr), part{typ: d.plan.typ, count: d.count, array: d.kind == pod.SlotArray}, nil)
	return ok
}

// reaching returns c with as many elements kept as d, inside it, shows.
func (c candidate) reaching(d candidate) candidate {
	if c.kind != pod.SlotArray {
		return c
	}
	if c.plan.ptrFree {
		c.reach = c.count
		return c
	}
	if shown := uintptr(d.reach) * d.plan.size; shown > 0 {
		off := uintptr(d.addr) - uintptr(c.addr)
		c.reach = max(c.reach, int((off+shown-1)/c.plan.size)+1)
	}
	return c
}

// replace makes c the region of all the memory of hits: the one met first takes
// it over, the others become aliases of it.
func (w *walk) replace(index *regionIndex, hits []int32, c candidate) int32 {
	if len(hits) == 0 {
		return w.add(c)
	}
	w.unstream()
	w.written.replaced = true
	keep := slices.Min(hits)
	for _, j := range hits {
		index.remove(w.st, j)
	}
	for _, j := range hits {
		if j != keep {
			r := w.st.regions.at(j)
			r.kind, r.extra = pod.SlotFree, keep
			w.st.moveRegion(j, nil)
			r.pod, r.flags = -1, r.flags&^(flagSticky|flagSame)
		}
	}
	r := w.st.regions.at(keep)
	w.st.moveRegion(keep, c.addr)
	r.plan, r.kind = c.plan, c.kind
	r.pod, r.flags, r.weight = -1, r.flags&^(flagSticky|flagSame), 0
	r.extra = -1
	if c.kind == pod.SlotArray || c.kind == pod.SlotString {
		r.extra = w.st.spans.put(span{count: c.count, reach: c.reach})
	}
	index.add(w.st, keep)
	w.rescan(keep, 0, w.elements(r))
	return keep
}
