package podder

import (
	"encoding/binary"
	"unsafe"
)

// appendOrder appends bytes by which values are put in order before placement
// is known. They are the stored bytes (and stable is true) unless references
// are among them; those count by the place their target had in the state
// before, or by the target's own contents, one level deep.
func (w *walk) appendOrder(dst []byte, pl *plan, p unsafe.Pointer, depth int) (_ []byte, stable bool) {
	stable = true
	for k := range pl.ops {
		o := &pl.ops[k]
		at := unsafe.Add(p, o.off)
		ok := true
		switch o.code {
		case opString:
			s := *(*string)(at)
			dst = append(binary.AppendUvarint(dst, uint64(len(s))<<1), s...)
			ok = len(s) < longString
		case opPointer:
			dst, ok = w.orderPointer(dst, o.sub, *(*unsafe.Pointer)(at), depth), false
		case opMap:
			dst, ok = w.orderPlace(dst, *(*unsafe.Pointer)(at)), false
		case opSlice:
			h := (*sliceWords)(at)
			dst = binary.AppendUvarint(dst, uint64(h.len))
			dst, ok = w.orderPlace(dst, h.data), false
		case opEface, opIface:
			dst, ok = w.orderBoxed(dst, o.sub, at, depth), false
		case opAtomicAny:
			dst, ok = w.orderBoxed(dst, o.sub, unsafe.Pointer(w.loadedAny(at)), depth), false
		case opArray:
			for i := range o.n {
				var inner bool
				dst, inner = w.appendOrder(dst, o.sub, unsafe.Add(at, uintptr(i)*o.sub.size), depth)
				ok = ok && inner
			}
		case opCodec:
			var err error
			if dst, err = appendCodec(dst, o.codec, at); err != nil {
				dst = append(dst, 0) // encoding reports it
			}
		case opAtomicPointer:
			dst, ok = w.orderPointer(dst, o.sub, w.loadedPointer(at), depth), false
		case opRef:
			dst, ok = w.orderRef(dst, o.sub, at, depth), false
		case opWeak:
			dst, ok = w.orderPlace(dst, weakTarget(at)), false
		case opHand:
			dst, ok = w.orderHanded(dst, o.sub.hand, at, depth)
		case opNil, opRefuse, opBefore:
		default:
			dst = appendScalar(dst, o, at)
		}
		stable = stable && ok
	}
	return dst, stable
}

func (w *walk) orderPointer(dst []byte, pl *plan, q unsafe.Pointer, depth int) []byte {
	if q == nil {
		return append(dst, 0)
	}
	if pl.size == 0 {
		return append(dst, 1)
	}
	if w.regionBefore(q) >= 0 || depth > 0 {
		return w.orderPlace(dst, q)
	}
	dst, _ = w.appendOrder(append(dst, 4), pl, q, depth+1)
	return dst
}

// regionBefore returns the region that covered q in the state before, or -1.
func (w *walk) regionBefore(q unsafe.Pointer) int32 {
	if o := w.old.memory.find(w.old, q); !w.partial || o < w.added {
		return o
	}
	return -1
}

// orderPlace appends where the memory at q was stored before, if it was.
func (w *walk) orderPlace(dst []byte, q unsafe.Pointer) []byte {
	if q == nil {
		return append(dst, 0)
	}
	o := w.regionBefore(q)
	if o < 0 {
		return append(dst, 3)
	}
	r := w.old.regions.at(o)
	dst = binary.AppendUvarint(append(dst, 2), uint64(w.old.pods[r.pod].id))
	dst = binary.AppendUvarint(dst, uint64(r.slot))
	return binary.AppendUvarint(dst, uint64(uintptr(q)-uintptr(r.addr)))
}

func (w *walk) orderBoxed(dst []byte, iface *plan, p unsafe.Pointer, depth int) []byte {
	if (*interfaceWords)(p).tab == nil {
		return append(dst, 0)
	}
	d := w.eng.dynamicOf(iface.typ, p)
	if d.drop {
		return append(dst, 0)
	}
	if d.plan.typ == opaqueType {
		if o := *(**Opaque)(d.value(p)); o != nil { // the walk refuses nil
			dst = append(append(append(dst, 6), o.text...), o.value.data...)
		}
		return dst
	}
	text := w.eng.reg.typeText(d.plan.typ)
	dst = append(binary.AppendUvarint(append(dst, 5), uint64(len(text))), text...)
	if w.nesting >= maxNesting {
		return dst // the walk reports it
	}
	w.nesting++
	dst, _ = w.appendOrder(dst, d.plan, d.value(p), depth)
	w.nesting--
	return dst
}
