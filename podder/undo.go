package podder

import "github.com/poddb/poddb/internal/pod"

// undo notes what a save changes in a state, so that it can be as it was: regions,
// spans, slots and pods before they are changed for the first time, and how long
// the lists were.
type undo struct {
	st      *state
	regions []oldRegion
	spans   []oldSpan
	slots   blockList[oldSlot]
	pods    []oldPod
	prints  blockList[oldPrint]
	types   []typeKey // that were added
	chunked map[int32]*chunkList
	cut     bool // chunked was replaced

	count, edges, spanCount, podCount, pins int32
	unusedPins, unusedEdges                 int
	unusedBytes, bytes                      int
	boxes                                   []boxCell

	// What was kept for fingerprints before all of it was pinned anew.
	repinned bool
	oldPins  pinList
	own      ownMemory

	// What the state gets when the changes stay.
	live         *liveSet
	garbage      int
	garbageBytes int
}

type oldRegion struct {
	i   int32
	was region
}

type oldSpan struct {
	i      int32
	was    span
	shadow arrayWords
}

type oldSlot struct {
	pod, slot int32
	was       slotState
}

type oldPod struct {
	i   int32
	was podState
}

type oldPrint struct {
	i, pinned int32
	was       regionPrint
}

func newUndo(st *state, spare *spareBlocks) *undo {
	u := &undo{
		st: st, count: st.regions.len(), edges: st.edges.len(), spanCount: st.spans.len(), podCount: int32(len(st.pods)), pins: st.prints.pins.len(),
		unusedPins: st.prints.unusedPins, unusedEdges: st.unusedEdges, boxes: st.boxes,
		unusedBytes: st.prints.unusedBytes, bytes: st.bytes,
	}
	u.own = newOwnMemory(u)
	u.own.spare = spare
	u.slots.memory, u.prints.memory = &u.own, &u.own
	return u
}

// region is to be called before region i is changed. A nil undo notes nothing.
func (u *undo) region(i int32) {
	if u == nil || i >= u.count {
		return
	}
	if r := u.st.regions.at(i); r.flags&flagNoted == 0 {
		u.regions = append(roomy(u.regions), oldRegion{i, *r})
		r.flags |= flagNoted
	}
}

// span is to be called before span i is changed.
func (u *undo) span(i int32) {
	if u != nil && i < u.spanCount {
		u.spans = append(roomy(u.spans), oldSpan{i, *u.st.spans.at(i), u.st.shadows[i]})
	}
}

func (u *undo) slot(i int32, s int) {
	if i < u.podCount {
		u.slots.put(oldSlot{i, int32(s), u.st.pods[i].slots[s]})
	}
}

func (u *undo) pod(i int32) {
	if i < u.podCount {
		u.pods = append(roomy(u.pods), oldPod{i, u.st.pods[i]})
	}
}

func (u *undo) typ(k typeKey) {
	if u != nil {
		u.types = append(u.types, k)
	}
}

// print is to be called before the fingerprint of region i, or what it keeps, is changed.
func (u *undo) print(i int32) {
	f := &u.st.prints
	u.prints.put(oldPrint{i, *f.pinned.at(i), *f.list.at(i)})
}

// repin is to be called before all is pinned anew. It takes away what was.
func (u *undo) repin() {
	f := &u.st.prints
	u.repinned, u.oldPins, f.pins = true, f.pins, pinList{memory: f.pins.memory}
	f.pinned, f.otherPinned = f.otherPinned, f.pinned
	f.pinned.cut(0)
}

// containers has the lists of chunks changed in a copy.
func (u *undo) containers() {
	u.chunked, u.cut = u.st.chunked, true
	u.st.chunked = make(map[int32]*chunkList, len(u.chunked))
	for i, list := range u.chunked {
		u.st.chunked[i] = list
	}
	u.st.chunkedBefore, u.st.chunkIDs = u.chunked, nil
}

