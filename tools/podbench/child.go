package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Each run is a process of its own, so that heaps, caches and peaks of one system
// are not those of another, and a system that dies is a row with an error.

// runSpec tells a child process what to run.
type runSpec struct {
	Workload, Params, System, Traces, Dir string
}

// childTimeout ends a run that hangs.
const childTimeout = 30 * time.Minute

// runChild runs one workload on one system in a child process with a directory
// of its own, which is removed afterwards.
func runChild(ctx context.Context, spec runSpec, scratch string) row {
	failed := row{Workload: spec.Workload, Params: spec.Params, System: spec.System}
	dir, err := os.MkdirTemp(scratch, "podbench-*")
	if err != nil {
		failed.Error = err.Error()
		return failed
	}
	defer os.RemoveAll(dir)
	spec.Dir = dir
	r, err := childRow(ctx, spec)
	if err != nil {
		failed.Error = err.Error()
		return failed
	}
	return r
}

func childRow(ctx context.Context, spec runSpec) (r row, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "child", string(text))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		first, _, _ := strings.Cut(strings.TrimSpace(errs.String()), "\n")
		return r, fmt.Errorf("run died: %w: %s", err, first)
	}
	return r, json.Unmarshal(out.Bytes(), &r)
}

// child is the command of the child process: one row as JSON on stdout.
func child(ctx context.Context, text string) error {
	var spec runSpec
	if err := json.Unmarshal([]byte(text), &spec); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(measureRun(ctx, spec))
}

// runAll runs a workload on several systems, in alternating order, and returns a
// row per system in the order given.
func runAll(ctx context.Context, spec runSpec, systems []string, repeats int, scratch string) []row {
	runs := make([][]row, len(systems))
	for round := range repeats {
		for i := range systems {
			at := i
			if round%2 == 1 {
				at = len(systems) - 1 - i
			}
			one := spec
			one.System = systems[at]
			runs[at] = append(runs[at], runChild(ctx, one, scratch))
		}
	}
	rows := make([]row, len(systems))
	for i := range systems {
		rows[i] = combine(runs[i])
	}
	return rows
}
