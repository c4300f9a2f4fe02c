package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// fault is one operation that goes wrong.
type fault struct {
	kind string // io, full: operation n fails; short: write n is cut; sync: sync n fails for good
	n    int
}

func (f fault) String() string { return fmt.Sprintf("%s %d", f.kind, f.n) }

func (f fault) plant(m *vfs.MemFS, above *vfs.FaultFS) {
	switch f.kind {
	case "io":
		above.FailOp(f.n, syscall.EIO)
	case "full":
		above.FailOp(f.n, syscall.ENOSPC)
	case "short":
		above.ShortWrite(f.n, nil)
	case "sync":
		m.FailSync(f.n)
	}
}

// faultRun is the crash campaign's workload that goes on after errors. What a
// call may do after a fault:
//
//   - ErrPoisoned or ErrCommitUnknown: durable versions stay readable, Close
//     returns, and after reopening or a power cut the state is that of a commit
//     from the last acknowledged to the last begun;
//   - any other error: nothing happened, and the same call on the same handle
//     works, since the fault is over;
//   - no error: the fault did no harm, and what was acknowledged is durable.
type faultRun struct {
	ctx     context.Context
	seed    uint64
	mem     *vfs.MemFS
	above   *vfs.FaultFS
	p       *program
	d       *db.DB
	ns      *db.Namespace
	o       outcome
	errs    []error
	reopens int
}

func newFaultRun(ctx context.Context, seed uint64, f fault) *faultRun {
	r := &faultRun{ctx: ctx, seed: seed, mem: vfs.NewMem(), p: newProgram(seed), o: outcome{texts: map[db.Version]string{0: text(nil)}}}
	r.above = vfs.NewFault(r.mem)
	f.plant(r.mem, r.above)
	return r
}

func (r *faultRun) options() *db.Options { return seededOptions(r.above, r.seed) }

// seededOptions replace the random source, so that operation n is the same
// operation in every run.
func seededOptions(fs vfs.FS, seed uint64) *db.Options {
	o := dbOptions(fs)
	o.Rand = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	o.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	return o
}

// open opens the database and takes over its state, again if that fails once.
func (r *faultRun) open() error {
	err := r.openOnce()
	if err != nil {
		r.errs = append(r.errs, err)
		r.closeAfterError()
		r.restart()
		err = r.openOnce()
	}
	return err
}

func (r *faultRun) openOnce() (err error) {
	r.d = nil
	if r.d, err = db.Open(r.ctx, "crash.pod", r.options()); err != nil {
		return err
	}
	head, err := r.d.Head(r.ctx, "main")
	if err != nil {
		return err
	}
	if head < r.o.acked || head > r.o.begun {
		return fmt.Errorf("LOST: head is %d, want from acknowledged %d to begun %d", head, r.o.acked, r.o.begun)
	}
	r.o.acked, r.o.begun = head, head
	if r.ns, err = r.d.Namespace(r.ctx, "main"); err != nil {
		return err
	}
	return r.p.adopt(r.ctx, r.ns)
}

// restart is a new process on the same disk.
func (r *faultRun) restart() {
	r.mem = r.mem.Restart()
	r.above = vfs.NewFault(r.mem)
}

func (r *faultRun) closeAfterError() {
	if r.d != nil {
		_ = r.d.Close()
	}
	r.d = nil
}

