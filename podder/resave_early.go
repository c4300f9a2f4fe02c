package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Most of what changes refers to what it referred to: a number in an object is another one. Such
// a region is encoded at once, when a save without a walk meets it, while its memory is at hand:
// known regions keep their places, so all that its stored form depends on is known. It is not
// scanned, so no address is looked up. This is done for small objects and arrays whose
// references lead to regions of the same pod, all others are scanned.

// earlySlot is the stored form of a region that was encoded when it was met.
type earlySlot struct {
	region  int32 // -1: it is to be encoded again
	pod     int32
	slot    uint32
	at      uint32 // in walk.written, as region.written
	size    uint32 // bytes
	head    uint32 // of an array: bytes of the first run
	typ     pod.TypeID
	hash    slotHash
	kind    pod.Kind
	changed bool
}

// encodeEarly encodes region i, which differs and has the fingerprint met.print now. It
// reports false, and has done nothing, if the region has to be scanned.
func (x *resaver) encodeEarly(w *walk, i int32, r *region) bool {
	st := w.st
	if w.met.differs != i || r.pod < 0 || r.flags&(flagScanned|flagRerun|flagStatic|flagRescan) != flagScanned ||
		!r.plan.writable || r.plan.sentinel != nil || r.weight > maxWritten {
		return false
	}
	n := 1
	switch r.kind {
	case pod.SlotObject:
	case pod.SlotArray:
		sp := st.spans.at(r.extra)
		if n = sp.reach; r.plan.flat || n == 0 || n >= shadowElements || n > sp.perRun || st.chunked[i] != nil {
			return false
		}
	default:
		return false
	}
	typ := x.typeKnown(r.plan)
	ps := &st.pods[r.pod]
	if typ == noType || int(r.slot) >= len(ps.slots) || ps.slots[r.slot].region != i {
		return false
	}
	edge, weight := r.edge, n*r.plan.est
	for k := range n {
		extra, ok := 0, false
		if edge, extra, ok = w.refersTo(r, r.plan, unsafe.Add(r.addr, uintptr(k)*r.plan.size), edge); !ok {
			return false
		}
		weight += extra
	}
	if edge != r.edgeEnd || !w.written.begin(&w.own) {
		return false
	}
	s, ok := x.encodeNow(w, i, r)
	if !ok {
		return false
	}
	s.region, s.pod, s.slot, s.kind, s.typ = i, r.pod, r.slot, r.kind, typ
	was := ps.slots[r.slot]
	s.hash = x.earlyHash(&s)
	s.changed = s.hash != was.hash || r.kind != was.kind
	x.early.put(s)
	w.undo.print(i)
	st.prints.list.at(i).hash = w.met.print
	st.pinAgain(x.eng, i, r.weight)
	if now := clampWeight(weight); now != r.weight {
		w.undo.region(i)
		w.undo.pod(r.pod)
		ps.bytes += int(now) - int(r.weight)
		r.weight = now
	}
	return true
}

// typeKnown returns the id of a type that was stored, noType if that is not known here.
func (x *resaver) typeKnown(p *plan) pod.TypeID {
	if id := x.typeAt(2 * p.number); id != noType {
		return id
	}
	if _, ok := x.st.types[typeKey{plan: p}]; !ok {
		return noType
	}
	return x.typeID(p, false)
}

// refersTo reports whether the value of plan pl at p, in region r, refers to all of the regions to which
// edges from edge on lead, and these are in the pod of r. It returns the edge behind the last one, and what strings add
// to the stored size.
func (w *walk) refersTo(r *region, pl *plan, p unsafe.Pointer, edge uint32) (_ uint32, extra int, ok bool) {
	for k := range pl.refs {
		o := &pl.refs[k]
		at := unsafe.Add(p, o.off)
		var q unsafe.Pointer
		var kind pod.Kind
		switch o.code {
		case opString:
			n := len(*(*string)(at))
			if n >= longString {
				return edge, 0, false
			}
			extra += n
			continue
		case opPointer:
			q, kind = *(*unsafe.Pointer)(at), pod.SlotObject
		case opMap:
			q, kind = *(*unsafe.Pointer)(at), pod.SlotMap
		case opSlice:
			h := (*sliceWords)(at)
			if h.cap == 0 {
				continue
			}
			q, kind = h.data, pod.SlotArray
		default:
			return edge, 0, false
		}
		if q == nil || kind != pod.SlotMap && o.sub.size == 0 {
			continue
		}
		if edge >= r.edgeEnd {
			return edge, 0, false
		}
		to := w.st.regions.at(*w.edges.at(int32(edge)))
		if to.addr != q || to.plan != o.sub || to.kind != kind || to.pod != r.pod || to.plan.sentinel != nil {
			return edge, 0, false
		}
		if kind == pod.SlotArray {
			h, sp := (*sliceWords)(at), w.st.spans.at(to.extra)
			if sp.count < h.cap || sp.reach < reachOf(h, o.sub, o.n) {
				return edge, 0, false
			}
		}
		edge++
	}
	return edge, extra, true
}

// encodeNow encodes region i where regions are written down, which has begun. It reports
// false if that is not possible.
func (x *resaver) encodeNow(w *walk, i int32, r *region) (s earlySlot, ok bool) {
	e, to := x.encoder, &w.written
	e.cur, e.edge, e.edgesKnown, e.current = r.pod, r.edge, uint32(w.edges.len()), i
	e.buf, e.links = to.out[:0], e.links[:0]
	if r.kind == pod.SlotArray {
		s.head = uint32(e.shortArray(r))
	} else {
		e.value(r.plan, r.addr)
	}
	to.out, e.buf = e.buf, nil
	if e.err != nil || e.edge != r.edgeEnd || len(to.out) > maxWritten || r.kind == pod.SlotArray && s.head == 0 {
		e.err = nil // a walk says what it is
		return s, false
	}
	if s.size = uint32(len(to.out)); s.size > 0 {
		s.at = to.keep(&w.own)
	}
	return s, s.at != 0 || s.size == 0
}

// earlyBytes is what was encoded.
func (x *resaver) earlyBytes(s *earlySlot) []byte {
	if s.size == 0 {
		return nil
	}
	return x.written.blocks[s.at>>16][s.at&(writtenBlock-1):][:s.size]
}

func (x *resaver) earlyHash(s *earlySlot) slotHash {
	b := x.earlyBytes(s)
	if s.kind == pod.SlotArray {
		return x.eng.hashSlot(s.kind, s.typ, b[:s.head], b[s.head:])
	}
	return x.eng.hashSlot(s.kind, s.typ, b, nil)
}

// earlyItem adds a slot that was encoded when it was met, with what it refers to if links says so.
func (x *resaver) earlyItem(ps *podState, it slotItem, links bool) {
	s := x.early.at(it.early - 1)
	o := slotOut{from: len(x.buf), runs: len(x.runs), links: len(x.links), kind: s.kind, typ: s.typ, hash: s.hash, changed: s.changed}
	x.buf = append(x.buf, x.earlyBytes(s)...)
	if s.kind == pod.SlotArray {
		x.runs = append(x.runs, s.head, s.size-s.head)
	}
	o.to, o.runEnd = len(x.buf), len(x.runs)
	x.out = append(x.out, o)
	if !links {
		x.slots = append(x.slots, s.slot)
		return
	}
	x.linksOf(x.st.regions.at(s.region))
	x.noteSlot(ps, int(s.slot))
}
