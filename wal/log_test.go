package wal

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

func TestDoneIsCalledOnceInLogOrder(t *testing.T) {
	for _, level := range []Level{Full, None} {
		fs := vfs.NewMem()
		o := testOptions(fs, 1)
		o.Sync, o.IdlePromise = level, time.Millisecond
		l, _, _ := mustOpen(t, o, 0)
		const workers, each = 16, 40
		var mu sync.Mutex
		var order []LSN
		var called atomic.Int64
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				for i := range each {
					answered := make(chan struct{})
					err := l.Submit([][]byte{[]byte(fmt.Sprintf("%d/%d", w, i))}, func(end LSN, err error) {
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						order = append(order, end)
						mu.Unlock()
						called.Add(1)
						close(answered)
					})
					if err != nil {
						t.Error(err)
						return
					}
					<-answered
					_, _, _ = l.End(), l.Stats(), l.Bytes()
				}
			})
		}
		wg.Wait()
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		image := fs.Crash(vfs.CrashLoseAll, 0)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if called.Load() != workers*each {
			t.Fatalf("done called %d times", called.Load())
		}
		for i := 1; i < len(order); i++ {
			if order[i] <= order[i-1] {
				t.Fatalf("group %d ends at %d, the one before at %d", i, order[i], order[i-1])
			}
		}
		for _, fs := range []vfs.FS{image, fs} {
			l, _, groups := mustOpen(t, testOptions(fs, 2), 0)
			l.Close()
			next := map[string]int{}
			for i, g := range groups {
				if g.End != order[i] {
					t.Fatalf("group %d ends at %d, want %d", i, g.End, order[i])
				}
				w, n, _ := strings.Cut(string(g.Records[0]), "/")
				if n != fmt.Sprint(next[w]) {
					t.Fatalf("worker %s: group %s came after %d", w, n, next[w])
				}
				next[w]++
			}
			if len(groups) != workers*each {
				t.Fatalf("%d groups came back", len(groups))
			}
		}
	}
}

func TestFailedSyncPoisons(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	end := ack(t, l, text("a"))[0]
	fs.FailSync(1)
	_, errs := submitBatch(l, []entry{text("b"), text("c")})
	for _, err := range errs {
		if !errors.Is(err, dberr.ErrCommitUnknown) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("group of the failed sync: %v", err)
		}
	}
	before := fs.Ops()
	for _, err := range []error{
		l.Submit([][]byte{{1}}, func(LSN, error) { t.Error("done called") }), l.Resume(), l.Release(end), l.Sync(), l.Poisoned(), l.Close(),
	} {
		if !errors.Is(err, dberr.ErrPoisoned) || !errors.Is(err, syscall.EIO) || errors.Is(err, dberr.ErrCommitUnknown) {
			t.Errorf("after the failed sync: %v", err)
		}
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if fs.Ops() != before {
		t.Errorf("a poisoned log wrote")
	}
	if l.End() != end {
		t.Errorf("End moved to %d", l.End())
	}
}

// What was queued behind a group that a full disk stopped was built on it.
func TestDiskFullUndoesWhatIsQueuedBehind(t *testing.T) {
	fs := vfs.NewMem()
	full := &fullFS{FS: fs, failAt: 1 << 30}
	l, _, _ := mustOpen(t, testOptions(full, 1), 0)
	ack(t, l, text("before"))
	full.failAt, full.times = full.writes+1, 1
	errs := make(chan error, 3)
	l.mu.Lock()
	for range 3 { // each one is a batch
		l.queue = append(l.queue, group{[][]byte{[]byte("undone")}, batchBytes, func(_ LSN, err error) { errs <- err }})
	}
	l.signal()
	l.mu.Unlock()
	for range 3 {
		if err := <-errs; !errors.Is(err, dberr.ErrDiskFull) || errors.Is(err, dberr.ErrPoisoned) {
			t.Errorf("%v", err)
		}
	}
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	ack(t, l, text("behind"))
	if n := l.Stats().Undone; n != 3 {
		t.Errorf("%d undone", n)
	}
	l.Close()
	l, _, groups := mustOpen(t, testOptions(fs, 2), 0)
	l.Close()
	if strs(groups) != "before;behind;" {
		t.Error(strs(groups))
	}
}

