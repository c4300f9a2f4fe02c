package mvcc

import (
	"bytes"
	"errors"
	"io"
	iofs "io/fs"
	"maps"
	"path"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/wal"
)

// contents returns every file of the database.
func contents(t *testing.T, fs vfs.FS, s Options) map[string]string {
	t.Helper()
	files := map[string]string{}
	names := []string{s.Path}
	logs, err := fs.List(s.Path + ".wal")
	if err == nil {
		for _, n := range logs {
			names = append(names, path.Join(s.Path+".wal", n))
		}
	}
	for _, n := range names {
		f := must(fs.Open(n, 0))(t)
		b := must(io.ReadAll(io.NewSectionReader(f, 0, must(f.Size())(t))))(t)
		files[n] = string(b)
		f.Close()
	}
	return files
}

func putFile(t *testing.T, fs vfs.FS, name, b string) {
	t.Helper()
	f := must(fs.Open(name, vfs.ReadWrite))(t)
	defer f.Close()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(b), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// A clean file cannot have a log with commits that it does not have: it was
// put there. Opened either way the answer is the same, and nothing is written.
func TestFileOlderThanItsLogIsRefused(t *testing.T) {
	for _, sessions := range []int{1, 2} { // between the copy and the log
		fs := newFS(t)
		o := testOptions(fs)
		s := mustOpen(t, o)
		if _, _, err := commitBox(t, s, MainBranch, "x", 0, "one"); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		backup := contents(t, fs, o)[o.Path]
		for i := range sessions {
			s = mustOpen(t, o)
			if _, _, err := commitBox(t, s, MainBranch, "y", 0, "two"); err != nil {
				t.Fatal(err)
			}
			if i+1 < sessions {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		image := fs.Restart()
		putFile(t, image, o.Path, backup)
		before := contents(t, image, o)
		for _, readOnly := range []bool{true, false} {
			o := testOptions(image)
			o.ReadOnly = readOnly
			_, err := Open(bg, o)
			if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), "dir/a.pod.wal: the log belongs to a later session than the file dir/a.pod") {
				t.Fatalf("%d sessions later, read-only %v: %v", sessions, readOnly, err)
			}
			if !maps.Equal(contents(t, image, o), before) {
				t.Fatalf("%d sessions later, read-only %v: files changed", sessions, readOnly)
			}
		}
	}
}

// A log of another database says nothing that contradicts the file when it
// ends exactly at its position; its identity does.
func TestLogOfAnotherDatabaseThatEndsHereIsRefused(t *testing.T) {
	fs := newFS(t)
	for i, path := range []string{"dir/a.pod", "dir/b.pod"} {
		o := testOptions(fs)
		o.Path, o.Rand = path, seeded(uint64(i))
		s := mustOpen(t, o)
		if _, _, err := commitBox(t, s, MainBranch, "x", 0, "x"); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, _, err := commitBox(t, s, MainBranch, "y", 0, "acknowledged"); err != nil {
				t.Fatal(err)
			}
		}
	}
	image := fs.Restart()
	if err := wal.Remove(image, "dir/a.pod.wal"); err != nil {
		t.Fatal(err)
	}
	if err := image.Rename("dir/b.pod.wal", "dir/a.pod.wal"); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{true, false} {
		o := testOptions(image)
		o.ReadOnly = readOnly
		if _, err := Open(bg, o); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("read-only %v: %v", readOnly, err)
		}
	}
}

// shortReader gives so many reads and fails then.
type shortReader struct {
	r     io.Reader
	reads int
}

var errNoEntropy = errors.New("no entropy")

func (s *shortReader) Read(p []byte) (int, error) {
	if s.reads--; s.reads < 0 {
		return 0, errNoEntropy
	}
	return s.r.Read(p)
}

func TestFailingRandomSourceIsAnErrorOfOpen(t *testing.T) {
	failed := 0
	for reads := range 6 {
		fs := newFS(t)
		o := testOptions(fs)
		o.SegmentBytes = 1 // each commit needs a salt
		o.Rand = &shortReader{seeded(3), reads}
		s, err := Open(bg, o)
		if err != nil {
			if failed++; !errors.Is(err, errNoEntropy) {
				t.Fatalf("%d reads: %v", reads, err)
			}
			if _, err := fs.Stat(o.Path); reads == 0 && !errors.Is(err, iofs.ErrNotExist) {
				t.Fatalf("the file was begun without a seed: %v", err)
			}
			s = mustOpen(t, testOptions(fs)) // what was begun is in nobody's way
		}
		for range 3 {
			if _, _, err := commitBox(t, s, MainBranch, "x", 0, "x"); err != nil {
				t.Fatalf("%d reads: %v", reads, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if failed != 2 {
		t.Fatalf("Open failed %d times, expected once for the seed and once for the secret", failed)
	}
}

// Salts must differ, and not between runs of one test only.
func TestSaltsComeFromTheRandomSource(t *testing.T) {
	a, b := must(newSalts(seeded(1)))(t), must(newSalts(seeded(2)))(t)
	if x, y := a.next(), a.next(); x == y || x == b.next() {
		t.Fatal("the same salt twice")
	}
	c := must(newSalts(bytes.NewReader(make([]byte, 32))))(t)
	if c.next() == must(newSalts(seeded(1)))(t).next() {
		t.Fatal("the seed does not matter")
	}
}
