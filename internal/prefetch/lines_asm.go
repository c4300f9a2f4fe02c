//go:build amd64 || arm64

package prefetch

// lines fetches the lines of n addresses, n > 0.
//
//go:noescape
func lines(addresses *uintptr, n int)
