package fuzz

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// Flags of a campaign, given after -args.
var (
	flagImages = flag.Int("images", 0, "crash images to try; 0 is the bounded default of the test")
	flagSeed   = flag.Uint64("seed", 1, "seed of every random choice")
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}

// replay is the command that repeats a failing test.
func replay(t *testing.T, format string, args ...any) string {
	return fmt.Sprintf("replay: go test ./fuzz -run '^%s$' -args -seed %d %s", t.Name(), *flagSeed, fmt.Sprintf(format, args...))
}
