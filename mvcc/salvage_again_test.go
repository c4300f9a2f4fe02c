package mvcc

import (
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/wal"
)

// What one salvage could not find out, another one of its database does not
// take for known.
func TestSalvageOfWhatWasSalvaged(t *testing.T) {
	image, m := salvageModel(t, 2, true)
	unknown := 0
	for seed := uint64(1); seed <= 60; seed++ {
		fs := image.Crash(vfs.CrashKeepAll, 1)
		what := damage(t, fs, seed)
		if _, err := salvage(fs); errors.Is(err, dberr.ErrNotDatabase) || errors.Is(err, dberr.ErrTooNew) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		s := openSalvaged(t, fs)
		before := s.lost
		s.Close()
		if before == nil {
			continue
		}
		unknown++
		if err := fs.Remove("dir/a.pod"); err != nil {
			t.Fatal(err)
		}
		if err := wal.Remove(fs, "dir/a.pod.wal"); err != nil {
			t.Fatal(err)
		}
		if err := fs.Rename("dir/new.pod", "dir/a.pod"); err != nil {
			t.Fatal(err)
		}
		if _, err := salvage(fs); err != nil {
			t.Fatal(err)
		}
		s = openSalvaged(t, fs)
		checkSalvaged(t, s, m)
		if s.lost == nil {
			t.Errorf("seed %d: %s: %d ranges are forgotten", seed, what, len(before.ranges))
		}
		s.Close()
	}
	if unknown < 3 {
		t.Fatalf("only %d of the damages left something unknown", unknown)
	}
}
