package pager

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

func putFile(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Open(name, vfs.ReadWrite|vfs.Create)
	must(t, err)
	must(t, f.Truncate(0))
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Close())
}

func fileBytes(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name, 0)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

// A file that stands where the new one is to be made is only taken if it holds
// nothing; else it stays, and the new one is made under the next name.
func TestCreationLeavesForeignFilesAlone(t *testing.T) {
	mem := newFS(t)
	closedFile(t, mem, 4096, true)
	used := fileBytes(t, mem, testPath)
	o := testOptions(mem, 4096)
	o.Path = "/db/unclean"
	p := mustOpen(t, o)
	must(t, p.MarkUnclean(context.Background())) // all that it holds is in its log
	must(t, p.Close(false))
	newer := (&meta{pageSize: 4096, generation: 2, pages: 2}).encode(0)
	newer[16]++
	binary.LittleEndian.PutUint32(newer[metaSumAt:], seededSum(0, newer[:metaSumAt]))
	for what, b := range map[string][]byte{
		"text":             []byte("precious"),
		"a sector of text": []byte(strings.Repeat("precious", 64)),
		"a page of text":   []byte(strings.Repeat("precious", 1024)),
		"a database":       used,
		"its first pages":  used[:metaArea],
		"an unclean one":   fileBytes(t, mem, "/db/unclean"),
		"a byte at a page": append(make([]byte, metaArea-1), 1),
		"much nothing":     make([]byte, 2*MaxPageSize),
		"a later format":   append(newer, make([]byte, metaArea-metaSize)...),
	} {
		fs := newFS(t)
		for n := range maxNewNames {
			putFile(t, fs, newName(testPath, n), b)
			o := testOptions(fs, 4096)
			p, err := Open(context.Background(), o)
			switch {
			case n == maxNewNames-1:
				if !errors.Is(err, dberr.ErrInvalid) || !strings.Contains(err.Error(), newName(testPath, n)) {
					t.Errorf("%s: %v", what, err)
				}
				continue
			case err != nil:
				t.Fatalf("%s: %v", what, err)
			}
			must(t, p.Close(true))
			must(t, fs.Remove(testPath))
		}
		for n := range maxNewNames {
			if !slices.Equal(fileBytes(t, fs, newName(testPath, n)), b) {
				t.Errorf("%s was written to", what)
			}
		}
	}
}

// A creation that died, at whatever operation and page size, stops no later one.
func TestCreationGoesOnAfterOneThatDied(t *testing.T) {
	for _, pageSize := range []int{MinPageSize, MaxPageSize} {
		for n := 1; ; n++ {
			mem := newFS(t)
			mem.CrashAt(mem.Ops() + n)
			p, err := Open(context.Background(), testOptions(mem, pageSize))
			if err == nil {
				_ = p.Close(true) // the crash may come as late as there
				if n < 6 {
					t.Fatalf("creation took %d operations", n)
				}
				break
			}
			for seed := range uint64(20) {
				for _, kind := range []vfs.CrashKind{vfs.CrashKeepAll, vfs.CrashLoseAll, vfs.CrashMix} {
					image := mem.Crash(kind, seed)
					p, err := Open(context.Background(), testOptions(image, DefaultPageSize))
					if err != nil {
						t.Fatalf("crash at %d, image %v seed %d: %v", n, kind, seed, err)
					}
					must(t, p.Close(true))
				}
			}
		}
	}
}

// The file with the information for the second opener is written only over
// what reads as one.
func TestForeignLockFileStays(t *testing.T) {
	for text, ours := range map[string]bool{
		"": true, "pid=4711\nsince=2020-01-01T00:00:00Z\n": true, strings.Repeat("\x00", 30): true,
		"precious": false, "pid=4711\n": false, "pid=4711\nsince=" + strings.Repeat("x", 300): false,
	} {
		mem := newFS(t)
		putFile(t, mem, testPath+".lock", []byte(text))
		p := mustOpen(t, testOptions(mem, 4096))
		_, err := Open(context.Background(), testOptions(mem, 4096))
		if !errors.Is(err, dberr.ErrLocked) {
			t.Errorf("%q: second open: %v", text, err)
		}
		if wrote := string(fileBytes(t, mem, testPath+".lock")) != text; wrote != ours {
			t.Errorf("%q: overwritten %v", text, wrote)
		}
		must(t, p.Close(true))
		if _, err := mem.Stat(testPath + ".lock"); (err != nil) != ours {
			t.Errorf("%q: after Close: %v", text, err)
		}
	}
}

// Through a link, the file that it leads to is made, and the siblings are that
// file's.
func TestALinkIsTheFileItLeadsTo(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // making a link needs a privilege there
	}
	dir, other := t.TempDir(), t.TempDir()
	link, real := filepath.Join(dir, "link.pod"), filepath.Join(other, "real.pod")
	must(t, os.Symlink(real, link))
	o := testOptions(vfs.OS(), 4096)
	o.Path = link
	for range 2 { // dangling, then not
		p := mustOpen(t, o)
		direct := o
		direct.Path = real
		_, err := Open(context.Background(), direct)
		var locked *dberr.LockedError
		if !errors.As(err, &locked) || locked.PID != os.Getpid() {
			t.Fatalf("second open: %v", err)
		}
		names, err := vfs.OS().List(dir)
		must(t, err)
		if !slices.Equal(names, []string{"link.pod"}) {
			t.Fatalf("beside the link: %v", names)
		}
		must(t, p.Close(true))
		if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Fatalf("the link became %v, %v", info, err)
		}
	}
}

// Errors name the file as it is called, not as it was made.
func TestErrorsOfANewFileNameIt(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	p := mustOpen(t, testOptions(fault, 4096))
	fault.FailKind(vfs.OpSync, syscall.EIO, false)
	err := p.MarkUnclean(context.Background())
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), testPath+": ") || strings.Contains(err.Error(), newName("", 0)) {
		t.Error(err)
	}
	must(t, p.Close(false))
}

// An opener that looked the name up before the file was removed must not end
// with a lock on a file that nobody else finds.
func TestTwoOpenersAroundAnUnlinkedFile(t *testing.T) {
	for n, done := 1, false; !done; n++ {
		mem := newFS(t)
		first := mustOpen(t, testOptions(mem, 4096))
		var second *Pager
		at := 0
		o := testOptions(steps{mem, func() {
			if at++; at != n {
				return
			}
			must(t, mem.Remove(testPath)) // as a creator does whose name did not get durable
			must(t, first.Close(false))
			second = mustOpen(t, testOptions(mem, 4096))
		}}, 4096)
		p, err := Open(context.Background(), o)
		if !errors.Is(err, dberr.ErrLocked) {
			t.Errorf("step %d: %v", n, err)
		}
		if p != nil {
			must(t, p.Close(false))
		}
		if done = second == nil; done && n < 4 {
			t.Errorf("%d steps", n)
		}
		if second != nil {
			must(t, second.Close(true))
		}
	}
}
