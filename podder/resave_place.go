package podder

import (
	"cmp"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// slotItem is a slot to be encoded, or a pod with a new export.
type slotItem struct {
	pod, slot int32 // slot is exportOnly for an export
	early     int32 // number in resaver.early, from 1, if it was encoded when it was met
	links     bool  // what it refers to is not what it was
}

const exportOnly = -1

// placeAdded gives new regions their places, as the rules of placer say: slots of
// known regions stay, and none becomes free.
func (x *resaver) placeAdded() {
	p, regions := x.placer, &x.st.regions
	for n := range x.dirty.len() { // as cut does for new ones
		d := x.dirty.at(n)
		r := regions.at(d.region)
		if r.weight > p.heaviest && r.kind != pod.SlotObject && r.kind != pod.SlotBox {
			p.heaviest = r.weight
		}
		if r.weight != d.weight {
			x.undo.pod(r.pod)
			p.st.pods[r.pod].bytes += int(r.weight) - int(d.weight)
		}
	}
	p.markRefHeads()
	if x.added == regions.len() {
		return
	}
	p.cut()
	p.fresh = make([]int32, len(p.st.pods))
	p.next = make([]uint32, len(p.st.pods))
	for i := x.added; i < regions.len(); i++ {
		r := regions.at(i)
		known := int32(len(p.st.pods))
		if to := p.joined(i); to >= 0 && regions.at(to).pod >= 0 {
			r.pod = regions.at(to).pod
			x.undo.pod(r.pod)
		} else {
			if !p.headPodNoting(i, r) {
				continue
			}
			if r.pod == known {
				p.next = append(p.next, 0)
				p.st.byID[p.st.pods[known].id] = known
			}
		}
		if r.kind != pod.SlotFree {
			x.giveSlot(i, r)
		}
	}
}

// headPodNoting is headPod for a pod that may be known.
func (p *placer) headPodNoting(i int32, r *region) bool {
	if near := p.nearby(i, int(r.size)); near >= 0 {
		p.undo.pod(near)
	}
	return p.headPod(i, r)
}

// giveSlot gives a new region the lowest free slot of its pod.
func (x *resaver) giveSlot(i int32, r *region) {
	ps, s := &x.st.pods[r.pod], x.next[r.pod]
	for int(s) < len(ps.slots) && (ps.slots[s].region >= 0 || ps.slots[s].kind != pod.SlotFree) {
		s++
	}
	if int(s) == len(ps.slots) {
		ps.slots = append(roomy(ps.slots), slotState{region: i})
	} else {
		x.undo.slot(r.pod, int(s))
		ps.slots[s] = slotState{region: i}
	}
	r.slot = s
	x.next[r.pod] = s + 1
}

// slotItems lists what is to be encoded, by pod and slot, and marks exports.
func (x *resaver) slotItems() {
	st := x.st
	x.items = x.saved.g.idle.takeItems(int(x.early.len() + x.dirty.len() + st.regions.len() - x.added))
	for n := range x.early.len() {
		if s := x.early.at(n); s.region >= 0 {
			x.items = append(x.items, slotItem{s.pod, int32(s.slot), n + 1, false})
		}
	}
	for n := range x.dirty.len() {
		d := x.dirty.at(n)
		r := st.regions.at(d.region)
		// Not all references of those without a fingerprint are edges.
		links := x.relinked[d.region] || d.relinked(r) || st.prints.list.at(d.region).kind() == printAlways || r.flags&flagRerun != 0
		x.items = append(roomy(x.items), slotItem{r.pod, int32(r.slot), 0, links})
		if links {
			x.exportFrom(d.region, r)
		}
	}
	for i := x.added; i < st.regions.len(); i++ {
		if r := st.regions.at(i); r.kind != pod.SlotFree {
			x.items = append(roomy(x.items), slotItem{r.pod, int32(r.slot), 0, true})
			x.exportFrom(i, r)
		}
	}
	for _, i := range x.heads {
		if r := st.regions.at(st.resolve(i)); !exported(st.pods[r.pod].exports, pod.Slot(r.slot)) {
			x.items = append(x.items, slotItem{r.pod, exportOnly, 0, true})
		}
	}
	if x.undo.cut {
		for i, list := range st.chunked {
			if r := st.regions.at(i); list != x.undo.chunked[i] {
				x.items = append(x.items, slotItem{r.pod, int32(r.slot), 0, true})
				x.exportFrom(i, r) // its chunks are other pods
			}
		}
	}
	x.sortItems(len(st.pods))
}

// sortItems sorts by pod and slot. Where there are many for the number of pods they are
// counted, since those of a pod are few and mostly in order.
func (x *resaver) sortItems(pods int) {
	items := x.items
	bySlot := func(a, b slotItem) int {
		return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.slot, b.slot))
	}
	if len(items) < pods/4 || len(items) < 64 {
		slices.SortFunc(items, bySlot)
		return
	}
	next := ownSlice[int32](&x.walk.own, pods+1)
	for k := range items {
		next[items[k].pod+1]++
	}
	for k := range pods {
		next[k+1] += next[k]
	}
	idle := &x.saved.g.idle
	sorted := idle.takeItems(len(items))[:len(items)]
	for _, it := range items {
		sorted[next[it.pod]] = it
		next[it.pod]++
	}
	from := int32(0)
	for _, end := range next[:pods] { // each is where the next pod begins now
		if list := sorted[from:end]; !slices.IsSortedFunc(list, bySlot) {
			slices.SortFunc(list, bySlot)
		}
		from = end
	}
	idle.giveItems(items)
	x.items = sorted
}

