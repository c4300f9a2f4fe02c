package fuzz

import (
	"errors"
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// diskSizes are the capacities that are tried, in bytes.
var diskSizes = []int64{300_000, 500_000, 1_000_000, 3_000_000}

// TestFaultFullDisk fills disks of several sizes with commits until there is no
// room. What was acknowledged stays readable, what was refused is not there, a
// checkpoint finds the space that is kept for it, and when there is room again
// the same handle goes on.
func TestFaultFullDisk(t *testing.T) {
	for i, size := range diskSizes {
		for _, end := range []string{"more room", "close and reopen", "power cut"} {
			t.Run(fmt.Sprint(size, " ", end), func(t *testing.T) {
				t.Parallel()
				f := &fullDisk{mem: vfs.NewMem(), end: end}
				f.w = newWorld(f.mem, *flagSeed*100+uint64(i))
				f.w.big = size > 1_000_000
				f.mem.SetCapacity(size)
				if err := f.run(); err != nil {
					t.Fatalf("%v\n%s", err, replay(t, ""))
				}
			})
		}
	}
}

type fullDisk struct {
	mem *vfs.MemFS
	w   *world
	end string
}

func (f *fullDisk) run() error {
	if err := f.w.open(); err != nil {
		return err
	}
	defer func() { _ = f.w.close() }()
	for round := range 3 {
		if err := f.fill(); err != nil {
			return fmt.Errorf("filling, round %d: %w", round, err)
		}
		if err := f.w.check(); err != nil {
			return fmt.Errorf("on the full disk, round %d: %w", round, err)
		}
		if err := f.w.checkpoint(); err != nil {
			return fmt.Errorf("a checkpoint on the full disk, round %d: %w", round, err)
		}
	}
	switch f.end {
	case "close and reopen":
		if err := f.w.reopen(); err != nil {
			return fmt.Errorf("reopening on the full disk: %w", err)
		}
	case "power cut":
		_ = f.w.close()
		f.mem = f.mem.Crash(vfs.CrashLoseAll, 0)
		f.w.fs = f.mem
		if err := f.w.open(); err != nil {
			return fmt.Errorf("reopening after a power cut: %w", err)
		}
	}
	f.mem.SetCapacity(0)
	for range 5 {
		if err := f.w.commit(); err != nil {
			return fmt.Errorf("with room again: %w", err)
		}
	}
	if err := f.w.check(); err != nil {
		return err
	}
	return f.w.close()
}

// fill commits until the disk refuses several times in a row: a smaller commit
// may fit where a larger one does not.
func (f *fullDisk) fill() error {
	for refused := 0; refused < 4; {
		commit := f.w.commit
		if f.w.big && f.w.rng.IntN(3) == 0 {
			commit = f.w.bigCommit
		}
		switch err := commit(); {
		case errors.Is(err, dberr.ErrDiskFull) && !errors.Is(err, dberr.ErrPoisoned):
			refused++
		case err != nil:
			return err
		default:
			refused = 0
		}
	}
	return nil
}
