//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly || illumos

package vfs

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes a flock: it belongs to the open file, not to the process, dies
// with it, and works on a read-only handle too.
func lockFile(f *os.File) (held bool, err error) {
	for {
		err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

func unlockFile(f *os.File) { _ = flock(f, syscall.LOCK_UN) }

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = syscall.Flock(int(fd), how) }); err != nil {
		return err
	}
	return failed
}
