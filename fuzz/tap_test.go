package fuzz

import (
	"sync/atomic"

	"github.com/poddb/poddb/internal/vfs"
)

// tapFS calls before ahead of each operation that changes something or makes
// it durable, and counts open handles. It stands right below the engine.
type tapFS struct {
	vfs.FS
	before func()
	open   atomic.Int64
}

func (t *tapFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	if flag&vfs.Create != 0 {
		t.before()
	}
	f, err := t.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	t.open.Add(1)
	return &tapFile{File: f, fs: t}, nil
}

func (t *tapFS) Remove(name string) error {
	t.before()
	return t.FS.Remove(name)
}

func (t *tapFS) Rename(oldname, newname string) error {
	t.before()
	return t.FS.Rename(oldname, newname)
}

func (t *tapFS) MkdirAll(dir string) error {
	t.before()
	return t.FS.MkdirAll(dir)
}

func (t *tapFS) SyncDir(dir string) error {
	t.before()
	return t.FS.SyncDir(dir)
}

type tapFile struct {
	vfs.File
	fs *tapFS
}

func (f *tapFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.before()
	return f.File.WriteAt(p, off)
}

func (f *tapFile) Truncate(size int64) error {
	f.fs.before()
	return f.File.Truncate(size)
}

func (f *tapFile) Preallocate(off, n int64) error {
	f.fs.before()
	return f.File.Preallocate(off, n)
}

func (f *tapFile) SyncData() error {
	f.fs.before()
	return f.File.SyncData()
}

func (f *tapFile) Sync() error {
	f.fs.before()
	return f.File.Sync()
}

func (f *tapFile) Close() error {
	err := f.File.Close()
	f.fs.open.Add(-1)
	return err
}
