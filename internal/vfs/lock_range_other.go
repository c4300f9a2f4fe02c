//go:build !linux

package vfs

import "os"

// Elsewhere either ranges cannot be locked by handle (a POSIX lock belongs to
// the process and dies with any handle of the file), or what is locked cannot be
// read through other handles (Windows).

func lockRange(*os.File, int64, int64) (held bool, err error) { return false, ErrNotSupported }

func rangeLocked(*os.File, int64, int64) (bool, error) { return false, ErrNotSupported }

func unlockRanges(*os.File) {}
