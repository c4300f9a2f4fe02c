package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// forEachFS runs a property on all implementations. root is an existing,
// empty directory.
func forEachFS(t *testing.T, check func(t *testing.T, f FS, root string)) {
	t.Run("osfs", func(t *testing.T) { check(t, OS(), filepath.ToSlash(t.TempDir())) })
	t.Run("memfs", func(t *testing.T) { check(t, NewMem(), "") })
	t.Run("faultfs", func(t *testing.T) {
		mem := NewMem()
		must(t, mem.MkdirAll("deep/root"))
		check(t, NewFault(mem), "deep/root")
	})
	t.Run("limited", func(t *testing.T) {
		fault := NewFault(NewMem())
		fault.Space(1 << 40)
		check(t, fault, ".")
	})
	t.Run("image", func(t *testing.T) { check(t, NewMem().Crash(CrashLoseAll, 1), "/") })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustBe(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

func open(t testing.TB, f FS, name string, flag Flag) File {
	t.Helper()
	file, err := f.Open(name, flag)
	must(t, err)
	return file
}

func write(t testing.TB, file File, off int64, data string) {
	t.Helper()
	n, err := file.WriteAt([]byte(data), off)
	if err != nil || n != len(data) {
		t.Fatalf("wrote %d of %d: %v", n, len(data), err)
	}
}

func read(t testing.TB, file File) []byte {
	t.Helper()
	size, err := file.Size()
	must(t, err)
	data := make([]byte, size)
	if n, err := file.ReadAt(data, 0); int64(n) != size || err != nil && err != io.EOF {
		t.Fatalf("read %d of %d: %v", n, size, err)
	}
	return data
}

func contents(t testing.TB, f FS, name string) string {
	t.Helper()
	file := open(t, f, name, 0)
	defer file.Close()
	return string(read(t, file))
}

func diskFullNaming(t *testing.T, err error, name string) {
	t.Helper()
	mustBe(t, err, ErrDiskFull)
	mustBe(t, err, dberr.ErrDiskFull)
	if !strings.Contains(err.Error(), name) {
		t.Fatalf("%v does not name %s", err, name)
	}
}

func put(t testing.TB, f FS, name, data string) {
	t.Helper()
	file := open(t, f, name, ReadWrite|Create)
	must(t, file.Truncate(0))
	write(t, file, 0, data)
	must(t, file.Sync())
	must(t, file.Close())
}

func TestConformanceOpen(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/file"
		_, err := f.Open(name, ReadWrite)
		mustBe(t, err, fs.ErrNotExist)
		_, err = f.Open(root+"/no/file", ReadWrite|Create)
		mustBe(t, err, fs.ErrNotExist)
		file := open(t, f, name, ReadWrite|Create|Exclusive)
		_, err = f.Open(name, ReadWrite|Create|Exclusive)
		mustBe(t, err, fs.ErrExist)
		write(t, file, 0, "first")
		must(t, file.Close())
		if again := contents(t, f, name); again != "first" {
			t.Fatalf("Create emptied or changed an existing file: %q", again)
		}
		must(t, open(t, f, name, ReadWrite|Create).Close())
		for _, flag := range []Flag{0, ReadWrite, ReadWrite | Create} {
			if _, err := f.Open(root, flag); err == nil || !bytes.Contains([]byte(err.Error()), []byte("is a directory")) {
				t.Fatalf("opening a directory with %d: %v", flag, err)
			}
		}
		if _, err := f.Open(name+"/below", ReadWrite|Create); err == nil {
			t.Fatal("a file was taken for a directory")
		}
		readOnly := open(t, f, name, 0)
		defer readOnly.Close()
		if _, err := readOnly.WriteAt([]byte("x"), 0); err == nil {
			t.Fatal("a read-only handle wrote")
		}
		if err := readOnly.Truncate(0); err == nil {
			t.Fatal("a read-only handle truncated")
		}
	})
}

func TestConformanceReadWrite(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		defer file.Close()
		write(t, file, 5000, "tail")
		want := append(make([]byte, 5000), "tail"...)
		if got := read(t, file); !bytes.Equal(got, want) {
			t.Fatal("a hole does not read as zeros")
		}
		p := make([]byte, 10)
		if n, err := file.ReadAt(p, 5000); n != 4 || err != io.EOF || string(p[:4]) != "tail" {
			t.Fatalf("read over the end: %d, %v", n, err)
		}
		if n, err := file.ReadAt(p, 9999); n != 0 || err != io.EOF {
			t.Fatalf("read behind the end: %d, %v", n, err)
		}
		if n, err := file.ReadAt(p[:4], 5000); n != 4 || err != nil {
			t.Fatalf("read up to the end: %d, %v", n, err)
		}
		if n, err := file.ReadAt(nil, 9999); n != 0 || err != nil {
			t.Fatalf("empty read: %d, %v", n, err)
		}
		if _, err := file.ReadAt(p, -1); err == nil || err == io.EOF {
			t.Fatalf("read at -1: %v", err)
		}
		if _, err := file.WriteAt(p, -1); err == nil {
			t.Fatal("wrote at -1")
		}
		write(t, file, 99999, "")
		if size, _ := file.Size(); size != 5004 {
			t.Fatalf("an empty write extended the file to %d", size)
		}
		must(t, file.SyncData())
		must(t, file.Sync())
		buf := []byte("mine")
		_, err := file.WriteAt(buf, 0)
		must(t, err)
		copy(buf, "XXXX")
		if got := read(t, file); string(got[:4]) != "mine" {
			t.Fatal("the file kept the caller's buffer")
		}
	})
}

