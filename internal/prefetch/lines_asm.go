//go:build amd64 || arm64

package prefetch

import "unsafe"

// lines fetches the lines of n addresses, n > 0, the first at `first`, each `step` bytes
// behind the one before.
//
//go:noescape
func lines(first unsafe.Pointer, step uintptr, n int)
