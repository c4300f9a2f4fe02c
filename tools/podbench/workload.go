package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/trace"
)

// A workload is a program whose variables are saved after each of its steps.
// It is deterministic: two workloads made with the same parameters hold equal
// variables after the same number of steps.
type workload interface {
	// next runs the program to its next save. io.EOF after the last one.
	next() (delta, error)
	// vars are the live variables.
	vars() map[string]any
	// flat are the variables as an encoder without identity can write them: the
	// same objects where they have no cycles, else neighbours as names. A
	// workload that has no such form returns vars.
	flat() map[string]any
	// types may stand behind interfaces.
	types() []trace.NamedType
	// size returns objects and payload bytes now.
	size() (objects int64, payload int64)
	// checker returns what judges loaded variables, at the state before the
	// first step.
	checker() (checker, error)
}

// delta says which variables a step bound to another value, and which it deleted.
type delta struct {
	set     []string
	deleted []string
}

// A checker knows what the variables were after each save.
type checker interface {
	advance() error                  // to the next save
	check(vars map[string]any) error // are these the variables after this save?
}

// workloadKind is a workload by name.
type workloadKind struct {
	about    string
	defaults params
	make     func(p params) (workload, error)
}

func workloadKinds() map[string]workloadKind {
	return map[string]workloadKind{
		"rmtree": {
			about:    "tv lists of tl random 100-byte strings; each step replaces tme % of the elements in tml % of the lists; tc saves",
			defaults: params{"tc": 10, "tv": 100, "tl": 1000, "tml": 10, "tme": 100, "seed": 1},
			make:     newRmtree,
		},
		"rmlist": {
			about:    "a blob, two lists that share n big elements, a cycle, a shared list; each step replaces elements and appends",
			defaults: params{"blob": 100_000_000, "n": 1000, "bytes": 100_000, "replace": 10, "steps": 9, "seed": 1},
			make:     newRmlist,
		},
	}
}

// findWorkload returns the workload that name names and its parameters.
func findWorkload(name, text, traces string) (workload, params, error) {
	if program, ok := strings.CutPrefix(name, "trace:"); ok {
		p, err := parseParams(text, params{"steps": 0})
		if err != nil {
			return nil, nil, err
		}
		w, err := newReplay(traces, program, int(p["steps"]))
		return w, p, err
	}
	kinds := workloadKinds()
	kind, ok := kinds[name]
	if !ok {
		return nil, nil, fmt.Errorf("unknown workload %q; there are %s and trace:NAME",
			name, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	p, err := parseParams(text, kind.defaults)
	if err != nil {
		return nil, nil, err
	}
	w, err := kind.make(p)
	return w, p, err
}
