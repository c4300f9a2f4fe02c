package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

const (
	smallRecord = 128 // bytes
	commitRound = 1500 * time.Millisecond
	commitRuns  = 7
)

// measureCommits compares durable commits of one small pod with a bare log, in
// turn, for 1 and for 16 committers.
func measureCommits(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	for i, committers := range []int{1, 16} {
		if err := commitRates(ctx, filepath.Join(dir, fmt.Sprint(committers)), committers, &bars[i]); err != nil {
			bars[i].err = err
		}
	}
	return bars
}

func commitRates(ctx context.Context, dir string, committers int, b *bar) error {
	if err := vfs.OS().MkdirAll(dir); err != nil {
		return err
	}
	log, err := newBareLog(filepath.Join(dir, "bare.log"))
	if err != nil {
		return err
	}
	defer log.close()
	store, err := openEngine(ctx, dir, mvcc.Options{})
	if err != nil {
		return err
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	if err := s.grow(ctx, rng, 1000, smallRecord, 1000); err != nil {
		return err
	}
	record := noise(rng, smallRecord)
	var ratios, ours, floor []float64
	for range commitRuns {
		bare, err := rate(committers, func(int) error { return log.append(record) })
		if err != nil {
			return err
		}
		mine, err := rate(committers, s.committer(ctx, committers))
		if err != nil {
			return err
		}
		floor, ours, ratios = append(floor, bare), append(ours, mine), append(ratios, mine/bare)
	}
	b.value = median(ratios)
	b.note = fmt.Sprintf("%.0f commits/s, the bare log %.0f", median(ours), median(floor))
	return nil
}

// committer returns what one of several goroutines does again and again: change
// a pod that is its own.
func (s *engineStore) committer(ctx context.Context, committers int) func(int) error {
	each := len(s.pods) / committers
	rngs := make([]*rand.Rand, committers)
	for who := range rngs {
		rngs[who] = rand.New(rand.NewPCG(uint64(who), s.turn.Add(1)))
	}
	return func(who int) error {
		body := noise(rngs[who], smallRecord)
		id := s.pods[who*each+rngs[who].IntN(each)]
		return s.commit(ctx, func(tx *mvcc.Tx) error { return tx.Put(ctx, change(id, false, body)) })
	}
}

// rate runs fn in several goroutines for a while and returns calls per second.
func rate(goroutines int, fn func(who int) error) (float64, error) {
	var calls atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, goroutines)
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			for time.Since(start) < commitRound {
				if errs[g] = fn(g); errs[g] != nil {
					return
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(calls.Load()) / time.Since(start).Seconds(), errors.Join(errs...)
}

// bareLog is the floor: records in one file, one data sync per group, no
// framing, no checksum. It writes zeros ahead as package wal does, so that a
// sync has no new file size to record.
type bareLog struct {
	f       vfs.File
	mu      sync.Mutex
	queue   []bareRecord
	wake    chan struct{}
	stopped chan struct{}
}

type bareRecord struct {
	data []byte
	done chan error
}

const bareExtend = 256 << 10

func newBareLog(path string) (*bareLog, error) {
	f, err := vfs.OS().Open(path, vfs.ReadWrite|vfs.Create)
	if err != nil {
		return nil, err
	}
	l := &bareLog{f: f, wake: make(chan struct{}, 1), stopped: make(chan struct{})}
	go l.run()
	return l, nil
}

func (l *bareLog) append(data []byte) error {
	r := bareRecord{data, make(chan error, 1)}
	l.mu.Lock()
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return <-r.done
}

func (l *bareLog) close() {
	close(l.wake)
	<-l.stopped
	l.f.Close()
}

func (l *bareLog) run() {
	defer close(l.stopped)
	var off, written int64
	var buf []byte
	for range l.wake {
		l.mu.Lock()
		group := l.queue
		l.queue = nil
		l.mu.Unlock()
		if len(group) == 0 {
			continue
		}
		buf = buf[:0]
		for _, r := range group {
			buf = append(buf, r.data...)
		}
		_, err := l.f.WriteAt(buf, off)
		off += int64(len(buf))
		if err == nil && off > written {
			written = off + bareExtend
			_, err = l.f.WriteAt(make([]byte, bareExtend), off)
		}
		if err == nil {
			err = l.f.SyncData()
		}
		for _, r := range group {
			r.done <- err
		}
	}
}

const (
	dirtyPods   = 24_000 // of 8 KiB: what the measured checkpoint writes
	latencyRuns = 3
)

// measureLatency compares the 99th percentile of durable small commits while a
// checkpoint runs with that of as long a time without one.
func measureLatency(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	store, err := openEngine(ctx, dir, mvcc.Options{CheckpointBytes: -1, MemoryBytes: 4 << 30})
	if err != nil {
		return broken(bars, err)
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(2, 2))
	if err := s.grow(ctx, rng, 1000, smallRecord, 1000); err != nil {
		return broken(bars, err)
	}
	small := &engineStore{Store: store, pods: s.pods}
	s.pods = nil
	var ratios, quiet, busy []float64
	slowest := 0.0
	for range latencyRuns {
		if err := s.grow(ctx, rng, dirtyPods, 8<<10, 64); err != nil {
			return broken(bars, err)
		}
		with, longest, took, err := small.latencies(ctx, s.Checkpoint)
		if err != nil {
			return broken(bars, err)
		}
		without, _, _, err := small.latencies(ctx, func(context.Context) error { time.Sleep(took); return nil })
		if err != nil {
			return broken(bars, err)
		}
		busy, quiet, ratios = append(busy, with), append(quiet, without), append(ratios, with/without)
		slowest = max(slowest, longest)
	}
	bars[0].value = median(ratios)
	bars[0].note = fmt.Sprintf("p99 %.2f ms during checkpoints of %d MB, %.2f ms without; the slowest commit during one %.1f ms, the longest pause by the store %v",
		1e3*median(busy), dirtyPods*8192/1_000_000, 1e3*median(quiet), 1e3*slowest, s.Stats().LongestPause)
	return bars
}

// latencies commits small changes, one after the other, until work has ended,
// and returns their 99th percentile and the longest in seconds.
func (s *engineStore) latencies(ctx context.Context, work func(context.Context) error) (p99, longest float64, took time.Duration, err error) {
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- work(ctx) }()
	commit := s.committer(ctx, 1)
	var all []float64
	for {
		select {
		case err := <-done:
			if err == nil && len(all) < 100 {
				err = fmt.Errorf("only %d commits while it ran", len(all))
			}
			if err != nil {
				return 0, 0, 0, err
			}
			return percentile(all, 99), slices.Max(all), time.Since(start), nil
		default:
		}
		begin := time.Now()
		if err := commit(0); err != nil {
			<-done
			return 0, 0, 0, err
		}
		all = append(all, time.Since(begin).Seconds())
	}
}

// measureAmplification counts the bytes given to the operating system per byte
// of changed pods, log and checkpoints together.
func measureAmplification(ctx context.Context, env barEnv, bars []bar) []bar {
	cases := []struct {
		pods, size, changes, perCommit int
		o                              mvcc.Options
	}{
		{100_000, 8 << 10, 100_000, 64, mvcc.Options{CheckpointBytes: -1, MemoryBytes: 4 << 30}},
		{1_000_000, 100, 300_000, 100, mvcc.Options{}},
	}
	for i, c := range cases {
		dir, remove, err := engineDir(env)
		if err == nil {
			bars[i].value, err = amplification(ctx, dir, c.o, c.pods, c.size, c.changes, c.perCommit)
			remove()
		}
		bars[i].err = err
	}
	return bars
}

func amplification(ctx context.Context, dir string, o mvcc.Options, pods, size, changes, perCommit int) (float64, error) {
	files := &countingFS{FS: vfs.OS()}
	o.FS = files
	store, err := openEngine(ctx, dir, o)
	if err != nil {
		return 0, err
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(3, uint64(size)))
	if err := s.grow(ctx, rng, pods, size, perCommit); err != nil {
		return 0, err
	}
	if err := s.Checkpoint(ctx); err != nil {
		return 0, err
	}
	order := rng.Perm(pods)
	before := files.written.Load()
	err = s.rewrite(ctx, rng, changes, size, perCommit, func(i int) pod.ID { return s.pods[order[i%pods]] })
	if err == nil {
		err = s.Checkpoint(ctx)
	}
	return float64(files.written.Load()-before) / float64(changes*size), err
}
