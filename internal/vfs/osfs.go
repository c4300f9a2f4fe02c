package vfs

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"sort"
	"sync"
	"syscall"
)

// Modes of what OS creates, before the process's umask.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// zeroBlock is what Preallocate writes where the system cannot reserve space.
const zeroBlock = 256 << 10

var errNotRegular = errors.New("not a regular file")

// OS returns the operating system's file system. SyncData is fdatasync on
// Linux; on macOS both syncs reach the medium (F_FULLFSYNC). Locks are known to
// the whole process, whichever value of OS took them.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(name string, flag Flag) (File, error) {
	// A pipe would block the open below, so the kind is asked first.
	if info, err := os.Stat(name); err == nil {
		if err := regular(name, info); err != nil {
			return nil, err
		}
	}
	mode := os.O_RDONLY
	if flag&ReadWrite != 0 {
		mode = os.O_RDWR
	}
	if flag&Create != 0 {
		mode |= os.O_CREATE
		if flag&Exclusive != 0 {
			mode |= os.O_EXCL
		}
	}
	f, err := os.OpenFile(name, mode, fileMode)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	info, err := f.Stat()
	if err == nil {
		err = regular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, pathError("open", name, err)
	}
	return &osFile{f: f, name: name}, nil
}

func regular(name string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	return nil
}

func (osFS) Remove(name string) error { return pathError("remove", name, os.Remove(name)) }

func (osFS) Rename(oldname, newname string) error {
	err := os.Rename(oldname, newname)
	if err != nil && isDiskFull(err) {
		return diskFull("rename", newname, err)
	}
	return err
}

func (osFS) MkdirAll(dir string) error {
	if dir == "" {
		return nil
	}
	return pathError("mkdir", dir, os.MkdirAll(dir, dirMode))
}

func (osFS) List(dir string) ([]string, error) {
	f, err := os.Open(here(dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	sort.Strings(names)
	return names, nil
}

func (osFS) Stat(name string) (Info, error) {
	info, err := os.Stat(here(name))
	if err != nil {
		return Info{}, err
	}
	if info.IsDir() {
		return Info{IsDir: true}, nil
	}
	return Info{Size: info.Size()}, nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(here(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	return pathError("sync", dir, syncDir(f))
}

// here lets "" name the working directory, as it does in MemFS.
func here(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

type osFile struct {
	f    *os.File
	name string

	mu     sync.Mutex // guards locked against Close
	locked bool
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error) { return o.f.ReadAt(p, off) }

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := o.f.WriteAt(p, off)
	return n, pathError("write", o.name, err)
}

func (o *osFile) Truncate(size int64) error {
	return pathError("truncate", o.name, o.f.Truncate(size))
}

func (o *osFile) SyncData() error { return pathError("sync", o.name, syncData(o.f)) }

func (o *osFile) Sync() error { return pathError("sync", o.name, o.f.Sync()) }

func (o *osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (o *osFile) Preallocate(off, n int64) error {
	if off < 0 || n < 0 || off > math.MaxInt64-n {
		return &fs.PathError{Op: "preallocate", Path: o.name, Err: syscall.EINVAL}
	}
	if n == 0 {
		return nil
	}
	err := allocate(o.f, off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = o.writeZeros(off, n)
	}
	return pathError("preallocate", o.name, err)
}

// writeZeros reserves what lies behind the end of the file by writing it. Holes
// inside the file stay holes: filling them could overwrite a concurrent write.
func (o *osFile) writeZeros(off, n int64) error {
	size, err := o.Size()
	if err != nil {
		return err
	}
	zeros := make([]byte, min(n, zeroBlock))
	for at := max(off, size); at < off+n; {
		m, err := o.f.WriteAt(zeros[:min(int64(len(zeros)), off+n-at)], at)
		if err != nil {
			return err
		}
		at += int64(m)
	}
	return nil
}

func (o *osFile) Lock() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.locked {
		return nil
	}
	info, err := o.f.Stat()
	if err != nil {
		return err
	}
	if !processLocks.take(o, info) {
		return locked(o.name, nil)
	}
	switch held, err := lockFile(o.f); {
	case err != nil:
		processLocks.drop(o)
		return pathError("lock", o.name, err)
	case held:
		processLocks.drop(o)
		return locked(o.name, nil)
	}
	o.locked = true
	return nil
}

func (o *osFile) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.locked {
		// By hand: a child forked at this moment may hold a copy of the
		// descriptor a little longer, and with it the lock.
		unlockFile(o.f)
	}
	err := o.f.Close()
	if o.locked {
		o.locked = false
		processLocks.drop(o)
	}
	return err
}