// try makes a call that may meet the fault. reopened says that the handle was
// given up and the state is that of the new one.
func (r *faultRun) try(what string, call func() error) (reopened bool, err error) {
	err = call()
	if err == nil {
		return false, nil
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %w", what, err))
	if !errors.Is(err, db.ErrPoisoned) && !errors.Is(err, db.ErrCommitUnknown) {
		if err = call(); err == nil {
			return false, nil
		}
		return false, fmt.Errorf("%s failed twice, the second time with %w", what, err)
	}
	for _, v := range []db.Version{r.o.acked, r.o.acked / 2} {
		if err := checkVersion(r.ctx, r.d, v, r.o.texts[v]); err != nil {
			return false, fmt.Errorf("after a failed %s, version %d: %w", what, v, err)
		}
	}
	r.closeAfterError()
	for i, img := range []*vfs.MemFS{r.mem.Crash(vfs.CrashLoseAll, 0), r.mem.Crash(vfs.CrashMix, r.seed)} {
		if _, err := check(r.ctx, img, r.o); err != nil {
			return false, fmt.Errorf("after a failed %s and a power cut, image %d: %w", what, i, err)
		}
	}
	r.restart()
	r.reopens++
	if err := r.openOnce(); err != nil {
		return true, err
	}
	// What the reopening showed must be durable, though a sync failed before.
	if _, err := check(r.ctx, r.mem.Crash(vfs.CrashLoseAll, 0), r.o); err != nil {
		return true, fmt.Errorf("after a failed %s, reopening showed version %d; a power cut then: %w", what, r.o.acked, err)
	}
	return true, nil
}

func (r *faultRun) life() error {
	if err := r.open(); err != nil {
		return err
	}
	for i := range crashSaves {
		r.p.step()
		if _, err := r.try("set", func() error { return r.p.bind(r.ctx, r.ns) }); err != nil {
			return err
		}
		if _, err := r.try("save", r.save); err != nil {
			return err
		}
		var err error
		switch {
		case i%7 == 3:
			_, err = r.try("checkpoint", func() error { return r.d.Checkpoint(r.ctx) })
		case i%11 == 8:
			if err := r.d.Close(); err != nil {
				r.errs = append(r.errs, err)
				r.restart()
			}
			err = r.open()
		}
		if err != nil {
			return err
		}
	}
	if err := r.d.Close(); err != nil {
		r.errs = append(r.errs, err)
	}
	for _, img := range []*vfs.MemFS{r.mem.Crash(vfs.CrashLoseAll, 0), r.mem.Restart()} {
		if _, err := check(r.ctx, img, r.o); err != nil {
			return fmt.Errorf("in the end: %w", err)
		}
	}
	return nil
}

func (r *faultRun) save() error {
	next := r.o.acked + 1
	r.o.begun, r.o.texts[next] = next, text(r.p.vars)
	v, err := r.ns.Save(r.ctx)
	if err != nil {
		return err
	}
	if v == r.o.acked {
		r.o.begun = v
		delete(r.o.texts, next)
	}
	r.o.acked = v
	return nil
}

// guarded runs a life and turns a hang into an error with all stacks.
func (r *faultRun) guarded() error {
	done := make(chan error, 1)
	go func() { done <- r.life() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		stacks := make([]byte, 1<<20)
		return fmt.Errorf("HANGS\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

const faultDefault = 300 // faults that one run of go test tries

// TestFaultAtAnyOperation injects one fault into the workload of saves,
// checkpoints and reopenings: each operation fails with EIO or ENOSPC, each
// write is short, each sync fails and is never healed. A bounded run tries an
// even selection that moves with the seed; -images N tries N of them.
func TestFaultAtAnyOperation(t *testing.T) {
	t.Parallel()
	ctx, seed := context.Background(), *flagSeed
	whole := newFaultRun(ctx, seed, fault{})
	if err := whole.guarded(); err != nil || len(whole.errs) > 0 {
		t.Fatalf("workload without a fault: %v %v", err, whole.errs)
	}
	var all []fault
	for n := 1; n <= whole.above.Ops(); n++ {
		all = append(all, fault{"io", n}, fault{"full", n})
	}
	for n := 1; n <= whole.above.Count(vfs.OpWrite); n++ {
		all = append(all, fault{"short", n})
	}
	for n := 1; n <= whole.above.Count(vfs.OpSync)+whole.above.Count(vfs.OpSyncDir); n++ {
		all = append(all, fault{"sync", n}, fault{"sync", n}) // these matter most
	}
	want := faultDefault
	if *flagImages > 0 {
		want = *flagImages
	}
	chosen := all
	if want < len(all) {
		chosen = nil
		step := float64(len(all)) / float64(want)
		for at := float64(seed%97) / 97 * step; int(at) < len(all); at += step {
			chosen = append(chosen, all[int(at)])
		}
	}
	lost, corrupt, failed, reopens := 0, 0, 0, 0
	for _, f := range chosen {
		r := newFaultRun(ctx, seed, f)
		err := r.guarded()
		if len(r.errs) > 0 {
			failed++
		}
		reopens += r.reopens
		if err == nil {
			continue
		}
		if errors.Is(err, db.ErrCorrupt) {
			corrupt++
		} else {
			lost++
		}
		t.Errorf("fault %v: %v\nerrors before: %v\n%s", f, err, r.errs, replay(t, "-images %d # fault %v", want, f))
		if lost+corrupt > 5 {
			break
		}
	}
	t.Logf("CAMPAIGN name=fault seed=%d ops=%d faults=%d of %d failing=%d poisoned=%d lost=%d corrupt=%d",
		seed, whole.above.Ops(), len(chosen), len(all), failed, reopens, lost, corrupt)
	if failed < len(chosen)/4 || reopens == 0 {
		t.Error("hardly any fault made a call fail: the campaign proves nothing")
	}
}
