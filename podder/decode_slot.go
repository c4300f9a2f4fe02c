package podder

import (
	"errors"
	"math"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// place gives slot s of a fetched pod its address: that of the live object, or
// new memory of its true type, and queues it to be filled. It reports false
// after an error.
func (l *loader) place(p *loadPod, s pod.Slot) bool {
	d := &p.merged.Slots[s]
	if !p.fresh {
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
	if errors.Is(err, dberr.ErrUnregistered) && l.types[d.Type].named == "" {
		l.unknownTarget(err)
		return false
	}
	if err != nil {
		l.failAt(err)
		return false
	}
	if st.named != "" {
		return l.placeNamed(p, s, st)
	}
	return l.placeFresh(p, s, d, st)
}

// placeFresh makes memory for a slot and queues it, or fills it at once.
func (l *loader) placeFresh(p *loadPod, s pod.Slot, d *pod.Data, st *storedType) bool {
	var head slotHead
	addr, ok := l.allocate(&head, d, st, p, s)
	if !ok {
		return false
	}
	p.slots[s] = newRegion(storedKind(d), addr, st, head.count)
	if !st.nests || d.Kind == pod.SlotChunks || l.level == maxNested || l.capturing != nil {
		l.queue = append(l.queue, loadSlot{p, s})
		return true
	}
	return l.fillNested(p, s, d, &head)
}

// maxNested is how many slots are filled inside each other before the queue
// takes over.
const maxNested = 8

// fillNested decodes a slot as soon as it has its place, while the slot that
// refers to it is still being decoded: its bytes are near, and so is what its head
// says. It reports false after an error.
func (l *loader) fillNested(p *loadPod, s pod.Slot, d *pod.Data, head *slotHead) bool {
	outer, at := l.nest, l.at
	l.nest = nest{level: outer.level + 1, lowest: math.MaxInt}
	l.at = loadSlot{p, s}
	r := &p.slots[s]
	switch d.Kind {
	case pod.SlotObject:
		l.fillObject(p, d, r, r.addr)
	case pod.SlotArray:
		l.fillElems(p, d, head, r.typ, r.addr)
	default:
		l.fillEntries(p, s, d, head, r.typ, r.addr)
	}
	switch {
	case l.err != nil:
		l.intoUnknown = false // the slot is placed, and cannot be filled
		return false
	case l.missing:
		l.blocked = append(l.blocked, l.at)
		l.awaitPods()
	default:
		l.filled(p, s)
	}
	l.nest, l.at = outer, at
	return true
}

// nests reports whether slots of such values may be filled inside another slot:
// what is decoded twice, or calls the program, does so in the order of the queue.
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
	switch kind {
	case pod.SlotMap:
		r.count |= regionMap
	case pod.SlotArray:
		r.count |= regionArray
	}
	if count > 0 && (kind == pod.SlotObject || kind == pod.SlotArray) {
		r.count |= regionPlain
	}
	return r
}

// slotHead is what the head of a container says; of other slots just the count.
type slotHead struct {
	count   int // elements, entries or values of the region
	array   arrayHeader
	entries mapHeader
}

// allocate makes zeroed memory for a slot: one value, the elements of an
// array, or an empty map. It fills in head.
func (l *loader) allocate(head *slotHead, d *pod.Data, st *storedType, p *loadPod, s pod.Slot) (addr unsafe.Pointer, ok bool) {
	if d.Kind == pod.SlotChunks {
		addr, head.count, ok = l.allocateChunks(st, p, s)
		return addr, ok
	}
	if (st.node.kind == nodeEntries) != (d.Kind == pod.SlotMap) {
		l.corrupt("slot %d of pod %d is of kind %d and type %s", s, p.id, d.Kind, st.node.text)
		return nil, false
	}
	switch d.Kind {
	case pod.SlotObject:
		if ok = l.charge(1, uint64(st.size), len(d.Bytes)); ok {
			head.count, addr = 1, reflect.New(st.typ).UnsafePointer()
		}
	case pod.SlotMap:
		if head.entries, ok = l.mapHeader(p, s, d); ok && l.mapFits(p, s, d, head.entries, st) {
			head.count = int(head.entries.count)
			return st.newMap(head.count), true
		}
		return nil, false
	default:
		if head.array, ok = l.arrayHeader(p, s, d); ok && l.charge(head.array.extent, uint64(st.size), len(d.Bytes)) {
			head.count = int(head.array.extent)
			return makeElems(st, head.count), true
		}
		return nil, false
	}
	return addr, ok
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
	case st.pointers: // all of them are the same memory
		return unsafe.Pointer(unsafe.SliceData(make([]unsafe.Pointer, n)))
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
		l.fillObject(p, d, r, to)
	case pod.SlotArray:
		l.fillArray(p, s, d, r.typ, to)
	case pod.SlotMap:
		l.fillMap(p, s, d, r.typ, to)
	case pod.SlotChunks:
		l.fillChunks(p, s, r, to)
	}
}

func (l *loader) fillObject(p *loadPod, d *pod.Data, r *loadRegion, to unsafe.Pointer) {
	c := cursor{buf: d.Bytes}
	if l.value(p, &c, r.typ.plan, to); l.err == nil && c.off != len(c.buf) {
		l.corrupt("%s of %d bytes ends at %d", r.typ.node.text, len(c.buf), c.off)
		l.locate(&c)
	}
}
