// Command poddb looks into poddb database files and shows what the library
// does.
//
//	poddb demo                     the quick start, then a recorded run of a real program
//	poddb log FILE                 the history of a branch, newest first
//	poddb diff FILE A B            what differs between two versions, by path
//	poddb branch FILE              the branches; with NAME makes or deletes one
//	poddb tag FILE                 the tags; with NAME sets or deletes one
//	poddb show FILE                the variables of one version
//	poddb get FILE PATH            any object as JSON, without the program's types
//	poddb merge FILE FROM          what another branch changed, as a new commit
//	poddb revert FILE VERSION      take one commit back, as a new commit
//	poddb checkout FILE VERSION    go back to a version, as a new commit
//	poddb schema FILE              the types that it holds, or what a program makes of them
//	poddb stat FILE                where the space goes
//	poddb verify FILE              check the whole file
//	poddb checkpoint FILE          move the log into the file
//	poddb compact FILE             give unused space back
//	poddb collect FILE             take away what no variable reaches any more
//	poddb prune FILE               remove old versions: --keep-last N, --keep-for D, --tiers
//	poddb backup FILE TO           copy a database
//	poddb restore BACKUP FILE      make a database from a backup
//	poddb salvage FILE TO          copy what can be read of a damaged file
//
// Commands that only read work on a database that a program has open.
// Flags come before or after FILE; --json prints for scripts. The exit code
// is 0 only when it worked; errors are one line on stderr.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/poddb/poddb/db"
)

// command is one subcommand. run gets the arguments that are not flags.
type command struct {
	name, args, help string
	minArgs, maxArgs int
	flags            func(*flag.FlagSet, *settings)
	run              func(ctx context.Context, e *env, args []string) error
}

// settings are the flags of all commands; each one registers what it has.
type settings struct {
	json     bool
	at       uint64
	n        int
	deep     bool
	dir      string
	depth    int
	keepLast int
	keepFor  time.Duration
	tiers    bool
	dryRun   bool
	budget   time.Duration
	rate     int64
	branch   string
	from, to uint64
	reverse  bool
	start    string
	remove   bool
	message  string
	author   string
	program  string
	count    bool
	into     string
	ours     bool
	theirs   bool
}

// env is what a command works with.
type env struct {
	settings
	out, err io.Writer
	tty      bool // err is a terminal: draw progress bars
}

