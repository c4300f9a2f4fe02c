package podder

import (
	"github.com/poddb/poddb/internal/pod"
)

// adopt takes over what a load has made: the pods as they are stored, the
// regions with their places, the pods of variables. A save straight after finds
// what differs between the two, after a load nothing. A pod may be adopted again
// with further regions, or with another stored state.
func (g *Graph) adopt(pods []loadedPod, regions []liveRegion, roots map[string]pod.ID) {
	g.sweep()
	st := g.cur
	for _, p := range pods {
		g.adoptPod(p)
	}
	merged := make(map[pod.ID]*pod.Pod, len(pods))
	for _, p := range pods {
		merged[p.id] = p.merged
	}
	a := adopter{g: g}
	for i := range regions {
		r := &regions[i]
		if r.kind == pod.SlotForward {
			continue
		}
		if r.pod != a.id { // regions of one pod are neighbours
			a.enter(r.pod, merged[r.pod])
		}
		a.region(r, storedReach(a.merged, r))
	}
	for i := range regions {
		if r := &regions[i]; r.kind == pod.SlotForward {
			st.adoptForward(merged, r)
		}
	}
	g.adoptChunks(merged, regions)
	if st.prints.known {
		for st.prints.list.len() < st.regions.len() { // what differs is found when it is looked at
			st.prints.put(regionPrint{what: printAlways})
		}
	}
	for name, id := range roots {
		g.roots[name] = id
	}
}

func (g *Graph) adoptPod(p loadedPod) {
	st := g.cur
	i, ok := st.byID[p.id]
	if !ok {
		i = int32(len(st.pods))
		st.pods = append(st.pods, podState{id: p.id})
		st.byID[p.id] = i
	}
	ps := &st.pods[i]
	if p.merged == collectedPod {
		st.forgetPrints() // all that lives in it is to be written
	}
	ps.refs, ps.exports, ps.gone = p.merged.Refs, p.merged.Exports, p.merged == collectedPod
	was := ps.slots
	ps.slots = make([]slotState, len(p.merged.Slots))
	for s, d := range p.merged.Slots {
		ps.slots[s] = slotState{kind: d.Kind, region: -1, hash: g.hashStored(d)}
		if to, away := awayTo(p.merged, pod.Slot(s)); away {
			ps.slots[s].region = slotAway
			st.wentAway(pod.Ref{Pod: p.id, Slot: pod.Slot(s)}, pod.Ref{Pod: to.pod, Slot: to.slot})
		}
	}
	for s := range was {
		switch r := was[s].region; {
		case r < 0:
		case s < len(ps.slots) && sameKind(ps.slots[s].kind, st.regions.at(r)):
			ps.slots[s].region = r
			if ps.slots[s].hash != was[s].hash {
				st.forgetShadow(st.regions.at(r))
				delete(st.chunked, r)
				if st.prints.known { // memory does not say that what is stored differs
					*st.prints.list.at(r) = regionPrint{what: printAlways}
				}
			}
		default:
			st.forgetPrints()
			g.drop(r) // the slot holds something else now
		}
	}
}

// hashStored hashes a slot as the encoder does.
func (g *Graph) hashStored(d pod.Data) slotHash {
	switch d.Kind {
	case pod.SlotFree:
		return 0
	case pod.SlotString:
		return g.eng.hashSlot(d.Kind, d.Type, nil, d.Bytes)
	case pod.SlotArray:
		n := len(d.Run(0))
		return g.eng.hashSlot(d.Kind, d.Type, d.Bytes[:n], d.Bytes[n:])
	}
	return g.eng.hashSlot(d.Kind, d.Type, d.Bytes, nil)
}

// storedReach returns how many elements of a live array are stored: its slot may
// be referred to by those whom this graph does not know.
func storedReach(p *pod.Pod, lr *liveRegion) int {
	if lr.kind != pod.SlotArray {
		return lr.count
	}
	if p == nil || int(lr.slot) >= len(p.Slots) || storedKind(&p.Slots[lr.slot]) != pod.SlotArray {
		return 0 // nobody refers to it at the head
	}
	c := cursor{buf: p.Slots[lr.slot].Run(0)}
	if p.Slots[lr.slot].Kind == pod.SlotChunks {
		c.off = 2 // kind and flags
	}
	c.uvarint()
	return int(min(c.uvarint(), uint64(lr.count)))
}

