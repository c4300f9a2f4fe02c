package podder

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Objects that went to other pods since base (repod.go). Everything else of a merge goes by
// places, so before it begins base and theirs are read as if their objects were where ours has them:
//
//  1. An object that ours has at another place than base is at that place.
//  2. One that only theirs moved is where base has it. The places that theirs moved it to are forwarders
//     that nothing refers to; the result does not have them.
//
// Who refers to what was moved is written with another reference and has not changed for that: in pods
// that objects left, slots are compared by what their references lead to (sameContents).

// mergeMoves are objects that a side has at another place than base: place in base to place in the side.
type mergeMoves map[target]target

// movesOf finds them. An object that left its first pod is known by the place it had there, which leads to it in every
// version; so it is found too if base has it at a later place than the side.
func (m *merger) movesOf(side mergeSide) (mergeMoves, error) {
	list := mergeMoves{}
	for id := range m.changed[side] {
		before, err := m.podOf(baseSide, id)
		if err != nil {
			return nil, err
		}
		now, err := m.podOf(side, id)
		if err != nil {
			return nil, err
		}
		if before == nil || now == nil {
			continue
		}
		for s := range min(len(before.Slots), len(now.Slots)) {
			first := target{id, pod.Slot(s)}
			if !isAway(before, first.slot) && !isAway(now, first.slot) || before.Generation(first.slot) != now.Generation(first.slot) {
				continue
			}
			from, was, err := m.objectAt(baseSide, first)
			if err != nil {
				return nil, err
			}
			to, is, err := m.objectAt(side, first)
			if err != nil {
				return nil, err
			}
			if was != nil && is != nil && from != to && is.Kind == was.Kind && is.Type == was.Type {
				list[from] = to
			}
		}
	}
	return list, nil
}

// objectAt goes along forwarders of objects that moved as they were. The object is nil if there is none.
func (m *merger) objectAt(side mergeSide, t target) (target, *pod.Data, error) {
	for range maxForwards {
		p, err := m.podOf(side, t.pod)
		if err != nil {
			return t, nil, err
		}
		to, away := awayTo(p, t.slot)
		if away {
			t = to
			continue
		}
		d, ok, err := m.slotOf(side, t)
		if err != nil || !ok || d.Kind == pod.SlotForward {
			return t, nil, err
		}
		return t, d, nil
	}
	return t, nil, m.v[side].corrupt(t, "chain of more than %d forwarders", maxForwards)
}

// replayMoves has base and theirs read as if both had all objects where ours has them, or where base does if ours has them no
// more.
func (m *merger) replayMoves() error {
	ours, err := m.movesOf(oursSide)
	if err != nil {
		return err
	}
	theirs, err := m.movesOf(theirsSide)
	if err != nil {
		return err
	}
	for from, to := range ours {
		now, moved := theirs[from]
		if !moved {
			now = from
			there, err := m.same(theirsSide, from)
			if err != nil {
				return err
			}
			d, used, err := m.slotOf(theirsSide, from)
			if err != nil {
				return err
			}
			if !there || !used || d.Kind == pod.SlotForward {
				continue
			}
		}
		if now != to {
			m.readAt[now] = to
		}
	}
	for from, to := range theirs {
		if _, moved := ours[from]; !moved {
			m.readAt[to] = from
		}
	}
	for side, moves := range map[mergeSide]mergeMoves{baseSide: ours, theirsSide: m.readAt} {
		for from, to := range moves {
			if free, err := m.isFree(side, to); err != nil {
				return err
			} else if !free {
				delete(moves, from)
			}
		}
	}
	for from, to := range ours {
		if err := m.noteMove(oursSide, from, to, baseSide, oursSide, theirsSide); err != nil {
			return err
		}
	}
	for from, to := range m.readAt {
		m.changed[theirsSide][to.pod] = true
		if err := m.noteMove(baseSide, from, to, theirsSide); err != nil {
			return err
		}
	}
	if err := m.replay(baseSide, ours); err != nil {
		return err
	}
	return m.replay(theirsSide, m.readAt)
}

