package podder

import (
	"bytes"
	"strconv"

	"github.com/poddb/poddb/internal/pod"
)

// object merges an object that both sides have, and that one of them, or a chunk of it,
// changed.
func (r *mergeRun) object(t target) (*mergeSlot, mergeFrom, error) {
	from, quick := r.kept(t)
	var err error
	if !quick {
		quick, from, err = r.oneSided(t)
	}
	if quick || err != nil {
		if err != nil || from == fromOurs {
			return nil, fromOurs, err
		}
		s, err := r.v[theirsSide].mergeSlotAt(theirsSide, t)
		return s, fromTheirs, err
	}
	var s [mergeSides]*mergeSlot
	for side := range mergeSides {
		if _, ok, err := r.slotOf(side, t); err != nil || !ok {
			if err != nil {
				return nil, 0, err
			}
			continue // none in base
		}
		if s[side], err = r.v[side].mergeSlotAt(side, t); err != nil {
			return nil, 0, err
		}
	}
	res, err := r.slots(t, s[baseSide], s[oursSide], s[theirsSide])
	switch {
	case err != nil || res == s[oursSide]:
		return nil, fromOurs, err
	case res == s[theirsSide]:
		return res, fromTheirs, nil
	}
	return res, fromBoth, nil
}

// oneSided reports whether only one side changed an object and nothing else speaks against
// taking it.
func (r *mergeRun) oneSided(t target) (bool, mergeFrom, error) {
	var changed [mergeSides]bool
	for _, side := range []mergeSide{oursSide, theirsSide} {
		var err error
		if changed[side], err = r.contentChanged(side, t); err != nil {
			return false, 0, err
		}
	}
	if _, ok, err := r.slotOf(baseSide, t); err != nil || !ok {
		return false, 0, err
	}
	from, other := fromOurs, theirsSide
	switch {
	case changed[oursSide] && changed[theirsSide]:
		return false, 0, nil
	case changed[theirsSide]:
		from, other = fromTheirs, oursSide
	}
	return !r.deep[t] && r.windows[t] == nil && !r.arrayEdits[other], from, nil
}

// anyArray reports whether a side changed arrays, so that slices that the other changed must
// be looked at.
func (r *mergeRun) anyArray(edits map[target]bool) bool {
	for t := range edits {
		if d, ok, err := r.slotOf(baseSide, t); err == nil && ok && storedKind(d) == pod.SlotArray {
			return true
		}
	}
	return len(r.chunk) > 0
}

// slots merges what three slots hold; b is nil if base has none.
func (r *mergeRun) slots(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	kinds := []pod.Kind{storedKind(&o.data), storedKind(&d.data)}
	if b != nil {
		kinds = append(kinds, storedKind(&b.data))
	}
	for _, k := range kinds {
		if k != kinds[0] {
			return r.whole3(t, b, o, d)
		}
	}
	if o.list != nil || d.list != nil || b != nil && b.list != nil {
		return r.containers(t, b, o, d)
	}
	switch o.kind {
	case pod.SlotBox, pod.SlotObject:
		return r.values(t, b, o, d)
	case pod.SlotArray:
		return r.arrays(t, b, o, d)
	case pod.SlotMap:
		return r.maps(t, b, o, d)
	case pod.SlotForward:
		x, y := &mergeTree{side: oursSide, ref: o.forward}, &mergeTree{side: theirsSide, ref: d.forward}
		if same, err := r.sameReference(x, y); err != nil || same {
			return o, err
		}
	case pod.SlotString:
		if bytes.Equal(o.raw, d.raw) {
			return o, nil
		}
	}
	return r.whole3(t, b, o, d)
}

// whole3 takes the side that changed, or has a conflict about all of an object.
func (r *mergeRun) whole3(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	if b != nil {
		changed, err := r.contentChanged(theirsSide, t)
		if err != nil || !changed {
			return o, err
		}
		if changed, err = r.contentChanged(oursSide, t); err != nil || !changed {
			return d, err
		}
	}
	c := r.conflict(mergePlace{slot: t}, r.slotShown(b), r.slotShown(o), r.slotShown(d), false)
	if c.Choice == ChooseTheirs {
		return d, nil
	}
	return o, nil
}

