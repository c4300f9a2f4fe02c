package mvcc

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// lineWriter is a writer for a logger that several goroutines use.
type lineWriter struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lineWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// The logger hears of what nobody is told by a return value: that Open recovered
// a log, and once why writing ended.
func TestTheLoggerHearsOfRecoveryAndOfPoison(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem)
	s := mustOpen(t, o)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "one"); err != nil {
		t.Fatal(err)
	}
	crashed := mem.Crash(vfs.CrashLoseAll, 1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs, heard := vfs.NewFault(crashed), &lineWriter{}
	o.FS, o.Logger = fs, slog.New(slog.NewTextHandler(heard, nil))
	s = mustOpen(t, o)
	if text := heard.String(); !strings.Contains(text, "log recovered") || !strings.Contains(text, "groups=1") {
		t.Errorf("after a crash the logger heard %q", text)
	}
	cause := errors.New("the cable is out")
	fs.FailKind(vfs.OpSync, cause, true)
	one, two := begin(t, s, MainBranch), begin(t, s, MainBranch)
	for i, tx := range []*Tx{one, two} {
		c := box(tx.NewPod(), "y")
		if err := errors.Join(tx.Put(bg, c), tx.SetName(bg, "y", c.ID)); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(bg, CommitInfo{}); !errors.Is(err, [...]error{dberr.ErrCommitUnknown, dberr.ErrPoisoned}[i]) {
			t.Fatalf("commit %d, whose sync fails: %v", i, err)
		}
	}
	if text := heard.String(); strings.Count(text, "refuses writes") != 1 || !strings.Contains(text, cause.Error()) {
		t.Errorf("after three failures the logger heard %q", text)
	}
	s.Close()
}

// Hits and misses of both caches are counted.
func TestStatsCountWhatTheCachesGive(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	id, v, err := commitBox(t, s, MainBranch, "x", 0, randomText(1, 3000))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	before := s.Stats()
	after := before
	for i := 0; i < 1e6 && after.PodCache.Hits == 0; i++ { // it takes things in when it gets to it
		read(t, s, v, id)
		after = s.Stats()
	}
	if after.PodCache.Hits == 0 || after.PodCache.Misses == 0 || after.PodCache.Bytes == 0 ||
		after.PageCacheHits == before.PageCacheHits || before.PageCacheMiss == 0 {
		t.Errorf("before reading %+v, after it %+v", before, after)
	}
}

// A clock that jumps, back or far ahead, moves no commit before an older one, and
// nothing else depends on it.
func TestAClockThatJumpsOrdersNothing(t *testing.T) {
	o := testOptions(newFS(t))
	now := time.Unix(1_700_000_000, 0)
	var mu sync.Mutex
	o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	jump := func(to time.Time) {
		mu.Lock()
		defer mu.Unlock()
		now = to
	}
	s := mustOpen(t, o)
	for i, to := range []time.Time{now, now.Add(-48 * time.Hour), {}, time.Unix(0, 0), now.Add(80 * 365 * 24 * time.Hour), now, time.Unix(0, -1<<63), now} {
		jump(to)
		sn := must(s.At(bg, Version(i)))(t)
		if _, _, err := commitBox(t, s, MainBranch, "x", 0, "text"); err != nil {
			t.Fatal(err)
		}
		if i%3 == 1 {
			if err := errors.Join(s.Checkpoint(bg), s.Close()); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, o)
		}
		if st := s.Stats(); st.OldestAge < 0 {
			t.Errorf("a snapshot is %v old", st.OldestAge)
		}
		sn.Close()
	}
	var newer time.Time
	n := 0
	for c, err := range s.Log(bg, MainBranch) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n > 1 && !c.Time.Before(newer) {
			t.Errorf("version %d was committed at %v, the next one at %v", c.Version, c.Time, newer)
		}
		newer = c.Time
	}
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 2}); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
