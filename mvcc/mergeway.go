package mvcc

import (
	"container/heap"
	"context"

	"github.com/poddb/poddb/internal/pod"
)

// Which objects of the base of a merge are still there in one of its sides. Where the side
// rests on the base by the commits of branches alone, Freed says it. Where the base came to the
// side by a merge, the newest state that both have behind them is older than the base, and
// objects made since are not there. So the way over the merges is looked for.
//
// Of a merge commit it is known what package podder does: places of the version that was merged
// into stay what they are, and what is new in the other one keeps its place if that is free.
// So a slot that was not in use before the merge and is in use after it has the object of the
// version that was merged. One that was in use before has it if that was the same object in both:
// the same question about the base of that merge.

// MergeWay is a way from the base of a merge to one of its sides.
type MergeWay struct {
	base, side *Snapshot
	way        *mergeWay
}

// mergeWay leads from one version to a later one that rests on it.
type mergeWay struct {
	start, end []fork
	steps      []mergeStep // the merges on the way, oldest first
}

// mergeStep is a merge commit: what was merged, into what, and what came of it.
type mergeStep struct {
	taken, into, made []fork
	// toTaken and toInto lead from the base of the merge; nil if nobody knows it any more.
	toTaken, toInto *mergeWay
}

// maxMergeDepth bounds how many merges before a merge are looked at: what was made before
// them all, and is in one branch since, is looked for no longer.
const maxMergeDepth = 64

// MergeWay finds the way with the fewest merges from the base of a merge to a side.
func (s *Store) MergeWay(ctx context.Context, base, side *Snapshot) (*MergeWay, error) {
	w := &MergeWay{base: base, side: side}
	err := s.steady(ctx, func(v *view) (err error) {
		f := wayFinder{v: v, ctx: ctx, known: map[[2]Version]*mergeWay{}}
		w.way, err = f.find(base.version, side.version, 0)
		return err
	})
	return w, err
}

// Freed is Snapshot.Freed from the base to the side along the way.
func (w *MergeWay) Freed(ctx context.Context, id pod.ID) (func(pod.Slot) bool, error) {
	if w.way == nil || len(w.way.steps) == 0 {
		return w.base.Freed(ctx, id, w.side)
	}
	if err := w.side.usable(ctx); err != nil {
		return nil, err
	}
	v, err := w.base.view(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
	u := wayUse{v: v, ctx: ctx, id: id, known: map[*mergeWay][]bool{}}
	used, err := u.along(w.way)
	if err != nil {
		return nil, err
	}
	return func(s pod.Slot) bool { return int(s) >= len(used) || !used[s] }, nil
}

// wayFinder looks for ways in one view.
type wayFinder struct {
	v     *view
	ctx   context.Context
	known map[[2]Version]*mergeWay
}

// wayTo is how the best way found from a version leads on.
type wayTo struct {
	merges int
	next   Version
	into   Version // of a merge
}

// find returns a way; nil if there is none, or none is known any more.
func (f *wayFinder) find(from, to Version, depth int) (*mergeWay, error) {
	key := [2]Version{from, to}
	if w, ok := f.known[key]; ok || depth > maxMergeDepth {
		return w, nil
	}
	best, err := f.search(from, to)
	if err != nil || best == nil {
		return nil, err
	}
	w := &mergeWay{}
	if w.start, err = f.lineage(from); err != nil {
		return nil, err
	}
	if w.end, err = f.lineage(to); err != nil {
		return nil, err
	}
	f.known[key] = w
	for at := from; at != to; at = best[at].next {
		if b := best[at]; b.into != 0 {
			step, err := f.step(at, b.into, b.next, depth)
			if err != nil {
				return nil, err
			}
			w.steps = append(w.steps, step)
		}
	}
	return w, nil
}

// search goes back from a version, the newest first, so that when it meets one it knows all
// ways that lead there. The result is by version; nil if from is not met.
func (f *wayFinder) search(from, to Version) (map[Version]wayTo, error) {
	best := map[Version]wayTo{to: {}}
	queue := versionHeap{to}
	for len(queue) > 0 {
		if err := f.ctx.Err(); err != nil {
			return nil, err
		}
		version := heap.Pop(&queue).(Version)
		if version == from {
			return best, nil
		}
		if f.v.s.open.gone.Load().Contains(version) {
			continue
		}
		row, err := f.v.row(version)
		if err != nil {
			return nil, err
		}
		reach := func(parent Version, w wayTo) {
			if parent == 0 || parent < from {
				return
			}
			was, met := best[parent]
			if !met {
				heap.Push(&queue, parent)
			}
			if !met || w.merges < was.merges {
				best[parent] = w
			}
		}
		before := f.v.s.parent(row)
		reach(before, wayTo{best[version].merges, version, 0})
		if before != 0 {
			for _, merged := range mergedInto(row) {
				reach(merged, wayTo{best[version].merges + 1, version, before})
			}
		}
	}
	return nil, nil
}

func (f *wayFinder) step(taken, into, made Version, depth int) (mergeStep, error) {
	var step mergeStep
	for dst, version := range map[*[]fork]Version{&step.taken: taken, &step.into: into, &step.made: made} {
		var err error
		if *dst, err = f.lineage(version); err != nil {
			return step, err
		}
	}
	base, err := f.v.mergeBase(f.ctx, taken, into)
	if err != nil {
		return step, f.ctx.Err() // then it is not known
	}
	if step.toTaken, err = f.find(base, taken, depth+1); err != nil {
		return step, err
	}
	step.toInto, err = f.find(base, into, depth+1)
	return step, err
}

// lineage is that of a version, with what was copied left out; nil if it is too long.
func (f *wayFinder) lineage(version Version) ([]fork, error) {
	lineage, _, err := f.v.s.lineageOf(version)
	if err != nil {
		return nil, err
	}
	logical, _ := f.v.s.logical(lineage)
	return logical, nil
}

// wayUse finds the slots of one pod that hold the same object all along ways.
type wayUse struct {
	v     *view
	ctx   context.Context
	id    pid
	known map[*mergeWay][]bool
}

// along returns the slots that hold one object on all of a way; none if that is not known.
func (u *wayUse) along(w *mergeWay) ([]bool, error) {
	if w == nil {
		return nil, nil
	}
	if used, ok := u.known[w]; ok {
		return used, nil
	}
	at := w.start
	var used []bool
	for i := 0; i <= len(w.steps); i++ {
		to := w.end
		if i < len(w.steps) {
			to = w.steps[i].taken
		}
		more, err := u.between(at, to)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			used = more
		}
		used = bothUsed(used, more)
		if used == nil {
			break
		}
		if i < len(w.steps) {
			if used, err = u.merged(&w.steps[i], used); err != nil {
				return nil, err
			}
			at = w.steps[i].made
		}
	}
	u.known[w] = used
	return used, nil
}

