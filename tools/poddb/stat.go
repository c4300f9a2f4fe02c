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
	t.add("index pages", bytesText(space.Index))
	t.add("pages of blocks", bytesText(space.Records))
	t.add("  dead in blocks", bytesText(space.Dead))
	t.add("  their directories", bytesText(space.Directory))
	t.add("free pages", bytesText(space.Free))
	t.add("metas, grown ahead", bytesText(space.File-space.Index-space.Records-space.Free))
	t.add("file", bytesText(space.File))
	t.add("log", bytesText(space.Log))
	t.print(e.out)
	return nil
}