func TestPanicInDonePoisons(t *testing.T) {
	l, _, _ := mustOpen(t, testOptions(vfs.NewMem(), 1), 0)
	answered := make(chan error, 1)
	l.mu.Lock()
	l.queue = []group{
		{[][]byte{{1}}, 100, func(LSN, error) { panic("no") }},
		{[][]byte{{2}}, 100, func(_ LSN, err error) { answered <- err }},
	}
	l.signal()
	l.mu.Unlock()
	if err := <-answered; !errors.Is(err, dberr.ErrCommitUnknown) {
		t.Errorf("group behind the panic: %v", err)
	}
	if err := l.Close(); !errors.Is(err, dberr.ErrPoisoned) || !strings.Contains(err.Error(), "panic") {
		t.Errorf("Close: %v", err)
	}
}

func TestRefusedGroupsAreNotQueued(t *testing.T) {
	l, _, _ := mustOpen(t, testOptions(vfs.NewMem(), 1), 0)
	never := func(LSN, error) { t.Error("done called") }
	if err := l.Submit(nil, never); !errors.Is(err, dberr.ErrInvalid) {
		t.Errorf("no records: %v", err)
	}
	if err := l.Submit([][]byte{make([]byte, MaxRecord+1)}, never); !errors.Is(err, dberr.ErrTooLarge) {
		t.Errorf("record too large: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Submit([][]byte{{1}}, never); !errors.Is(err, dberr.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestRecordsLargerThanASegmentAndEmptyOnes(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	big := entry{records: [][]byte{nil, make([]byte, 3*chunkBytes+5), {}, []byte("x")}}
	for i := range big.records[1] {
		big.records[1][i] = byte(i * i >> 3)
	}
	ack(t, l, text("before"))
	ack(t, l, big, text("behind"))
	image := fs.Crash(vfs.CrashLoseAll, 0)
	l.Close()
	l, r, groups := mustOpen(t, testOptions(image, 2), 0)
	defer l.Close()
	if len(groups) != 3 || !big.same(groups[1]) || r.Rewritten != 2 {
		t.Fatalf("%d groups, %+v", len(groups), r)
	}
}

func TestIdlePromiseCoversTheLastGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := testOptions(fs, 1)
		o.IdlePromise = time.Second
		l, _, _ := mustOpen(t, o, 0)
		time.Sleep(5 * time.Second)
		if n := l.Stats().Promises; n != 0 {
			t.Fatalf("%d promises of nothing", n)
		}
		start := l.w.cur.offset(l.w.at)
		ack(t, l, text("only one"))
		time.Sleep(900 * time.Millisecond)
		ack(t, l, text("another"))
		time.Sleep(900 * time.Millisecond)
		early := fs.Crash(vfs.CrashLoseAll, 0)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if n := l.Stats().Promises; n != 1 {
			t.Fatalf("%d promises after a quiet second", n)
		}
		late := fs.Crash(vfs.CrashLoseAll, 0)
		time.Sleep(time.Minute)
		if n := l.Stats().Promises; n != 1 {
			t.Fatalf("%d promises after a quiet minute", n)
		}
		l.Close()
		// The last group's only sector rots: before the promise that is a torn
		// tail, after it never.
		for _, fs := range []*vfs.MemFS{early, late} {
			flip(t, fs, segmentName(1), start+512+50)
		}
		if l, _, groups := mustOpen(t, testOptions(early, 2), 0); len(groups) != 1 {
			t.Errorf("before the promise: %d groups", len(groups))
		} else {
			l.Close()
		}
		if _, _, _, err := openLog(testOptions(late, 2), 0); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("after the promise: %v", err)
		}
	})
}

