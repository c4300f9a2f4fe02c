package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/poddb/poddb/internal/strategies"
)

// strategyPrograms is how many random graphs the bar looks at.
const strategyPrograms = 200

func strategiesCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("strategies", flag.ContinueOnError)
	n := flags.Int("n", strategyPrograms, "random small graphs that are changed and saved, with each strategy and cut in all ways")
	costs := flags.Bool("costs", false, "measure what pods and their versions cost instead")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *n < 1 {
		return fmt.Errorf("%d graphs; at least 1", *n)
	}
	fmt.Fprintf(out, "# commit %s on %s\n", commit(), machine())
	if *costs {
		c, err := strategies.Measure(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "one more pod %.1f bytes, one more version %.1f bytes and %.3f of a pod of 8 KB, %.3f of one of 700 bytes\n", c.Pod, c.Version, c.BigShare, c.SmallShare)
		return nil
	}
	rows, err := strategies.Compare(ctx, strategies.Programs(*n))
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STRATEGY\tMEDIAN\t90 %\tWORST\t(stored bytes, in those of the best of all cuts)")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t\n", r.Strategy, r.Median, r.P90, r.Worst)
	}
	return t.Flush()
}

// measureStrategies compares Learned with the optimum.
func measureStrategies(ctx context.Context, _ barEnv, bars []bar) []bar {
	rows, err := strategies.Compare(ctx, strategies.Programs(strategyPrograms))
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = rows[0].Median
	for _, r := range rows {
		bars[0].note += fmt.Sprintf("%s %.3f/%.3f/%.3f; ", r.Strategy, r.Median, r.P90, r.Worst)
	}
	bars[0].note += "median, 90 %, worst"
	return bars
}
