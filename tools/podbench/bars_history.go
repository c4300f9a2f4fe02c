package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
)

const (
	historyVersions = 100_000
	historyPods     = 1_000_000
	historyDiffer   = 100 // pods in which the compared versions differ
	historySamples  = 2000
)

func makeDir(dir string) error { return os.MkdirAll(dir, 0o777) }

// versionPromises are the bars on long histories.
func versionPromises() []promise {
	return []promise{
		{measure: measureHistory, bars: []bar{
			{name: "history-open", set: "history", unit: "ms", limit: 5, about: "opening 1,000,000 pods with 100,000 versions after a clean close"},
			{name: "history-resolve", set: "history", unit: "us", limit: 20, about: "opening any of 100,000 versions of 1,000,000 pods, looking up a pod in it, and closing it"},
			{name: "history-changed", set: "history", unit: "ms", limit: 5, about: "finding the pods in which two of these versions differ that lie 100 commits of one pod apart"},
			{name: "history-diff", set: "history", unit: "ms", limit: 5,
				about: "db.Diff, as typed paths, of two versions of 100,000 variables that differ in 100 pods, 10,000 versions"},
		}},
		{measure: measureBigPrune, bars: []bar{
			{name: "prune-rate", set: "history", unit: "pod-versions/s", limit: 50_000, atLeast: true, about: "pruning 90 % of 100,000 versions, retire and reclaim together"},
			{name: "prune-pause", set: "history", unit: "ms", limit: 5, about: "the slowest of the durable commits meanwhile, less the slowest sync of the log"},
		}},
		{measure: measureKeepLast, bars: []bar{{name: "keep-last-space", set: "history", unit: "x-of-live", limit: 1.3,
			about: "files after 100,000 versions under KeepLast(100) with a snapshot open for all of it, against the contents of what is kept"}}},
		{measure: measureConflictCheck, bars: []bar{
			{name: "conflict-history", set: "history", unit: "x-of-fresh", limit: 1.2, about: "CPU time of a transaction of db in memory after 100,000 versions, against a database without history"},
			{name: "conflict-branches", set: "history", unit: "x-of-fresh", limit: 1.2, about: "the same beside 100 other branches with 100 commits each since"},
		}},
	}
}

// longHistory is a store with pods and many versions after them, each of which
// rewrites one pod.
func longHistory(ctx context.Context, dir string, pods, size, versions int) (*engineStore, error) {
	store, err := openEngine(ctx, dir, mvcc.Options{Durability: mvcc.DurabilityNone, MemoryBytes: 512 << 20})
	if err != nil {
		return nil, err
	}
	s := &engineStore{Store: store}
	rng := rand.New(rand.NewPCG(21, 21))
	err = s.grow(ctx, rng, pods, size, 10_000)
	if err == nil {
		err = s.rewrite(ctx, rng, versions, size, 1, func(int) pod.ID { return s.pods[rng.IntN(pods)] })
	}
	if err == nil {
		err = s.Checkpoint(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return s, nil
}

func measureHistory(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	s, err := longHistory(ctx, dir, historyPods, 100, historyVersions)
	if err != nil {
		return broken(bars, err)
	}
	if err := s.Store.Close(); err != nil {
		return broken(bars, err)
	}
	var opens []float64
	for range openRuns {
		took, err := timeOpen(ctx, dir)
		if err != nil {
			return broken(bars, err)
		}
		opens = append(opens, 1e3*took)
	}
	bars[0].value = median(opens)
	store, err := openEngine(ctx, dir, mvcc.Options{MemoryBytes: 512 << 20})
	if err != nil {
		return broken(bars, err)
	}
	s.Store = store
	defer s.Close()
	if err := s.resolveAny(ctx, &bars[1]); err != nil {
		bars[1].err = err
	}
	if err := s.changedAny(ctx, &bars[2]); err != nil {
		bars[2].err = err
	}
	if err := diffAny(ctx, filepath.Join(dir, "diff.pod"), &bars[3]); err != nil {
		bars[3].err = err
	}
	return bars
}

// firstVersion is the first that lies behind the ones that made the pods.
func firstVersion(head mvcc.Version, versions int) mvcc.Version { return head - mvcc.Version(versions) }

func (s *engineStore) resolveAny(ctx context.Context, b *bar) error {
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(22, 22))
	var all, alone []float64
	for range 2 * historySamples { // the first half warms the caches of the index
		v := firstVersion(head, historyVersions) + mvcc.Version(rng.IntN(historyVersions))
		id := s.pods[rng.IntN(len(s.pods))]
		start := time.Now()
		sn, err := s.At(ctx, v)
		if err != nil {
			return err
		}
		middle := time.Now()
		_, err = sn.Number(ctx, id)
		alone = append(alone, 1e6*time.Since(middle).Seconds())
		sn.Close()
		all = append(all, 1e6*time.Since(start).Seconds())
		if err != nil {
			return err
		}
	}
	all, alone = all[historySamples:], alone[historySamples:]
	b.value = median(all)
	b.note = fmt.Sprintf("p99 %.1f us; without opening the version median %.1f, p99 %.1f us", percentile(all, 99), median(alone), percentile(alone, 99))
	return nil
}

func (s *engineStore) changedAny(ctx context.Context, b *bar) error {
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(23, 23))
	var took []float64
	for range historySamples / 10 {
		v := firstVersion(head, historyVersions) + mvcc.Version(rng.IntN(historyVersions-historyDiffer))
		start := time.Now()
		from, err := s.At(ctx, v)
		if err != nil {
			return err
		}
		to, err := s.At(ctx, v+historyDiffer)
		if err != nil {
			return err
		}
		ids, err := s.Changed(ctx, from, to)
		took = append(took, 1e3*time.Since(start).Seconds())
		from.Close()
		to.Close()
		if err != nil || len(ids) < historyDiffer*9/10 {
			return fmt.Errorf("%d pods differ (%v)", len(ids), err)
		}
	}
	b.value = median(took)
	b.note = fmt.Sprintf("p99 %.2f ms", percentile(took, 99))
	return nil
}

