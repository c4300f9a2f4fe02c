package mvcc

import (
	"errors"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// A panic in the background, here of the program's own callback, ends all
// writing, though log and page file know nothing of it: Close writes nothing
// either, and the next process finds everything.
func TestAPanicInTheBackgroundPoisons(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.CheckpointBytes = 1000
	poisoned := make(chan error, 1)
	o.Events = Events{
		Checkpoint: func(CheckpointEvent) { panic("by the program") },
		Poison:     func(cause error) { poisoned <- cause },
	}
	s := mustOpen(t, o)
	id, _, err := commitBox(t, s, MainBranch, "x", 0, randomText(1, 5000))
	if err != nil {
		t.Fatal(err)
	}
	if cause := <-poisoned; !errors.Is(cause, dberr.ErrPoisoned) {
		t.Fatalf("poisoned by %v", cause)
	}
	before := filesOf(t, fs)
	if _, err := s.Begin(bg, MainBranch, 1); !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
		t.Errorf("a later transaction: %v", err)
	}
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Errorf("Close: %v", err)
	}
	if !reflect.DeepEqual(filesOf(t, fs), before) {
		t.Error("files changed after the panic")
	}
	s = mustOpen(t, testOptions(fs.Restart()))
	defer s.Close()
	if read(t, s, 1, id) != randomText(1, 5000) {
		t.Error("the commit before the panic is gone")
	}
	verifyClean(t, s)
}

// filesOf reads the page file and the log.
func filesOf(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, dir := range []string{"dir", "dir/a.pod.wal"} {
		for _, n := range must(fs.List(dir))(t) {
			name := dir + "/" + n
			if info := must(fs.Stat(name))(t); info.IsDir || n == "a.pod.lock" {
				continue
			}
			f := must(fs.Open(name, 0))(t)
			b := make([]byte, must(f.Size())(t))
			if _, err := f.ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
		}
	}
	return files
}

// The log is whole when a checkpoint's sync has failed; still nothing is written
// any more, not even its end.
func TestAfterAFailedCheckpointNothingIsWritten(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	id, _, err := commitBox(t, s, MainBranch, "x", 0, randomText(1, 5000))
	if err != nil {
		t.Fatal(err)
	}
	fs.FailSync(1)
	if err := s.Checkpoint(bg); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a checkpoint whose sync fails: %v", err)
	}
	before := filesOf(t, fs)
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Errorf("Close: %v", err)
	}
	if !reflect.DeepEqual(filesOf(t, fs), before) {
		t.Error("files changed after the failed sync")
	}
	s = mustOpen(t, testOptions(fs.Restart()))
	defer s.Close()
	if read(t, s, 1, id) != randomText(1, 5000) {
		t.Error("the commit before the checkpoint is gone")
	}
}
