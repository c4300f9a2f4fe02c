package wal

import (
	"context"
	"encoding/hex"
	"errors"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// A group that was cut stays cut, also when the one before it is submitted
// again bit by bit, so that the cut one would continue it.
func TestCutGroupNeverRevivesBehindAnIdenticalOne(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, text("first"))
	off := l.w.cur.offset(l.w.at)
	ack(t, l, text("again", strings.Repeat("y", 600)), text("ghost"))
	image := fs.Crash(vfs.CrashKeepAll, 0)
	l.Close()
	flip(t, image, segmentName(1), off+45) // the first sector of the batch was lost
	l, r, groups := mustOpen(t, testOptions(image, 2), 0)
	if strs(groups) != "first;" || !r.Cut {
		t.Fatalf("%s %+v", strs(groups), r)
	}
	ack(t, l, text("again", strings.Repeat("y", 600)))
	image = image.Crash(vfs.CrashKeepAll, 0)
	l.Close()
	l, _, groups = mustOpen(t, testOptions(image, 3), 0)
	l.Close()
	if strings.Contains(strs(groups), "ghost") || len(groups) != 2 {
		t.Fatalf("%s", strs(groups))
	}
}

// sampleLog has several segments, a recovered one, groups under a promise and
// some behind the last. promised is how many a flip may not lose in silence.
func sampleLog(t testing.TB) (fs *vfs.MemFS, groups []Group, promised int) {
	fs = vfs.NewMem()
	o := testOptions(fs, 5)
	o.SegmentBytes = 2048
	l, _, _ := mustOpen(t, o, 0)
	for i := range 4 {
		ack(t, l, text(strings.Repeat("a", 100*i), "b"), text("c"))
	}
	l.w.closeFilesForCrash(t.(*testing.T), l)
	fs = fs.Crash(vfs.CrashLoseAll, 0)
	o.FS = fs
	l, _, _ = mustOpen(t, o, 0)
	ack(t, l, text("d", "e"))
	ack(t, l, text("f"), text("g"))
	l.w.closeFilesForCrash(t.(*testing.T), l)
	fs = fs.Crash(vfs.CrashLoseAll, 0)
	r, err := Replay(context.Background(), o.with(fs), 0, func(g Group) error {
		groups = append(groups, g)
		return nil
	})
	if err != nil || r.Groups != 11 {
		t.Fatal(err, r)
	}
	return fs, groups, 9
}

func (o Options) with(fs vfs.FS) Options {
	o.FS = fs
	return o
}

// Any flipped bit is either found or harmless: what comes back is a beginning
// of what was there and holds all that was promised.
func TestFlippedBitIsFoundOrHarmless(t *testing.T) {
	fs, want, promised := sampleLog(t)
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	found, cut := 0, 0
	for _, name := range names {
		info, err := fs.Stat(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		for off := range info.Size {
			fs := fs.Crash(vfs.CrashKeepAll, 0)
			flip(t, fs, name, off)
			l, _, groups, err := openLog(testOptions(fs, 1), 0)
			if err != nil {
				var c *dberr.CorruptError
				if !errors.As(err, &c) || c.File == "" {
					t.Fatalf("%s byte %d: %v", name, off, err)
				}
				found++
				continue
			}
			l.Close()
			if len(groups) < promised {
				t.Fatalf("%s byte %d: %d groups came back, %d were promised", name, off, len(groups), promised)
			}
			if !strings.HasPrefix(strs(want), strs(groups)) {
				t.Fatalf("%s byte %d: %s", name, off, strs(groups))
			}
			if len(groups) < len(want) {
				cut++
			}
		}
	}
	if found == 0 || cut == 0 {
		t.Errorf("%d found, %d cut: the test proves nothing", found, cut)
	}
}

func TestMissingSegmentIsFound(t *testing.T) {
	fs, want, _ := sampleLog(t)
	names, _ := fs.List(testDir)
	for i, name := range names {
		fs := fs.Crash(vfs.CrashKeepAll, 0)
		if err := fs.Remove(path.Join(testDir, name)); err != nil {
			t.Fatal(err)
		}
		before := fs.Ops()
		_, _, _, err := openLog(testOptions(fs, 1), 0)
		wantErr := dberr.ErrCorrupt
		if i == 0 {
			wantErr = dberr.ErrLogMissing
		}
		if !errors.Is(err, wantErr) {
			t.Errorf("without %s: %v", name, err)
		}
		if fs.Ops() != before {
			t.Errorf("without %s: a refused log was written to", name)
		}
		// What lies before `from` may be gone or damaged.
		if i == 0 {
			from := want[len(want)-1].End
			l, _, groups := mustOpen(t, testOptions(fs, 1), from)
			if len(groups) != 0 || l.End() < from {
				t.Errorf("from the end: %d groups, end %d", len(groups), l.End())
			}
			l.Close()
		}
	}
}

func TestReplayBeginsAtAnyGroup(t *testing.T) {
	fs, want, _ := sampleLog(t)
	for i, g := range want {
		o := testOptions(fs.Crash(vfs.CrashKeepAll, 0), 1)
		l, _, groups := mustOpen(t, o, g.End)
		if strs(groups) != strs(want[i+1:]) {
			t.Errorf("from %d: %s", g.End, strs(groups))
		}
		ack(t, l, text("more"))
		l.Close()
		l, r, groups := mustOpen(t, o, g.End)
		if strs(groups) != strs(want[i+1:])+"more;" || !r.Clean || r.Rewritten != 0 || r.Cut {
			t.Errorf("from %d, again: %s %+v", g.End, strs(groups), r)
		}
		l.Close()
		if _, _, _, err := openLog(o, g.End-8); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("from inside a group: %v", err)
		}
	}
	o := testOptions(fs, 1)
	if _, _, _, err := openLog(o, want[len(want)-1].End+4096); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("from behind the end: %v", err)
	}
	if _, _, _, err := openLog(o, 13); !errors.Is(err, dberr.ErrInvalid) {
		t.Errorf("from an odd position: %v", err)
	}
}

