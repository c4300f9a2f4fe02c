package pager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// restoreName is where a file lies until it is whole; nobody gives a name like
// it to a file of his own.
func restoreName(path string) string { return path + ".poddb-restore" }

// Restore makes the page file o.Path from what Backup wrote. The bytes go to
// another name, are checked as Check does and by check, synced, and only then
// get their name: whenever this ends, or the power goes, there is the whole file
// or none. check gets the file opened read-only.
//
// Errors: fs.ErrExist if there is a file of that name already; *dberr.CorruptError
// for a stream that was cut off or damaged, dberr.ErrNotDatabase and
// dberr.ErrTooNew for other streams; *dberr.LockedError if somebody restores or
// creates the same file; dberr.ErrDiskFull. Of a failed Restore nothing is left.
func Restore(ctx context.Context, o Options, r io.Reader, check func(*Pager) error) error {
	o.ReadOnly = true
	o, err := o.checked()
	if err != nil {
		return err
	}
	if o.Path, err = vfs.Resolve(o.FS, o.Path); err != nil {
		return err
	}
	name := restoreName(o.Path)
	file, err := o.FS.Open(name, vfs.ReadWrite|vfs.Create)
	if err != nil {
		return fmt.Errorf("restoring %s: %w", o.Path, diskFull(err))
	}
	if err := lock(o, file); err != nil {
		return dberr.Join(err, file.Close()) // somebody's: it stays
	}
	if same, err := file.SameFile(name); err != nil || !same { // he was done a moment ago
		return dberr.Join(lockedBy(o), err, file.Close())
	}
	err = o.refuseExisting()
	if err == nil {
		err = copyStream(ctx, o, r, file)
	}
	if err == nil {
		err = checkRestored(ctx, o, file, check)
	}
	if err == nil {
		err = nameRestored(o, file)
	}
	if err != nil {
		_ = o.FS.Remove(name)
		return fmt.Errorf("restoring %s: %w", o.Path, dberr.Join(err, file.Close()))
	}
	return file.Close()
}

func (o Options) refuseExisting() error {
	_, err := o.FS.Stat(o.Path)
	switch {
	case err == nil:
		return fmt.Errorf("%s: %w", o.Path, fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// copyStream writes the stream to the file and syncs it. The metas say how long
// it must be, and nothing is written before they are believed.
func copyStream(ctx context.Context, o Options, r io.Reader, file vfs.File) error {
	head := make([]byte, metaArea)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	total, err := streamLength(o, head[:n])
	if err != nil {
		return err
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	buf := make([]byte, copyBytes)
	rest := io.MultiReader(bytes.NewReader(head[:n]), r)
	for at := int64(0); at < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), total-at)]
		n, err := io.ReadFull(rest, b)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = dberr.Corrupt("backup", at+int64(n), "the stream ends after %d of %d bytes", at+int64(n), total)
			}
			return err
		}
		if _, err := file.WriteAt(b, at); err != nil {
			return diskFull(err)
		}
		at += int64(n)
	}
	switch n, err := io.ReadFull(r, buf[:1]); {
	case n > 0:
		return dberr.Corrupt("backup", total, "the stream goes on behind its %d bytes", total)
	case !errors.Is(err, io.EOF):
		return err
	}
	return file.Sync()
}

// streamLength checks the metas of a stream and returns its length in bytes.
func streamLength(o Options, head []byte) (int64, error) {
	var metas [2]meta
	for slot := range metas {
		m, state, why := decodeMeta(head[min(len(head), int(slotOffset(slot))):], slot)
		switch {
		case state == slotTooNew:
			return 0, fmt.Errorf("%w: backup for %s", dberr.ErrTooNew, o.Path)
		case state == slotForeign && slot == 0:
			return 0, fmt.Errorf("%w: backup for %s: %s", dberr.ErrNotDatabase, o.Path, why)
		case state != slotValid:
			return 0, dberr.Corrupt("backup", slotOffset(slot), "meta slot %d: %s", slot, why)
		case !m.clean:
			return 0, dberr.Corrupt("backup", slotOffset(slot), "it was not closed cleanly, so its log would be needed")
		}
		metas[slot] = m
	}
	if metas[0].generation > metas[1].generation {
		metas[0], metas[1] = metas[1], metas[0]
	}
	metas[0].generation++
	if metas[0] != metas[1] {
		return 0, dberr.Corrupt("backup", 0, "the meta slots do not belong together")
	}
	return int64(metas[0].pages) * int64(metas[0].pageSize), nil
}

// checkRestored reads everything back.
func checkRestored(ctx context.Context, o Options, file vfs.File, check func(*Pager) error) error {
	p, err := openFile(o, file)
	if err != nil {
		return err
	}
	if _, err := p.Check(ctx, nil); err != nil {
		return err
	}
	return check(p)
}

// nameRestored gives the file its name, durably. The lock that creators of the
// database meet at keeps them away meanwhile.
func nameRestored(o Options, file vfs.File) error {
	gate, err := o.FS.Open(newName(o.Path, 0), vfs.ReadWrite|vfs.Create)
	if err != nil {
		return diskFull(err)
	}
	defer gate.Close()
	if err := lock(o, gate); err != nil {
		return err
	}
	if size, err := gate.Size(); err == nil && size == 0 {
		defer func() { _ = o.FS.Remove(newName(o.Path, 0)) }()
	}
	if err := o.refuseExisting(); err != nil {
		return err
	}
	if err := vfs.Rename(o.FS, file, restoreName(o.Path), o.Path); err != nil {
		return err
	}
	if err := o.FS.SyncDir(path.Dir(o.Path)); err != nil {
		_ = o.FS.Remove(o.Path) // syncing again would not heal it
		return err
	}
	return nil
}
