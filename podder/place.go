package podder

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Placement gives every region a (pod, slot):
//
//  1. A region that the state before knew at the same address, with the same
//     kind and type, keeps its place. A variable's box keeps its pod.
//  2. New regions are bundled with their parent, but for those that the strategy
//     has begin pods (strategy.go): cluster.go cuts the tree of first references into
//     connected pieces of at most TargetBytes.
//  3. A piece joins a pod near it that has room (the parent's, a sibling's, that
//     of what it refers to), else the pod that the save made for the piece before it,
//     else it becomes a pod. A larger region is a pod.
//  4. Inside a pod new regions take the lowest free slots in the order in which
//     they were met. A box is slot 0. A slot that becomes free with this save is
//     given away by a later one only: between two objects in one slot lies a
//     version in which it is free, so a checkout never takes one for the other.
//  5. An exported slot never becomes free: others may refer to it whom this
//     graph does not know. While a pod has an exported slot that is not live, it
//     keeps every slot. If the region of such a slot now lies inside a larger
//     one, the slot becomes a forwarder.
//
// All of it depends on the state before and the order in which regions were met,
// which depends on the graph alone.
type placer struct {
	*walk
	cfg   Config
	sink  pod.Sink
	remap []int32 // old pod number to new, -1
	next  []uint32
	moves []move
	keep  []bool  // pod keeps the slots that are not live
	fresh []int32 // new regions, by pod
	podOf []int32 // pods of new regions, -1 for the others and for aliases

	heaviest uint32   // weight of a container
	most     uint32   // up to where pods are filled
	chooser  *chooser // nil if everything is bundled up to that
	from     int32    // regions below it have places
	overflow int32    // one more than the new pod that pieces share for which no near one has room; 0 for none
}

// move is a slot that becomes a forwarder.
type move struct {
	pod  int32
	slot uint32
	to   int32
	in   interior
}

// newRegion reports whether region i has no place from before.
func (p *placer) newRegion(i int32) bool {
	return i >= p.from && p.st.regions.at(i).flags&flagSticky == 0
}

func (p *placer) place(g *Graph, roots []Root) {
	p.remap = make([]int32, len(p.old.pods))
	for i := range p.remap {
		p.remap[i] = -1
	}
	p.placeBoxes(g, roots)
	p.placeKnown()
	p.markRefHeads()
	p.placeNew()
	p.findForwarders()
	p.freeSlots()
	p.giveSlots()
	for i := range p.st.pods {
		p.st.byID[p.st.pods[i].id] = int32(i)
	}
}

// placeBoxes puts boxes into the pods that the variables had.
func (p *placer) placeBoxes(g *Graph, roots []Root) {
	for k, c := range p.cells {
		id, ok := g.roots[c.name]
		if !ok {
			id = roots[k].Pod
		}
		o, known := p.old.byID[id]
		if id == 0 || !known {
			continue
		}
		r := p.st.regions.at(c.region)
		if n := p.remap[o]; n >= 0 && len(p.st.pods[n].slots) > 0 && p.st.pods[n].slots[0].region >= 0 {
			continue
		}
		r.pod, r.slot = p.carry(o), 0
		r.flags |= flagSticky
		ps := &p.st.pods[r.pod]
		if len(ps.slots) == 0 {
			ps.slots = make([]slotState, 1)
		}
		ps.slots[0].region = c.region
		ps.bytes += int(r.weight)
	}
}

// carry takes an old pod over into the new state.
func (p *placer) carry(o int32) int32 {
	if n := p.remap[o]; n >= 0 {
		return n
	}
	was := &p.old.pods[o]
	ps := podState{id: was.id, gone: was.gone, refs: was.refs, exports: was.exports, judged: was.judged, tried: was.tried}
	ps.slots = make([]slotState, len(was.slots))
	for s := range was.slots {
		ps.slots[s] = was.slots[s]
		ps.slots[s].leave()
	}
	p.remap[o] = int32(len(p.st.pods))
	p.st.pods = append(p.st.pods, ps)
	return p.remap[o]
}