func commands() []command {
	at := func(f *flag.FlagSet, s *settings) {
		f.Uint64Var(&s.at, "at", 0, "`version` to look at (default: the newest)")
	}
	return []command{
		{name: "demo", help: "the quick start, then a recorded run of a real program replayed step by step",
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.dir, "dir", "", "leave the database and the chart in this `directory` (default: a new temporary one)")
			}, run: demo},
		{name: "log", args: "FILE", help: "the history of a branch, newest first", minArgs: 1, maxArgs: 1,
			flags: func(f *flag.FlagSet, s *settings) {
				f.IntVar(&s.n, "n", 0, "show at most `n` commits (0 is all)")
				f.StringVar(&s.branch, "branch", "main", "the `branch`")
				f.Uint64Var(&s.from, "from", 0, "show no `version` before this one")
				f.Uint64Var(&s.to, "to", 0, "show no `version` after this one (0 is the newest)")
				f.BoolVar(&s.reverse, "reverse", false, "oldest first")
			}, run: showLog},
		{name: "diff", args: "FILE A [B]", help: "what differs between two versions, by path; of A alone what it changed. A version is a number, a tag, or a branch (its newest)", minArgs: 2, maxArgs: 3,
			flags: func(f *flag.FlagSet, s *settings) { f.IntVar(&s.n, "n", 0, "show at most `n` changes (0 is all)") }, run: diff},
		{name: "branch", args: "FILE [NAME]", help: "the branches; with NAME makes one at --at, or deletes it", minArgs: 1, maxArgs: 2,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.start, "at", "", "the `version` that it begins at: a number, a tag, or a branch (default: main)")
				f.BoolVar(&s.remove, "delete", false, "delete the branch")
			}, run: branch},
		{name: "tag", args: "FILE [NAME [VERSION]]", help: "the tags; with NAME sets one for VERSION: a number, or a branch (default: main). A tag keeps its version from prune", minArgs: 1, maxArgs: 3,
			flags: func(f *flag.FlagSet, s *settings) { f.BoolVar(&s.remove, "delete", false, "delete the tag") }, run: tag},
		{name: "show", args: "FILE", help: "the variables of one version", minArgs: 1, maxArgs: 1, flags: at, run: show},
		{name: "get", args: "FILE PATH", help: "any object as JSON, without the program's types: x.Items[3].Name, m[\"key\"]", minArgs: 2, maxArgs: 2,
			flags: func(f *flag.FlagSet, s *settings) {
				at(f, s)
				f.IntVar(&s.depth, "depth", 0, "write at most `n` levels (0 is the default of the library)")
			}, run: get},
		{name: "merge", args: "FILE FROM", help: "commit to a branch what another branch changed since they parted; conflicts are listed and refused unless a flag decides them", minArgs: 2, maxArgs: 2,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.into, "into", "main", "the `branch` that gets the commit")
				f.BoolVar(&s.ours, "ours", false, "where both changed the same, take the branch merged into")
				f.BoolVar(&s.theirs, "theirs", false, "where both changed the same, take the branch FROM")
				f.BoolVar(&s.dryRun, "dry-run", false, "only say what would be done")
				f.StringVar(&s.message, "message", "", "of the new commit, as `text`")
				f.StringVar(&s.author, "author", "", "of the new commit, as a `name`")
			}, run: merge},
		{name: "revert", args: "FILE VERSION", help: "take one commit back, as a new commit on top; refused if later ones touched the same", minArgs: 2, maxArgs: 2,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.branch, "branch", "main", "the `branch`")
				f.StringVar(&s.message, "message", "", "of the new commit, as `text`")
				f.StringVar(&s.author, "author", "", "of the new commit, as a `name`")
			}, run: revert},
		{name: "checkout", args: "FILE VERSION", help: "go back to a version of the branch's history, as a new commit on top: a number, a tag, or a branch that it began on", minArgs: 2, maxArgs: 2,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.branch, "branch", "main", "the `branch`")
				f.StringVar(&s.message, "message", "", "of the new commit, as `text`")
				f.StringVar(&s.author, "author", "", "of the new commit, as a `name`")
				f.BoolVar(&s.dryRun, "dry-run", false, "only show what would change, as diff does")
				f.IntVar(&s.n, "n", 0, "with --dry-run, show at most `n` changes (0 is all)")
			}, run: checkout},
		{name: "schema", args: "FILE", help: "the types that it holds; with --program what becomes of them in a program", minArgs: 1, maxArgs: 1,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.program, "program", "", "compare with the types of a program, which db.DescribeTypes wrote to this `file`")
				f.BoolVar(&s.count, "count", false, "count the values in the newest version (reads all of it)")
			}, run: schema},
		{name: "stat", args: "FILE", help: "where the space goes", minArgs: 1, maxArgs: 1, run: stat},
		{name: "verify", args: "FILE", help: "check the whole file against itself", minArgs: 1, maxArgs: 1,
			flags: func(f *flag.FlagSet, s *settings) { f.BoolVar(&s.deep, "deep", false, "decode every pod as well") }, run: verify},
		{name: "checkpoint", args: "FILE", help: "move the log into the file", minArgs: 1, maxArgs: 1, run: checkpoint},
		{name: "compact", args: "FILE", help: "give unused space at the end of the file back", minArgs: 1, maxArgs: 1, run: compact},
		{name: "collect", args: "FILE", help: "take out of the newest version what no variable reaches any more; old versions keep it, and prune gives the space back", minArgs: 1, maxArgs: 1,
			flags: func(f *flag.FlagSet, s *settings) {
				f.StringVar(&s.branch, "branch", "main", "the `branch`")
				f.BoolVar(&s.dryRun, "dry-run", false, "only say what would be taken away")
				budget(f, s)
			}, run: collect},
		{name: "prune", args: "FILE", help: "remove old versions and free what only they need; what any of the flags keeps stays, and so do tags and heads", minArgs: 1, maxArgs: 1,
			flags: func(f *flag.FlagSet, s *settings) {
				f.IntVar(&s.keepLast, "keep-last", 0, "keep the newest `n` commits of each branch")
				f.DurationVar(&s.keepFor, "keep-for", 0, "keep the commits of this `time`, such as 720h")
				f.BoolVar(&s.tiers, "tiers", false, "keep all commits of a day, one an hour for a week, and one a day for ever")
				f.BoolVar(&s.dryRun, "dry-run", false, "only say what would be freed")
				budget(f, s)
			}, run: prune},
		{name: "backup", args: "FILE TO", help: "copy a database into a new file; refused while commits are only in its log (checkpoint first, or Backup in the program that has it open)", minArgs: 2, maxArgs: 2, run: backup},
		{name: "restore", args: "BACKUP FILE", help: "make a database from a backup", minArgs: 2, maxArgs: 2, run: restore},
		{name: "salvage", args: "FILE TO", help: "copy everything readable from a damaged file into a new one and list what was lost", minArgs: 2, maxArgs: 2, run: salvage},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	e := &env{out: os.Stdout, err: os.Stderr, tty: isTerminal(os.Stderr)}
	if err := run(ctx, e, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "poddb:", oneLine(err))
		os.Exit(1)
	}
}

