// Package vfs is the only door to files. Everything above it works on the FS
// and File interfaces, so that tests can put a file system below the engine
// that loses unsynced data (MemFS) or fails an operation (FaultFS).
//
// What the engine relies on, and nothing else: a write touches no bytes
// beyond its 512-byte sectors; a sync that returned nil is durable; a sync
// that failed tells nothing, and a later successful one does not heal it; a
// directory entry (create, rename, remove) is durable only after SyncDir.
package vfs

import (
	"errors"
	"fmt"
)

// SectorSize is the unit in which a crash may tear a write.
const SectorSize = 512

// Errors that implementations return, wrapped with the file's name. They also
// match the operating system's own (fs.ErrNotExist and so on).
var (
	ErrLocked   = errors.New("file is locked")
	ErrDiskFull = errors.New("no space left on device")
	// ErrNotSupported is returned by LockRange and RangeLocked where the system
	// has no locks of ranges that belong to a handle. It matches
	// errors.ErrUnsupported.
	ErrNotSupported = fmt.Errorf("locks of ranges: %w", errors.ErrUnsupported)
)

// Flag says how Open opens a file.
type Flag int

// Flags are combined with |. Without ReadWrite the file is read-only.
const (
	ReadWrite Flag = 1 << iota
	Create         // create the file if it does not exist
	Exclusive      // with Create: fail with fs.ErrExist if it exists
)

// Info describes a directory entry.
type Info struct {
	Size  int64 // bytes
	IsDir bool
}

// FS is a file system. All methods are safe for concurrent use.
type FS interface {
	// Open opens a file. A missing file without Create matches fs.ErrNotExist;
	// a directory is an error.
	Open(name string, flag Flag) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename replaces newname atomically, durable after SyncDir.
	Rename(oldname, newname string) error
	// MkdirAll creates a directory and its parents.
	MkdirAll(dir string) error
	// List returns the base names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file; a missing one matches fs.ErrNotExist.
	Stat(name string) (Info, error)
	// SyncDir makes creates, renames and removes in dir durable.
	SyncDir(dir string) error
}

// File is an open file. ReadAt and WriteAt may be called concurrently on
// ranges that do not overlap.
type File interface {
	// ReadAt follows io.ReaderAt.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt follows io.WriterAt. A full disk matches ErrDiskFull.
	WriteAt(p []byte, off int64) (int, error)
	// Truncate sets the size; growing fills with zeros.
	Truncate(size int64) error
	// SyncData makes contents and size durable (fdatasync on Linux).
	SyncData() error
	// Sync makes contents and all metadata durable.
	Sync() error
	// Size returns the current size in bytes.
	Size() (int64, error)
	// Preallocate reserves space for [off, off+n) and extends the size to at
	// least off+n, reading as zeros. A full disk matches ErrDiskFull, and the file
	// is as long as before. Nothing else may extend the file meanwhile.
	Preallocate(off, n int64) error
	// Lock takes an exclusive lock on the file that dies with the handle, or
	// fails at once with ErrLocked, also when another handle of this process
	// (by device and inode, through any name) holds it.
	Lock() error
	// LockRange takes an exclusive lock on bytes [off, off+n), which need not
	// exist, that dies with the handle and with the process, or fails at once
	// with ErrLocked when any other handle holds a part of it. The handle must be
	// writable. A range that the handle holds already is taken again. Locks of
	// ranges and Lock do not see each other.
	LockRange(off, n int64) error
	// RangeLocked reports whether any handle but this one, of this process or
	// of another, holds a part of [off, off+n).
	RangeLocked(off, n int64) (bool, error)
	// SameFile reports whether name leads to this very file now: false if it was
	// removed or replaced. Whoever locked a file by its name asks this afterwards.
	SameFile(name string) (bool, error)
	// Close drops the handle's locks.
	Close() error
}

// EarlyWriter is a File whose system can be told to begin with the work of a
// later sync. Neither call makes anything durable. Both match
// errors.ErrUnsupported where it cannot; after any other error nothing is known of
// what was written, as after a sync that failed.
type EarlyWriter interface {
	// StartWrite begins to move what was written to [off, off+n) to the medium.
	StartWrite(off, n int64) error
	// AwaitWrite waits until what StartWrite began in [off, off+n) has come to an
	// end.
	AwaitWrite(off, n int64) error
}
