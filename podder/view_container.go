package podder

import (
	"errors"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// sliceView is a slice value: a window on a container.
type sliceView struct {
	array
	from, length   uint64
	null, zeroSize bool
	inner          *view // the slice lies in an array field of an object
	object         bool  // which is its only element
	shown          *node // the array of elements that each of the slice is, nil if it is one
}

// slice reads the slice value at w.
func (v *viewer) slice(w *view) (sliceView, error) {
	x := w.c.uvarint()
	if w.c.bad {
		return sliceView{}, v.corrupt(w.at, "slice ends early")
	}
	if x < 2 {
		return sliceView{null: x == 0}, nil
	}
	length := x - 2
	w.c.uvarint() // capacity beyond length
	r, err := v.pointer(w.at, w.in, &w.c)
	switch {
	case err != nil:
		return sliceView{}, err
	case r.null:
		return sliceView{}, v.corrupt(w.at, "slice of length %d without a container", length)
	case r.zeroSize:
		return sliceView{length: length, zeroSize: true}, nil
	}
	s, room, err := v.elements(r)
	if err != nil {
		return s, err
	}
	s.length = length
	if s.shown = groupOf(w.n.valText, s.elemN); s.shown != nil {
		room /= s.shown.length
	}
	if length > room {
		return s, v.corrupt(s.at, "%s of length %d where %d elements are", w.n.text, length, room)
	}
	return s, nil
}

// elements finds what lies where a reference leads to, as a slice of it has it,
// and how many elements there are from there on.
func (v *viewer) elements(r reference) (s sliceView, room uint64, err error) {
	p, d, at, err := v.slot(r.to)
	if err != nil {
		return s, 0, err
	}
	if storedKind(&d) != pod.SlotArray || len(r.steps) > 0 {
		return v.elementsOfField(r)
	}
	s.from = r.index
	if s.array, err = v.array(at, p, d); err != nil || s.from > s.stored {
		return s, 0, err
	}
	return s, s.stored - s.from, nil
}

// elementsOfField handles elements of an array inside an object, where the last
// step of the path is the first one, or an object by itself, of which it is an
// array of one.
func (v *viewer) elementsOfField(r reference) (s sliceView, room uint64, err error) {
	if len(r.steps) == 0 {
		in, err := v.place(r)
		s.at, s.elemN, s.inner, s.object = in.at, in.n, &in, true
		return s, 1, err
	}
	s.from = r.steps[len(r.steps)-1]
	r.steps = r.steps[:len(r.steps)-1]
	in, err := v.place(r)
	if err != nil {
		return s, 0, err
	}
	if in.n == nil || in.n.kind != nodeArray || s.from > in.n.length {
		return s, 0, v.corrupt(r.to, "slice of something that is no array")
	}
	s.at, s.elemN, s.inner = in.at, in.n.elem, &in
	return s, in.n.length - s.from, nil
}

// elem is element i of the slice.
func (s *sliceView) elem(v *viewer, i uint64) (view, error) {
	if s.shown != nil {
		return view{at: s.at, in: s.in, n: s.shown, group: &group{s, s.from + i*s.shown.length}}, nil
	}
	return s.single(v, s.from+i)
}

// single is an element by the count of the container.
func (s *sliceView) single(v *viewer, at uint64) (view, error) {
	switch {
	case s.object:
		return *s.inner, nil
	case s.inner != nil:
		return v.part(*s.inner, at)
	}
	return s.array.elem(v, at)
}

// each calls f for the elements of the slice.
func (s *sliceView) each(v *viewer, f func(i uint64, w *view) error) error {
	if s.inner == nil && s.shown == nil {
		return s.array.each(v, s.from, s.length, f)
	}
	for i := range s.length {
		e, err := s.elem(v, i)
		if err == nil {
			err = f(i, &e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entries calls f for each entry of the map value at w, in stored order.
func (v *viewer) entries(w *view, f func(key, val view) error) (null bool, err error) {
	r, err := v.pointer(w.at, w.in, &w.c)
	if err != nil || r.null {
		return r.null, err
	}
	p, d, at, err := v.slot(r.to)
	if err != nil {
		return false, err
	}
	if storedKind(&d) != pod.SlotMap {
		return false, v.corrupt(at, "slot of kind %d where a map is referred to", d.Kind)
	}
	n, err := v.node(d.Type)
	if err != nil {
		return false, err
	}
	if n.kind != nodeEntries {
		return false, v.corrupt(at, "map slot with the type %s", n.text)
	}
	if d.Kind != pod.SlotChunks {
		return false, v.entriesOf(at, p, d, n, f)
	}
	return false, v.eachPart(at, p, d, func(at target, p *pod.Pod, d pod.Data) error { return v.entriesOf(at, p, d, n, f) })
}

// entriesOf calls f for the entries of one slot.
func (v *viewer) entriesOf(at target, p *pod.Pod, d pod.Data, n *node, f func(key, val view) error) error {
	for run := 1; run < d.NumRuns(); run++ {
		e := view{at: at, in: p, c: cursor{buf: d.Run(run)}}
		for e.c.left() > 0 {
			key := e
			key.n = n.key
			if err := v.skip(&e, n.key, false); err != nil {
				return err
			}
			val := e
			val.n = n.elem
			if err := v.skip(&e, n.elem, false); err != nil {
				return err
			}
			if e.c.off == key.c.off {
				return v.corrupt(at, "map entry of no bytes")
			}
			if err := f(key, val); err != nil {
				return err
			}
		}
	}
	return nil
}

// keyText is a map key as a person types it; empty for keys that are no text.
func (v *viewer) keyText(k view) (string, error) {
	k, err := v.open(k)
	if err != nil || k.n == nil || k.n.kind != nodeBasic {
		return "", err
	}
	s, _, err := v.basicText(&k)
	return s, err
}

// stringAt reads a string, inline or shared.
func (v *viewer) stringAt(w *view) (string, error) {
	x := w.c.uvarint()
	if x&1 == 0 {
		b := w.c.bytes(x >> 1)
		if w.c.bad {
			return "", v.corrupt(w.at, "string ends early")
		}
		return string(b), nil
	}
	r, err := v.pointer(w.at, w.in, &w.c)
	if err != nil {
		return "", err
	}
	from, n := w.c.uvarint(), x>>1
	if w.c.bad {
		return "", v.corrupt(w.at, "string ends early")
	}
	p, d, at, err := v.slot(r.to)
	if err != nil {
		return "", err
	}
	if storedKind(&d) == pod.SlotString && d.Kind == pod.SlotChunks {
		return v.chunkedString(at, p, d, from, n)
	}
	if d.Kind != pod.SlotString || from > uint64(len(d.Bytes)) || n > uint64(len(d.Bytes))-from {
		return "", v.corrupt(at, "string [%d, +%d) of a slot of kind %d with %d bytes", from, n, d.Kind, len(d.Bytes))
	}
	return string(d.Bytes[from : from+n]), nil
}

func isNotFound(err error) bool { return errors.Is(err, dberr.ErrNotFound) }
