package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// The lock is on one byte far behind any data, because on Windows a locked
// range cannot be read through other handles.
const lockByteHigh = 0x7fffffff

func lockFile(f *os.File) (held bool, err error) {
	at := windows.Overlapped{OffsetHigh: lockByteHigh}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return true, nil
	}
	return false, err
}

func unlockFile(f *os.File) {
	at := windows.Overlapped{OffsetHigh: lockByteHigh}
	_ = windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &at)
}
