package main

import (
	"context"
	"errors"
	"fmt"
	"math"
)

const (
	sweepLists = 100
	sweepSaves = 4 // the first one and three with changes
	slotCost   = 48
	sweepLimit = 1.05
)

// rmtreePromises are what the mutation sweep of rmtree stores, without compression and
// deltas: what the saves after the first one add to the files, against the bytes of the
// elements that they replaced.
func rmtreePromises() []promise {
	const unit = "x-of-allowed"
	return []promise{
		{measure: measureSweep, bars: []bar{
			{name: "storage-rmtree", set: "podding", unit: unit, limit: 1,
				about: "rmtree, lists replaced as a whole, 0, 10 … 100 % of them a save: stored growth, without compression, against 1.05 times the replaced bytes and 48 a replaced element; the worst"},
		}},
		{measure: measureScattered, bars: []bar{
			{name: "storage-rmtree-1pct", set: "podding", unit: unit, limit: 1,
				about: "the same growth where a save replaces 1 % of the elements of each list"},
		}},
	}
}

func sweepParams(env barEnv, saves, lists, elements int64) params {
	return params{"tc": saves, "tv": sweepLists, "tl": env.elements, "tml": lists, "tme": elements, "seed": 1}
}

// sweepGrowth returns what the saves after the first one added, and what they may have.
func sweepGrowth(ctx context.Context, env barEnv, first row, lists, elements int64) (grown, changed, allowed float64, err error) {
	last := runRmtree(ctx, env, sweepParams(env, sweepSaves, lists, elements))
	if last.Error != "" {
		return 0, 0, 0, errors.New(last.Error)
	}
	slots := float64((sweepSaves - 1) * (sweepLists * lists / 100) * (env.elements * elements / 100))
	changed = slots * rmtreeStringBytes
	return float64(last.StorageBytes - first.StorageBytes), changed, sweepLimit*changed + slotCost*slots, nil
}

func runRmtree(ctx context.Context, env barEnv, p params) row {
	return runAll(ctx, runSpec{Workload: "rmtree", Params: p.String()}, []string{plainSystem}, 1, env.scratch)[0]
}

func firstOfSweep(ctx context.Context, env barEnv) (row, error) {
	first := runRmtree(ctx, env, sweepParams(env, 1, 0, 0))
	if first.Error != "" {
		return first, errors.New(first.Error)
	}
	return first, nil
}

func measureSweep(ctx context.Context, env barEnv, bars []bar) []bar {
	first, err := firstOfSweep(ctx, env)
	if err != nil {
		return broken(bars, err)
	}
	bars[0].note = fmt.Sprintf("first save: %d for %d bytes of strings, %.4f; growth by changed bytes at",
		first.StorageBytes, first.PayloadBytes, float64(first.StorageBytes)/float64(first.PayloadBytes))
	for lists := int64(0); lists <= 100; lists += 10 {
		grown, changed, allowed, err := sweepGrowth(ctx, env, first, lists, 100)
		if err != nil {
			return broken(bars, fmt.Errorf("tml=%d: %w", lists, err))
		}
		bars[0].value = max(bars[0].value, ofAllowed(grown, allowed))
		if changed > 0 {
			bars[0].note += fmt.Sprintf(" %d %%: %.4f,", lists, grown/changed)
		} else {
			bars[0].note += fmt.Sprintf(" %d %%: %.0f bytes,", lists, grown)
		}
	}
	bars[0].note += fmt.Sprintf(" lists of %d strings, %d saves", env.elements, sweepSaves)
	return bars
}

func measureScattered(ctx context.Context, env barEnv, bars []bar) []bar {
	first, err := firstOfSweep(ctx, env)
	if err != nil {
		return broken(bars, err)
	}
	grown, changed, allowed, err := sweepGrowth(ctx, env, first, 100, 1)
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = ofAllowed(grown, allowed)
	bars[0].note = fmt.Sprintf("%.0f of %.0f changed bytes", grown, changed)
	return bars
}

// ofAllowed is the part of what may be stored; nothing may be where nothing changed.
func ofAllowed(grown, allowed float64) float64 {
	switch {
	case grown <= 0:
		return 0
	case allowed == 0:
		return math.Inf(1)
	}
	return grown / allowed
}
