package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// cPickleBytes are the bytes of one C pickle file per save (protocol 5, all
// variables, no compression) of the same programs, recorded once. Source:
// ../shared/traces/BASELINES.md, table "Storage, total after the last save",
// column "C pickle snapshot", in megabytes of 1,000,000 bytes.
func cPickleBytes(program string) (float64, bool) {
	megabytes, ok := map[string]float64{
		"rmlist":         62.12,
		"rmtree1":        30.92,
		"rmtree10":       30.92,
		"nbody":          11.67,
		"pystone":        0.74,
		"networkx":       12.49,
		"sklearn_tweets": 289.21,
		"ast_rewrite":    54.29,
		"agents":         38.07,
	}[program]
	return megabytes * 1e6, ok
}

// measureStorage replays every recording, verified, on poddb and gob.
func measureStorage(ctx context.Context, env barEnv, bars []bar) []bar {
	model := bars[0]
	programs, err := recordedPrograms(env.traces)
	if err == nil && len(programs) == 0 {
		err = fmt.Errorf("no recordings in %s", env.traces)
	}
	if err != nil {
		return broken(bars, err)
	}
	var out []bar
	for _, program := range programs {
		spec := runSpec{Workload: "trace:" + program, Traces: env.traces}
		rows := runAll(ctx, spec, []string{"poddb", "gob"}, 1, env.scratch)
		out = append(out, storageBar(model, program, rows[0], rows[1]))
	}
	return out
}

// storageBar compares what poddb stored with gob, or where gob gave up with the
// recorded bytes of C pickle.
func storageBar(b bar, program string, ours, gob row) bar {
	b.name = strings.Replace(b.name, "TRACE", program, 1)
	b.value = float64(ours.StorageBytes)
	if ours.Error != "" {
		b.err = errors.New(ours.Error)
		return b
	}
	limit, rival := float64(gob.StorageBytes), "gob"
	if gob.Error != "" {
		var ok bool
		if limit, ok = cPickleBytes(program); !ok {
			b.err = fmt.Errorf("no recorded baseline, and gob: %s", gob.Error)
			return b
		}
		rival = "c-pickle"
	}
	if recorded, ok := cPickleBytes(program); ok {
		b.note = fmt.Sprintf("%.3fx of C pickle's %.0f bytes", b.value/recorded, recorded)
	}
	b.limit = limit - 1 // less than the rival
	b.unit = "bytes,less-than-" + rival
	return b
}
