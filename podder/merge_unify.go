package podder

import (
	"bytes"

	"github.com/poddb/poddb/internal/pod"
)

// unify reports whether two references lead to objects that each side made, of equal
// contents, and all that hangs on them too. Then they are one object from now on.
func (r *mergeRun) unify(o, d *mergeTree) (bool, error) {
	if o == nil || d == nil {
		return false, nil
	}
	u := &unifier{mergeRun: r, a: oursSide, b: theirsSide, to: map[target]target{}, from: map[target]target{}}
	same, err := u.values(o, d)
	if same, err = u.all(same, err); err != nil || !same {
		return false, err
	}
	if len(u.to) > 0 {
		r.grown = true
		for y, x := range u.to {
			r.noteUnified(y, x)
		}
	}
	return true, nil
}

// noteUnified notes that what theirs has at y is what ours has at x.
func (m *merger) noteUnified(y, x target) { m.unified[y], m.unifiedBy[x] = x, y }

// all goes on with what hangs on what was compared.
func (u *unifier) all(same bool, err error) (bool, error) {
	for same && err == nil && len(u.queue) > 0 {
		if err = u.ctx.Err(); err != nil {
			break
		}
		p := u.queue[0]
		u.queue = u.queue[1:]
		same, err = u.objects(p[0], p[1])
	}
	return same && err == nil, err
}

type unifier struct {
	*mergeRun
	a, b     mergeSide         // ours and theirs, or one of them and base
	to, from map[target]target // by place in b, in a
	queue    [][2]target
}

// values compares trees like equal, with new objects paired.
func (u *unifier) values(o, d *mergeTree) (bool, error) {
	if o.n.kind != d.n.kind || o.n.text != d.n.text || len(o.kids) != len(d.kids) || o.isRef != d.isRef ||
		(o.typ == 0) != (d.typ == 0) || !bytes.Equal(o.data, d.data) || o.vals != d.vals || o.fresh != nil || d.fresh != nil {
		return false, nil
	}
	if o.leads() && d.leads() && o.n.kind != nodeBasic {
		return u.references(o, d)
	}
	if o.isRef || len(o.kids) == 0 {
		return u.equal(o, d)
	}
	for i := range o.kids {
		if same, err := u.values(o.kids[i], d.kids[i]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (u *unifier) references(o, d *mergeTree) (bool, error) {
	if !bytes.Equal(o.head, d.head) || o.ref.index != d.ref.index || len(o.ref.steps) != len(d.ref.steps) {
		return false, nil
	}
	if same, err := u.sameReference(o, d); err != nil || same {
		return same, err
	}
	for i, s := range o.ref.steps {
		if d.ref.steps[i] != s {
			return false, nil
		}
	}
	x, y := o.ref.to, d.ref.to
	newO, err := u.isNew(u.a, x)
	if err != nil || !newO && u.a != baseSide {
		return false, err
	}
	newD, err := u.isNew(u.b, y)
	if err != nil || !newD && u.b != baseSide {
		return false, err
	}
	return u.pair(x, y), nil
}

// pair notes that two objects are to be compared; false if one of them is paired with another one.
func (u *unifier) pair(x, y target) bool {
	if known, ok := u.unified[y]; ok {
		return known == x
	}
	if _, ok := u.unifiedBy[x]; ok {
		return false // two objects of one side are not one of the other
	}
	a, okA := u.to[y]
	b, okB := u.from[x]
	if okA || okB {
		return okA && okB && a == x && b == y
	}
	u.to[y], u.from[x] = x, y
	u.queue = append(u.queue, [2]target{x, y})
	return true
}

// objects compares two objects.
func (u *unifier) objects(x, y target) (bool, error) {
	o, err := u.v[u.a].mergeSlotAt(u.a, x)
	if err != nil {
		return false, err
	}
	d, err := u.v[u.b].mergeSlotAt(u.b, y)
	if err != nil {
		return false, err
	}
	if storedKind(&o.data) != storedKind(&d.data) || o.typ != d.typ {
		return false, nil
	}
	for _, s := range []*mergeSlot{o, d} {
		if err := u.v[s.side].loadChunks(s); err != nil {
			return false, err
		}
	}
	switch {
	case len(o.elems) != len(d.elems) || len(o.entries) != len(d.entries) || !bytes.Equal(o.raw, d.raw) || o.kind == pod.SlotForward || d.kind == pod.SlotForward:
		return false, nil
	case o.value != nil && d.value != nil:
		return u.values(o.value, d.value)
	}
	for i := range o.elems {
		if same, err := u.values(o.elems[i], d.elems[i]); err != nil || !same {
			return false, err
		}
	}
	return u.entriesAlike(o, d)
}

func (u *unifier) entriesAlike(o, d *mergeSlot) (bool, error) {
	by := map[string]*mergeTree{}
	for _, e := range d.entries {
		k, err := u.keyText(e.key)
		if err != nil {
			return false, err
		}
		by[k] = e.val
	}
	for _, e := range o.entries {
		k, err := u.keyText(e.key)
		if err != nil {
			return false, err
		}
		val := by[k]
		if val == nil {
			return false, nil
		}
		if same, err := u.values(e.val, val); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// loadChunks reads the parts of a container into the slot.
func (v *viewer) loadChunks(s *mergeSlot) error {
	if s.list == nil {
		return nil
	}
	for i := range s.list.chunks {
		part, err := v.mergeChunk(s, i)
		if err != nil {
			return err
		}
		s.elems = append(s.elems, part.elems...)
		s.entries = append(s.entries, part.entries...)
		s.raw = append(s.raw, part.raw...)
	}
	return nil
}

// mergeChunk reads one chunk of a container.
func (v *viewer) mergeChunk(s *mergeSlot, i int) (*mergeSlot, error) {
	c := &s.list.chunks[i]
	if _, _, err := v.chunkAt(s.list.kind, s.typ, c); err != nil {
		return nil, err
	}
	part, err := v.mergeSlotAt(s.side, target{pod: c.id})
	if err == nil && uint64(len(part.elems)+len(part.entries)+len(part.raw)) != c.units {
		err = v.corrupt(target{pod: c.id}, "chunk of %d units, the list says %d", len(part.elems)+len(part.entries)+len(part.raw), c.units)
	}
	return part, err
}
