package main

import (
	"context"
	"fmt"
)

// stat prints where the space of a file goes.
func stat(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	s := d.Stats()
	if e.json {
		return printJSON(e.out, s)
	}
	t := table{head: []string{"-what", "value"}}
	t.add("versions", fmt.Sprint(s.Versions))
	t.add("pod versions", fmt.Sprint(s.PodVersions))
	t.add("shared bodies", fmt.Sprint(s.SharedBodies))
	t.add("file", bytesText(s.FileBytes))
	t.add("  live pods", bytesText(int64(s.LiveBytes)))
	t.add("  history", bytesText(int64(s.HistoryBytes)))
	t.add("  index", bytesText(s.IndexBytes))
	t.add("  free", bytesText(s.FreeBytes))
	t.add("log", bytesText(s.LogBytes))
	t.print(e.out)
	return nil
}
