package fuzz

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// The fault campaign.
//
// A random program runs on a disk where one thing goes wrong: one operation
// fails, or all of a kind from some moment on. What a call may do then:
//
//   - ErrPoisoned or ErrCommitUnknown: durable versions stay readable, Close
//     returns, and after reopening, or a power cut, everything acknowledged is
//     there; a call of unknown outcome has happened wholly or not at all, and
//     every other failed call has not happened.
//   - any other error: nothing happened, and when the fault is over the same
//     handle works on.
//   - no error: what was acknowledged is durable.
//
// Each error is a documented one or the injected one, in one line. No call takes
// a minute. At the end no file is open, no lock held, no goroutine left.

// fault is what goes wrong.
type fault struct {
	what  string     // io, full: operation n fails; short: write n is cut; cut read: read n; sync: sync n fails for good; lasting
	n     int        // counted from 1; for lasting, of the operations that change something
	kind  vfs.OpKind // of lasting
	cause error      // of lasting
}

func (f fault) String() string {
	if f.what == "lasting" {
		return fmt.Sprintf("every %v fails with %v from operation %d on", f.kind, f.cause, f.n)
	}
	return fmt.Sprintf("%s %d", f.what, f.n)
}

// faultRun is one program with one fault.
type faultRun struct {
	f       fault
	mem     *vfs.MemFS
	above   *vfs.FaultFS
	tap     *tapFS
	w       *world
	changes int // operations that change something, so far
	errs    []error
	reopens int
}

func newFaultRun(seed uint64, f fault) *faultRun {
	r := &faultRun{f: f, mem: vfs.NewMem()}
	r.above = vfs.NewFault(r.mem)
	r.tap = &tapFS{FS: r.above, before: r.before}
	r.w = newWorld(r.tap, seed)
	r.w.big = seed%3 == 0
	switch f.what {
	case "io":
		r.above.FailOp(f.n, syscall.EIO)
	case "full":
		r.above.FailOp(f.n, syscall.ENOSPC)
	case "short":
		r.above.ShortWrite(f.n, nil)
	case "cut read":
		r.above.ShortRead(f.n, syscall.EIO)
	case "sync":
		r.mem.FailSync(f.n)
	}
	return r
}

func (r *faultRun) before() {
	r.changes++
	if r.f.what == "lasting" && r.changes == r.f.n {
		r.above.FailKind(r.f.kind, r.f.cause, true)
	}
}

func (r *faultRun) lasting() bool { return r.f.what == "lasting" && r.changes >= r.f.n }

// acceptable returns err unless it is an error that a caller can make sense of.
func (r *faultRun) acceptable(err error) error {
	if errors.Is(err, syscall.EIO) || errors.Is(err, io.ErrShortWrite) {
		if !strings.Contains(err.Error(), "\n") {
			return nil
		}
	}
	return mustBeTyped(err)
}

const faultSteps = 16

// life runs the program to its end, over the fault.
func (r *faultRun) life() error {
	defer func() { _ = r.w.close() }()
	call := func() error { return r.w.open() }
	for i := 0; ; {
		if err := call(); err != nil {
			r.errs = append(r.errs, err)
			if len(r.errs) > 8 {
				return fmt.Errorf("fails again and again: %w", err)
			}
			if err := r.acceptable(err); err != nil {
				return err
			}
			if err := r.goOn(err); err != nil {
				return fmt.Errorf("after %w: %w", r.errs[len(r.errs)-1], err)
			}
		}
		if i++; i > faultSteps {
			break
		}
		call = r.w.step
	}
	return r.end()
}

// goOn makes the store usable after a call failed with cause: the one that is
// open, unless it is poisoned.
func (r *faultRun) goOn(cause error) error {
	if r.lasting() { // try once more before it is over; still no harm
		if p := r.w.m.pending; r.w.s != nil {
			if err := r.acceptable(r.w.step()); err != nil {
				return fmt.Errorf("the next call: %w", err)
			}
			if !p.none() {
				r.w.m.begin(p.and(r.w.m.pending)) // both are still open
			}
		}
		r.f.what = "over"
		r.above.Heal()
	}
	if r.w.s == nil {
		return r.reopen()
	}
	if !r.w.poisoned() {
		return r.w.check()
	}
	for v := range r.w.m.newest + 1 { // what is durable stays readable
		if r.w.m.pending.mayGo(v) {
			continue
		}
		if err := r.w.m.version(r.w.ctx, r.w.s, v); err != nil {
			return fmt.Errorf("in a poisoned store: %w", err)
		}
	}
	if err := r.acceptable(r.w.close()); err != nil {
		return fmt.Errorf("closing a poisoned store: %w", err)
	}
	for _, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashMix} {
		if err := r.image(r.mem.Crash(kind, uint64(r.f.n))); err != nil {
			return fmt.Errorf("and a power cut (%v): %w", kind, err)
		}
	}
	r.reopens++
	return r.reopen()
}

