package fuzz

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// The crash campaign.
//
// A workload is a random program on a store. Before each file-system operation
// of it, or at random ones of a large workload, the power is cut: several of
// the images that this may leave are opened, each must show the model, and go
// on showing it when everything unsynced is lost again. While an image recovers,
// the power is cut again before each operation of the recovery. Some images
// work on, close and open once more.
//
// At the levels None and Interval a power cut may take the newest commits away,
// and leaves the database as it was at some moment since the last checkpoint.
//
// The original is not disturbed by any of this, so one run of a workload gives
// all its images.

const (
	crashDefault = 2500 // images of one run of go test
	smallSteps   = 14
	largeSteps   = 60
)

func crashed(err error) bool { return errors.Is(err, vfs.ErrCrashed) }

// crashes counts what the campaign met.
type crashes struct {
	images, recovered, second, lossy, workedOn atomic.Int64

	mu            sync.Mutex
	lost, corrupt int
	failures      []string
}

func (c *crashes) fail(err error, where string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, db.ErrCorrupt) {
		c.corrupt++
	} else {
		c.lost++
	}
	c.failures = append(c.failures, fmt.Sprintf("%s: %v", where, err))
}

func (c *crashes) failed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.failures) > 3
}

// workload is one program and where it is interrupted.
type workload struct {
	*crashes
	number int
	rng    *rand.Rand // chooses crashes and images, apart from the program's own
	w      *world
	mem    *vfs.MemFS
	every  int // one in so many operations is interrupted
	depth  int // one in so many images is interrupted at each operation of its recovery

	mu   sync.Mutex // a big commit is written by a goroutine of its own
	dead bool
}

// newWorkload: three of four are small and interrupted everywhere.
func newWorkload(c *crashes, number int) *workload {
	seed := *flagSeed*1_000_003 + uint64(number)
	l := &workload{crashes: c, number: number, rng: rand.New(rand.NewPCG(seed, 4)), mem: vfs.NewMem(), every: 1, depth: 12}
	l.w = newWorld(&tapFS{FS: l.mem, before: l.before}, seed)
	if number%4 == 3 {
		l.w.big, l.every, l.depth = true, 25, 4
	}
	switch number % 5 {
	case 1:
		l.w.level = mvcc.DurabilityNone
	case 4:
		l.w.level = mvcc.DurabilityInterval
	}
	return l
}

func (l *workload) run() {
	steps := smallSteps
	if l.w.big {
		steps = largeSteps
	}
	err := l.w.open()
	for i := 0; err == nil && i < steps && !l.failed(); i++ {
		err = l.w.step()
	}
	if err == nil {
		err = l.w.check()
	}
	if err == nil {
		err = l.w.close()
	}
	if err == nil {
		l.before() // once more after the last operation
	} else {
		_ = l.w.close()
		l.fail(err, l.where("without a crash"))
	}
}

func (l *workload) where(what string) string {
	return fmt.Sprintf("workload %d (-case %d), operation %d [%s] %s", l.number, l.number, l.mem.Ops()+1, strings.Join(l.w.steps, ", "), what)
}

// before cuts the power before an operation of the program.
func (l *workload) before() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead || l.rng.IntN(l.every) != 0 {
		return
	}
	for _, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix} {
		seed := l.rng.Uint64()
		img := l.mem.Crash(kind, seed)
		m := l.w.m.clone()
		if kind == vfs.CrashKeepAll {
			m.durable() // the process died: what was written is there
		}
		if err := l.image(img, m, l.rng.IntN(l.depth) == 0); err != nil {
			l.dead = true // one finding a workload
			l.fail(err, l.where(fmt.Sprintf("image %v %d", kind, seed)))
			return
		}
	}
}

// image opens one image and compares; twice cuts the power in its recovery too.
func (l *workload) image(img *vfs.MemFS, m *model, twice bool) (err error) {
	l.count(img)
	w := newWorld(nil, l.rng.Uint64())
	w.m, w.level = m, l.w.level
	ops, opening := 0, true
	w.fs = &tapFS{FS: img, before: func() {
		if !twice || !opening || err != nil {
			return
		}
		ops++
		kind, seed := vfs.CrashKind(l.rng.IntN(4)), l.rng.Uint64()
		again := img.Crash(kind, seed)
		l.second.Add(1)
		if err = l.image(again, m.clone(), false); err != nil {
			err = fmt.Errorf("before operation %d of its recovery, image %v %d: %w", ops, kind, seed, err)
		}
	}}
	if err2 := w.open(); err == nil && err2 != nil {
		err = fmt.Errorf("open: %w", err2)
	}
	opening = false
	defer w.close()
	if err != nil {
		return err
	}
	if err := w.check(); err != nil {
		return err
	}
	w.m.durable() // recovery made it so
	l.recovered.Add(1)
	if err := l.durable(img, w.m); err != nil {
		return fmt.Errorf("what was shown is gone after another power cut: %w", err)
	}
	if l.rng.IntN(4) == 0 {
		return l.workOn(w)
	}
	return nil
}

func (l *workload) count(img *vfs.MemFS) {
	l.images.Add(1)
	if img.Lost() {
		l.lossy.Add(1)
	}
}

// durable demands that losing everything unsynced loses nothing that was shown.
func (l *workload) durable(img *vfs.MemFS, shown *model) error {
	w := newWorld(img.Crash(vfs.CrashLoseAll, 0), l.rng.Uint64())
	w.m = shown
	if err := w.open(); err != nil {
		return err
	}
	defer w.close()
	return w.check()
}

// workOn uses a recovered store, closes and opens it.
func (l *workload) workOn(w *world) error {
	l.workedOn.Add(1)
	for range 4 {
		if err := w.step(); err != nil {
			return fmt.Errorf("after recovery [%s]: %w", strings.Join(w.steps, ", "), err)
		}
	}
	if err := w.reopen(); err != nil {
		return fmt.Errorf("after recovery [%s], reopening: %w", strings.Join(w.steps, ", "), err)
	}
	if err := w.check(); err != nil {
		return fmt.Errorf("after recovery [%s] and reopening: %w", strings.Join(w.steps, ", "), err)
	}
	return nil
}

// TestCrash cuts the power at every operation of small random workloads, at
// random ones of large workloads, and at every operation of recoveries.
// Nothing acknowledged is lost, nothing is there in part, no undamaged disk
// reads as damaged.
func TestCrash(t *testing.T) {
	t.Parallel()
	want := int64(crashDefault)
	if *flagImages > 0 {
		want = int64(*flagImages)
	}
	c := &crashes{}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for c.images.Load() < want && !c.failed() {
				number := int(next.Add(1) - 1)
				if *flagCase >= 0 {
					if number > 0 {
						return
					}
					number = *flagCase
				}
				newWorkload(c, number).run()
				if *flagCase >= 0 {
					return
				}
			}
		})
	}
	workers.Wait()
	for _, f := range c.failures {
		t.Errorf("%s\n%s", f, replay(t, ""))
	}
	t.Logf("CAMPAIGN name=crash seed=%d workloads=%d images=%d recovered=%d second=%d workedon=%d lossy=%d lost=%d corrupt=%d", *flagSeed,
		next.Load(), c.images.Load(), c.recovered.Load(), c.second.Load(), c.workedOn.Load(), c.lossy.Load(), c.lost, c.corrupt)
	if len(c.failures) == 0 && *flagCase < 0 && (c.lossy.Load() < want/20 || c.second.Load() == 0 || c.workedOn.Load() == 0) {
		t.Error("hardly any image lost unsynced data: the campaign proves nothing")
	}
}
