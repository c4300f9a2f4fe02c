package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/prefetch"
)

// Siblings that a program made one after the other mostly lie so in memory, and what they
// refer to as well: then the processor fetches by itself most of what comes next (aheadNear has the rest). Others lie anywhere, and each
// leads to more places; the processor waits for one place after the other if they are asked for
// one after the other. So memory is fetched in three steps, eight siblings at a time: objects,
// then what they refer to, then what that refers to. A step reads what the one before it has
// fetched eight siblings earlier.

// lookAheadRegions is how many siblings are looked at together.
const lookAheadRegions = 8

// maxAhead bounds the places that are fetched together.
const maxAhead = 96

// cacheLine is how much memory is fetched together.
const cacheLine = 64

// maxLines bounds the lines that are fetched of one place.
const maxLines = 4

// aheadList are places that are to be fetched.
type aheadList struct {
	at [maxAhead]uintptr
	n  int
}

// add adds the first lines of n bytes at p.
func (l *aheadList) add(p unsafe.Pointer, n uintptr) {
	if l.n > maxAhead-maxLines {
		l.fetch()
	}
	l.line(uintptr(p))
	for off := uintptr(cacheLine); off < n && off < maxLines*cacheLine; off += cacheLine {
		l.line(uintptr(p) + off)
	}
}

// line adds the line of an address, if there is room.
func (l *aheadList) line(a uintptr) {
	if l.n < maxAhead {
		l.at[l.n] = a
		l.n++
	}
}

// fetch has all of them fetched.
func (l *aheadList) fetch() {
	prefetch.Lines(l.at[:l.n])
	l.n = 0
}

// aheadRef is a reference whose target may be fetched: where it is in the value.
type aheadRef struct {
	off  uintptr
	code opCode
	size uintptr // of what a pointer leads to, of an element of a slice, of a slot of a map
	elem *plan   // of a slice whose elements have strings
	to   *plan   // of a slice: of its elements
}

// aheadRefs returns those among the references of a plan.
func aheadRefs(refs []op) (list []aheadRef) {
	for k := range refs {
		o := &refs[k]
		x := aheadRef{off: o.off, code: o.code}
		switch {
		case o.code == opString:
		case (o.code == opPointer || o.code == opSlice) && o.sub.size > 0:
			x.size = o.sub.size
			if o.code == opSlice {
				x.to = o.sub
			}
			if o.code == opSlice && o.sub.plain && len(o.sub.refs) > 0 {
				x.elem = o.sub
			}
		case o.code == opMap && o.sub.layout.inGroup:
			x.size = o.sub.layout.size
		default:
			continue
		}
		list = append(list, x)
	}
	return list
}

// lookAhead fetches memory for the visits of siblings from i on, of those from first up
// to end, if they lie anywhere.
func (w *walk) lookAhead(first, i, end int32) {
	const step = lookAheadRegions
	if !mayLookAhead || end-i < 2 {
		return
	}
	if !farApart(w.st.regions.at(i).addr, w.st.regions.at(i+1).addr) {
		w.aheadNear(i, min(end, i+step))
		return
	}
	from := i // where each step begins: behind what was done before
	if i > first {
		from = i + 2*step
	}
	w.aheadObjects(from, min(end, i+3*step))
	if i > first {
		from = i + step
	}
	w.aheadTargets(from, min(end, i+2*step))
	w.aheadBehind(i, min(end, i+step))
}

// aheadNear fetches what objects i up to end refer to, as far as they are of one type. They lie
// one behind the other: the processor has them fetched by itself, and mostly what they refer to
// as well, but not where a page ends, nor small maps, of which it has to read the header first.
func (w *walk) aheadNear(i, end int32) {
	st := w.st
	p := st.regions.at(i).plan
	n := int32(0)
	for end = min(end, i|(listBlock-1)+1); i+n < end; n++ {
		if r := st.regions.at(i + n); r.plan != p || r.kind != pod.SlotObject {
			break
		}
	}
	objects := st.pins.at(i)
	for k := range p.ahead {
		switch x := &p.ahead[k]; x.code {
		case opString:
			prefetch.Fields(objects, x.off, 1)
			prefetch.Fields(st.pins.at(i+n-1), x.off, 1)
		case opMap:
			prefetch.Behind(objects, x.off, unsafe.Offsetof(goMap{}.dir), int(n))
		default:
			prefetch.Fields(objects, x.off, int(n))
		}
	}
}

// aheadNext fetches the objects to which an array of pointers leads that comes after array region
// r, whose elements are of plan p: the one that the next sibling of r's parent refers to as its
// parent to r. When these objects are looked at together, each step waits for the one before.
func (w *walk) aheadNext(r *region, p *plan) {
	st, i := w.st, r.parent
	if !mayLookAhead || i < 0 || i+1 >= st.regions.n {
		return
	}
	next := st.regions.at(i + 1)
	if up := st.regions.at(i); next.plan != up.plan || next.kind != pod.SlotObject || next.flags&flagScanned != 0 {
		return
	}
	for k := range next.plan.ahead {
		if x := &next.plan.ahead[k]; x.to == p {
			h := (*sliceWords)(unsafe.Add(next.addr, x.off))
			prefetch.Pointers(h.data, p.size, min(h.len, lookAheadRegions))
		}
	}
}

// farApart reports whether siblings at a and b are not just one behind the other in memory.
func farApart(a, b unsafe.Pointer) bool {
	const near = 4 << 10
	return uintptr(b)-uintptr(a)+near > 2*near
}