// exportFrom marks what region i refers to in other pods.
func (x *resaver) exportFrom(i int32, r *region) {
	inChunks := x.st.chunked[i] != nil
	for k := r.edge; k < r.edgeEnd; k++ {
		j := x.st.resolve(*x.edges.at(int32(k)))
		to := x.st.regions.at(j)
		if to.pod == r.pod && !inChunks {
			continue
		}
		x.undo.region(j)
		to.flags |= flagExported
		if !exported(x.st.pods[to.pod].exports, pod.Slot(to.slot)) {
			x.items = append(roomy(x.items), slotItem{to.pod, exportOnly, 0, true})
		}
	}
}

// containers is cutContainers for what is new or differs.
func (x *resaver) containers() error {
	st := x.st
	x.frozen = map[int32][]frozenList{}
	touched := func(i int32) bool {
		r := st.regions.at(i)
		return st.chunked[i] != nil || int(r.weight) > chunkFrom*x.cfg.TargetBytes && (r.kind == pod.SlotArray || r.kind == pod.SlotMap || r.kind == pod.SlotString)
	}
	var list []int32
	for n := range x.dirty.len() {
		if d := x.dirty.at(n); touched(d.region) {
			list = append(list, d.region)
		}
	}
	for i := x.added; i < st.regions.len(); i++ {
		if touched(i) {
			list = append(list, i)
		}
	}
	if len(list) == 0 {
		return nil
	}
	x.undo.containers()
	c := &chunker{encoder: x.encoder, had: map[int32]bool{}, lent: map[*chunkList]bool{}}
	for i := range maps.Keys(st.chunked) {
		c.had[i] = true // nothing is out of use before a walk says so
	}
	for _, i := range list {
		if was := st.chunked[i]; was != nil {
			if err := c.compare(i, was, st.regions.at(i)); err != nil {
				return err
			}
		}
	}
	for _, i := range list {
		if st.chunked[i] != nil || c.unchanged(i) {
			continue
		}
		if err := c.fresh(i); err != nil {
			return err
		}
	}
	if err := c.batch.finish(x.ctx, x.sink); err != nil {
		return err
	}
	return c.freeze()
}
