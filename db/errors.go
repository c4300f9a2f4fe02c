package db

import (
	"errors"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// Conditions to test with errors.Is.
var (
	// ErrNotFound: no variable of this name, or no such version.
	ErrNotFound = dberr.ErrNotFound
	// ErrConflict: another commit touched what this one depends on. See ConflictError.
	ErrConflict = dberr.ErrConflict
	// ErrRetriesExhausted: an Update met a conflict at each of its attempts; it is a
	// ConflictError, too.
	ErrRetriesExhausted = dberr.ErrRetriesExhausted
	// ErrTxDone: the transaction was committed or rolled back.
	ErrTxDone = dberr.ErrTxDone
	// ErrTxBusy: two goroutines use one transaction at once.
	ErrTxBusy = dberr.ErrTxBusy
	// ErrNested: Update was called within Update, or a namespace was used by what one of its own calls runs.
	ErrNested = dberr.ErrNested
	// ErrDetached: a Ref of an object that is no part of its namespace any more: a
	// Checkout has taken it out, or it was dropped and what the Ref led to collected.
	ErrDetached = dberr.ErrDetached
	// ErrReadChanged: an object that only Read variables of a transaction reach was
	// changed; the message names the variable.
	ErrReadChanged = dberr.ErrReadChanged
	// ErrCorrupt: stored bytes are damaged. See CorruptError.
	ErrCorrupt = dberr.ErrCorrupt
	// ErrNotDatabase: the file is not a poddb database.
	ErrNotDatabase = dberr.ErrNotDatabase
	// ErrPoisoned: a sync failed earlier, or else something after which writing is not
	// safe; the database refuses writes until reopened. The text has the first cause.
	ErrPoisoned = dberr.ErrPoisoned
	// ErrCommitUnknown: the sync of this very commit failed; after reopening the
	// commit is wholly there or wholly absent, and Lookup says which. See
	// CommitUnknownError.
	ErrCommitUnknown = dberr.ErrCommitUnknown
	// ErrDiskFull: no space; the commit was undone cleanly and may be tried again.
	ErrDiskFull = dberr.ErrDiskFull
	// ErrLogMissing: the file was not closed cleanly and its .wal directory is gone.
	ErrLogMissing = dberr.ErrLogMissing
	// ErrBranchExists, ErrTagExists: the name is taken.
	ErrBranchExists = dberr.ErrBranchExists
	ErrTagExists    = dberr.ErrTagExists
	// ErrBranchDeleted: the branch that a Watch goes along is no more. See
	// BranchDeletedError.
	ErrBranchDeleted = dberr.ErrBranchDeleted
	// ErrUnrelated: branches that Merge cannot merge, because both began empty.
	ErrUnrelated = dberr.ErrUnrelated
	// ErrVersionGone: retention removed this version.
	ErrVersionGone = dberr.ErrVersionGone
	// ErrSnapshotTooOld: the writer of the file reused what an Inspect handle
	// shows; open it again.
	ErrSnapshotTooOld = dberr.ErrSnapshotTooOld
	// ErrLocked: somebody else has the file open. See LockedError.
	ErrLocked = dberr.ErrLocked
	// ErrReadOnly: the database was opened with Options.ReadOnly.
	ErrReadOnly = dberr.ErrReadOnly
	// ErrClosed: the database or snapshot is closed.
	ErrClosed = dberr.ErrClosed
	// ErrUnsupported: values that cannot be stored. See UnsupportedError.
	ErrUnsupported = dberr.ErrUnsupported
	// ErrUnregistered: a type behind an interface that a later process could not know.
	ErrUnregistered = dberr.ErrUnregistered
	// ErrTypeMismatch: the stored type and the wanted Go type do not fit.
	ErrTypeMismatch = dberr.ErrTypeMismatch
	// ErrTooLarge: a name, commit or value beyond a documented limit.
	ErrTooLarge = dberr.ErrTooLarge
	// ErrTooNew: the file was written by a later format than this program reads.
	ErrTooNew = dberr.ErrTooNew
	// ErrUnsaved: Checkout would overwrite changes that were never saved.
	ErrUnsaved = dberr.ErrUnsaved
	// ErrUnsound: a save missed a change; see Options.VerifyEvery.
	ErrUnsound = dberr.ErrUnsound
	// ErrInvalid: an argument that can never work; the message says why.
	ErrInvalid = dberr.ErrInvalid
	// ErrMemoryFault: memory that a variable reaches could not be read (unmapped).
	ErrMemoryFault = dberr.ErrMemoryFault
)

// CorruptError says where damage was found: file, byte offset, what.
type CorruptError = dberr.CorruptError

// CommitUnknownError carries the token by which Lookup finds the outcome.
type CommitUnknownError = dberr.CommitUnknownError

// ConflictError names the variables and pods that collided.
type ConflictError = dberr.ConflictError

// LockedError says which process holds the file and since when.
type LockedError = dberr.LockedError

// BranchDeletedError says which version of the branch was told last.
type BranchDeletedError = dberr.BranchDeletedError

// UnsupportedError lists the path and type of every value of a save that
// cannot be stored.
type UnsupportedError = dberr.UnsupportedError

// named makes sure that a CorruptError names the database file: lower layers
// know the pod or row, and not always the file.
func (d *DB) named(err error) error { return nameFile(d.path, err) }

func nameFile(path string, err error) error {
	if err == nil {
		return nil
	}
	var c *CorruptError
	if errors.As(err, &c) && !strings.Contains(c.File, path) {
		if c.File == "" {
			c.File = path
		} else {
			c.File = path + ": " + c.File
		}
	}
	return err
}

// PathProblem is one entry of an UnsupportedError.
type PathProblem = dberr.PathProblem

// Retryable reports whether the same call may succeed when tried again
// without reopening the database: conflicts and a full disk. An unknown
// outcome (ErrCommitUnknown) is never retryable, nor are conflicts between branches
// (MergeConflictError).
func Retryable(err error) bool {
	if errors.Is(err, ErrCommitUnknown) || errors.Is(err, ErrPoisoned) {
		return false
	}
	var m *MergeConflictError
	if errors.As(err, &m) {
		return false
	}
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrDiskFull)
}
