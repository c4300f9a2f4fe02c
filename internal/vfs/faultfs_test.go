package vfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// everyOp runs one operation of each kind and returns the errors by kind.
func everyOp(f FS) (errs [numOpKinds]error, err error) {
	file, err := f.Open("file", ReadWrite|Create)
	if err != nil {
		return errs, err
	}
	_, errs[OpWrite] = file.WriteAt([]byte("data"), 0)
	_, errs[OpRead] = file.ReadAt(nil, 0)
	errs[OpTruncate] = file.Truncate(10)
	errs[OpPreallocate] = file.Preallocate(0, 20)
	errs[OpSync] = file.SyncData()
	_, errs[OpSize] = file.Size()
	errs[OpLock] = file.Lock()
	errs[OpClose] = file.Close()
	errs[OpRename] = f.Rename("file", "other")
	errs[OpMkdir] = f.MkdirAll("dir")
	_, errs[OpList] = f.List("")
	_, errs[OpStat] = f.Stat("")
	errs[OpSyncDir] = f.SyncDir("")
	errs[OpRemove] = f.Remove("dir")
	return errs, nil
}

func TestFailKindHitsOnlyItsKind(t *testing.T) {
	for kind := OpOpen; kind < numOpKinds; kind++ {
		f := NewFault(NewMem())
		f.FailKind(kind, syscall.EIO, false)
		errs, err := everyOp(f)
		if kind == OpOpen {
			mustBe(t, err, syscall.EIO)
			_, err = everyOp(f)
			must(t, err)
			continue
		}
		must(t, err)
		for other, err := range errs {
			if OpKind(other) == kind {
				mustBe(t, err, syscall.EIO)
				if !strings.HasPrefix(err.Error(), kind.String()+" ") {
					t.Fatalf("%v does not say %v", err, kind)
				}
			} else if kind != OpMkdir && err != nil {
				t.Fatalf("%v failed, and so did %v: %v", kind, OpKind(other), err)
			}
		}
		if f.Count(kind) != 1 {
			t.Fatalf("%v counted %d times", kind, f.Count(kind))
		}
		if errs, _ := everyOp(f); errs[kind] != nil {
			t.Fatalf("%v failed twice: %v", kind, errs[kind])
		}
	}
}

func TestFailKindFromThenOn(t *testing.T) {
	f := NewFault(NewMem())
	f.FailKind(OpSync, syscall.EIO, true)
	file := open(t, f, "file", ReadWrite|Create)
	for range 3 {
		mustBe(t, file.Sync(), syscall.EIO)
		mustBe(t, file.SyncData(), syscall.EIO)
	}
	f.Heal()
	must(t, file.Sync())
}

func TestFailOpSweepHitsEveryOperationOnce(t *testing.T) {
	count := NewFault(NewMem())
	_, err := everyOp(count)
	must(t, err)
	if count.Ops() != int(numOpKinds) {
		t.Fatalf("%d operations counted, %d made", count.Ops(), numOpKinds)
	}
	for n := 1; n <= count.Ops(); n++ {
		f := NewFault(NewMem())
		mine := errors.New("mine")
		f.FailOp(n, mine)
		errs, err := everyOp(f)
		hits := 0
		for _, err := range append(errs[:], err) {
			if errors.Is(err, mine) {
				hits++
			}
		}
		if hits != 1 {
			t.Fatalf("operation %d: %d failures: %v %v", n, hits, errs, err)
		}
	}
}

func TestFailedCloseLetsGoOfTheLock(t *testing.T) {
	f := NewFault(NewMem())
	file := open(t, f, "file", ReadWrite|Create)
	must(t, file.Lock())
	f.FailKind(OpClose, syscall.EIO, false)
	mustBe(t, file.Close(), syscall.EIO)
	must(t, open(t, f, "file", ReadWrite).Lock())
}

