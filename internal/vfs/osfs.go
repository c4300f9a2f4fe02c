package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
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

var (
	errNotRegular   = errors.New("not a regular file")
	errTooManyLinks = errors.New("too many links")
)

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

// maxLinks is how many links in a row a name may lead through.
const maxLinks = 40

// resolve makes the name one that does not depend on the working directory, and
// follows links in its last element. Those before it lead to the same directory
// for the file and for what lies beside it.
func (osFS) resolve(name string) (string, error) {
	name, err := absolute(name)
	if err != nil {
		return "", err
	}
	at := name
	for range maxLinks {
		info, err := os.Lstat(at)
		if at == name && (err != nil || info.Mode()&fs.ModeSymlink == 0) {
			return name, nil
		}
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.ToSlash(real), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", pathError("resolve", name, err)
		}
		target, err := os.Readlink(at)
		dir, base := filepath.Split(at)
		if err != nil { // at is where the links end, and does not exist
			if real, err := filepath.EvalSymlinks(here(dir)); err == nil {
				at = filepath.Join(real, base)
			}
			return filepath.ToSlash(at), nil
		}
		if at = target; !filepath.IsAbs(target) {
			at = dir + target // not cleaned: what ".." means depends on links
		}
	}
	return "", &fs.PathError{Op: "resolve", Path: name, Err: errTooManyLinks}
}

// absolute puts the working directory in front of a relative name. On systems
// with links the rest stays as it is: what ".." means depends on them.
func absolute(name string) (string, error) {
	switch {
	case name == "" || filepath.IsAbs(name):
		return name, nil
	case runtime.GOOS == "windows":
		full, err := filepath.Abs(name)
		return filepath.ToSlash(full), err
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", pathError("resolve", name, err)
	}
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[1:], "/")
	}
	return strings.TrimSuffix(dir, "/") + "/" + name, nil
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
	ranges bool // some were locked
}

func (o *osFile) renamed(name string) { o.name = name }

// fail gives err the file's name; the system's own errors carry the one that
// it was opened with.
func (o *osFile) fail(op string, err error) error {
	if pe, ok := err.(*fs.PathError); ok && pe.Path != o.name {
		err = &fs.PathError{Op: pe.Op, Path: o.name, Err: pe.Err}
	}
	return pathError(op, o.name, err)
}

func (o *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := o.f.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = o.fail("read", err)
	}
	return n, err
}

func (o *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := o.f.WriteAt(p, off)
	return n, o.fail("write", err)
}

func (o *osFile) Truncate(size int64) error {
	return o.fail("truncate", o.f.Truncate(size))
}

func (o *osFile) SyncData() error { return o.fail("sync", syncData(o.f)) }

func (o *osFile) Sync() error { return o.fail("sync", o.f.Sync()) }

func (o *osFile) Size() (int64, error) {
	info, err := o.f.Stat()
	if err != nil {
		return 0, o.fail("stat", err)
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
	return o.fail("preallocate", o.reserve(off, n, allocate))
}

// reserve is Preallocate by a system call. Where space runs out in the middle
// some file systems keep what they got and make the file as long (ext4): that is
// cut off again, or a file that could not grow would hold the last of the disk.
func (o *osFile) reserve(off, n int64, allocate func(f *os.File, off, n int64) error) error {
	before, err := o.Size()
	if err != nil {
		return err
	}
	err = allocate(o.f, off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		err = o.writeZeros(off, n)
	}
	if err == nil {
		return nil
	}
	if after, sizeErr := o.Size(); sizeErr == nil && after > before {
		_ = o.f.Truncate(before) // it stays long then, which harms nobody but by its space
	}
	return err
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
		return o.fail("lock", err)
	}
	if !processLocks.take(o, info) {
		return locked(o.name, nil)
	}
	switch held, err := lockFile(o.f); {
	case err != nil:
		processLocks.drop(o)
		return o.fail("lock", err)
	case held:
		processLocks.drop(o)
		return locked(o.name, nil)
	}
	o.locked = true
	return nil
}

func (o *osFile) LockRange(off, n int64) error {
	if err := checkRange(o.name, off, n); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	held, err := lockRange(o.f, off, n)
	switch {
	case err != nil:
		return o.fail("lock", err)
	case held:
		return locked(o.name, nil)
	}
	o.ranges = true
	return nil
}

func (o *osFile) RangeLocked(off, n int64) (bool, error) {
	if err := checkRange(o.name, off, n); err != nil {
		return false, err
	}
	held, err := rangeLocked(o.f, off, n)
	return held && err == nil, o.fail("lock", err)
}

func (o *osFile) SameFile(name string) (bool, error) {
	mine, err := o.f.Stat()
	if err != nil {
		return false, o.fail("stat", err)
	}
	named, err := os.Stat(here(name))
	if err != nil {
		return false, absent(err)
	}
	return os.SameFile(mine, named), nil
}

func (o *osFile) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.locked {
		// By hand: a child forked at this moment may hold a copy of the
		// descriptor a little longer, and with it the lock.
		unlockFile(o.f)
	}
	if o.ranges {
		unlockRanges(o.f)
	}
	err := o.f.Close()
	if o.locked {
		o.locked = false
		processLocks.drop(o)
	}
	return o.fail("close", err)
}