const (
	diffVariables = 100_000
	diffVersions  = 10_000
)

// diffAny compares versions of variables by db.Diff.
func diffAny(ctx context.Context, path string, b *bar) error {
	d, err := db.Open(ctx, path, &db.Options{Durability: db.DurabilityNone, MemoryBytes: 512 << 20})
	if err != nil {
		return err
	}
	defer d.Close()
	k := &poddbKV[*object128]{d, func() *object128 { return new(object128) }}
	if err := k.load(ctx, diffVariables); err != nil {
		return err
	}
	first, err := d.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(24, 24))
	for i := range diffVersions {
		if err := k.change(ctx, i*7919%diffVariables, noise(rng, 120)); err != nil {
			return err
		}
	}
	var took []float64
	for range 30 {
		v := first + db.Version(rng.IntN(diffVersions-historyDiffer))
		start, n := time.Now(), 0
		for _, err := range d.Diff(ctx, v, v+historyDiffer) {
			if err != nil {
				return err
			}
			n++
		}
		took = append(took, 1e3*time.Since(start).Seconds())
		if n < historyDiffer {
			return fmt.Errorf("%d differences in %d objects", n, historyDiffer)
		}
	}
	b.value = median(took)
	b.note = fmt.Sprintf("p99 %.2f ms", percentile(took, 99))
	return nil
}

// measureBigPrune prunes most of a long history beside a committer.
func measureBigPrune(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	s, err := longHistory(ctx, dir, 10_000, 1000, historyVersions)
	if err == nil {
		err = s.Store.Close()
	}
	if err != nil {
		return broken(bars, err)
	}
	if s.Store, err = openEngine(ctx, dir, mvcc.Options{}); err != nil {
		return broken(bars, err)
	}
	defer s.Close()
	var rep mvcc.PruneReport
	var rate float64
	prune := func(ctx context.Context) (err error) {
		start := time.Now()
		rep, err = s.Prune(ctx, mvcc.PruneOptions{KeepLast: historyVersions / 10})
		rate = float64(rep.PodVersions) / time.Since(start).Seconds()
		return err
	}
	p99, longest, took, err := s.latencies(ctx, prune)
	if err != nil {
		return broken(bars, err)
	}
	st := s.Stats()
	quiet, slowest, _, err := s.latencies(ctx, func(context.Context) error { time.Sleep(took); return nil })
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = rate
	bars[0].note = fmt.Sprintf("%d versions, %d pod versions in %v", rep.Versions, rep.PodVersions, took.Round(time.Millisecond))
	bars[1].value = max(0, 1e3*(longest-st.LogSyncs.Max.Seconds()))
	bars[1].note = fmt.Sprintf("slowest commit %.1f ms, p99 %.2f ms; slowest sync %v; the longest pause by the store %v; as long afterwards, without a prune: slowest commit %.1f ms, p99 %.2f ms",
		1e3*longest, 1e3*p99, st.LogSyncs.Max, st.LongestPause, 1e3*slowest, 1e3*quiet)
	return bars
}

const (
	keepPods    = 4000
	keepSize    = 1000
	keepChanges = 4 // pods in each version
	keepEvery   = 1000
)

