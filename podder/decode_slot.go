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
		if lr, ok := l.lookup(p.id, s); ok && lr.kind == storedKind(d) && lr.addr != nil {
			if !l.inPlace {
				return l.placeLive(p, s, lr)
			}
			if d.Kind == pod.SlotChunks {
				if _, here := l.chunksOf(p, s); !here {
					return false
				}
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
	case pod.SlotChunks:
		if storedKind(d) == pod.SlotString {
			return l.placeChunkString(p, s)
		}
	default:
		l.corrupt("reference to slot %d of pod %d, which is of kind %d", s, p.id, d.Kind)
		return false
	}
	st, err := l.typeWanted(d.Type)
	if err != nil {
		l.failAt(err)
		return false
	}
	if st.named != "" {
		return l.placeNamed(p, s, st)
	}
	addr, count, ok := l.allocate(d, st, p, s)
	if !ok {
		return false
	}
	p.slots[s] = newRegion(storedKind(d), addr, st, count)
	if d.Kind != pod.SlotArray && d.Kind != pod.SlotMap || !st.nests || l.level == maxNested || l.capturing != nil {
		l.queue = append(l.queue, loadSlot{p, s})
		return true
	}
	return l.fillNested(p, s, d, &p.slots[s])
}

// maxNested is how many containers are filled inside each other before the
// queue takes over.
const maxNested = 4

// fillNested decodes a container as soon as it has its place, while the slot
// that refers to it is still being decoded: its bytes are near. It reports false
// after an error.
func (l *loader) fillNested(p *loadPod, s pod.Slot, d *pod.Data, r *loadRegion) bool {
	outer := l.nest
	l.nest = nest{level: outer.level + 1}
	at := l.at
	l.at = loadSlot{p, s}
	if d.Kind == pod.SlotArray {
		l.fillArray(p, s, d, r, r.addr)
	} else {
		l.fillMap(p, s, d, r, r.addr)
	}
	switch {
	case l.err != nil:
		return false
	case l.missing:
		l.blocked = append(l.blocked, l.at)
	default:
		r.count |= regionFilled
	}
	l.nest, l.at = outer, at
	return true
}

// nests reports whether containers of such values may be filled inside another
// slot: what is decoded twice, or calls the program, does so in the order of the
// queue.
func (pl *decodePlan) nests() bool {
	if pl.node.kind == nodeEntries {
		return pl.key.nests() && pl.elem.nests()
	}
	for i := range pl.moves {
		switch m := &pl.moves[i]; m.code {
		case moveArray:
			if !m.sub.nests() {
				return false
			}
		case moveInterface, moveHand, moveAfter, moveMigrate, moveBox, moveUnbox, moveToInterface, moveFromInterface, moveTail:
			return false
		}
	}
	return true
}

func newRegion(kind pod.Kind, addr unsafe.Pointer, st *storedType, count int) loadRegion {
	r := loadRegion{addr: addr, typ: st, count: uint64(count) << regionFlags}
	switch {
	case kind == pod.SlotMap:
		r.count |= regionMap
	case count > 0 && (kind == pod.SlotObject || kind == pod.SlotArray):
		r.count |= regionPlain
	}
	return r
}

// allocate makes zeroed memory for a slot: one value, the elements of an
// array, or an empty map.
func (l *loader) allocate(d *pod.Data, st *storedType, p *loadPod, s pod.Slot) (addr unsafe.Pointer, count int, ok bool) {
	if d.Kind == pod.SlotChunks {
		return l.allocateChunks(st, p, s)
	}
	isMap := st.node.kind == nodeEntries || d.Kind == pod.SlotMap && st.typ.Kind() == reflect.Map
	if isMap != (d.Kind == pod.SlotMap) {
		l.corrupt("slot %d of pod %d is of kind %d and type %s", s, p.id, d.Kind, st.node.text)
		return nil, 0, false
	}
	switch d.Kind {
	case pod.SlotObject:
		if !l.charge(1, uint64(st.typ.Size()), len(d.Bytes)) {
			return nil, 0, false
		}
		return reflect.New(st.typ).UnsafePointer(), 1, true
	case pod.SlotMap:
		h, ok := l.mapHeader(p, s, d)
		if !ok {
			return nil, 0, false
		}
		if h.count > uint64(len(d.Bytes)) && h.count > 1 {
			l.corrupt("slot %d of pod %d: map of %d entries in %d bytes", s, p.id, h.count, len(d.Bytes))
			return nil, 0, false
		}
		if !l.charge(h.count, uint64(st.typ.Key().Size()+st.typ.Elem().Size()), len(d.Bytes)) {
			return nil, 0, false
		}
		n := int(h.count)
		return reflect.MakeMapWithSize(st.typ, n).UnsafePointer(), n, true
	}
	h, ok := l.arrayHeader(p, s, d)
	if !ok || !l.charge(h.extent, uint64(st.typ.Size()), len(d.Bytes)) {
		return nil, 0, false
	}
	return makeElems(st, int(h.extent)), int(h.extent), true
}