// placeKnown takes over the places of regions that are where they were.
func (p *placer) placeKnown() {
	if len(p.old.pods) == 0 {
		return
	}
	for i := range p.st.regions.len() {
		r := p.st.regions.at(i)
		if r.flags&flagSticky == 0 || r.kind == pod.SlotBox {
			continue
		}
		r.pod = p.carry(r.pod)
		ps := &p.st.pods[r.pod]
		ps.slots[r.slot].region = int32(i)
		ps.bytes += int(r.weight)
	}
}

// placeNew gives new regions their pods.
func (p *placer) placeNew() {
	p.cut()
	regions := &p.st.regions
	p.fresh = make([]int32, len(p.st.pods))
	p.podOf = ownSlice[int32](&p.own, int(regions.len()))
	tree := p.onlyCrossings()
	for i := range regions.len() {
		p.podOf[i] = -1
		if !p.newRegion(i) {
			continue
		}
		r := regions.at(i)
		if to := p.joined(i); to >= 0 && regions.at(to).pod >= 0 {
			r.pod = regions.at(to).pod
		} else if !p.headPod(i, r) {
			continue
		}
		if tree && r.parent >= 0 && regions.at(r.parent).pod != r.pod {
			r.flags |= flagExported
		}
		if r.kind != pod.SlotFree {
			p.podOf[i] = r.pod
			r.slot = uint32(p.fresh[r.pod]) // for good if the pod is new
			p.fresh[r.pod]++
		}
	}
}

// headPod finds or makes the pod of region i, which heads a piece. It reports false
// for an alias that needs none: what hangs on it finds its own.
func (p *placer) headPod(i int32, r *region) bool {
	if r.pod = p.nearby(i, int(r.size)); r.pod < 0 {
		if r.kind == pod.SlotFree {
			return false
		}
		if r.pod = p.shared(r); r.pod < 0 {
			r.pod = int32(len(p.st.pods))
			p.st.pods = append(p.st.pods, podState{id: p.sink.NewPod(), isNew: true})
			p.fresh = append(p.fresh, 0)
			if p.shares(r) {
				p.overflow = r.pod + 1
			}
		}
	}
	p.st.pods[r.pod].bytes += int(r.size)
	return true
}

// shared returns the pod that was made for a piece before the one that region r heads, if
// it has room, else -1: where objects of many full pods get a small part each, those lie
// together.
func (p *placer) shared(r *region) int32 {
	if n := p.overflow - 1; n >= 0 && p.shares(r) && p.st.pods[n].bytes+int(r.size) <= int(p.most) {
		return n
	}
	return -1
}

// shares reports whether the piece that region r heads may lie beside others than those it
// hangs on.
func (p *placer) shares(r *region) bool {
	return r.parent >= 0 && r.flags&(flagRefHead|flagApart) == 0
}

// nearby returns a pod beside region i with room for n more bytes, or -1.
func (p *placer) nearby(i int32, n int) int32 {
	regions := &p.st.regions
	r := regions.at(i)
	if r.parent < 0 || r.flags&(flagRefHead|flagApart) != 0 {
		return -1
	}
	fits := func(pod int32) bool { return pod >= 0 && p.st.pods[pod].bytes+n <= int(p.most) }
	if up := regions.at(r.parent).pod; fits(up) {
		return up
	}
	const apart = flagRefHead | flagApart
	if i > 0 && regions.at(i-1).parent == r.parent && regions.at(i-1).flags&apart == 0 && fits(regions.at(i-1).pod) {
		return regions.at(i - 1).pod
	}
	if i+1 < regions.len() && regions.at(i+1).parent == r.parent && !p.newRegion(i+1) && regions.at(i+1).flags&apart == 0 && fits(regions.at(i+1).pod) {
		return regions.at(i + 1).pod
	}
	if r.kind != pod.SlotFree && int32(r.edge) < p.edges.len() {
		if to := p.st.resolve(*p.edges.at(int32(r.edge))); !p.newRegion(to) && regions.at(to).flags&flagRefHead == 0 && fits(regions.at(to).pod) {
			return regions.at(to).pod
		}
	}
	return -1
}