func TestConformanceEarlyWriter(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		defer file.Close()
		write(t, file, 5000, "tail")
		early, ok := file.(EarlyWriter)
		if !ok {
			return // this system knows no such thing
		}
		for _, r := range [][2]int64{{0, 5004}, {4096, 8192}, {5000, 0}, {1 << 20, 1}} {
			for _, err := range []error{early.StartWrite(r[0], r[1]), early.AwaitWrite(r[0], r[1])} {
				if err != nil && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatalf("%d bytes at %d: %v", r[1], r[0], err)
				}
			}
		}
		if early.StartWrite(-1, 1) == nil || early.AwaitWrite(0, -1) == nil {
			t.Fatal("a negative range was taken")
		}
		if got, want := read(t, file), append(make([]byte, 5000), "tail"...); !bytes.Equal(got, want) {
			t.Fatal("the file changed")
		}
		must(t, file.Close())
		mustBe(t, early.StartWrite(0, 1), fs.ErrClosed)
		mustBe(t, early.AwaitWrite(0, 1), fs.ErrClosed)
	})
}

func TestConformanceSize(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		defer file.Close()
		write(t, file, 0, string(bytes.Repeat([]byte("x"), 10000)))
		must(t, file.Truncate(100))
		must(t, file.Truncate(9000))
		want := append(bytes.Repeat([]byte("x"), 100), make([]byte, 8900)...)
		if !bytes.Equal(read(t, file), want) {
			t.Fatal("bytes cut off came back")
		}
		must(t, file.Preallocate(50, 20000))
		want = append(want, make([]byte, 20050-9000)...)
		if !bytes.Equal(read(t, file), want) {
			t.Fatal("preallocated space is not zeros, or data were overwritten")
		}
		must(t, file.Preallocate(0, 10))
		if size, _ := file.Size(); size != 20050 {
			t.Fatalf("preallocation changed the size to %d", size)
		}
		if info, err := f.Stat(root + "/file"); err != nil || info != (Info{Size: 20050}) {
			t.Fatalf("Stat: %+v, %v", info, err)
		}
		if file.Truncate(-1) == nil || file.Preallocate(-1, 5) == nil || file.Preallocate(5, -1) == nil {
			t.Fatal("negative sizes were taken")
		}
		must(t, file.Preallocate(1<<20, 0))
		if size, _ := file.Size(); size != 20050 {
			t.Fatalf("an empty preallocation changed the size to %d", size)
		}
	})
}

func TestConformanceDirectories(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		must(t, f.MkdirAll(root+"/a/b/c"))
		must(t, f.MkdirAll(root+"/a/b"))
		put(t, f, root+"/a/z", "z")
		put(t, f, root+"/a/y", "y")
		names, err := f.List(root + "/a")
		if must(t, err); !slices.Equal(names, []string{"b", "y", "z"}) {
			t.Fatalf("List: %q", names)
		}
		if info, err := f.Stat(root + "/a/b"); err != nil || info != (Info{IsDir: true}) {
			t.Fatalf("Stat of a directory: %+v, %v", info, err)
		}
		_, err = f.Stat(root + "/none")
		mustBe(t, err, fs.ErrNotExist)
		_, err = f.List(root + "/none")
		mustBe(t, err, fs.ErrNotExist)
		if _, err := f.List(root + "/a/z"); err == nil {
			t.Fatal("a file was listed")
		}
		if f.MkdirAll(root+"/a/z") == nil || f.MkdirAll(root+"/a/z/d") == nil {
			t.Fatal("a directory was made over or in a file")
		}
		mustBe(t, f.SyncDir(root+"/none"), fs.ErrNotExist)
		must(t, f.SyncDir(root+"/a"))
		must(t, f.SyncDir(root))
		mustBe(t, f.Remove(root+"/none"), fs.ErrNotExist)
		if f.Remove(root+"/a") == nil {
			t.Fatal("a directory with entries was removed")
		}
		must(t, f.Remove(root+"/a/b/c"))
		must(t, f.Remove(root+"/a/z"))
		_, err = f.Open(root+"/a/z", 0)
		mustBe(t, err, fs.ErrNotExist)
	})
}

