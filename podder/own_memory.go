package podder

import (
	"reflect"
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
	heap     int            // bytes from the heap so far
	heapOnly bool           // the collector looks for pointers in it
	arena    *offheap.Arena // nil until something comes from outside of the heap
	attach   func(*offheap.Arena)
	spare    *spareBlocks // nil if blocks are not used again
	given    []any        // blocks from the heap that go there
}

// spareBlocks are blocks of tables that are over, cleared, by their type: most saves and
// transactions are small, and clearing one is cheaper than a new one, which the
// collector has to find again.
type spareBlocks struct {
	of    map[reflect.Type]*spareList
	bytes uintptr
}

// spareList are the blocks of one type.
type spareList struct {
	size   uintptr // of each
	blocks []any
}

// maxSpare bounds the blocks of one type that wait for use, maxSpareBytes those of all, and maxGiven
// those that one owner gives back.
const (
	maxSpare      = 48
	maxSpareBytes = 1 << 20
	maxGiven      = 144
)

// takeSpare returns a block of a type, nil if there is none.
func takeSpare[B any](s *spareBlocks) *B {
	list := s.of[reflect.TypeFor[*B]()]
	if list == nil || len(list.blocks) == 0 {
		return nil
	}
	last := len(list.blocks) - 1
	p := list.blocks[last].(*B)
	list.blocks[last] = nil
	list.blocks, s.bytes = list.blocks[:last], s.bytes-list.size
	return p
}

// give takes blocks back.
func (s *spareBlocks) give(blocks []any) {
	if s.of == nil {
		s.of = map[reflect.Type]*spareList{}
	}
	for _, b := range blocks {
		v := reflect.ValueOf(b)
		list := s.of[v.Type()]
		if list == nil {
			list = &spareList{size: v.Type().Elem().Size()}
			s.of[v.Type()] = list
		}
		if len(list.blocks) < maxSpare && s.bytes+list.size <= maxSpareBytes {
			v.Elem().SetZero()
			list.blocks, s.bytes = append(list.blocks, b), s.bytes+list.size
		}
	}
}

// heapBytes is what comes from the heap, but for pieces of pieceBytes and more: they would be most
// of what a save leaves to the collector.
const (
	heapBytes  = 1 << 20
	pieceBytes = 256 << 10
)

// newOwnMemory returns memory that is given back at the latest when owner is not
// referred to any more.
func newOwnMemory[T any](owner *T) ownMemory {
	return ownMemory{attach: func(a *offheap.Arena) {
		runtime.AddCleanup(owner, func(a *offheap.Arena) { a.Release() }, a)
	}}
}

// outside returns what gives memory from outside of the heap.
func (m *ownMemory) outside() *offheap.Arena {
	if m.arena == nil {
		m.arena = new(offheap.Arena)
		m.attach(m.arena)
	}
	return m.arena
}

// small counts n more bytes and reports whether they are to come from the heap.
func (m *ownMemory) small(n int) bool {
	if m == nil || m.heapOnly || n < pieceBytes && m.heap+n <= heapBytes {
		if m != nil {
			m.heap += n
		}
		return true
	}
	return false
}

// ownBlock returns a block of a list, zeroed if cleared is set.
func ownBlock[T any](m *ownMemory, cleared bool) *[listBlock]T {
	return ownArrayOf[[listBlock]T](m, cleared)
}

// bytes returns what the blocks take.
func (l *blockList[T]) bytes() int64 {
	var b [listBlock]T
	return int64(len(l.blocks)) * int64(unsafe.Sizeof(b))
}

// ownArray returns a zeroed B, which is an array.
func ownArray[B any](m *ownMemory) *B { return ownArrayOf[B](m, true) }

// ownArrayOf is ownArray, or returns a B that may be anything.
func ownArrayOf[B any](m *ownMemory, cleared bool) *B {
	var b B
	n := int(unsafe.Sizeof(b))
	if !m.small(n) {
		if !cleared {
			return (*B)(m.outside().AllocAny(n))
		}
		return (*B)(m.outside().Alloc(n))
	}
	if m == nil || m.spare == nil {
		return new(B)
	}
	p := takeSpare[B](m.spare)
	if p == nil {
		p = new(B)
	}
	if len(m.given) < maxGiven {
		m.given = append(m.given, p)
	}
	return p
}

// ownSlice returns n zeroed elements.
func ownSlice[T any](m *ownMemory, n int) []T {
	var x T
	size := n * int(unsafe.Sizeof(x))
	if m.small(size) {
		return make([]T, n)
	}
	return unsafe.Slice((*T)(m.outside().Alloc(size)), n)
}

// ownBytes returns n bytes that are anything.
func ownBytes(m *ownMemory, n int) []byte { return ownAny[byte](m, n) }

// ownAny returns n elements that are anything: T has no pointers.
func ownAny[T any](m *ownMemory, n int) []T {
	var x T
	size := n * int(unsafe.Sizeof(x))
	if m.small(size) {
		return make([]T, n)
	}
	return unsafe.Slice((*T)(m.outside().AllocAny(size)), n)
}

func (m *ownMemory) release() {
	if m.arena != nil {
		m.arena.Release()
	}
	if m.spare != nil {
		m.spare.give(m.given)
	}
}