// makeElems allocates n zero elements. Go code that knows the type, or grows a
// slice in place, saves the slice header that reflect.MakeSlice allocates beside
// them.
func makeElems(st *storedType, n int) unsafe.Pointer {
	switch st.predefined {
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
	switch {
	case n == 1:
		return reflect.New(st.typ).UnsafePointer()
	case n > grownElems:
		return reflect.MakeSlice(st.sliceOf(), n, n).UnsafePointer()
	}
	if st.grown == nil {
		st.grown = new(sliceHeader)
		st.grow = reflect.NewAt(st.sliceOf(), unsafe.Pointer(st.grown)).Elem()
	}
	st.grow.Grow(n)
	data := st.grown.data
	*st.grown = sliceHeader{}
	return data
}

// grownElems is how many elements are allocated by growing a slice, which
// clears memory that is clear already.
const grownElems = 64

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
	if r.opaque() {
		l.fillOpaque(p, d, (*opaqueSlot)(r.addr))
		return
	}
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
	case pod.SlotChunks:
		l.fillChunks(p, s, r, to)
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
	b := d.Bytes
	n := uint64(1)
	if d.Runs != nil {
		if n = uint64(len(d.Runs)); n > 0 {
			b = b[:min(uint64(d.Runs[0]), uint64(len(b)))]
		}
	}
	c := cursor{buf: b}
	h.extent, h.stored, h.perRun = c.uvarint(), c.uvarint(), c.uvarint()
	if c.bad || c.off != len(b) || h.stored > h.extent || h.extent > 1<<46 {
		l.corrupt("slot %d of pod %d: damaged head of an array", s, p.id)
		return h, false
	}
	want := uint64(1)
	if h.stored > 0 {
		if h.perRun == 0 {
			l.corrupt("slot %d of pod %d: no elements in a run", s, p.id)
			return h, false
		}
		want = 2
		if h.stored > h.perRun {
			want += (h.stored - 1) / h.perRun
		}
	}
	if n != want {
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
		switch {
		case pl.fixed == nil:
			l.valueRun(p, pl, b, n, at)
		case pl.changed:
			if varied, ok := l.variedRun(pl, b, n); ok {
				l.valueRun(p, pl, varied, n, at)
			}
		default:
			l.fixedRun(pl.fixed, b, n, at)
		}
		done += n
	}
	if l.err == nil && len(all.rest) > 0 {
		l.corrupt("%d bytes after the runs of an array", len(all.rest))
	}
}

func (l *loader) fixedRun(f *fixedElem, b []byte, n uint64, at unsafe.Pointer) {
	if !l.fixedFits(f, b, n) {
		return
	}
	if len(b) > 0 && !f.decode(b, at) {
		l.corrupt("number out of range in an array")
	}
}

// fixedFits checks the length of a run of n elements of fixed width.
func (l *loader) fixedFits(f *fixedElem, b []byte, n uint64) bool {
	each := uint64(f.count) * uint64(f.width())
	if each > 0 && n > uint64(len(b))/each || uint64(len(b)) != n*each {
		l.corrupt("run of %d bytes for %d elements of %d", len(b), n, each)
		return false
	}
	return true
}

// variedRun turns a run of numbers of fixed width into the form that values
// have elsewhere, which all moves can read.
func (l *loader) variedRun(pl *decodePlan, b []byte, n uint64) ([]byte, bool) {
	if !l.fixedFits(pl.fixed, b, n) {
		return nil, false
	}
	return pl.fixed.varied(make([]byte, 0, len(b)+len(b)/4), b), true
}

func (l *loader) valueRun(p *loadPod, pl *decodePlan, b []byte, n uint64, at unsafe.Pointer) {
	c := cursor{buf: b}
	size := pl.typ.Size()
	code := pl.only()
	if size == 0 && len(b) == 0 {
		return // nothing to see, however many they are said to be
	}
	for i := uint64(0); len(pl.moves) > 0 && i < n && l.err == nil && !c.bad; i++ {
		// The caller bounds n by the elements that are left in the array.
		elem := unsafe.Add(at, uintptr(i)*size)
		l.part(p, &c, pl, code, elem)
	}
	if l.err == nil && c.off != len(b) {
		l.corrupt("run of %d bytes ends at %d", len(b), c.off)
	}
}

// only returns the code of a plan's one move, moveArray if that is not all.
func (pl *decodePlan) only() moveCode {
	if len(pl.moves) == 1 && pl.moves[0].offset == 0 {
		return pl.moves[0].code
	}
	return moveArray
}

// part is value for a part of a container, whose plan has that one code.
func (l *loader) part(p *loadPod, c *cursor, pl *decodePlan, code moveCode, at unsafe.Pointer) {
	switch code {
	case moveString:
		l.str(p, c, at)
	case movePointer:
		l.pointer(p, c, &pl.moves[0], at)
	case moveInt, moveInt64:
		l.signed(c.varint(), code, at)
	default:
		l.value(p, c, pl, at)
		return
	}
	if c.bad && l.err == nil {
		l.corrupt("%s ends early", pl.node.text)
	}
}
