package main

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/db"
)

// statReport is what stat prints as JSON.
type statReport struct {
	Stats db.Stats       `json:"stats"`
	Space db.SpaceReport `json:"space"`
}

// stat prints where the space of a file goes.
func stat(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	space, err := d.SpaceReport(ctx)
	if err != nil {
		return err
	}
	s := d.Stats()
	if e.json {
		return printJSON(e.out, statReport{s, space})
	}
	fmt.Fprintf(e.out, "%d versions, %d pod versions, %d blocks\n\n", s.Versions, s.PodVersions, space.Blocks)
	t := table{head: []string{"-contents", "rows", "raw", "in blocks", "in the index"}}
	for _, c := range []struct {
		name string
		is   db.ContentSpace
	}{
		{"live pods", space.Live}, {"history", space.History}, {"shared bodies", space.Shared},
		{"commits", space.Commits}, {"types", space.Types},
	} {
		t.add(c.name, fmt.Sprint(c.is.Rows), bytesText(c.is.Raw), bytesText(c.is.Stored), bytesText(c.is.Inline))
	}
	t.print(e.out)
	fmt.Fprintln(e.out)
	t = table{head: []string{"-file", "bytes"}}
	is := s.Space
	t.add("index pages", bytesText(is.Index))
	t.add("pages of blocks", bytesText(is.Blocks))
	t.add("  blocks", bytesText(space.Stored))
	t.add("  of them dead", bytesText(space.Dead))
	t.add("  of them directories", bytesText(space.Directory))
	t.add("extents of commits", bytesText(is.Extents))
	t.add("held for older states", bytesText(is.Held))
	t.add("free", bytesText(is.Free))
	t.add("metas", bytesText(is.Metas))
	t.add("file", bytesText(s.FileBytes))
	t.add("log", bytesText(s.LogBytes))
	t.print(e.out)
	return nil
}
