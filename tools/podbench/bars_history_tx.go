package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// txCase is a database of small objects in which transactions are measured.
type txCase struct {
	size, keys int
}

func (c txCase) String() string { return fmt.Sprintf("%dB-%s", c.size, countName(c.keys)) }

// countName writes 1000 as 1e3.
func countName(n int) string {
	e := 0
	for n%10 == 0 && n > 0 {
		n, e = n/10, e+1
	}
	return fmt.Sprintf("%de%d", n, e)
}

// txCases: objects of 4 KiB stop at 100,000, because a million take 4 GB in each
// of six stores.
func txCases() []txCase {
	return []txCase{{128, 1000}, {128, 1_000_000}, {4096, 1000}, {4096, 100_000}}
}

// txPromises are the bars on transactions and reads of small objects.
func txPromises() []promise {
	var out []promise
	for _, c := range txCases() {
		var bars []bar
		for _, writers := range []int{1, 16} {
			what := fmt.Sprintf("durable transactions that read and change one of %d objects of %d bytes, %d writers on different objects", c.keys, c.size, writers)
			bars = append(bars,
				bar{name: fmt.Sprintf("tx-%v-w%d", c, writers), set: "history", unit: "x-of-best-rival", limit: 0.9, atLeast: true,
					about: what + ", per second against the best of bbolt, badger, pebble, sqlite"},
				bar{name: fmt.Sprintf("floor-%v-w%d", c, writers), set: "history", unit: "x-of-bare-log", limit: 0.8, atLeast: true,
					about: what + ", against a bare log of such objects with one sync per group"})
		}
		out = append(out, promise{bars: bars, measure: func(ctx context.Context, env barEnv, bars []bar) []bar { return measureTx(ctx, env, c, bars) }})
	}
	var hot, cold []bar
	for _, readers := range []int{1, 2, 4} {
		hot = append(hot, bar{name: fmt.Sprintf("read-hot-r%d", readers), set: "history", unit: "x-of-best-rival", limit: 0.5, atLeast: true,
			about: fmt.Sprintf("point reads of 1,000,000 objects of 128 bytes by %d readers beside a committing writer, a transaction each, against the best rival", readers)})
		cold = append(cold, bar{name: fmt.Sprintf("read-cold-r%d", readers), set: "history", unit: "x-of-best-rival", limit: 0.5, atLeast: true,
			about: fmt.Sprintf("the same with %d readers and caches of a tenth of the data", readers)})
	}
	return append(out,
		promise{measure: measureOneObject, bars: []bar{
			{name: "tx-one-object", set: "history", unit: "x-of-bbolt-batch", limit: 0.3, atLeast: true,
				about: "16 writers of one object of 128 bytes, against bbolt's Batch"},
			{name: "tx-one-object-tuned", set: "history", unit: "x-of-bbolt-batch", limit: 0.3, atLeast: true,
				about: "the same against a Batch that commits as soon as 16 wait"},
		}},
		promise{bars: hot, measure: func(ctx context.Context, env barEnv, bars []bar) []bar { return measureReads(ctx, env, 1<<30, bars) }},
		promise{bars: cold, measure: func(ctx context.Context, env barEnv, bars []bar) []bar {
			return measureReads(ctx, env, readKeys*readSize/10, bars)
		}},
		promise{measure: measureReadP99, bars: []bar{{name: "read-p99", set: "history", unit: "x-of-quiet", limit: 1.2,
			about: "99th percentile of the reads of one reader while a writer commits and every 0.1 s a prune keeps 100 versions, against without"}}})
}

// kvFleet is one process for each system, in the order of the systems.
type kvFleet struct {
	children []*kvChild
	remove   func()
}

func startFleet(ctx context.Context, env barEnv, systems []string, spec kvSpec) (*kvFleet, error) {
	dir, remove, err := engineDir(env)
	if err != nil {
		return nil, err
	}
	f := &kvFleet{remove: remove}
	for _, s := range systems {
		spec.System, spec.Profile = s, ""
		spec.Dir = filepath.Join(dir, s)
		if s == "poddb" && env.profile != "" {
			spec.Profile = fmt.Sprintf("%s-%d-%d", env.profile, spec.Size, spec.Keys)
		}
		if err := makeDir(spec.Dir); err != nil {
			return nil, errors.Join(err, f.stop())
		}
		c, err := startKV(ctx, spec)
		if err != nil {
			return nil, errors.Join(err, f.stop())
		}
		f.children = append(f.children, c)
	}
	return f, nil
}

func (f *kvFleet) stop() error {
	var errs []error
	for _, c := range f.children {
		errs = append(errs, c.stop())
	}
	f.remove()
	return errors.Join(errs...)
}

// rounds has all systems do the same orders, in turn and in alternating order,
// and returns the results by system.
func (f *kvFleet) rounds(env barEnv, o kvOrder) ([][]kvResult, error) {
	o.Seconds = env.round.Seconds()
	out := make([][]kvResult, len(f.children))
	for round := range env.rounds {
		o.Seed++
		for i := range f.children {
			if round%2 == 1 {
				i = len(f.children) - 1 - i
			}
			res, err := f.children[i].order(o)
			if err != nil {
				return nil, err
			}
			out[i] = append(out[i], res)
		}
	}
	return out, nil
}

// byRound compares the first system with the best of others round by round, and
// returns the median of the ratios. Rounds see the same machine.
func byRound(results [][]kvResult, others []int, rate func(kvResult) float64) float64 {
	var ratios []float64
	for r := range results[0] {
		best := 0.0
		for _, i := range others {
			best = max(best, rate(results[i][r]))
		}
		ratios = append(ratios, rate(results[0][r])/best)
	}
	return median(ratios)
}