// values merges what two boxes or objects hold.
func (r *mergeRun) values(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	shape := o
	var before *mergeTree
	if b != nil {
		before = b.value
		if o.typ == b.typ {
			shape = d // if theirs has another type than base, the result has that
		}
		if d.typ == b.typ || d.typ == o.typ {
			shape = o
		}
		if d.typ != b.typ && o.typ != b.typ && d.typ != o.typ && o.n.text != d.n.text {
			return r.whole3(t, b, o, d)
		}
	}
	v, err := r.value(mergePlace{slot: t}, before, o.value, d.value, shape.value, &diffPath{})
	switch {
	case err != nil:
		return nil, err
	case v == o.value:
		return o, nil
	case v == d.value:
		return d, nil
	}
	res := *shape
	if res.value = v; v.n != shape.n { // a choice of the other type
		if v.n == o.n {
			res.typ, res.n = o.typ, o.n
		} else if v.n == d.n {
			res.typ, res.n = d.typ, d.n
		}
	}
	return &res, nil
}

// value merges one value; nil is one that is not there. shape is that of o or d which the
// result has.
func (r *mergeRun) value(at mergePlace, b, o, d, shape *mergeTree, path *diffPath) (*mergeTree, error) {
	if r.deep[at.slot] && r.forced[at.at(path).key()] {
		return r.choose(at, b, o, d, path, true)
	}
	sameO, err := r.equal(b, o)
	if err != nil {
		return nil, err
	}
	sameD, err := r.equal(b, d)
	if err != nil {
		return nil, err
	}
	if sameO && sameD {
		return o, nil
	}
	look := r.deep[at.slot] || sameD && r.arrayEdits[theirsSide] || sameO && r.arrayEdits[oursSide]
	if !look {
		if sameD {
			return o, nil
		}
		if sameO {
			return d, nil
		}
	}
	if same, err := r.equal(o, d); err != nil || same {
		return o, err
	}
	if b != nil && o != nil && d != nil && b.n.kind == o.n.kind && o.n.kind == d.n.kind && o.n.text == d.n.text {
		if done, v, err := r.parts(at, b, o, d, shape, path); done || err != nil {
			return v, err
		}
	}
	switch {
	case sameD:
		if lost, err := r.windowLost(theirsSide, b, o); err != nil || !lost {
			return o, err
		}
		return r.choose(at, b, o, d, path, true)
	case sameO:
		if lost, err := r.windowLost(oursSide, b, d); err != nil || !lost {
			return d, err
		}
		return r.choose(at, b, o, d, path, true)
	}
	if o != nil && d != nil {
		if same, err := r.unify(o, d); err != nil || same {
			return o, err
		}
	}
	return r.choose(at, b, o, d, path, false)
}

// parts merges structs by the names of fields, arrays by element, and what lies in
// interfaces.
func (r *mergeRun) parts(at mergePlace, b, o, d, shape *mergeTree, path *diffPath) (bool, *mergeTree, error) {
	if shape == nil || shape.n.kind != o.n.kind {
		shape = o
	}
	var kids []*mergeTree
	add := func(b, o, d, shape *mergeTree, path *diffPath) error {
		v, err := r.value(at, b, o, d, shape, path)
		kids = append(kids, v)
		return err
	}
	switch o.n.kind {
	case nodeStruct:
		for i := range shape.n.fields {
			f := &shape.n.fields[i]
			kb, ko, kd := b.field(f.name), o.field(f.name), d.field(f.name)
			if ko == nil || kd == nil { // of a type of one side: only that one has it
				if ko == nil {
					ko = kd
				}
				kids = append(kids, ko)
				continue
			}
			if err := add(kb, ko, kd, shape.kids[i], path.to("."+f.name)); err != nil {
				return true, nil, err
			}
		}
	case nodeArray:
		if len(b.kids) != len(o.kids) || len(o.kids) != len(d.kids) {
			return false, nil, nil
		}
		for i := range o.kids {
			if err := add(b.kids[i], o.kids[i], d.kids[i], shape.kids[i], path.index(uint64(i))); err != nil {
				return true, nil, err
			}
		}
	case nodeInterface:
		if b.typ == 0 || o.typ == 0 || d.typ == 0 || o.kids[0].n.text != d.kids[0].n.text || b.kids[0].n.text != o.kids[0].n.text {
			return false, nil, nil
		}
		if err := add(b.kids[0], o.kids[0], d.kids[0], shape.kids[0], path); err != nil {
			return true, nil, err
		}
	default:
		return false, nil, nil
	}
	for _, of := range []*mergeTree{o, d} {
		if of.n == shape.n && of.typ == shape.typ && sameTrees(of.kids, kids) {
			return true, of, nil
		}
	}
	v := *shape
	v.kids = kids
	if o.n.kind == nodeInterface && kids[0].n != shape.kids[0].n {
		if v.typ = o.typ; kids[0].n == d.kids[0].n {
			v.typ = d.typ
		}
	}
	return true, &v, nil
}

