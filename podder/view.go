package podder

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A viewer reads stored graphs without the program's types: descriptors in
// the catalogue say how slot bytes lie. view.go finds values, view_path.go
// selects one, view_json.go writes it.
type viewer struct {
	ctx   context.Context
	src   pod.Source
	pods  map[pod.ID]*pod.Pod
	nodes map[pod.TypeID]*node
	// codecs has those of the standard library, once a value of theirs is shown.
	codecs *Registry
	hollow uint64 // elements so far for which there are no bytes
	// now, of a Diff, gives one place to an object that is at two in its versions.
	now func(target) (target, error)
}

// maxHollow bounds the elements without bytes that one viewer shows: what a few
// damaged bytes could say of them has no end.
const maxHollow = 1 << 20

func newViewer(ctx context.Context, src pod.Source) *viewer {
	return &viewer{ctx: ctx, src: src, pods: map[pod.ID]*pod.Pod{}, nodes: map[pod.TypeID]*node{}}
}

// target is an object's place.
type target struct {
	pod  pod.ID
	slot pod.Slot
}

// view is one value inside slot bytes.
type view struct {
	at    target
	in    *pod.Pod
	n     *node
	c     cursor
	fixed bool   // an element of a numeric array: fixed width
	group *group // an array whose elements are those of a longer one, and not at c
}

func (v *viewer) corrupt(t target, format string, args ...any) error {
	return dberr.Corrupt(fmt.Sprintf("pod %d slot %d", t.pod, t.slot), -1, format, args...)
}

func (v *viewer) fetch(id pod.ID) (*pod.Pod, error) {
	if p := v.pods[id]; p != nil {
		return p, nil
	}
	ps, err := v.src.Pods(v.ctx, []pod.ID{id})
	if err != nil {
		return nil, err
	}
	v.pods[id] = ps[0]
	return ps[0], nil
}

// node returns the layout of a type id.
func (v *viewer) node(id pod.TypeID) (*node, error) {
	if n := v.nodes[id]; n != nil {
		return n, nil
	}
	n := predeclaredNode(id)
	if n == nil {
		b, err := v.src.Type(v.ctx, id)
		if err != nil {
			return nil, fmt.Errorf("type %d: %w", id, err)
		}
		if n, err = parseDescriptor(b); err != nil {
			return nil, dberr.Corrupt(fmt.Sprintf("type %d", id), -1, "%v", err)
		}
	}
	v.nodes[id] = n
	return n, nil
}

func predeclaredNode(id pod.TypeID) *node {
	t := predeclared(id)
	if t == nil {
		return nil
	}
	switch id {
	case typeAny:
		return &node{kind: nodeInterface, text: "any"}
	case typeError:
		return &node{kind: nodeInterface, text: "error"}
	case typeBytes:
		return &node{kind: nodeSlice, text: "[]uint8", valText: "uint8"}
	case typeAnySlice:
		return &node{kind: nodeSlice, text: "[]any", valText: "any"}
	case typeStringMap:
		return &node{kind: nodeMap, text: "map[string]any", keyText: "string", valText: "any"}
	}
	return &node{kind: nodeBasic, text: t.Name(), basic: id}
}

// root is the value of a variable.
func (v *viewer) root(name string) (view, error) {
	id, err := v.src.Root(v.ctx, name)
	if err != nil {
		return view{}, err
	}
	return v.slotValue(target{pod: id})
}

// slot finds an object, following forwarders.
func (v *viewer) slot(t target) (*pod.Pod, pod.Data, target, error) {
	for range maxForwards {
		p, err := v.fetch(t.pod)
		if err != nil {
			return nil, pod.Data{}, t, err
		}
		if int(t.slot) >= len(p.Slots) || p.Slots[t.slot].Kind == pod.SlotFree {
			return nil, pod.Data{}, t, v.corrupt(t, "reference to a slot that is not there")
		}
		d := p.Slots[t.slot]
		if d.Kind != pod.SlotForward {
			return p, d, t, nil
		}
		c := cursor{buf: d.Bytes}
		ref, err := v.pointer(t, p, &c)
		if err != nil {
			return nil, pod.Data{}, t, err
		}
		t = ref.to
	}
	return nil, pod.Data{}, t, v.corrupt(t, "chain of more than %d forwarders", maxForwards)
}

const maxForwards = 64

// slotValue is the value that a box or object slot holds.
func (v *viewer) slotValue(t target) (view, error) {
	p, d, t, err := v.slot(t)
	if err != nil {
		return view{}, err
	}
	if d.Kind != pod.SlotBox && d.Kind != pod.SlotObject {
		return view{}, v.corrupt(t, "slot of kind %d where an object is referred to", d.Kind)
	}
	n, err := v.node(d.Type)
	if err != nil {
		return view{}, err
	}
	return view{at: t, in: p, n: n, c: cursor{buf: d.Bytes}}, nil
}