func eachOf(results []kvResult, get func(kvResult) float64) []float64 {
	out := make([]float64, len(results))
	for i, r := range results {
		out[i] = get(r)
	}
	return out
}

// rateTable writes the median rates of all systems for a reader.
func (f *kvFleet) rateTable(what string, results [][]kvResult, rate, p99 func(kvResult) float64) string {
	var parts []string
	for i, c := range f.children {
		perCall := median(eachOf(results[i], func(r kvResult) float64 { return r.CPU / max(rate(r)*r.Seconds, 1) }))
		parts = append(parts, fmt.Sprintf("%s %.0f (p99 %.2f ms, %.0f us CPU)", c.spec.System,
			median(eachOf(results[i], rate)),
			1e3*median(eachOf(results[i], p99)), 1e6*perCall))
	}
	return what + ": " + strings.Join(parts, ", ")
}

// roundsNote says how long the rounds were.
func roundsNote(env barEnv, ours []kvResult) string {
	checkpoints := uint64(0)
	for _, r := range ours {
		checkpoints += r.Checkpoints
	}
	return fmt.Sprintf("; %d rounds of %v, %d checkpoints of poddb in them", env.rounds, env.round, checkpoints)
}

func writesP99(r kvResult) float64 { return r.WriteP99 }
func readsP99(r kvResult) float64  { return r.ReadP99 }

// measureTx compares transactions on different objects with the rivals and the
// floor.
func measureTx(ctx context.Context, env barEnv, c txCase, bars []bar) []bar {
	systems := append(kvSystems(), "log")
	f, err := startFleet(ctx, env, systems, kvSpec{Keys: c.keys, Size: c.size})
	if err != nil {
		return broken(bars, err)
	}
	for i, writers := range []int{1, 16} {
		res, err := f.rounds(env, kvOrder{Writers: writers})
		if err != nil {
			broken(bars[2*i:2*i+2], err)
			continue
		}
		bars[2*i].value = byRound(res, []int{1, 2, 3, 4}, kvResult.writesPerSecond)
		bars[2*i].note = f.rateTable("tx/s", res, kvResult.writesPerSecond, writesP99) + roundsNote(env, res[0])
		bars[2*i+1].value = byRound(res, []int{5}, kvResult.writesPerSecond)
	}
	if err := f.stop(); err != nil {
		return broken(bars, err)
	}
	return bars
}

func measureOneObject(ctx context.Context, env barEnv, bars []bar) []bar {
	f, err := startFleet(ctx, env, []string{"poddb", "bbolt-batch", "bbolt-batch16"}, kvSpec{Keys: 1000, Size: 128})
	if err != nil {
		return broken(bars, err)
	}
	res, err := f.rounds(env, kvOrder{Writers: 16, One: true})
	if err == nil {
		bars[0].value = byRound(res, []int{1}, kvResult.writesPerSecond)
		bars[1].value = byRound(res, []int{2}, kvResult.writesPerSecond)
		bars[0].note = f.rateTable("tx/s", res, kvResult.writesPerSecond, writesP99) + roundsNote(env, res[0])
	}
	if err := errors.Join(err, f.stop()); err != nil {
		return broken(bars, err)
	}
	return bars
}

const (
	readKeys = 1_000_000
	readSize = 128
)

// measureReads compares point reads beside a committing writer.
func measureReads(ctx context.Context, env barEnv, cache int64, bars []bar) []bar {
	f, err := startFleet(ctx, env, kvSystems(), kvSpec{Keys: readKeys, Size: readSize, Cache: cache})
	if err != nil {
		return broken(bars, err)
	}
	for i, readers := range []int{1, 2, 4} {
		res, err := f.rounds(env, kvOrder{Writers: 1, Readers: readers})
		if err != nil {
			bars[i].err = err
			continue
		}
		bars[i].value = byRound(res, []int{1, 2, 3, 4}, kvResult.readsPerSecond)
		bars[i].note = f.rateTable("reads/s", res, kvResult.readsPerSecond, readsP99) + roundsNote(env, res[0])
	}
	if err := f.stop(); err != nil {
		return broken(bars, err)
	}
	return bars
}

// measureReadP99 compares the slow reads of one reader with and without a writer
// and prunes beside it.
func measureReadP99(ctx context.Context, env barEnv, bars []bar) []bar {
	f, err := startFleet(ctx, env, []string{"poddb"}, kvSpec{Keys: readKeys, Size: readSize, Cache: 1 << 30})
	if err != nil {
		return broken(bars, err)
	}
	var ratios, quiet, busy []float64
	for range 2*env.rounds - 1 {
		var p99 [2]float64
		for i, o := range []kvOrder{{Readers: 1}, {Readers: 1, Writers: 1, Prune: true}} {
			o.Seconds = env.round.Seconds()
			res, err := f.children[0].order(o)
			if err != nil {
				return broken(bars, errors.Join(err, f.stop()))
			}
			p99[i] = res.ReadP99
		}
		quiet, busy, ratios = append(quiet, p99[0]), append(busy, p99[1]), append(ratios, p99[1]/p99[0])
	}
	slices.Sort(ratios)
	bars[0].value = median(ratios)
	bars[0].note = fmt.Sprintf("p99 %.1f us with them, %.1f us without; ratios from %.2f to %.2f", 1e6*median(busy), 1e6*median(quiet), ratios[0], ratios[len(ratios)-1])
	if err := f.stop(); err != nil {
		return broken(bars, err)
	}
	return bars
}
