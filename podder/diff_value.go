package podder

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// values compares two values.
func (d *differ) values(wa, wb view, path *diffPath) error {
	if d.stopped {
		return nil
	}
	kept, err := d.kept(wa, wb)
	if err != nil {
		return err
	}
	if kept {
		return d.unchanged(wb, path)
	}
	if wa, err = d.a.dynamic(wa); err != nil {
		return err
	}
	if wb, err = d.b.dynamic(wb); err != nil {
		return err
	}
	if wa.n == nil && wb.n == nil {
		return nil
	}
	if wa.n == nil || wb.n == nil || wa.n.kind != wb.n.kind || wa.n.text != wb.n.text {
		return d.replaced(wa, wb, path)
	}
	if wa.n.kind == nodeArray {
		return d.arrays(wa, wb, path)
	}
	switch wb.n.kind {
	case nodeBasic:
		return d.basics(wa, wb, path)
	case nodePointer, nodeMap, nodeSlice:
		return d.references(wa, wb, path)
	case nodeStruct:
		return d.structs(wa, wb, path)
	case nodeHanded:
		return d.handed(wa, wb, path)
	case nodeCodec:
		if a, b := wa.c.bytes(wa.c.uvarint()), wb.c.bytes(wb.c.uvarint()); string(a) != string(b) {
			d.tell(Change{Path: path.String(), Kind: ValueChanged, Old: d.a.codecShown(wa.n, a), New: d.b.codecShown(wb.n, b)})
		}
	case nodeNamed:
		if wa.n.codec != wb.n.codec {
			d.tell(Change{Path: path.String(), Kind: ValueChanged, Old: wa.n.codec, New: wb.n.codec})
		}
	}
	return nil
}

// kept reports whether two values are the same bytes of a pod that did not change.
func (d *differ) kept(wa, wb view) (bool, error) {
	if wa.n == nil || wb.n == nil || wa.at != wb.at || wa.group != nil || wb.group != nil || d.changed[wb.at.pod] {
		return false, nil
	}
	ea, eb := wa, wb
	if err := d.a.skip(&ea, wa.n, wa.fixed); err != nil {
		return false, err
	}
	if err := d.b.skip(&eb, wb.n, wb.fixed); err != nil {
		return false, err
	}
	return string(wa.c.buf[wa.c.off:ea.c.off]) == string(wb.c.buf[wb.c.off:eb.c.off]), nil
}

// dynamic follows interfaces to the value in them; without one it has no node.
func (v *viewer) dynamic(w view) (view, error) {
	for w.n != nil && w.n.kind == nodeInterface {
		id := w.c.uvarint()
		if w.c.bad {
			return w, v.corrupt(w.at, "%s ends early", w.n.text)
		}
		if id == 0 {
			return view{}, nil
		}
		n, err := v.node(typeIDOf(id))
		if err != nil {
			return w, err
		}
		w.n, w.fixed = n, false
	}
	return w, nil
}

// unchanged looks for ways through a value that both versions have.
func (d *differ) unchanged(w view, path *diffPath) error {
	_, err := d.b.refs(w, path, func(at view, r reference, length uint64, path *diffPath) error {
		switch {
		case at.n.kind == nodeBasic:
			if d.changed[r.to.pod] { // the text was put into a slot that was free meanwhile
				return d.basics(at, at, path)
			}
		case d.needed(at.at.pod, r):
			d.enqueue(pairOf(at, r, r, length, length, path))
		}
		return nil
	})
	return err
}

func pairOf(at view, ra, rb reference, la, lb uint64, path *diffPath) objectPair {
	text := at.n.valText
	if at.n.kind == nodeMap {
		text = at.n.text
	}
	return objectPair{kind: at.n.kind, ra: ra, rb: rb, la: la, lb: lb, from: at.at.pod, text: text, path: path}
}

// replaced tells that a value of another type, or nil, was there before.
func (d *differ) replaced(wa, wb view, path *diffPath) error {
	was, err := d.a.preview(wa)
	if err != nil {
		return err
	}
	is, err := d.b.preview(wb)
	if err != nil {
		return err
	}
	if was == is { // types of one name
		is = "another " + is
	}
	d.tell(Change{Path: path.String(), Kind: ValueChanged, Old: was, New: is})
	return d.fresh(wb, path)
}

