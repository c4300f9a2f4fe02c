package vfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

func TestLockSeesThroughLinks(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "data")
	put(t, OS(), name, "x")
	must(t, os.Symlink(name, filepath.Join(dir, "soft")))
	must(t, os.Link(name, filepath.Join(dir, "hard")))
	first := open(t, OS(), name, ReadWrite)
	must(t, first.Lock())
	for _, link := range []string{"soft", "hard", "../" + filepath.Base(dir) + "/data"} {
		file := open(t, OS(), dir+"/"+link, ReadWrite)
		err := file.Lock()
		mustBe(t, err, ErrLocked)
		mustBe(t, err, dberr.ErrLocked)
		if !strings.Contains(err.Error(), link) {
			t.Fatalf("%v does not name %s", err, link)
		}
		must(t, file.Close())
	}
	must(t, first.Close())
}

// The table and the kernel's lock are two nets; each is tried without the
// other.
func TestLockTableHoldsAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	put(t, OS(), name, "x")
	first := open(t, OS(), name, ReadWrite)
	defer first.Close()
	must(t, first.Lock())
	unlockFile(first.(*osFile).f)
	second := open(t, OS(), name, ReadWrite)
	defer second.Close()
	mustBe(t, second.Lock(), ErrLocked)
}

const lockHelper = "VFS_TEST_LOCK"

func TestLockExcludesAnotherProcess(t *testing.T) {
	if name := os.Getenv(lockHelper); name != "" {
		if err := open(t, OS(), name, ReadWrite).Lock(); !errors.Is(err, ErrLocked) {
			t.Fatalf("child: %v", err)
		}
		return
	}
	name := filepath.Join(t.TempDir(), "data")
	put(t, OS(), name, "x")
	child := func() (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLockExcludesAnotherProcess$")
		cmd.Env = append(os.Environ(), lockHelper+"="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	file := open(t, OS(), name, ReadWrite)
	must(t, file.Lock())
	if out, err := child(); err != nil {
		t.Fatalf("the child was let in: %s", out)
	}
	must(t, file.Close())
	if out, err := child(); err == nil || !strings.Contains(out, "child: <nil>") {
		t.Fatalf("the child was kept out after Close: %v %s", err, out)
	}
}

func TestPermissionIsTyped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	put(t, OS(), name, "x")
	must(t, os.Chmod(name, 0))
	_, err := OS().Open(name, ReadWrite)
	if os.Geteuid() == 0 { // root may do everything: check the mapping alone
		err = pathError("open", name, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES})
	}
	mustBe(t, err, fs.ErrPermission)
	if !strings.Contains(err.Error(), name) {
		t.Fatalf("%v does not name the file", err)
	}
}

func TestOpenNeverBlocksOnAPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(name, 0o600))
	_, err := OS().Open(name, 0)
	mustBe(t, err, errNotRegular)
}

func TestFullDiskIsTyped(t *testing.T) {
	// /dev/full is the device that has no space, ever.
	f, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	must(t, err)
	file := &osFile{f: f, name: "app.pod"}
	defer file.Close()
	_, err = file.WriteAt([]byte("x"), 0)
	diskFullNaming(t, err, "app.pod")
	mustBe(t, err, syscall.ENOSPC)
	diskFullNaming(t, pathError("sync", "app.pod", syscall.EDQUOT), "app.pod")
}

func TestPreallocateFallbackKeepsData(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	put(t, OS(), name, "data")
	file := open(t, OS(), name, ReadWrite).(*osFile)
	defer file.Close()
	must(t, file.writeZeros(2, 600000))
	got := read(t, file)
	if len(got) != 600002 || string(got[:4]) != "data" || strings.Trim(string(got[4:]), "\x00") != "" {
		t.Fatalf("%d bytes, beginning %q", len(got), got[:4])
	}
}

// What a full disk left of a reservation is given back: ext4 keeps the blocks that
// it found, and makes the file as long.
func TestAFailedPreallocationKeepsNothing(t *testing.T) {
	file := open(t, OS(), filepath.Join(t.TempDir(), "data"), ReadWrite|Create)
	defer file.Close()
	must(t, file.Preallocate(0, 8192))
	for name, fail := range map[string]error{"full": syscall.ENOSPC, "broken": syscall.EIO} {
		err := file.(*osFile).reserve(8192, 1<<20, func(f *os.File, off, n int64) error {
			must(t, allocate(f, off, n/2))
			return fail
		})
		if size, sizeErr := file.Size(); !errors.Is(err, fail) || sizeErr != nil || size != 8192 {
			t.Errorf("%s: %v leaves %d bytes, %v", name, err, size, sizeErr)
		}
	}
}

// Early writes are a hint: they succeed on written and unwritten ranges, and what
// was written reads back.
func TestEarlyWritesChangeNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "data")
	file := open(t, OS(), name, ReadWrite|Create)
	defer file.Close()
	_, err := file.WriteAt([]byte("some bytes"), 4090)
	must(t, err)
	early := file.(EarlyWriter)
	for _, off := range []int64{0, 4090, 1 << 30} {
		for _, err := range []error{early.StartWrite(off, 10), early.AwaitWrite(off, 10)} {
			if err != nil && !errors.Is(err, errors.ErrUnsupported) {
				t.Fatalf("early write at %d: %v", off, err)
			}
		}
	}
	b := make([]byte, 10)
	_, err = file.ReadAt(b, 4090)
	must(t, err)
	if string(b) != "some bytes" {
		t.Fatalf("read %q", b)
	}
	must(t, file.Close())
	if err := early.StartWrite(0, 1); err == nil {
		t.Fatal("a closed file writes early")
	}
}
