package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Most of what a first save meets is an object, array or map that nothing else has led
// to and that no other region touches. The index says so at a look; then it is a region
// and a reference at once.

// pointer visits the object of plan p at q, to which the pointer at `at` points.
func (w *walk) pointer(at, q unsafe.Pointer, p *plan) {
	if w.first && !w.eng.sentinels.near(q) {
		if r, i := w.meet(q, p, pod.SlotObject, p.size); r != nil {
			if p.plain && !p.flat {
				w.leaf(i, r, p.glanceObject(q))
			}
			return
		}
	}
	w.edge(w.object(at, q, p))
}

// array visits the array behind the slice h at `at`.
func (w *walk) array(at unsafe.Pointer, h *sliceWords, elem *plan, keep int) {
	if w.first && !w.eng.sentinels.near(h.data) {
		if r, i := w.meet(h.data, elem, pod.SlotArray, uintptr(h.cap)*elem.size); r != nil {
			reach := reachOf(h, elem, keep)
			r.extra = w.st.spans.put(span{count: h.cap, reach: reach})
			if elem.plain && !elem.flat {
				w.leaf(i, r, elem.glanceArray(h.data, reach))
			}
			return
		}
	}
	w.edge(w.slice(at, h, elem, keep))
}

// mapAt visits the map whose header is at q.
func (w *walk) mapAt(at, q unsafe.Pointer, p *plan) {
	if w.first {
		if r, i := w.meet(q, p, pod.SlotMap, mapHeaderBytes); r != nil {
			if p.key.plain && p.elem.plain {
				w.leaf(i, r, p.glanceMap(q))
			}
			return
		}
	}
	w.edge(w.mapHeader(at, q, p))
}

// leaf visits region i, which leads nowhere but to long strings and whose stored size a
// glance has told, if it could: at once, or after the current one. Its memory is near that
// of who refers to it.
func (w *walk) leaf(i int32, r *region, size int) {
	switch {
	case w.stream == nil:
		w.soon(i)
		return
	case size != notSeen:
		r.weight = clampWeight(size)
	case r.kind != pod.SlotMap || !w.scanPlain(i):
		return
	}
	r.flags |= flagScanned
	r.edge = uint32(w.edges.n)
	r.edgeEnd = r.edge
	if i == w.ready && w.stream.leaf(i, r, w.up) {
		w.ready++
	}
}

// meet makes a region for the memory of an object, array or map at q and notes the
// reference to it, if that touches, as is easily seen, nothing that is known; else it
// returns nil. It is regionIndex.claim, addRegion and edge in one, for the case that there is
// room in all tables: nothing is called, so nothing is put aside for a call.
func (w *walk) meet(q unsafe.Pointer, p *plan, kind pod.Kind, size uintptr) (*region, int32) {
	st, edges := w.st, w.edges
	x := &st.memory
	if len(x.rows) == 0 {
		return w.meetSlowly(q, p, kind, size)
	}
	a := uintptr(q)
	lo := a >> granuleBits % chunkSlots
	more := (a%granule + size - 1) >> granuleBits
	var row *indexRow
	for h := rowHash(a >> rowBits); ; h++ {
		if row = &x.rows[h&uintptr(len(x.rows)-1)]; row.key == a>>rowBits || row.chunks == nil {
			break
		}
	}
	if row.chunks == nil {
		return w.meetSlowly(q, p, kind, size)
	}
	c := &row.chunks[a>>chunkBits%rowChunks]
	i, e := st.regions.n, edges.n
	k, ek := i&(listBlock-1), e&(listBlock-1)
	if c.n == c.room || lo+more >= chunkSlots || x.large != nil || k == 0 || ek == 0 {
		return w.meetSlowly(q, p, kind, size)
	}
	mine := granulesFrom(lo, more)
	if c.used&mine != 0 {
		return nil, -1
	}
	c.used |= mine
	c.insert(lo, i)
	st.regions.n, st.pins.n, edges.n = i+1, i+1, e+1
	if st.unpinned {
		st.addresses().last[k] = a
	} else {
		st.pins.last[k] = q
	}
	edges.last[ek] = i
	r := &st.regions.last[k]
	r.begin(q, p, kind, w.current)
	return r, i
}

// meetSlowly is meet in any case.
func (w *walk) meetSlowly(q unsafe.Pointer, p *plan, kind pod.Kind, size uintptr) (*region, int32) {
	if !w.st.memory.claim(q, size, w.st.regions.n) {
		return nil, -1
	}
	r, i := w.st.addRegion(q)
	r.begin(q, p, kind, w.current)
	w.edges.put(i)
	return r, i
}

// begin makes r, which is empty, a region without a place.
func (r *region) begin(q unsafe.Pointer, p *plan, kind pod.Kind, parent int32) {
	r.addr, r.plan, r.kind, r.parent = q, p, kind, parent
	r.pod, r.next, r.extra = -1, -1, -1
}
