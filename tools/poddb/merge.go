package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/db"
)

// conflict is one of merge --json. Values that are not there are null.
type conflict struct {
	Path   string  `json:"path"`
	Type   string  `json:"type"`
	Base   *string `json:"base"`
	Ours   *string `json:"ours"`
	Theirs *string `json:"theirs"`
	Behind bool    `json:"behind,omitempty"` // the value itself changed on one side only
	Choice string  `json:"choice"`
}

// mergeResult is what merge --json prints.
type mergeResult struct {
	Version     db.Version `json:"version"` // newest of the branch, whatever happened
	Base        db.Version `json:"base"`
	Ours        db.Version `json:"ours"`
	Theirs      db.Version `json:"theirs"`
	UpToDate    bool       `json:"upToDate,omitempty"`
	FastForward bool       `json:"fastForward,omitempty"`
	Pods        int        `json:"pods"`
	Names       int        `json:"names"`
	Conflicts   []conflict `json:"conflicts"`
}

// merge merges a branch into another one. Conflicts that nobody decides are printed, and then
// it is an error.
func merge(ctx context.Context, e *env, args []string) error {
	if e.ours && e.theirs {
		return errors.New("merge takes --ours or --theirs, not both")
	}
	o := db.MergeOptions{Into: e.into, From: args[1], DryRun: e.dryRun, Message: e.message, Author: e.author}
	switch {
	case e.ours:
		o.Resolve = db.TakeOurs
	case e.theirs:
		o.Resolve = db.TakeTheirs
	}
	var r db.MergeReport
	var open *db.MergeConflictError
	work := func(d *db.DB) (err error) {
		r, err = d.Merge(ctx, o)
		return err
	}
	err := mergeIn(ctx, e, args[0], work)
	if err != nil && !errors.As(err, &open) {
		return err
	}
	if e.json {
		if err := printJSON(e.out, resultOf(r)); err != nil {
			return err
		}
	} else {
		e.printMerge(args[0], r, open != nil)
	}
	if open != nil {
		return errors.New("nothing was merged; decide with --ours or --theirs, or in a program with MergeOptions.Resolve")
	}
	return nil
}

// mergeIn opens the file, to write unless it is a dry run.
func mergeIn(ctx context.Context, e *env, path string, work func(*db.DB) error) error {
	if !e.dryRun {
		return rename(ctx, path, work)
	}
	d, err := open(ctx, path)
	if err != nil {
		return err
	}
	defer d.Close()
	return work(d)
}

func (e *env) printMerge(path string, r db.MergeReport, open bool) {
	if len(r.Conflicts) > 0 {
		t := table{head: []string{"-conflict", "-base", "-ours", "-theirs", "-taken"}}
		for _, c := range r.Conflicts {
			path := c.Path
			if c.Behind {
				path += " (changed behind it)"
			}
			t.add(path, c.Base.String(), c.Ours.String(), c.Theirs.String(), c.Choice.String())
		}
		t.print(e.out)
	}
	switch {
	case open:
	case r.UpToDate:
		fmt.Fprintf(e.out, "%s: %q has all of it: version %d\n", path, e.into, r.Version)
	case e.dryRun:
		fmt.Fprintf(e.out, "%s: would merge version %d into %d from their common version %d: %d pods, %d names, %d conflicts\n",
			path, r.Theirs, r.Ours, r.Base, r.Pods, r.Names, len(r.Conflicts))
	default:
		fmt.Fprintf(e.out, "%s: version %d\n", path, r.Version)
	}
}

func resultOf(r db.MergeReport) mergeResult {
	res := mergeResult{
		Version: r.Version, Base: r.Base, Ours: r.Ours, Theirs: r.Theirs, UpToDate: r.UpToDate, FastForward: r.FastForward,
		Pods: r.Pods, Names: r.Names, Conflicts: []conflict{},
	}
	text := func(v db.MergeValue) *string {
		if !v.Present {
			return nil
		}
		return &v.Text
	}
	for _, c := range r.Conflicts {
		res.Conflicts = append(res.Conflicts, conflict{c.Path, c.Type, text(c.Base), text(c.Ours), text(c.Theirs), c.Behind, c.Choice.String()})
	}
	return res
}
