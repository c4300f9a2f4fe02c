package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// The bitflip campaign.
//
// A few small databases are made once: closed ones, ones whose process died,
// with one log segment and with several. Each case damages a copy in one place
// and reads everything. All bytes of the copy but the damaged ones are shared
// with the original, so a case costs what opening and reading cost.
//
// What a case may end with:
//
//   - detected: an error that matches a documented one, from Open, a read or
//     Verify. A read that fails and a Verify that finds nothing is wrong.
//   - harmless: everything is what was stored.
//   - shorter, which is counted as harmless too: the end of the log is gone, and
//     what remains is the database as it was then. No reader can tell this from
//     a log whose end was never written. Damage to the page file is never
//     shorter, and a single damaged sector takes at most the newest commit or
//     branch away.
//
// Everything else is wrong: other data, an error of no type, a panic, a hang,
// memory out of proportion.

const (
	flipsDefault = 4000
	flipSlowest  = time.Minute // for one case, on a busy machine
	flipMemory   = 32 << 20    // bytes allocated beyond twice what an undamaged one needs
)

type verdict int

const (
	harmless verdict = iota
	shorter
	detected
)

// judge reads everything of a damaged database. An error is a finding.
func (o *original) judge(m *vfs.MemFS, seed uint64) (v verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("PANIC: %v\n%s", p, debug.Stack())
		}
	}()
	w := newWorld(m, seed)
	w.m = o.m
	options := w.options()
	options.ReadOnly = seed%8 == 0
	if w.s, err = mvcc.Open(w.ctx, options); err != nil {
		return detected, mustBeTyped(err)
	}
	defer func() {
		if closing := mustBeTyped(w.close()); err == nil && closing != nil {
			err = fmt.Errorf("close: %w", closing)
		}
	}()
	newest, err := o.m.moment(w.ctx, w.s)
	if err != nil {
		return harmless, err
	}
	var first error // that a read gave
	want, older := o.m, newest != o.m.newest || w.branches() != len(o.m.heads)
	for version := range newest + 1 {
		if want.retired[version] && there(w.ctx, w.s, version) { // the end of the log, and the prune in it, is gone
			want, older = want.clone(), true
			delete(want.retired, version)
		}
		err := want.version(w.ctx, w.s, version)
		if err == nil {
			continue
		}
		if err := mustBeTyped(err); err != nil {
			return harmless, err
		}
		if first == nil {
			first = err
		}
	}
	rep, err := w.s.Verify(w.ctx, mvcc.VerifyOptions{Deep: true})
	if err := mustBeTyped(err); err != nil {
		return harmless, fmt.Errorf("verify: %w", err)
	}
	noticed := err != nil || len(rep.Problems) > 0
	switch {
	case first != nil && !noticed:
		return harmless, fmt.Errorf("Verify finds nothing, but: %w", first)
	case noticed:
		return detected, nil
	case older:
		return shorter, nil
	}
	return harmless, nil
}

func (w *world) branches() int {
	n := 0
	for branch := range w.m.heads {
		if _, err := w.s.Head(w.ctx, branch); err == nil {
			n++
		}
	}
	return n
}

// excused says why a shorter database is no finding, or that it is one.
func (o *original) excused(w wound, newest mvcc.Version) error {
	if o.closed || w.file == worldPath {
		return errors.New("opened in silence at an older state")
	}
	if w.small && newest+1 < o.m.newest {
		return fmt.Errorf("one damaged sector took %d commits away in silence", o.m.newest-newest)
	}
	return nil
}

// flips is the state of the campaign.
type flips struct {
	originals []*original
	want      int64
	next      atomic.Int64
	counts    [3]atomic.Int64
	wrong     atomic.Int64
	corrupt   atomic.Int64 // databases that read as damaged without any damage
	mostBytes atomic.Uint64
	limit     uint64       // of bytes allocated while a case runs
	alone     sync.RWMutex // held to write by who must be the only one to allocate
	report    func(string)
}

func (c *flips) work(started *atomic.Int64, doing *atomic.Pointer[string]) {
	for c.wrong.Load() < 5 {
		i := c.next.Add(1) - 1
		if i >= c.want {
			return
		}
		if *flagCase >= 0 {
			i, c.want = int64(*flagCase), 0
		}
		rng := rand.New(rand.NewPCG(*flagSeed, uint64(i)))
		o := c.originals[i%int64(len(c.originals))]
		w := o.wounded(rng)
		what := fmt.Sprintf("case %d (-case %d), %s database, %s: %s", i, i, o.name, w.file, w.what)
		doing.Store(&what)
		started.Store(time.Now().UnixNano())
		if err := c.one(o, w, rng.Uint64()); err != nil {
			c.wrong.Add(1)
			c.report(fmt.Sprintf("%s: %v", what, err))
		}
		started.Store(0)
	}
}