// keep has the changes stay.
func (u *undo) keep() {
	for k := range u.regions {
		u.st.regions.at(u.regions[k].i).flags &^= flagNoted
	}
	u.st.live, u.st.garbage, u.st.garbageBytes = u.live, u.garbage, u.garbageBytes
	u.st.chunkedBefore, u.st.chunkIDs = nil, nil
	if u.st.unusedEdges > leastUnused+int(u.st.regions.len()) {
		u.st.compactEdges()
	}
	u.release()
}

// undo has the state as it was.
func (u *undo) undo() {
	st := u.st
	for i := st.regions.len() - 1; i >= u.count; i-- {
		st.forget(i)
	}
	for k := len(u.regions) - 1; k >= 0; k-- {
		old := &u.regions[k]
		*st.regions.at(old.i) = old.was
		*st.pins.at(old.i) = old.was.addr
	}
	for k := len(u.spans) - 1; k >= 0; k-- {
		old := &u.spans[k]
		*st.spans.at(old.i) = old.was
		st.setShadow(old.i, old.shadow)
	}
	for i := u.spanCount; i < st.spans.len() && len(st.shadows) > 0; i++ {
		delete(st.shadows, i)
	}
	for k := len(u.pods) - 1; k >= 0; k-- {
		st.pods[u.pods[k].i] = u.pods[k].was
	}
	for k := u.slots.len() - 1; k >= 0; k-- { // in the memory that the pods had
		old := u.slots.at(k)
		if slots := st.pods[old.pod].slots; int(old.slot) < len(slots) { // else it was added
			slots[old.slot] = old.was
		}
	}
	if f := &st.prints; u.repinned {
		f.pins = u.oldPins
		f.pinned, f.otherPinned = f.otherPinned, f.pinned
	}
	for k := u.prints.len() - 1; k >= 0; k-- {
		old := u.prints.at(k)
		*st.prints.list.at(old.i), *st.prints.pinned.at(old.i) = old.was, old.pinned
	}
	for _, k := range u.types {
		delete(st.types, k)
	}
	for i := int(u.podCount); i < len(st.pods); i++ {
		delete(st.byID, st.pods[i].id)
	}
	clear(st.pods[u.podCount:])
	st.pods = st.pods[:u.podCount]
	if u.cut {
		st.chunked = u.chunked
	}
	st.chunkedBefore, st.chunkIDs = nil, nil
	st.regions.cut(u.count)
	st.pins.cut(u.count)
	st.edges.cut(u.edges)
	st.spans.cut(u.spanCount)
	st.prints.list.cut(min(st.prints.list.len(), u.count))
	st.prints.pinned.cut(min(st.prints.pinned.len(), u.count))
	st.prints.pins.cut(u.pins)
	st.prints.unusedPins, st.unusedEdges = u.unusedPins, u.unusedEdges
	st.boxes, st.bytes, st.prints.unusedBytes = u.boxes, u.bytes, u.unusedBytes
	u.release()
}

// release gives back the memory of what was noted.
func (u *undo) release() {
	u.slots, u.prints, u.oldPins = blockList[oldSlot]{}, blockList[oldPrint]{}, pinList{}
	u.own.release()
}

// forget takes a region that was added last out of the index.
func (st *state) forget(i int32) {
	r := st.regions.at(i)
	index := &st.memory
	switch r.kind {
	case pod.SlotFree, pod.SlotBox:
		return
	case pod.SlotString:
		index = &st.strings
	}
	if size := st.size(r); size > 0 {
		index.remove(st, i)
		index.unmark(i, uintptr(r.addr), uintptr(r.addr)+size)
	}
}

// unmark has the chunks above that of a region, up to end, not name it any more.
func (x *regionIndex) unmark(i int32, a, end uintptr) {
	if end-a >= largeBytes {
		return
	}
	for key := a>>chunkBits + 1; key <= (end-1)>>chunkBits; key++ {
		if c := x.chunkAt(key); c != nil && c.before == i+1 {
			c.before = 0
		}
	}
}

// cut drops all but the first n elements.
func (l *blockList[T]) cut(n int32) {
	var none T
	for i := n; i < l.n; i++ {
		*l.at(i) = none
	}
	l.n, l.last = n, nil
	if n > 0 {
		l.last = l.blocks[(n-1)>>listBlockBits]
	}
}
