package wal

import (
	"errors"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// The sequences of steps that broke other logs, each with its name. The stale
// record behind a cut is TestCutGroupNeverRevivesBehindAnIdenticalOne.

// A sync fails, the process ends, the next one reads the group from the page
// cache and shows it; then the power goes. It must have been written again, into
// another file, before it was shown: a sync of the old one proves nothing.
func TestStepsReopenAfterAFailedSyncThenPowerCut(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, text("sure"))
	fs.FailSync(1)
	if _, errs := submitBatch(l, []entry{text("unsure")}); !errors.Is(errs[0], dberr.ErrCommitUnknown) {
		t.Fatal(errs)
	}
	l.Close()
	shown, r := recoveredThenPowerCut(t, fs.Restart())
	if shown != "sure;unsure;" || r.Rewritten == 0 {
		t.Fatalf("%s, %+v", shown, r)
	}
}

// The same with the sync of the directory that a new segment's name was in: the
// name can be seen and may be gone after a power cut.
func TestStepsNameOfASegmentInAFailedSyncThenPowerCut(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, text("sure"))
	fs.FailSync(2) // the new segment's file, then its name
	if err := submitOne(l, make([]byte, 4000)); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	l.Close()
	next := fs.Restart()
	if names, _ := next.List(testDir); len(names) != 2 {
		t.Fatalf("%q: the new segment cannot be seen", names)
	}
	if shown, _ := recoveredThenPowerCut(t, next); shown != "sure;" {
		t.Fatal(shown)
	}
}

// recoveredThenPowerCut opens a log, loses all that is not synced, and opens it
// again: both must show the same.
func recoveredThenPowerCut(t *testing.T, fs *vfs.MemFS) (shown string, r Recovered) {
	t.Helper()
	l, r, groups := mustOpen(t, testOptions(fs, 2), 0)
	image := fs.Crash(vfs.CrashLoseAll, 0)
	l.Close()
	l, _, again := mustOpen(t, testOptions(image, 3), 0)
	l.Close()
	if strs(again) != strs(groups) {
		t.Fatalf("after the power cut: %s, shown before: %s", strs(again), strs(groups))
	}
	return strs(groups), r
}

// A group is lost and the ones behind it reached the disk: an ordinary crash of
// what was never synced. The log ends at the hole; those behind never come back.
func TestStepsValidRecordBehindAnUnsyncedHole(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	o.Sync = None
	l, _, _ := mustOpen(t, o, 0)
	ack(t, l, text("synced"))
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	hole := l.w.cur.offset(l.w.at)
	ack(t, l, text("hole"))
	for range 3 {
		ack(t, l, text("behind"))
	}
	image := fs.Crash(vfs.CrashKeepAll, 0)
	l.w.closeFilesForCrash(t, l)
	file, err := image.Open(segmentInfo{number: 1}.path(testDir), vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeFull(file, make([]byte, sector), hole); err != nil {
		t.Fatal(err)
	}
	file.Close()
	l, r, groups := mustOpen(t, testOptions(image, 2), 0)
	if strs(groups) != "synced;" || !r.Cut {
		t.Fatalf("%s %+v", strs(groups), r)
	}
	// The same group again, where the hole was.
	ack(t, l, text("hole"))
	l.w.closeFilesForCrash(t, l)
	l, _, groups = mustOpen(t, testOptions(image, 3), 0)
	l.Close()
	if strs(groups) != "synced;hole;" {
		t.Fatalf("then %s", strs(groups))
	}
}

// A file is cut off anywhere. Where a promise or the next segment says that more
// was synced, the log is refused and nothing is written; where none does, it
// ends earlier and holds all that a promise that is left covers.
func TestStepsTruncation(t *testing.T) {
	fs, want, _ := sampleLog(t)
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	refused, cut := 0, 0
	for i, name := range names {
		info, err := fs.Stat(testDir + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for size := int64(0); size < info.Size; size += 8 {
			image := fs.Crash(vfs.CrashKeepAll, 0)
			file, err := image.Open(testDir+"/"+name, vfs.ReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Truncate(size); err != nil {
				t.Fatal(err)
			}
			file.Close()
			before := image.Ops()
			l, _, groups, err := openLog(testOptions(image, 1), 0)
			switch last := i == len(names)-1; {
			case errors.Is(err, dberr.ErrCorrupt):
				if refused++; image.Ops() != before {
					t.Fatalf("%s cut to %d was refused and written to", name, size)
				}
			case err != nil:
				t.Fatalf("%s cut to %d: %v", name, size, err)
			case !strings.HasPrefix(strs(want), strs(groups)):
				t.Fatalf("%s cut to %d: %s", name, size, strs(groups))
			case !last && len(groups) != len(want):
				t.Fatalf("%s cut to %d: %d of %d groups, although a segment follows", name, size, len(groups), len(want))
			default:
				cut++
				l.Close()
			}
		}
	}
	if refused == 0 || cut == 0 {
		t.Errorf("%d refused, %d cut: the test proves nothing", refused, cut)
	}
}
