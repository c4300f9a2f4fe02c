package podder

import (
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Some codecs have no stored form for a few rare values, and do not have every value
// checked by the walk (checkedCodec), because that would slow down all the others: a
// time.Time with an endless zone name. Encoding meets such a value. Then everything is
// looked at once more, so that the error has every path.

// refusedValue is what the encoder fails with.
type refusedValue struct {
	at  unsafe.Pointer
	typ reflect.Type
	err error
}

func (v *refusedValue) Error() string { return v.typ.String() + ": " + v.err.Error() }
func (v *refusedValue) Unwrap() error { return v.err }

// refused makes the error of the value that the encoder met, and all others that
// codecs refuse. Of a save without a walk these are those in what is new, and in the
// region that was being encoded.
func (w *walk) refused(met *refusedValue) error {
	f := newPathFinder(w)
	f.all = true
	begin := len(w.problems)
	for i := range w.st.regions.len() {
		r := w.st.regions.at(i)
		if w.partial && i != w.current && i < w.added || !mayHaveRefused(r) {
			continue
		}
		var iface unsafe.Pointer
		f.each(i, -1, func(at unsafe.Pointer, t reflect.Type, _ func() string) bool {
			if at == iface {
				return true // the type of what it holds, which is visited next
			}
			if t.Kind() == reflect.Interface {
				iface = at
			}
			c, ok := w.eng.reg.codec(t).(valueCodec)
			if _, checked := c.(checkedCodec); !ok || checked {
				return true
			}
			_, err := c.append(nil, at)
			if err != nil {
				w.refusedAt(i, f.elem, &refusedValue{at, t, err})
			}
			return true
		})
	}
	if len(w.problems) == begin {
		w.refusedAt(w.current, -1, met)
	}
	return w.unsupported()
}

func (w *walk) refusedAt(region int32, elem int, v *refusedValue) {
	if len(w.problems) >= maxProblems {
		w.dropped++
		return
	}
	w.problems = append(w.problems, problem{region: region, elem: elem, at: v.at, typ: v.typ, reason: v.err.Error(), err: v.err})
}

// mayHaveRefused reports whether a codec may refuse a value in region r.
func mayHaveRefused(r *region) bool {
	switch r.kind {
	case pod.SlotObject, pod.SlotBox, pod.SlotArray:
		return r.plan.mayRefuse()
	case pod.SlotMap:
		return r.plan.key.mayRefuse() || r.plan.elem.mayRefuse()
	}
	return false
}

// mayRefuse reports whether a codec is asked for the bytes of a part of values of the
// plan, or of what is in an interface in it.
func (p *plan) mayRefuse() bool {
	for k := range p.ops {
		switch o := &p.ops[k]; o.code {
		case opCodec, opHand, opEface, opIface, opAtomicAny:
			return true
		case opArray:
			if o.sub.mayRefuse() {
				return true
			}
		}
	}
	return false
}