// isFree reports whether a version has no object at a place.
func (m *merger) isFree(side mergeSide, t target) (bool, error) {
	d, used, err := m.slotOf(side, t)
	return !used || d.Away(), err
}

// noteMove notes where some sides have an object, with the generation that it has there in a version.
func (m *merger) noteMove(version mergeSide, from, to target, sides ...mergeSide) error {
	m.left[from.pod], m.left[to.pod] = true, true
	p, err := m.podOf(version, to.pod)
	if err != nil || p == nil {
		return err
	}
	for _, side := range sides {
		if _, known := m.placed[sideTarget{side, to}]; !known {
			m.placed[sideTarget{side, to}] = p.Generation(to.slot)
		}
	}
	return nil
}

// current is where an object is in the result that is at a place of ours.
func (m *merger) current(t target) (target, error) {
	for range maxForwards {
		if !m.left[t.pod] {
			return t, nil
		}
		p, err := m.podOf(oursSide, t.pod)
		if err != nil {
			return t, err
		}
		to, away := awayTo(p, t.slot)
		if !away {
			return t, nil
		}
		t = to
	}
	return t, nil
}

// replayed is a version with other pods in the place of some: as they would be if objects had moved,
// or as a merge makes them.
type replayed struct {
	pod.Source
	pods map[pod.ID]*pod.Pod
}

func (s replayed) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	list := make([]*pod.Pod, len(ids))
	for i, id := range ids {
		if p := s.pods[id]; p != nil {
			list[i] = p
			continue
		}
		one, err := s.Source.Pods(ctx, ids[i:i+1])
		if err != nil {
			return nil, err
		}
		list[i] = one[0]
	}
	return list, nil
}

// replay reads a version as if objects had gone from one place to another.
func (m *merger) replay(side mergeSide, moves mergeMoves) error {
	if len(moves) == 0 {
		return nil
	}
	w := &replaying{m: m, side: side, moves: moves, pods: map[pod.ID]*mergePod{}, marks: map[target]bool{}}
	for _, from := range slices.SortedFunc(maps.Keys(moves), compareTargets) {
		if err := w.move(from, moves[from]); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.pods)) {
		if err := w.redirect(id); err != nil {
			return err
		}
	}
	for at := range w.marks {
		if _, err := w.pod(at.pod); err != nil {
			return err
		}
	}
	src := replayed{m.v[side].src, map[pod.ID]*pod.Pod{}}
	for id, p := range w.pods {
		src.pods[id] = &pod.Pod{Refs: p.refs, Slots: p.slots}
		if p.before != nil {
			made := *p.before
			made.Refs, made.Slots, made.Generations = p.refs, p.slots, p.given
			src.pods[id] = &made
		}
	}
	m.v[side] = newViewer(m.ctx, src)
	for id, p := range w.pods {
		if err := w.export(id, p, src.pods[id]); err != nil {
			return err
		}
	}
	return nil
}

// replaying is a version while objects are moved in it.
type replaying struct {
	m     *merger
	side  mergeSide
	moves mergeMoves
	pods  map[pod.ID]*mergePod
	marks map[target]bool // to be exported
}

// pod returns a pod to be changed: as the version has it, else an empty one.
func (w *replaying) pod(id pod.ID) (*mergePod, error) {
	if p := w.pods[id]; p != nil {
		return p, nil
	}
	before, err := w.m.podOf(w.side, id)
	if err != nil {
		return nil, err
	}
	p := &mergePod{id: id, numbers: map[pod.Ref]uint32{}}
	if before == nil {
		before = &pod.Pod{}
	}
	p.before, p.slots, p.refs, p.given = before, slices.Clone(before.Slots), slices.Clone(before.Refs), slices.Clone(before.Generations)
	for i, ref := range slices.Backward(p.refs) {
		p.numbers[ref] = uint32(i)
	}
	w.pods[id] = p
	return p, nil
}

