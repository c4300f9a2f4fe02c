package podder

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// slotRefs calls f with every place that a slot refers to.
func (v *viewer) slotRefs(at target, p *pod.Pod, f func(target) error) error {
	return v.slotReferences(at, p, func(_ view, r reference, _ uint64, _ *diffPath) error {
		if r.null || r.zeroSize {
			return nil
		}
		return f(r.to)
	})
}

// slotReferences calls visit with every reference in a slot, but for those of chunks;
// with that of a forwarder there is no view.
func (v *viewer) slotReferences(at target, p *pod.Pod, visit refVisit) error {
	d := p.Slots[at.slot]
	switch d.Kind {
	case pod.SlotForward:
		c := cursor{buf: d.Bytes}
		r, err := v.pointer(at, p, &c)
		if err != nil {
			return err
		}
		return visit(view{}, r, 0, nil)
	case pod.SlotBox, pod.SlotObject:
		n, err := v.node(d.Type)
		if err != nil {
			return err
		}
		_, err = v.refs(view{at: at, in: p, n: n, c: cursor{buf: d.Bytes}}, nil, visit)
		return err
	case pod.SlotArray:
		a, err := v.array(at, p, d)
		if err != nil || !a.elemN.refers() {
			return err
		}
		return a.each(v, 0, a.stored, func(_ uint64, w *view) error {
			after, err := v.refs(*w, nil, visit)
			w.c = after.c
			return err
		})
	case pod.SlotMap:
		n, err := v.node(d.Type)
		if err != nil {
			return err
		}
		return v.entriesOf(at, p, d, n, func(key, val view) error {
			if _, err := v.refs(key, nil, visit); err != nil {
				return err
			}
			_, err := v.refs(val, nil, visit)
			return err
		})
	}
	return nil // of chunks: other pods only
}

// refers reports whether values may have references, those of strings too.
func (n *node) refers() bool {
	return n.leads() || n.hasText()
}

func (n *node) hasText() bool {
	switch n.kind {
	case nodeBasic:
		return n.basic == typeString
	case nodeArray:
		return n.elem.hasText()
	case nodeStruct:
		for i := range n.fields {
			if n.fields[i].node.hasText() {
				return true
			}
		}
	}
	return false
}

// refVisit is called with a pointer, map, slice or string: the view before it, where it
// leads, and the length of a slice.
type refVisit func(w view, r reference, length uint64, path *diffPath) error

// refs calls f for the references in the value at w, and returns w behind it. path may
// be nil.
func (v *viewer) refs(w view, path *diffPath, f refVisit) (view, error) {
	if w.n == nil {
		return w, nil
	}
	if w.group != nil {
		return w, v.groupElems(w, func(i uint64, e view) error {
			_, err := v.refs(e, step(path, func(p *diffPath) *diffPath { return p.index(i) }), f)
			return err
		})
	}
	n, start := w.n, w
	switch n.kind {
	case nodePointer, nodeMap:
		r, err := v.pointer(w.at, w.in, &w.c)
		if err != nil {
			return w, err
		}
		return w, f(start, r, 0, path)
	case nodeSlice:
		r, length, err := v.sliceRef(&w)
		if err != nil {
			return w, err
		}
		return w, f(start, r, length, path)
	case nodeBasic:
		if n.basic != typeString {
			break
		}
		c := w.c
		if x := c.uvarint(); x&1 != 0 {
			r, err := v.pointer(w.at, w.in, &c)
			if err != nil {
				return w, err
			}
			if err := f(start, r, x>>1, path); err != nil {
				return w, err
			}
		}
	case nodeInterface:
		id := w.c.uvarint()
		if id == 0 {
			return w, nil
		}
		dyn, err := v.node(pod.TypeID(id))
		if err != nil {
			return w, err
		}
		w.n, w.fixed = dyn, false
		if w, err = v.refs(w, path, f); err != nil {
			return w, err
		}
		w.n, w.fixed = n, start.fixed
		return w, nil
	case nodeArray:
		if !n.refers() {
			break
		}
		for i := range n.length {
			w.n = n.elem
			before := w.c.off
			var err error
			if w, err = v.refs(w, step(path, func(p *diffPath) *diffPath { return p.index(i) }), f); err != nil {
				return w, err
			}
			if w.c.off == before {
				break
			}
		}
		w.n = n
		return w, nil
	case nodeStruct:
		for i := range n.fields {
			field := &n.fields[i]
			w.n = field.node
			var err error
			if w, err = v.refs(w, step(path, func(p *diffPath) *diffPath { return p.to("." + field.name) }), f); err != nil {
				return w, err
			}
		}
		w.n = n
		return w, nil
	case nodeHanded:
		_, parts, err := v.handedParts(&w)
		if err != nil {
			return w, err
		}
		for i, part := range parts {
			if _, err := v.refs(part, step(path, func(p *diffPath) *diffPath { return p.to(handedStep(i)) }), f); err != nil {
				return w, err
			}
		}
		return w, nil
	}
	return w, v.skip(&w, n, w.fixed)
}

