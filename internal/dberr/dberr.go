// Package dberr holds the error values that every layer returns and package db
// publishes. It stands below all layers so that a lower one can name a
// condition without importing the one that documents it.
package dberr

import (
	"errors"
	"fmt"
	"time"
)

// The conditions a caller may test with errors.Is.
var (
	ErrNotFound         = errors.New("not found")
	ErrConflict         = errors.New("conflict")
	ErrRetriesExhausted = errors.New("gave up after too many conflicts")
	ErrTxDone           = errors.New("transaction is over")
	ErrDetached         = errors.New("the object is no longer part of what it was read from")
	ErrNested           = errors.New("a call within one that it would have to wait for")
	ErrTxBusy           = errors.New("transaction is used by two goroutines at once")
	ErrReadChanged      = errors.New("a variable that was only read was changed")
	ErrCorrupt          = errors.New("corrupt")
	ErrNotDatabase      = errors.New("not a poddb database")
	ErrPoisoned         = errors.New("database refuses writes until it is reopened")
	ErrCommitUnknown    = errors.New("commit outcome unknown until the database is reopened")
	ErrDiskFull         = errors.New("disk full")
	ErrLogMissing       = errors.New("log missing: the database was not closed cleanly and its .wal directory is gone")
	ErrLocked           = errors.New("database is locked")
	ErrReadOnly         = errors.New("database is read-only")
	ErrClosed           = errors.New("closed")
	ErrUnsupported      = errors.New("unsupported value")
	ErrTypeMismatch     = errors.New("type mismatch")
	ErrUnregistered     = errors.New("type not registered")
	ErrTooLarge         = errors.New("too large")
	ErrTooNew           = errors.New("file format is newer than this program")
	ErrUnsaved          = errors.New("unsaved changes")
	ErrInvalid          = errors.New("invalid argument")
	ErrUnsound          = errors.New("a change was missed")
	ErrMemoryFault      = errors.New("memory could not be read")
	ErrBranchExists     = errors.New("branch exists")
	ErrTagExists        = errors.New("tag exists")
	ErrUnknownVersion   = errors.New("no such version")
	ErrBranchDeleted    = errors.New("branch was deleted")
	ErrUnrelated        = errors.New("the branches have no common ancestor")
	ErrVersionGone      = errors.New("version was removed by retention")
	ErrSnapshotTooOld   = errors.New("snapshot is too old: the writer of the file reused what it shows")
)

// CorruptError says where stored bytes were found damaged. It matches
// ErrCorrupt.
type CorruptError struct {
	File   string // file name, "" where unknown
	Offset int64  // byte offset in the file, -1 where unknown
	What   string // what was expected and what was found
}

func (e *CorruptError) Error() string {
	where := e.File
	if where == "" {
		where = "stored data"
	}
	if e.Offset >= 0 {
		return fmt.Sprintf("corrupt: %s at byte %d: %s", where, e.Offset, e.What)
	}
	return fmt.Sprintf("corrupt: %s: %s", where, e.What)
}

// Is reports that a CorruptError is an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Corrupt makes a *CorruptError; offset -1 means unknown.
func Corrupt(file string, offset int64, format string, args ...any) error {
	return &CorruptError{File: file, Offset: offset, What: fmt.Sprintf(format, args...)}
}

// BranchDeletedError ends what goes along a branch. It matches ErrBranchDeleted.
type BranchDeletedError struct {
	Branch string
	Last   uint64 // version of the branch that was told last
	Lost   bool   // there were newer ones, which are gone with the branch
}

func (e *BranchDeletedError) Error() string {
	s := fmt.Sprintf("branch %q was deleted; the newest version told is %d", e.Branch, e.Last)
	if e.Lost {
		s += ", and what came after it is gone"
	}
	return s
}

// Is reports that a BranchDeletedError is an ErrBranchDeleted.
func (e *BranchDeletedError) Is(target error) bool { return target == ErrBranchDeleted }

// LockedError says who holds a database. It matches ErrLocked.
type LockedError struct {
	File  string
	PID   int       // 0 where unknown
	Since time.Time // zero where unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is locked by another holder", e.File)
	}
	return fmt.Sprintf("%s is locked by process %d since %s", e.File, e.PID, e.Since.Format(time.RFC3339))
}

// Is reports that a LockedError is an ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// PathProblem is one value that cannot be stored.
type PathProblem struct {
	Path   string // from the variable's name on: x.children[3].onClose
	Type   string // Go type
	Reason string
	Err    error // of a codec or method of the program, else nil
}

// UnsupportedError lists every value of one save that cannot be stored. It
// matches ErrUnsupported, and ErrUnregistered where a type behind an interface
// is not registered.
type UnsupportedError struct {
	Problems     []PathProblem
	Unregistered bool // all problems are unregistered types
}

func (e *UnsupportedError) Error() string {
	s := "cannot store"
	for i, p := range e.Problems {
		if i == 8 {
			return s + fmt.Sprintf("; and %d more", len(e.Problems)-i)
		}
		if i > 0 {
			s += ";"
		}
		s += fmt.Sprintf(" %s (%s): %s", p.Path, p.Type, p.Reason)
	}
	return s
}

// Unwrap returns the errors of the program that are among the problems.
func (e *UnsupportedError) Unwrap() (errs []error) {
	for _, p := range e.Problems {
		if p.Err != nil {
			errs = append(errs, p.Err)
		}
	}
	return errs
}

// Is matches ErrUnsupported, and ErrUnregistered if that is what is wrong.
func (e *UnsupportedError) Is(target error) bool {
	return target == ErrUnsupported || (e.Unregistered && target == ErrUnregistered)
}

// ConflictError names what another commit touched first. It matches
// ErrConflict, and ErrRetriesExhausted if it ended the last of several attempts.
type ConflictError struct {
	Names    []string // variables, as far as they are known
	Paths    []string // to the first object of each pod, as far as they are known
	Pods     []uint64 // pod ids
	Base     uint64   // version the losing transaction started from
	With     uint64   // version of the commit it collided with
	Attempts int      // that an Update made before it gave up; 0 if it was no Update
}

// maxNamed bounds what the text of an error lists.
const maxNamed = 8

func (e *ConflictError) Error() string {
	s := "conflict: "
	if e.Attempts > 0 {
		s = fmt.Sprintf("gave up after %d attempts: %s", e.Attempts, s)
	}
	what := fmt.Sprintf("%d of our pods", len(e.Pods))
	switch {
	case len(e.Paths) > 0:
		what = list(e.Paths)
	case len(e.Names) > 0:
		what = list(e.Names)
	}
	return s + fmt.Sprintf("version %d changed %s since base %d", e.With, what, e.Base)
}

func list(names []string) string {
	if n := len(names) - maxNamed; n > 0 {
		return fmt.Sprintf("%q and %d more", names[:maxNamed], n)
	}
	return fmt.Sprintf("%q", names)
}

// Is reports that a ConflictError is an ErrConflict.
func (e *ConflictError) Is(target error) bool {
	return target == ErrConflict || e.Attempts > 0 && target == ErrRetriesExhausted
}