func flip(t testing.TB, fs vfs.FS, name string, off int64) {
	t.Helper()
	f, err := fs.Open(path.Join(testDir, name), vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (off % 8)
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestReleaseRemovesOnlyWhatLiesBelow(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	var ends []LSN
	for i := range 60 {
		ends = append(ends, ack(t, l, text(fmt.Sprint(i), strings.Repeat("x", 300)))...)
	}
	all := l.Stats().Segments
	if all < 8 {
		t.Fatalf("%d segments", all)
	}
	if err := l.Release(FirstLSN + 10); err != nil || l.Stats().Segments != all {
		t.Fatalf("%v, %d segments", err, l.Stats().Segments)
	}
	size := l.Bytes()
	if err := l.Release(ends[30]); err != nil {
		t.Fatal(err)
	}
	if l.Bytes() >= size || l.Stats().Segments >= all {
		t.Errorf("nothing released: %d bytes, %d segments", l.Bytes(), l.Stats().Segments)
	}
	image := fs.Crash(vfs.CrashLoseAll, 0)
	if err := l.Release(1 << 60); err != nil || l.Stats().Segments != 1 {
		t.Errorf("the segment being written counts as released: %v, %d", err, l.Stats().Segments)
	}
	l.Close()
	l, _, groups := mustOpen(t, testOptions(image, 2), ends[30])
	if len(groups) != 29 || string(groups[0].Records[0]) != "31" {
		t.Errorf("%d groups behind the released part", len(groups))
	}
	l.Close()
	if _, _, _, err := openLog(testOptions(image, 2), 0); !errors.Is(err, dberr.ErrLogMissing) {
		t.Errorf("from before the released part: %v", err)
	}
}

// What is not the log's stays where it is and hinders nothing.
func TestForeignFilesInTheDirectoryStay(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	foreign := []string{".DS_Store", "000001.wal.bak", "1.wal"}
	for turn := range 3 {
		l, _, groups := mustOpen(t, o, 0)
		if len(groups) != 0 {
			t.Fatalf("turn %d: %d groups", turn, len(groups))
		}
		for _, name := range foreign {
			f, err := fs.Open(path.Join(testDir, name), vfs.ReadWrite|vfs.Create)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		ack(t, l, text("group"))
		if err := dberr.Join(l.Close(), Remove(fs, testDir)); err != nil {
			t.Fatalf("turn %d: %v", turn, err)
		}
		if names, err := fs.List(testDir); err != nil || !slices.Equal(names, foreign) {
			t.Fatalf("turn %d: %v is left, %v", turn, names, err)
		}
		if ok, err := Exists(fs, testDir); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
}

// The directory that holds nothing but cannot be removed is an error.
func TestRemoveReportsTheDirectory(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	fault := vfs.NewFault(mem)
	fault.FailKind(vfs.OpRemove, syscall.EIO, false)
	if err := Remove(fault, testDir); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// Errors name the segment as it is called, not as it was made.
func TestErrorsNameTheSegment(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	l, _, _ := mustOpen(t, testOptions(fault, 1), 0)
	fault.FailKind(vfs.OpSync, syscall.EIO, false)
	result := make(chan error, 1)
	if err := l.Submit([][]byte{[]byte("x")}, func(_ LSN, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	err := <-result
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "000001.wal: ") {
		t.Errorf("%v", err)
	}
	l.Close()
}

func TestRemoveLeavesNothing(t *testing.T) {
	fs := vfs.NewMem()
	if ok, err := Exists(fs, testDir); ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := Remove(fs, testDir); err != nil {
		t.Fatal(err)
	}
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	var end LSN
	for range 20 {
		end = ack(t, l, text(strings.Repeat("x", 900)))[0]
	}
	if ok, err := Exists(fs, testDir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	l.Close()
	for k := 0; ; k++ {
		fs := fs.Crash(vfs.CrashKeepAll, 0)
		fs.CrashAt(fs.Ops() + k)
		err := Remove(fs, testDir)
		image := fs.Crash(vfs.CrashLoseAll, 0)
		if k > 0 && err != nil {
			// What is left is the end of the log, or nothing.
			l, _, groups := mustOpen(t, testOptions(image, 2), end)
			if len(groups) != 0 {
				t.Fatalf("%d groups", len(groups))
			}
			l.Close()
			continue
		}
		if _, statErr := image.Stat(testDir); err != nil || statErr == nil {
			t.Fatalf("crash at %d: %v, directory %v", k, err, statErr)
		}
		if k > 0 {
			return
		}
	}
}

func TestAllSyncsDroppedIsNoticed(t *testing.T) {
	fs := vfs.NewMem()
	fs.DropSync(-1)
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, text("a"))
	image := fs.Crash(vfs.CrashLoseAll, 0)
	l.Close()
	l, _, groups := mustOpen(t, testOptions(image, 1), 0)
	l.Close()
	if len(groups) != 0 {
		t.Error("the file system keeps what nobody synced")
	}
}
