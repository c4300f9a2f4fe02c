//go:build amd64 || arm64

package prefetch

import "unsafe"

// lines fetches the lines of n addresses, n > 0, the first at `first`, each `step` bytes
// behind the one before.
//
//go:noescape
func lines(first unsafe.Pointer, step uintptr, n int)

// fields fetches, for each of n objects whose addresses lie at objects, n > 0, the line of the
// address at off in the object.
//
//go:noescape
func fields(objects unsafe.Pointer, off uintptr, n int)

// behind fetches, for each of n objects, n > 0, two lines of the address at then behind the
// one at off in the object, if that is not nil.
//
//go:noescape
func behind(objects unsafe.Pointer, off, then uintptr, n int)
