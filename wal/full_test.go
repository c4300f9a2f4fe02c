package wal

import (
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// A disk that really is full, at every size: groups are refused, nothing that
// was acknowledged is lost, and the log goes on when another file makes room.
func TestLogOnAFullDisk(t *testing.T) {
	const block = 4096
	refused := 0
	for blocks := int64(2); blocks < 12; blocks++ {
		fs := vfs.NewMem()
		other, err := fs.Open("other", vfs.ReadWrite|vfs.Create)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Preallocate(0, 4*block); err != nil {
			t.Fatal(err)
		}
		o := testOptions(fs, 1)
		o.SegmentBytes = 3 * block
		m := &model{}
		l, _, _ := mustOpen(t, o, 0)
		fs.SetCapacity((4 + blocks) * block)
		e := entry{records: [][]byte{make([]byte, 900)}}
		for range 60 {
			if !m.commit(t, l, []entry{e, e}) {
				t.Fatalf("%d blocks: %v", blocks, l.Poisoned())
			}
		}
		refused += int(l.Stats().Undone)
		if err := other.Truncate(0); err != nil {
			t.Fatal(err)
		}
		before := len(m.acked)
		if !m.commit(t, l, []entry{e}) || len(m.acked) == before {
			t.Fatalf("%d blocks: nothing is taken although there is room again: %v", blocks, l.Poisoned())
		}
		image := fs.Crash(vfs.CrashLoseAll, 0)
		l.w.closeFilesForCrash(t, l)
		l, _, groups, err := openLog(testOptions(image, 2), 0)
		if err == nil {
			l.Close()
			err = m.check(groups)
		}
		if err != nil {
			t.Fatalf("%d blocks: %v", blocks, err)
		}
	}
	if refused == 0 {
		t.Error("the disk was never full: the test proves nothing")
	}
}

// A segment whose first batch was undone is replaced, not followed: commits that
// are tried again and again on a full disk make no files, and every segment that
// has a successor takes a sector of the log, which firstNumber counts on.
func TestTryingOnAFullDiskMakesNoSegments(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	m := &model{}
	l, _, _ := mustOpen(t, o, 0)
	if !m.commit(t, l, []entry{text("a")}) {
		t.Fatal(l.Poisoned())
	}
	before := l.Stats().Segments
	fs.SetCapacity(fs.Used() + 8192)
	for range 20 {
		if !m.commit(t, l, []entry{{records: [][]byte{make([]byte, 20000)}}}) {
			t.Fatal(l.Poisoned())
		}
	}
	if s := l.Stats(); s.Undone != 20 || s.Segments > before+1 {
		t.Errorf("%d groups undone, %d segments where there were %d", s.Undone, s.Segments, before)
	}
	fs.SetCapacity(0)
	if !m.commit(t, l, []entry{text("b"), text("c")}) {
		t.Fatal(l.Poisoned())
	}
	for kind := vfs.CrashLoseAll; kind <= vfs.CrashKeepAll; kind++ {
		next, _, groups, err := openLog(testOptions(fs.Crash(kind, 0), 2), 0)
		if err == nil {
			next.Close()
			err = m.clone().check(groups)
		}
		if err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, _, err := listDir(fs, testDir)
	if err != nil {
		t.Fatal(err)
	}
	if last := numbers[len(numbers)-1]; last >= firstNumber(l.End()) {
		t.Errorf("segment %d is not below %d, the first one of a log that begins at %d", last, firstNumber(l.End()), l.End())
	}
}
