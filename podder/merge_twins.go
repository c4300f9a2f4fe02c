package podder

import "github.com/poddb/poddb/internal/pod"

// Twins. Where both sides made equal objects, a merge takes them for one, and the branch merged into keeps its own. To
// the next merge base has the other branch's object, and the branch merged into has another one in its stead, of equal
// contents until it changes it: its twin. If the other branch has changed its own meanwhile, the twin gets that: it is the
// object. If both have changed theirs they are two objects, and what refers to either is a conflict (merge_lost.go).
//
// Nothing is stored for that: what refers to an object in base, and to an equal one with all that hangs on it in a side
// that has the first one no more, means the same.

// twin is the object that a side has in the place of one of base.
type twin struct {
	side mergeSide
	at   target
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
		for t, s := range ways {
			if _, known := r.twins[t]; known {
				continue
			}
			if err := r.twinsOn(side, s); err != nil {
				return err
			}
		}
	}
	return nil
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
			return r.noteTwins(u, other, u.pair(p[u.a], p[u.b]), nil)
		}
		if there, err := r.same(other, at.slot); err != nil || !there {
			return err
		}
		if same, err := r.sameAt(baseSide, other, at); err != nil {
			return err
		} else if same {
			continue
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
		return r.noteTwins(u, other, same, err)
	}
	return nil
}

// noteTwins notes those that were found.
func (r *mergeRun) noteTwins(u *unifier, other mergeSide, same bool, err error) error {
	if same, err = u.all(same, err); err != nil || !same {
		return err
	}
	side := oursSide + theirsSide - other
	for y, x := range u.to {
		old, now := y, x
		if other == theirsSide {
			old, now = x, y
		}
		if there, err := r.same(side, old); err != nil {
			return err
		} else if !there {
			continue
		}
		r.twins[old] = twin{other, now}
		r.unified[y] = x
	}
	return nil
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
