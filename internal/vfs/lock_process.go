//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly || illumos || windows)

package vfs

import "os"

// These systems have no lock that belongs to an open file; only handles of
// this process exclude each other.
func lockFile(*os.File) (held bool, err error) { return false, nil }

func unlockFile(*os.File) {}
