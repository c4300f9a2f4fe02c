package vfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Locks of ranges belong to the open file description and not to the process
// (F_OFD_SETLK), so handles of one process exclude each other, closing another
// handle of the file drops nothing, and the kernel drops them when the process
// dies. They and the flock of Lock do not see each other, except over NFS.

func lockRange(f *os.File, off, n int64) (held bool, err error) {
	err = rangeLock(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: off, Len: n})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return true, nil
	}
	return false, err
}

func rangeLocked(f *os.File, off, n int64) (bool, error) {
	ask := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: off, Len: n}
	err := rangeLock(f, unix.F_OFD_GETLK, &ask)
	return ask.Type != unix.F_UNLCK, err
}

// unlockRanges drops all ranges that the handle holds: length 0 reaches to
// the end of any file.
func unlockRanges(f *os.File) {
	_ = rangeLock(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart})
}

func rangeLock(f *os.File, command int, lock *unix.Flock_t) error {
	return control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), command, lock) })
}
