package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// object returns the region that holds the object of plan p at q, to which the
// pointer at `at` points.
func (w *walk) object(at, q unsafe.Pointer, p *plan) int32 {
	if w.eng.sentinels.near(q) {
		if s := w.eng.sentinels.at(q); s != nil {
			return w.sentinelRegion(at, s, candidate{addr: q, plan: p, kind: pod.SlotObject, count: 1, reach: 1})
		}
	}
	if i := w.st.memory.find(w.st, q); i >= 0 {
		if r := w.st.regions.at(i); r.addr == q && r.plan == p && r.kind == pod.SlotObject {
			return i
		}
		return w.settle(at, candidate{addr: q, plan: p, kind: pod.SlotObject, count: 1, reach: 1}, i)
	}
	if o := w.old.memory.find(w.old, q); o >= 0 {
		ro := w.old.regions.at(o)
		if ro.addr == q && (ro.plan == p || sameShape(ro.plan.typ, p.typ)) && ro.kind == pod.SlotObject && !w.touches(q, p.size) {
			keep := p
			if ro.plan != p {
				keep = w.keepType(ro.plan, p)
			}
			i := w.add(candidate{addr: q, plan: keep, kind: pod.SlotObject})
			w.stick(i, ro)
			if keep != p {
				w.other(i)
			}
			return i
		}
		return w.settle(at, candidate{addr: q, plan: p, kind: pod.SlotObject, count: 1, reach: 1}, -1)
	}
	c := candidate{addr: q, plan: p, kind: pod.SlotObject, count: 1, reach: 1}
	if w.touches(q, p.size) {
		return w.settle(at, c, -1)
	}
	return w.add(c)
}

// touches reports whether a known region starts inside [q, q+size).
func (w *walk) touches(q unsafe.Pointer, size uintptr) bool {
	if size <= 1 {
		return false
	}
	// The common case: one object in one chunk, nothing else between its start
	// and its end.
	a := uintptr(q)
	end := a + size
	if a>>chunkBits == (end-1)>>chunkBits {
		c := w.st.memory.chunkAt(a >> chunkBits)
		if c == nil {
			return false
		}
		lo, hi := a>>granuleBits%chunkSlots, (end-1)>>granuleBits%chunkSlots
		if c.starts>>lo<<(63-(hi-lo)) == 0 {
			return false
		}
	}
	w.scratch = w.st.memory.startsIn(w.st, a, end, w.scratch[:0])
	return len(w.scratch) > 0
}

// reachOf returns how many elements of the array behind the slice h are kept. Of
// numbers these are all up to the capacity; keep may say otherwise.
func reachOf(h *sliceWords, elem *plan, keep int) int {
	if keep == keepAll || elem.ptrFree && keep != shownOnly {
		return h.cap
	}
	return h.len
}

// slice returns the region that holds the array behind the slice h.
func (w *walk) slice(at unsafe.Pointer, h *sliceWords, elem *plan, keep int) int32 {
	c := candidate{addr: h.data, plan: elem, kind: pod.SlotArray, count: h.cap, reach: reachOf(h, elem, keep)}
	if s := w.eng.sentinels.at(h.data); s != nil {
		return w.sentinelRegion(at, s, c)
	}
	size := uintptr(h.cap) * elem.size
	i := w.st.memory.find(w.st, h.data)
	if i >= 0 {
		r := w.st.regions.at(i)
		if r.kind == pod.SlotArray && r.plan == elem && r.addr == h.data && w.st.spans.at(r.extra).count >= h.cap {
			w.reach(i, c.reach)
			return i
		}
		return w.settle(at, c, i)
	}
	if o := w.old.memory.find(w.old, h.data); o >= 0 {
		ro := w.old.regions.at(o)
		if ro.addr == h.data && ro.plan == elem && ro.kind == pod.SlotArray && w.old.spans.at(ro.extra).count == h.cap && !w.touches(h.data, size) {
			i := w.add(c)
			w.stick(i, ro)
			return i
		}
		return w.settle(at, c, -1)
	}
	if w.touches(h.data, size) {
		return w.settle(at, c, -1)
	}
	i = w.add(c)
	if w.old.memory.count > 0 {
		w.arrays = append(w.arrays, i)
	}
	return i
}

// mapHeader returns the region of the map whose header is at q.
func (w *walk) mapHeader(at, q unsafe.Pointer, p *plan) int32 {
	if i := w.st.memory.find(w.st, q); i >= 0 {
		r := w.st.regions.at(i)
		if r.kind != pod.SlotMap || r.addr != q || !(r.plan == p || sameShape(r.plan.typ, p.typ)) {
			w.overlap(at, candidate{addr: q, plan: p, kind: pod.SlotMap, count: 1}, i)
			return -1
		}
		if r.plan != p {
			w.other(i)
		}
		return i
	}
	if o := w.old.memory.find(w.old, q); o >= 0 {
		ro := w.old.regions.at(o)
		if ro.kind == pod.SlotMap && ro.addr == q && (ro.plan == p || sameShape(ro.plan.typ, p.typ)) {
			keep := w.keepType(ro.plan, p)
			i := w.add(candidate{addr: q, plan: keep, kind: pod.SlotMap})
			w.stick(i, ro)
			if keep != p {
				w.other(i)
			}
			return i
		}
	}
	return w.add(candidate{addr: q, plan: p, kind: pod.SlotMap})
}

