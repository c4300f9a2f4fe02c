package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A system stores the variables of a workload, one version per save.
type system interface {
	// prepare runs before each save and is not measured. An error means that the
	// system cannot do this workload.
	prepare(w workload) error
	// save stores the variables; what it stored is durable when it returns.
	save(ctx context.Context, w workload, d delta) error
	// close ends writing.
	close() error
	// reopen makes the versions readable, in the same process after close.
	reopen(ctx context.Context) error
	// load reads variables of a version, counted from 0; nil names means all.
	load(ctx context.Context, version int, names []string) (map[string]any, error)
	// finish releases what reopen took.
	finish() error
}

// verified systems promise that what they load is what was saved, sharing and
// cycles included; every version of theirs is checked.
type verified interface{ verified() }

var errNoLoad = errors.New("this system stores nothing that could be loaded")

func systemKinds() map[string]func(dir string, w workload) (system, error) {
	return map[string]func(dir string, w workload) (system, error){
		"poddb":            newPoddb,
		"poddb-nocompress": newPoddbPlain,
		"gob":              newGob,
		"cbor":             newCbor,
		"bbolt":            newBbolt,
		"hand":             newHand,
		"noop":             newNoop,
	}
}

func aboutSystem(name string) string {
	return map[string]string{
		"poddb":            "this project; every version is loaded and verified after the run",
		"poddb-nocompress": "the same without compression and without deltas: versions of pods are whole or patches",
		"gob":              "one encoding/gob snapshot file of all variables per save",
		"cbor":             "one fxamacker/cbor snapshot file of all variables per save",
		"bbolt":            "one gob value per variable in bbolt, written where it changed, one durable commit per save",
		"hand":             "a hand-written encoder without identity, one file per save (rmtree only): the floor",
		"noop":             "no storage: the program alone",
	}[name]
}

func findSystem(name, dir string, w workload) (system, error) {
	kinds := systemKinds()
	kind, ok := kinds[name]
	if !ok {
		return nil, fmt.Errorf("unknown system %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	return kind(dir, w)
}

// noop is the program alone.
type noop struct{}

func newNoop(string, workload) (system, error) { return noop{}, nil }

func (noop) prepare(workload) error                      { return nil }
func (noop) save(context.Context, workload, delta) error { return nil }
func (noop) close() error                                { return nil }
func (noop) reopen(context.Context) error                { return nil }
func (noop) finish() error                               { return nil }
func (noop) load(context.Context, int, []string) (map[string]any, error) {
	return nil, errNoLoad
}