func (d *differ) added(w view, path *diffPath) error {
	is, err := d.b.preview(w)
	if err != nil {
		return err
	}
	d.tell(Change{Path: path.String(), Kind: ValueAdded, New: is})
	return d.fresh(w, path)
}

func (d *differ) removed(w view, path *diffPath) error {
	was, err := d.a.preview(w)
	if err != nil {
		return err
	}
	d.tell(Change{Path: path.String(), Kind: ValueRemoved, Old: was})
	return nil
}

// fresh looks for ways through a value that the older version has not, or not there:
// objects that are in both may have changed, and may now be reached through it alone.
func (d *differ) fresh(w view, path *diffPath) error {
	if len(d.way) == 0 {
		return nil
	}
	_, err := d.b.refs(w, path, func(at view, r reference, length uint64, path *diffPath) error {
		if r.null || r.zeroSize || at.n.kind == nodeBasic {
			return nil
		}
		old, err := d.existed(r)
		if err != nil {
			return err
		}
		p := pairOf(at, r, r, length, length, path)
		if p.fresh = !old; p.fresh || d.way[r.to] {
			d.enqueue(p)
		}
		return nil
	})
	return err
}

func (d *differ) freshPair(p objectPair) error {
	switch p.kind {
	case nodeMap:
		return d.b.entriesAt(p.rb, func(key, val view) error {
			s, err := d.b.keyStep(key)
			if err != nil {
				return err
			}
			return d.fresh(val, p.path.to(s))
		})
	case nodeSlice:
		s, err := d.b.sliceAt(p.rb, p.lb, p.text)
		if err != nil || s.elemN == nil || !s.elemN.leads() {
			return err
		}
		return d.b.eachOf(s, 0, p.lb, func(i uint64, e view) error { return d.fresh(e, p.path.index(i)) })
	}
	w, err := d.b.resolve(p.rb, p.text)
	if err != nil {
		return err
	}
	return d.fresh(w, p.path)
}

// references compares pointers, maps or slices.
func (d *differ) references(wa, wb view, path *diffPath) error {
	ra, la, err := d.a.referenceAt(wa)
	if err != nil {
		return err
	}
	rb, lb, err := d.b.referenceAt(wb)
	if err != nil {
		return err
	}
	switch {
	case ra.null && rb.null:
		return nil
	case ra.null || rb.null || ra.zeroSize != rb.zeroSize && wb.n.kind != nodeSlice:
		return d.replaced(wa, wb, path)
	case rb.zeroSize && ra.zeroSize && wb.n.kind != nodeSlice:
		return nil
	}
	return d.reference(pairOf(wb, ra, rb, la, lb, path))
}

func (v *viewer) referenceAt(w view) (r reference, length uint64, err error) {
	if w.n.kind == nodeSlice {
		return v.sliceRef(&w)
	}
	r, err = v.pointer(w.at, w.in, &w.c)
	return r, 0, err
}

// basics compares numbers and strings.
func (d *differ) basics(wa, wb view, path *diffPath) error {
	a, quoted, err := d.a.basicText(&wa)
	if err != nil {
		return err
	}
	b, _, err := d.b.basicText(&wb)
	if err != nil || a == b {
		return err
	}
	if quoted {
		a, b = textsShown(a, b)
	}
	d.tell(Change{Path: path.String(), Kind: ValueChanged, Old: a, New: b})
	return nil
}

