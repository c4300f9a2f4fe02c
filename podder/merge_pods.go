package podder

import (
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Pods that are written by slots: what ours has, with the results of merging, and what comes
// over from theirs. Reference numbers of ours stay; others are added behind them.

type mergePod struct {
	id      pod.ID
	slots   []pod.Data
	refs    []pod.Ref
	numbers map[pod.Ref]uint32
	results map[pod.Slot]*mergeSlot // to be encoded
	used    map[pod.Slot]bool       // given to what came over
	given   []pod.SlotGeneration    // of what came over
	exports []pod.Export            // that it has already
	next    pod.Slot                // behind all that any version has
	before  *pod.Pod
}

// pod begins to write a pod of ours by slots.
func (r *mergeRun) pod(id pod.ID) (*mergePod, error) {
	if p := r.pods[id]; p != nil {
		return p, nil
	}
	ours, err := r.podOf(oursSide, id)
	if err != nil {
		return nil, err
	}
	if ours == nil {
		return nil, r.v[oursSide].corrupt(target{pod: id}, "pod is not in ours")
	}
	p := &mergePod{
		id: id, before: ours, slots: slices.Clone(ours.Slots), refs: slices.Clone(ours.Refs), exports: ours.Exports, numbers: map[pod.Ref]uint32{},
		results: map[pod.Slot]*mergeSlot{}, used: map[pod.Slot]bool{},
	}
	for i, ref := range slices.Backward(p.refs) {
		p.numbers[ref] = uint32(i)
	}
	for side := range mergeSides {
		q, err := r.podOf(side, id)
		if err != nil {
			return nil, err
		}
		if q != nil {
			p.next = max(p.next, pod.Slot(len(q.Slots)))
		}
	}
	r.pods[id] = p
	return p, nil
}

func (p *mergePod) number(ref pod.Ref) uint32 {
	n, ok := p.numbers[ref]
	if !ok {
		n = uint32(len(p.refs))
		p.refs = append(p.refs, ref)
		p.numbers[ref] = n
	}
	return n
}

func (p *mergePod) set(s pod.Slot, d pod.Data) {
	for int(s) >= len(p.slots) {
		p.slots = append(p.slots, pod.Data{})
	}
	p.slots[s] = d
}

// takeWhole has a pod written as theirs has it.
func (r *mergeRun) takeWhole(id pod.ID) error {
	if !r.whole[id] {
		r.whole[id] = true
		r.wholes = append(r.wholes, id)
	}
	return nil
}

// where is the place in the result of what theirs has at a place, and brings it there.
func (r *mergeRun) where(t target) (target, error) {
	if at, ok := r.readAt[t]; ok {
		t = at
	}
	if u, ok := r.unified[t]; ok {
		return u, nil
	}
	if to, ok := r.moved[t]; ok {
		return to, nil
	}
	if r.whole[t.pod] || r.fresh[t.pod] {
		return t, nil
	}
	ours, err := r.podOf(oursSide, t.pod)
	if err != nil {
		return t, err
	}
	if ours == nil { // new, or collected in ours
		return t, r.takeWhole(t.pod)
	}
	if !r.changed[oursSide][t.pod] && !r.changed[theirsSide][t.pod] {
		return t, nil
	}
	fresh, err := r.isNew(theirsSide, t)
	if err != nil {
		return t, err
	}
	if !fresh {
		there, err := r.isNew(oursSide, t)
		if err != nil {
			return t, err
		}
		if _, used, err := r.slotOf(oursSide, t); err != nil || used && !there {
			return t, err
		}
	}
	if _, ok, err := r.slotOf(theirsSide, t); err != nil || !ok {
		if err == nil {
			err = r.v[theirsSide].corrupt(t, "reference to a slot that is not there")
		}
		return t, err
	}
	p, err := r.pod(t.pod)
	if err != nil {
		return t, err
	}
	to := t
	if int(to.slot) < len(ours.Slots) && ours.Slots[to.slot].Kind != pod.SlotFree || p.used[to.slot] {
		to.slot = p.next
		p.next++
	}
	if err := r.keepGeneration(p, t, to.slot); err != nil {
		return t, err
	}
	p.used[to.slot] = true
	r.moved[t] = to
	r.fill = append(r.fill, t)
	return to, nil
}

// keepGeneration has what comes over keep its generation, so that the next merge knows it, unless ours has another
// object with that already, which was the same once.
func (r *mergeRun) keepGeneration(p *mergePod, t target, to pod.Slot) error {
	theirs, err := r.podOf(theirsSide, t.pod)
	if err != nil {
		return err
	}
	g := theirs.Generation(t.slot)
	if home := g.Home(t.slot); to != home {
		id := identityOf(theirs, t.slot)
		if t.slot == 0 || slices.ContainsFunc(slotsInUse(p.before), func(s pod.Slot) bool { return identityOf(p.before, s) == id }) {
			return nil
		}
		g = g.At(to, home)
	}
	p.given = append(p.given, pod.SlotGeneration{Slot: to, Gen: g})
	return nil
}

// mark has a slot exported.
func (r *mergeRun) mark(t target) error {
	if r.marks[t] {
		return nil
	}
	r.marks[t] = true
	if r.whole[t.pod] || r.pods[t.pod] != nil || r.fresh[t.pod] {
		return nil
	}
	p, err := r.podOf(oursSide, t.pod)
	if err != nil || p != nil && p.Exported(t.slot) {
		return err
	}
	_, err = r.pod(t.pod)
	return err
}

// code is how references are written in a pod.
func (r *mergeRun) code(p *mergePod) mergeCode {
	return func(t *mergeTree) (pod.Pointer, error) {
		if t.fresh != nil {
			s, err := r.freshArray(p, t)
			return pod.Pointer{To: pod.ToLocal, Number: uint32(s)}, err
		}
		to := t.ref.to
		var err error
		if t.side != oursSide {
			if to, err = r.where(to); err == nil {
				to, err = r.current(to)
			}
			if err != nil {
				return pod.Pointer{}, err
			}
		}
		c := pod.Pointer{To: pod.ToLocal, Number: uint32(to.slot), Index: t.ref.index, Steps: t.ref.steps}
		if to.pod != p.id {
			c.To, c.Number = pod.ToExternal, p.number(pod.Ref{Pod: to.pod, Slot: to.slot})
			err = r.mark(to)
		}
		return c, err
	}
}

// freshArray puts the elements of a slice that a resolver made into a slot of its own.
func (r *mergeRun) freshArray(p *mergePod, t *mergeTree) (pod.Slot, error) {
	s := &mergeSlot{kind: pod.SlotArray, typ: t.typ, extent: uint64(len(t.fresh)), elems: t.fresh, perRun: 1}
	size := 0
	for _, e := range t.fresh {
		b, err := e.append(nil, r.code(p))
		if err != nil {
			return 0, err
		}
		size += len(b)
	}
	s.perRun = max(1, uint64(runBytes*len(t.fresh)/max(1, size)))
	d, err := s.store(r.seed, r.code(p))
	at := p.next
	p.next++
	p.used[at] = true
	p.set(at, d)
	return at, err
}

// fillAll encodes results and brings over what they refer to, until nothing is left.
func (r *mergeRun) fillAll() error {
	for {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		switch {
		case len(r.wholes) > 0:
			id := r.wholes[0]
			r.wholes = r.wholes[1:]
			if err := r.buildWhole(id); err != nil {
				return err
			}
		case len(r.fill) > 0:
			t := r.fill[0]
			r.fill = r.fill[1:]
			if err := r.bring(t); err != nil {
				return err
			}
		default:
			if done, err := r.encodeResults(); done || err != nil {
				return err
			}
		}
	}
}

func (r *mergeRun) encodeResults() (done bool, err error) {
	done = true
	for _, id := range slices.Sorted(maps.Keys(r.pods)) {
		p := r.pods[id]
		for _, s := range slices.Sorted(maps.Keys(p.results)) {
			d, err := p.results[s].store(r.seed, r.code(p))
			if err != nil {
				return false, fmt.Errorf("pod %d slot %d: %w", id, s, err)
			}
			delete(p.results, s)
			p.set(s, d)
			done = false
		}
	}
	return done, nil
}

// bring writes an object of theirs at its new place.
func (r *mergeRun) bring(t target) error {
	to := r.moved[t]
	s, err := r.v[theirsSide].mergeSlotAt(theirsSide, t)
	if err != nil {
		return err
	}
	p, err := r.pod(to.pod)
	if err != nil {
		return err
	}
	d, err := s.store(r.seed, r.code(p))
	if err == nil {
		p.set(to.slot, d)
	}
	return err
}

// buildWhole writes a pod as theirs has it; only what its references name may be elsewhere.
func (r *mergeRun) buildWhole(id pod.ID) error {
	theirs, err := r.v[theirsSide].fetch(id)
	if err != nil {
		return err
	}
	ours, err := r.podOf(oursSide, id)
	if err != nil {
		return err
	}
	elsewhere := func(s pod.Slot) bool {
		if _, moved := r.readAt[target{id, s}]; moved {
			return true
		}
		_, ok := r.unified[target{id, s}]
		return ok && theirs.Slots[s].Kind != pod.SlotBox
	}
	if slices.ContainsFunc(slotsInUse(theirs), elsewhere) {
		return r.buildWithout(theirs, &mergePod{id: id, before: ours}, elsewhere)
	}
	c := pod.Change{ID: id, New: ours == nil, Whole: true, Refs: slices.Clone(theirs.Refs), Exports: theirs.Exports, Given: theirs.Given()}
	for i, ref := range c.Refs {
		if ref.Pod == 0 {
			continue
		}
		to, err := r.where(target{ref.Pod, ref.Slot})
		if err == nil {
			to, err = r.current(to)
		}
		if err == nil {
			err = r.mark(to)
		}
		if err != nil {
			return err
		}
		c.Refs[i] = pod.Ref{Pod: to.pod, Slot: to.slot}
	}
	for s, d := range theirs.Slots {
		if d.Kind != pod.SlotFree {
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(s), Data: d})
		}
	}
	return r.finish(ours, c)
}