// between is along for commits of branches alone.
func (u *wayUse) between(at, to []fork) ([]bool, error) {
	if len(at) == 0 || len(to) == 0 || u.v.s.lost != nil {
		return nil, nil
	}
	used, _, err := u.v.usedBetween(u.ctx, at, to, at, u.id)
	if err != nil || u.v.retiredSince(to, at) || u.gone(at) { // part of what was found may have been gone
		return nil, err
	}
	return used, nil
}

// merged returns which of the slots that were used in what was merged have the same object
// after the merge.
func (u *wayUse) merged(step *mergeStep, used []bool) ([]bool, error) {
	if len(step.into) == 0 || len(step.made) == 0 {
		return nil, nil
	}
	before, err := u.slots(step.into)
	if err != nil {
		return nil, err
	}
	after, err := u.slots(step.made)
	if err != nil {
		return nil, err
	}
	if u.gone(step.into) || u.gone(step.made) || u.v.retiredSince(step.made, step.into) { // the merge stands for others, or what was read may have been gone
		return nil, nil
	}
	used = bothUsed(used, after)
	var same []bool
	asked := false
	for s := range used {
		if !used[s] || s >= len(before) || !before[s] {
			continue
		}
		if !asked {
			if same, err = u.inBoth(step); err != nil {
				return nil, err
			}
			asked = true
		}
		if same == nil {
			return nil, nil // of no object of the pod it is known then: part of it would look as if all were
		}
		used[s] = s < len(same) && same[s]
	}
	return used, nil
}

// inBoth returns the slots that had one object on both ways to a merge.
func (u *wayUse) inBoth(step *mergeStep) ([]bool, error) {
	if step.toTaken == nil || step.toInto == nil {
		return nil, nil
	}
	a, err := u.along(step.toTaken)
	if err != nil {
		return nil, err
	}
	b, err := u.along(step.toInto)
	return bothUsed(a, b), err
}

// slots says which slots of the pod hold an object in a version.
func (u *wayUse) slots(lineage []fork) ([]bool, error) {
	used, _, err := u.v.usedBetween(u.ctx, lineage, lineage, lineage, u.id)
	return used, err
}

// gone reports whether the version that a lineage begins with was retired: nothing holds it.
func (u *wayUse) gone(lineage []fork) bool {
	return u.v.s.open.gone.Load().Contains(lineage[0].version)
}

// bothUsed is a new list of what is in both, nil if one is not known.
func bothUsed(a, b []bool) []bool {
	if a == nil || b == nil {
		return nil
	}
	both := make([]bool, min(len(a), len(b)))
	for i := range both {
		both[i] = a[i] && b[i]
	}
	return both
}
