package main

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/db"
)

// variable is one line of show.
type variable struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// show prints the variables of a version.
func show(ctx context.Context, e *env, args []string) error {
	s, done, err := e.snapshot(ctx, args[0])
	if err != nil {
		return err
	}
	defer done()
	t := table{head: []string{"-variable", "-type"}}
	for name, err := range s.Names(ctx, "") {
		if err != nil {
			return err
		}
		typ, err := s.TypeOf(ctx, name)
		if err != nil {
			return err
		}
		if e.json {
			if err := printJSON(e.out, variable{name, typ}); err != nil {
				return err
			}
			continue
		}
		t.add(name, typ)
	}
	if !e.json {
		fmt.Fprintf(e.out, "version %d, %d variables\n", s.Version(), len(t.rows))
		t.print(e.out)
	}
	return nil
}

// get prints one object as JSON.
func get(ctx context.Context, e *env, args []string) error {
	s, done, err := e.snapshot(ctx, args[0])
	if err != nil {
		return err
	}
	defer done()
	if err := s.WriteJSON(ctx, e.out, args[1], db.JSONOptions{Indent: !e.json, Depth: e.depth}); err != nil {
		return err
	}
	fmt.Fprintln(e.out)
	return nil
}

// verify checks a file; damage is an error.
func verify(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	bar := e.progress("verify")
	rep, err := d.Verify(ctx, db.VerifyOptions{Deep: e.deep, Progress: bar.items})
	bar.clear()
	if err != nil {
		return err
	}
	if e.json {
		if err := printJSON(e.out, rep); err != nil {
			return err
		}
	} else {
		for _, p := range rep.Problems {
			fmt.Fprintln(e.out, p)
		}
	}
	if n := len(rep.Problems); n > 0 {
		return fmt.Errorf("%s: %d problems found", args[0], n)
	}
	if !e.json {
		fmt.Fprintf(e.out, "ok: %d versions, %d pods, %d pages\n", rep.Versions, rep.Pods, rep.Pages)
	}
	return nil
}
