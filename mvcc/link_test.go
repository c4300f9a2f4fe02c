package mvcc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// File, lock and log are found together, whatever name leads to the file.
func TestLinkLeadsToTheSameDatabase(t *testing.T) {
	dir := t.TempDir()
	name, link := filepath.Join(dir, "real.pod"), filepath.Join(dir, "link.pod")
	if err := os.Symlink(name, link); err != nil {
		t.Logf("no symbolic links here: %v", err)
		return
	}
	o := testOptions(vfs.OS())
	o.Path = link // leads to what does not exist yet
	s := mustOpen(t, o)
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	if s.logDir() != must(filepath.EvalSymlinks(name))(t)+".wal" {
		t.Fatalf("the log is in %s", s.logDir())
	}
	direct := testOptions(vfs.OS())
	direct.Path = name
	if _, err := Open(bg, direct); !errors.Is(err, dberr.ErrLocked) {
		t.Fatalf("Open by the other name: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info := must(os.Lstat(link))(t); info.Mode()&os.ModeSymlink == 0 {
		t.Fatal("the link was replaced")
	}
	s = mustOpen(t, direct)
	defer s.Close()
	if got := read(t, s, v, id); got != "one" {
		t.Fatalf("read %q", got)
	}
}