// errUsage has been explained already.
var errUsage = errors.New("wrong use; see poddb help")

func run(ctx context.Context, e *env, args []string) error {
	switch {
	case len(args) == 0:
		usage(e.err)
		return errUsage
	case args[0] == "help" && len(args) > 1:
		args = []string{args[1], "-h"}
	case args[0] == "help", args[0] == "-h", args[0] == "--help":
		usage(e.out)
		return nil
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.start(ctx, e, args[1:])
		}
	}
	return fmt.Errorf("no command %q; see poddb help", args[0])
}

// start parses flags before, between and after the arguments.
func (c command) start(ctx context.Context, e *env, args []string) error {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // errors are ours to print, in one line
	f.BoolVar(&e.json, "json", false, "print JSON for scripts")
	if c.flags != nil {
		c.flags(f, &e.settings)
	}
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Fprintf(e.out, "usage: poddb %s [flags] %s\n%s\n", c.name, c.args, c.help)
				f.SetOutput(e.out)
				f.PrintDefaults()
				return nil
			}
			return fmt.Errorf("%w; see poddb %s -h", err, c.name)
		}
		if f.NArg() == 0 {
			break
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
	if e.n < 0 || e.depth < 0 {
		return errors.New("a negative number of lines or levels makes no sense")
	}
	if len(rest) < c.minArgs || len(rest) > c.maxArgs {
		return fmt.Errorf("usage: poddb %s %s", c.name, c.args)
	}
	return c.run(ctx, e, rest)
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "usage: poddb COMMAND [flags] …; poddb help COMMAND says which flags")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-22s %s\n", strings.TrimSpace(c.name+" "+c.args), c.help)
	}
}

// open opens a file for a command that only reads, also one that a live
// process has open.
func open(ctx context.Context, path string) (*db.DB, error) {
	d, err := db.Open(ctx, path, &db.Options{ReadOnly: true})
	if errors.Is(err, db.ErrLocked) {
		return db.Inspect(ctx, path, nil)
	}
	return d, err
}

// snapshot opens a file at the version asked for, or the newest. done closes
// both.
func (e *env) snapshot(ctx context.Context, path string) (s *db.Snapshot, done func(), err error) {
	d, err := open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	v := db.Version(e.at)
	if v == 0 {
		v, err = d.Head(ctx, "main")
	}
	if err == nil {
		s, err = d.At(ctx, v)
	}
	if err != nil {
		_ = d.Close() // opened read-only: nothing is lost
		return nil, nil, err
	}
	return s, func() {
		_ = s.Close()
		_ = d.Close()
	}, nil
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