// measureKeepLast makes a long history of which 100 versions are kept, pruned
// every 1,000 commits, while a snapshot of its beginning is open.
func measureKeepLast(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	store, err := openEngine(ctx, dir, mvcc.Options{Durability: mvcc.DurabilityNone})
	if err != nil {
		return broken(bars, err)
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(25, 25))
	if err := s.grow(ctx, rng, keepPods, keepSize, keepPods); err != nil {
		return broken(bars, err)
	}
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return broken(bars, err)
	}
	sn, err := s.At(ctx, head)
	if err != nil {
		return broken(bars, err)
	}
	largest := int64(0)
	pick := func(int) pod.ID { return s.pods[rng.IntN(keepPods)] }
	for range historyVersions / keepEvery {
		err := s.rewrite(ctx, rng, keepEvery*keepChanges, keepSize, keepChanges, pick)
		if err == nil {
			_, err = s.Prune(ctx, mvcc.PruneOptions{KeepLast: 100})
		}
		if err != nil {
			return broken(bars, err)
		}
		largest = max(largest, s.Stats().FileBytes)
	}
	if _, err := s.Compact(ctx, nil); err != nil {
		return broken(bars, err)
	}
	sn.Close()
	if err := s.Store.Close(); err != nil {
		return broken(bars, err)
	}
	info, err := os.Stat(filepath.Join(dir, "engine.pod"))
	if err != nil {
		return broken(bars, err)
	}
	// Every pod at the head, every pod in the snapshot, and what the other 99
	// versions replaced.
	live := int64(2*keepPods+99*keepChanges) * keepSize
	bars[0].value = float64(info.Size()) / float64(live)
	bars[0].note = fmt.Sprintf("%.1f MB after Compact and Close, %.1f MB at most before, %.1f MB of contents kept", float64(info.Size())/1e6, float64(largest)/1e6, float64(live)/1e6)
	return bars
}

const (
	conflictVariables = 1000
	conflictTxs       = 4000
	conflictRuns      = 9
)

// measureConflictCheck compares the CPU time of transactions in databases with
// and without history and branches, in turn. All are in one process: so the collector runs
// before each run, else its work for all of them is counted for the one in which it happens to begin.
func measureConflictCheck(ctx context.Context, _ barEnv, bars []bar) []bar {
	var stores []*poddbKV[*object128]
	for i := range 3 {
		d, err := db.OpenMemory(ctx, &db.Options{MemoryBytes: 1 << 30})
		if err != nil {
			return broken(bars, err)
		}
		defer d.Close()
		k := &poddbKV[*object128]{d, func() *object128 { return new(object128) }}
		err = k.load(ctx, conflictVariables)
		switch {
		case err == nil && i == 1:
			err = k.changeMany(ctx, historyVersions)
		case err == nil && i == 2:
			err = k.branchMany(ctx, 100, 100)
		}
		if err == nil {
			err = d.Checkpoint(ctx)
		}
		if err != nil {
			return broken(bars, err)
		}
		stores = append(stores, k)
	}
	cpu, ratios := make([][]float64, len(stores)), make([][]float64, len(stores))
	for run := range conflictRuns {
		for i, k := range stores {
			runtime.GC()
			before := cpuTime()
			if err := k.changeMany(ctx, conflictTxs); err != nil {
				return broken(bars, err)
			}
			cpu[i] = append(cpu[i], (cpuTime()-before).Seconds()/conflictTxs)
			ratios[i] = append(ratios[i], cpu[i][run]/cpu[0][run])
		}
	}
	for i := range bars {
		bars[i].value = median(ratios[i+1])
		bars[i].note = fmt.Sprintf("%.1f us of CPU, %.1f us in the fresh one; ratios from %.2f to %.2f", 1e6*median(cpu[i+1]), 1e6*median(cpu[0]),
			slices.Min(ratios[i+1]), slices.Max(ratios[i+1]))
	}
	return bars
}

func (k *poddbKV[P]) changeMany(ctx context.Context, n int) error {
	rng := rand.New(rand.NewPCG(26, 26))
	for range n {
		if err := k.change(ctx, rng.IntN(conflictVariables), noise(rng, 120)); err != nil {
			return err
		}
	}
	return nil
}

// branchMany makes branches of the head, and commits on them.
func (k *poddbKV[P]) branchMany(ctx context.Context, branches, commits int) error {
	head, err := k.d.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	for b := range branches {
		name := fmt.Sprint("b", b)
		if err := k.d.Branch(ctx, name, head); err != nil {
			return err
		}
		for c := range commits {
			_, err := k.d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
				o, err := db.Get[P](ctx, tx, kvName(c*7%conflictVariables))
				if err == nil {
					n, _ := o.parts()
					*n++
				}
				return err
			}, db.TxOptions{Branch: name})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
