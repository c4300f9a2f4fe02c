package vfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestResolveLeavesNamesThatAreNoLinks(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		put(t, f, root+"/file", "x")
		for _, name := range []string{root + "/file", root + "/none", root + "/./file", root, root + "/no/such/dir"} {
			got, err := Resolve(f, name)
			must(t, err)
			if got != name {
				t.Errorf("%q became %q", name, got)
			}
		}
	})
}

// A process may change its working directory while a database is open, before the
// files beside it are made.
func TestResolveDoesNotDependOnTheWorkingDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	t.Chdir(dir)
	must(t, os.MkdirAll("sub", 0o755))
	want := filepath.ToSlash(dir) + "/a"
	for _, exists := range []bool{false, true} {
		if exists {
			put(t, OS(), "a", "x")
		}
		for _, name := range []string{"a", "./a", ".//./a"} {
			got, err := Resolve(OS(), name)
			must(t, err)
			if got != want {
				t.Errorf("%q (exists %v) became %q, want %q", name, exists, got, want)
			}
		}
	}
	t.Chdir(filepath.Join(dir, "sub"))
	got, err := Resolve(OS(), "../a")
	must(t, err)
	t.Chdir(t.TempDir())
	f := open(t, OS(), got, 0)
	same, err := f.SameFile(want)
	must(t, err)
	must(t, f.Close())
	if !same {
		t.Errorf("../a became %q", got)
	}
}

// Every way to a file gives the name beside which its siblings lie, whether
// the file exists already or not.
func TestResolveFollowsLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // making a link needs a privilege there
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	other, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(other, "sub", "deep"), 0o755))
	link := func(target, name string) {
		t.Helper()
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	link(filepath.Join(other, "data"), "absolute")
	link("absolute", "chain")
	link(filepath.Join(other, "sub", "deep"), "elsewhere")
	link("elsewhere/../data", "through") // .. of where the link leads: other/sub
	link("plain", "beside")
	names := map[string]string{
		"absolute": filepath.Join(other, "data"), "chain": filepath.Join(other, "data"),
		"through": filepath.Join(other, "sub", "data"), "beside": filepath.Join(dir, "plain"),
	}
	fault := NewFault(OS())
	check := func(when string) {
		t.Helper()
		for name, want := range names {
			for _, f := range []FS{OS(), fault} {
				got, err := Resolve(f, filepath.Join(dir, name))
				must(t, err)
				if got != want {
					t.Errorf("%s: %s leads to %s, want %s", when, name, got, want)
				}
			}
		}
	}
	check("dangling")
	for _, target := range names {
		put(t, OS(), target, "x")
	}
	check("existing")
	if fault.Ops() != 0 {
		t.Errorf("counted %d operations", fault.Ops())
	}
}

func TestResolveEndsInALoop(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // making a link needs a privilege there
	}
	dir := t.TempDir()
	must(t, os.Symlink("b", filepath.Join(dir, "a")))
	must(t, os.Symlink("a", filepath.Join(dir, "b")))
	name := filepath.Join(dir, "a")
	if got, err := Resolve(OS(), name); err == nil || !strings.Contains(err.Error(), name) {
		t.Fatalf("%q, %v", got, err)
	}
}

// Errors of a handle name the file as it is called now.
func TestRenameTellsTheHandle(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file.tmp", ReadWrite|Create)
		mustBe(t, Rename(f, file, root+"/none", root+"/file"), fs.ErrNotExist)
		must(t, Rename(f, file, root+"/file.tmp", root+"/file"))
		must(t, file.Close())
		_, readErr := file.ReadAt(make([]byte, 1), 0)
		_, writeErr := file.WriteAt(make([]byte, 1), 0)
		_, sizeErr := file.Size()
		for i, err := range []error{readErr, writeErr, sizeErr, file.Truncate(0), file.Sync(), file.SyncData(), file.Preallocate(0, 1), file.Lock(), file.Close()} {
			if err == nil || !strings.Contains(err.Error(), "/file: ") {
				t.Errorf("operation %d: %v", i, err)
			}
		}
		if fault, ok := f.(*FaultFS); ok {
			file := open(t, f, root+"/file", ReadWrite)
			must(t, Rename(f, file, root+"/file", root+"/moved"))
			fault.FailKind(OpWrite, syscall.EIO, false)
			if _, err := file.WriteAt(nil, 0); err == nil || !strings.Contains(err.Error(), "/moved: ") {
				t.Error(err)
			}
			must(t, file.Close())
		}
	})
}