func TestFaultySyncIsAFailedSyncBelow(t *testing.T) {
	mem := NewMem()
	f := NewFault(NewFault(mem))
	file := open(t, f, "file", ReadWrite|Create)
	f.FailKind(OpSyncDir, syscall.EIO, false)
	mustBe(t, f.SyncDir(""), syscall.EIO)
	must(t, f.SyncDir(""))
	if _, err := mem.Crash(CrashLoseAll, 0).Stat("file"); err == nil {
		t.Fatal("the next directory sync healed the failed one")
	}
	must(t, f.Rename("file", "name"))
	must(t, f.SyncDir(""))
	write(t, file, 0, "data")
	f.FailKind(OpSync, syscall.EIO, false)
	mustBe(t, file.SyncData(), syscall.EIO)
	must(t, file.SyncData())
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "name"); got != "" {
		t.Fatalf("the next sync healed the failed one: %q", got)
	}
}

func TestShortReadsAndWrites(t *testing.T) {
	f := NewFault(NewMem())
	file := open(t, f, "file", ReadWrite|Create)
	f.ShortWrite(2, nil)
	write(t, file, 0, "aaaaaaaa")
	n, err := file.WriteAt([]byte("bbbbbbbb"), 0)
	if mustBe(t, err, io.ErrShortWrite); n != 4 || string(read(t, file)) != "bbbbaaaa" {
		t.Fatalf("short write: %d, %q", n, read(t, file))
	}
	write(t, file, 0, "cccccccc")
	f.ShortRead(1, syscall.EIO)
	p := make([]byte, 8)
	n, err = file.ReadAt(p, 0)
	if mustBe(t, err, syscall.EIO); n != 4 || string(p) != "cccc\x00\x00\x00\x00" {
		t.Fatalf("short read: %d, %q", n, p)
	}
	if n, err = file.ReadAt(p, 0); n != 8 || err != nil {
		t.Fatalf("the next read: %d, %v", n, err)
	}
}

func TestSpaceRunsOutAndComesBack(t *testing.T) {
	f := NewFault(NewMem())
	file := open(t, f, "dir.pod", ReadWrite|Create)
	write(t, file, 0, "12345678")
	f.Space(10)
	write(t, file, 0, "overwriting costs nothing"[:8])
	write(t, file, 8, "123456")
	n, err := file.WriteAt([]byte("123456"), 14)
	if diskFullNaming(t, err, "dir.pod"); n != 4 {
		t.Fatalf("%d bytes fitted", n)
	}
	if size, _ := file.Size(); size != 18 {
		t.Fatalf("size %d", size)
	}
	diskFullNaming(t, file.Truncate(19), "dir.pod")
	diskFullNaming(t, file.Preallocate(0, 19), "dir.pod")
	must(t, file.Truncate(15))
	must(t, file.Preallocate(0, 17))
	other := open(t, f, "other", ReadWrite|Create)
	write(t, other, 0, "x")
	_, err = other.WriteAt([]byte("y"), 1)
	diskFullNaming(t, err, "other")
	must(t, f.Remove("dir.pod"))
	write(t, other, 1, strings.Repeat("y", 17))
	_, err = other.WriteAt([]byte("y"), 18)
	diskFullNaming(t, err, "other")
	third := open(t, f, "third", ReadWrite|Create)
	must(t, f.Rename("third", "other"))
	write(t, third, 0, strings.Repeat("z", 18))
	_, err = third.WriteAt([]byte("z"), 18)
	mustBe(t, err, ErrDiskFull)
	f.Space(1)
	write(t, third, 18, "z")
	f.Space(-1)
	write(t, third, 19, strings.Repeat("z", 1000))
}

func TestInjectedDiskFullIsTyped(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, ErrDiskFull} {
		f := NewFault(NewMem())
		f.FailKind(OpWrite, cause, true)
		file := open(t, f, "app.pod", ReadWrite|Create)
		_, err := file.WriteAt([]byte("x"), 0)
		diskFullNaming(t, err, "app.pod")
		mustBe(t, err, cause)
	}
	f := NewFault(NewMem())
	f.FailKind(OpOpen, fs.ErrPermission, false)
	_, err := f.Open("app.pod", ReadWrite)
	mustBe(t, err, fs.ErrPermission)
}
