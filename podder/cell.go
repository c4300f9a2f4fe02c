package podder

import (
	"reflect"
	"strings"
	"sync/atomic"
	"unsafe"
	"weak"

	"github.com/poddb/poddb/internal/pod"
)

// Cells are types that hold one pointer: Ref[T] (ref.go), and of the standard library
// atomic.Pointer[T], and weak.Pointer[T], which is stored only if the same save reaches its target
// otherwise, and is nil else. Both are stored as pointers.

// cellOf returns the type to which a cell points, and how it is read. Types that a
// later release of Go lays out in another way are none, and so are refused.
func cellOf(t reflect.Type) (elem reflect.Type, code opCode, ok bool) {
	if elem, ok := refOf(t); ok {
		return elem, opRef, true
	}
	if t.Kind() != reflect.Struct || !strings.HasPrefix(t.Name(), "Pointer[") {
		return nil, 0, false
	}
	word := ""
	switch t.PkgPath() {
	case "sync/atomic":
		word, code = "v", opAtomicPointer
	case "weak":
		word, code = "u", opWeak
	default:
		return nil, 0, false
	}
	mention, last := t.Field(0).Type, t.Field(t.NumField()-1)
	if t.Size() != unsafe.Sizeof(uintptr(0)) || last.Name != word || last.Type.Kind() != reflect.UnsafePointer ||
		mention.Kind() != reflect.Array || mention.Elem().Kind() != reflect.Pointer {
		return nil, 0, false
	}
	return mention.Elem().Elem(), code, true
}

// pointee returns the element type of a pointer or cell.
func pointee(t reflect.Type) reflect.Type {
	if elem, _, ok := cellOf(t); ok {
		return elem
	}
	return t.Elem()
}

// weakTarget returns where the weak pointer at `at` leads; all of them are laid
// out alike.
func weakTarget(at unsafe.Pointer) unsafe.Pointer {
	return unsafe.Pointer((*weak.Pointer[byte])(at).Value())
}

// Others says whether the database has variables that the graph does not have. They
// may hold what a weak pointer leads to, so saves then keep it if it is stored.
func (g *Graph) Others(yes bool) { g.others = yes }

// weak visits a weak pointer: when everything that the variables reach is known, it
// is a reference if its target is among that.
func (w *walk) weak(o *op, at unsafe.Pointer) {
	q := weakTarget(at)
	if q == nil || o.sub.size == 0 {
		return
	}
	w.st.walkAlways = true // its target may be reached by others only, or by none any more
	if !w.settled {
		w.st.regions.at(w.current).flags |= flagRescan
		w.rescans = true
		if w.others && w.old.memory.find(w.old, q) >= 0 {
			w.edge(w.object(at, q, o.sub))
		}
		return
	}
	w.edge(w.reached(q, o.sub))
}

// reached returns the region that has the value of plan p at q and is known to the
// walk, -1 if there is none.
func (w *walk) reached(q unsafe.Pointer, p *plan) int32 {
	i := w.st.memory.find(w.st, q)
	if i < 0 {
		return -1
	}
	r := w.st.regions.at(i)
	off := uintptr(q) - uintptr(r.addr)
	if r.kind != pod.SlotObject && r.kind != pod.SlotArray || off+p.size > w.st.size(r) ||
		r.kind == pod.SlotArray && off+p.size > uintptr(w.st.spans.at(r.extra).reach)*r.plan.size {
		return -1
	}
	if _, ok := w.eng.locate(r, off, part{typ: p.typ, count: 1}, nil); !ok {
		return -1
	}
	return i
}

// weak appends a weak pointer.
func (e *encoder) weak(o *op, at unsafe.Pointer) {
	switch q := weakTarget(at); {
	case q == nil:
		e.buf = append(e.buf, codeNil)
	case o.sub.size == 0:
		e.buf = append(e.buf, codeZeroSize)
	case e.reached(q, o.sub) < 0:
		e.buf = append(e.buf, codeNil)
	default:
		e.reference(q, part{typ: o.sub.typ, count: 1})
	}
}

// atomicPointer reads an atomic.Pointer, however it is written meanwhile.
func atomicPointer(at unsafe.Pointer) unsafe.Pointer {
	return atomic.LoadPointer((*unsafe.Pointer)(at))
}

// weak decodes a weak pointer.
func (l *loader) weak(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	addr, ok := l.address(p, c, m.typ, m.empty, m.loose)
	switch {
	case !ok:
	case addr == nil:
		*(*weak.Pointer[byte])(at) = weak.Pointer[byte]{}
	default:
		*(*weak.Pointer[byte])(at) = weak.Make((*byte)(addr))
	}
}
