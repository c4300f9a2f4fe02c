package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// mergeSide is one of the three versions of a merge.
type mergeSide int

const (
	baseSide mergeSide = iota
	oursSide
	theirsSide
	mergeSides
)

// mergeTree is one stored value, taken apart as far as it can be merged: structs, arrays
// and interfaces have parts, references know where they lead to, and everything else is
// bytes.
type mergeTree struct {
	side mergeSide
	n    *node
	// fixed: a number in an array of numbers.
	fixed bool
	raw   []byte       // what has neither parts nor a reference
	kids  []*mergeTree // fields, elements, the value in an interface, what a codec handed over
	typ   pod.TypeID   // of the value in an interface
	data  []byte       // that a codec handed over; values is how many of kids are no entries
	vals  int
	// Of a pointer, map, slice or long string: bytes before and behind its code.
	isRef      bool
	ref        reference
	head, tail []byte
	length     uint64 // of a slice

	fresh []*mergeTree // elements of a slice that a resolver made
}

// mergeTreeAt reads the value at w and moves w behind it.
func (v *viewer) mergeTreeAt(side mergeSide, w *view) (*mergeTree, error) {
	n, start, fixed := w.n, w.c.off, w.fixed
	t := &mergeTree{side: side, n: n, fixed: fixed}
	kid := func(of *node, fixed bool) error {
		w.n, w.fixed = of, fixed
		k, err := v.mergeTreeAt(side, w)
		t.kids = append(t.kids, k)
		return err
	}
	defer func() { w.n, w.fixed = n, fixed }()
	switch {
	case n.kind == nodeStruct:
		for i := range n.fields {
			if err := kid(n.fields[i].node, fixed); err != nil {
				return nil, err
			}
		}
		return t, nil
	case n.kind == nodeArray:
		for range n.length {
			before := w.c.off
			if err := kid(n.elem, fixed); err != nil {
				return nil, err
			}
			if w.c.off == before { // elements without bytes: one stands for all
				break
			}
		}
		return t, nil
	case n.kind == nodeInterface:
		if t.typ = typeIDOf(w.c.uvarint()); t.typ == 0 || w.c.bad {
			return t, v.endsEarly(w)
		}
		of, err := v.node(t.typ)
		if err != nil {
			return nil, err
		}
		return t, kid(of, false)
	case n.kind == nodeHanded:
		data, parts, err := v.handedParts(w)
		if err != nil {
			return nil, err
		}
		t.data = data
		c := cursor{buf: w.c.buf, off: start}
		c.bytes(c.uvarint())
		t.vals = int(c.uvarint())
		for i := range parts {
			k, err := v.mergeTreeAt(side, &parts[i])
			if err != nil {
				return nil, err
			}
			t.kids = append(t.kids, k)
		}
		return t, nil
	case n.kind == nodePointer || n.kind == nodeMap || n.kind == nodeSlice || n.kind == nodeBasic && n.basic == typeString:
		return t, v.mergeReference(t, w)
	}
	err := v.skip(w, n, fixed)
	t.raw = w.c.buf[start:w.c.off]
	return t, err
}

func (v *viewer) endsEarly(w *view) error {
	if w.c.bad {
		return v.corrupt(w.at, "%s ends early", w.n.text)
	}
	return nil
}

// mergeReference reads what may be a reference into t.
func (v *viewer) mergeReference(t *mergeTree, w *view) (err error) {
	c, start := &w.c, w.c.off
	t.isRef = true
	switch t.n.kind {
	case nodeBasic:
		if x := c.uvarint(); x&1 == 0 {
			c.bytes(x >> 1)
			t.isRef, t.raw = false, c.buf[start:c.off]
			return v.endsEarly(w)
		}
	case nodeSlice:
		x := c.uvarint()
		if x < 2 {
			t.isRef, t.raw = false, c.buf[start:c.off]
			return v.endsEarly(w)
		}
		t.length = x - 2
		c.uvarint()
	}
	t.head = c.buf[start:c.off]
	if t.ref, err = v.pointer(w.at, w.in, c); err != nil {
		return err
	}
	if t.n.kind == nodeBasic {
		before := c.off
		c.uvarint()
		t.tail = c.buf[before:c.off]
	}
	return v.endsEarly(w)
}

// leads reports whether t is a reference to an object.
func (t *mergeTree) leads() bool { return t.isRef && !t.ref.null && !t.ref.zeroSize }

