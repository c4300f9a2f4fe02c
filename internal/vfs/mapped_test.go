package vfs

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func mappedFileOf(t *testing.T, name string) File {
	t.Helper()
	file := open(t, OS(), name, 0)
	m := Mapped(OS(), file, name)
	if _, ok := m.(*mappedFile); !ok && runtime.GOOS == "linux" {
		t.Fatalf("%T", m)
	}
	return m
}

func TestAMappedFileReadsAsTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	text := strings.Repeat("0123456789", 1000)
	put(t, OS(), name, text)
	plain := open(t, OS(), name, 0)
	defer plain.Close()
	m := mappedFileOf(t, name)
	for _, c := range []struct{ off, n int64 }{{0, 10}, {9, 4000}, {9995, 5}, {9995, 6}, {10000, 1}, {10001, 1}, {10000, 0}, {0, 10000}, {1 << 40, 3}} {
		a, b := make([]byte, c.n), make([]byte, c.n)
		n, err := plain.ReadAt(a, c.off)
		got, failed := m.ReadAt(b, c.off)
		if n != got || !bytes.Equal(a, b) || (err == io.EOF) != (failed == io.EOF) || (err == nil) != (failed == nil) {
			t.Errorf("%d bytes at %d: %d %v, mapped %d %v", c.n, c.off, n, err, got, failed)
		}
	}
	if _, err := m.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset")
	}
	must(t, m.Close())
	_, err := m.ReadAt(make([]byte, 1), 0)
	mustBe(t, err, fs.ErrClosed)
}

// A file that is cut off under its map, and a medium that fails, are errors.
func TestAFaultOfAMappedFileIsAnError(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	name := filepath.Join(t.TempDir(), "data")
	put(t, OS(), name, strings.Repeat("x", 1<<20))
	m := mappedFileOf(t, name)
	defer m.Close()
	must(t, os.Truncate(name, 4096))
	_, err := m.ReadAt(make([]byte, 8192), 512<<10)
	mustBe(t, err, syscall.EIO)
	b := make([]byte, 4096)
	if n, err := m.ReadAt(b, 0); n != len(b) || err != nil {
		t.Errorf("what is left: %d, %v", n, err)
	}
}

func TestOtherFileSystemsAreNotMapped(t *testing.T) {
	for _, fs := range []FS{NewMem(), NewFault(OS())} {
		name := "/data"
		if _, ok := fs.(*FaultFS); ok {
			name = filepath.Join(t.TempDir(), "data")
		}
		put(t, fs, name, "x")
		file := open(t, fs, name, 0)
		if got := Mapped(fs, file, name); got != file {
			t.Errorf("%T became %T", file, got)
		}
		must(t, file.Close())
	}
	old := filepath.Join(t.TempDir(), "data")
	put(t, OS(), old, "x")
	file := open(t, OS(), old, 0)
	must(t, os.Remove(old))
	put(t, OS(), old, "y")
	if got := Mapped(OS(), file, old); got != file {
		t.Error("another file was mapped")
	}
	must(t, file.Close())
}
