package podder

import (
	"reflect"
	"slices"
)

// A save without a walk looks at new and changed regions alone, but a variable may
// begin to lead to a region that did not change, with a value of a type behind an
// interface that this variable does not know (needs.go). So the state has the types
// that variables have to know, by which new variables are judged, and for variables
// that lack some of them the regions to which these must not lead. When a region
// begins to refer to one that was known before, or is among these regions now, the
// references are followed from the variables that lack something.

// lack are variables that do not know some types, and regions with values of those.
type lack struct {
	boxes   []int32
	regions regionSet
}

// maxLacks bounds the sets of variables that are told apart.
const maxLacks = 8

// ask notes that variables have to know a type.
func (st *state) ask(t reflect.Type) {
	if st.asked == nil {
		st.asked = typeSet{}
	}
	st.asked[t] = struct{}{}
}

// noteLacks takes over what needs has found. It reports false if that is too much.
func (w *walk) noteLacks() bool {
	st := w.st
	for k := range w.needs.list {
		n := &w.needs.list[k]
		if len(n.regions) == 0 {
			continue
		}
		boxes := make([]int32, len(n.lacking))
		for j, root := range n.lacking {
			boxes[j] = w.cells[root].region
		}
		at := slices.IndexFunc(st.lacks, func(l lack) bool { return slices.Equal(l.boxes, boxes) })
		if at < 0 {
			if at = len(st.lacks); at == maxLacks {
				st.walkAlways = true // many variables of many types
				return false
			}
			st.lacks = append(st.lacks, lack{boxes: boxes})
		}
		l := &st.lacks[at]
		for _, i := range n.regions {
			l.regions = l.regions.with(st.resolve(i))
		}
	}
	return true
}

// allKnow reports whether no variable leads to a value of a type that it does not know.
func (x *resaver) allKnow(w *walk) bool {
	if len(w.needs.list) == 0 && (len(w.st.lacks) == 0 || !x.gains(w)) {
		return true
	}
	if !w.noteLacks() {
		return false
	}
	for _, l := range w.st.lacks {
		if w.st.leadTo(l.boxes, l.regions) {
			return false
		}
	}
	return true
}

// gains reports whether a region refers to a known one to which it did not refer.
func (x *resaver) gains(w *walk) bool {
	for n := range x.dirty.len() {
		d := x.dirty.at(n)
		r := w.st.regions.at(d.region)
		if !d.relinked(r) {
			continue
		}
		had := map[int32]bool{}
		for k := d.edge; k < d.edgeEnd; k++ {
			had[*w.edges.at(int32(k))] = true
		}
		for k := r.edge; k < r.edgeEnd; k++ {
			if to := *w.edges.at(int32(k)); to < x.added && !had[to] {
				return true
			}
		}
	}
	for i := x.added; i < w.st.regions.len(); i++ {
		for k, r := w.st.regions.at(i).edge, w.st.regions.at(i); k < r.edgeEnd; k++ {
			if *w.edges.at(int32(k)) < x.added {
				return true
			}
		}
	}
	return false
}

// leadTo reports whether some regions lead to one of a set.
func (st *state) leadTo(from []int32, to regionSet) bool {
	seen := make(regionSet, st.regions.len()/64+1)
	todo := slices.Clone(from)
	for len(todo) > 0 {
		i := st.resolve(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		if seen.has(i) {
			continue
		}
		if to.has(i) {
			return true
		}
		seen[i/64] |= 1 << (i % 64)
		r := st.regions.at(i)
		for k := r.edge; k < r.edgeEnd; k++ {
			if j := *st.edges.at(int32(k)); !seen.has(j) {
				todo = append(todo, j)
			}
		}
	}
	return false
}
