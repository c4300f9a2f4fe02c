package podder

import (
	"math/bits"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// edgeSets finds, for the slots of one pod, which reference numbers each
// reaches through the other slots: strongly connected components first (Tarjan,
// "Depth-first search and linear graph algorithms", SIAM J. Comput. 1972, on a
// stack of its own), then one bit set for each component.
type edgeSets struct {
	words  int
	nodes  []edgeNode
	byslot []int32 // slot to node, -1
	stack  []int32
	frames []edgeFrame
	sets   []uint64
	comps  int32
	time   int32
	// downward says that there was no need for nodes: sets are those of the slots.
	downward bool
}

type edgeNode struct {
	from, to  int // links
	index     int32
	low       int32
	component int32 // -1 until known
}

type edgeFrame struct {
	node int32
	next int
}

// compute fills the sets for the encoded slots of a pod; links are those of
// encoder.links, of which those of slots[i] begin at starts[i].
func (x *edgeSets) compute(starts, slots, links []uint32, refs int) {
	if x.downward = x.down(starts, slots, links, refs); x.downward {
		return
	}
	x.begin(starts, slots, links, refs)
	for i := range x.nodes {
		if x.nodes[i].index < 0 {
			x.visit(int32(i), links)
		}
	}
}

// down fills the sets of a pod whose slots 0 and up are all encoded, and refer to slots
// behind them only, as those of trees do: then each set is known when it is needed. It
// reports false if the pod is not like that, or has many references.
func (x *edgeSets) down(starts, slots, links []uint32, refs int) bool {
	if refs > 64 {
		return false
	}
	x.words = 1
	x.sets = slices.Grow(x.sets[:0], len(slots))[:len(slots)]
	sets, to := x.sets, len(links)
	for i := len(sets) - 1; i >= 0; i-- {
		from, set := int(starts[i]), uint64(0)
		for _, l := range links[from:to] {
			switch t := int(l >> 1); {
			case l&1 != 0:
				set |= 1 << (t & 63)
			case t <= i || t >= len(sets):
				return false
			default:
				set |= sets[t]
			}
		}
		if slots[i] != uint32(i) {
			return false
		}
		sets[i], to = set, from
	}
	return true
}

// begin makes a node of each encoded slot.
func (x *edgeSets) begin(starts, slots, links []uint32, refs int) {
	x.words = (refs + 63) / 64
	x.nodes, x.byslot, x.sets = x.nodes[:0], x.byslot[:0], x.sets[:0]
	x.comps, x.time = 0, 0
	for i, s := range slots {
		for len(x.byslot) <= int(s) {
			x.byslot = append(x.byslot, -1)
		}
		x.byslot[s] = int32(i)
		to := len(links)
		if i+1 < len(starts) {
			to = int(starts[i+1])
		}
		x.nodes = append(x.nodes, edgeNode{from: int(starts[i]), to: to, index: -1, component: -1})
	}
}

// visit runs Tarjan's algorithm from node n.
func (x *edgeSets) visit(n int32, links []uint32) {
	x.enter(n)
	for len(x.frames) > 0 {
		f := &x.frames[len(x.frames)-1]
		v := f.node
		nv := &x.nodes[v]
		if f.next < nv.to {
			l := links[f.next]
			f.next++
			if l&1 != 0 {
				continue
			}
			u := x.node(l >> 1)
			switch {
			case u < 0:
			case x.nodes[u].index < 0:
				x.enter(u)
			case x.nodes[u].component < 0:
				nv.low = min(nv.low, x.nodes[u].index)
			}
			continue
		}
		x.frames = x.frames[:len(x.frames)-1]
		if nv.low == nv.index {
			x.finish(v, links)
		}
		if k := len(x.frames); k > 0 {
			up := &x.nodes[x.frames[k-1].node]
			up.low = min(up.low, nv.low)
		}
	}
}

func (x *edgeSets) enter(n int32) {
	x.nodes[n].index, x.nodes[n].low = x.time, x.time
	x.time++
	x.stack = append(x.stack, n)
	x.frames = append(x.frames, edgeFrame{node: n, next: x.nodes[n].from})
}

// node returns the node of a slot, -1 for one that is not encoded.
func (x *edgeSets) node(slot uint32) int32 {
	if int(slot) >= len(x.byslot) {
		return -1
	}
	return x.byslot[slot]
}

// finish makes the component of root v and its set.
func (x *edgeSets) finish(v int32, links []uint32) {
	c := x.comps
	x.comps++
	at := len(x.sets)
	x.sets = append(x.sets, make([]uint64, x.words)...)
	set := x.sets[at:]
	first := len(x.stack) - 1
	for x.stack[first] != v {
		first--
	}
	for _, u := range x.stack[first:] {
		x.nodes[u].component = c
	}
	for _, u := range x.stack[first:] {
		for _, l := range links[x.nodes[u].from:x.nodes[u].to] {
			if l&1 != 0 {
				set[l>>7] |= 1 << (l >> 1 & 63)
			} else if t := x.node(l >> 1); t >= 0 && x.nodes[t].component != c {
				from := int(x.nodes[t].component) * x.words
				for w, bits := range x.sets[from : from+x.words] {
					set[w] |= bits
				}
			}
		}
	}
	x.stack = x.stack[:first]
}

// fromFirst returns the edge set of the first encoded slot: of most pods nothing else
// is exported, and then it is enough to go from slot to slot.
func (x *edgeSets) fromFirst(starts, slots, links []uint32, refs, inUse int) pod.EdgeSet {
	if x.down(starts, slots, links, refs) {
		return edgeSetOf(x.sets[:1], inUse)
	}
	x.begin(starts, slots, links, refs)
	x.sets = append(x.sets, make([]uint64, x.words)...)
	x.nodes[0].index = 0
	x.stack = append(x.stack[:0], 0)
	for len(x.stack) > 0 {
		n := &x.nodes[x.stack[len(x.stack)-1]]
		x.stack = x.stack[:len(x.stack)-1]
		for _, l := range links[n.from:n.to] {
			if l&1 != 0 {
				x.sets[l>>7] |= 1 << (l >> 1 & 63)
			} else if t := x.node(l >> 1); t >= 0 && x.nodes[t].index < 0 {
				x.nodes[t].index = 0
				x.stack = append(x.stack, t)
			}
		}
	}
	return edgeSetOf(x.sets, inUse)
}

// set returns the edge set of a slot among inUse references, if there are some and the
// slot is encoded.
func (x *edgeSets) set(slot uint32, inUse int) (_ pod.EdgeSet, ok bool) {
	from := int(slot)
	if !x.downward {
		n := x.node(slot)
		if n < 0 {
			return pod.EdgeSet{}, false
		}
		from = int(x.nodes[n].component) * x.words
	}
	if from >= len(x.sets) { // no references, or a slot that is not encoded
		return pod.EdgeSet{}, false
	}
	return edgeSetOf(x.sets[from:from+x.words], inUse), true
}

// edgeSetOf returns a set of reference numbers, inUse of which there are.
func edgeSetOf(set []uint64, inUse int) pod.EdgeSet {
	count := 0
	for _, w := range set {
		count += bits.OnesCount64(w)
	}
	if count == inUse {
		return pod.EdgeSet{All: true}
	}
	var list []uint32
	for w, word := range set {
		for ; word != 0; word &= word - 1 {
			list = append(list, uint32(w*64+bits.TrailingZeros64(word)))
		}
	}
	return pod.EdgeSet{List: list}
}

// exports returns the exports of the pod being written: those it had, slot 0,
// and what others refer to now. The sets of slots that are live are exact.
// Those of slots that are not keep what they had, and gain what changed live
// slots refer to, since they may lead there.
func (e *encoder) exports(ps *podState, slots []uint32, marked []uint32) []pod.Export {
	e.starts = e.starts[:0]
	for k := range e.out {
		e.starts = append(e.starts, uint32(e.out[k].links))
	}
	return e.exportsFrom(make([]pod.Export, 0, len(ps.exports)+len(marked)), ps, slots, marked)
}

// exportsFrom is exports by encoder.starts, appended to list, which is empty.
func (e *encoder) exportsFrom(list []pod.Export, ps *podState, slots []uint32, marked []uint32) []pod.Export {
	add := func(s uint32) {
		list = append(list, pod.Export{Slot: pod.Slot(s)})
	}
	old := ps.exports
	for len(old) > 0 || len(marked) > 0 {
		switch {
		case len(marked) == 0 || len(old) > 0 && uint32(old[0].Slot) < marked[0]:
			add(uint32(old[0].Slot))
			old = old[1:]
		case len(old) == 0 || marked[0] < uint32(old[0].Slot):
			add(marked[0])
			marked = marked[1:]
		default:
			add(marked[0])
			old, marked = old[1:], marked[1:]
		}
	}
	inUse := 0
	for _, r := range e.refs {
		if r.Pod != 0 {
			inUse++
		}
	}
	if inUse == 0 {
		return list
	}
	if len(list) == 1 && list[0].Slot == 0 && len(slots) > 0 && slots[0] == 0 {
		list[0].Edges = e.sets.fromFirst(e.starts, slots, e.links, len(e.refs), inUse)
		return list
	}
	e.sets.compute(e.starts, slots, e.links, len(e.refs))
	for i := range list {
		ex := &list[i]
		var live bool
		if ex.Edges, live = e.sets.set(uint32(ex.Slot), inUse); !live {
			ex.Edges = e.deadEdges(ps, ex.Slot, inUse)
		}
	}
	return list
}

// deadEdges returns the edge set of an exported slot that is not live.
func (e *encoder) deadEdges(ps *podState, s pod.Slot, inUse int) pod.EdgeSet {
	k, ok := slices.BinarySearchFunc(ps.exports, s, func(x pod.Export, s pod.Slot) int { return int(x.Slot) - int(s) })
	if !ok {
		return pod.EdgeSet{}
	}
	set := map[uint32]struct{}{}
	for _, n := range ps.exports[k].Edges.List {
		set[n] = struct{}{}
	}
	if ps.exports[k].Edges.All {
		for n, r := range ps.refs {
			if r.Pod != 0 {
				set[uint32(n)] = struct{}{}
			}
		}
	}
	away := ps.slots[s].region == slotAway // it leads where it did
	for i, o := range e.out {
		if away || !o.changed {
			continue
		}
		to := len(e.links)
		if i+1 < len(e.out) {
			to = e.out[i+1].links
		}
		for _, l := range e.links[o.links:to] {
			if l&1 != 0 {
				set[l>>1] = struct{}{}
			}
		}
	}
	if len(set) == inUse {
		return pod.EdgeSet{All: true}
	}
	var list []uint32
	for n := range set {
		list = append(list, n)
	}
	slices.Sort(list)
	return pod.EdgeSet{List: list}
}
