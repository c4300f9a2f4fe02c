package podder

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// A sentinel may have several slots: a graph that has not loaded the one that
// others refer to makes another. All of them are the same object in memory, so
// its address does not say which one a reference is stored to. Each slot is a
// region of its own; a region goes on referring to the slot that it has been
// referring to, and a new one to the first. All references of one region to a
// sentinel lead to one slot, since a save writes all of them.

// namedPlaces says where sentinels with several slots are, and who refers to which.
type namedPlaces struct {
	// regions are those of a sentinel, by its plan; none if it has but one.
	regions map[*plan][]int32
	// others are what regions refer to that do not refer to the first of these.
	others map[namedUse]int32
}

// namedUse is a region, and the sentinel to which it refers.
type namedUse struct {
	from int32
	plan *plan
}

func (x *namedPlaces) add(p *plan, i int32) {
	if x.regions == nil {
		x.regions = map[*plan][]int32{}
	}
	if !slices.Contains(x.regions[p], i) {
		x.regions[p] = append(x.regions[p], i)
	}
}

// use notes that region from refers to region to of the sentinel.
func (x *namedPlaces) use(from int32, p *plan, to int32) {
	if x.regions[p][0] == to {
		delete(x.others, namedUse{from, p})
		return
	}
	if x.others == nil {
		x.others = map[namedUse]int32{}
	}
	x.others[namedUse{from, p}] = to
}

// isNamed reports whether region i is one of the sentinel of plan p.
func (st *state) isNamed(i int32, p *plan) bool {
	return i >= 0 && st.regions.at(i).kind == pod.SlotObject && st.regions.at(i).plan == p
}

// firstNamed returns the region of a sentinel to which those refer of which nothing
// else is known, -1 for none.
func (st *state) firstNamed(p *plan) int32 {
	if list := st.named.regions[p]; len(list) > 0 && st.isNamed(list[0], p) {
		return list[0]
	}
	if i := st.memory.find(st, p.sentinel.addr); st.isNamed(i, p) {
		return i
	}
	return -1
}

// namedBefore returns the region of the sentinel in the state before to which the
// region being scanned referred, or would refer; -1 for none.
func (w *walk) namedBefore(p *plan) int32 {
	r := w.st.regions.at(w.current)
	from := int32(-1)
	switch {
	case r.kind == pod.SlotBox:
		if was, ok := w.oldBoxes[w.current]; ok {
			from = was
		}
	case r.flags&flagSticky != 0:
		from = w.old.pods[r.pod].slots[r.slot].region
	}
	if to, ok := w.old.named.others[namedUse{from, p}]; ok && w.old.isNamed(to, p) {
		return to
	}
	return w.old.firstNamed(p)
}

// namedRegion returns the region of a sentinel that has several; -1 if it is to be
// found like others, since it is a part of something or new.
func (w *walk) namedRegion(p *plan) int32 {
	o := w.namedBefore(p)
	addr := p.sentinel.addr
	if i := w.st.memory.find(w.st, addr); o < 0 || i >= 0 && !w.st.isNamed(i, p) || i < 0 && w.touches(addr, p.size) {
		return -1
	}
	i, ok := w.namedNow[o]
	if !ok || !w.st.isNamed(i, p) {
		i = w.add(candidate{addr: addr, plan: p, kind: pod.SlotObject, count: 1, reach: 1})
		w.stick(i, w.old.regions.at(o))
		if w.namedNow == nil {
			w.namedNow = map[int32]int32{}
		}
		w.namedNow[o] = i
		w.st.named.add(p, i)
	}
	w.st.named.use(w.current, p, i)
	return i
}

// noteBox notes what the box of a variable was in the state before.
func (w *walk) noteBox(i int32, r Root) {
	if len(w.old.named.regions) == 0 {
		return
	}
	id, ok := w.oldRoots[r.Name]
	if !ok {
		id = r.Pod
	}
	if was := w.old.regionIn(pod.Ref{Pod: id}); was >= 0 {
		if w.oldBoxes == nil {
			w.oldBoxes = map[int32]int32{}
		}
		w.oldBoxes[i] = was
	}
}

// namedLinks are the references to sentinels that a load into a graph has followed,
// as far as they do not lead to the first slot.
type namedLinks struct {
	g     *Graph // nil if there is none
	anew  bool   // its state will be a new one
	first map[*plan]pod.Ref
	from  map[namedLink]loadSlot // to which slot
}

type namedLink struct {
	slot loadSlot
	plan *plan
}

// placeOf returns where region i is stored.
func (st *state) placeOf(i int32) pod.Ref {
	r := st.regions.at(i)
	return pod.Ref{Pod: st.pods[r.pod].id, Slot: pod.Slot(r.slot)}
}

// regionIn returns the region that lives in a slot, or -1.
func (st *state) regionIn(ref pod.Ref) int32 {
	n, ok := st.byID[ref.Pod]
	if !ok || int(ref.Slot) >= len(st.pods[n].slots) {
		return -1
	}
	return st.pods[n].slots[ref.Slot].region
}

func (s loadSlot) ref() pod.Ref { return pod.Ref{Pod: s.pod.id, Slot: s.slot} }

// adoptNamed takes over what a load has learned of the slots of sentinels.
func (g *Graph) adoptNamed(l *loader) {
	if len(l.named.from) == 0 {
		return
	}
	owners := map[pod.ID][]loadSlot{} // of chunks
	for s, list := range l.chunked {
		for k := range list.chunks {
			owners[list.chunks[k].id] = append(owners[list.chunks[k].id], s)
		}
	}
	st := g.cur
	for link, target := range l.named.from {
		first, to := st.regionIn(l.named.first[link.plan]), st.regionIn(target.ref())
		if !st.isNamed(first, link.plan) || !st.isNamed(to, link.plan) {
			continue
		}
		if list := st.named.regions[link.plan]; len(list) > 0 && !st.isNamed(list[0], link.plan) {
			delete(st.named.regions, link.plan)
		}
		st.named.add(link.plan, first)
		st.named.add(link.plan, to)
		for _, s := range append(owners[link.slot.pod.id], link.slot) {
			if from := st.regionIn(s.ref()); from >= 0 {
				st.named.use(from, link.plan, to)
			}
		}
	}
}
