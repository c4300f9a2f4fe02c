package podder

import (
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Arrays of strings or interfaces that lead to no other region are compared
// with a copy of their own words, and neither visited nor encoded when nothing
// changed: 16 bytes an element instead of reading every string.
//
// Why equal words mean equal contents: string bytes and interface boxes are
// immutable by the rules of the language, and the copy holds the same pointers,
// so what they point at was not collected and its addresses were not given out
// again. An element that leads to another region (a pointer, a long string) may
// lead elsewhere although it did not change, so such arrays have no copy.

// shadowElements is the least length for which a copy pays.
const shadowElements = 32

// arrayWords are those of an array as they were encoded: of a []string, or of interfaces.
type arrayWords = unsafe.Pointer

// shadow keeps the words of array r as they were encoded.
func (w *walk) shadow(r *region) {
	sp := w.st.spans.at(r.extra)
	w.st.setShadow(r.extra, nil) // in a save without a walk it is the one of an earlier save
	if r.edge != r.edgeEnd || sp.reach < shadowElements || r.flags&(flagStatic|flagRerun) != 0 {
		return // new variables are to be asked for the types each time, codecs for their bytes
	}
	switch r.plan.typ.Kind() {
	case reflect.String:
		words := append([]string(nil), unsafe.Slice((*string)(r.addr), sp.reach)...)
		w.st.setShadow(r.extra, unsafe.Pointer(unsafe.SliceData(words)))
	case reflect.Interface:
		// Both words of an interface are pointers, or nil.
		words := append([][2]unsafe.Pointer(nil), unsafe.Slice((*[2]unsafe.Pointer)(r.addr), sp.reach)...)
		w.st.setShadow(r.extra, unsafe.Pointer(unsafe.SliceData(words)))
	}
}

// setShadow makes words the copy of those of the array with span i; nil is none.
func (st *state) setShadow(i int32, words arrayWords) {
	switch {
	case words == nil:
		delete(st.shadows, i)
	case st.shadows == nil:
		st.shadows = map[int32]arrayWords{i: words}
	default:
		st.shadows[i] = words
	}
}

// sameAsShadow compares array r, which has the place of ro, with the copy of
// its words. If they are equal r needs no look at its elements.
func (w *walk) sameAsShadow(r, ro *region) {
	sp, old := w.st.spans.at(r.extra), w.old.spans.at(ro.extra)
	if old.reach < shadowElements || old.reach != sp.reach || r.kind != pod.SlotArray {
		return
	}
	shadow := w.old.shadows[ro.extra]
	if shadow == nil || w.doubting && !w.holdsCodecs(r) {
		return
	}
	// Each slice views one region; words, so that the race detector sees them.
	a := unsafe.Slice((*[2]uintptr)(r.addr), sp.reach)
	b := unsafe.Slice((*[2]uintptr)(shadow), sp.reach)
	for i := range a {
		if a[i] != b[i] {
			return
		}
	}
	w.st.setShadow(r.extra, shadow)
	r.weight = ro.weight
	r.flags |= flagSame
}

// holdsCodecs reports whether elements of array r hold values that a codec writes, or may. Those that have
// a copy are pure: what they lead to, and only the codec knows, is not looked at while they are the
// same, so nobody may encode them anew and then say that a change was missed.
func (w *walk) holdsCodecs(r *region) bool {
	if r.plan.typ.Kind() != reflect.Interface {
		return false
	}
	for k := range w.st.spans.at(r.extra).reach {
		at := unsafe.Add(r.addr, uintptr(k)*r.plan.size) // inside the array
		if (*interfaceWords)(at).tab == nil {
			continue
		}
		for _, o := range w.eng.dynamicOf(r.plan.typ, at).plan.ops {
			switch o.code {
			case opCodec, opHand, opBefore, opArray, opEface, opIface, opOpaque:
				return true
			}
		}
	}
	return false
}

// forgetShadow has the next save look at every element again.
func (st *state) forgetShadow(r *region) {
	if r.kind == pod.SlotArray && r.extra >= 0 {
		st.setShadow(r.extra, nil)
	}
	r.flags &^= flagSame
}