// aheadObjects fetches objects i up to end.
func (w *walk) aheadObjects(i, end int32) {
	l := &w.ahead
	for ; i < end; i++ {
		if r := w.st.regions.at(i); r.kind == pod.SlotObject {
			l.add(r.addr, r.plan.size)
		}
	}
	l.fetch()
}

// aheadTargets fetches what objects i up to end refer to.
func (w *walk) aheadTargets(i, end int32) {
	l := &w.ahead
	for ; i < end; i++ {
		r := w.st.regions.at(i)
		if r.kind != pod.SlotObject || r.flags&flagScanned != 0 {
			continue
		}
		refs := r.plan.ahead
		for k := range refs {
			x := &refs[k]
			at := unsafe.Add(r.addr, x.off)
			p := *(*unsafe.Pointer)(at)
			if p == nil {
				continue
			}
			switch x.code {
			case opString:
				l.line(uintptr(p))
				continue
			case opSlice:
				l.add(p, uintptr((*sliceWords)(at).len)*x.size)
			case opMap:
				l.line(uintptr(p))
			default:
				l.add(p, x.size)
			}
			if c := w.st.memory.place(p); c != nil {
				l.line(uintptr(unsafe.Pointer(c)))
			}
		}
	}
	l.fetch()
}

// aheadBehind fetches what arrays and maps have to which objects i up to end refer.
func (w *walk) aheadBehind(i, end int32) {
	l := &w.ahead
	for ; i < end; i++ {
		r := w.st.regions.at(i)
		if r.kind != pod.SlotObject || r.flags&flagScanned != 0 {
			continue
		}
		refs := r.plan.ahead
		for k := range refs {
			x := &refs[k]
			at := unsafe.Add(r.addr, x.off)
			p := *(*unsafe.Pointer)(at)
			switch {
			case p == nil || x.code == opString:
			case x.code == opMap:
				m := (*goMap)(p)
				if m.used > 0 && m.dir != nil && m.dirLen == 0 {
					l.add(m.dir, mapGroupHead+uintptr(min(m.used, mapGroupSlots))*x.size)
				}
			default:
				if c := w.st.memory.place(p); c != nil {
					l.line(uintptr(unsafe.Pointer(c.first)))
				}
				if x.elem != nil {
					l.strings((*sliceWords)(at), x.elem)
				}
			}
		}
	}
	l.fetch()
}

// maxAheadElements bounds the elements of an array of which strings are fetched.
const maxAheadElements = 4

// strings adds the strings of the first elements of a slice.
func (l *aheadList) strings(h *sliceWords, elem *plan) {
	at := h.data
	for n := min(h.len, maxAheadElements); n > 0; n-- {
		for k := range elem.refs { // strings, since it is plain
			l.line(*(*uintptr)(unsafe.Add(at, elem.refs[k].off)))
		}
		if n > 1 { // not behind the last one: that may be another's memory
			at = unsafe.Add(at, elem.size)
		}
	}
}

// place returns the place of the chunk that has p, nil if there is none.
func (x *regionIndex) place(p unsafe.Pointer) *chunk {
	if len(x.rows) == 0 {
		return nil
	}
	row := x.rowAt(uintptr(p) >> rowBits)
	if row.chunks == nil {
		return nil
	}
	return &row.chunks[uintptr(p)>>chunkBits%rowChunks]
}

// elementsAhead is how many entries of a map are looked at together.
const elementsAhead = 16

// aheadElements fetches memory for the visits of the objects to which the entries of
// a map from k on lead, in steps as lookAhead does: entries, the index of objects, and
// what that has of them. keys are those of all entries.
func (w *walk) aheadElements(pl *plan, keys []unsafe.Pointer, k int) {
	const step = elementsAhead
	if !mayLookAhead {
		return
	}
	l, n, from := &w.ahead, len(keys), k
	if k > 0 {
		from = k + 2*step
	}
	for _, at := range keys[min(from, n):min(k+3*step, n)] {
		l.line(uintptr(at))
	}
	l.fetch()
	if k > 0 {
		from = k + step
	}
	for _, at := range keys[min(from, n):min(k+2*step, n)] {
		if c := w.st.memory.place(*(*unsafe.Pointer)(unsafe.Add(at, pl.layout.elem))); c != nil {
			l.line(uintptr(unsafe.Pointer(c)))
		}
	}
	l.fetch()
	for _, at := range keys[k:min(k+step, n)] {
		if c := w.st.memory.place(*(*unsafe.Pointer)(unsafe.Add(at, pl.layout.elem))); c != nil {
			l.line(uintptr(unsafe.Pointer(c.first)))
		}
	}
	l.fetch()
}

// keysAhead is how many keys of a map are fetched together.
const keysAhead = 16

// aheadKeys fetches the keys of slots, which are strings, from k on.
func (w *walk) aheadKeys(slots []mapSlot, k int) {
	if !mayLookAhead {
		return
	}
	n, from := len(slots), k
	if k > 0 {
		from = k + keysAhead
	}
	for i := min(from, n); i < min(k+2*keysAhead, n); i++ {
		w.ahead.line(*(*uintptr)(slots[i].key))
	}
	w.ahead.fetch()
}

// aheadGroup fetches the strings that are keys in a group of a map. Slots that are free have
// what was in them.
func (w *walk) aheadGroup(pl *plan, g mapGroup) {
	if mayLookAhead && len(pl.key.ops) > 0 && pl.key.ops[0].code == opString && g.full != 0 {
		prefetch.Pointers(unsafe.Add(g.slots, pl.key.ops[0].off), pl.layout.size, mapGroupSlots)
	}
}