func (c *flips) one(o *original, w wound, seed uint64) error {
	m, err := o.copyWith(w)
	if err != nil {
		return err
	}
	c.alone.RLock()
	v, used, err := o.judgeMeasured(m, seed)
	c.alone.RUnlock()
	if used > c.limit { // by all workers together: what by this one?
		if m, err = o.copyWith(w); err != nil {
			return err
		}
		c.alone.Lock()
		v, used, err = o.judgeMeasured(m, seed)
		c.alone.Unlock()
		if used > c.limit {
			return fmt.Errorf("%d MiB were allocated", used>>20)
		}
	}
	for most := c.mostBytes.Load(); used > most && !c.mostBytes.CompareAndSwap(most, used); {
		most = c.mostBytes.Load()
	}
	if err == nil && v == shorter {
		var s *mvcc.Store
		again, _ := o.copyWith(w)
		if s, err = mvcc.Open(context.Background(), newWorldOptions(again, seed)); err == nil {
			newest := o.m.shown(context.Background(), s)
			_ = s.Close()
			err = o.excused(w, newest)
		}
	}
	if err == nil {
		c.counts[v].Add(1)
	}
	return err
}

// judgeMeasured also returns how many bytes the process allocated meanwhile.
func (o *original) judgeMeasured(m *vfs.MemFS, seed uint64) (v verdict, used uint64, err error) {
	before := allocated()
	v, err = o.judge(m, seed)
	return v, allocated() - before, err
}

func newWorldOptions(m *vfs.MemFS, seed uint64) mvcc.Options { return newWorld(m, seed).options() }

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// undamaged counts originals that do not read as what they are, and takes what
// reading them allocates as the measure for damaged ones.
func (c *flips) undamaged() {
	most := uint64(0)
	for _, o := range c.originals {
		before := allocated()
		if v, err := o.judge(o.mem.Crash(vfs.CrashKeepAll, 0), 1); err != nil || v != harmless {
			c.corrupt.Add(1)
			c.report(fmt.Sprintf("%s database without damage: %v, %v", o.name, v, err))
		}
		most = max(most, allocated()-before)
	}
	c.limit = 2*most + flipMemory
}

// TestBitflip damages databases and their logs in one place each and reads
// everything: it is what was stored, or a typed error.
func TestBitflip(t *testing.T) {
	c := &flips{want: flipsDefault}
	if *flagFlips > 0 {
		c.want = int64(*flagFlips)
	}
	if *flagCase >= 0 {
		c.want = 1
	}
	size := 0
	for i := range uint64(9) {
		o, err := newOriginal(i%3, *flagSeed*1000+i)
		if err != nil {
			t.Fatal(err)
		}
		c.originals = append(c.originals, o)
		size = max(size, len(o.bytes[worldPath]))
	}
	var mu sync.Mutex
	c.report = func(s string) {
		mu.Lock()
		defer mu.Unlock()
		t.Errorf("%s\n%s", s, replay(t, "-flips %d", c.want))
	}
	c.undamaged()
	n := runtime.GOMAXPROCS(0)
	started, doing := make([]atomic.Int64, n), make([]atomic.Pointer[string], n)
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() { c.work(&started[i], &doing[i]) })
	}
	if hung := watch(&workers, started, doing); hung != "" {
		t.Fatalf("HANGS: %s\n%s", hung, replay(t, ""))
	}
	all := c.counts[harmless].Load() + c.counts[shorter].Load() + c.counts[detected].Load()
	t.Logf("CAMPAIGN name=bitflip seed=%d flips=%d detected=%d harmless=%d corrupt=%d wrong=%d shorter=%d bytes=%d most-allocated=%d", *flagSeed, all+c.wrong.Load(),
		c.counts[detected].Load(), c.counts[harmless].Load()+c.counts[shorter].Load(), c.corrupt.Load(), c.wrong.Load(), c.counts[shorter].Load(), size, c.mostBytes.Load())
	if *flagCase < 0 && (c.counts[detected].Load() < all/5 || c.counts[shorter].Load() > all/10) {
		t.Error("hardly any damage was noticed: the campaign proves nothing")
	}
}

// watch waits for the workers. It returns what one of them does for too long,
// with all stacks.
func watch(workers *sync.WaitGroup, started []atomic.Int64, doing []atomic.Pointer[string]) string {
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return ""
		case <-time.After(time.Second):
		}
		for i := range started {
			if at := started[i].Load(); at != 0 && time.Since(time.Unix(0, at)) > flipSlowest {
				stacks := make([]byte, 1<<20)
				return strings.Join([]string{*doing[i].Load(), string(stacks[:runtime.Stack(stacks, true)])}, "\n")
			}
		}
	}
}
