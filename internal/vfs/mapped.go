package vfs

import (
	"io"
	"io/fs"
	"runtime/debug"
	"sync"
	"syscall"

	"golang.org/x/exp/mmap"
)

// mapper is an FS that can read files through memory.
type mapper interface {
	mapped(file File, name string) File
}

// Mapped returns a File that reads as file does, through memory where fs can do
// that: about half the cost of a read for what the system has in memory. It is
// for a file that is locked and read only. name is what file was opened by. Where
// the file cannot be mapped it is returned as it is. Who closes the result has
// closed file.
func Mapped(fs FS, file File, name string) File {
	if m, ok := fs.(mapper); ok {
		return m.mapped(file, name)
	}
	return file
}

func (osFS) mapped(file File, name string) File {
	m, err := mmap.Open(name)
	if err != nil {
		return file
	}
	if same, err := file.SameFile(name); err != nil || !same {
		_ = m.Close()
		return file
	}
	return &mappedFile{File: file, name: name, m: m}
}

type mappedFile struct {
	File
	name string
	mu   sync.RWMutex // a read holds it, so that Close does not take the memory away
	m    *mmap.ReaderAt
}

// ReadAt turns what the system cannot read into an error: a bad sector, or a
// file that somebody cut off in spite of the lock, is a memory fault here.
func (f *mappedFile) ReadAt(p []byte, off int64) (n int, err error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.m == nil {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrClosed}
	}
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EINVAL}
	}
	if off >= int64(f.m.Len()) && len(p) > 0 {
		return 0, io.EOF
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			n, err = 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EIO}
		}
	}()
	return f.m.ReadAt(p, off)
}

func (f *mappedFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m != nil {
		_ = f.m.Close()
		f.m = nil
	}
	return f.File.Close()
}
