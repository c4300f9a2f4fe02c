package pager

import (
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

const testPath = "/db/test.pod"

// newFS is an empty file system in memory that has the test's directory.
func newFS(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/db"); err != nil {
		t.Fatal(err)
	}
	if err := fs.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return fs
}
