package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/poddb/poddb/db"
)

// schema prints the catalogue of types, or what a program makes of it.
func schema(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	list, err := d.Schema(ctx)
	if err != nil {
		return err
	}
	if e.program != "" {
		b, err := os.ReadFile(e.program)
		if err != nil {
			return err
		}
		changes, err := db.CompareTypes(list, b)
		if err != nil {
			return fmt.Errorf("%s: %w", e.program, err)
		}
		return e.printChanges(changes)
	}
	if e.count {
		if err := e.countTypes(ctx, d, list); err != nil {
			return err
		}
	}
	if e.json {
		for _, t := range list {
			if err := printJSON(e.out, t); err != nil {
				return err
			}
		}
		return nil
	}
	t := table{head: []string{"id", "-type", "-kind"}}
	if e.count {
		t.head = append(t.head, "values")
	}
	for _, s := range list {
		t.add(e.schemaRow(fmt.Sprint(s.ID), s.Name, kindText(s), fmt.Sprint(s.Values))...)
		for _, f := range s.Fields {
			t.add(e.schemaRow("", "  ."+f.Name, f.Type, "")...)
		}
	}
	t.print(e.out)
	return nil
}

func (e *env) schemaRow(cells ...string) []string {
	if cells[0] == "0" {
		cells[0], cells[3] = "part", ""
	}
	if !e.count {
		cells = cells[:3]
	}
	return cells
}

// countTypes fills in how many values of each type the newest version has.
func (e *env) countTypes(ctx context.Context, d *db.DB, list []db.StoredType) error {
	v, err := d.Head(ctx, "main")
	if err != nil {
		return err
	}
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	counts, err := s.CountTypes(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Values = counts[list[i].ID]
	}
	return nil
}

func kindText(t db.StoredType) string {
	switch {
	case t.Entries:
		return fmt.Sprintf("entries: %s to %s", t.Key, t.Elem)
	case t.Value != "":
		return "value " + t.Value
	case t.Codec != "":
		return "codec " + t.Codec
	case t.Kind == "array":
		return fmt.Sprintf("array of %d %s", t.Len, t.Elem)
	case t.Kind == "map":
		return fmt.Sprintf("map of %s to %s", t.Key, t.Elem)
	case t.Kind == "ptr":
		return "pointer to " + t.Elem
	case t.Elem != "":
		return t.Kind + " of " + t.Elem
	}
	return t.Kind
}

// printChanges prints what a program makes of stored types.
func (e *env) printChanges(changes []db.TypeChange) error {
	if e.json {
		for _, c := range changes {
			if err := printJSON(e.out, c); err != nil {
				return err
			}
		}
		return nil
	}
	t := table{head: []string{"id", "-stored", "-change", "-program", "-why"}}
	for _, c := range changes {
		id := ""
		if c.ID != 0 {
			id = fmt.Sprint(c.ID)
		}
		why := c.Why
		if r := c.Rename; r != nil {
			why = fmt.Sprintf("probably renamed to %s (%.2f): %s", r.To, r.Score, r.Do)
		}
		t.add(id, c.Stored, c.Change, c.Now, why)
		for _, f := range c.Fields {
			why := f.Why
			if r := f.Rename; r != nil {
				why += fmt.Sprintf("; probably renamed to %s (%.2f): %s", r.To, r.Score, r.Do)
			}
			t.add("", dotted(f.Stored), f.Change, dotted(f.Now), strings.TrimPrefix(why, "; "))
		}
	}
	t.print(e.out)
	fmt.Fprintln(e.out, summary(changes))
	return nil
}

// summary says in one line whether the program can load what is stored.
func summary(changes []db.TypeChange) string {
	count := map[string]int{}
	stored := 0
	for _, c := range changes {
		if c.Stored != "" {
			stored++
			count[c.Change]++
		}
	}
	if n := count["impossible"] + count["unknown"]; n > 0 {
		return fmt.Sprintf("%d of %d stored types cannot be loaded as they are: %d impossible, %d unknown", n, stored, count["impossible"], count["unknown"])
	}
	if n := count["checked"]; n > 0 {
		return fmt.Sprintf("all %d stored types can be loaded; of %d the values are checked one by one, and one that does not fit is an error", stored, n)
	}
	return fmt.Sprintf("all %d stored types can be loaded", stored)
}

func dotted(field string) string {
	if field == "" {
		return ""
	}
	return "  ." + field
}
