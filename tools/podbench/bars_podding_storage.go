package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// plainSystem stores what was encoded as it is: no compression, no deltas.
const plainSystem = "poddb-nocompress"

// publishedBytes are what the published system (Chipmink, PVLDB 19) stored of the same
// programs: all files after the last save, every version kept, nothing compressed, the
// smaller one of its two configurations (greedy podding with its model of volatility, or
// with a constant rate). Recorded once, by its own benchmark code on Python 3.11. Source:
// ../shared/traces/BASELINES.md, table "Storage, total after the last save", columns
// "Chipmink pga" and "Chipmink pg1", in megabytes of 1,000,000 bytes.
func publishedBytes(program string) (float64, bool) {
	megabytes, ok := map[string]float64{
		"rmlist":         43.14,
		"rmtree1":        5.93,
		"rmtree10":       5.93,
		"nbody":          6.37,
		"pystone":        1.08, // constant rate; 1.11 with the model
		"networkx":       3.11,
		"sklearn_tweets": 16.57,
		"ast_rewrite":    75.65,
		"agents":         44.23,
	}[program]
	return megabytes * 1e6, ok
}

func publishedPrograms() []string {
	return []string{"agents", "ast_rewrite", "nbody", "networkx", "pystone", "rmlist", "rmtree1", "rmtree10", "sklearn_tweets"}
}

// pointerRich are the recordings that consist of small objects that refer to each other.
func pointerRich(program string) bool {
	return slices.Contains([]string{"agents", "ast_rewrite", "nbody", "networkx", "pystone"}, program)
}

func storagePromises() []promise {
	return append(rmtreePromises(), promise{measure: measureTraceStorage, bars: []bar{
		{name: "storage-published-TRACE", set: "podding", unit: "x-of-published", limit: 1,
			about: "files after the replay of each recording, without compression and deltas, against what the published system stored of the program"},
		{name: "storage-payload-TRACE", set: "podding", unit: "x-of-payload", limit: 1.5,
			about: "the same of the pointer-rich recordings against the recording's own bytes of new and changed objects"},
		{name: "storage-compressed-TRACE", set: "podding", unit: "x-of-payload", limit: 1, about: "the same with defaults: with compression"},
		{name: "storage-compressed", set: "podding", unit: "x-of-payload", limit: 0.8, about: "that of all of them together"},
	}})
}

// measureTraceStorage replays the recordings, verified, with compression and without.
func measureTraceStorage(ctx context.Context, env barEnv, bars []bar) []bar {
	published, payload, compressed, together := bars[0], bars[1], bars[2], bars[3]
	var out []bar
	var stored, recorded float64
	for _, program := range publishedPrograms() {
		changed, err := recordedPayload(env.traces, program)
		if errors.Is(err, os.ErrNotExist) {
			for _, b := range []bar{published, payload, compressed} {
				if b = b.of(program); b.name == published.of(program).name || pointerRich(program) {
					b.skipped = "no recording of that name in " + env.traces
					out = append(out, b)
				}
			}
			continue
		}
		systems := []string{plainSystem, "poddb"}
		if !pointerRich(program) {
			systems = systems[:1]
		}
		rows := runAll(ctx, runSpec{Workload: "trace:" + program, Traces: env.traces}, systems, 1, env.scratch)
		theirs, _ := publishedBytes(program)
		out = append(out, published.of(program).ratio(rows[0], theirs, err))
		if !pointerRich(program) {
			continue
		}
		out = append(out, payload.of(program).ratio(rows[0], changed, err), compressed.of(program).ratio(rows[1], changed, err))
		if e := out[len(out)-1].err; e != nil && together.err == nil {
			together.err = fmt.Errorf("%s: %w", program, e)
		}
		stored, recorded = stored+float64(rows[1].StorageBytes), recorded+changed
	}
	if together.value = stored / recorded; recorded == 0 {
		together.skipped = "no recordings in " + env.traces
	}
	together.note = fmt.Sprintf("%.0f of %.0f bytes", stored, recorded)
	return append(out, together)
}

// of returns the bar of one recording.
func (b bar) of(program string) bar {
	b.name = strings.Replace(b.name, "TRACE", program, 1)
	return b
}

// ratio compares what a run stored.
func (b bar) ratio(r row, with float64, err error) bar {
	if r.Error != "" {
		err = errors.New(r.Error)
	}
	b.err, b.value = err, float64(r.StorageBytes)/with
	b.note = fmt.Sprintf("%d of %.0f bytes", r.StorageBytes, with)
	return b
}

// recordedPayload adds up the bytes of all objects that a recording calls new or changed.
func recordedPayload(dir, program string) (float64, error) {
	if _, err := os.Stat(filepath.Join(tracesDir(dir), program+traceSuffix)); err != nil {
		return 0, err
	}
	r, f, err := openTrace(dir, program)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	total := 0
	for {
		s, err := r.Step()
		if errors.Is(err, io.EOF) {
			return float64(total), nil
		}
		if err != nil {
			return 0, err
		}
		for i := range s.Objects {
			total += len(s.Objects[i].Payload)
		}
	}
}
