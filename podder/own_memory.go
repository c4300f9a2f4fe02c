package podder

import (
	"runtime"
	"unsafe"

	"github.com/poddb/poddb/internal/offheap"
)

// ownMemory gives the tables of a walk or of a state their memory: from the heap
// while they are small, beyond that from outside of it. A save of a graph makes
// about as many bytes of tables as the graph has; on the heap they would have the
// collector run in the middle of it, and that costs more than the save.
//
// The collector sees no pointers outside of the heap. Those of regions are kept
// alive by others: addresses by state.pins, plans by the engine, rooms by their
// index.
//
// A state gives its memory back when it is overtaken, or when nothing refers to it
// any more; a walk when it ends.
type ownMemory struct {
	heap  int // bytes from the heap so far
	arena *offheap.Arena
}

// heapBytes is what comes from the heap.
const heapBytes = 1 << 20

// newOwnMemory returns memory that is given back at the latest when owner is not
// referred to any more.
func newOwnMemory[T any](owner *T) ownMemory {
	m := ownMemory{arena: new(offheap.Arena)}
	runtime.AddCleanup(owner, func(a *offheap.Arena) { a.Release() }, m.arena)
	return m
}

// small counts n more bytes and reports whether they are to come from the heap.
func (m *ownMemory) small(n int) bool {
	if m == nil || m.heap+n <= heapBytes {
		if m != nil {
			m.heap += n
		}
		return true
	}
	return false
}

// ownBlock returns a zeroed block.
func ownBlock[T any](m *ownMemory) *[listBlock]T {
	n := int(unsafe.Sizeof([listBlock]T{}))
	if m.small(n) {
		return new([listBlock]T)
	}
	return (*[listBlock]T)(m.arena.Alloc(n))
}

// ownSlice returns n zeroed elements.
func ownSlice[T any](m *ownMemory, n int) []T {
	var x T
	size := n * int(unsafe.Sizeof(x))
	if m.small(size) {
		return make([]T, n)
	}
	return unsafe.Slice((*T)(m.arena.Alloc(size)), n)
}

func (m *ownMemory) release() { m.arena.Release() }
