package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A bar is a promise with a number. Values and limits are in the unit named.
type bar struct {
	name, set, unit string
	about           string
	limit           float64
	atLeast         bool // the value must reach the limit; else it must not exceed it
	value           float64
	note            string // beside the figure, for the reader
	skipped         string // why it was not measured, and does not count
	err             error
}

// promise is what measures one or several bars.
type promise struct {
	bars    []bar
	measure func(ctx context.Context, env barEnv, bars []bar) []bar
}

// barEnv is where bars find recordings and put stores, and how long rounds of
// transactions last.
type barEnv struct {
	traces, scratch string
	rounds          int
	round           time.Duration
	profile         string // what CPU profiles of helper processes begin with
	elements        int64  // of each list of rmtree
}

// promises are all that were made so far. Issues to come append theirs.
func promises() []promise {
	return slices.Concat(ratePromises(), changePromises(), poddingPromises(), deepPromises(), insertPromises(), txPromises(), versionPromises(), storagePromises(), []promise{
		{measure: measureWalk, bars: []bar{{
			name: "first-walk", set: "podding", unit: "objects/s", limit: 3e6, atLeast: true,
			about: "first save of 1,000,000 objects without storing them: discover, place, encode, hash; per CPU second",
		}}},
		{measure: measureFlat, bars: []bar{{
			name: "flat-compare", set: "podding", unit: "bytes/s", limit: 3e9, atLeast: true,
			about: "save of an unchanged 256 MiB []float64; per CPU second",
		}}},
		{measure: measureEdit, bars: []bar{
			{name: "edit-pods", set: "podding", unit: "pods", limit: 2,
				about: "pods written when one element of one of 100 lists of 1,000 strings changes"},
			{name: "edit-bytes", set: "podding", unit: "bytes", limit: 20_480, about: "bytes of pods written then"},
			{name: "edit-cpu", set: "podding", unit: "x-of-gob", limit: 0.2,
				about: "CPU time of that durable save against a gob snapshot of everything into memory"},
		}},
		{measure: measureStrategies, bars: []bar{{
			name: "podding-strategies", set: "podding", unit: "x-of-optimum", limit: 1.15,
			about: "median of what Learned stores of 200 random small graphs that change, against the best of all cuts",
		}}},
		{measure: measureStorage, bars: []bar{{
			name: "storage/TRACE", set: "podding", unit: "bytes", limit: math.NaN(),
			about: "files after the replay of each recording, less than gob where gob can, else than C pickle",
		}}},
		{measure: measureCommits, bars: []bar{
			{name: "commits-1", set: "engine", unit: "x-of-bare-log", limit: 0.8, atLeast: true,
				about: "durable commits of 128 bytes per second, 1 committer, against a bare log with one sync per group"},
			{name: "commits-16", set: "engine", unit: "x-of-bare-log", limit: 0.8, atLeast: true,
				about: "the same with 16 committers"},
		}},
		{measure: measureLatency, bars: []bar{{
			name: "commit-p99", set: "engine", unit: "x-of-quiet", limit: 3,
			about: "99th percentile of commits while a checkpoint of 200 MB runs, against without",
		}}},
		{measure: measureAmplification, bars: []bar{
			{name: "written-8k", set: "engine", unit: "x-of-changed", limit: 3,
				about: "bytes written per byte of changed pods: 8 KiB pods, 100,000 changes per checkpoint"},
			{name: "written-100b", set: "engine", unit: "x-of-changed", limit: 60,
				about: "the same for pods of 100 bytes, 100 random ones of 1,000,000 per commit, default options"},
		}},
		{measure: measureBulk, bars: []bar{{
			name: "bulk-save", set: "engine", unit: "x-of-disk", limit: 0.7, atLeast: true,
			about: "durable first save of 1 GiB of random float64, bytes per second against a plain synced file",
		}}},
		{measure: measureOpen, bars: []bar{
			{name: "open-clean", set: "engine", unit: "ms", limit: 5, about: "opening 100 MB in 100,000 pods after a clean close"},
			{name: "open-crash", set: "engine", unit: "ms-beyond-log", limit: 50,
				about: "opening it with 50 MB of log after a crash, less the log's bytes at 200 MB/s"},
		}},
		{measure: measurePrune, bars: []bar{{
			name: "pruned-space", set: "engine", unit: "x-of-contents", limit: 1.2,
			about: "file after pruning half of 400 versions and compacting, against the contents of what is kept",
		}}},
		{measure: measureMemory, bars: []bar{{
			name: "memory", set: "engine", unit: "MB", limit: 400,
			about: "largest resident size of a process that writes and reads 2 GiB in pods of 8 KiB under a budget of 256 MiB",
		}}},
		{measure: measureExport, bars: []bar{{
			name: "inspect-export", set: "engine", unit: "wrong-pods", limit: 0,
			about: "pods of 1 GiB that Inspect reads wrongly beside a process that writes and checkpoints every second",
		}}},
	})
}

