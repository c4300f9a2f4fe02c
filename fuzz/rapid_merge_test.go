package fuzz

import (
	"errors"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/poddb/poddb/db"
)

// merge merges one branch into another, as a rule after changes of both. The model says
// which versions it begins at, whether there are conflicts, and what must result, however
// they are resolved; conflicts that nobody resolves, and dry runs, leave everything as it was.
func (p *programme) merge(t *rapid.T) {
	into := rapid.SampledFrom(slices.Sorted(maps.Keys(p.lines))).Draw(t, "into")
	from := rapid.SampledFrom(slices.Sorted(maps.Keys(p.lines))).Draw(t, "from")
	if len(p.lines) == 1 && p.lines[into].head() > 0 { // so that rapid finds one soon
		from = "b1"
		must(t, p.d.Branch(p.ctx, from, p.lines[into].head()))
		p.lines[from] = &lineState{base: p.lines[into].head()}
	}
	for _, branch := range []string{into, from} {
		switch rapid.IntRange(0, 6).Draw(t, "before") {
		case 1:
			p.putOn(t, branch)
		case 2:
			p.deleteOn(t, branch)
		case 3, 4, 5, 6:
			p.changeOn(t, branch)
		}
	}
	o := db.MergeOptions{Into: into, From: from, DryRun: rapid.IntRange(0, 3).Draw(t, "dry") == 0}
	chosen := rapid.SampledFrom([]db.MergeChoice{db.ChooseOurs, db.ChooseTheirs, db.ChooseNothing}).Draw(t, "choice")
	if chosen != db.ChooseNothing {
		o.Resolve = func(c *db.MergeConflict) error { c.Take(chosen); return nil }
	}
	ours, theirs := p.lines[into].head(), p.lines[from].head()
	base, several := p.commonAncestor(ours, theirs)
	rep, err := p.d.Merge(p.ctx, o)
	switch {
	case base == 0:
		if !errors.Is(err, db.ErrUnrelated) {
			t.Fatalf("merging %d into %d, which have nothing in common: %v", theirs, ours, err)
		}
		return
	case base == theirs:
		must(t, err)
		if !rep.UpToDate || rep.Version != ours {
			t.Fatalf("merging %d into %d, which has it: %+v", theirs, ours, rep)
		}
		return
	}
	want := p.threeWay(base, ours, theirs, chosen)
	if several {
		want.unsure = "several newest common versions"
	}
	if want.twice && len(rep.Conflicts) > 0 {
		want.unsure = "a variable was bound twice"
	}
	if more := len(rep.Conflicts) > 0; !several && want.untold == "" && more != (len(want.conflicts) > 0) && !(more && want.twice) {
		t.Fatalf("merging %d into %d, which have %d in common: conflicts %v, expected at %v\nbase %v\nours %v\ntheirs %v", theirs, ours, base, rep.Conflicts, want.places(), p.states[base], p.states[ours], p.states[theirs])
	}
	var open *db.MergeConflictError
	switch {
	case errors.As(err, &open) && chosen == db.ChooseNothing && len(open.Conflicts) > 0 && !o.DryRun:
		return // check sees that nothing has changed
	case err != nil:
		t.Fatalf("merging %d into %d, which have %d in common, with %v for conflicts: %v", theirs, ours, base, chosen, err)
	case rep.Base != base || rep.Ours != ours || rep.Theirs != theirs || rep.FastForward != (base == ours):
		t.Fatalf("merging %d into %d, which have %d in common: %+v", theirs, ours, base, rep)
	case o.DryRun:
		return
	case rep.Version <= ours:
		t.Fatalf("merging %d into %d made no commit: %+v", theirs, ours, rep)
	}
	result := want.result
	if want.unsure != "" || want.untold != "" {
		result = p.adopted(t, rep.Version, ours, theirs, want.result)
	}
	if p.over {
		return
	}
	p.appended(into, rep.Version, result.reachable())
	p.parents[rep.Version] = append(p.parents[rep.Version], theirs)
	p.twice[rep.Version] = want.boundTwice()
	p.taken[rep.Version] = map[string]db.Version{p.lineOf(theirs): theirs}
}

// lineOf is the branch that a version was committed to.
func (p *programme) lineOf(v db.Version) string {
	for branch, l := range p.lines {
		if slices.Contains(l.versions, v) {
			return branch
		}
	}
	return ""
}

// handOn gives what pruned merges took over to the next version that is kept.
func (p *programme) handOn() {
	for _, l := range p.lines {
		carried := map[string]db.Version{}
		for _, v := range l.versions {
			for branch, taken := range p.taken[v] {
				carried[branch] = max(carried[branch], taken)
			}
			delete(p.taken, v)
			if !p.gone[v] && len(carried) > 0 {
				p.taken[v], carried = carried, map[string]db.Version{}
			}
		}
	}
}

// ancestors are the versions that one rests on, and itself.
func (p *programme) ancestors(v db.Version) map[db.Version]bool {
	all := map[db.Version]bool{v: true}
	for todo := []db.Version{v}; len(todo) > 0; {
		v, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, parent := range p.parents[v] {
			if !all[parent] {
				all[parent] = true
				todo = append(todo, parent)
			}
		}
	}
	return all
}

// commonAncestor is the newest one of two versions, and whether there are others that it
// does not rest on.
func (p *programme) commonAncestor(a, b db.Version) (base db.Version, several bool) {
	ofA, ofB := p.ancestors(a), p.ancestors(b)
	for v := range ofA {
		if ofB[v] {
			base = max(base, v)
		}
	}
	under := p.ancestors(base)
	for v := range ofA {
		several = several || ofB[v] && !under[v]
	}
	return base, several
}

// adopted is what the database shows of a merge whose result the model cannot know:
// but for that it is made of what the two versions, and those before them, had.
func (p *programme) adopted(t *rapid.T, v, ours, theirs db.Version, guess versionState) versionState {
	s, err := p.d.At(p.ctx, v)
	must(t, err)
	defer s.Close()
	got, err := p.read(s)
	if errors.Is(err, errTwo) { // what was brought back is another object to the next merge
		p.over = true
		return guess
	}
	must(t, err)
	objects, values := map[int]int{}, map[int]bool{}
	for _, side := range []db.Version{ours, theirs} {
		for v := range p.ancestors(side) {
			for _, d := range p.states[v].docs {
				objects[d.n] = d.object
			}
			for _, n := range p.states[v].cells {
				values[n] = true
			}
		}
	}
	for name, d := range got.docs {
		if d.object = objects[d.n]; d.object == 0 {
			t.Fatalf("merging %d into %d made %s of %d, which neither ever had", theirs, ours, name, d.n)
		}
		for _, like := range []versionState{p.states[theirs], p.states[ours], guess} {
			if l := like.docs[name]; l.object == d.object && slices.Equal(l.cells, d.cells) {
				d.hidden = l.hidden // that is not seen
			}
		}
		got.docs[name] = d
	}
	for id, v := range got.cells {
		if !values[v] {
			t.Fatalf("merging %d into %d made cell %d of %d, which neither ever had", theirs, ours, id, v)
		}
	}
	return got
}
