package podder

import (
	"container/heap"
	"math/bits"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Ways to what changed. The nodes of the search are exported slots, its edges what
// their pods say they reach, so nothing is decoded but the pods that changed. It
// goes on first where ids are near to those of pods that changed, because pods of one
// variable and of one save have neighbouring ids, and near to the variables. It ends when every changed slot has a way, or all that the
// variables reach was seen.

// changedSlots returns the slots that both states of a pod have, and that differ.
func changedSlots(a, b *pod.Pod) []pod.Slot {
	renamed := renumbered(a, b)
	var list []pod.Slot
	for i := range min(len(a.Slots), len(b.Slots)) {
		x, y := &a.Slots[i], &b.Slots[i]
		if x.Kind == pod.SlotFree || y.Kind == pod.SlotFree {
			continue
		}
		if renamed || !sameData(x, y) {
			list = append(list, pod.Slot(i))
		}
	}
	return list
}

// renumbered reports whether numbers of references mean others than they did.
func renumbered(a, b *pod.Pod) bool {
	for i := range min(len(a.Refs), len(b.Refs)) {
		if a.Refs[i] != b.Refs[i] && a.Refs[i].Pod != 0 && b.Refs[i].Pod != 0 {
			return true
		}
	}
	return false
}

func sameData(x, y *pod.Data) bool {
	return x.Kind == y.Kind && x.Type == y.Type && string(x.Bytes) == string(y.Bytes) && slices.Equal(x.Runs, y.Runs)
}

// wayNode is an exported slot that the search has found.
type wayNode struct {
	at    target
	up    *wayNode
	depth int
	cost  int
	order int
}

type wayHeap []*wayNode

func (h wayHeap) Len() int { return len(h) }
func (h wayHeap) Less(i, j int) bool {
	if h[i].cost != h[j].cost {
		return h[i].cost < h[j].cost
	}
	return h[i].order < h[j].order
}
func (h wayHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *wayHeap) Push(x any)   { *h = append(*h, x.(*wayNode)) }
func (h *wayHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// wayStep: a step deeper counts as much as being so many times half as near. With fewer, a
// search in a wide container goes through what hangs in the wrong part of it first.
const wayStep = 3

// ways is one search.
type ways struct {
	*differ
	leads map[target][]target // exported slots of changed pods: the changed slots they reach
	doors map[target][]target // the other way round, the nearest first
	open  map[target]bool     // changed slots without a way
	ids   []pod.ID            // of pods with such, ascending
	heap  wayHeap
	known map[target]*wayNode
}

// findWays fills d.way, and returns the variables that may have to be compared. Variables whose
// root pods changed are looked at first, and the others only if that did not find all: there may
// be many. all may be nil.
func (d *differ) findWays(roots []DiffVariable, all func() ([]DiffVariable, error)) ([]DiffVariable, error) {
	if len(roots) == 0 && all != nil {
		var err error
		if roots, err = all(); err != nil || len(roots) == 0 {
			return nil, err // there is nothing that the changed pods could belong to
		}
		all = nil
	}
	w := d.newWays()
	if err := w.lookAll(); err != nil {
		return nil, err
	}
	var near []*wayNode
	for _, r := range roots {
		if _, found := slices.BinarySearch(w.ids, r.B); found {
			w.reach(nil, target{pod: r.B})
			near = append(near, w.known[target{pod: r.B}])
		}
	}
	for _, n := range near {
		w.arrive(n)
	}
	if len(w.open) == 0 {
		return roots, nil
	}
	if all != nil {
		var err error
		if roots, err = all(); err != nil {
			return nil, err
		}
	}
	for _, r := range roots {
		if r.B != 0 {
			w.reach(nil, target{pod: r.B})
		}
	}
	return roots, w.search()
}

func (d *differ) newWays() *ways {
	return &ways{differ: d, leads: map[target][]target{}, doors: map[target][]target{}, open: map[target]bool{}, known: map[target]*wayNode{}}
}

// lookAll looks at the pods that changed.
func (w *ways) lookAll() error {
	for id := range w.changed {
		if err := w.look(id); err != nil {
			return err
		}
	}
	slices.Sort(w.ids)
	return nil
}

// search goes on from what is reached.
func (w *ways) search() error {
	for len(w.open) > 0 && len(w.heap) > 0 {
		if err := w.b.ctx.Err(); err != nil {
			return err
		}
		if err := w.step(heap.Pop(&w.heap).(*wayNode)); err != nil {
			return err
		}
	}
	return nil
}

// look finds the changed slots of a pod, and which exported ones reach them.
func (w *ways) look(id pod.ID) error {
	pa, err := w.podOf(w.a, id)
	if err != nil || pa == nil { // new: whoever refers to it changed
		return err
	}
	pb, err := w.podOf(w.b, id)
	if err != nil || pb == nil {
		return err
	}
	list := changedSlots(pa, pb)
	for _, s := range list {
		if to, moved := awayTo(pb, s); moved && !isAway(pa, s) {
			if err := w.wantMoved(to); err != nil {
				return err
			}
		}
	}
	return w.want(id, pb, list)
}

// wantMoved has a way looked for to an object that was in another pod before.
func (w *ways) wantMoved(to target) error {
	at, ok, err := w.moved(w.b, to)
	if err != nil || !ok {
		return err
	}
	p, err := w.podOf(w.b, at.pod)
	if err != nil || p == nil {
		return err
	}
	return w.want(at.pod, p, []pod.Slot{at.slot})
}

// moved follows an object that went from pod to pod.
func (d *differ) moved(v *viewer, t target) (_ target, ok bool, err error) {
	for range maxForwards {
		p, err := d.podOf(v, t.pod)
		if err != nil || p == nil || int(t.slot) >= len(p.Slots) {
			return t, false, err
		}
		to, away := awayTo(p, t.slot)
		if !away {
			return t, true, nil
		}
		t = to
	}
	return t, false, nil
}

// now is where an object is that either version has at a place: one place for both.
func (d *differ) now(t target) (target, error) {
	for _, v := range []*viewer{d.b, d.a} {
		if !d.changed[t.pod] {
			return t, nil
		}
		to, ok, err := d.moved(v, t)
		if err != nil {
			return t, err
		}
		if ok {
			t = to
		}
	}
	return t, nil
}

// want has ways looked for to slots of a pod.
func (w *ways) want(id pod.ID, pb *pod.Pod, list []pod.Slot) error {
	if len(list) == 0 {
		return nil
	}
	w.ids = append(w.ids, id)
	from := map[pod.Slot][]pod.Slot{} // by slot: those that refer to it
	for s := range pb.Slots {
		err := w.b.slotRefs(target{id, pod.Slot(s)}, pb, func(t target) error {
			if t.pod == id {
				from[t.slot] = append(from[t.slot], pod.Slot(s))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, s := range list {
		w.open[target{id, s}] = true
		reach := []pod.Slot{s}
		seen := map[pod.Slot]bool{s: true}
		for len(reach) > 0 {
			x := reach[0]
			reach = reach[1:]
			if pb.Exported(x) {
				door, inside := target{id, x}, target{id, s}
				w.leads[door] = append(w.leads[door], inside)
				w.doors[inside] = append(w.doors[inside], door)
			}
			for _, up := range from[x] {
				if !seen[up] {
					seen[up] = true
					reach = append(reach, up)
				}
			}
		}
	}
	return nil
}

// reach notes an exported slot that another one leads to.
func (w *ways) reach(up *wayNode, at target) {
	if w.known[at] != nil {
		return
	}
	n := &wayNode{at: at, up: up, order: len(w.known)}
	w.known[at] = n
	if up != nil {
		n.depth = up.depth + 1
	}
	i, found := slices.BinarySearch(w.ids, at.pod)
	near := uint64(1) << 40
	if found {
		near = 0
	}
	if i < len(w.ids) {
		near = min(near, uint64(w.ids[i]-at.pod))
	}
	if i > 0 {
		near = min(near, uint64(at.pod-w.ids[i-1]))
	}
	n.cost = wayStep*n.depth + bits.Len64(near)
	heap.Push(&w.heap, n)
}

// arrive ends the ways that lead here.
func (w *ways) arrive(n *wayNode) {
	for _, s := range w.leads[n.at] {
		if !w.open[s] {
			continue
		}
		delete(w.open, s)
		for _, door := range w.doors[s] { // of those that are reached, the nearest
			if up := w.known[door]; up != nil {
				for ; up != nil && !w.way[up.at]; up = up.up {
					w.way[up.at] = true
				}
				break
			}
		}
	}
}

func (w *ways) step(n *wayNode) error {
	if w.arrive(n); len(w.open) == 0 {
		return nil
	}
	p, err := w.b.fetch(n.at.pod)
	if err != nil {
		return err
	}
	edges, listed := exportedEdges(p, n.at.slot)
	if !listed || edges.All {
		for _, r := range p.Refs {
			if r.Pod != 0 {
				w.reach(n, target{r.Pod, r.Slot})
			}
		}
		return nil
	}
	for _, i := range edges.List {
		if int(i) < len(p.Refs) && p.Refs[i].Pod != 0 {
			w.reach(n, target{p.Refs[i].Pod, p.Refs[i].Slot})
		}
	}
	return nil
}

func exportedEdges(p *pod.Pod, s pod.Slot) (pod.EdgeSet, bool) {
	i, ok := slices.BinarySearchFunc(p.Exports, s, func(e pod.Export, s pod.Slot) int { return int(e.Slot) - int(s) })
	if !ok {
		return pod.EdgeSet{}, false
	}
	return p.Exports[i].Edges, true
}
