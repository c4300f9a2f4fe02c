package podder

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Twins. Where both sides made equal objects, a merge takes them for one, and the branch merged into keeps its own. To
// the next merge base has the other branch's object, and the branch merged into has another one in its stead, of equal
// contents until it changes it: its twin. If the other branch has changed its own meanwhile, the twin gets that: it is the
// object. If both have changed theirs they are two objects, and what refers to either is a conflict (merge_lost.go).
//
// Nothing is stored for that: what refers to an object in base, and to an equal one with all that hangs on it in a side
// that has the first one no more, means the same. That tells only as long as one object is meant: of objects that look
// alike nobody knows which is whose, so they have no twins, and what refers to them is a conflict.

// twin is the object that a side has in the place of one of base.
type twin struct {
	side mergeSide
	at   target
}

// sideTarget is a place in a side.
type sideTarget struct {
	side mergeSide
	at   target
}

// sidePlace is a mergePlace in a side.
type sidePlace struct {
	side mergeSide
	key  string
}

// areTwins reports whether references of two versions lead to an object and its twin.
func (m *merger) areTwins(sideA mergeSide, a reference, sideB mergeSide, b reference) bool {
	if len(m.twins) == 0 || sideA == sideB {
		return false
	}
	is := func(old target, side mergeSide, at target) bool {
		t, ok := m.twins[old]
		return ok && t.side == side && t.at == at
	}
	return (is(a.to, sideB, b.to) || is(b.to, sideA, a.to)) && sameSpot(a, reference{to: a.to, index: b.index, steps: b.steps})
}

