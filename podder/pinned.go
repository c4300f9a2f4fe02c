package podder

import "unsafe"

// A state holds a pointer to each of its regions (state.pins), so that the collector does not
// give their addresses to others. The only save of a graph needs none while it walks: what it finds hangs on the
// variables, and nobody but sync/atomic may write that meanwhile. So it keeps the addresses where the
// collector does not look, which are cheaper there, until something may let go of what was
// found: code of the program that runs (codecs, BeforeStore), and what is read by sync/atomic.

// leaveUnpinned begins so. Nothing was found yet.
func (w *walk) leaveUnpinned() {
	pins := &w.st.pins
	w.st.unpinned, pins.whole, pins.memory = true, true, &w.st.own
}

// addresses is pins as numbers. What such a block holds where nothing was put may be anything, at which the
// collector must not look; it does where a pointer is written.
func (st *state) addresses() *blockList[uintptr] {
	return (*blockList[uintptr])(unsafe.Pointer(&st.pins))
}

// pin has the state hold what was found so far, and all that will be. It is called before that may
// be let go of.
func (w *walk) pin() {
	st := w.st
	if !st.unpinned {
		return
	}
	pins := &st.pins
	st.unpinned, pins.whole, pins.memory = false, false, &st.pinned
	for k, from := range pins.blocks {
		to := ownBlock[unsafe.Pointer](pins.memory, true)
		n := min(int(pins.n)-k<<listBlockBits, listBlock)
		copy(to[:n], from[:n])
		if pins.last == from {
			pins.last = to
		}
		pins.blocks[k] = to
	}
}
