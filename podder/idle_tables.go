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
}

// Of tables that are larger, or of more states, the collector takes care.
const (
	maxIdleStates = 2
	maxIdlePods   = 64
	maxIdleList   = 1024
	maxIdleBytes  = 64 << 10
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
	e.numbers.clear()
	*e = encoder{
		buf: e.buf[:0], runs: without(e.runs), out: without(e.out), links: without(e.links), starts: without(e.starts),
		refs: without(e.refs), numbers: e.numbers, used: without(e.used), writes: without(e.writes),
		slots: without(e.slots), marked: without(e.marked), typeIDs: without(e.typeIDs),
	}
	t.encoder = e
}

// without returns a list without its elements, or none if it is long.
func without[T any](list []T) []T {
	if cap(list) > maxIdleList {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}
