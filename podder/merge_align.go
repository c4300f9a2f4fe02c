package podder

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// What merges moved. An object has a place in ours that may not be its place in base and theirs: a merge
// moved it because both sides had given its slot out. Its generation and home tell (internal/pod/generation.go). So
// that all else can go by places, base and theirs are read as if they had such objects where ours has them.
//
// Invariants:
//
//  1. In one version no two objects of a pod have one place.
//  2. An object has one place in all three versions that have it, and that is its place in ours if ours has it.
//  3. Slot 0 is never moved: names, and lists of chunks, mean it without saying so.
//  4. Pods that none of this concerns are read as they are.
//
// A pod that is read otherwise, in base or theirs, is so in both, with the reference numbers of ours: what is the same in
// two versions has the same bytes.

// identity says which object of a pod is meant, whatever its slot.
type identity struct {
	home pod.Slot
	gen  pod.Generation
}

func identityOf(p *pod.Pod, s pod.Slot) identity {
	g := p.Generation(s)
	home := g.Home(s)
	return identity{home, g.At(home, home)}
}

// slotsInUse are the slots of a pod that hold something.
func slotsInUse(p *pod.Pod) []pod.Slot {
	var list []pod.Slot
	for s := 0; p != nil && s < len(p.Slots); s++ {
		if p.Slots[s].Kind != pod.SlotFree {
			list = append(list, pod.Slot(s))
		}
	}
	return list
}

// places are those of the objects of a pod: by slot, of base and theirs, and back. nil maps are of a pod whose
// objects are all where they are.
type places struct {
	to, from [mergeSides]map[pod.Slot]pod.Slot
}

func (p *places) at(side mergeSide, s pod.Slot) pod.Slot {
	if to, ok := p.to[side][s]; ok {
		return to
	}
	return s
}

// slotIn is the slot that a version has an object in whose place is s.
func (p *places) slotIn(side mergeSide, s pod.Slot) pod.Slot {
	if from, ok := p.from[side][s]; ok {
		return from
	}
	return s
}

// findPlaces finds the places in three versions of a pod.
func findPlaces(versions [mergeSides]*pod.Pod) *places {
	found := &places{}
	if !slices.ContainsFunc(versions[:], func(p *pod.Pod) bool {
		return p != nil && slices.ContainsFunc(p.Generations, func(g pod.SlotGeneration) bool { return g.Gen.Moved != 0 })
	}) {
		return found
	}
	place, taken, next := map[identity]pod.Slot{}, map[pod.Slot]bool{0: true}, pod.Slot(1)
	inOurs := map[identity]pod.Slot{}
	for _, s := range slotsInUse(versions[oursSide]) {
		if id := identityOf(versions[oursSide], s); s != 0 {
			inOurs[id] = s
		}
	}
	for side, p := range versions {
		if p == nil {
			continue
		}
		next = max(next, pod.Slot(len(p.Slots)))
		for _, s := range slotsInUse(p) {
			if at, ok := inOurs[identityOf(p, s)]; ok && mergeSide(side) != oursSide {
				place[identityOf(p, s)], taken[at] = at, true
			}
		}
	}
	for _, side := range []mergeSide{baseSide, theirsSide} {
		to, from := map[pod.Slot]pod.Slot{}, map[pod.Slot]pod.Slot{}
		differ := false
		for _, s := range slotsInUse(versions[side]) {
			id := identityOf(versions[side], s)
			at, known := place[id]
			if _, twice := from[at]; s == 0 {
				at = 0
			} else if !known || twice {
				if at = s; taken[s] {
					at = next
					next++
				}
				place[id], taken[at] = at, true
			}
			to[s], from[at] = at, s
			differ = differ || at != s
		}
		if differ {
			found.to[side], found.from[side] = to, from
		}
	}
	return found
}

// aligner reads base and theirs with objects where ours has them.
type aligner struct {
	ctx     context.Context
	seed    uint64
	as      [mergeSides]*viewer // the versions as they are
	changed map[pod.ID]bool     // in ours or theirs
	found   map[pod.ID]*places
	pods    [mergeSides]map[pod.ID]*pod.Pod // that are read otherwise; nil is one that is read as it is
}

func newAligner(ctx context.Context, seed uint64, in *MergeInput) *aligner {
	a := &aligner{ctx: ctx, seed: seed, changed: map[pod.ID]bool{}, found: map[pod.ID]*places{}}
	for side, src := range []pod.Source{in.Base, in.Ours, in.Theirs} {
		a.as[side], a.pods[side] = newViewer(ctx, src), map[pod.ID]*pod.Pod{}
	}
	for _, id := range slices.Concat(in.OursChanged, in.TheirsChanged) {
		a.changed[id] = true
	}
	return a
}

// placesIn returns the places in a pod.
func (a *aligner) placesIn(id pod.ID) (*places, error) {
	if p := a.found[id]; p != nil {
		return p, nil
	}
	found := &places{}
	if a.changed[id] {
		versions, err := a.versions(id)
		if err != nil {
			return nil, err
		}
		found = findPlaces(versions)
	}
	a.found[id] = found
	return found, nil
}

// versions are those of a pod in all three, as they are.
func (a *aligner) versions(id pod.ID) (versions [mergeSides]*pod.Pod, err error) {
	for side := range mergeSides {
		if versions[side], err = a.as[side].fetch(id); err != nil && !isNotFound(err) {
			return versions, err
		}
	}
	return versions, nil
}

