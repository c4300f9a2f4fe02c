package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// kvStore is a database of small objects, numbered from 0. An object is a
// counter of 8 bytes and noise. Every system does the same work: change reads
// the object, counts up, replaces the noise, and is durable when it returns; get
// reads one object in a read transaction of its own. Where a system stores
// bytes, the object is those bytes: encoding costs it nothing.
type kvStore interface {
	// load fills the store with n objects, as fast as it can, and leaves it at rest.
	load(ctx context.Context, n int) error
	// change is one transaction. No two calls for one object run at once, but for
	// systems that say so (shared).
	change(ctx context.Context, key int, noise []byte) error
	// get returns the counter of an object.
	get(ctx context.Context, key int) (uint64, error)
	close() error
}

// kvSpec says which store a helper process opens.
type kvSpec struct {
	System  string
	Dir     string
	Keys    int
	Size    int   // bytes of an object, at least 16
	Cache   int64 // bytes of the store's own caches; 0 is a good default
	Profile string
}

// kvSystems are the systems of workload smalltx, poddb first.
func kvSystems() []string { return []string{"poddb", "bbolt", "badger", "pebble", "sqlite"} }

func openKV(ctx context.Context, s kvSpec) (kvStore, error) {
	if s.Cache == 0 {
		s.Cache = 256 << 20
	}
	switch s.System {
	case "poddb":
		return newPoddbKV(ctx, s)
	case "bbolt", "bbolt-batch", "bbolt-batch16":
		return newBboltKV(s)
	case "badger":
		return newBadgerKV(s)
	case "pebble":
		return newPebbleKV(s)
	case "sqlite":
		return newSqliteKV(ctx, s)
	case "log":
		return newLogKV(s)
	}
	return nil, fmt.Errorf("no small-object store %q", s.System)
}

// kvName is the key of an object in all systems that have names.
func kvName(key int) string { return fmt.Sprintf("user/%07d", key) }

// kvBody writes an object as bytes.
func kvBody(to []byte, counter uint64, noise []byte) []byte {
	to = binary.LittleEndian.AppendUint64(to[:0], counter)
	return append(to, noise...)
}

func kvCounter(body []byte) (uint64, error) {
	if len(body) < 8 {
		return 0, fmt.Errorf("an object of %d bytes", len(body))
	}
	return binary.LittleEndian.Uint64(body), nil
}

// kvOrder asks a store for a round of work.
type kvOrder struct {
	Writers int // at once, each changing objects of its own
	Readers int // at once, reading any
	One     bool
	Prune   bool // beside it, keep the newest 100 versions; poddb only
	Seconds float64
	Seed    uint64
}

// kvResult is what a round did. Latencies are in seconds.
type kvResult struct {
	Writes, Reads      int64
	Seconds            float64
	WriteP50, WriteP99 float64
	ReadP50, ReadP99   float64
	CPU                float64 // of the process
	Checkpoints        uint64
	Error              string
}

func (r kvResult) writesPerSecond() float64 { return float64(r.Writes) / r.Seconds }
func (r kvResult) readsPerSecond() float64  { return float64(r.Reads) / r.Seconds }

// pruner is a store that keeps versions.
type pruner interface {
	prune(ctx context.Context) error
	checkpoints() uint64
}

// runOrder works on a store for a while.
func runOrder(ctx context.Context, store kvStore, spec kvSpec, o kvOrder) (kvResult, error) {
	w := &kvRound{store: store, spec: spec, order: o, until: time.Now().Add(time.Duration(o.Seconds * float64(time.Second)))}
	start, cpu := time.Now(), cpuTime()
	keeper, _ := store.(pruner)
	var before uint64
	if keeper != nil {
		before = keeper.checkpoints()
	}
	var wg sync.WaitGroup
	for i := range o.Writers {
		wg.Go(func() { w.write(ctx, i) })
	}
	for i := range o.Readers {
		wg.Go(func() { w.read(ctx, i) })
	}
	if o.Prune {
		wg.Go(func() { w.prune(ctx, keeper) })
	}
	wg.Wait()
	res := kvResult{Writes: int64(len(w.writes)), Reads: int64(w.reads.Load()), Seconds: time.Since(start).Seconds(), CPU: (cpuTime() - cpu).Seconds()}
	slices.Sort(w.writes)
	slices.Sort(w.readTimes)
	res.WriteP50, res.WriteP99 = sortedAt(w.writes, 50), sortedAt(w.writes, 99)
	res.ReadP50, res.ReadP99 = sortedAt(w.readTimes, 50), sortedAt(w.readTimes, 99)
	if keeper != nil {
		res.Checkpoints = keeper.checkpoints() - before
	}
	return res, errors.Join(w.errs...)
}

func sortedAt(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}

// kvRound is a round in progress.
type kvRound struct {
	store kvStore
	spec  kvSpec
	order kvOrder
	until time.Time

	reads     atomic.Int64
	mu        sync.Mutex
	writes    []float64
	readTimes []float64
	errs      []error
}

func (w *kvRound) ended(ctx context.Context) bool {
	return ctx.Err() != nil || !time.Now().Before(w.until)
}

func (w *kvRound) done(writes, reads []float64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, writes...)
	w.readTimes = append(w.readTimes, reads...)
	if err != nil {
		w.errs = append(w.errs, err)
	}
}

// write changes objects that are this writer's own, or the one of all.
func (w *kvRound) write(ctx context.Context, who int) {
	rng := rand.New(rand.NewPCG(w.order.Seed, uint64(who)))
	each := max(w.spec.Keys/max(w.order.Writers, 1), 1)
	var took []float64
	for !w.ended(ctx) {
		key := 0
		if !w.order.One {
			key = who*each + rng.IntN(each)
		}
		body := noise(rng, w.spec.Size-8)
		start := time.Now()
		if err := w.store.change(ctx, key, body); err != nil {
			w.done(took, nil, fmt.Errorf("writer %d, object %d: %w", who, key, err))
			return
		}
		took = append(took, time.Since(start).Seconds())
	}
	w.done(took, nil, nil)
}

// readSample is of how many reads one is timed.
const readSample = 8

func (w *kvRound) read(ctx context.Context, who int) {
	rng := rand.New(rand.NewPCG(w.order.Seed+1, uint64(who)))
	var took []float64
	n := int64(0)
	for ; n%readSample != 0 || !w.ended(ctx); n++ {
		key := rng.IntN(w.spec.Keys)
		var start time.Time
		if n%readSample == 0 {
			start = time.Now()
		}
		if _, err := w.store.get(ctx, key); err != nil {
			w.done(nil, took, fmt.Errorf("reader %d, object %d: %w", who, key, err))
			return
		}
		if n%readSample == 0 {
			took = append(took, time.Since(start).Seconds())
		}
	}
	w.reads.Add(n)
	w.done(nil, took, nil)
}

// prunePause is the time between two prunes beside a reader.
const prunePause = 100 * time.Millisecond

func (w *kvRound) prune(ctx context.Context, keeper pruner) {
	if keeper == nil {
		w.done(nil, nil, errors.New("this system keeps no versions"))
		return
	}
	for !w.ended(ctx) {
		if err := keeper.prune(ctx); err != nil {
			w.done(nil, nil, fmt.Errorf("prune: %w", err))
			return
		}
		time.Sleep(prunePause)
	}
}