// allBars lists the bars before they are measured.
func allBars() []bar {
	var out []bar
	for _, p := range promises() {
		out = append(out, p.bars...)
	}
	return out
}

func barsCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bars", flag.ContinueOnError)
	var (
		only    = flags.String("only", "", "only the bars of this set, or whose name begins so")
		traces  = flags.String("traces", defaultTraces, "directory of recordings, from here or from the root of the repository")
		scratch = flags.String("dir", "", "directory for the stores while they are measured (default the system's)")
	)
	sustained := flags.Duration("sustained", 0, "set history: one round of this length (30s is the promise) instead of 3 rounds of 1s")
	elements := flags.Int64("rmtree", 1000, "set podding: strings of 100 bytes in each of the 100 lists of storage-rmtree; 100000 is 1 GB")
	profile := flags.String("cpuprofile", "", "write a CPU profile of the bars measured in this process to this file; of poddb in other processes to files that begin so")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	fmt.Fprintf(out, "# commit %s on %s\n", commit(), machine())
	env := barEnv{traces: *traces, scratch: *scratch, rounds: 3, round: time.Second, profile: *profile, elements: *elements}
	if *sustained > 0 {
		env.rounds, env.round = 1, *sustained
	}
	passed, failed, skipped := 0, 0, 0
	for _, p := range promises() {
		if !p.wanted(*only) {
			continue
		}
		for _, b := range p.measure(ctx, env, p.bars) {
			if !b.wanted(*only) {
				continue
			}
			if b.skipped != "" {
				fmt.Fprintf(out, "# %s: skipped, %s\n", b.name, b.skipped)
				skipped++
				continue
			}
			fmt.Fprintln(out, b.line())
			if b.err != nil {
				b.note = b.err.Error()
			}
			if b.note != "" {
				fmt.Fprintf(out, "# %s: %s\n", b.name, b.note)
			}
			if b.passed() {
				passed++
			} else {
				failed++
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	fmt.Fprintf(out, "BARS passed=%d failed=%d\n", passed, failed)
	if passed+failed+skipped == 0 {
		return fmt.Errorf("no bar is in %q; podbench list shows them", *only)
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}

func (p promise) wanted(only string) bool {
	for _, b := range p.bars {
		if b.wanted(only) || strings.HasPrefix(only, strings.TrimSuffix(b.name, "TRACE")) {
			return true
		}
	}
	return false
}

func (b bar) wanted(only string) bool {
	return only == "" || b.set == only || strings.HasPrefix(b.name, only)
}

func (b bar) passed() bool {
	switch {
	case b.err != nil || math.IsNaN(b.value) || math.IsNaN(b.limit):
		return false
	case b.atLeast:
		return b.value >= b.limit
	}
	return b.value <= b.limit
}

func (b bar) line() string {
	verdict := "fail"
	if b.passed() {
		verdict = "pass"
	}
	if b.err != nil {
		b.value = math.NaN()
	}
	return fmt.Sprintf("BAR name=%s value=%s limit=%s unit=%s %s", b.name, number(b.value), number(b.limit), b.unit, verdict)
}

// broken marks all bars of a promise that could not be measured.
func broken(bars []bar, err error) []bar {
	for i := range bars {
		bars[i].err = err
	}
	return bars
}

// number writes whole numbers in full and others with six digits, never with an
// exponent.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', max(0, 6-int(math.Log10(max(math.Abs(v), 1)))-1), 64)
}