// move brings the object at a place to another one, and leaves a forwarder.
func (w *replaying) move(from, to target) error {
	s, err := w.m.v[w.side].mergeSlotAt(w.side, from)
	if err != nil {
		return err
	}
	p, err := w.pod(from.pod)
	if err != nil {
		return err
	}
	q, err := w.pod(to.pod)
	if err != nil {
		return err
	}
	d, err := s.store(w.m.seed, w.code(q))
	if err != nil {
		return err
	}
	q.set(to.slot, d)
	q.generation(to.slot, w.m.placed[sideTarget{w.side, to}])
	away := &mergeSlot{side: w.side, kind: pod.SlotForward, typ: d.Type, forward: reference{to: to}}
	if d, err = away.store(w.m.seed, w.code(p)); err != nil {
		return err
	}
	p.set(from.slot, d)
	w.marks[from], w.marks[to] = true, true
	return nil
}

// generation gives a slot another one.
func (p *mergePod) generation(s pod.Slot, g pod.Generation) {
	p.given = slices.DeleteFunc(p.given, func(x pod.SlotGeneration) bool { return x.Slot == s })
	if g == (pod.Generation{}) {
		return
	}
	at, _ := slices.BinarySearchFunc(p.given, s, func(x pod.SlotGeneration, s pod.Slot) int { return cmp.Compare(x.Slot, s) })
	p.given = slices.Insert(p.given, at, pod.SlotGeneration{Slot: s, Gen: g})
}

// redirect writes what refers to moved objects from their own pods: it was written again with
// them, and would go through forwarders that are in its pod.
func (w *replaying) redirect(id pod.ID) error {
	p := w.pods[id]
	v := w.m.v[w.side]
	before, err := w.m.podOf(w.side, id)
	if err != nil || before == nil {
		return err
	}
	for s := range before.Slots {
		at := target{id, pod.Slot(s)}
		if _, moved := w.moves[at]; moved || p.slots[s].Kind != before.Slots[s].Kind || before.Slots[s].Kind == pod.SlotFree || before.Slots[s].Kind == pod.SlotOpaque {
			continue
		}
		refers := false
		if err := v.slotRefs(at, before, func(to target) error {
			_, moved := w.moves[to]
			refers = refers || moved
			return nil
		}); err != nil {
			return err
		}
		if !refers {
			continue
		}
		o, err := v.mergeSlotAt(w.side, at)
		if err != nil {
			return err
		}
		d, err := o.store(w.m.seed, w.code(p))
		if err != nil {
			return err
		}
		p.set(at.slot, d)
	}
	return nil
}

// code is how references are written in a pod: to where what was moved is.
func (w *replaying) code(p *mergePod) mergeCode {
	return func(t *mergeTree) (pod.Pointer, error) {
		to := t.ref.to
		if now, moved := w.moves[to]; moved {
			to = now
		}
		c := pod.Pointer{To: pod.ToLocal, Number: uint32(to.slot), Index: t.ref.index, Steps: t.ref.steps}
		if to.pod != p.id {
			c.To, c.Number = pod.ToExternal, p.number(pod.Ref{Pod: to.pod, Slot: to.slot})
			w.marks[to] = true
		}
		return c, nil
	}
}

// export gives a pod its exports, with what they reach.
func (w *replaying) export(id pod.ID, p *mergePod, made *pod.Pod) error {
	exports := map[pod.Slot]bool{0: true}
	for _, e := range p.before.Exports {
		exports[e.Slot] = true
	}
	for t := range w.marks {
		if t.pod == id {
			exports[t.slot] = true
		}
	}
	e, err := w.m.edges(id, made)
	if err != nil {
		return err
	}
	made.Exports = nil
	for _, s := range slices.Sorted(maps.Keys(exports)) {
		made.Exports = append(made.Exports, pod.Export{Slot: s, Edges: e.from(s)})
	}
	return nil
}
