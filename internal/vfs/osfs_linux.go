package vfs

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var _ EarlyWriter = (*osFile)(nil)

func (o *osFile) StartWrite(off, n int64) error {
	return o.syncRange(off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func (o *osFile) AwaitWrite(off, n int64) error {
	return o.syncRange(off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
}

func (o *osFile) syncRange(off, n int64, flags int) error {
	err := control(o.f, func(fd int) error { return unix.SyncFileRange(fd, off, n, flags) })
	if errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EINVAL) {
		return errors.ErrUnsupported
	}
	return o.fail("sync", err)
}

func syncData(f *os.File) error {
	return control(f, syscall.Fdatasync)
}

// allocate reserves space and extends the size. It matches
// errors.ErrUnsupported where the file system cannot.
func allocate(f *os.File, off, n int64) error {
	return control(f, func(fd int) error { return syscall.Fallocate(fd, 0, off, n) })
}

// yieldThread lets the system run another thread on this one's processor.
func yieldThread() {
	_, _, _ = syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) // never fails
}

// syncDir treats a file system that has no sync of directories as done: there
// is nothing else to ask it for.
func syncDir(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// control runs a system call on the descriptor, again if a signal came between.
func control(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = call(int(fd)); !errors.Is(failed, syscall.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return os.ErrClosed // the only reason, in a form of its own
	}
	return failed
}