// findTwins looks for those of objects that one side changed and the other one has no more.
func (r *mergeRun) findTwins() error {
	for _, side := range []mergeSide{oursSide, theirsSide} {
		other := oursSide + theirsSide - side
		want := map[target]bool{}
		for t := range r.edits[side] {
			if r.sought[t] {
				continue
			}
			d, ok, err := r.slotOf(side, t)
			if err != nil {
				return err
			}
			there, err := r.same(other, t)
			if err != nil {
				return err
			}
			if ok && !there && d.Kind != pod.SlotForward {
				want[t], r.sought[t] = true, true
			}
		}
		if len(want) == 0 {
			continue
		}
		ways, err := r.find(baseSide, r.v[baseSide].src, r.in.Names, want)
		if err != nil {
			return err
		}
		for _, t := range slices.SortedFunc(maps.Keys(ways), compareTargets) {
			if _, known := r.twins[t]; known {
				continue
			}
			if err := r.twinsOn(side, ways[t]); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareTargets(a, b target) int {
	return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.slot, b.slot))
}

// twinsOn goes along a way in base to the first reference that leads to something else in the side that has not what is at its end:
// if that is equal, it is twins from there on. side is the one that has them as in base.
func (r *mergeRun) twinsOn(side mergeSide, s *mergeStep) error {
	var way []*mergeStep
	for ; s != nil; s = s.up {
		way = append(way, s)
	}
	other := oursSide + theirsSide - side
	u := &unifier{mergeRun: r, a: other, b: baseSide, to: map[target]target{}, from: map[target]target{}}
	if other == theirsSide {
		u.a, u.b = baseSide, other
	}
	for i := len(way) - 1; i >= 0; i-- {
		at := way[i].in
		if at.name != "" {
			x, err := r.v[baseSide].src.Root(r.ctx, at.name)
			if err != nil {
				return err
			}
			y, err := r.v[other].src.Root(r.ctx, at.name)
			switch {
			case isNotFound(err):
				return nil
			case err != nil:
				return err
			case x == y:
				continue
			}
			p := [mergeSides]target{}
			p[baseSide], p[other] = target{pod: x}, target{pod: y}
			if r.askedTwins(other, at) {
				return nil
			}
			return r.noteTwins(u, other, at, u.pair(p[u.a], p[u.b]), nil)
		}
		if there, err := r.same(other, at.slot); err != nil || !there {
			return err
		}
		if same, err := r.sameAt(baseSide, other, at); err != nil {
			return err
		} else if same {
			continue
		}
		if r.askedTwins(other, at) {
			return nil
		}
		a, err := r.partOf(u.a, at)
		if err != nil || a == nil {
			return err
		}
		b, err := r.partOf(u.b, at)
		if err != nil || b == nil {
			return err
		}
		same, err := u.values(a, b)
		return r.noteTwins(u, other, at, same, err)
	}
	return nil
}

// askedTwins reports whether twins were looked for at a place, and notes that they were.
func (r *mergeRun) askedTwins(other mergeSide, at mergePlace) bool {
	key := sidePlace{other, at.key()}
	asked := r.asked[key]
	r.asked[key] = true
	return asked
}

// noteTwins notes those that were found at a place, unless some look alike.
func (r *mergeRun) noteTwins(u *unifier, other mergeSide, at mergePlace, same bool, err error) error {
	if same, err = u.all(same, err); err != nil || !same {
		return err
	}
	side := oursSide + theirsSide - other
	found := map[target]target{} // by what is in base
	for y, x := range u.to {
		old, now := y, x
		if other == theirsSide {
			old, now = x, y
		}
		if there, err := r.same(side, old); err != nil {
			return err
		} else if there {
			found[old] = now
		}
	}
	if alike, err := r.lookAlike(other, at, found); err != nil || alike {
		if err == nil && r.force(at) {
			r.grown = true
		}
		return err
	}
	for old, now := range found {
		r.twins[old] = twin{other, now}
		if other == oursSide {
			r.noteUnified(old, now)
		} else {
			r.noteUnified(now, old)
		}
	}
	return nil
}

// lookAlike reports whether two of the objects that were found, or that the object they were found in refers to in base
// and the other side has no more, cannot be told apart by what is in themselves.
func (r *mergeRun) lookAlike(other mergeSide, at mergePlace, found map[target]target) (bool, error) {
	looks := map[string]target{}
	twice := func(t target) (bool, error) {
		look, err := r.look(t)
		if err != nil {
			return false, err
		}
		was, known := looks[look]
		looks[look] = t
		return known && was != t, nil
	}
	for t := range found {
		if alike, err := twice(t); err != nil || alike {
			return alike, err
		}
	}
	if at.name != "" {
		return false, nil
	}
	near, err := r.goneFrom(other, at.slot)
	if err != nil {
		return false, err
	}
	for _, t := range near {
		if alike, err := twice(t); err != nil || alike {
			return alike, err
		}
	}
	return false, nil
}

// look is what an object of base shows of itself: its values, without what its references lead to; of a large container
// how long it is.
func (r *mergeRun) look(t target) (string, error) {
	s, err := r.v[baseSide].mergeSlotAt(baseSide, t)
	if err != nil {
		return "", err
	}
	b := fmt.Appendf(nil, "%d %d %d %d ", s.kind, s.typ, len(s.elems), len(s.entries))
	if s.list != nil {
		return string(fmt.Appendf(b, "%d", s.list.extent)), nil
	}
	b = append(b, s.raw...)
	s.visit(func(x *mergeTree) error {
		switch {
		case x.leads():
			b = append(b, " *"...)
		case len(x.kids) == 0:
			b = append(append(append(b, ' '), x.raw...), x.data...)
		}
		return nil
	})
	return string(b), nil
}

// visit calls fn with all values in a slot, those of structs and the like before their parts; it ends at an error.
func (s *mergeSlot) visit(fn func(*mergeTree) error) error {
	var tree func(x *mergeTree) error
	tree = func(x *mergeTree) error {
		if x == nil {
			return nil
		}
		if err := fn(x); err != nil {
			return err
		}
		for _, kid := range x.kids {
			if err := tree(kid); err != nil {
				return err
			}
		}
		return nil
	}
	trees := append([]*mergeTree{s.value}, s.elems...)
	for _, e := range s.entries {
		trees = append(trees, e.key, e.val)
	}
	for _, x := range trees {
		if err := tree(x); err != nil {
			return err
		}
	}
	return nil
}

// goneFrom lists what an object of base refers to that a side has no more.
func (r *mergeRun) goneFrom(side mergeSide, t target) ([]target, error) {
	key := sideTarget{side, t}
	if list, known := r.gone[key]; known {
		return list, nil
	}
	s, err := r.v[baseSide].mergeSlotAt(baseSide, t)
	if err != nil {
		return nil, err
	}
	whole := *s // its chunks are read into a copy
	if err := r.v[baseSide].loadChunks(&whole); err != nil {
		return nil, err
	}
	var list []target
	err = whole.visit(func(x *mergeTree) error {
		if !x.leads() {
			return nil
		}
		there, err := r.same(side, x.ref.to)
		if err == nil && !there {
			list = append(list, x.ref.to)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r.gone[key] = list
	return list, nil
}

// takeTwins has twins in ours get what theirs did to the objects.
func (r *mergeRun) takeTwins() error {
	for old, t := range r.twins {
		if t.side != oursSide {
			continue
		}
		changed, err := r.contentChanged(theirsSide, old)
		if err != nil {
			return err
		}
		if !changed {
			continue
		}
		s, err := r.v[theirsSide].mergeSlotAt(theirsSide, old)
		if err != nil {
			return err
		}
		p, err := r.pod(t.at.pod)
		if err != nil {
			return err
		}
		p.results[t.at.slot] = s
	}
	return nil
}