// reference is a decoded pointer code.
type reference struct {
	null, zeroSize, interior bool
	to                       target
	index                    uint64
	steps                    []uint64
}

// pointer reads a pointer code at c.
func (v *viewer) pointer(at target, in *pod.Pod, c *cursor) (reference, error) {
	x := c.uvarint()
	switch {
	case c.bad:
		return reference{}, v.corrupt(at, "pointer ends early")
	case x == 0:
		return reference{null: true}, nil
	case x == 1:
		return reference{zeroSize: true}, nil
	}
	y := x - 2
	number := y >> 2
	r := reference{interior: y&2 != 0}
	if y&1 == 0 {
		r.to = target{at.pod, pod.Slot(number)}
		if number >= uint64(len(in.Slots)) {
			return r, v.corrupt(at, "pointer to local slot %d of %d", number, len(in.Slots))
		}
	} else {
		if number >= uint64(len(in.Refs)) {
			return r, v.corrupt(at, "pointer to reference %d of %d", number, len(in.Refs))
		}
		r.to = target{in.Refs[number].Pod, in.Refs[number].Slot}
	}
	if r.interior {
		r.index = c.uvarint()
		n := c.uvarint()
		if n > uint64(c.left()) {
			return r, v.corrupt(at, "interior path of %d steps in %d bytes", n, c.left())
		}
		for range n {
			r.steps = append(r.steps, c.uvarint())
		}
	}
	if c.bad {
		return r, v.corrupt(at, "pointer ends early")
	}
	return r, nil
}

// resolve finds the value that a pointer to the type with a text leads to.
func (v *viewer) resolve(r reference, text string) (view, error) {
	w, err := v.place(r)
	if err != nil {
		return w, err
	}
	return v.grouped(r, text, w)
}

// place finds the value as it is stored.
func (v *viewer) place(r reference) (view, error) {
	p, d, at, err := v.slot(r.to)
	if err != nil {
		return view{}, err
	}
	var w view
	switch storedKind(&d) {
	case pod.SlotBox, pod.SlotObject:
		w, err = v.slotValue(at)
	case pod.SlotArray:
		var a array
		if a, err = v.array(at, p, d); err == nil {
			w, err = a.elem(v, r.index)
		}
	default:
		err = v.corrupt(at, "pointer to a slot of kind %d", d.Kind)
	}
	if err != nil {
		return view{}, err
	}
	for _, step := range r.steps {
		if w, err = v.part(w, step); err != nil {
			return view{}, err
		}
	}
	return w, nil
}

// part is the struct field with an id, or the array element at an index.
func (v *viewer) part(w view, step uint64) (view, error) {
	if w.n == nil { // beyond what is stored
		return w, nil
	}
	switch w.n.kind {
	case nodeNamed:
		w.n = nil // what it has is the program's
		return w, nil
	case nodeArray:
		if step >= w.n.length {
			return w, v.corrupt(w.at, "element %d of %s", step, w.n.text)
		}
		if w.group != nil {
			return w.group.of.single(v, w.group.from+step)
		}
		elem := w.n.elem
		err := v.skipMany(&w, elem, step, w.fixed)
		w.n = elem
		return w, err
	case nodeStruct:
		for i := range w.n.fields {
			f := &w.n.fields[i]
			if uint64(f.id) == step {
				w.n = f.node
				return w, nil
			}
			if err := v.skip(&w, f.node, w.fixed); err != nil {
				return w, err
			}
		}
	}
	return w, v.corrupt(w.at, "no part %d in %s", step, w.n.text)
}

// array is a container slot.
type array struct {
	at      target
	in      *pod.Pod
	data    pod.Data
	elemN   *node
	stored  uint64
	perRun  uint64
	numeric bool
	chunks  []podChunk // the elements are in these, if any
	kept    uint64     // so many of them; the others are zero
}

func (v *viewer) array(at target, in *pod.Pod, d pod.Data) (array, error) {
	if d.Kind == pod.SlotChunks {
		return v.chunkedArray(at, in, d)
	}
	if d.Kind != pod.SlotArray {
		return array{}, v.corrupt(at, "slot of kind %d where an array is referred to", d.Kind)
	}
	n, err := v.node(d.Type)
	if err != nil {
		return array{}, err
	}
	head := cursor{buf: d.Run(0)}
	head.uvarint() // extent
	a := array{at: at, in: in, data: d, elemN: n, numeric: isNumericNode(n)}
	a.stored, a.perRun = head.uvarint(), head.uvarint()
	if head.bad {
		return a, v.corrupt(at, "array header")
	}
	if bytes := uint64(len(d.Bytes)); a.stored > bytes {
		// One element of numbers is never shorter than a byte, of fields that are
		// not stored any number are.
		if leastBytes(n) > 0 {
			return a, v.corrupt(at, "array of %d elements in %d bytes", a.stored, bytes)
		}
		if v.hollow += a.stored - bytes; a.stored > maxHollow || v.hollow > maxHollow {
			return a, fmt.Errorf("pod %d slot %d: more than %d elements that are stored in no bytes: %w", at.pod, at.slot, maxHollow, dberr.ErrTooLarge)
		}
	}
	return a, nil
}