// buildWithout has a pod of theirs written by slots without objects that ours has elsewhere: others in it refer to
// them there.
func (r *mergeRun) buildWithout(theirs *pod.Pod, p *mergePod, skip func(pod.Slot) bool) error {
	p.numbers, p.results, p.used = map[pod.Ref]uint32{}, map[pod.Slot]*mergeSlot{}, map[pod.Slot]bool{}
	p.next = pod.Slot(len(theirs.Slots))
	for _, g := range theirs.Given() {
		if skip(g.Slot) {
			continue
		}
		p.given = append(p.given, g)
		var err error
		if p.results[g.Slot], err = r.v[theirsSide].mergeSlotAt(theirsSide, target{p.id, g.Slot}); err != nil {
			return err
		}
	}
	for _, e := range theirs.Exports {
		if !skip(e.Slot) {
			p.exports = append(p.exports, e)
		}
	}
	r.pods[p.id] = p
	return nil
}

// build finishes the pods that are written by slots.
func (r *mergeRun) build() error {
	for _, id := range slices.Sorted(maps.Keys(r.pods)) {
		p := r.pods[id]
		c := pod.Change{ID: id, New: p.before == nil, Whole: true, Given: p.given}
		exports := map[pod.Slot]bool{}
		for _, e := range p.exports {
			exports[e.Slot] = true
		}
		for t := range r.marks {
			if t.pod == id {
				exports[t.slot] = true
			}
		}
		state := &pod.Pod{Refs: p.refs, Slots: p.slots}
		e, err := r.edges(id, state)
		if err != nil {
			return err
		}
		c.Refs = e.used()
		for _, s := range slices.Sorted(maps.Keys(exports)) {
			if err := r.addExport(&c, e, s); err != nil {
				return err
			}
		}
		for s, d := range p.slots {
			if d.Kind != pod.SlotFree {
				c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(s), Data: d})
			}
		}
		if err := r.finish(p.before, c); err != nil {
			return err
		}
	}
	return r.exportMore()
}

