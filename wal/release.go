package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Release removes segments that lie wholly below upTo. Nothing at or behind
// upTo is touched.
func (l *Log) Release(upTo LSN) error {
	l.releasing.Lock()
	defer l.releasing.Unlock()
	victims, err := l.below(upTo)
	if err != nil || len(victims) == 0 {
		return err
	}
	o := l.o
	if err := o.owned(); err != nil {
		return fmt.Errorf("releasing log: %w", err)
	}
	for _, v := range victims {
		name := segmentInfo{number: v.number}.path(o.Dir)
		if err := o.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("releasing log: %w", err)
		}
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return l.setPoison(&syncError{err})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = l.segments[len(victims):]
	return nil
}

func (l *Log) below(upTo LSN) ([]held, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poison != nil {
		return nil, l.poison
	}
	if l.closed {
		return nil, fmt.Errorf("wal: %w", dberr.ErrClosed)
	}
	keep := 1
	if l.sealing {
		keep = 2
	}
	n := 0
	for n < len(l.segments)-keep && l.segments[n+1].first <= upTo {
		n++
	}
	return l.segments[:n:n], nil
}

// Exists reports whether dir holds a log.
func Exists(fsys vfs.FS, dir string) (bool, error) {
	numbers, _, err := listDir(fsys, dir)
	return len(numbers) > 0, err
}

// Remove removes the log that nothing needs any more, and its directory,
// durably. Oldest first, so that what a crash leaves is the end of a log.
// Files that are not the log's stay, and the directory with them. Without a log
// it does nothing.
func Remove(fsys vfs.FS, dir string) error {
	numbers, tmps, err := listDir(fsys, dir)
	if err != nil {
		return err
	}
	for _, name := range tmps {
		if err := fsys.Remove(path.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, n := range numbers {
		if err := fsys.Remove(segmentInfo{number: n}.path(dir)); err != nil {
			return err
		}
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := fsys.Remove(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if names, listErr := fsys.List(dir); listErr == nil && len(names) > 0 {
			return nil
		}
		return err
	}
	return fsys.SyncDir(path.Dir(dir))
}
