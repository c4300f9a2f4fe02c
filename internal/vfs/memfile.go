package vfs

import (
	"io"
	"io/fs"
	"math"
	"syscall"
)

// memFile is a handle. Closed and the inode's fields are guarded by fs.mu.
type memFile struct {
	fs       *MemFS
	node     *inode
	name     string
	writable bool
	closed   bool
}

func (f *memFile) renamed(name string) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.name = name
}

func (f *memFile) fail(op string, err error) error {
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// usable is asked before anything is counted.
func (f *memFile) usable(op string, write bool, off, n int64) error {
	switch {
	case f.closed:
		return f.fail(op, fs.ErrClosed)
	case off < 0 || n < 0 || off > math.MaxInt64-n:
		return f.fail(op, syscall.EINVAL)
	case write && !f.writable:
		return f.fail(op, syscall.EBADF)
	}
	return f.fs.alive(op, f.name)
}

// change counts and makes one change of the file.
func (f *memFile) change(op string, off, n int64, apply func(seq int)) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(op, true, off, n); err != nil {
		return err
	}
	if err := f.fs.begin(op, f.name); err != nil {
		return err
	}
	apply(f.fs.ops)
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if err := f.usable("read", false, off, int64(len(p))); err != nil {
		return 0, err
	}
	n := f.node.cur.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.change("write", off, int64(len(p)), func(seq int) {
		if len(p) > 0 {
			f.node.write(seq, p, off)
		}
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *memFile) Truncate(size int64) error {
	return f.change("truncate", size, 0, func(seq int) { f.node.resize(seq, size) })
}

func (f *memFile) Preallocate(off, n int64) error {
	return f.change("preallocate", off, n, func(seq int) {
		if n > 0 {
			f.node.resize(seq, max(off+n, f.node.cur.size))
		}
	})
}

func (f *memFile) SyncData() error { return f.Sync() }

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("sync", false, 0, 0); err != nil {
		return err
	}
	return f.fs.sync(f.name, f.node.sync, f.node.fail)
}

// failSync lets a FaultFS above have its failed sync mean what it means here.
func (f *memFile) failSync() {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.fail()
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if err := f.usable("size", false, 0, 0); err != nil {
		return 0, err
	}
	return f.node.cur.size, nil
}

func (f *memFile) Lock() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("lock", false, 0, 0); err != nil {
		return err
	}
	if f.node.holder != nil && f.node.holder != f {
		return locked(f.name, nil)
	}
	f.node.holder = f
	return nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	if f.node.holder == f {
		f.node.holder = nil
	}
	return nil
}