// exportMore has pods that were taken from theirs export what only they themselves referred to.
func (r *mergeRun) exportMore() error {
	more := map[pod.ID][]pod.Slot{}
	for t := range r.marks {
		if p := r.state[t.pod]; r.whole[t.pod] && p != nil && !p.Exported(t.slot) {
			more[t.pod] = append(more[t.pod], t.slot)
		}
	}
	for id, slots := range more {
		e, err := r.edges(id, r.state[id])
		if err != nil {
			return err
		}
		c := r.built[id]
		c.Exports = slices.Clone(c.Exports)
		for _, s := range slots {
			if err := r.addExport(&c, e, s); err != nil {
				return err
			}
		}
		slices.SortFunc(c.Exports, func(x, y pod.Export) int { return int(x.Slot) - int(y.Slot) })
		ours, err := r.podOf(oursSide, id)
		if err != nil {
			return err
		}
		if err := r.finish(ours, c); err != nil {
			return err
		}
	}
	return nil
}

// addExport has a change export a slot, with what that reaches.
func (r *mergeRun) addExport(c *pod.Change, e *mergeEdges, s pod.Slot) error {
	if int(s) >= len(e.p.Slots) || e.p.Slots[s].Kind == pod.SlotFree {
		return r.v[theirsSide].corrupt(target{c.ID, s}, "reference to a slot that is not there")
	}
	c.Exports = append(c.Exports, pod.Export{Slot: s, Edges: e.from(s)})
	return nil
}

