package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// rateRounds is how many processes each system gets; they take turns.
const rateRounds = 3

// ratePromises are the rates of poddb against the fastest rival, by case.
func ratePromises() []promise {
	var out []promise
	for _, c := range rateCases() {
		out = append(out, promise{
			bars: []bar{
				{name: "encode-" + c.name, set: "fidelity", unit: "x-of-fastest", limit: 1,
					about: "CPU time of saving into memory against the fastest of gob, cbor, msgpack, goccy/go-json: " + c.about},
				{name: "decode-" + c.name, set: "fidelity", unit: "x-of-fastest", limit: 1, about: "the same for decoding from there"},
			},
			measure: func(ctx context.Context, _ barEnv, bars []bar) []bar { return measureRates(ctx, c, bars) },
		})
	}
	return out
}

func measureRates(ctx context.Context, c rateCase, bars []bar) []bar {
	systems := rateSystems()
	samples := make([]rateSample, len(systems))
	for round := range rateRounds {
		for i := range systems {
			if round%2 == 1 {
				i = len(systems) - 1 - i
			}
			s, err := runRate(ctx, c.name, systems[i])
			if err != nil {
				return broken(bars, fmt.Errorf("%s: %w", systems[i], err))
			}
			samples[i].Encode = append(samples[i].Encode, s.Encode...)
			samples[i].Decode = append(samples[i].Decode, s.Decode...)
			samples[i].Bytes = s.Bytes
		}
	}
	var encode, decode []float64
	for _, s := range samples {
		encode, decode = append(encode, median(s.Encode)), append(decode, median(s.Decode))
	}
	bars[0].value, bars[0].note = rateRatio(c, systems, encode, samples)
	bars[1].value, bars[1].note = rateRatio(c, systems, decode, samples)
	return bars
}

// rateRatio compares the first system with the fastest other, and writes the row
// of the rate table.
func rateRatio(c rateCase, systems []string, seconds []float64, samples []rateSample) (ratio float64, note string) {
	best := seconds[1]
	var row strings.Builder
	fmt.Fprintf(&row, "CPU-ns/%s (MB encoded):", c.item)
	for i, s := range systems {
		if i > 0 {
			best = min(best, seconds[i])
		}
		fmt.Fprintf(&row, " %s %.4g (%.4g)", s, 1e9*seconds[i]/float64(c.items), float64(samples[i].Bytes)/1e6)
	}
	return seconds[0] / best, row.String()
}

// runRate measures one case with one system in a process of its own.
func runRate(ctx context.Context, name, system string) (s rateSample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self, "helper", "rate", name+"/"+system)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// rateHelper is that process: what is "case/system".
func rateHelper(what string) error {
	name, system, _ := strings.Cut(what, "/")
	c, err := newCodec(system)
	if err != nil {
		return err
	}
	for _, r := range rateCases() {
		if r.name != name {
			continue
		}
		s, err := r.run(c, r.loops)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	return fmt.Errorf("no case %q", name)
}