// Opening and closing again and again does not pile up segments, and a
// directory that a crash left empty is no log.
func TestReopeningAddsNothing(t *testing.T) {
	fs := vfs.NewMem()
	if err := fs.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	if f, err := fs.Open(path.Join(testDir, segmentName(1)+tmpSuffix), vfs.ReadWrite|vfs.Create); err != nil {
		t.Fatal(err)
	} else {
		f.Close()
	}
	for i := range 5 {
		l, r, _ := mustOpen(t, testOptions(fs, uint64(i)), 4096)
		if r.Existed != (i > 0) || r.End != 4096 || l.Stats().Segments != 1 {
			t.Fatalf("%+v, %d segments", r, l.Stats().Segments)
		}
		if i%2 == 0 {
			l.Close()
		} else {
			l.w.closeFilesForCrash(t, l)
		}
	}
}

// A read error says nothing about the bytes: no tail is cut because of one.
func TestReadErrorCutsNothing(t *testing.T) {
	fs, want, _ := sampleLog(t)
	for n := 1; ; n++ {
		failing := &eioFS{FS: fs.Crash(vfs.CrashKeepAll, 0), failAt: n}
		before := failing.FS.(*vfs.MemFS)
		l, _, groups, err := openLog(testOptions(failing, 1), 0)
		if err == nil {
			l.Close()
			if strs(groups) != strs(want) {
				t.Fatalf("read %d: %s", n, strs(groups))
			}
			if failing.reads < n {
				return
			}
			continue
		}
		if !errors.Is(err, syscall.EIO) || errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("read %d failed: %v", n, err)
		}
		l, _, groups = mustOpen(t, testOptions(before, 2), 0)
		l.Close()
		if strs(groups) != strs(want) {
			t.Fatalf("after a failed read %d: %s", n, strs(groups))
		}
	}
}

type eioFS struct {
	vfs.FS
	failAt, reads int
}

func (f *eioFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	return &eioFile{file, f}, err
}

type eioFile struct {
	vfs.File
	fs *eioFS
}

func (f *eioFile) ReadAt(p []byte, off int64) (int, error) {
	if f.fs.reads++; f.fs.reads == f.fs.failAt {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// The bytes on disk are a promise: a change here needs a new format version.
func TestFormatIsFixed(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{FS: fs, Dir: testDir, IdlePromise: -1, extend: -1, Rand: func() uint64 { return 0x1122334455667788 }}
	copy(o.Identity[:], "identity of 16 B")
	l, _, _ := mustOpen(t, o, 0)
	ack(t, l, text("hello"))
	l.Close()
	f, err := fs.Open(path.Join(testDir, "000001.wal"), 0)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	got := func(from, to int) string { return hex.EncodeToString(b[from:to]) }
	want := []struct {
		from, to int
		hex      string
	}{
		{0, 72, goldenHeader},
		{512, 560, goldenData},
		{560, 616, goldenCommit},
		{1024, 1072, goldenEnd},
	}
	if size != 1536 {
		t.Errorf("%d bytes", size)
	}
	for _, w := range want {
		if got(w.from, w.to) != w.hex {
			t.Errorf("bytes %d to %d:\n%s, want\n%s", w.from, w.to, got(w.from, w.to), w.hex)
		}
	}
}

const (
	goldenHeader = "706f64646277616c010000007fa342220100000000000000080000000000000088776655443322110000000000000000000000006964656e74697479206f66203136204200000000"
	goldenData   = "21c2c7b205000000080000000000000088776655443322110000000001000000080000000000000068656c6c6f000000"
	goldenCommit = "f410e1b2a80100003800000000000000887766554433221121c2c7b202000000080000000000000001000000a1b1174e0800000000000000"
	goldenEnd    = "fe506bafd801000008020000000000008877665544332211f410e1b20400000008020000000000000000000000000000"
)
