//go:build !amd64 && !arm64

package prefetch

import "unsafe"

func lines(unsafe.Pointer, uintptr, int) {}

func fields(unsafe.Pointer, uintptr, int) {}

func behind(unsafe.Pointer, uintptr, uintptr, int) {}