func step(p *diffPath, to func(*diffPath) *diffPath) *diffPath {
	if p == nil {
		return nil
	}
	return to(p)
}

// sliceRef reads a slice value without looking at its elements.
func (v *viewer) sliceRef(w *view) (r reference, length uint64, err error) {
	x := w.c.uvarint()
	if w.c.bad {
		return r, 0, v.corrupt(w.at, "slice ends early")
	}
	if x < 2 {
		return reference{null: x == 0, zeroSize: x == 1}, 0, nil
	}
	w.c.uvarint() // capacity beyond length
	r, err = v.pointer(w.at, w.in, &w.c)
	return r, x - 2, err
}

// groupElems calls f for the elements of an array that is a part of a longer one.
func (v *viewer) groupElems(w view, f func(i uint64, e view) error) error {
	part := *w.group.of
	part.from, part.length, part.shown = w.group.from, w.n.length, nil
	return part.each(v, func(i uint64, e *view) error {
		at := *e
		if e.n != nil && part.inner == nil {
			if err := v.skip(e, e.n, e.fixed); err != nil {
				return err
			}
		}
		return f(i, at)
	})
}

// handedParts reads what a codec of the program handed over: bytes, and values.
func (v *viewer) handedParts(w *view) (b []byte, parts []view, err error) {
	n := w.n
	b = w.c.bytes(w.c.uvarint())
	box := predeclaredNode(typeAny)
	for each := uint64(1); each <= 2; each++ {
		count := w.c.uvarint()
		if w.c.bad || count > uint64(w.c.left()) {
			return b, parts, v.corrupt(w.at, "%s of %d values in %d bytes", n.text, count, w.c.left())
		}
		for range count * each {
			part := *w
			part.n, part.fixed = box, false
			parts = append(parts, part)
			if err := v.skip(w, box, false); err != nil {
				return b, parts, err
			}
		}
	}
	if w.c.bad {
		err = v.corrupt(w.at, "%s ends early", n.text)
	}
	return b, parts, err
}

// elemKey identifies an element in the alignment of slices, and a key of a map: by
// its bytes, with references as the places that they lead to.
type elemKey [16]byte

func (v *viewer) keyOf(w view) (elemKey, error) {
	b, err := v.appendKey(nil, w)
	if err != nil {
		return elemKey{}, err
	}
	return xxh3.Hash128(b).Bytes(), nil
}

func (v *viewer) appendKey(dst []byte, w view) ([]byte, error) {
	if w.n == nil {
		return append(dst, 0), nil
	}
	dst = append(append(dst, 1, byte(w.n.kind)), w.n.text...)
	start := w.c.off
	if w.group != nil {
		err := v.groupElems(w, func(_ uint64, e view) (err error) {
			dst, err = v.appendKey(dst, e)
			return err
		})
		return dst, err
	}
	if !w.n.refers() {
		err := v.skip(&w, w.n, w.fixed)
		return append(dst, w.c.buf[start:w.c.off]...), err
	}
	// References first, then the text of strings and the bytes between.
	var texts []view
	after, err := v.refs(w, nil, func(at view, r reference, length uint64, _ *diffPath) error {
		if at.n.kind == nodeBasic {
			texts = append(texts, at)
			return nil
		}
		to := r.to
		if v.now != nil {
			var err error
			if to, err = v.now(to); err != nil {
				return err
			}
		}
		dst = binary.AppendUvarint(dst, uint64(to.pod))
		dst = binary.AppendUvarint(dst, uint64(to.slot))
		dst = binary.AppendUvarint(dst, r.index)
		dst = binary.AppendUvarint(dst, length)
		for _, s := range r.steps {
			dst = binary.AppendUvarint(dst, s)
		}
		if r.null {
			dst = append(dst, 1)
		}
		return nil
	})
	if err != nil {
		return dst, err
	}
	for i := range texts {
		s, err := v.stringAt(&texts[i])
		if err != nil {
			return dst, err
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return v.appendPlain(dst, w, after)
}

// appendPlain appends the bytes of a value without its references.
func (v *viewer) appendPlain(dst []byte, w, after view) ([]byte, error) {
	at := w.c.off
	_, err := v.refs(w, nil, func(x view, _ reference, _ uint64, _ *diffPath) error {
		dst = append(dst, x.c.buf[at:x.c.off]...)
		return x.pass(v, &at)
	})
	if err != nil {
		return dst, err
	}
	return append(dst, w.c.buf[at:after.c.off]...), nil
}

// pass sets at to the end of the reference at x.
func (x view) pass(v *viewer, at *int) error {
	err := v.skip(&x, x.n, x.fixed)
	*at = x.c.off
	return err
}
