package wal

import (
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// countedFS counts the bytes written to its files.
type countedFS struct {
	vfs.FS
	written *atomic.Int64
}

func (c countedFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := c.FS.Open(name, flag)
	return countedFile{f, c.written}, err
}

type countedFile struct {
	vfs.File
	written *atomic.Int64
}

func (c countedFile) WriteAt(p []byte, off int64) (int, error) {
	c.written.Add(int64(len(p)))
	return c.File.WriteAt(p, off)
}

// writtenFor returns the bytes written to files for n batches of size bytes.
func writtenFor(t *testing.T, n, size int) int64 {
	fs := countedFS{vfs.NewMem(), new(atomic.Int64)}
	o := testOptions(fs, 1)
	o.SegmentBytes, o.extend = 64<<20, extendBytes
	l, _, _ := mustOpen(t, o, 0)
	defer l.Close()
	fs.written.Store(0)
	for range n {
		_, errs := submitBatch(l, []entry{{records: [][]byte{make([]byte, size)}}})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
	}
	return fs.written.Load()
}

// Zeros ahead spare small batches a file size to write; behind large ones they
// would be half of what is written.
func TestLargeBatchesAreWrittenOnce(t *testing.T) {
	const n, size = 40, 256 << 10
	if got := writtenFor(t, n, size); got > n*size*101/100 {
		t.Errorf("%d bytes written for %d of large batches", got, n*size)
	}
	if got := writtenFor(t, n, 512); got < extendBytes {
		t.Errorf("%d bytes written for small batches: no zeros ahead of them", got)
	}
}
