package podder

import "github.com/poddb/poddb/internal/pod"

// What no variable reaches any more is found by a walk alone, and held until then.
// A walk costs many times what a save without one does, so it has to pay: an eighth
// of the regions is garbage. How much is garbage is counted by going along the
// references that the state has, without a look at the program's memory. That costs
// about as much as comparing all fingerprints, so it is done when references were
// dropped, and either much is new since it was last done or some saves went by.

const (
	garbageShare   = 8  // of the regions: walk
	addedShare     = 16 // of the regions are new: count
	droppedShare   = 64 // as many references were dropped: count
	savesUncounted = 8
)

// garbageState is what is known of regions that are not reached any more.
type garbageState struct {
	dropped int // references that led somewhere, since they were counted
	added   int // regions, since then
	saves   int // since then, with something dropped
}

// muchGarbage reports whether a walk would pay.
func (st *state) muchGarbage() bool {
	x, n := &st.garbage, int(st.regions.len())
	if x.dropped == 0 {
		return false
	}
	if x.saves++; x.saves < savesUncounted && x.dropped <= n/droppedShare && x.added <= n/addedShare {
		return false
	}
	if n-st.countReached() > n/garbageShare {
		return true // until a walk is committed
	}
	*x = garbageState{}
	return false
}

// compactEdges drops the edges that are out of use.
func (st *state) compactEdges() {
	to := &st.otherEdges
	to.memory, to.n = &st.own, 0
	for i := range st.regions.len() {
		r := st.regions.at(i)
		from := to.len()
		for k := r.edge; k < r.edgeEnd; k++ {
			to.put(*st.edges.at(int32(k)))
		}
		r.edge, r.edgeEnd = uint32(from), uint32(to.len())
	}
	to.put(0) // so that one past the last edge can be looked at
	st.edges, st.otherEdges = st.otherEdges, st.edges
	st.unusedEdges = 0
}

// countReached returns how many regions, aliases among them, the variables reach.
func (st *state) countReached() int {
	_, count := st.reachedRegions()
	return count
}

// regionSet is a set of regions.
type regionSet []uint64

func (s regionSet) has(i int32) bool { return s[i/64]&(1<<(i%64)) != 0 }

// reachedRegions returns the regions that the variables reach, and how many these and
// aliases are. No load has added some since the newest save.
func (st *state) reachedRegions() (reached regionSet, count int) {
	n := st.regions.len()
	reached = make(regionSet, n/64+1)
	var todo []int32
	visit := func(i int32) {
		i = st.resolve(i)
		if !reached.has(i) {
			reached[i/64] |= 1 << (i % 64)
			count++
			todo = append(todo, i)
		}
	}
	for _, box := range st.boxes {
		visit(box.region)
	}
	for len(todo) > 0 {
		r := st.regions.at(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		for k := r.edge; k < r.edgeEnd; k++ {
			visit(*st.edges.at(int32(k)))
		}
	}
	for i := range n {
		if st.regions.at(i).kind == pod.SlotFree {
			count++ // aliases take no memory of the program
		}
	}
	return reached, count
}

// liveSet says what of a state is reached, where saves without a walk have left garbage
// in it. It is made when somebody asks, and good until the next save.
type liveSet struct {
	regions regionSet
	pods    map[int32]struct{} // that have one of them
}

// liveNow returns what is reached, nil if everything may be.
func (st *state) liveNow() *liveSet {
	if !st.prints.known || !st.mayHaveGarbage {
		return nil
	}
	if st.live == nil {
		regions, _ := st.reachedRegions()
		st.live = &liveSet{regions, map[int32]struct{}{}}
		for i := range st.regions.len() {
			if r := st.regions.at(i); regions.has(i) && r.pod >= 0 {
				st.live.pods[r.pod] = struct{}{}
			}
		}
	}
	return st.live
}

// letGo drops the fingerprints and what no variable reaches any more: from here on
// the state knows what a walk would have left.
func (g *Graph) letGo() {
	st := g.cur
	live := st.liveNow()
	st.prints = fingerprints{}
	st.mayHaveGarbage, st.live = false, nil
	if live == nil {
		return
	}
	for i := range st.regions.len() {
		r := st.regions.at(i)
		if live.regions.has(i) || r.kind == pod.SlotFree || r.pod < 0 {
			continue
		}
		if s := &st.pods[r.pod].slots[r.slot]; s.region == i {
			s.region = -1
		}
		g.drop(i)
	}
	for id, n := range st.byID {
		if _, ok := live.pods[n]; !ok {
			delete(st.byID, id)
		}
	}
	st.chunkIDs = nil
}

// Trim lets go of what no variable reaches any more as of the newest save, and of what
// later saves need to do without a walk: the next one walks.
func (g *Graph) Trim() { g.letGo() }