func sameTrees(a, b []*mergeTree) bool {
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// field is the value of the field with a name; nil if the type has none.
func (t *mergeTree) field(name string) *mergeTree {
	for i := range t.n.fields {
		if t.n.fields[i].name == name {
			return t.kids[i]
		}
	}
	return nil
}

// arrays merges arrays by element. What was appended in place is taken from the side that
// did; if both did, it is one conflict unless equal.
func (r *mergeRun) arrays(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	if c := r.windows[t]; c != nil {
		if c.Choice == ChooseTheirs {
			return d, nil
		}
		return o, nil
	}
	if b == nil || len(o.elems) < len(b.elems) || len(d.elems) < len(b.elems) || o.n.text != d.n.text || b.n.text != o.n.text || o.typ != d.typ {
		return r.whole3(t, b, o, d)
	}
	known := len(b.elems)
	elems := make([]*mergeTree, 0, max(len(o.elems), len(d.elems)))
	for i := range known {
		e, err := r.value(mergePlace{slot: t}, b.elems[i], o.elems[i], d.elems[i], o.elems[i], (&diffPath{}).index(uint64(i)))
		if err != nil {
			return nil, err
		}
		elems = append(elems, e)
	}
	tailO, tailD := o.elems[known:], d.elems[known:]
	tail := tailO
	switch {
	case len(tailO) == 0:
		tail = tailD
	case len(tailD) > 0:
		same := len(tailO) == len(tailD)
		for i := 0; same && i < len(tailO); i++ {
			var err error
			if same, err = r.equal(tailO[i], tailD[i]); err != nil {
				return nil, err
			}
			if !same {
				if same, err = r.unify(tailO[i], tailD[i]); err != nil {
					return nil, err
				}
			}
		}
		if !same && r.tailConflict(t, known, o, d) == ChooseTheirs {
			tail = tailD
		}
	}
	elems = append(elems, tail...)
	switch {
	case sameTrees(o.elems, elems):
		return o, nil
	case sameTrees(d.elems, elems) && d.perRun == o.perRun && d.extent == o.extent:
		return d, nil
	}
	res := *o
	res.elems, res.extent = elems, max(o.extent, d.extent)
	if res.perRun == 0 {
		res.perRun = d.perRun
	}
	return &res, nil
}

// tailConflict is about what both sides appended in place.
func (r *mergeRun) tailConflict(t target, known int, o, d *mergeSlot) MergeChoice {
	path := "[" + strconv.Itoa(known) + "]"
	if len(o.elems) == known+1 && len(d.elems) == known+1 {
		return r.conflict(mergePlace{slot: t, path: path}, MergeValue{}, r.shown(o.elems[known]), r.shown(d.elems[known]), false).Choice
	}
	count := func(s *mergeSlot) MergeValue {
		n := len(s.elems) - known
		return MergeValue{Present: true, Type: s.n.text, Text: strconv.Itoa(n) + " elements of " + s.n.text}
	}
	return r.conflict(mergePlace{slot: t, path: path}, MergeValue{}, count(o), count(d), false).Choice
}

// maps merges maps by key.
func (r *mergeRun) maps(t target, b, o, d *mergeSlot) (*mergeSlot, error) {
	if b == nil || o.typ != d.typ || o.typ != b.typ {
		return r.whole3(t, b, o, d)
	}
	e, err := r.entries(t, b.entries, o.entries, d.entries)
	if err != nil {
		return nil, err
	}
	res := *o
	res.entries = nil
	fromO, fromD := true, true
	for _, k := range e {
		if k.res != nil {
			res.entries = append(res.entries, mergeEntry{k.key, k.res})
		}
		fromO = fromO && k.res == k.vals[oursSide]
		fromD = fromD && k.res == k.vals[theirsSide]
	}
	switch {
	case fromO:
		return o, nil
	case fromD:
		return d, nil
	}
	if p, err := r.podOf(oursSide, t.pod); err != nil || len(p.Slots) == 1 && len(res.entries) != len(o.entries) {
		if err != nil {
			return nil, err
		}
		if chunk, err := r.listOf(t); err != nil || chunk { // whose list says how many there are
			return o, err
		}
	}
	return &res, nil
}
