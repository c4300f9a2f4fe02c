package wal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// between runs an action at the n-th look of a reader at the file system, before
// it or after it.
type between struct {
	vfs.FS
	looks, at int
	after     bool
	action    func()
}

func (b *between) look(do func()) {
	b.looks++
	hit := b.looks == b.at
	if hit && !b.after {
		b.action()
	}
	do()
	if hit && b.after {
		b.action()
	}
}

func (b *between) List(dir string) (names []string, err error) {
	b.look(func() { names, err = b.FS.List(dir) })
	return names, err
}

func (b *between) Open(name string, flag vfs.Flag) (file vfs.File, err error) {
	b.look(func() { file, err = b.FS.Open(name, flag) })
	if err != nil {
		return nil, err
	}
	return &betweenFile{file, b}, nil
}

type betweenFile struct {
	vfs.File
	b *between
}

func (f *betweenFile) ReadAt(p []byte, off int64) (n int, err error) {
	f.b.look(func() { n, err = f.File.ReadAt(p, off) })
	return n, err
}

func (f *betweenFile) Size() (n int64, err error) {
	f.b.look(func() { n, err = f.File.Size() })
	return n, err
}

// liveWriter is a log with some groups, and how many of them a promise covers.
type liveWriter struct {
	fs    *vfs.MemFS
	fault *vfs.FaultFS
	full  *fullFS
	l     *Log
	ends  []LSN

	undone chan error // answers of the batch that a full disk stops
	goOn   chan struct{}
}

func newLiveWriter(t *testing.T, groups int) *liveWriter {
	w := &liveWriter{fs: vfs.NewMem()}
	w.fault = vfs.NewFault(w.fs)
	w.full = &fullFS{FS: w.fault, failAt: 1 << 30, part: 2, times: 1}
	w.l, _, _ = mustOpen(t, testOptions(w.full, 1), 0)
	w.groups(t, groups)
	return w
}

// stopInBatch writes a batch, and stops before the writer hears that the disk
// is full.
func (w *liveWriter) stopInBatch(t *testing.T) {
	written := make(chan struct{})
	w.undone, w.goOn = make(chan error, 1), make(chan struct{})
	w.full.failAt = w.full.writes + 1
	w.full.onFull = func() { close(written); <-w.goOn }
	if err := w.l.Submit(text("undone").records, func(_ LSN, err error) { w.undone <- err }); err != nil {
		t.Fatal(err)
	}
	<-written
}

func (w *liveWriter) groups(t *testing.T, n int) {
	t.Helper()
	for range n {
		w.ends = append(w.ends, ack(t, w.l, text(fmt.Sprint(len(w.ends))))...)
	}
}

const (
	undoVisible = "undo what can be seen"
	replaced    = "die and replace the last segment"
)

// liveActions are what a writer may do between two looks of a reader.
var liveActions = map[string]func(t *testing.T, w *liveWriter){
	"commit": func(t *testing.T, w *liveWriter) { w.groups(t, 2) },
	"rotate": func(t *testing.T, w *liveWriter) { w.groups(t, 8) },
	"rotate twice and release": func(t *testing.T, w *liveWriter) {
		w.groups(t, 20)
		if err := w.l.Release(w.l.End()); err != nil {
			t.Fatal(err)
		}
	},
	"undo and go on": func(t *testing.T, w *liveWriter) {
		w.fault.ShortWrite(2, vfs.ErrDiskFull) // the first piece of the batch is whole
		_, errs := submitBatch(w.l, []entry{text("undone"), {records: [][]byte{make([]byte, chunkBytes)}}})
		if !errors.Is(errs[0], dberr.ErrDiskFull) {
			t.Fatal(errs)
		}
		w.fault.Heal()
		if err := w.l.Resume(); err != nil {
			t.Fatal(err)
		}
		w.groups(t, 3)
	},
	// The batch stood in the file, whole, when the reader began.
	undoVisible: func(t *testing.T, w *liveWriter) {
		close(w.goOn)
		if err := <-w.undone; !errors.Is(err, dberr.ErrDiskFull) {
			t.Fatal(err)
		}
		if err := w.l.Resume(); err != nil {
			t.Fatal(err)
		}
		w.groups(t, 3)
	},
	"close": func(t *testing.T, w *liveWriter) {
		if err := w.l.Close(); err != nil {
			t.Fatal(err)
		}
	},
	"die and recover": func(t *testing.T, w *liveWriter) {
		w.l.w.closeFilesForCrash(t, w.l)
		w.l, _, _ = mustOpen(t, testOptions(w.fault, 2), 0)
		w.groups(t, 3)
	},
	// Nothing in the last segment is promised: the new one takes its number.
	replaced: func(t *testing.T, w *liveWriter) {
		w.l.w.closeFilesForCrash(t, w.l)
		w.l, _, _ = mustOpen(t, testOptions(w.fault, 2), 0)
		w.groups(t, 9)
	},
}

