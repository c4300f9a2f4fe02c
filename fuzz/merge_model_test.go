package fuzz

import (
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/db"
)

// The model of a merge: three states, place by place. A place is what a name is bound to, the
// number of a document, its list of cells, or the value of a cell. What one side changed
// counts, what both changed is a conflict unless they made the same of it. What a side
// changed and the result does not reach was cut off by the other one: that is a conflict at the
// place where it was.

// mergeResult is what the model says of a merge.
type mergeResult struct {
	b, o, t   mergedState
	chosen    db.MergeChoice
	conflicts map[string]bool // places
	forced    map[string]bool // those at which something was cut off
	result    versionState
	// twice says that a merge on the way from base put together variables that both sides had bound anew: its
	// object is that of the side merged into, with the contents of the other one perhaps, and to the next merge it is not the
	// other one's.
	twice bool
	// untold says why the model does not know whether there are conflicts, unsure why it
	// does not know what results if there are.
	untold, unsure string
}

func (r *mergeResult) places() []string { return slices.Sorted(maps.Keys(r.conflicts)) }

// mergedState is a state by objects.
type mergedState struct {
	names map[string]int // objects, by name
	docs  map[int]docState
	cells map[int]int
}

// hides reports whether a document has a cell where its slice does not show it.
func (s mergedState) hides(id int) bool {
	for _, d := range s.docs {
		if slices.Contains(d.hidden, id) {
			return true
		}
	}
	return false
}

// boundTwice reports whether both sides bound a variable anew, to different objects.
func (r *mergeResult) boundTwice() bool {
	for name, o := range r.o.names {
		if b, t := r.b.names[name], r.t.names[name]; t != 0 && o != t && b != o && b != t {
			return true
		}
	}
	return false
}

func byObject(s versionState) mergedState {
	m := mergedState{names: map[string]int{}, docs: map[int]docState{}, cells: s.cells}
	for name, d := range s.docs {
		m.names[name], m.docs[d.object] = d.object, d
	}
	return m
}

// contents are those of all objects of a state: cells by id, documents by what is less than
// nothing.
func contents(s versionState) map[int]string {
	all := map[int]string{}
	for id, v := range s.cells {
		all[id] = fmt.Sprint(v)
	}
	for _, d := range s.docs {
		all[-d.object] = fmt.Sprint(d.n, d.cells)
	}
	return all
}

// threeWay says what merging theirs into ours must give.
func (p *programme) threeWay(base, ours, theirs db.Version, chosen db.MergeChoice) *mergeResult {
	r := &mergeResult{
		b: byObject(p.states[base]), o: byObject(p.states[ours]), t: byObject(p.states[theirs]), chosen: chosen,
		conflicts: map[string]bool{}, forced: map[string]bool{},
	}
	for more := true; more; {
		r.merge()
		more = r.cut(db.ChooseOurs, r.o)
		more = r.cut(db.ChooseTheirs, r.t) || more
	}
	under := p.ancestors(base)
	for _, head := range []db.Version{ours, theirs} {
		for v := range p.ancestors(head) {
			r.twice = r.twice || !under[v] && p.twice[v]
		}
		if why := p.untold(base, head, under); why != "" {
			r.untold = why
		}
	}
	for x := range contents(p.states[ours]) {
		_, both := contents(p.states[theirs])[x]
		if _, old := contents(p.states[base])[x]; both && !old {
			r.untold = "an object came to both"
		}
	}
	return r
}

// untold says what of the way from base to a side no state tells: what an object was that was
// out of reach meanwhile.
func (p *programme) untold(base, head db.Version, under map[db.Version]bool) string {
	was, is := contents(p.states[base]), contents(p.states[head])
	for x := range is {
		for v := range under {
			if _, old := contents(p.states[v])[x]; old && was[x] == "" {
				return "an object came back that base has not"
			}
		}
	}
	for v := range p.ancestors(head) {
		if !p.ancestors(v)[base] {
			continue
		}
		if v != base && p.reverts[v] {
			return "something was brought back" // that was out of use, if no object then its parts
		}
		then := contents(p.states[v])
		for x := range was {
			_, left := is[x]
			if _, there := then[x]; left && !there {
				return "an object was out of reach"
			}
		}
	}
	return ""
}

