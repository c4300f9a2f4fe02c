//go:build !linux

package vfs

import (
	"errors"
	"os"
	"runtime"
	"syscall"
)

func syncData(f *os.File) error { return f.Sync() }

func yieldThread() {}

func allocate(*os.File, int64, int64) error { return errors.ErrUnsupported }

// syncDir treats a system that has no sync of directories (Windows writes
// their entries through) as done.
func syncDir(f *os.File) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	err := f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}
