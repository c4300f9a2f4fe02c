package podder

import (
	"reflect"

	"github.com/poddb/poddb/internal/pod"
)

// part is what a reference points at: one value of a type, or count values in
// a row.
type part struct {
	typ   reflect.Type
	count int
	array bool // a slice: its elements may be part of a longer array
}

// interior is the way from the start of a region to a part of it.
type interior struct {
	elem  uint64   // element of an array region
	steps []uint64 // field ids and array indexes
}

// whole reports whether the way leads to the start of the region as it is.
func (in interior) whole() bool { return in.elem == 0 && len(in.steps) == 0 }

// locate finds the part of region r at byte offset off that t describes, and
// appends the steps of the way to it to steps. The caller has checked that t
// ends inside r.
func (e *engine) locate(r *region, off uintptr, t part, steps []uint64) (interior, bool) {
	in := interior{steps: steps}
	switch r.kind {
	case pod.SlotArray:
		es := r.plan.size
		in.elem = uint64(off / es)
		rest := off % es
		if rest == 0 && (t.array && sameShape(t.typ, r.plan.typ) || isArrayOf(t, r.plan.typ)) {
			return in, true
		}
		var ok bool
		in.steps, ok = e.descend(r.plan.typ, rest, t, steps)
		return in, ok
	case pod.SlotObject, pod.SlotBox:
		var ok bool
		in.steps, ok = e.descend(r.plan.typ, off, t, steps)
		return in, ok
	}
	return in, off == 0 && sameShape(t.typ, r.plan.typ)
}

// descend goes down the by-value parts of typ, at most as deep as its
// declaration.
func (e *engine) descend(typ reflect.Type, off uintptr, t part, steps []uint64) ([]uint64, bool) {
	for {
		if off == 0 && t.count == 1 && sameShape(typ, t.typ) {
			return steps, true
		}
		if e.coded[typ] {
			return nil, false // stored as a whole
		}
		switch typ.Kind() {
		case reflect.Array:
			elem := typ.Elem()
			if elem.Size() == 0 {
				return nil, false
			}
			k := off / elem.Size()
			off %= elem.Size()
			if k >= uintptr(typ.Len()) {
				return nil, false
			}
			steps = append(steps, uint64(k))
			left := typ.Len() - int(k)
			if off == 0 && (t.array && t.count <= left && sameShape(elem, t.typ) || isArrayOf(t, elem) && t.typ.Len() <= left) {
				return steps, true
			}
			typ = elem
		case reflect.Struct:
			i := fieldAt(typ, off)
			if i < 0 {
				return nil, false
			}
			f := typ.Field(i)
			steps = append(steps, uint64(i))
			typ, off = f.Type, off-f.Offset
		default:
			return nil, false
		}
	}
}

// isArrayOf reports whether t is a single [N]elem, as a slice converted to an
// array pointer is.
func isArrayOf(t part, elem reflect.Type) bool {
	return t.count == 1 && t.typ.Kind() == reflect.Array && sameShape(t.typ.Elem(), elem)
}

// fieldAt returns the stored field of a struct that has the byte at off, or -1.
func fieldAt(t reflect.Type, off uintptr) int {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Offset <= off && off < f.Offset+f.Type.Size() && !skipField(f) {
			return i
		}
	}
	return -1
}

// skippedAt names what has the byte at off of a value of typ if it is not
// stored, "" if it is.
func (e *engine) skippedAt(typ reflect.Type, off uintptr) string {
	for {
		switch typ.Kind() {
		case reflect.Array:
			if typ.Size() == 0 {
				return ""
			}
			typ, off = typ.Elem(), off%typ.Elem().Size()
		case reflect.Struct:
			if isSync(typ) || e.coded[typ] {
				return ""
			}
			i := 0
			for ; i < typ.NumField(); i++ {
				if f := typ.Field(i); f.Offset <= off && off < f.Offset+f.Type.Size() {
					break
				}
			}
			if i == typ.NumField() {
				return ""
			}
			f := typ.Field(i)
			if skipField(f) {
				return typ.String() + "." + f.Name
			}
			typ, off = f.Type, off-f.Offset
		default:
			return ""
		}
	}
}

// sameShape reports whether two types may stand for the same memory: they are
// the same, or Go converts pointers to them into each other and they store the same of it.
func sameShape(a, b reflect.Type) bool { return a == b || sameMemory(a, b) && sameStored(a, b) }

// sameStored reports whether of two types with fields at the same places both store the same ones.
func sameStored(a, b reflect.Type) bool {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if x, y := a.Field(i), b.Field(i); skipField(x) != skipField(y) || !sameStored(x.Type, y.Type) {
				return false
			}
		}
	case reflect.Array:
		return sameStored(a.Elem(), b.Elem())
	}
	return true
}

// sameMemory reports whether two types are the same, or Go converts pointers to them into each
// other.
func sameMemory(a, b reflect.Type) bool {
	if a == b {
		return true
	}
	return a.Kind() == b.Kind() && a.Size() == b.Size() && (a.Name() != "" || b.Name() != "" || a.Kind() == reflect.Struct) &&
		reflect.PointerTo(a).ConvertibleTo(reflect.PointerTo(b))
}
