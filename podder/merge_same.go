package podder

import (
	"bytes"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Which objects of the three versions are the same, and which of them changed.

// podOf returns a pod of a version, nil if it has none of that id.
func (m *merger) podOf(side mergeSide, id pod.ID) (*pod.Pod, error) {
	p, err := m.v[side].fetch(id)
	if isNotFound(err) {
		return nil, nil
	}
	return p, err
}

// slotOf returns a slot of a version; false if it is not in use.
func (m *merger) slotOf(side mergeSide, t target) (*pod.Data, bool, error) {
	p, err := m.podOf(side, t.pod)
	if err != nil || p == nil || int(t.slot) >= len(p.Slots) || p.Slots[t.slot].Kind == pod.SlotFree {
		return nil, false, err
	}
	return &p.Slots[t.slot], true, nil
}

// same reports whether the object of base at a place is still there in a version: then the generation of
// its slot is the same. What programs that did not know generations wrote has none: so the way between is
// looked at too (Freed). Where retention has removed that, the generation alone tells, with kind and type.
func (m *merger) same(side mergeSide, t target) (bool, error) {
	base, ok, err := m.slotOf(baseSide, t)
	if err != nil || !ok {
		return false, err
	}
	now, ok, err := m.slotOf(side, t)
	if err != nil || !ok || !m.changed[side][t.pod] {
		return ok, err
	}
	p, err := m.podOf(baseSide, t.pod)
	if err != nil {
		return false, err
	}
	q, err := m.podOf(side, t.pod)
	if err != nil || p.Generation(t.slot) != q.Generation(t.slot) {
		return false, err
	}
	if now.Away() || now.Kind == pod.SlotForward && p.Exported(t.slot) {
		return true, nil // moved, and the place still means it
	}
	if _, read := m.placed[sideTarget{side, t}]; read {
		return true, nil // it is at that place in all versions since the merge began
	}
	at, err := m.aligned.placesIn(t.pod)
	if err != nil || at.slotIn(baseSide, t.slot) != at.slotIn(side, t.slot) {
		return err == nil, err // moved by a merge: nothing is said of the way between
	}
	freed, err := m.freedIn(side, t.pod)
	if err != nil || !freed(t.slot) {
		return err == nil, err
	}
	if err != nil || !unknownSince(freed, p, q) {
		return false, err
	}
	return storedKind(base) == storedKind(now) && base.Type == now.Type, nil
}

// unknownSince reports whether freed knows nothing: then it says of all slots that they were out of use.
func unknownSince(freed func(pod.Slot) bool, before, now *pod.Pod) bool {
	for s := range min(len(before.Slots), len(now.Slots)) {
		if before.Slots[s].Kind != pod.SlotFree && now.Slots[s].Kind != pod.SlotFree && !freed(pod.Slot(s)) {
			return false
		}
	}
	return true
}

func (m *merger) freedIn(side mergeSide, id pod.ID) (func(pod.Slot) bool, error) {
	if f := m.freed[side][id]; f != nil {
		return f, nil
	}
	ask := m.in.FreedByOurs
	if side == theirsSide {
		ask = m.in.FreedByTheirs
	}
	at, err := m.aligned.placesIn(id)
	if err != nil {
		return nil, err
	}
	bySlot, err := ask(m.ctx, id)
	if err != nil {
		return nil, err
	}
	f := func(place pod.Slot) bool { return bySlot(at.slotIn(baseSide, place)) }
	m.freed[side][id] = f
	return f, nil
}

// isNew reports whether what a version has at a place is not what is there in base. In
// a pod that base has not, and both sides have, it is new to both if they differ in generation or kind.
func (m *merger) isNew(side mergeSide, t target) (bool, error) {
	if side == baseSide || !m.changed[side][t.pod] {
		return false, nil
	}
	base, err := m.podOf(baseSide, t.pod)
	if err != nil {
		return false, err
	}
	if base != nil {
		same, err := m.same(side, t)
		return !same, err
	}
	o, okO, err := m.slotOf(oursSide, t)
	if err != nil || !okO {
		return side == theirsSide, err
	}
	d, okT, err := m.slotOf(theirsSide, t)
	if err != nil || !okT {
		return side == oursSide, err
	}
	p, err := m.podOf(oursSide, t.pod)
	if err != nil {
		return false, err
	}
	q, err := m.podOf(theirsSide, t.pod)
	if err != nil {
		return false, err
	}
	return storedKind(o) != storedKind(d) || o.Type != d.Type || p.Generation(t.slot) != q.Generation(t.slot), nil
}

// slotChanged reports whether an object that base and a version have differs in its own bytes.
func (m *merger) slotChanged(side mergeSide, t target) (bool, error) {
	if !m.changed[side][t.pod] || m.idle[side][t] {
		return false, nil
	}
	before, ok, err := m.slotOf(baseSide, t)
	if err != nil || !ok {
		return err == nil, err
	}
	now, ok, err := m.slotOf(side, t)
	if err != nil || !ok {
		return err == nil, err
	}
	other, err := m.otherNumbers(side, t.pod)
	if err != nil {
		return false, err
	}
	if differ := !sameData(before, now); differ || other || m.left[t.pod] {
		if !other && !m.left[t.pod] || (differ || other) && (before.Kind == pod.SlotOpaque || now.Kind == pod.SlotOpaque) {
			return true, nil
		}
		if same, err := m.sameContents(side, t); err != nil || !same {
			return err == nil, err
		}
	}
	return m.refersAnew(side, t)
}

// otherNumbers reports whether references that base has in a pod have other numbers in a version: then bytes do not
// tell what is the same.
func (m *merger) otherNumbers(side mergeSide, id pod.ID) (bool, error) {
	if other, known := m.numbered[side][id]; known {
		return other, nil
	}
	p, err := m.podOf(baseSide, id)
	if err != nil {
		return false, err
	}
	q, err := m.podOf(side, id)
	if err != nil {
		return false, err
	}
	other := renumbered(p, q)
	for i, ref := range p.Refs {
		if other {
			break
		}
		other = ref.Pod != 0 && (i >= len(q.Refs) || q.Refs[i] != ref) && slices.Contains(q.Refs, ref)
	}
	m.numbered[side][id] = other
	return other, nil
}

// sameContents compares an object of base with what it is in a version, by what its references lead to.
func (m *merger) sameContents(side mergeSide, t target) (bool, error) {
	a, err := m.v[baseSide].mergeSlotAt(baseSide, t)
	if err != nil {
		return false, err
	}
	b, err := m.v[side].mergeSlotAt(side, t)
	if err != nil || a.kind != b.kind || a.typ != b.typ || a.list != nil {
		return false, err
	}
	if a.kind == pod.SlotForward {
		return m.sameReference(&mergeTree{side: baseSide, ref: a.forward}, &mergeTree{side: side, ref: b.forward})
	}
	if a.extent != b.extent || a.perRun != b.perRun || len(a.elems) != len(b.elems) || len(a.entries) != len(b.entries) || !bytes.Equal(a.raw, b.raw) {
		return false, nil
	}
	if same, err := m.equal(a.value, b.value); err != nil || !same {
		return false, err
	}
	for i := range a.elems {
		if same, err := m.equal(a.elems[i], b.elems[i]); err != nil || !same {
			return false, err
		}
	}
	for i := range a.entries {
		x, y := a.entries[i], b.entries[i]
		if same, err := m.equal(x.key, y.key); err != nil || !same {
			return false, err
		}
		if same, err := m.equal(x.val, y.val); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// refersAnew reports whether an object that both have refers to a place that was given to
// another object since base: then its bytes may be what they were, and mean something else.
func (m *merger) refersAnew(side mergeSide, t target) (bool, error) {
	if any, err := m.anyGivenAnew(side); err != nil || !any {
		return false, err
	}
	return m.leadsAnew(side, t, map[target]bool{})
}

func (m *merger) leadsAnew(side mergeSide, t target, seen map[target]bool) (bool, error) {
	p, err := m.podOf(side, t.pod)
	if err != nil || p.Slots[t.slot].Kind == pod.SlotChunks { // refers to pods, whose ids are given once
		return false, err
	}
	anew := false
	err = m.v[side].slotRefs(t, p, func(to target) (err error) {
		if !anew && !seen[to] {
			seen[to] = true
			anew, err = m.givenAnew(side, to, seen)
		}
		return err
	})
	return anew, err
}

// givenAnew reports whether a place is in use in base and in a version, for different objects. One that is what it
// was, down to what it refers to, was brought back or might as well have been.
func (m *merger) givenAnew(side mergeSide, t target, seen map[target]bool) (bool, error) {
	if !m.changed[side][t.pod] {
		return false, nil
	}
	before, ok, err := m.slotOf(baseSide, t)
	if err != nil || !ok {
		return false, err
	}
	now, ok, err := m.slotOf(side, t)
	if err != nil || !ok {
		return false, err
	}
	if same, err := m.same(side, t); err != nil || same {
		return false, err
	}
	if !sameData(before, now) {
		return true, nil
	}
	return m.leadsAnew(side, t, seen)
}

// anyGivenAnew reports whether there is any such place, which is rare: so little is decoded.
func (m *merger) anyGivenAnew(side mergeSide) (bool, error) {
	if m.anew[side] != nil {
		return *m.anew[side], nil
	}
	any := false
	for id := range m.changed[side] {
		p, err := m.podOf(baseSide, id)
		if err != nil {
			return false, err
		}
		for s := 0; p != nil && s < len(p.Slots) && !any; s++ {
			if any, err = m.givenAnew(side, target{id, pod.Slot(s)}, map[target]bool{}); err != nil {
				return false, err
			}
		}
	}
	m.anew[side] = &any
	return any, nil
}

// contentChanged is slotChanged that looks into the chunks of a container as well.
func (m *merger) contentChanged(side mergeSide, t target) (bool, error) {
	if m.idle[side][t] {
		return false, nil
	}
	changed, err := m.slotChanged(side, t)
	if err != nil || changed {
		return changed, err
	}
	d, ok, err := m.slotOf(baseSide, t)
	if err != nil || !ok || d.Kind != pod.SlotChunks {
		return false, err
	}
	s, err := m.v[baseSide].mergeSlotAt(baseSide, t)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(s.list.chunks, func(c podChunk) bool { return m.changed[side][c.id] }), nil
}

// follow goes along forwarders of a version.
func (m *merger) follow(side mergeSide, r reference) (reference, error) {
	for range maxForwards {
		d, ok, err := m.slotOf(side, r.to)
		if err != nil || !ok || d.Kind != pod.SlotForward {
			return r, err
		}
		s, err := m.v[side].mergeSlotAt(side, r.to)
		if err != nil {
			return r, err
		}
		to := s.forward
		to.index += r.index
		to.steps = append(slices.Clone(to.steps), r.steps...)
		r = to
	}
	return r, m.v[side].corrupt(r.to, "chain of more than %d forwarders", maxForwards)
}

// sameReference reports whether references of two versions lead to the same object and part.
func (m *merger) sameReference(a, b *mergeTree) (bool, error) {
	if a.ref.null || b.ref.null || a.ref.zeroSize || b.ref.zeroSize {
		return a.ref.null == b.ref.null && a.ref.zeroSize == b.ref.zeroSize, nil
	}
	if same, err := m.samePlace(a.side, a.ref, b.side, b.ref); same || err != nil {
		return same, err
	}
	for _, side := range []mergeSide{a.side, b.side} {
		x, okX, err := m.seenFrom(side, a)
		if err != nil {
			return false, err
		}
		y, okY, err := m.seenFrom(side, b)
		if err != nil {
			return false, err
		}
		if okX && okY && sameSpot(x, y) {
			return true, nil
		}
	}
	return false, nil
}

// samePlace compares without following forwarders.
func (m *merger) samePlace(sideA mergeSide, a reference, sideB mergeSide, b reference) (bool, error) {
	if m.areTwins(sideA, a, sideB, b) {
		return true, nil
	}
	if !sameSpot(a, b) {
		return false, nil
	}
	if sideA == sideB {
		return true, nil
	}
	newA, err := m.isNew(sideA, a.to)
	if err != nil || newA {
		return false, err
	}
	newB, err := m.isNew(sideB, b.to)
	return err == nil && !newB, err
}

func sameSpot(a, b reference) bool {
	return a.to == b.to && a.index == b.index && slices.Equal(a.steps, b.steps)
}

// seenFrom is where a reference of another version leads to in this one.
func (m *merger) seenFrom(side mergeSide, t *mergeTree) (reference, bool, error) {
	if t.side != side {
		for _, s := range []mergeSide{t.side, side} {
			if fresh, err := m.isNew(s, t.ref.to); err != nil || fresh {
				return t.ref, false, err
			}
		}
		if _, ok, err := m.slotOf(side, t.ref.to); err != nil || !ok {
			return t.ref, false, err
		}
	}
	r, err := m.follow(side, t.ref)
	return r, err == nil, err
}

// equal compares two values, with references by what they lead to.
func (m *merger) equal(a, b *mergeTree) (bool, error) {
	if a == nil || b == nil || a == b {
		return a == b, nil
	}
	if a.n.kind != b.n.kind || a.n.text != b.n.text || len(a.kids) != len(b.kids) || (a.typ == 0) != (b.typ == 0) ||
		!bytes.Equal(a.data, b.data) || a.vals != b.vals || (a.fresh == nil) != (b.fresh == nil) {
		return false, nil
	}
	if a.isRef || b.isRef {
		return m.equalReferences(a, b)
	}
	if !bytes.Equal(a.raw, b.raw) {
		return false, nil
	}
	for i := range a.kids {
		if same, err := m.equal(a.kids[i], b.kids[i]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (m *merger) equalReferences(a, b *mergeTree) (bool, error) {
	if a.isRef && b.isRef && bytes.Equal(a.head, b.head) && bytes.Equal(a.tail, b.tail) {
		if same, err := m.sameReference(a, b); err != nil || same {
			return same, err
		}
	}
	if a.n.kind != nodeBasic {
		return false, nil
	}
	x, err := m.textOf(a)
	if err != nil {
		return false, err
	}
	y, err := m.textOf(b)
	return err == nil && x == y, err
}

// textOf is the text of a string.
func (m *merger) textOf(t *mergeTree) (string, error) {
	w := view{n: t.n}
	if !t.isRef {
		w.c.buf = t.raw
		return m.v[t.side].stringAt(&w)
	}
	// As in the bytes, but for the code, which means something in its pod alone.
	in := &pod.Pod{Refs: []pod.Ref{{Pod: t.ref.to.pod, Slot: t.ref.to.slot}}}
	w.in = in
	w.c.buf = append(appendExternal(slices.Clone(t.head), 0, 0), t.tail...)
	return m.v[t.side].stringAt(&w)
}
