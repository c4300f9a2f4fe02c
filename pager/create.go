package pager

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

const (
	firstLogPos     = 8 // of an empty database: a legal LSN
	firstGeneration = 2 // of its newer meta
	maxNewNames     = 16
)

// create makes the file so that it appears complete, durable and locked, or
// not at all: write under another name, sync, rename. The directory is synced
// by settleName.
//
// The lock is taken before the name is looked at again. Whoever locks the
// other name's file after another creator renamed it therefore finds the
// database under its name and leaves it alone (fs.ErrExist).
func create(o Options) (vfs.File, error) {
	var foreign []vfs.File
	defer func() {
		for _, file := range foreign {
			_ = file.Close()
		}
	}()
	for n := range maxNewNames {
		name := newName(o.Path, n)
		file, err := o.FS.Open(name, vfs.ReadWrite|vfs.Create)
		if err != nil {
			return nil, fmt.Errorf("creating %s: %w", o.Path, diskFull(err))
		}
		if err := lock(o, file); err != nil {
			return nil, dberr.Join(err, file.Close())
		}
		if _, err := o.FS.Stat(o.Path); err == nil {
			return nil, dberr.Join(fs.ErrExist, file.Close())
		}
		switch ours, err := halfMade(file); {
		case err != nil:
			return nil, dberr.Join(fmt.Errorf("creating %s: %w", o.Path, err), file.Close())
		case ours:
			return createAs(o, file, name)
		}
		// Its lock is kept: all creators meet at the first name.
		foreign = append(foreign, file)
	}
	return nil, fmt.Errorf("%w: creating %s: the files %s to %s are in the way", dberr.ErrInvalid,
		o.Path, newName(o.Path, 0), newName(o.Path, maxNewNames-1))
}

// newName is the n-th name under which the file is made; nobody gives one like
// it to a file of his own.
func newName(name string, n int) string {
	if n == 0 {
		return name + ".poddb-new"
	}
	return fmt.Sprintf("%s.poddb-new%d", name, n)
}

// createAs makes the database in the locked file and gives it its name.
func createAs(o Options, file vfs.File, name string) (vfs.File, error) {
	err := fill(o, file)
	if err == nil {
		err = vfs.Rename(o.FS, file, name, o.Path)
	}
	if err != nil {
		_ = o.FS.Remove(name)
		return nil, dberr.Join(fmt.Errorf("creating %s: %w", o.Path, diskFull(err)), file.Close())
	}
	return file, nil
}

// halfMade reports whether the file is new, or zeros, or an empty database: what
// is left of a creation that died. Anything else may be somebody's and is not
// touched; a file system that showed something else behind a size that was
// never synced costs no more than the name.
func halfMade(file vfs.File) (bool, error) {
	size, err := file.Size()
	if err != nil || size == 0 || size > MaxPageSize {
		return size == 0, err
	}
	b := make([]byte, size)
	if n, err := file.ReadAt(b, 0); n < len(b) {
		return false, err
	}
	if size >= metaArea && validPageSize(size) {
		for slot := range 2 {
			at := b[slotOffset(slot):][:metaSize]
			m, state, _ := decodeMeta(at, slot)
			if state == slotValid && m.generation <= firstGeneration && m.entries == 0 && m.root.page == 0 {
				clear(at)
			}
		}
	}
	return allZero(b), nil
}

func allZero(b []byte) bool { return len(bytes.TrimLeft(b, "\x00")) == 0 }

// fill writes an empty database, both metas clean.
func fill(o Options, file vfs.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	if err := file.Preallocate(0, int64(firstPage(o.PageSize))*int64(o.PageSize)); err != nil {
		return err
	}
	m := meta{
		pageSize: uint32(o.PageSize), logPos: firstLogPos, clean: true,
		pages: firstPage(o.PageSize), created: o.now().UnixNano(), rootGeneration: 1,
	}
	if err := o.databaseID(m.databaseID[:]); err != nil {
		return err
	}
	for g := uint64(1); g <= firstGeneration; g++ {
		m.generation = g
		if _, err := file.WriteAt(m.encode(slotOf(g)), slotOffset(slotOf(g))); err != nil {
			return err
		}
	}
	return file.Sync()
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o Options) databaseID(id []byte) error {
	if o.Rand == nil {
		_, err := rand.Read(id)
		return err
	}
	binary.LittleEndian.PutUint64(id, o.Rand())
	binary.LittleEndian.PutUint64(id[8:], o.Rand())
	return nil
}

// lock takes the lock that the database rests on, or says who holds it.
func lock(o Options, file vfs.File) error {
	err := file.Lock()
	if errors.Is(err, vfs.ErrLocked) {
		return lockedBy(o)
	}
	return err
}

// settleName makes the name of a file that nobody wrote since its creation
// durable: whoever created it may have died before that. If the sync fails the
// file, which holds nothing, is removed: syncing again would not heal it.
func settleName(o Options) error {
	err := o.FS.SyncDir(path.Dir(o.Path))
	if err != nil {
		_ = o.FS.Remove(o.Path)
		return fmt.Errorf("creating %s: %w", o.Path, err)
	}
	return nil
}
