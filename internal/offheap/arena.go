// Package offheap hands out memory that the garbage collector neither scans nor
// counts, all of which goes back to the system at once. Large tables that live as
// long as one operation, or one state, would else make the collector run in the
// middle of it, through everything that the program has.
package offheap

import "unsafe"

// Sizes of what is asked of the system at a time: it doubles from the least to the
// most. Both are multiples of huge pages, of which first use costs a fifth.
const (
	leastMap = 4 << 20
	mostMap  = 64 << 20
)

// alignment is that of everything an Arena hands out: a cache line.
const alignment = 64

// Arena hands out memory. The zero value is ready to use; it is not safe for
// concurrent use and must not be copied. Where the system gives no such memory it
// comes from the heap.
type Arena struct {
	maps [][]byte // from the system
	heap [][]byte // from the heap
	free []byte
	used bool // free holds anything, not zeros
}

// Alloc returns n zeroed bytes, aligned to 64, that are good until Release. Pointers
// in them do not keep alive what they point at. It panics if n is negative.
func (a *Arena) Alloc(n int) unsafe.Pointer {
	p, used := a.take(n)
	if used {
		clear(unsafe.Slice((*byte)(p), n)) // now: it is written next, and then lies in the cache
	}
	return p
}

// AllocAny is Alloc of bytes that are anything.
func (a *Arena) AllocAny(n int) unsafe.Pointer {
	p, _ := a.take(n)
	return p
}

// take returns n bytes, and reports whether they may be something else than zeros.
func (a *Arena) take(n int) (p unsafe.Pointer, used bool) {
	if n < 0 {
		panic("offheap: negative size")
	}
	n = (max(n, 1) + alignment - 1) &^ (alignment - 1)
	if len(a.free) < n {
		a.grow(n)
	}
	p = unsafe.Pointer(unsafe.SliceData(a.free))
	a.free = a.free[n:]
	return p, a.used
}

// grow makes room for n bytes.
func (a *Arena) grow(n int) {
	size := leastMap
	if k := len(a.maps); k > 0 {
		size = min(2*len(a.maps[k-1]), mostMap)
	}
	size = max(size, n)
	size += -size & (leastMap - 1)
	if m := spare.take(size); m != nil {
		a.maps, a.free, a.used = append(a.maps, m), m, true
		return
	}
	a.used = false
	if m, ok := mapMemory(size); ok {
		a.maps, a.free = append(a.maps, m), m
		return
	}
	m := make([]byte, size+alignment)
	a.heap = append(a.heap, m)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(m))) & (alignment - 1)
	a.free = m[skip:]
}

// Release gives everything back: what Alloc returned must not be used any more.
// The Arena is empty then.
func (a *Arena) Release() {
	for _, m := range a.maps {
		spare.put(m)
	}
	*a = Arena{}
}
