package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/pprof"
	"strconv"
	"strings"
)

// A bar is a promise with a number. Values and limits are in the unit named.
type bar struct {
	name, set, unit string
	about           string
	limit           float64
	atLeast         bool // the value must reach the limit; else it must not exceed it
	value           float64
	note            string // beside the figure, for the reader
	err             error
}

// promise is what measures one or several bars.
type promise struct {
	bars    []bar
	measure func(ctx context.Context, env barEnv, bars []bar) []bar
}

// barEnv is where bars find recordings and put stores.
type barEnv struct{ traces, scratch string }

// promises are all that were made so far. Issues to come append theirs.
func promises() []promise {
	return []promise{
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
		{measure: measureStorage, bars: []bar{{
			name: "storage/TRACE", set: "podding", unit: "bytes", limit: math.NaN(),
			about: "files after the replay of each recording, less than gob where gob can, else than C pickle",
		}}},
	}
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
	profile := flags.String("cpuprofile", "", "write a CPU profile of the bars measured in this process to this file")
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
	passed, failed := 0, 0
	for _, p := range promises() {
		if !p.wanted(*only) {
			continue
		}
		for _, b := range p.measure(ctx, barEnv{*traces, *scratch}, p.bars) {
			if !b.wanted(*only) {
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
	if passed+failed == 0 {
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
