package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// state is what is known after a save or load: the regions, where they are
// stored, and what every pod looked like. A save builds the next one beside it;
// committing is one assignment.
type state struct {
	own     ownMemory
	regions regionList
	pins    blockList[unsafe.Pointer] // addresses of the regions, for the collector
	pinned  ownMemory                 // of pins: from the heap, used again
	// unpinned says that variables hold all that was found, and pins are not in the heap (pinned.go).
	unpinned bool
	spans    blockList[span]
	shadows  map[int32]arrayWords // the words of arrays as they were encoded, by span (shadow.go)
	edges    blockList[int32]     // references of regions, in walk order (discover.go)
	memory   regionIndex          // regions of memory by address
	strings  regionIndex          // bytes of long strings by address
	pods     []podState
	byID     map[pod.ID]int32
	// forwards are the forwarders that loads went through, by where they lead.
	forwards map[unsafe.Pointer][]forward
	// away is where objects are that left their pods (repod.go), by where they were.
	away  map[pod.Ref]pod.Ref
	types map[typeKey]pod.TypeID
	named namedPlaces
	// chunked are the containers that are stored in chunks, by region.
	chunked  map[int32]*chunkList
	chunkIDs map[pod.ID]struct{} // their chunks, once somebody asked
	// chunkedBefore is what chunked was before the save that has changed the state and
	// waits for its fate.
	chunkedBefore map[int32]*chunkList

	prints fingerprints
	boxes  []boxCell // of the variables of the save
	// unusedEdges are out of use, since saves without a walk append; otherEdges is what
	// edges are copied to when they are many.
	unusedEdges int
	otherEdges  blockList[int32]
	// live is what the newest save reached, if it was one without a walk and there is
	// more; garbage is how many regions that are.
	live    *liveSet
	garbage int
	// bytes are those of all regions, about, garbageBytes those that are garbage.
	bytes, garbageBytes int
	// absent regions stand for no memory of their own: aliases, and those that were
	// dropped since the walk.
	absent, dropped int
	// asked are the types that each variable which leads to a value of one has to know,
	// and lacks the variables that do not (lacks.go).
	asked typeSet
	lacks []lack
	// walkAlways says that there are values which only a walk can judge.
	walkAlways bool
	home       *idleTables // where it goes when it is over; nil if it is not used again
}

// podState is the newest stored state of one pod, and who lives in it.
type podState struct {
	id      pod.ID
	isNew   bool
	gone    bool // the head does not have it: what lives in it is written whole
	refs    []pod.Ref
	exports []pod.Export
	slots   []slotState
	bytes   int   // estimate of the contents, for placing more
	judged  uint8 // epoch in which re-podding has looked at it (repod.go)
	tried   int   // bytes when it was to be divided
}

// slotState is one slot. Slots without a region are free, forwarders, or not
// reached by the variables of this graph.
type slotState struct {
	hash   slotHash
	region int32 // -1 for none
	kind   pod.Kind
}

// unknown reports whether nothing is known of what lives in the slot.
func (s *slotState) unknown() bool { return s.region < 0 && s.region != slotAway }

// leave says that nobody lives in the slot as far as is known.
func (s *slotState) leave() {
	if s.region != slotAway {
		s.region = -1
	}
}

// slotFreed stands for no region in a slot that becomes free with the save under
// way.
const slotFreed = -2

// slotAway stands for no region in a slot whose object is in another pod since a save moved
// it there (repod.go).
const slotAway = -3

// typeKey is a plan, or the entries of a map plan.
type typeKey struct {
	plan    *plan
	entries bool
}

// newState returns an empty state.
func newState() *state {
	st := &state{byID: map[pod.ID]int32{}}
	st.own = newOwnMemory(st)
	st.connect()
	return st
}

// connect has the tables of an empty state take their memory from it.
func (st *state) connect() {
	st.pinned.heapOnly, st.pins.memory = true, &st.pinned
	st.edges.whole, st.spans.whole = true, true
	st.regions.memory, st.spans.memory, st.edges.memory, st.memory.own, st.strings.own = &st.own, &st.own, &st.own, &st.own, &st.own
}

// release gives back the memory of a state that is not used any more.
func (st *state) release() {
	own, pinned, home, byID, pods := st.own, st.pinned, st.home, st.byID, st.pods
	*st = state{}
	own.release()
	pinned.release()
	if home != nil && own.arena == nil && pinned.arena == nil {
		home.giveState(st, own.attach, byID, pods)
	}
}

// addRegion adds an empty region, whose memory is at addr.
func (st *state) addRegion(addr unsafe.Pointer) (*region, int32) {
	r, i := st.regions.add()
	r.addr = addr
	if st.unpinned {
		st.addresses().put(uintptr(addr))
	} else {
		st.pins.put(addr)
	}
	return r, i
}

// moveRegion says that the memory of region i is at addr.
func (st *state) moveRegion(i int32, addr unsafe.Pointer) {
	st.regions.at(i).addr = addr
	*st.pins.at(i) = addr
}

// resolve follows aliases to the region that contains i.
func (st *state) resolve(i int32) int32 {
	for st.regions.at(i).kind == pod.SlotFree {
		i = st.regions.at(i).extra
	}
	return i
}

// size returns the bytes of memory that region r covers.
func (st *state) size(r *region) uintptr {
	switch r.kind {
	case pod.SlotArray:
		return uintptr(st.spans.at(r.extra).count) * r.plan.size
	case pod.SlotString:
		return uintptr(st.spans.at(r.extra).count)
	case pod.SlotMap:
		return mapHeaderBytes
	}
	return r.plan.size
}

// mapHeaderBytes is what a map covers in the address index; nothing that a
// program can point at lies there.
const mapHeaderBytes = 8
