package db

import (
	"context"
	"fmt"
	"io"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// Inspect opens a database for reading that a live process may have open for
// writing, in this process or another. It shows what the log proves to be
// durable: everything committed up to a second before, at least. It does not
// follow what is committed later, blocks nobody and writes nothing but its
// reader slot in the lock file. The writer keeps the
// space of what is shown until Close, at most for its Options.MaxReaderAge:
// then reads give ErrSnapshotTooOld. It also opens a database that nobody has
// open. Of opts it uses Types, MemoryBytes, Logger.
func Inspect(ctx context.Context, path string, opts *Options) (*DB, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.inspect = true
	return Open(ctx, path, &o)
}

// CompactReport says what Compact did.
type CompactReport = mvcc.CompactReport

// CompactOptions refines Compact.
type CompactOptions struct {
	// Progress, if set, is called now and then with what was done so far.
	Progress func(CompactReport)
}

// Compact moves what lies at the end of the file into free space before it and
// gives the end back, while commits and readers go on. Checkpoints do some of
// it when most of the file is free; a call is for those who want the space now.
// It can be cancelled at any time, and what it reached stays. ErrDiskFull means
// that there was not even room to move something.
func (d *DB) Compact(ctx context.Context, opts ...CompactOptions) (CompactReport, error) {
	var o CompactOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	rep, err := d.store.Compact(ctx, o.Progress)
	return rep, d.named(err)
}

// SpaceReport says where the bytes of a database are.
type SpaceReport = mvcc.SpaceReport

// ContentSpace is one class of a SpaceReport.
type ContentSpace = mvcc.ContentSpace

// SpaceReport walks the index and adds up where the bytes of the database are,
// by class. It takes as long as reading the whole index; Stats is cheap.
func (d *DB) SpaceReport(ctx context.Context) (SpaceReport, error) {
	rep, err := d.store.SpaceReport(ctx)
	return rep, d.named(err)
}

// BackupReport says what Backup wrote.
type BackupReport = mvcc.BackupReport

// BackupOptions refines Backup.
type BackupOptions struct {
	// Progress, if set, is called now and then with bytes written and to write.
	Progress func(done, total int64)
}

// Backup writes a copy of the database to w while it is in use: everything
// committed before the call, as one plain database file, which Open and
// Restore take. Every page is checked on the way; a damaged one is an error,
// so a backup that returned nil is sound. Close ends one that is under way with
// ErrClosed. A handle of ReadOnly or Inspect cannot
// move the log into the file: while commits are only there, that is ErrReadOnly.
func (d *DB) Backup(ctx context.Context, w io.Writer, opts ...BackupOptions) (BackupReport, error) {
	var o BackupOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	if w == nil {
		return BackupReport{}, fmt.Errorf("%w: Backup to a nil writer", ErrInvalid)
	}
	rep, err := d.store.Backup(ctx, w, o.Progress)
	return rep, d.named(err)
}

// Restore makes a database at path from a backup. It checks what it reads and
// gives the file its name only when it is whole and durable; a file that is
// already there is not touched and is an error that matches fs.ErrExist.
func Restore(ctx context.Context, r io.Reader, path string) error {
	if r == nil || path == "" {
		return fmt.Errorf("%w: Restore needs a reader and the path of a new file", ErrInvalid)
	}
	return nameFile(path, mvcc.Restore(ctx, vfs.OS(), r, path))
}

// SalvageReport lists what Salvage saved and what was lost.
type SalvageReport = mvcc.SalvageReport

// SalvageOptions refines Salvage.
type SalvageOptions struct {
	// Progress, if set, is called now and then with bytes done and to do.
	Progress func(done, total int64)
}

// Salvage copies everything that can be read of a damaged database, and of its
// log, into a new file at to, and lists what was lost. It does not change the
// damaged one; nobody else may have that open. What was lost is missing in the
// copy and never an older state: reading it there is ErrCorrupt.
func Salvage(ctx context.Context, from, to string, opts ...SalvageOptions) (SalvageReport, error) {
	var o SalvageOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	if from == "" || to == "" {
		return SalvageReport{}, fmt.Errorf("%w: Salvage needs the paths of the damaged file and of a new one", ErrInvalid)
	}
	rep, err := mvcc.Salvage(ctx, mvcc.SalvageOptions{FS: vfs.OS(), From: from, To: to, Progress: o.Progress})
	return rep, nameFile(from, err)
}

// Token names a commit whose outcome is unknown; see CommitUnknownError.
type Token = dberr.CommitToken

// Lookup says, after the database was opened again, what became of a commit
// that returned a CommitUnknownError: its version, or found = false if nothing
// of it is there. A version that was pruned since is ErrVersionGone.
func (d *DB) Lookup(ctx context.Context, t Token) (v Version, found bool, err error) {
	v, found, err = d.store.Lookup(ctx, t)
	return v, found, d.named(err)
}
