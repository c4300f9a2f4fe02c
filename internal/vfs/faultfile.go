package vfs

import (
	"errors"
	"syscall"
)

var _ EarlyWriter = (*faultFile)(nil)

// faultFile is a handle of a FaultFS.
type faultFile struct {
	fs   *FaultFS
	file File
	name string
}

func (f *faultFile) renamed(name string) {
	f.name = name
	if below, ok := f.file.(renamable); ok {
		below.renamed(name)
	}
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.step(OpRead, f.name); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	short, cause := f.fs.shortRead.hit(), f.fs.readErr
	f.fs.mu.Unlock()
	if !short {
		return f.file.ReadAt(p, off)
	}
	n, err := f.file.ReadAt(p[:len(p)/2], off)
	if err == nil {
		err = pathError(OpRead.String(), f.name, cause)
	}
	return n, err
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.step(OpWrite, f.name); err != nil {
		return 0, err
	}
	f.fs.mu.Lock()
	short, cause := f.fs.shortWrite.hit(), f.fs.writeErr
	f.fs.mu.Unlock()
	if !short {
		return f.write(p, off)
	}
	n, err := f.write(p[:len(p)/2], off)
	if err == nil {
		err = pathError(OpWrite.String(), f.name, cause)
	}
	return n, err
}

// write writes as much of p as there is space for.
func (f *faultFile) write(p []byte, off int64) (n int, err error) {
	fits := int64(len(p))
	full := f.growing(off+fits, func(most int64) error {
		fits = max(0, min(fits, most-off))
		if fits > 0 || len(p) == 0 {
			n, err = f.file.WriteAt(p[:fits], off)
		}
		return err
	})
	if err == nil && full {
		err = diskFull(OpWrite.String(), f.name, syscall.ENOSPC)
	}
	return n, err
}

// growing runs do, which may extend the file to end; most is how far it may
// get. It accounts for what do did and reports whether end is farther than most.
func (f *faultFile) growing(end int64, do func(most int64) error) (full bool) {
	f.fs.space.Lock()
	if !f.fs.limited {
		f.fs.space.Unlock() // no limit: no operation waits for another
		_ = do(end)
		return false
	}
	defer f.fs.space.Unlock()
	before, err := f.file.Size()
	if err != nil {
		_ = do(end)
		return false
	}
	most := max(before, min(end, before+f.fs.left))
	_ = do(most)
	if after, err := f.file.Size(); err == nil {
		f.fs.left -= after - before
	}
	return end > most
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.step(OpTruncate, f.name); err != nil {
		return err
	}
	return f.extend(OpTruncate, size, func() error { return f.file.Truncate(size) })
}

func (f *faultFile) Preallocate(off, n int64) error {
	if err := f.fs.step(OpPreallocate, f.name); err != nil {
		return err
	}
	return f.extend(OpPreallocate, off+n, func() error { return f.file.Preallocate(off, n) })
}

// extend runs do only if the file may grow to end as a whole.
func (f *faultFile) extend(kind OpKind, end int64, do func() error) (err error) {
	full := f.growing(end, func(most int64) error {
		if most >= end {
			err = do()
		}
		return err
	})
	if full {
		return diskFull(kind.String(), f.name, syscall.ENOSPC)
	}
	return err
}

func (f *faultFile) SyncData() error { return f.sync(f.file.SyncData) }

func (f *faultFile) StartWrite(off, n int64) error {
	below, ok := f.file.(EarlyWriter)
	if !ok {
		return errors.ErrUnsupported
	}
	return below.StartWrite(off, n)
}

func (f *faultFile) AwaitWrite(off, n int64) error {
	below, ok := f.file.(EarlyWriter)
	if !ok {
		return errors.ErrUnsupported
	}
	return f.sync(func() error { return below.AwaitWrite(off, n) })
}

func (f *faultFile) Sync() error { return f.sync(f.file.Sync) }

func (f *faultFile) sync(below func() error) error {
	if err := f.fs.step(OpSync, f.name); err != nil {
		f.failSync()
		return err
	}
	return below()
}

func (f *faultFile) failSync() {
	if below, ok := f.file.(interface{ failSync() }); ok {
		below.failSync()
	}
}

func (f *faultFile) Size() (int64, error) {
	if err := f.fs.step(OpSize, f.name); err != nil {
		return 0, err
	}
	return f.file.Size()
}

func (f *faultFile) Lock() error {
	if err := f.fs.step(OpLock, f.name); err != nil {
		return err
	}
	return f.file.Lock()
}

func (f *faultFile) LockRange(off, n int64) error {
	if err := f.fs.step(OpLock, f.name); err != nil {
		return err
	}
	return f.file.LockRange(off, n)
}

func (f *faultFile) RangeLocked(off, n int64) (bool, error) {
	if err := f.fs.step(OpLock, f.name); err != nil {
		return false, err
	}
	return f.file.RangeLocked(off, n)
}

func (f *faultFile) SameFile(name string) (bool, error) {
	if err := f.fs.step(OpStat, f.name); err != nil {
		return false, err
	}
	return f.file.SameFile(name)
}

func (f *faultFile) Close() error {
	err := f.fs.step(OpClose, f.name)
	if below := f.file.Close(); err == nil {
		err = below
	}
	return err
}