// place is where an object of a version is read.
func (a *aligner) place(side mergeSide, t target) (target, error) {
	if t.slot == 0 || !a.changed[t.pod] {
		return t, nil
	}
	found, err := a.placesIn(t.pod)
	if err == nil {
		t.slot = found.at(side, t.slot)
	}
	return t, err
}

// concerns reports whether a version of a pod has, or refers to, an object that is read elsewhere.
func (a *aligner) concerns(side mergeSide, id pod.ID, p *pod.Pod) (bool, error) {
	if p == nil {
		return false, nil
	}
	if len(p.Slots) > 1 {
		found, err := a.placesIn(id)
		if err != nil || found.to[side] != nil {
			return err == nil, err
		}
	}
	for _, ref := range p.Refs {
		t := target{ref.Pod, ref.Slot}
		if to, err := a.place(side, t); err != nil || to != t {
			return err == nil, err
		}
	}
	return false, nil
}

// pod returns a pod as it is read.
func (a *aligner) pod(side mergeSide, id pod.ID, p *pod.Pod) (*pod.Pod, error) {
	if !a.changed[id] || len(p.Slots) == 1 { // else one version says what is done to the other
		if any, err := a.concerns(side, id, p); err != nil || !any {
			return p, err
		}
	}
	if q, ok := a.pods[side][id]; ok {
		if q == nil {
			return p, nil
		}
		return q, nil
	}
	versions, err := a.versions(id)
	if err != nil {
		return nil, err
	}
	any := false
	for _, s := range []mergeSide{baseSide, theirsSide} {
		more, err := a.concerns(s, id, versions[s])
		if err != nil {
			return nil, err
		}
		any = any || more
	}
	if !any {
		a.pods[side][id] = nil
		return p, nil
	}
	q, err := a.rewrite(side, id, versions)
	a.pods[side][id] = q
	return q, err
}

// numbering gives the references of all versions of a pod numbers: those of ours first.
func (a *aligner) numbering(versions [mergeSides]*pod.Pod) (map[target]uint32, int, error) {
	numbers, next := map[target]uint32{}, 0
	for _, side := range []mergeSide{oursSide, baseSide, theirsSide} {
		if versions[side] == nil {
			continue
		}
		for i, ref := range versions[side].Refs {
			t := target{ref.Pod, ref.Slot}
			if side == oursSide {
				next = i + 1
			} else if ref.Pod != 0 {
				var err error
				if t, err = a.place(side, t); err != nil {
					return nil, 0, err
				}
			}
			if _, known := numbers[t]; known || ref.Pod == 0 {
				continue
			}
			if side == oursSide {
				numbers[t] = uint32(i)
				continue
			}
			numbers[t] = uint32(next)
			next++
		}
	}
	return numbers, next, nil
}

// rewrite makes a pod with its objects, and those that they refer to, at their places.
func (a *aligner) rewrite(side mergeSide, id pod.ID, versions [mergeSides]*pod.Pod) (*pod.Pod, error) {
	p := versions[side]
	found, err := a.placesIn(id)
	if err != nil {
		return nil, err
	}
	numbers, count, err := a.numbering(versions)
	if err != nil {
		return nil, err
	}
	q := &pod.Pod{Refs: make([]pod.Ref, count)}
	renumber := make([]uint32, len(p.Refs))
	for i, ref := range p.Refs {
		if ref.Pod == 0 {
			continue
		}
		t, err := a.place(side, target{ref.Pod, ref.Slot})
		if err != nil {
			return nil, err
		}
		renumber[i] = numbers[t]
		q.Refs[numbers[t]] = pod.Ref{Pod: t.pod, Slot: t.slot}
	}
	code := func(t *mergeTree) (pod.Pointer, error) {
		to, err := a.place(side, t.ref.to)
		c := pod.Pointer{To: pod.ToLocal, Number: uint32(to.slot), Index: t.ref.index, Steps: t.ref.steps}
		if to.pod != id {
			c.To, c.Number = pod.ToExternal, numbers[to]
		}
		return c, err
	}
	for _, s := range slotsInUse(p) {
		at := found.at(side, s)
		for int(at) >= len(q.Slots) {
			q.Slots = append(q.Slots, pod.Data{})
		}
		object, err := a.as[side].mergeSlotAt(side, target{id, s})
		if err != nil {
			return nil, err
		}
		if q.Slots[at], err = object.store(a.seed, code); err != nil {
			return nil, fmt.Errorf("pod %d slot %d: %w", id, s, err)
		}
		g := p.Generation(s)
		if g = g.At(at, g.Home(s)); g != (pod.Generation{}) {
			q.Generations = append(q.Generations, pod.SlotGeneration{Slot: at, Gen: g})
		}
	}
	slices.SortFunc(q.Generations, func(x, y pod.SlotGeneration) int { return int(x.Slot) - int(y.Slot) })
	for _, e := range p.Exports {
		edges := map[uint32]bool{}
		for _, n := range e.Edges.List {
			edges[renumber[n]] = true
		}
		e.Slot, e.Edges.List = found.at(side, e.Slot), slices.Sorted(maps.Keys(edges))
		q.Exports = append(q.Exports, e)
	}
	slices.SortFunc(q.Exports, func(x, y pod.Export) int { return int(x.Slot) - int(y.Slot) })
	return q, nil
}

// alignedSource is base or theirs as it is read.
type alignedSource struct {
	pod.Source
	*aligner
	side mergeSide
}

func (s alignedSource) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	list, err := s.Source.Pods(ctx, ids)
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	for i, id := range ids {
		if s.changed[id] {
			s.as[s.side].pods[id] = list[i] // it is asked for when the other versions are read
		}
		if list[i], err = s.pod(s.side, id, list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}