// adopter notes live regions, pod by pod.
type adopter struct {
	g      *Graph
	id     pod.ID
	merged *pod.Pod
	number int32 // of the pod, in the state
	plans  [64]adoptedType
}

// adoptedType is a type that was asked for lately, and its plan.
type adoptedType struct {
	address uintptr // of the type
	plan    *plan
}

func (a *adopter) enter(id pod.ID, merged *pod.Pod) {
	n, ok := a.g.cur.byID[id]
	if !ok {
		panic("podder: a live region in a pod that was never adopted")
	}
	a.id, a.merged, a.number = id, merged, n
}

func (a *adopter) plan(lr *liveRegion) *plan {
	address := typeAddress(lr.typ)
	t := &a.plans[address/64%uintptr(len(a.plans))]
	if t.address != address {
		*t = adoptedType{address, a.g.eng.planOf(lr.typ)}
	}
	return t.plan
}

// region notes a live region. One that is known at the same place and address is
// left alone; another one at the same place replaces it.
func (a *adopter) region(lr *liveRegion, reach int) {
	g, st, n := a.g, a.g.cur, a.number
	p := a.plan(lr)
	if s := g.eng.sentinels.at(lr.addr); s != nil && lr.kind == pod.SlotObject && s.sentinel.addr == lr.addr {
		p = s
	}
	ps := &st.pods[n]
	for int(lr.slot) >= len(ps.slots) { // the head may have fewer
		ps.slots = append(ps.slots, slotState{region: -1})
	}
	slot := &ps.slots[lr.slot]
	if slot.region >= 0 {
		if r := st.regions.at(slot.region); r.addr == lr.addr && r.plan == p && r.kind == lr.kind {
			return
		}
		st.forgetPrints()
		g.drop(slot.region)
	}
	r, i := st.addRegion(lr.addr)
	*r = region{addr: lr.addr, plan: p, kind: lr.kind, extra: -1, parent: -1, pod: n, slot: uint32(lr.slot), next: -1}
	if lr.kind == pod.SlotArray || lr.kind == pod.SlotString {
		r.extra = st.spans.put(span{count: lr.count, reach: reach, perRun: lr.perRun})
	}
	slot.region = i
	if size := st.size(r); size > 0 {
		switch lr.kind {
		case pod.SlotBox:
		case pod.SlotString:
			st.strings.add(st, i)
		default:
			st.memory.add(st, i)
		}
	}
}

// drop takes region i out of the state; its number stays unused.
func (g *Graph) drop(i int32) {
	st := g.cur
	r := st.regions.at(i)
	if st.size(r) > 0 {
		switch r.kind {
		case pod.SlotBox, pod.SlotFree:
		case pod.SlotString:
			st.strings.remove(st, i)
		default:
			st.memory.remove(st, i)
		}
	}
	if r.addr != nil {
		st.absent, st.dropped = st.absent+1, st.dropped+1
	}
	r.kind, r.extra = pod.SlotBox, -1
	st.moveRegion(i, nil)
	delete(st.chunked, i)
}

// knows reports whether the graph has a pod.
func (g *Graph) knows(id pod.ID) bool {
	_, ok := g.cur.byID[id]
	return ok
}

// live returns the region that lives at a slot.
func (g *Graph) live(id pod.ID, s pod.Slot) (liveRegion, bool) {
	n, ok := g.cur.byID[id]
	if !ok || int(s) >= len(g.cur.pods[n].slots) {
		return liveRegion{}, false
	}
	i := g.cur.pods[n].slots[s].region
	if i < 0 {
		return liveRegion{}, false
	}
	r := g.cur.regions.at(i)
	lr := liveRegion{pod: id, slot: s, kind: r.kind, typ: r.plan.typ, addr: r.addr, count: 1}
	if r.extra >= 0 && (r.kind == pod.SlotArray || r.kind == pod.SlotString) {
		sp := g.cur.spans.at(r.extra)
		lr.count, lr.perRun = sp.count, sp.perRun
	}
	return lr, true
}