// decide is the merge of one place.
func decide[T any](r *mergeResult, place string, b, o, t T, same func(a, b T) bool) T {
	switch {
	case r.forced[place] || !same(o, t) && !same(b, o) && !same(b, t):
		r.conflicts[place] = true
		if r.chosen == db.ChooseTheirs {
			return t
		}
		return o
	case same(b, o):
		return t
	}
	return o
}

func sameList(a, b docState) bool {
	return slices.Equal(a.cells, b.cells) && slices.Equal(a.hidden, b.hidden)
}

func equal[T comparable](a, b T) bool { return a == b }

// merge computes the result as far as the cuts are known.
func (r *mergeResult) merge() {
	r.result = versionState{docs: map[string]docState{}, cells: map[int]int{}}
	names := map[string]bool{}
	for _, s := range []mergedState{r.b, r.o, r.t} {
		for name := range s.names {
			names[name] = true
		}
	}
	for name := range names {
		object := decide(r, "name "+name, r.b.names[name], r.o.names[name], r.t.names[name], equal[int])
		if object == 0 {
			continue
		}
		doc := r.doc(object)
		r.result.docs[name] = doc
		for _, id := range doc.cells {
			r.result.cells[id] = r.cell(id)
		}
	}
	for object := range r.o.docs { // both may have changed what neither is in the result
		if _, both := r.t.docs[object]; both {
			r.doc(object)
		}
	}
	for id := range r.o.cells {
		if _, both := r.t.cells[id]; both {
			r.cell(id)
		}
	}
}

func (r *mergeResult) doc(object int) docState {
	b, o, t, side := sides(object, r.b.docs, r.o.docs, r.t.docs)
	if side != nil {
		return *side
	}
	d := decide(r, fmt.Sprint("list ", object), b, o, t, sameList)
	d.n = decide(r, fmt.Sprint("number ", object), b.n, o.n, t.n, equal[int])
	return d
}

func (r *mergeResult) cell(id int) int {
	b, o, t, side := sides(id, r.b.cells, r.o.cells, r.t.cells)
	if side != nil {
		if r.o.hides(id) || r.t.hides(id) {
			r.unsure = "a cell that is not seen may have changed"
		}
		return *side
	}
	return decide(r, fmt.Sprint("cell ", id), b, o, t, equal[int])
}

// sides are the states of an object; side is the only one that has it.
func sides[T any](id int, inBase, inOurs, inTheirs map[int]T) (b, o, t T, side *T) {
	o, ours := inOurs[id]
	t, theirs := inTheirs[id]
	switch {
	case !ours:
		side = &t
	case !theirs:
		side = &o
	}
	return inBase[id], o, t, side
}

// cut looks for what a side changed and the result has not; true if that is a new conflict.
func (r *mergeResult) cut(side db.MergeChoice, s mergedState) bool {
	more := false
	has := byObject(r.result)
	reached := map[int]bool{}
	for _, d := range has.docs {
		for _, id := range slices.Concat(d.cells, d.hidden) {
			reached[id] = true
		}
	}
	force := func(places map[string]bool) {
		if len(places) > 1 && r.chosen == side {
			r.unsure = "one of several ways is mended"
		}
		for place := range places {
			if !r.conflicts[place] {
				r.conflicts[place], r.forced[place], more = true, true, true
			}
		}
	}
	for name, object := range s.names {
		d, was := s.docs[object], r.b.docs[object]
		if _, there := has.docs[object]; !there && was.object == object && (d.n != was.n || !slices.Equal(d.cells, was.cells)) {
			force(map[string]bool{"name " + name: true})
		}
	}
	for id, v := range s.cells {
		if was, old := r.b.cells[id]; reached[id] || !old || was == v {
			continue
		}
		places := map[string]bool{}
		for name, object := range s.names {
			if !slices.Contains(s.docs[object].cells, id) {
				continue
			}
			if _, there := has.docs[object]; there {
				places[fmt.Sprint("list ", object)] = true
			} else {
				places["name "+name] = true
			}
		}
		force(places)
	}
	return more
}
