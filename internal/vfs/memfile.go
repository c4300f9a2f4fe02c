package vfs

import (
	"io"
	"io/fs"
	"math"
	"syscall"
)

var _ EarlyWriter = (*memFile)(nil)

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
func (f *memFile) change(op string, off, n int64, apply func(seq int) error) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable(op, true, off, n); err != nil {
		return err
	}
	if err := f.fs.begin(op, f.name); err != nil {
		return err
	}
	return apply(f.fs.ops)
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
	n := 0
	err := f.change("write", off, int64(len(p)), func(seq int) error {
		if n = int(f.fs.claim(f.node, off, off+int64(len(p))) - off); n > 0 {
			f.node.write(seq, p[:n], off)
		}
		if n < len(p) {
			return f.full("write")
		}
		return nil
	})
	return n, err
}

func (f *memFile) Truncate(size int64) error {
	return f.change("truncate", size, 0, func(seq int) error {
		f.fs.release(f.node, size)
		f.node.resize(seq, size)
		return nil
	})
}

func (f *memFile) Preallocate(off, n int64) error {
	return f.change("preallocate", off, n, func(seq int) error {
		if n == 0 {
			return nil
		}
		if !f.fs.claimAll(f.node, off, off+n) {
			return f.full("preallocate")
		}
		f.node.resize(seq, max(off+n, f.node.cur.size))
		return nil
	})
}

// StartWrite changes nothing: a crash may keep or lose each write anyway.
func (f *memFile) StartWrite(off, n int64) error {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	return f.usable("write early", false, off, n)
}

// AwaitWrite changes as little.
func (f *memFile) AwaitWrite(off, n int64) error { return f.StartWrite(off, n) }

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

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	f.node.unlock(f)
	f.node.handles--
	f.fs.forget(f.node)
	return nil
}
