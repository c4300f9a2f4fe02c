// Package prefetch tells the processor which memory will be read soon.
//
// A load that misses the cache holds up all that come after it once a few hundred
// instructions wait; a prefetch holds up nothing. So whoever goes through objects that
// lie anywhere collects addresses of what comes next and hands over a list.
package prefetch

import "unsafe"

// Lines has the cache lines of addresses fetched. It reads nothing by itself, so an address may be anything:
// behind the end of an allocation, or of no memory at all. On processors for which
// there is no code it does nothing.
func Lines(addresses []uintptr) {
	if len(addresses) > 0 {
		lines(unsafe.Pointer(unsafe.SliceData(addresses)), unsafe.Sizeof(addresses[0]), len(addresses))
	}
}

// Pointers is Lines of n addresses that lie in memory, step bytes from one to the next. These
// are read, what they lead to is not.
func Pointers(first unsafe.Pointer, step uintptr, n int) {
	if n > 0 {
		lines(first, step, n)
	}
}

// Fields is Lines of the addresses that lie at off in each of n objects, of which objects has the
// addresses, one behind the other.
func Fields(objects *unsafe.Pointer, off uintptr, n int) {
	if n > 0 {
		fields(unsafe.Pointer(objects), off, n)
	}
}

// Behind is Fields of what is one step further: of the addresses that lie at then behind those
// at off in each object, which may be nil; and of the line behind each.
func Behind(objects *unsafe.Pointer, off, then uintptr, n int) {
	if n > 0 {
		behind(unsafe.Pointer(objects), off, then, n)
	}
}
