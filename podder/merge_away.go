package podder

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Objects that went to other pods since base (repod.go). Everything else of a merge goes by
// places, so moves are made alike in all versions before it begins:
//
//  1. What theirs moved is read as if it had stayed: the object is in its old slot, and the new
//     one is a forwarder to that.
//  2. What ours moved is read, in base and in theirs, as if it had been moved there too: the
//     object as that version has it is in the pod that ours made, and its old slot a forwarder.
//
// Who refers to what was moved is written with another reference and has not changed for that: in pods
// that objects left, slots are compared by what their references lead to (sameContents).

// mergeMoves are objects that a side moved: old place to new.
type mergeMoves map[target]target

// movesOf finds what a side moved out of pods that both changed.
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
			from := target{id, pod.Slot(s)}
			if !isAway(now, from.slot) || before.Slots[s].Kind == pod.SlotForward || before.Slots[s].Kind == pod.SlotFree ||
				before.Generation(from.slot) != now.Generation(from.slot) {
				continue
			}
			to, err := m.follow(side, reference{to: from})
			if err != nil {
				return nil, err
			}
			d, ok, err := m.slotOf(side, to.to)
			if err != nil {
				return nil, err
			}
			if ok && d.Kind == before.Slots[s].Kind && d.Type == before.Slots[s].Type {
				list[from] = to.to
			}
		}
	}
	return list, nil
}

// replayMoves makes the moves of both sides alike in all versions.
func (m *merger) replayMoves() error {
	theirs, err := m.movesOf(theirsSide)
	if err != nil {
		return err
	}
	back := make(mergeMoves, len(theirs))
	for from, to := range theirs {
		m.left[from.pod] = true
		back[to] = from
	}
	if err := m.replay(theirsSide, back); err != nil {
		return err
	}
	if len(theirs) > 0 {
		if err := m.neverFreed(theirsSide, theirs); err != nil {
			return err
		}
	}
	ours, err := m.movesOf(oursSide)
	if err != nil || len(ours) == 0 {
		return err
	}
	for _, side := range []mergeSide{baseSide, theirsSide} {
		there := mergeMoves{}
		for from, to := range ours {
			ok := true
			if side != baseSide {
				if ok, err = m.same(side, from); err != nil {
					return err
				}
			}
			if d, used, err := m.slotOf(side, from); err != nil {
				return err
			} else if ok && used && d.Kind != pod.SlotForward {
				there[from] = to
			}
		}
		if err := m.replay(side, there); err != nil {
			return err
		}
	}
	for from, to := range ours {
		m.left[from.pod] = true
		m.changed[theirsSide][to.pod] = true
		for _, side := range []mergeSide{oursSide, theirsSide} {
			m.freed[side][to.pod] = func(pod.Slot) bool { return false }
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

// neverFreed has the slots that objects left count as in use all the way.
func (m *merger) neverFreed(side mergeSide, moves mergeMoves) error {
	pods := map[pod.ID]bool{}
	for from := range moves {
		pods[from.pod] = true
	}
	for id := range pods {
		freed, err := m.freedIn(side, id)
		if err != nil {
			return err
		}
		m.freed[side][id] = func(s pod.Slot) bool {
			_, left := moves[target{id, s}]
			return !left && freed(s)
		}
	}
	return nil
}

// replayed is a version with some pods as they would be if objects had moved.
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
			made.Refs, made.Slots = p.refs, p.slots
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

// pod returns a pod to be changed: as the version has it, else an empty one of the id and the
// generations that ours has.
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
		ours, err := w.m.podOf(oursSide, id)
		if err != nil {
			return nil, err
		}
		if ours == nil {
			return nil, fmt.Errorf("%w: pod %d of a merge", dberr.ErrNotFound, id)
		}
		made := *ours
		made.Slots, made.Refs, made.Exports = nil, nil, nil
		before = &made
	}
	p.before, p.slots, p.refs = before, slices.Clone(before.Slots), slices.Clone(before.Refs)
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
	away := &mergeSlot{side: w.side, kind: pod.SlotForward, typ: d.Type, forward: reference{to: to}}
	if d, err = away.store(w.m.seed, w.code(p)); err != nil {
		return err
	}
	p.set(from.slot, d)
	w.marks[from], w.marks[to] = true, true
	return nil
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