func (w *world) poisoned() bool {
	tx, err := w.s.Begin(w.ctx, mvcc.MainBranch, w.m.heads[mvcc.MainBranch])
	if err == nil {
		tx.Rollback()
	}
	return errors.Is(err, dberr.ErrPoisoned)
}

// reopen opens the store; when that meets the fault, once more. What it shows is
// durable, though a sync failed before.
func (r *faultRun) reopen() error {
	if n := r.tap.open.Load(); n != 0 {
		return fmt.Errorf("%d files are open after the store is closed", n)
	}
	err := r.w.open()
	if err != nil {
		r.errs = append(r.errs, err)
		if err := r.acceptable(err); err != nil {
			return fmt.Errorf("reopening: %w", err)
		}
		if err := r.w.open(); err != nil {
			return fmt.Errorf("reopening failed twice: %w", err)
		}
	}
	if err := r.w.check(); err != nil {
		return fmt.Errorf("reopened: %w", err)
	}
	if err := r.image(r.mem.Crash(vfs.CrashLoseAll, 0)); err != nil {
		return fmt.Errorf("reopened, shown, and gone after a power cut: %w", err)
	}
	return nil
}

// image demands that a disk holds what the model says.
func (r *faultRun) image(img *vfs.MemFS) error {
	w := newWorld(img, uint64(r.f.n))
	w.m = r.w.m
	if err := w.open(); err != nil {
		return err
	}
	defer w.close()
	return w.check()
}

func (r *faultRun) end() error {
	r.above.Heal()
	if r.w.s != nil {
		if err := r.w.check(); err != nil {
			return fmt.Errorf("in the end: %w", err)
		}
		if err := r.acceptable(r.w.close()); err != nil {
			return fmt.Errorf("closing in the end: %w", err)
		}
	}
	if n := r.tap.open.Load(); n != 0 {
		return fmt.Errorf("%d files are open in the end", n)
	}
	for _, img := range []*vfs.MemFS{r.mem.Crash(vfs.CrashLoseAll, 0), r.mem.Restart()} {
		if err := r.image(img); err != nil {
			return fmt.Errorf("closed, and then: %w", err)
		}
	}
	return nil
}

