package podder

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// mergeNames merges variables: bound, bound anew or deleted by one side, or by both. A
// variable that both bound anew is one, with the contents merged.
func (r *mergeRun) mergeNames() error {
	names := slices.Compact(slices.Sorted(slices.Values(r.in.Names)))
	for i, n := range names {
		if i%1024 == 1023 {
			if err := r.ctx.Err(); err != nil {
				return err
			}
		}
		var roots [mergeSides]pod.ID
		for side := range mergeSides {
			id, err := r.v[side].src.Root(r.ctx, n)
			if err != nil && !isNotFound(err) {
				return err
			}
			if err == nil {
				roots[side] = id
			}
		}
		if err := r.mergeName(n, roots[baseSide], roots[oursSide], roots[theirsSide]); err != nil {
			return err
		}
	}
	return nil
}

func (r *mergeRun) mergeName(name string, b, o, d pod.ID) error {
	forced := r.forced[mergePlace{name: name}.key()]
	switch {
	case b != o && b != d && o != 0 && d != 0 && o != d:
		return r.boundTwice(name, b, o, d)
	case o == d:
		return nil
	case b == d && !forced:
		return nil
	case b == o && !forced:
		return r.bind(name, d)
	}
	var shown [mergeSides]MergeValue
	for side, id := range []pod.ID{b, o, d} {
		if id == 0 {
			continue
		}
		s, err := r.v[side].mergeSlotAt(mergeSide(side), target{pod: id})
		if err != nil {
			return err
		}
		shown[side] = r.slotShown(s)
	}
	c := r.conflict(mergePlace{name: name}, shown[0], shown[1], shown[2], forced)
	if c.Choice == ChooseTheirs {
		return r.bind(name, d)
	}
	return nil
}

// bind takes the binding of theirs.
func (r *mergeRun) bind(name string, root pod.ID) error {
	if root == 0 {
		r.names[name] = 0
		return nil
	}
	to, err := r.where(target{pod: root})
	if err == nil {
		err = r.mark(to)
	}
	r.names[name] = to.pod
	return err
}

// boundTwice merges the contents of two new variables of one name into that of ours.
func (r *mergeRun) boundTwice(name string, b, o, d pod.ID) error {
	at, other := target{pod: o}, target{pod: d}
	if u, ok := r.unified[other]; !ok || u != at {
		r.noteUnified(other, at)
		r.grown = true
	}
	var s [mergeSides]*mergeSlot
	for side, id := range []pod.ID{b, o, d} {
		if id == 0 {
			continue
		}
		var err error
		if s[side], err = r.v[side].mergeSlotAt(mergeSide(side), target{pod: id}); err != nil {
			return err
		}
	}
	var before *mergeTree
	if s[baseSide] != nil && s[baseSide].value != nil && s[baseSide].typ == s[oursSide].typ && s[oursSide].typ == s[theirsSide].typ {
		before = s[baseSide].value
	}
	x, y := s[oursSide], s[theirsSide]
	if x.value == nil || y.value == nil {
		return r.v[oursSide].corrupt(at, "variable %q is no box", name)
	}
	v, err := r.value(mergePlace{slot: at}, before, x.value, y.value, x.value, &diffPath{})
	if err != nil || v == x.value {
		return err
	}
	res := *x
	if res.value = v; v.n == y.n {
		res.typ, res.n = y.typ, y.n
	}
	p, err := r.pod(o)
	if err == nil {
		p.results[0] = &res
	}
	return err
}
