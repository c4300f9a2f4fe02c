package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"

	"github.com/poddb/poddb/podder"
)

// changeRounds is how often each system saves after a change of each size.
const changeRounds = 5

// changePromises are saves after one part in a hundred has changed, and after all have,
// against a full snapshot by the fastest rival.
func changePromises() []promise {
	var out []promise
	for _, c := range changeCases() {
		out = append(out, promise{
			bars: []bar{
				{name: "save-1pct-" + c.name, set: "podding", unit: "x-of-fastest", limit: 0.15,
					about: "CPU time of a save after 1 % has changed, nothing known of where, against the fastest of gob, cbor, msgpack, goccy/go-json writing everything: " + c.about},
				{name: "save-all-" + c.name, set: "podding", unit: "x-of-fastest", limit: 1, about: "the same after everything has changed"},
				{name: "unchanged-" + c.name, set: "podding", unit: "x-of-fastest", limit: 0.15, about: "the same when nothing has changed"},
			},
			measure: func(ctx context.Context, _ barEnv, bars []bar) []bar {
				if err := measureChanges(ctx, c, bars); err != nil {
					return broken(bars, err)
				}
				return bars
			},
		})
	}
	return out
}

func measureChanges(ctx context.Context, c changeCase, bars []bar) error {
	x, rnd := c.build(), rand.New(rand.NewPCG(3, 4))
	saver, err := newChangeSaver(x.value)
	if err != nil {
		return err
	}
	others, err := newRivals()
	if err != nil {
		return err
	}
	for range 3 { // the third save is the first that does not walk
		x.change(100, rnd)
		if _, err := saver.save(ctx); err != nil {
			return err
		}
	}
	for k, every := range []int{100, 1, 0} {
		var poddb []float64
		times := make([][]float64, len(others.names))
		for range changeRounds {
			if every > 0 {
				x.change(every, rnd)
			}
			used, err := cpuOf(func() error {
				changed, err := saver.save(ctx)
				if err == nil && (changed == 0) != (every == 0) {
					err = fmt.Errorf("%d slots changed", changed)
				}
				return err
			})
			if err != nil {
				return err
			}
			poddb = append(poddb, used)
			if err := others.times(times, func(r codec) error { return r.encode(x.plain) }); err != nil {
				return err
			}
		}
		bars[k].value, bars[k].note = changeRatio(poddb, others.names, times)
	}
	runtime.KeepAlive(x)
	return nil
}

// changeRatio compares medians with that of the fastest rival.
func changeRatio(poddb []float64, systems []string, times [][]float64) (ratio float64, note string) {
	best := median(times[0])
	var row strings.Builder
	fmt.Fprintf(&row, "CPU-ms: poddb %.4g", 1e3*median(poddb))
	for i, s := range systems {
		m := median(times[i])
		best = min(best, m)
		fmt.Fprintf(&row, " %s %.4g", s, 1e3*m)
	}
	return median(poddb) / best, row.String()
}

// changeSaver saves one value again and again, as a namespace does, into a sink that
// stores nothing.
type changeSaver struct {
	graph *podder.Graph
	sink  *discard
	roots []podder.Root
}

func newChangeSaver(value any) (*changeSaver, error) {
	graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry(), Index: true})
	if err != nil {
		return nil, err
	}
	return &changeSaver{graph, newDiscard(), []podder.Root{{Name: podCodecRoot, Value: reflect.ValueOf(value)}}}, nil
}

// save returns how many slots were written.
func (s *changeSaver) save(ctx context.Context) (int, error) {
	saved, err := s.graph.Save(ctx, s.roots, s.sink)
	if err != nil {
		return 0, err
	}
	saved.Commit()
	s.roots[0].Pod = s.sink.roots[podCodecRoot]
	return saved.SlotsChanged, nil
}
