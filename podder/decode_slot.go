package podder

import (
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// place gives slot s of a fetched pod its address: that of the live object, or
// new memory of its true type, and queues it to be filled. It reports false
// after an error.
func (l *loader) place(p *loadPod, s pod.Slot) bool {
	d := &p.merged.Slots[s]
	if l.lookup != nil {
		if lr, ok := l.lookup(p.id, s); ok && lr.kind == d.Kind && lr.addr != nil {
			if !l.inPlace {
				return l.placeLive(p, s, lr)
			}
			if done, ok := l.placeOver(p, s, lr); done || !ok {
				return ok
			}
		}
	}
	switch d.Kind {
	case pod.SlotObject, pod.SlotArray, pod.SlotMap:
	case pod.SlotString:
		l.placeString(p, s, d)
		return true
	default:
		l.corrupt("reference to slot %d of pod %d, which is of kind %d", s, p.id, d.Kind)
		return false
	}
	st, err := l.typeOf(d.Type)
	if err != nil {
		l.failAt(err)
		return false
	}
	addr, count, ok := l.allocate(d, st, p, s)
	if !ok {
		return false
	}
	p.slots[s] = newRegion(d.Kind, addr, st, count)
	l.queue = append(l.queue, loadSlot{p, s})
	return true
}

func newRegion(kind pod.Kind, addr unsafe.Pointer, st *storedType, count int) loadRegion {
	r := loadRegion{addr: addr, typ: st, count: uint64(count) << regionFlags}
	if count > 0 && (kind == pod.SlotObject || kind == pod.SlotArray) {
		r.count |= regionPlain
	}
	return r
}

// allocate makes zeroed memory for a slot: one value, the elements of an
// array, or an empty map.
func (l *loader) allocate(d *pod.Data, st *storedType, p *loadPod, s pod.Slot) (addr unsafe.Pointer, count int, ok bool) {
	isMap := st.node.kind == nodeEntries || d.Kind == pod.SlotMap && st.typ.Kind() == reflect.Map
	if isMap != (d.Kind == pod.SlotMap) {
		l.corrupt("slot %d of pod %d is of kind %d and type %s", s, p.id, d.Kind, st.node.text)
		return nil, 0, false
	}
	switch d.Kind {
	case pod.SlotObject:
		return reflect.New(st.typ).UnsafePointer(), 1, true
	case pod.SlotMap:
		h, ok := l.mapHeader(p, s, d)
		if !ok {
			return nil, 0, false
		}
		n := int(min(h.count, uint64(len(d.Bytes))))
		return reflect.MakeMapWithSize(st.typ, n).UnsafePointer(), n, true
	}
	h, ok := l.arrayHeader(p, s, d)
	if !ok || !l.charge(h.extent, uint64(st.typ.Size()), len(d.Bytes)) {
		return nil, 0, false
	}
	return makeElems(st, int(h.extent)), int(h.extent), true
}

// makeElems allocates n zero elements. Go code that knows the type saves the
// slice header that reflect allocates beside them.
func makeElems(st *storedType, n int) unsafe.Pointer {
	switch st.id {
	case typeString:
		return unsafe.Pointer(unsafe.SliceData(make([]string, n)))
	case typeAny:
		return unsafe.Pointer(unsafe.SliceData(make([]any, n)))
	case typeUint8:
		return unsafe.Pointer(unsafe.SliceData(make([]byte, n)))
	case typeInt:
		return unsafe.Pointer(unsafe.SliceData(make([]int, n)))
	case typeFloat64:
		return unsafe.Pointer(unsafe.SliceData(make([]float64, n)))
	}
	if n == 1 {
		return reflect.New(st.typ).UnsafePointer()
	}
	return reflect.MakeSlice(st.sliceOf(), n, n).UnsafePointer()
}

// placeLive takes over what lives already, as it is.
func (l *loader) placeLive(p *loadPod, s pod.Slot, lr liveRegion) bool {
	var st *storedType
	if lr.kind != pod.SlotString {
		var err error
		if st, err = l.typeAs(p.merged.Slots[s].Type, lr.typ); err != nil {
			l.failAt(err)
			return false
		}
	}
	p.slots[s] = newRegion(lr.kind, lr.addr, st, lr.count)
	p.slots[s].count |= regionLive | regionFilled
	return true
}

// placeString keeps the bytes of a shared string by the address of its data:
// strings are immutable, and the pointer keeps them alive.
func (l *loader) placeString(p *loadPod, s pod.Slot, d *pod.Data) {
	text := string(d.Bytes)
	addr := unsafe.Pointer(unsafe.StringData(text))
	if len(text) == 0 {
		addr = unsafe.Pointer(new(byte))
	}
	p.slots[s] = loadRegion{addr: addr, count: uint64(len(text))<<regionFlags | regionFilled}
}

// fill decodes the contents of a placed slot.
func (l *loader) fill(p *loadPod, s pod.Slot) {
	d := &p.merged.Slots[s]
	r := &p.slots[s]
	to := r.addr
	if l.inPlace && p.shadow[s] != nil {
		to = p.shadow[s]
	}
	switch d.Kind {
	case pod.SlotObject, pod.SlotBox:
		c := cursor{buf: d.Bytes}
		l.value(p, &c, r.typ.plan, to)
		if l.err == nil && c.off != len(c.buf) {
			l.corrupt("%s of %d bytes ends at %d", r.typ.node.text, len(c.buf), c.off)
		}
	case pod.SlotArray:
		l.fillArray(p, s, d, r, to)
	case pod.SlotMap:
		l.fillMap(p, s, d, r, to)
	}
}

// runs gives the runs of a container one after the other, checking that they
// lie inside its bytes.
type runs struct {
	rest    []byte
	lengths []uint32
	single  bool
}

func runsOf(d *pod.Data) runs {
	return runs{rest: d.Bytes, lengths: d.Runs, single: d.Runs == nil}
}

func (r *runs) count() int {
	if r.single {
		return 1
	}
	return len(r.lengths)
}

func (r *runs) next() ([]byte, bool) {
	if r.single {
		b := r.rest
		r.rest, r.single = nil, false
		return b, true
	}
	if len(r.lengths) == 0 || uint64(r.lengths[0]) > uint64(len(r.rest)) {
		return nil, false
	}
	n := r.lengths[0]
	b := r.rest[:n:n]
	r.rest, r.lengths = r.rest[n:], r.lengths[1:]
	return b, true
}

// arrayHeader is run 0 of a SlotArray.
type arrayHeader struct {
	extent uint64 // elements allocated
	stored uint64 // elements kept, at most extent
	perRun uint64
}

func (l *loader) arrayHeader(p *loadPod, s pod.Slot, d *pod.Data) (h arrayHeader, ok bool) {
	all := runsOf(d)
	n := all.count()
	b, ok := all.next()
	c := cursor{buf: b}
	h = arrayHeader{extent: c.uvarint(), stored: c.uvarint(), perRun: c.uvarint()}
	if !ok || c.bad || c.off != len(b) || h.stored > h.extent || h.extent > 1<<46 {
		l.corrupt("slot %d of pod %d: damaged head of an array", s, p.id)
		return h, false
	}
	want := uint64(1)
	if h.stored > 0 {
		if h.perRun == 0 {
			l.corrupt("slot %d of pod %d: no elements in a run", s, p.id)
			return h, false
		}
		want += (h.stored-1)/h.perRun + 1
	}
	if uint64(n) != want {
		l.corrupt("slot %d of pod %d: %d elements in %d runs of %d", s, p.id, h.stored, n-1, h.perRun)
		return h, false
	}
	return h, true
}

func (l *loader) fillArray(p *loadPod, s pod.Slot, d *pod.Data, r *loadRegion, to unsafe.Pointer) {
	h, ok := l.arrayHeader(p, s, d)
	if !ok {
		return
	}
	all := runsOf(d)
	all.next()
	pl := r.typ.plan
	size := pl.typ.Size()
	for done := uint64(0); done < h.stored && l.err == nil; {
		n := min(h.perRun, h.stored-done)
		b, ok := all.next()
		if !ok {
			l.corrupt("runs exceed the %d bytes of an array", len(d.Bytes))
			return
		}
		// done < stored ≤ the elements that the array was allocated with.
		at := unsafe.Add(to, uintptr(done)*size)
		if pl.fixed != nil {
			l.fixedRun(pl.fixed, b, n, at)
		} else {
			l.valueRun(p, pl, b, n, at)
		}
		done += n
	}
	if l.err == nil && len(all.rest) > 0 {
		l.corrupt("%d bytes after the runs of an array", len(all.rest))
	}
}

func (l *loader) fixedRun(f *fixedElem, b []byte, n uint64, at unsafe.Pointer) {
	// n is at most the extent, and count*width at most the element's size, so
	// this does not overflow.
	if want := n * uint64(f.count) * uint64(f.width()); uint64(len(b)) != want {
		l.corrupt("run of %d bytes for %d elements, want %d", len(b), n, want)
		return
	}
	if len(b) > 0 && !f.decode(b, at) {
		l.corrupt("number out of range in an array")
	}
}

func (l *loader) valueRun(p *loadPod, pl *decodePlan, b []byte, n uint64, at unsafe.Pointer) {
	c := cursor{buf: b}
	if len(pl.moves) > 0 {
		size := pl.typ.Size()
		for i := uint64(0); i < n && l.err == nil; i++ {
			// The caller bounds n by the elements that are left in the array.
			l.value(p, &c, pl, unsafe.Add(at, uintptr(i)*size))
		}
	}
	if l.err == nil && c.off != len(b) {
		l.corrupt("run of %d bytes ends at %d", len(b), c.off)
	}
}