// findForwarders finds slots whose regions became part of others, in pods that
// keep their slots: others may refer to them, or have objects in the pod that
// do.
func (p *placer) findForwarders() {
	for o := range p.old.pods {
		was := &p.old.pods[o]
		live := func(s int) bool {
			n := p.remap[o]
			return n >= 0 && p.st.pods[n].slots[s].region >= 0
		}
		keeps := slices.ContainsFunc(was.exports, func(ex pod.Export) bool {
			return int(ex.Slot) < len(was.slots) && !live(int(ex.Slot)) && was.slots[ex.Slot].region != slotAway
		})
		for s := range was.slots {
			old := was.slots[s].region
			if !keeps || old < 0 || live(s) {
				continue
			}
			ro := p.old.regions.at(old)
			if ro.kind != pod.SlotObject && ro.kind != pod.SlotArray {
				continue
			}
			j := p.st.memory.find(p.st, ro.addr)
			if j < 0 || ro.plan.sentinel != nil && p.st.regions.at(j).plan == ro.plan { // its slot goes on naming it
				continue
			}
			in, ok := p.inside(j, ro)
			if !ok {
				continue
			}
			p.moves = append(p.moves, move{pod: p.carry(int32(o)), slot: uint32(s), to: j, in: in})
		}
	}
}

// inside locates an old region within region j of the new state.
func (p *placer) inside(j int32, ro *region) (interior, bool) {
	r := p.st.regions.at(j)
	off := uintptr(ro.addr) - uintptr(r.addr)
	if off+p.old.size(ro) > p.st.size(r) {
		return interior{}, false
	}
	t := part{typ: ro.plan.typ, count: 1}
	if ro.kind == pod.SlotArray {
		t.count, t.array = p.old.spans.at(ro.extra).count, true
	}
	in, ok := p.eng.locate(r, off, t, nil)
	p.eng.stepIDs(in.steps, r.plan.typ)
	return in, ok
}

// freeSlots decides which pods keep slots that are not live, and frees the
// slots of the others (rule 5).
func (p *placer) freeSlots() {
	p.keep = make([]bool, len(p.st.pods))
	p.next = make([]uint32, len(p.st.pods))
	for i := range p.st.pods {
		ps := &p.st.pods[i]
		for _, ex := range ps.exports {
			if int(ex.Slot) < len(ps.slots) && ps.slots[ex.Slot].unknown() {
				p.keep[i] = true
				break
			}
		}
		if p.keep[i] {
			continue
		}
		for s := range ps.slots {
			if ps.slots[s].unknown() {
				region := int32(-1)
				if ps.slots[s].kind != pod.SlotFree {
					region = slotFreed
				}
				ps.slots[s] = slotState{region: region}
			}
		}
	}
}

// giveSlots numbers the new regions of each pod (rule 4).
func (p *placer) giveSlots() {
	p.roomForSlots()
	for i, at := range p.podOf {
		if at < 0 {
			continue
		}
		ps, s := &p.st.pods[at], p.next[at]
		if ps.isNew {
			ps.slots[s].region = int32(i)
			p.next[at] = s + 1
			continue
		}
		for int(s) < len(ps.slots) && (ps.slots[s].region != -1 || ps.slots[s].kind != pod.SlotFree) {
			s++
		}
		if int(s) == len(ps.slots) {
			ps.slots = append(ps.slots, slotState{region: int32(i)})
		} else {
			ps.slots[s] = slotState{region: int32(i)}
		}
		p.st.regions.at(int32(i)).slot = s
		p.next[at] = s + 1
	}
}

// roomForSlots cuts the slots of all new pods from one piece of memory.
func (p *placer) roomForSlots() {
	total := 0
	for i, n := range p.fresh {
		if p.st.pods[i].isNew {
			total += int(n)
		}
	}
	all := ownSlice[slotState](&p.st.own, total)
	for i, n := range p.fresh {
		if p.st.pods[i].isNew {
			p.st.pods[i].slots, all = all[:n:n], all[n:]
		}
	}
}
