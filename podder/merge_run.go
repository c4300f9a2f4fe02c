package podder

import (
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// mergeRun is one attempt: with the conflicts and choices that are known, what comes of it.
type mergeRun struct {
	*merger
	found      []*MergeConflict // conflicts that were not known
	edits      [mergeSides]map[target]bool
	arrayEdits [mergeSides]bool          // whether arrays are among them
	windows    map[target]*MergeConflict // arrays that a conflict of slices decides

	pods   map[pod.ID]*mergePod // written by slots
	whole  map[pod.ID]bool      // taken from theirs as they are
	wholes []pod.ID             // of them, those that are not built yet
	fresh  map[pod.ID]bool      // pods that the merge makes
	chunk  map[pod.ID]bool      // parts of containers that are merged as a whole
	moved  map[target]target    // what came over from theirs
	marks  map[target]bool      // slots that must be exported
	fill   []target             // of theirs, to be written at their new places
	names  map[string]pod.ID

	built map[pod.ID]pod.Change
	state map[pod.ID]*pod.Pod
}

func (m *merger) newRun() *mergeRun {
	return &mergeRun{
		merger: m, edits: [mergeSides]map[target]bool{{}, {}, {}}, windows: map[target]*MergeConflict{},
		pods: map[pod.ID]*mergePod{}, whole: map[pod.ID]bool{}, fresh: map[pod.ID]bool{}, chunk: map[pod.ID]bool{}, moved: map[target]target{},
		marks: map[target]bool{}, names: map[string]pod.ID{}, built: map[pod.ID]pod.Change{}, state: map[pod.ID]*pod.Pod{},
	}
}

func (r *mergeRun) order() []pod.ID        { return slices.Sorted(maps.Keys(r.built)) }
func (r *mergeRun) namesInOrder() []string { return slices.Sorted(maps.Keys(r.names)) }

// merge makes the attempt.
func (r *mergeRun) merge() error {
	all := map[pod.ID]bool{}
	maps.Copy(all, r.changed[oursSide])
	maps.Copy(all, r.changed[theirsSide])
	for t := range r.lists {
		all[t.pod] = true
	}
	ids := slices.Sorted(maps.Keys(all))
	if err := r.findContainers(ids); err != nil {
		return err
	}
	// Arrays last: what becomes of one may depend on a conflict of the slices that show it.
	var results []mergedSlots
	for _, id := range ids {
		if r.chunk[id] {
			continue
		}
		m, err := r.slotsOf(id)
		if err != nil {
			return err
		}
		results = append(results, m)
	}
	if err := r.letGo(); err != nil {
		return err
	}
	if err := r.findTwins(); err != nil {
		return err
	}
	for side := range mergeSides {
		r.arrayEdits[side] = r.anyArray(r.edits[side])
	}
	for _, arrays := range []bool{false, true} {
		for i := range results {
			if err := r.results(&results[i], arrays); err != nil {
				return err
			}
		}
	}
	for i := range results {
		if err := r.take(&results[i]); err != nil {
			return err
		}
	}
	if err := r.takeTwins(); err != nil {
		return err
	}
	if err := r.mergeNames(); err != nil {
		return err
	}
	if err := r.fillAll(); err != nil {
		return err
	}
	return r.build()
}

// mergedSlots is what becomes of the objects of one pod that both sides still have.
type mergedSlots struct {
	id    pod.ID
	slots []pod.Slot
	taken []*mergeSlot // of each: nil is as in ours
	from  []mergeFrom
}

// mergeFrom says whose state a result is.
type mergeFrom uint8

const (
	fromOurs mergeFrom = iota
	fromTheirs
	fromBoth
)

// slotsOf lists the objects of a pod that a side changed and that both have, and
// notes all edits.
func (r *mergeRun) slotsOf(id pod.ID) (mergedSlots, error) {
	m := mergedSlots{id: id}
	first := baseSide // where the objects are listed
	base, err := r.podOf(baseSide, id)
	if err != nil {
		return m, err
	}
	if base == nil {
		first = oursSide // of a pod that both have
		if base, err = r.podOf(oursSide, id); err != nil || base == nil {
			return m, err
		}
	}
	for s := range base.Slots {
		t := target{id, pod.Slot(s)}
		if base.Slots[s].Kind == pod.SlotFree {
			continue
		}
		both := true
		for _, side := range []mergeSide{oursSide, theirsSide} {
			there, err := r.stillThere(first, side, t)
			if err != nil {
				return m, err
			}
			if both = both && there; !there || first != baseSide {
				continue
			}
			changed, err := r.slotChanged(side, t)
			if err != nil {
				return m, err
			}
			if changed {
				r.edits[side][t] = true
			}
		}
		if both && (r.lists[t] || r.idle[oursSide][t] || r.edits[oursSide][t] || r.edits[theirsSide][t] || first != baseSide) {
			m.slots = append(m.slots, pod.Slot(s))
		}
	}
	m.taken, m.from = make([]*mergeSlot, len(m.slots)), make([]mergeFrom, len(m.slots))
	return m, nil
}

func (r *mergeRun) stillThere(first, side mergeSide, t target) (bool, error) {
	if first == baseSide {
		return r.same(side, t)
	}
	if _, ok, err := r.slotOf(side, t); err != nil || !ok {
		return false, err
	}
	fresh, err := r.isNew(side, t)
	return !fresh, err
}

// results merges the objects of a pod, arrays or all others.
func (r *mergeRun) results(m *mergedSlots, arrays bool) error {
	for i, s := range m.slots {
		t := target{m.id, s}
		d, _, err := r.slotOf(oursSide, t)
		if err != nil {
			return err
		}
		if (storedKind(d) == pod.SlotArray) != arrays {
			continue
		}
		if m.taken[i], m.from[i], err = r.object(t); err != nil {
			return err
		}
	}
	return nil
}

// take puts the results of a pod where they belong.
func (r *mergeRun) take(m *mergedSlots) error {
	theirs, all := false, true
	for _, from := range m.from {
		theirs = theirs || from != fromOurs
		all = all && from == fromTheirs
	}
	if !r.changed[theirsSide][m.id] && !theirs {
		return nil
	}
	ours, err := r.podOf(oursSide, m.id)
	if err != nil || ours == nil {
		return err // new, or gone in ours: it comes if something refers to it
	}
	if !r.changed[oursSide][m.id] && all {
		if whole, err := r.keeps(ours, m.id); err != nil {
			return err
		} else if whole {
			return r.takeWhole(m.id)
		}
	}
	if !theirs {
		return nil
	}
	p, err := r.pod(m.id)
	if err != nil {
		return err
	}
	for i, s := range m.slots {
		if m.from[i] != fromOurs {
			p.results[s] = m.taken[i]
		}
	}
	return nil
}

// keeps reports whether a pod of ours, which is that of base, may be taken from theirs as it is. A collect
// of theirs may have taken away the pod, or exports that something new in ours refers to; and theirs may have
// given a slot to another object, which no single commit does.
func (r *mergeRun) keeps(ours *pod.Pod, id pod.ID) (bool, error) {
	theirs, err := r.podOf(theirsSide, id)
	if err != nil || theirs == nil {
		return false, err
	}
	for i := range min(len(ours.Slots), len(theirs.Slots)) {
		if ours.Slots[i].Kind == pod.SlotFree || theirs.Slots[i].Kind == pod.SlotFree {
			continue
		}
		t := target{id, pod.Slot(i)}
		if there, err := r.same(theirsSide, t); err != nil || !there || r.idle[theirsSide][t] {
			return false, err
		}
	}
	for _, e := range ours.Exports {
		if int(e.Slot) >= len(theirs.Slots) || theirs.Slots[e.Slot].Kind == pod.SlotFree || !theirs.Exported(e.Slot) {
			return false, nil
		}
	}
	return true, nil
}