// structs compares fields by name.
func (d *differ) structs(wa, wb view, path *diffPath) error {
	before := map[string]view{}
	na, nb := wa.n, wb.n
	for i := range na.fields {
		f := &na.fields[i]
		wa.n = f.node
		before[f.name] = wa
		if err := d.a.skip(&wa, f.node, wa.fixed); err != nil {
			return err
		}
	}
	for i := range nb.fields {
		f := &nb.fields[i]
		wb.n = f.node
		to := path.to("." + f.name)
		old, ok := before[f.name]
		delete(before, f.name)
		var err error
		if ok {
			err = d.values(old, wb, to)
		} else {
			err = d.added(wb, to)
		}
		if err == nil {
			err = d.b.skip(&wb, f.node, wb.fixed)
		}
		if err != nil {
			return err
		}
	}
	for i := range na.fields {
		if w, ok := before[na.fields[i].name]; ok {
			if err := d.removed(w, path.to("."+na.fields[i].name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// arrays compares elements in order.
func (d *differ) arrays(wa, wb view, path *diffPath) error {
	ea, err := d.a.arrayElems(wa)
	if err != nil {
		return err
	}
	eb, err := d.b.arrayElems(wb)
	if err != nil {
		return err
	}
	for i := range min(len(ea), len(eb)) {
		if err := d.values(ea[i], eb[i], path.index(uint64(i))); err != nil {
			return err
		}
	}
	return nil
}

// arrayElems lists the elements of an array; one is enough where all are without bytes.
func (v *viewer) arrayElems(w view) (list []view, err error) {
	if w.group != nil {
		err = v.groupElems(w, func(_ uint64, e view) error {
			list = append(list, e)
			return nil
		})
		return list, err
	}
	n := w.n
	w.n = n.elem
	for range n.length {
		list = append(list, w)
		before := w.c.off
		if err := v.skip(&w, n.elem, w.fixed); err != nil || w.c.off == before {
			return list, err
		}
	}
	return list, nil
}

// handed compares what a codec of the program handed over.
func (d *differ) handed(wa, wb view, path *diffPath) error {
	ba, pa, err := d.a.handedParts(&wa)
	if err != nil {
		return err
	}
	bb, pb, err := d.b.handedParts(&wb)
	if err != nil {
		return err
	}
	if string(ba) != string(bb) || len(pa) != len(pb) {
		d.tell(Change{Path: path.String(), Kind: ValueChanged, Old: d.a.codecShown(wa.n, ba), New: d.b.codecShown(wb.n, bb)})
	}
	for i, e := range pb {
		if i < len(pa) {
			err = d.values(pa[i], e, path.to(handedStep(i)))
		} else {
			err = d.added(e, path.to(handedStep(i)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func handedStep(i int) string { return "{" + strconv.Itoa(i) + "}" }

// maxDiffText bounds a text in a change, in bytes.
const maxDiffText = 100

// preview is how a value is shown: numbers and text as such, others as their type.
func (v *viewer) preview(w view) (string, error) {
	w, err := v.dynamic(w)
	if err != nil || w.n == nil {
		return "nil", err
	}
	switch w.n.kind {
	case nodeBasic:
		s, quoted, err := v.basicText(&w)
		if quoted {
			s, _ = textsShown(s, "")
		}
		return s, err
	case nodeCodec:
		return v.codecShown(w.n, w.c.bytes(w.c.uvarint())), nil
	case nodePointer, nodeMap, nodeSlice:
		r, length, err := v.referenceAt(w)
		switch {
		case err != nil || r.null:
			return "nil", err
		case w.n.kind == nodeSlice:
			return fmt.Sprintf("%s (%d)", w.n.text, length), nil
		}
	}
	return w.n.text, nil
}

func (v *viewer) codecShown(n *node, b []byte) string {
	if text, ok := v.codecText(n.codec, b); ok {
		s, _ := textsShown(text, "")
		return s
	}
	if len(b) > maxDiffText/2 {
		return n.text + " " + hex.EncodeToString(b[:maxDiffText/2]) + "…"
	}
	return n.text + " " + hex.EncodeToString(b)
}

// textsShown quotes two texts; of long ones the part where they differ.
func textsShown(a, b string) (string, string) {
	from := 0
	if len(a) > maxDiffText || len(b) > maxDiffText {
		for from < len(a) && from < len(b) && a[from] == b[from] {
			from++
		}
		from = max(0, from-maxDiffText/4)
		for from > 0 && from < len(a) && !utf8.RuneStart(a[from]) {
			from--
		}
	}
	return textShown(a, from), textShown(b, from)
}

func textShown(s string, from int) string {
	from = min(from, len(s))
	end := min(len(s), from+maxDiffText)
	for end < len(s) && end > from && !utf8.RuneStart(s[end]) {
		end--
	}
	q := strconv.Quote(s[from:end])
	if from > 0 {
		q = "…" + q
	}
	if end < len(s) {
		q += "…"
	}
	return q
}
