package fuzz

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// Flags of a campaign, given after -args.
var (
	flagImages  = flag.Int("images", 0, "crash images to try; 0 is the bounded default of the test")
	flagFault   = flag.String("fault", "", "the one fault to inject, as a failure names it")
	flagFaults  = flag.Int("faults", 0, "faults to inject; 0 is the bounded default of the test")
	flagFlips   = flag.Int("flips", 0, "damaged databases to try; 0 is the bounded default of the test")
	flagGraphs  = flag.Int("graphs", 0, "random graphs to save and load; 0 is the bounded default of the test")
	flagMutants = flag.String("mutants", "", "mutants to plant: all, a number, or names with commas between; by default all if -run asks for TestMutants, else none")
	flagRounds  = flag.Int("rounds", 0, "processes to kill; 0 is the bounded default of the test")
	flagSeed    = flag.Uint64("seed", 1, "seed of every random choice")
	flagCase    = flag.Int("case", -1, "the one case to run, as a failure names it; -1 is all")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// replay is the command that repeats a failing test.
func replay(t *testing.T, format string, args ...any) string {
	return fmt.Sprintf("replay: go test ./fuzz -run '^%s$' -args -seed %d %s", t.Name(), *flagSeed, fmt.Sprintf(format, args...))
}