// isNumericNode reports whether elements of the type are fixed-width.
func isNumericNode(n *node) bool {
	for n.kind == nodeArray {
		n = n.elem
	}
	return n.kind == nodeBasic && n.basic != typeString
}

// elem is element i; beyond what is stored it is an empty view, which reads
// as the zero value.
func (a array) elem(v *viewer, i uint64) (view, error) {
	w := view{at: a.at, in: a.in, n: a.elemN, fixed: a.numeric}
	if i >= a.stored {
		w.n = nil
		return w, nil
	}
	if a.chunks != nil {
		return a.chunkElem(v, i)
	}
	run, skip := uint64(1), i
	if a.perRun > 0 {
		run, skip = 1+i/a.perRun, i%a.perRun
	}
	if run >= uint64(a.data.NumRuns()) {
		return w, v.corrupt(a.at, "element %d is in run %d of %d", i, run, a.data.NumRuns())
	}
	w.c = cursor{buf: a.data.Run(int(run))}
	return w, v.skipMany(&w, a.elemN, skip, a.numeric)
}

// each calls f for elements [from, from+n); f must consume its view.
func (a array) each(v *viewer, from, n uint64, f func(i uint64, w *view) error) error {
	if a.chunks != nil {
		return a.eachChunk(v, from, n, f)
	}
	var w view
	for i := range n {
		at := from + i
		if i == 0 || at >= a.stored || (a.perRun > 0 && at%a.perRun == 0) {
			var err error
			if w, err = a.elem(v, at); err != nil {
				return err
			}
		}
		if at < a.stored {
			w.n = a.elemN
		}
		if err := f(i, &w); err != nil {
			return err
		}
	}
	return nil
}

// basicWidth is the number of bytes of a fixed-width basic value.
func basicWidth(id pod.TypeID) uint64 {
	switch id {
	case typeBool, typeInt8, typeUint8:
		return 1
	case typeInt16, typeUint16:
		return 2
	case typeInt32, typeUint32, typeFloat32:
		return 4
	case typeComplex128:
		return 16
	}
	return 8
}

// skipMany moves w past count values of layout n. Values without bytes need
// only one look, however many a hostile length claims.
func (v *viewer) skipMany(w *view, n *node, count uint64, fixed bool) error {
	for range count {
		before := w.c.off
		if err := v.skip(w, n, fixed); err != nil {
			return err
		}
		if w.c.off == before {
			return nil
		}
	}
	return nil
}

// skip moves w past one value of layout n.
func (v *viewer) skip(w *view, n *node, fixed bool) error {
	c := &w.c
	switch n.kind {
	case nodeBasic:
		switch {
		case n.basic == typeString:
			if x := c.uvarint(); x&1 == 0 {
				c.bytes(x >> 1)
			} else {
				if _, err := v.pointer(w.at, w.in, c); err != nil {
					return err
				}
				c.uvarint()
			}
		case fixed || basicWidth(n.basic) == 1 || n.basic >= typeFloat32:
			c.bytes(basicWidth(n.basic))
		default:
			c.uvarint()
		}
	case nodePointer, nodeMap:
		if _, err := v.pointer(w.at, w.in, c); err != nil {
			return err
		}
	case nodeSlice:
		if c.uvarint() >= 2 {
			c.uvarint()
			if _, err := v.pointer(w.at, w.in, c); err != nil {
				return err
			}
		}
	case nodeArray:
		return v.skipMany(w, n.elem, n.length, fixed)
	case nodeStruct:
		for i := range n.fields {
			if err := v.skip(w, n.fields[i].node, fixed); err != nil {
				return err
			}
		}
	case nodeInterface:
		if id := c.uvarint(); id != 0 {
			dyn, err := v.node(pod.TypeID(id))
			if err != nil {
				return err
			}
			return v.skip(w, dyn, false)
		}
	case nodeCodec:
		c.bytes(c.uvarint())
	case nodeHanded:
		return v.skipHanded(w, n)
	}
	if c.bad {
		return v.corrupt(w.at, "%s ends early", n.text)
	}
	return nil
}