func TestConformanceRename(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		mustBe(t, f.Rename(root+"/none", root+"/x"), fs.ErrNotExist)
		put(t, f, root+"/old", "old")
		put(t, f, root+"/new", "newer")
		replaced := open(t, f, root+"/new", ReadWrite)
		defer replaced.Close()
		must(t, f.Rename(root+"/old", root+"/new"))
		must(t, f.SyncDir(root))
		if got := contents(t, f, root+"/new"); got != "old" {
			t.Fatalf("renamed file holds %q", got)
		}
		if got := read(t, replaced); string(got) != "newer" {
			t.Fatalf("the handle of the replaced file reads %q", got)
		}
		_, err := f.Stat(root + "/old")
		mustBe(t, err, fs.ErrNotExist)
		must(t, f.Rename(root+"/new", root+"/new"))
		must(t, f.MkdirAll(root+"/dir/sub"))
		if f.Rename(root+"/new", root+"/dir") == nil || f.Rename(root+"/dir", root+"/new") == nil {
			t.Fatal("a file and a directory replaced each other")
		}
		if f.Rename(root+"/dir", root+"/dir/sub/x") == nil {
			t.Fatal("a directory moved into itself")
		}
		must(t, f.Rename(root+"/new", root+"/dir/sub/moved"))
		must(t, f.Rename(root+"/dir/sub", root+"/up"))
		if got := contents(t, f, root+"/up/moved"); got != "old" {
			t.Fatalf("moved file holds %q", got)
		}
	})
}

func TestConformanceClosedHandle(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		must(t, file.Close())
		_, readErr := file.ReadAt(make([]byte, 1), 0)
		_, writeErr := file.WriteAt(make([]byte, 1), 0)
		_, sizeErr := file.Size()
		for _, err := range []error{readErr, writeErr, sizeErr, file.Truncate(0), file.Sync(), file.SyncData(),
			file.Preallocate(0, 1), file.Lock(), file.Close()} {
			mustBe(t, err, fs.ErrClosed)
		}
	})
}

func TestConformanceLock(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/file"
		first := open(t, f, name, ReadWrite|Create)
		must(t, first.Lock())
		must(t, first.Lock())
		second := open(t, f, name, ReadWrite)
		readOnly := open(t, f, root+"/./file", 0)
		mustBe(t, second.Lock(), ErrLocked)
		mustBe(t, readOnly.Lock(), ErrLocked)
		must(t, f.Rename(name, root+"/renamed"))
		moved := open(t, f, root+"/renamed", ReadWrite)
		mustBe(t, moved.Lock(), ErrLocked)
		other := open(t, f, name, ReadWrite|Create)
		must(t, other.Lock())
		must(t, second.Close())
		mustBe(t, moved.Lock(), ErrLocked)
		must(t, first.Close())
		must(t, readOnly.Lock())
		mustBe(t, moved.Lock(), ErrLocked)
		must(t, readOnly.Close())
		must(t, moved.Lock())
		must(t, moved.Close())
		must(t, other.Close())
	})
}

func TestConformanceLockIsGivenToOneOfMany(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		put(t, f, root+"/file", "x")
		var wg sync.WaitGroup
		got := make([]error, 16)
		files := make([]File, len(got))
		for i := range files {
			files[i] = open(t, f, root+"/file", ReadWrite)
		}
		for i := range got {
			wg.Go(func() { got[i] = files[i].Lock() })
		}
		wg.Wait()
		won := 0
		for i, err := range got {
			if err == nil {
				won++
			} else {
				mustBe(t, err, ErrLocked)
			}
			must(t, files[i].Close())
		}
		if won != 1 {
			t.Fatalf("%d handles have the lock", won)
		}
	})
}

func TestConformanceConcurrentUse(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		defer file.Close()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				mine := bytes.Repeat([]byte{byte('a' + i)}, 700)
				for round := range 20 {
					off := int64(i+8*round) * 700
					if _, err := file.WriteAt(mine, off); err != nil {
						t.Error(err)
					}
					got := make([]byte, 700)
					if _, err := file.ReadAt(got, off); err != nil && err != io.EOF || !bytes.Equal(got, mine) {
						t.Errorf("read back %q: %v", got[:1], err)
					}
					if err := file.SyncData(); err != nil {
						t.Error(err)
					}
					name := fmt.Sprintf("%s/f%d", root, i)
					other, err := f.Open(name, ReadWrite|Create)
					if err != nil {
						t.Error(err)
						return
					}
					other.Close()
					if _, err := f.List(root); err != nil {
						t.Error(err)
					}
					if err := f.Remove(name); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for i, b := range read(t, file) {
			if want := byte('a' + i/700%8); b != want {
				t.Fatalf("byte %d is %q, want %q", i, b, want)
			}
		}
	})
}
