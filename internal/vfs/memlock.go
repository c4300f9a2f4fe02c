package vfs

import (
	"io/fs"
	"math"
	"slices"
	"syscall"
)

// rangeHeld is a locked range of a file in memory.
type rangeHeld struct {
	holder   *memFile
	off, end int64
}

// lockedByOther reports whether another handle than f holds a part of [off, end).
func (n *inode) lockedByOther(f *memFile, off, end int64) bool {
	return slices.ContainsFunc(n.ranges, func(r rangeHeld) bool {
		return r.holder != f && r.off < end && off < r.end
	})
}

// unlock drops all locks of a handle.
func (n *inode) unlock(f *memFile) {
	if n.holder == f {
		n.holder = nil
	}
	n.ranges = slices.DeleteFunc(n.ranges, func(r rangeHeld) bool { return r.holder == f })
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

func (f *memFile) LockRange(off, n int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.usable("lock", true, off, n); err != nil {
		return err
	}
	if err := checkRange(f.name, off, n); err != nil {
		return err
	}
	if f.node.lockedByOther(f, off, off+n) {
		return locked(f.name, nil)
	}
	f.node.ranges = append(f.node.ranges, rangeHeld{f, off, off + n})
	return nil
}

func (f *memFile) RangeLocked(off, n int64) (bool, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if err := f.usable("lock", false, off, n); err != nil {
		return false, err
	}
	if err := checkRange(f.name, off, n); err != nil {
		return false, err
	}
	return f.node.lockedByOther(f, off, off+n), nil
}

// checkRange refuses what is no range; an empty one means "to the end" to some
// systems.
func checkRange(name string, off, n int64) error {
	if off < 0 || n <= 0 || off > math.MaxInt64-n {
		return &fs.PathError{Op: "lock", Path: name, Err: syscall.EINVAL}
	}
	return nil
}

func (f *memFile) SameFile(name string) (bool, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	if err := f.usable("stat", false, 0, 0); err != nil {
		return false, err
	}
	_, _, node, err := f.fs.lookup("stat", name)
	return node == f.node, absent(err)
}
