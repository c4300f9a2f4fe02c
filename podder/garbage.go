package podder

import "github.com/poddb/poddb/internal/pod"

// What no variable reaches any more is held until a save walks, or something is loaded.
// A walk costs many times what a save without one does, so it has to pay: an eighth of
// the regions, or of their bytes, is garbage. Saves without a walk know which regions
// that are, since they meet all others. Strings and boxes that a region had before it
// changed are held as well (fingerprints.pins); their bytes are what it weighed.

const (
	garbageShare = 8 // of all: walk
	leastGarbage = 64
	leastHeld    = 1 << 20 // bytes
)

// muchGarbage reports whether a walk would pay.
func (st *state) muchGarbage() bool {
	return st.garbage+st.dropped > leastGarbage+int(st.regions.len())/garbageShare ||
		st.garbageBytes+st.prints.unusedBytes > leastHeld+st.bytes/garbageShare
}

// held estimates the bytes of memory that region r holds by itself.
func (st *state) held(r *region) int { return int(st.size(r)) + int(r.weight) }

// compactEdges drops the edges that are out of use and has the others in the order of
// the regions, which all have fingerprints.
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
		if p := st.prints.list.at(i); p.isLinked() {
			p.n = r.edge
		}
	}
	st.edges, st.otherEdges = st.otherEdges, st.edges
	st.unusedEdges = 0
}

// regionSet is a set of regions.
type regionSet []uint64

// has reports whether region i is in the set; one beyond its end is not.
func (s regionSet) has(i int32) bool {
	return int(i/64) < len(s) && s[i/64]&(1<<(i%64)) != 0
}

// with returns the set with region i.
func (s regionSet) with(i int32) regionSet {
	if int(i/64) >= len(s) {
		s = append(s, make(regionSet, max(int(i/64)+1, 2*len(s))-len(s))...)
	}
	s[i/64] |= 1 << (i % 64)
	return s
}

// liveSet says what of a state the newest save reached, if that was one without a walk
// and left garbage. Regions from known on came later. Of nil all is reached.
type liveSet struct {
	regions regionSet
	known   int32
	pods    map[int32]struct{} // that have one of them, once somebody asked
}

func (l *liveSet) has(i int32) bool { return l == nil || i >= l.known || l.regions.has(i) }

// hasPod reports whether something in pod n of st is reached.
func (l *liveSet) hasPod(st *state, n int32) bool {
	if l == nil {
		return true
	}
	l.findPods(st)
	_, ok := l.pods[n]
	return ok
}

func (l *liveSet) findPods(st *state) {
	if l.pods != nil {
		return
	}
	l.pods = map[int32]struct{}{}
	for i := range st.regions.len() {
		if r := st.regions.at(i); l.has(i) && r.pod >= 0 {
			l.pods[r.pod] = struct{}{}
		}
	}
}

// podCount returns how many pods of st are reached.
func (l *liveSet) podCount(st *state) int {
	if l == nil {
		return len(st.byID)
	}
	l.findPods(st)
	return len(l.pods)
}

// sweep lets go of what no variable reaches any more, as of the newest save: from here
// on the state knows nothing of it, as after a walk.
func (g *Graph) sweep() {
	st := g.cur
	live := st.live
	if live == nil {
		return
	}
	live.findPods(st)
	for i := range live.known {
		r := st.regions.at(i)
		if live.has(i) || r.kind == pod.SlotFree || r.addr == nil {
			continue
		}
		if s := &st.pods[r.pod].slots[r.slot]; s.region == i {
			s.region = -1
		}
		g.drop(i)
		if st.prints.known {
			*st.prints.list.at(i) = regionPrint{}
		}
	}
	for id, n := range st.byID {
		if _, ok := live.pods[n]; !ok {
			delete(st.byID, id)
		}
	}
	st.live, st.garbage, st.garbageBytes, st.chunkIDs = nil, 0, 0, nil
}

// forgetPrints has the next save walk.
func (st *state) forgetPrints() { st.prints = fingerprints{} }

// Trim lets go of what no variable reaches any more as of the newest save, and of what
// later saves need to do without a walk: the next one walks.
func (g *Graph) Trim() {
	g.overtake()
	g.settle()
	g.sweep()
	g.cur.forgetPrints()
}