// guarded runs a life and turns a hang, a panic and a goroutine that stays into
// an error.
func (r *faultRun) guarded(label string) error {
	done := make(chan error, 1)
	go pprof.Do(context.Background(), pprof.Labels("campaign", label), func(context.Context) { done <- r.life() })
	select {
	case err := <-done:
		if err == nil {
			err = leftBehind(label)
		}
		return err
	case <-time.After(time.Minute):
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("HANGS\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// leftBehind waits for the goroutines that a run started: labels are inherited.
func leftBehind(label string) error {
	var text bytes.Buffer
	for range 200 {
		text.Reset()
		if err := pprof.Lookup("goroutine").WriteTo(&text, 1); err != nil {
			return err
		}
		if !strings.Contains(text.String(), `"`+label+`"`) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("goroutines are left behind:\n%s", text.String())
}

// faultsOf lists every fault of a program, each kind in turn.
func faultsOf(whole *faultRun) (all []fault) {
	for n := 1; n <= whole.above.Ops(); n++ {
		all = append(all, fault{what: "io", n: n}, fault{what: "full", n: n})
	}
	for n := 1; n <= whole.above.Count(vfs.OpWrite); n++ {
		all = append(all, fault{what: "short", n: n})
	}
	for n := 1; n <= whole.above.Count(vfs.OpRead); n++ {
		all = append(all, fault{what: "cut read", n: n})
	}
	for n := 1; n <= whole.above.Count(vfs.OpSync)+whole.above.Count(vfs.OpSyncDir); n++ {
		all = append(all, fault{what: "sync", n: n}, fault{what: "sync", n: n}) // these matter most
	}
	lasting := []fault{
		{kind: vfs.OpWrite, cause: syscall.EIO}, {kind: vfs.OpSync, cause: syscall.EIO}, {kind: vfs.OpSyncDir, cause: syscall.EIO},
		{kind: vfs.OpRead, cause: syscall.EIO}, {kind: vfs.OpRename, cause: syscall.EIO}, {kind: vfs.OpRemove, cause: syscall.EIO},
		{kind: vfs.OpTruncate, cause: syscall.EIO}, {kind: vfs.OpPreallocate, cause: syscall.EIO}, {kind: vfs.OpOpen, cause: syscall.EIO},
		{kind: vfs.OpWrite, cause: syscall.ENOSPC}, {kind: vfs.OpPreallocate, cause: syscall.ENOSPC}, {kind: vfs.OpOpen, cause: syscall.ENOSPC},
		{kind: vfs.OpSync, cause: syscall.ENOSPC}, {kind: vfs.OpTruncate, cause: syscall.ENOSPC},
	}
	for n := 1; n <= whole.changes; n++ {
		for _, f := range []fault{lasting[n%len(lasting)], lasting[n*5%len(lasting)]} {
			f.what, f.n = "lasting", n
			all = append(all, f)
		}
	}
	return all
}

const (
	faultDefault  = 400 // faults that one run of go test tries
	faultPrograms = 6
)

// faultCase is one fault of one program.
type faultCase struct {
	seed uint64
	f    fault
}

// String is what the flag -fault takes.
func (c faultCase) String() string { return fmt.Sprintf("%d: %v", c.seed, c.f) }

// faultCases lists the faults of several programs in an order that hangs on the
// seed and on each case alone: the caches make the number of reads vary a little
// from run to run.
func faultCases(t *testing.T) []faultCase {
	var cases []faultCase
	order := map[faultCase]uint64{}
	for p := range uint64(faultPrograms) {
		seed := *flagSeed*1000 + p
		whole := newFaultRun(seed, fault{})
		if err := whole.guarded("whole"); err != nil || len(whole.errs) > 0 {
			t.Fatalf("program %d without a fault [%s]: %v %v", seed, strings.Join(whole.w.steps, ", "), err, whole.errs)
		}
		for _, f := range faultsOf(whole) {
			c := faultCase{seed, f}
			h := fnv.New64a()
			fmt.Fprint(h, *flagSeed, c)
			order[c] = h.Sum64()
			if *flagFault == "" || *flagFault == c.String() {
				cases = append(cases, c)
			}
		}
	}
	slices.SortStableFunc(cases, func(a, b faultCase) int { return cmp.Compare(order[a], order[b]) })
	return cases
}

// TestFault injects one fault into random programs: each operation fails, each
// write is cut short, each sync fails and is never healed, each kind of
// operation fails from each moment on. A bounded run tries a selection that
// moves with the seed; -faults N tries N of them.
func TestFault(t *testing.T) {
	want := faultDefault
	if *flagFaults > 0 {
		want = *flagFaults
	}
	all := faultCases(t)
	cases := all[:min(want, len(all))]
	var lost, corrupt, failing, reopens, next atomic.Int64
	var mu sync.Mutex
	var workers sync.WaitGroup
	one := func(c faultCase) {
		r := newFaultRun(c.seed, c.f)
		err := r.guarded(c.String())
		if len(r.errs) > 0 {
			failing.Add(1)
		}
		reopens.Add(int64(r.reopens))
		switch {
		case err == nil:
			return
		case errors.Is(err, dberr.ErrCorrupt):
			corrupt.Add(1)
		default:
			lost.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		t.Errorf("%v [%s]: %v\nerrors: %v\n%s", c, strings.Join(r.w.steps, ", "), err, r.errs, replay(t, "-fault '%v'", c))
	}
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for lost.Load()+corrupt.Load() < 5 {
				i := int(next.Add(1) - 1)
				if i >= len(cases) {
					return
				}
				one(cases[i])
			}
		})
	}
	workers.Wait()
	t.Logf("CAMPAIGN name=fault seed=%d faults=%d of=%d failing=%d poisoned=%d lost=%d corrupt=%d",
		*flagSeed, len(cases), len(all), failing.Load(), reopens.Load(), lost.Load(), corrupt.Load())
	if *flagFault == "" && lost.Load()+corrupt.Load() == 0 && (failing.Load() < int64(len(cases)/4) || reopens.Load() == 0) {
		t.Error("hardly any fault made a call fail: the campaign proves nothing")
	}
}
