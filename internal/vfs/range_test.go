package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// lockable reports whether the system has locks of ranges; if not, both calls
// must say so.
func lockable(t *testing.T, file File) bool {
	t.Helper()
	if _, err := file.RangeLocked(0, 1); !errors.Is(err, ErrNotSupported) {
		return true
	}
	mustBe(t, file.LockRange(0, 1), ErrNotSupported)
	mustBe(t, file.LockRange(0, 1), errors.ErrUnsupported)
	return false
}

func rangeLockedIs(t *testing.T, file File, off, n int64, want bool) {
	t.Helper()
	if got, err := file.RangeLocked(off, n); err != nil || got != want {
		t.Fatalf("[%d, %d) is held by another handle: %v, %v; want %v", off, off+n, got, err, want)
	}
}

func TestConformanceLockRange(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/file"
		first := open(t, f, name, ReadWrite|Create)
		if !lockable(t, first) {
			return
		}
		second, reader := open(t, f, name, ReadWrite), open(t, f, name, 0)
		must(t, first.LockRange(100, 10))
		must(t, first.LockRange(100, 10))
		rangeLockedIs(t, first, 0, 1<<40, false)
		for _, file := range []File{second, reader} {
			rangeLockedIs(t, file, 109, 1, true)
			rangeLockedIs(t, file, 0, 101, true)
			rangeLockedIs(t, file, 110, 10, false)
			rangeLockedIs(t, file, 90, 10, false)
		}
		mustBe(t, second.LockRange(105, 100), ErrLocked)
		mustBe(t, second.LockRange(105, 100), dberr.ErrLocked)
		must(t, second.LockRange(110, 1))
		rangeLockedIs(t, first, 110, 1, true)
		// Another handle of the holder's process that closes drops nothing.
		must(t, open(t, f, name, ReadWrite).Close())
		rangeLockedIs(t, second, 100, 1, true)
		must(t, first.Close())
		rangeLockedIs(t, reader, 100, 10, false)
		must(t, second.LockRange(100, 10))
		must(t, second.Close())
		rangeLockedIs(t, reader, 0, 1000, false)
		must(t, reader.Close())
	})
}

func TestConformanceLockRangeRefusesWhatIsNone(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		file := open(t, f, root+"/file", ReadWrite|Create)
		if !lockable(t, file) {
			return
		}
		for _, r := range [][2]int64{{-1, 5}, {5, -1}, {5, 0}, {1 << 62, 1 << 62}} {
			_, err := file.RangeLocked(r[0], r[1])
			if err == nil || file.LockRange(r[0], r[1]) == nil {
				t.Fatalf("%v was taken for a range", r)
			}
		}
		readOnly := open(t, f, root+"/file", 0)
		defer readOnly.Close()
		if err := readOnly.LockRange(0, 1); err == nil || errors.Is(err, ErrLocked) {
			t.Fatalf("a read-only handle locked: %v", err)
		}
		must(t, file.Close())
		mustBe(t, file.LockRange(0, 1), fs.ErrClosed)
		_, err := file.RangeLocked(0, 1)
		mustBe(t, err, fs.ErrClosed)
		_, err = file.SameFile(root + "/file")
		mustBe(t, err, fs.ErrClosed)
	})
}

func TestConformanceLockAndLockRangeDoNotMeet(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/file"
		owner, reader := open(t, f, name, ReadWrite|Create), open(t, f, name, ReadWrite)
		if !lockable(t, owner) {
			return
		}
		must(t, owner.Lock())
		rangeLockedIs(t, reader, 0, 1<<40, false)
		must(t, reader.LockRange(0, 1<<40))
		mustBe(t, reader.Lock(), ErrLocked)
		must(t, reader.Close())
		third := open(t, f, name, ReadWrite)
		mustBe(t, third.Lock(), ErrLocked)
		must(t, owner.Close())
		must(t, third.Lock())
		must(t, third.Close())
	})
}

func TestConformanceLockRangeIsGivenToOneOfMany(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		files := make([]File, 16)
		for i := range files {
			files[i] = open(t, f, root+"/file", ReadWrite|Create)
		}
		if !lockable(t, files[0]) {
			return
		}
		var wg sync.WaitGroup
		got := make([]error, len(files))
		for i := range got {
			wg.Go(func() { got[i] = files[i].LockRange(int64(i), int64(len(files))) })
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
			t.Fatalf("%d handles have ranges that overlap", won)
		}
	})
}

// Someone who locked a file by its name must be able to see that the name was
// unlinked and made anew in between.
func TestConformanceSameFile(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/file"
		is := func(file File, name string, want bool) {
			t.Helper()
			if same, err := file.SameFile(name); err != nil || same != want {
				t.Fatalf("%s is the file: %v, %v; want %v", name, same, err, want)
			}
		}
		file := open(t, f, name, ReadWrite|Create)
		is(file, name, true)
		is(file, root+"/./file", true)
		is(file, root+"/none", false)
		is(file, root+"/none/below", false)
		is(file, root, false)
		must(t, f.Remove(name))
		is(file, name, false)
		again := open(t, f, name, ReadWrite|Create)
		is(file, name, false)
		is(again, name, true)
		must(t, f.Rename(name, root+"/moved"))
		is(again, name, false)
		is(again, root+"/moved", true)
		put(t, f, name, "x")
		must(t, f.Rename(name, root+"/moved"))
		is(again, root+"/moved", false)
		must(t, file.Close())
		must(t, again.Close())
	})
}

