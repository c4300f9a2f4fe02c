// Command podbench measures poddb against other ways to keep the state of a Go
// program, and checks the promises that the project makes itself. It is a module
// of its own, so that users of the library never download its rivals.
//
//	podbench list
//	podbench run -workload W [-p k=v,...] -systems a,b [-traces DIR] [-repeats n] [-json FILE]
//	podbench bars [-only SET] [-traces DIR]
//	podbench strategies [-n N] [-costs]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
)

const usageText = `usage:
  podbench list                 workloads, systems and bars
  podbench run -workload W [-p k=v,...] [-systems a,b] [-traces DIR] [-repeats n] [-json FILE]
  podbench bars [-only SET] [-traces DIR]
  podbench strategies [-n N] [-costs]
Give -h after a command for its options.
`

// errFailed ends the program with exit code 1 when everything was already said.
var errFailed = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "podbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usageText)
		return flag.ErrHelp
	}
	switch args[0] {
	case "list":
		return list(args[1:], out)
	case "run":
		return runCommand(ctx, args[1:], out)
	case "bars":
		return barsCommand(ctx, args[1:], out)
	case "strategies":
		return strategiesCommand(ctx, args[1:], out)
	case "child":
		if len(args) == 2 {
			return child(ctx, args[1])
		}
	case "helper":
		return helperCommand(ctx, args[1:])
	case "help", "-h", "--help":
		fmt.Fprint(out, usageText)
		return nil
	}
	return fmt.Errorf("unknown command %q; there are list, run, bars and strategies", args[0])
}

const defaultTraces = "../shared/traces"

func list(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("list", flag.ContinueOnError)
	traces := flags.String("traces", defaultTraces, "directory of recordings")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WORKLOAD\tPARAMETERS\t")
	kinds := workloadKinds()
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(t, "%s\t%s\t%s\n", name, kinds[name].defaults, kinds[name].about)
	}
	programs, err := recordedPrograms(*traces)
	if err != nil {
		return err
	}
	for _, name := range programs {
		fmt.Fprintf(t, "trace:%s\tsteps=0\trecorded run of a program; steps=0 is all\n", name)
	}
	fmt.Fprintln(t, "\nSYSTEM\t\t")
	for _, name := range slices.Sorted(maps.Keys(systemKinds())) {
		fmt.Fprintf(t, "%s\t\t%s\n", name, aboutSystem(name))
	}
	fmt.Fprintln(t, "\nBAR\tSET\t")
	for _, b := range allBars() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", b.name, b.set, b.about)
	}
	return t.Flush()
}

func runCommand(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	var (
		name    = flags.String("workload", "", "rmtree, rmlist, trace:NAME or trace:* for every recording")
		text    = flags.String("p", "", "parameters, name=value,...")
		systems = flags.String("systems", "poddb,gob", "systems, separated by commas")
		traces  = flags.String("traces", defaultTraces, "directory of recordings, from here or from the root of the repository")
		repeats = flags.Int("repeats", 3, "runs of each system; the median is reported")
		path    = flags.String("json", "", "append one JSON object per row to this file; - writes them to stdout instead of the table")
		scratch = flags.String("dir", "", "directory for the stores while they are measured (default the system's)")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	names := []string{*name}
	switch {
	case *name == "":
		return errors.New("run needs -workload; podbench list shows them")
	case *repeats < 1:
		return errors.New("-repeats must be at least 1")
	case *name == "trace:*":
		programs, err := recordedPrograms(*traces)
		if err != nil || len(programs) == 0 {
			return fmt.Errorf("no recordings in %s (%v)", *traces, err)
		}
		names = names[:0]
		for _, p := range programs {
			names = append(names, "trace:"+p)
		}
	}
	wanted := strings.Split(*systems, ",")
	if err := checkRun(names, *text, wanted, *traces); err != nil {
		return err
	}
	var rows []row
	for _, n := range names {
		spec := runSpec{Workload: n, Params: *text, Traces: *traces}
		rows = append(rows, runAll(ctx, spec, wanted, *repeats, *scratch)...)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	where, id := machine(), commit()
	failed := false
	for i := range rows {
		rows[i].Machine, rows[i].Commit, rows[i].Repeats = where, id, *repeats
		failed = failed || rows[i].Error != "" && rows[i].System == "poddb"
	}
	if err := writeRows(rows, *path, out); err != nil {
		return err
	}
	if failed {
		return errFailed
	}
	return nil
}

// checkRun finds mistakes of the caller before anything runs.
func checkRun(names []string, text string, systems []string, traces string) error {
	for _, n := range names {
		if _, _, err := findWorkload(n, text, traces); err != nil {
			return err
		}
	}
	kinds := systemKinds()
	for _, s := range systems {
		if _, ok := kinds[s]; !ok {
			return fmt.Errorf("unknown system %q; there are %s", s, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
		}
	}
	return nil
}

// writeRows prints the table, and the rows as JSON where wanted.
func writeRows(rows []row, path string, out io.Writer) error {
	if path != "-" {
		fmt.Fprintf(out, "commit %s on %s\n", rows[0].Commit, rows[0].Machine)
		printTable(out, rows)
		if path == "" {
			return nil
		}
	}
	if path != "-" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		out = f
	}
	enc := json.NewEncoder(out)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
