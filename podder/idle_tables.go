package podder

import (
	"github.com/poddb/poddb/internal/offheap"
	"github.com/poddb/poddb/internal/pod"
)

// idleTables are what saves and states of one graph that are over leave to the next
// ones: most transactions are small, and what they are made of costs as much as what
// they do. Everything in it is empty, and nobody else has it. What took memory from
// outside of the heap is not used again: that goes with its owner.
type idleTables struct {
	states  []*state
	walk    *walk
	encoder *encoder
	first   *firstLoad
	items   [2][]slotItem // of a save that does not walk
}

// Of tables that are larger, or of more states, the collector takes care.
const (
	maxIdleStates = 2
	maxIdlePods   = 64
	maxIdleList   = 4096
	maxIdleItems  = 16 << 10
	maxIdleBytes  = 256 << 10
	maxPooledList = 1024 // of a graph in a pool
)

// state returns an empty state.
func (t *idleTables) state() *state {
	n := len(t.states)
	if n == 0 {
		return newState()
	}
	st := t.states[n-1]
	t.states[n-1] = nil
	t.states = t.states[:n-1]
	return st
}

// giveState takes a state that is over and was made empty, with what it had.
func (t *idleTables) giveState(st *state, attach func(*offheap.Arena), byID map[pod.ID]int32, pods []podState) {
	if len(t.states) == maxIdleStates || len(byID) > maxIdlePods || cap(pods) > maxIdlePods {
		return
	}
	clear(byID)
	clear(pods)
	st.byID, st.pods = byID, pods[:0]
	st.own.attach = attach
	st.connect()
	t.states = append(t.states, st)
}

// takeWalk returns an empty walk, with its memory.
func (t *idleTables) takeWalk() *walk {
	w := t.walk
	if t.walk = nil; w == nil {
		w = new(walk)
		w.own = newOwnMemory(w)
	}
	return w
}

// giveWalk takes a walk that is over and was made empty.
func (t *idleTables) giveWalk(w *walk, own *ownMemory) {
	if own.arena == nil {
		w.own.attach = own.attach
		t.walk = w
	}
}

// takeEncoder returns an encoder that has nothing but room.
func (t *idleTables) takeEncoder() *encoder {
	e := t.encoder
	if t.encoder = nil; e == nil {
		e = new(encoder)
	}
	return e
}

// giveEncoder takes an encoder that is done. Its lists have held memory of the program
// and of the sink.
func (t *idleTables) giveEncoder(e *encoder) {
	if cap(e.buf) > maxIdleBytes || e.numbers.large() {
		return
	}
	longest := max(e.longest, len(e.out), len(e.writes))
	e.numbers.clear()
	*e = encoder{
		buf: e.buf[:0], runs: short(e.runs), out: without(e.out, longest), links: short(e.links), starts: short(e.starts),
		refs: short(e.refs), numbers: e.numbers, used: short(e.used), writes: without(e.writes, longest),
		slots: short(e.slots), marked: short(e.marked), typeIDs: short(e.typeIDs),
	}
	t.encoder = e
}

// takeFirst returns what a load into an empty graph begins with.
func (t *idleTables) takeFirst() *firstLoad {
	f := t.first
	if t.first = nil; f == nil {
		f = new(firstLoad)
	}
	return f
}

// giveFirst takes that of a load that is over.
func (t *idleTables) giveFirst(f *firstLoad) {
	*f = firstLoad{}
	t.first = f
}

// takeItems returns a list for at least n items.
func (t *idleTables) takeItems(n int) (list []slotItem) {
	for k := range t.items {
		if cap(t.items[k]) >= n {
			list, t.items[k] = t.items[k], nil
			return list
		}
	}
	return make([]slotItem, 0, n)
}

// giveItems takes a list that nobody needs any more.
func (t *idleTables) giveItems(list []slotItem) {
	if cap(list) > maxIdleItems {
		return
	}
	k := 0
	if cap(t.items[1]) < cap(t.items[0]) {
		k = 1
	}
	if cap(t.items[k]) < cap(list) {
		t.items[k] = list[:0]
	}
}

// shrink lets go of what a large save has left.
func (t *idleTables) shrink() {
	t.items = [2][]slotItem{}
	if e := t.encoder; e != nil && (cap(e.buf) > maxPooledBytes || cap(e.out) > maxPooledList || cap(e.writes) > maxPooledList) {
		t.encoder = nil
	}
}

// without returns a list without its elements, of which at most used were ever there, or none if it
// is long.
func without[T any](list []T, used int) []T {
	if cap(list) > maxIdleList {
		return nil
	}
	clear(list[:min(used, cap(list))])
	return list[:0]
}

// short is without for elements that hold no pointers.
func short[T any](list []T) []T { return without(list, 0) }
