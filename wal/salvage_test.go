package wal

import (
	"context"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

func salvaged(t *testing.T, fs vfs.FS, from LSN) (Salvaged, []Group) {
	t.Helper()
	o := testOptions(fs, 1)
	o.Identity = [16]byte{}
	var groups []Group
	out, err := Salvage(context.Background(), o, from, func(g Group) error {
		groups = append(groups, g)
		return nil
	})
	if err != nil && !errors.Is(err, dberr.ErrTooNew) {
		t.Fatal(err)
	}
	if out.Groups != len(groups) {
		t.Fatalf("%d groups delivered, counted %d", len(groups), out.Groups)
	}
	return out, groups
}

// Whatever bit is flipped, the groups before it come, and nothing that was
// promised is missing in silence.
func TestSalvageDeliversWhatIsBeforeTheDamage(t *testing.T) {
	fs, want, promised := sampleLog(t)
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	if out, groups := salvaged(t, fs, FirstLSN); strs(groups) != strs(want) || len(out.Damage) != 0 || out.Identity != testIdentity {
		t.Fatalf("undamaged: %s, %v", strs(groups), out)
	}
	found, short := 0, 0
	for _, name := range names {
		info, err := fs.Stat(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < info.Size; off += 3 {
			fs := fs.Crash(vfs.CrashKeepAll, 0)
			flip(t, fs, name, off)
			before := fs.Ops()
			out, groups := salvaged(t, fs, FirstLSN)
			if fs.Ops() != before {
				t.Fatalf("%s byte %d: the log was written to", name, off)
			}
			if !strings.HasPrefix(strs(want), strs(groups)) {
				t.Fatalf("%s byte %d: %s", name, off, strs(groups))
			}
			if len(groups) < promised && len(out.Damage) == 0 {
				t.Fatalf("%s byte %d: %d of %d promised groups, and no damage", name, off, len(groups), promised)
			}
			found += len(out.Damage)
			if len(groups) < len(want) {
				short++
			}
		}
	}
	if found == 0 || short == 0 {
		t.Errorf("%d found, %d short: the test proves nothing", found, short)
	}
}

func TestSalvageStopsAtAMissingSegment(t *testing.T) {
	fs, want, _ := sampleLog(t)
	names, _ := fs.List(testDir)
	for i, name := range names {
		fs := fs.Crash(vfs.CrashKeepAll, 0)
		if err := fs.Remove(path.Join(testDir, name)); err != nil {
			t.Fatal(err)
		}
		out, groups := salvaged(t, fs, FirstLSN)
		if len(out.Damage) == 0 || !strings.HasPrefix(strs(want), strs(groups)) || (i > 0) != (len(groups) > 0) {
			t.Errorf("without %s: %s, %v", name, strs(groups), out.Damage)
		}
		// A log without known beginning is read from where it begins.
		if _, groups = salvaged(t, fs, 0); i == 0 && !strings.HasSuffix(strs(want), strs(groups)) {
			t.Errorf("without %s: %s", name, strs(groups))
		}
	}
}