// keepType returns the plan with which a region that is reached as p goes on:
// the one with which it is stored, unless the variable does not know that type.
func (w *walk) keepType(stored, p *plan) *plan {
	if stored == p || w.eng.known(stored.typ, w.static) {
		return stored
	}
	return p
}

// other notes that region i is reached as something else than it is: those who
// reach it must know its type.
func (w *walk) other(i int32) {
	if r := w.st.regions.at(i); !w.settled && r.flags&flagOther == 0 {
		w.undo.region(i)
		r.flags |= flagOther
		w.needs.others = append(w.needs.others, i)
	}
}

// longString returns the region of a string's bytes. Strings that overlap are
// one region.
func (w *walk) longString(s string) int32 {
	data := unsafe.Pointer(unsafe.StringData(s))
	if i := w.st.strings.find(w.st, data); i >= 0 {
		r := w.st.regions.at(i)
		sp := w.st.spans.at(r.extra)
		if uintptr(data)+uintptr(len(s)) <= uintptr(r.addr)+uintptr(sp.count) {
			return i
		}
	}
	lo, hi := data, uintptr(data)+uintptr(len(s))
	if o := w.old.strings.find(w.old, data); o >= 0 {
		ro := w.old.regions.at(o)
		lo = ro.addr
		hi = max(hi, uintptr(lo)+uintptr(w.old.spans.at(ro.extra).count))
	}
	hits := w.st.strings.startsIn(w.st, uintptr(lo), hi, nil)
	if i := w.st.strings.find(w.st, lo); i >= 0 && w.st.regions.at(i).addr != lo {
		hits = append(hits, i)
	}
	for _, j := range hits {
		r := w.st.regions.at(j)
		if uintptr(r.addr) < uintptr(lo) {
			lo = r.addr
		}
		hi = max(hi, uintptr(r.addr)+w.st.size(r))
	}
	if w.partial && len(hits) > 0 {
		w.overlaps = true
		return -1
	}
	n := int(hi - uintptr(lo))
	i := w.replace(&w.st.strings, hits, candidate{addr: lo, plan: w.eng.planOf(stringType), kind: pod.SlotString, count: n, reach: n})
	if o := w.old.strings.find(w.old, lo); o >= 0 {
		if ro := w.old.regions.at(o); ro.addr == lo {
			w.stick(i, ro)
		}
	}
	return i
}

// add makes a region for c, which touches nothing that is known.
func (w *walk) add(c candidate) int32 {
	r, i := w.append(c.addr)
	r.plan, r.kind, r.parent = c.plan, c.kind, w.current
	index := &w.st.memory
	switch c.kind {
	case pod.SlotString:
		index = &w.st.strings
		fallthrough
	case pod.SlotArray:
		r.extra = w.st.spans.put(span{count: c.count, reach: c.reach})
	}
	if w.st.size(r) > 0 {
		index.add(w.st, i)
	}
	if c.leaf() {
		w.soon(i)
	}
	return i
}

// leaf reports whether c leads nowhere.
func (c *candidate) leaf() bool {
	if c.kind == pod.SlotMap {
		return c.plan.key.plain && c.plan.elem.plain
	}
	return c.kind != pod.SlotString && c.plan.plain && !c.plan.flat
}

// stick gives region i the place that ro had. What is stored of an array does
// not shrink while it keeps its place: others, whom this graph does not know,
// may refer to its elements.
func (w *walk) stick(i int32, ro *region) {
	r := w.st.regions.at(i)
	r.pod, r.slot = ro.pod, ro.slot
	r.flags |= flagSticky
	if ro.kind == pod.SlotArray && r.kind == pod.SlotArray {
		sp, was := w.st.spans.at(r.extra), w.old.spans.at(ro.extra)
		sp.perRun = was.perRun
		if n := min(was.reach, sp.count); n > sp.reach {
			from := sp.reach
			sp.reach = n
			w.rescan(i, from, n)
		}
		w.sameAsShadow(r, ro)
	}
}

// reach extends the kept elements of array i to n.
func (w *walk) reach(i int32, n int) {
	sp := w.st.spans.at(w.st.regions.at(i).extra)
	if n <= sp.reach {
		return
	}
	w.undo.region(i)
	w.undo.span(w.st.regions.at(i).extra)
	from := sp.reach
	sp.reach = n
	if r := w.st.regions.at(i); r.flags&flagSame != 0 {
		w.st.forgetShadow(r) // nothing of it was visited
		from, r.weight = 0, 0
	}
	w.rescan(i, from, n)
}

// rescan has elements of region i visited that were not there, or not kept,
// when it was scanned.
func (w *walk) rescan(i int32, from, to int) {
	if r := w.st.regions.at(i); r.flags&flagScanned != 0 {
		w.unstream()
		r.flags |= flagRescan
		w.rescans = true
		w.grown = append(w.grown, growth{i, from, to})
		if w.partial {
			w.again = append(w.again, i)
		}
	}
	w.st.regions.at(i).written = 0
}
