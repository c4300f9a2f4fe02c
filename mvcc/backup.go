package mvcc

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// BackupReport says what a backup holds.
type BackupReport struct {
	Version Version // the newest one in it
	Bytes   int64   // of the stream
	// UsedBytes of the stream are not zeros in the place of free pages.
	UsedBytes int64
}

// Backup writes the database to w while commits and checkpoints go on: as a
// database file that was closed cleanly, so the stream, stored as a file, opens
// as it is. Everything that was committed before the call is in it, and nothing
// of what is committed after the checkpoint that it begins with.
//
// Every page and every block is checked before it is copied; what is damaged
// ends the backup with a *CorruptError that says where. progress, if not nil, is
// called now and then from this goroutine, with bytes done and in all. The pages
// of the state that is copied are kept until the end, which Stats.Backups shows,
// so the file may grow meanwhile; ctx is what bounds it. Close ends it with
// ErrClosed, once w has taken what it was given last.
//
// A database that was opened to read only is copied if its log holds nothing.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupReport, error) {
	if err := s.enter(); err != nil {
		return BackupReport{}, err
	}
	defer s.leave()
	ctx, end := s.lasting(ctx, &s.backups)
	rep, err := s.backup(ctx, w, progress)
	return rep, end(err)
}

func (s *Store) backup(ctx context.Context, w io.Writer, progress func(done, total int64)) (BackupReport, error) {
	if s.o.ReadOnly {
		// Verify may have frozen what was read from the log.
		if la := s.layers.Load(); la.frozen != nil || !la.active.empty() {
			return BackupReport{}, fmt.Errorf("%w: %s holds commits that are not in the file yet: back up where it is open for writing, or checkpoint first", dberr.ErrReadOnly, s.logDir())
		}
	} else if err := s.Checkpoint(ctx); err != nil {
		return BackupReport{}, err
	}
	var rep BackupReport
	got, err := s.pager.Backup(ctx, w, func(pv *pager.View, add func(pager.Place) error) error {
		b, _, err := pv.Get(singleKey(singleCounters))
		if err != nil {
			return err
		}
		c, err := decodeCounters(b)
		if err != nil {
			return err
		}
		rep.Version = c.version
		return blockPlaces(ctx, pv, add)
	}, progress)
	rep.Bytes = got.Bytes
	rep.UsedBytes = got.Bytes - int64(got.FreePages)*int64(s.pager.State().PageSize)
	if err != nil {
		return rep, fmt.Errorf("backup: %w", err)
	}
	return rep, nil
}

// blockPlaces calls add for every block that the page file knows.
func blockPlaces(ctx context.Context, pv *pager.View, add func(pager.Place) error) error {
	c := pv.Seek([]byte{kindBlock})
	for n := 1; c.Valid() && c.Key()[0] == kindBlock; n++ {
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if key := c.Key(); len(key) == 9 {
			row, err := decodeBlockRow(be.Uint64(key[1:]), c.Value())
			if err != nil {
				return err
			}
			if err := add(row.place); err != nil {
				return err
			}
		}
		c.Next()
	}
	return c.Err()
}

// Restore makes a database file from what Backup wrote, or from a copy of a
// database file that was closed. It writes under another name, reads everything
// back, checks pages, space and blocks, syncs, and then gives the file its name:
// whenever it ends, or the power goes, there is the whole database or none.
// Store.Verify of the opened database checks what the bytes mean.
//
// It overwrites nothing: a file of that name, or a log beside it, is
// fs.ErrExist. A stream that is cut off or damaged matches ErrCorrupt,
// ErrNotDatabase or ErrTooNew.
func Restore(ctx context.Context, fsys vfs.FS, r io.Reader, path string) error {
	if fsys == nil || path == "" {
		return fmt.Errorf("%w: a file system and a path are required", dberr.ErrInvalid)
	}
	path, err := vfs.Resolve(fsys, path)
	if err != nil {
		return err
	}
	logDir := path + ".wal"
	if left, err := wal.Exists(fsys, logDir); err != nil {
		return err
	} else if left {
		return fmt.Errorf("restoring %s: %w: %s, the log of another database", path, fs.ErrExist, logDir)
	}
	return pager.Restore(ctx, pager.Options{FS: fsys, Path: path}, r, func(p *pager.Pager) error {
		_, err := p.Backup(ctx, io.Discard, func(pv *pager.View, add func(pager.Place) error) error {
			return blockPlaces(ctx, pv, add)
		}, nil)
		return err
	})
}