func (r *mergeRun) finish(before *pod.Pod, c pod.Change) error {
	after, err := pod.Apply(before, &c)
	if err != nil {
		return fmt.Errorf("merged pod %d: %w", c.ID, err)
	}
	r.built[c.ID], r.state[c.ID] = c, after
	return nil
}

// mergeEdges says which slots and references the slots of a pod refer to.
type mergeEdges struct {
	p       *pod.Pod
	slots   [][]pod.Slot
	numbers [][]uint32
}

func (m *merger) edges(id pod.ID, p *pod.Pod) (*mergeEdges, error) {
	e := &mergeEdges{p: p, slots: make([][]pod.Slot, len(p.Slots)), numbers: make([][]uint32, len(p.Slots))}
	numbers := map[target][]uint32{}
	for i, ref := range p.Refs {
		if ref.Pod != 0 {
			t := target{ref.Pod, ref.Slot}
			numbers[t] = append(numbers[t], uint32(i))
		}
	}
	v := m.v[theirsSide] // types are the database's
	for s := range p.Slots {
		note := func(t target) error {
			if t.pod == id {
				e.slots[s] = append(e.slots[s], t.slot)
			} else {
				e.numbers[s] = append(e.numbers[s], numbers[t]...)
			}
			return nil
		}
		at := target{id, pod.Slot(s)}
		var err error
		if p.Slots[s].Kind == pod.SlotChunks {
			var list *chunkList
			if list, err = v.chunksOf(at, p, p.Slots[s]); err == nil {
				for i := range list.chunks {
					err = note(target{pod: list.chunks[i].id})
				}
			}
		} else {
			err = v.slotRefs(at, p, note)
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

// used are the references without those that no slot has any more.
func (e *mergeEdges) used() []pod.Ref {
	refs := make([]pod.Ref, len(e.p.Refs))
	for _, list := range e.numbers {
		for _, n := range list {
			refs[n] = e.p.Refs[n]
		}
	}
	e.p.Refs = refs
	return refs
}

// from is what an exported slot reaches.
func (e *mergeEdges) from(s pod.Slot) pod.EdgeSet {
	reached, seen := map[uint32]bool{}, map[pod.Slot]bool{s: true}
	for queue := []pod.Slot{s}; len(queue) > 0; queue = queue[1:] {
		for _, n := range e.numbers[queue[0]] {
			reached[n] = true
		}
		for _, to := range e.slots[queue[0]] {
			if !seen[to] {
				seen[to] = true
				queue = append(queue, to)
			}
		}
	}
	all := 0
	for _, ref := range e.p.Refs {
		if ref.Pod != 0 {
			all++
		}
	}
	switch {
	case len(reached) == 0:
		return pod.EdgeSet{}
	case len(reached) == all:
		return pod.EdgeSet{All: true}
	}
	return pod.EdgeSet{List: slices.Sorted(maps.Keys(reached))}
}