// Whatever the writer does between any two looks of the reader: the reader gets
// the groups that were promised when it began, in order, perhaps some more, none
// that was undone, and never calls the log damaged.
func TestLiveReaderSeesAPrefixWhateverTheWriterDoesMeanwhile(t *testing.T) {
	for what, action := range liveActions {
		missing, more := false, false
		for n := 1; ; n++ {
			hit := false
			for _, after := range []bool{false, true} {
				groups := 9
				if what == replaced {
					groups = 8
				}
				w := newLiveWriter(t, groups)
				promised := groups - 1
				if what == undoVisible {
					w.stopInBatch(t)
				}
				b := &between{FS: w.fs, at: n, after: after, action: func() { hit = true; action(t, w) }}
				o := testOptions(b, 3)
				from := 3
				var got []Group
				r, err := ReplayLive(context.Background(), o, w.ends[from-1], func(g Group) error {
					got = append(got, g)
					return nil
				})
				where := fmt.Sprintf("%s at look %d of %d, after it %v", what, n, b.looks, after)
				for i, g := range got {
					if i+from >= len(w.ends) || string(g.Records[0]) != fmt.Sprint(i+from) || g.End != w.ends[i+from] {
						t.Fatalf("%s: group %d is %s at %d", where, i, g.Records, g.End)
					}
				}
				switch {
				case errors.Is(err, dberr.ErrLogMissing) && (what == "rotate twice and release" || what == "die and recover" || what == replaced):
					missing = true
				case err != nil:
					t.Fatalf("%s: %v", where, err)
				case len(got) < promised-from:
					t.Fatalf("%s: %d groups of %d", where, len(got), promised-from)
				case r.Groups != len(got) || len(got) > 0 && r.End != got[len(got)-1].End:
					t.Fatalf("%s: %+v for %d groups", where, r, len(got))
				default:
					more = more || len(got) > promised-from
				}
				if w.goOn != nil && !hit {
					close(w.goOn)
				}
				w.l.Close()
			}
			if !hit {
				break
			}
		}
		if releases := what == "rotate twice and release"; releases && !missing || !releases && !more {
			t.Errorf("%s: saw more than was there at first: %v, found segments missing: %v; the test proves nothing", what, more, missing)
		}
	}
}

// Damage below a promise is found in a live log too, wherever it is. What no
// promise covers may be anything.
func TestLiveReaderFindsDamage(t *testing.T) {
	for group := range 9 {
		w := newLiveWriter(t, 9)
		replay := func() (int, error) {
			r, err := ReplayLive(context.Background(), testOptions(w.fs, 2), 0, func(Group) error { return nil })
			return r.Groups, err
		}
		if n, err := replay(); err != nil || n != 8 {
			t.Fatal(n, err)
		}
		info, first := segmentInfo{number: 1, first: FirstLSN}, FirstLSN
		if group > 0 {
			first = w.ends[group-1]
		}
		if group >= 7 {
			info = w.l.w.cur
		}
		f, err := w.fs.Open(info.path(testDir), vfs.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFull(f, []byte{0xff}, info.offset(first)+recordHeader); err != nil {
			t.Fatal(err)
		}
		f.Close()
		n, err := replay()
		if promised := group < 8; promised != errors.Is(err, dberr.ErrCorrupt) || n > group {
			t.Errorf("group %d damaged: %d groups, %v", group, n, err)
		}
		w.l.Close()
	}
}

// A log whose beginning was released is too new for the reader; one without
// segments does not exist.
func TestLiveReaderOfAReleasedLog(t *testing.T) {
	w := newLiveWriter(t, 9)
	w.groups(t, 30)
	if err := w.l.Release(w.l.End()); err != nil {
		t.Fatal(err)
	}
	defer w.l.Close()
	none := func(Group) error { t.Error("replayed"); return nil }
	if r, err := ReplayLive(context.Background(), testOptions(w.fs, 2), w.ends[2], none); !errors.Is(err, dberr.ErrLogMissing) || !r.Existed {
		t.Fatalf("released: %+v, %v", r, err)
	}
	if r, err := ReplayLive(context.Background(), testOptions(vfs.NewMem(), 2), w.ends[2], none); err != nil || r.Existed {
		t.Fatalf("no log: %+v, %v", r, err)
	}
	if _, err := ReplayLive(context.Background(), testOptions(w.fs, 2), 3, none); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("position 3: %v", err)
	}
}

// A reader beside a writer that commits, rotates and releases as fast as it can.
func TestLiveReaderBesideABusyWriter(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"memfs": vfs.NewMem(), "osfs": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(fs, 1)
			if name == "osfs" {
				o.Dir = filepath.ToSlash(t.TempDir()) + "/log"
			}
			const groups = 600
			var mu sync.Mutex // guards the checkpoint: groups below are not needed
			checkpoint, below := FirstLSN, 0
			var acked atomic.Int64
			l, _, _ := mustOpen(t, o, 0)
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := range groups {
					end := ack(t, l, entry{records: [][]byte{fmt.Appendf(nil, "%d", i), make([]byte, i%700)}})[0]
					acked.Store(int64(i + 1))
					if i%40 == 39 {
						mu.Lock()
						checkpoint, below = end, i+1
						mu.Unlock()
						if err := l.Release(end); err != nil {
							t.Error(err)
						}
					}
				}
			})
			reads, missing := 0, 0
			for acked.Load() < groups {
				before := int(acked.Load())
				mu.Lock()
				from, next := checkpoint, below
				mu.Unlock()
				_, err := ReplayLive(context.Background(), o, from, func(g Group) error {
					if string(g.Records[0]) != fmt.Sprint(next) {
						return fmt.Errorf("group %s, want %d", g.Records[0], next)
					}
					next++
					return nil
				})
				mu.Lock()
				moved := checkpoint != from
				mu.Unlock()
				switch {
				case errors.Is(err, dberr.ErrLogMissing) && moved:
					missing++
				case err != nil:
					t.Error(err)
				case next < before-1:
					t.Errorf("saw %d groups, %d were promised before", next, before-1)
				default:
					reads++
				}
			}
			wg.Wait()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if reads == 0 {
				t.Errorf("%d reads, %d found segments missing: the test proves nothing", reads, missing)
			}
		})
	}
}
