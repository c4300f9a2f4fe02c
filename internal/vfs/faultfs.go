package vfs

import (
	"io"
	"sync"
)

// OpKind is a kind of operation that FaultFS counts and fails.
type OpKind int

// The kinds. SyncData, Sync and AwaitWrite are all OpSync.
const (
	OpOpen OpKind = iota
	OpRemove
	OpRename
	OpMkdir
	OpList
	OpStat
	OpSyncDir
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSize
	OpPreallocate
	OpLock
	OpClose
	numOpKinds
)

var opNames = [numOpKinds]string{"open", "remove", "rename", "mkdir", "list", "stat", "sync directory",
	"read", "write", "truncate", "sync", "size", "preallocate", "lock", "close"}

// String returns the name used in errors.
func (k OpKind) String() string { return opNames[k] }

// FaultFS passes everything on to another FS, counts it, and fails what it is
// told to. A failed operation does nothing below, except that a failed Close
// closes and a failed sync on a MemFS marks its operations as failed (they stay
// visible and no later sync makes them durable).
//
// Errors carry the operation and the name; one that means "disk full" matches
// ErrDiskFull and dberr.ErrDiskFull like the operating system's.
type FaultFS struct {
	fs FS

	mu         sync.Mutex
	ops        int
	counts     [numOpKinds]int
	atOp       map[int]error
	once       [numOpKinds]error
	always     [numOpKinds]error
	shortRead  countdown
	shortWrite countdown
	readErr    error
	writeErr   error

	space   sync.Mutex // held over operations that change sizes while limited
	limited bool
	left    int64 // bytes
}

// NewFault returns a FaultFS over fs that fails nothing yet.
func NewFault(fs FS) *FaultFS { return &FaultFS{fs: fs, atOp: map[int]error{}} }

// Ops returns how many operations of all kinds were asked for.
func (f *FaultFS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Count returns how many operations of one kind were asked for.
func (f *FaultFS) Count(kind OpKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[kind]
}

// FailOp makes operation number n fail with err; the first ever is 1. It can
// be called for several n.
func (f *FaultFS) FailOp(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.atOp[n] = err
}

// FailKind makes the next operation of a kind fail with err, and with from all
// later ones too.
func (f *FaultFS) FailKind(kind OpKind, err error, from bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from {
		f.always[kind] = err
	} else {
		f.once[kind] = err
	}
}

// ShortRead makes the n-th read from now (negative: every read) deliver only
// the first half and err, or io.ErrUnexpectedEOF if err is nil.
func (f *FaultFS) ShortRead(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shortRead, f.readErr = countdown(n), orDefault(err, io.ErrUnexpectedEOF)
}

// ShortWrite makes the n-th write from now (negative: every write) write only
// the first half and return err, or io.ErrShortWrite if err is nil.
func (f *FaultFS) ShortWrite(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shortWrite, f.writeErr = countdown(n), orDefault(err, io.ErrShortWrite)
}

func orDefault(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

// Heal takes back all faults, also Space, and leaves the counts.
func (f *FaultFS) Heal() {
	f.mu.Lock()
	f.atOp = map[int]error{}
	f.once, f.always = [numOpKinds]error{}, [numOpKinds]error{}
	f.shortRead, f.shortWrite = 0, 0
	f.mu.Unlock()
	f.Space(-1)
}

// Space makes this a disk with n bytes left for files to grow; a negative n
// means no limit. A write that does not fit writes the part that does and fails
// with ErrDiskFull. Shrinking, removing and replacing files gives bytes back.
func (f *FaultFS) Space(n int64) {
	f.space.Lock()
	defer f.space.Unlock()
	f.limited, f.left = n >= 0, n
}

// step counts an operation and returns the error planted for it.
func (f *FaultFS) step(kind OpKind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops++
	f.counts[kind]++
	err := f.atOp[f.ops]
	if err == nil {
		err = f.always[kind]
	}
	if err == nil {
		err, f.once[kind] = f.once[kind], nil
	}
	return pathError(kind.String(), name, err)
}

// Open implements FS.
func (f *FaultFS) Open(name string, flag Flag) (File, error) {
	if err := f.step(OpOpen, name); err != nil {
		return nil, err
	}
	file, err := f.fs.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultFile{fs: f, file: file, name: name}, nil
}

// Remove implements FS.
func (f *FaultFS) Remove(name string) error {
	if err := f.step(OpRemove, name); err != nil {
		return err
	}
	return f.releasing(name, func() error { return f.fs.Remove(name) })
}

// Rename implements FS.
func (f *FaultFS) Rename(oldname, newname string) error {
	if err := f.step(OpRename, oldname); err != nil {
		return err
	}
	return f.releasing(newname, func() error { return f.fs.Rename(oldname, newname) })
}

// releasing runs what makes the file called name go away.
func (f *FaultFS) releasing(name string, do func() error) error {
	f.space.Lock()
	defer f.space.Unlock()
	if !f.limited {
		return do()
	}
	info, _ := f.fs.Stat(name) // none: nothing to give back
	err := do()
	if err == nil {
		f.left += info.Size
	}
	return err
}

func (f *FaultFS) resolve(name string) (string, error) { return Resolve(f.fs, name) }

// MkdirAll implements FS.
func (f *FaultFS) MkdirAll(dir string) error {
	if err := f.step(OpMkdir, dir); err != nil {
		return err
	}
	return f.fs.MkdirAll(dir)
}

// List implements FS.
func (f *FaultFS) List(dir string) ([]string, error) {
	if err := f.step(OpList, dir); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

// Stat implements FS.
func (f *FaultFS) Stat(name string) (Info, error) {
	if err := f.step(OpStat, name); err != nil {
		return Info{}, err
	}
	return f.fs.Stat(name)
}

// SyncDir implements FS.
func (f *FaultFS) SyncDir(dir string) error {
	if err := f.step(OpSyncDir, dir); err != nil {
		if below, ok := f.fs.(interface{ failDir(string) }); ok {
			below.failDir(dir)
		}
		return err
	}
	return f.fs.SyncDir(dir)
}

// failDir passes a failure on through a stack of FaultFS.
func (f *FaultFS) failDir(dir string) {
	if below, ok := f.fs.(interface{ failDir(string) }); ok {
		below.failDir(dir)
	}
}