// Two openers around an unlinked lock file: both hold "the" lock, and only the
// one whose handle is still what the name leads to may go on.
func TestSequenceTwoOpenersAroundAnUnlinkedLockFile(t *testing.T) {
	forEachFS(t, func(t *testing.T, f FS, root string) {
		name := root + "/db.lock"
		first := open(t, f, name, ReadWrite|Create)
		must(t, f.Remove(name)) // the last owner tidies up
		second := open(t, f, name, ReadWrite|Create)
		must(t, first.Lock())
		must(t, second.Lock())
		owners := 0
		for _, file := range []File{first, second} {
			same, err := file.SameFile(name)
			if must(t, err); same {
				owners++
			}
			defer file.Close()
		}
		if owners != 1 {
			t.Fatalf("%d openers own the name", owners)
		}
	})
}

func TestMemLocksDieWithTheProcess(t *testing.T) {
	mem := NewMem()
	file := open(t, mem, "file", ReadWrite|Create)
	must(t, file.Lock())
	must(t, file.LockRange(0, 8))
	must(t, file.Sync())
	must(t, mem.SyncDir(""))
	for _, next := range []*MemFS{mem.Crash(CrashLoseAll, 1), mem.Restart()} {
		again := open(t, next, "file", ReadWrite)
		rangeLockedIs(t, again, 0, 8, false)
		must(t, again.LockRange(0, 8))
		must(t, again.Lock())
	}
}

const lockedFileVariable = "VFS_TEST_LOCKED_FILE"

// The kernel keeps a dead process's locks from nobody: a child locks a range
// and is killed.
func TestRangeLockOfAnotherProcess(t *testing.T) {
	if name := os.Getenv(lockedFileVariable); name != "" {
		holdRange(t, name)
		return
	}
	name := filepath.ToSlash(filepath.Join(t.TempDir(), "file"))
	file := open(t, OS(), name, ReadWrite|Create)
	defer file.Close()
	if !lockable(t, file) {
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestRangeLockOfAnotherProcess$")
	child.Env = append(os.Environ(), lockedFileVariable+"="+name)
	in, err := child.StdinPipe()
	must(t, err)
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	line := make([]byte, len("locked"))
	if _, err := out.Read(line); err != nil || string(line) != "locked" {
		t.Fatalf("the child said %q: %v", line, err)
	}
	rangeLockedIs(t, file, 0, 1000, true)
	rangeLockedIs(t, file, 24, 1000, false)
	mustBe(t, file.LockRange(20, 8), ErrLocked)
	must(t, child.Process.Kill())
	_ = child.Wait() // "killed"
	in.Close()
	rangeLockedIs(t, file, 0, 1000, false)
	must(t, file.LockRange(16, 8))
}

func holdRange(t *testing.T, name string) {
	file := open(t, OS(), name, ReadWrite)
	must(t, file.LockRange(16, 8))
	fmt.Print("locked")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent kills us
}

func TestMemCapacity(t *testing.T) {
	const block = chunkSize
	mem := NewMem()
	used := func(want int64) {
		t.Helper()
		if got := mem.Used(); got != want*block {
			t.Fatalf("%d bytes are in use, want %d blocks", got, want)
		}
	}
	file := open(t, mem, "file", ReadWrite|Create)
	write(t, file, 0, strings.Repeat("a", 2*block))
	mem.SetCapacity(4 * block)
	used(2)
	write(t, file, 2*block, "b")
	write(t, file, 2*block+1, "c") // the same block
	write(t, file, 0, strings.Repeat("A", 2*block))
	used(3)
	n, err := file.WriteAt(make([]byte, 3*block), 2*block+100)
	diskFullNaming(t, err, "file")
	if want := 2*block - 100; n != want {
		t.Fatalf("wrote %d bytes, there was room for %d", n, want)
	}
	used(4)
	n, err = file.WriteAt([]byte("x"), 100*block)
	diskFullNaming(t, err, "file")
	if size, _ := file.Size(); n != 0 || size != 4*block {
		t.Fatalf("wrote %d bytes into no space; the size is %d", n, size)
	}
	diskFullNaming(t, file.Preallocate(3*block, 2*block), "file")
	must(t, file.Preallocate(0, 4*block))
	must(t, file.Truncate(1000*block)) // a hole takes nothing
	used(4)
	must(t, file.Truncate(block+1))
	used(2)
	other := open(t, mem, "other", ReadWrite|Create)
	diskFullNaming(t, other.Preallocate(0, 2*block+1), "other")
	used(2)
	must(t, other.Preallocate(10*block, 2*block))
	used(4)
	write(t, other, 11*block, "space that was reserved")
	_, err = file.WriteAt([]byte("x"), 5*block)
	diskFullNaming(t, err, "file")
	must(t, mem.Remove("other"))
	used(4) // a handle is open
	must(t, other.Close())
	used(2)
	put(t, mem, "new", "x")
	must(t, mem.Rename("new", "file"))
	used(3)
	must(t, file.Close())
	used(1)
	mem.SetCapacity(0)
	put(t, mem, "big", strings.Repeat("x", 100*block))
	used(101)
	if image := mem.Crash(CrashKeepAll, 1); image.Used() != 101*block {
		t.Fatalf("the image uses %d bytes", image.Used())
	}
	if next := mem.Restart(); next.Used() != 101*block {
		t.Fatalf("the next process finds %d bytes in use", next.Used())
	}
}