// each calls f for all references to objects in t.
func (t *mergeTree) each(f func(t *mergeTree)) {
	if t == nil {
		return
	}
	if t.leads() {
		f(t)
	}
	for _, k := range t.kids {
		k.each(f)
	}
}

// mergeCode gives the number of what a reference of a version leads to, in the pod that is
// being written, and what is to be added to its index and steps there.
type mergeCode func(t *mergeTree) (p pod.Pointer, err error)

// append encodes t.
func (t *mergeTree) append(dst []byte, code mergeCode) (_ []byte, err error) {
	switch {
	case t.isRef:
		var p pod.Pointer
		if t.ref.zeroSize {
			p.To = pod.ToZeroSize
		} else if !t.ref.null {
			if p, err = code(t); err != nil {
				return dst, err
			}
		}
		dst = append(dst, t.head...)
		return append(pod.AppendPointer(dst, p), t.tail...), nil
	case t.n.kind == nodeHanded:
		return t.appendHanded(dst, code)
	case t.n.kind == nodeInterface:
		dst = binary.AppendUvarint(dst, uint64(t.typ))
	}
	dst = append(dst, t.raw...)
	for _, k := range t.kids {
		if dst, err = k.append(dst, code); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

func (t *mergeTree) appendHanded(dst []byte, code mergeCode) (_ []byte, err error) {
	dst = append(binary.AppendUvarint(dst, uint64(len(t.data))), t.data...)
	dst = binary.AppendUvarint(dst, uint64(t.vals))
	for _, k := range t.kids[:t.vals] {
		if dst, err = k.append(dst, code); err != nil {
			return dst, err
		}
	}
	entries := t.kids[t.vals:]
	dst = binary.AppendUvarint(dst, uint64(len(entries)/2))
	for _, k := range entries { // in the order that they had
		if dst, err = k.append(dst, code); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// mergeSlot is an object of one version: what a slot holds, or a container in chunks with all
// of its parts that were asked for.
type mergeSlot struct {
	side    mergeSide
	at      target
	kind    pod.Kind
	typ     pod.TypeID
	n       *node
	value   *mergeTree // of a box, an object
	forward reference
	raw     []byte // of a string

	extent, perRun uint64       // of an array
	elems          []*mergeTree // of an array, those that are stored
	entries        []mergeEntry // of a map

	list *chunkList // of a container in chunks
	data pod.Data
}

type mergeEntry struct {
	key, val *mergeTree
}

// mergeSlotAt reads a slot, forwarders as such.
func (v *viewer) mergeSlotAt(side mergeSide, at target) (*mergeSlot, error) {
	p, err := v.fetch(at.pod)
	if err != nil {
		return nil, err
	}
	d := p.Slots[at.slot]
	s := &mergeSlot{side: side, at: at, kind: d.Kind, typ: d.Type, data: d}
	switch d.Kind {
	case pod.SlotForward:
		c := cursor{buf: d.Bytes}
		s.forward, err = v.pointer(at, p, &c)
		return s, err
	case pod.SlotString:
		s.raw = d.Bytes
		return s, nil
	case pod.SlotChunks:
		s.list, err = v.chunksOf(at, p, d)
		return s, err
	case pod.SlotOpaque:
		return nil, v.corrupt(at, "value of a type that no program knew")
	}
	if s.n, err = v.node(d.Type); err != nil {
		return nil, err
	}
	switch d.Kind {
	case pod.SlotArray:
		return s, v.mergeArray(s, p)
	case pod.SlotMap:
		return s, v.mergeEntries(s, p)
	}
	w := view{at: at, in: p, n: s.n, c: cursor{buf: d.Bytes}}
	if s.value, err = v.mergeTreeAt(side, &w); err == nil && w.c.left() > 0 {
		err = v.corrupt(at, "%d bytes behind the value", w.c.left())
	}
	return s, err
}

func (v *viewer) mergeArray(s *mergeSlot, p *pod.Pod) error {
	a, err := v.array(s.at, p, s.data)
	if err != nil {
		return err
	}
	head := cursor{buf: s.data.Run(0)}
	s.extent, s.perRun = head.uvarint(), a.perRun
	return a.each(v, 0, a.stored, func(_ uint64, w *view) error {
		t, err := v.mergeTreeAt(s.side, w)
		s.elems = append(s.elems, t)
		return err
	})
}

func (v *viewer) mergeEntries(s *mergeSlot, p *pod.Pod) error {
	if s.n.kind != nodeEntries {
		return v.corrupt(s.at, "map slot with the type %s", s.n.text)
	}
	return v.entriesOf(s.at, p, s.data, s.n, func(key, val view) error {
		k, err := v.mergeTreeAt(s.side, &key)
		if err != nil {
			return err
		}
		e, err := v.mergeTreeAt(s.side, &val)
		s.entries = append(s.entries, mergeEntry{k, e})
		return err
	})
}

// store encodes the slot. seed orders the entries of maps.
func (s *mergeSlot) store(seed uint64, code mergeCode) (d pod.Data, err error) {
	d = pod.Data{Kind: s.kind, Type: s.typ}
	switch s.kind {
	case pod.SlotForward:
		d.Bytes, err = (&mergeTree{side: s.side, isRef: true, ref: s.forward}).append(nil, code)
	case pod.SlotString:
		d.Bytes = s.raw
	case pod.SlotArray:
		err = s.storeArray(&d, code)
	case pod.SlotMap:
		err = s.storeMap(&d, seed, mapBits(len(s.entries)), code)
	case pod.SlotChunks:
		d.Bytes = s.list.appendHead(nil)
		d.Runs = []uint32{uint32(len(d.Bytes))}
		d.Bytes, err = s.storeList(d.Bytes, code)
		d.Runs = append(d.Runs, uint32(len(d.Bytes))-d.Runs[0])
	default:
		d.Bytes, err = s.value.append(nil, code)
	}
	return d, err
}

func (s *mergeSlot) storeList(dst []byte, code mergeCode) ([]byte, error) {
	var wrong error
	dst = s.list.appendList(dst, func(id pod.ID) uint32 {
		p, err := code(&mergeTree{side: s.side, isRef: true, ref: reference{to: target{pod: id}}})
		if err == nil && p.To != pod.ToExternal {
			err = dberr.Corrupt("", -1, "chunk %d of pod %d lies in it", id, s.at.pod)
		}
		if err != nil {
			wrong = err
		}
		return p.Number
	})
	return dst, wrong
}

func (s *mergeSlot) storeArray(d *pod.Data, code mergeCode) (err error) {
	d.Bytes = binary.AppendUvarint(d.Bytes, s.extent)
	d.Bytes = binary.AppendUvarint(d.Bytes, uint64(len(s.elems)))
	d.Bytes = binary.AppendUvarint(d.Bytes, s.perRun)
	start := 0
	for i, e := range s.elems {
		if uint64(i)%s.perRun == 0 {
			d.Runs = append(d.Runs, uint32(len(d.Bytes)-start))
			start = len(d.Bytes)
		}
		if d.Bytes, err = e.append(d.Bytes, code); err != nil {
			return err
		}
	}
	d.Runs = append(d.Runs, uint32(len(d.Bytes)-start))
	return nil
}

// storeMap writes entries as encoder.mapSlot does: in the order of the hashes of their keys,
// then of the bytes.
func (s *mergeSlot) storeMap(d *pod.Data, seed uint64, bits int, code mergeCode) error {
	type encoded struct {
		hash     uint64
		key, val []byte
	}
	list := make([]encoded, len(s.entries))
	for i, e := range s.entries {
		var err error
		if list[i].key, err = e.key.append(nil, code); err != nil {
			return err
		}
		if list[i].val, err = e.val.append(nil, code); err != nil {
			return err
		}
		list[i].hash = xxh3.HashSeed(list[i].key, seed)
	}
	slices.SortStableFunc(list, func(x, y encoded) int {
		return cmp.Or(cmp.Compare(x.hash, y.hash), bytes.Compare(x.key, y.key), bytes.Compare(x.val, y.val))
	})
	d.Bytes = binary.AppendUvarint(d.Bytes, uint64(len(list)))
	d.Bytes = binary.AppendUvarint(d.Bytes, uint64(bits))
	d.Runs = append(d.Runs, uint32(len(d.Bytes)))
	start, bucket := len(d.Bytes), uint64(0)
	closeTo := func(to uint64) {
		for ; bucket < to; bucket++ {
			d.Runs = append(d.Runs, uint32(len(d.Bytes)-start))
			start = len(d.Bytes)
		}
	}
	for _, e := range list {
		if bits > 0 {
			closeTo(e.hash >> (64 - bits))
		}
		d.Bytes = append(append(d.Bytes, e.key...), e.val...)
	}
	closeTo(1 << bits)
	return nil
}
