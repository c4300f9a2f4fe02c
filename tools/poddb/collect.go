package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/poddb/poddb/db"
)

// collect takes out of a branch what no variable reaches.
func collect(ctx context.Context, e *env, args []string) error {
	opened := openToWrite
	if e.dryRun { // only reads, so also beside a program that has it open
		opened = open
	}
	d, err := opened(ctx, args[0])
	if err != nil {
		return err
	}
	bar := e.progress("collect")
	rep, err := d.Collect(ctx, db.CollectOptions{
		Branch: e.branch, DryRun: e.dryRun, Budget: e.bounds(),
		Progress: func(p db.CollectProgress) { bar.items(p.Done, p.Total) },
	})
	bar.clear()
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, rep)
	}
	verb := "took away"
	if e.dryRun {
		verb = "would take away"
	}
	fmt.Fprintf(e.out, "%s %d pods and %d exported slots, %s of contents; %d pods are reached\n", verb, rep.Pods, rep.Slots, bytesText(int64(rep.Bytes)), rep.Reached)
	if rep.More {
		fmt.Fprintln(e.out, "the time was over before the end: run it again with more")
	}
	return nil
}

// budget adds the flags of upkeep that is to be gentle.
func budget(f *flag.FlagSet, s *settings) {
	f.DurationVar(&s.budget, "time", 0, "stop after about this `time`, such as 10s (0 is no bound)")
	f.Int64Var(&s.rate, "rate", 0, "read and write at most so many `bytes` a second (0 is no bound)")
}

// bounds is what they say.
func (e *env) bounds() db.Budget { return db.Budget{Time: e.budget, BytesPerSecond: e.rate} }
