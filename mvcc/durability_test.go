package mvcc

import (
	"errors"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

func TestWeakCommitsAreVisibleBeforeAnySync(t *testing.T) {
	for _, level := range []Durability{DurabilityInterval, DurabilityNone} {
		fault := vfs.NewFault(newFS(t))
		o := testOptions(fault)
		o.Durability, o.Interval = level, time.Hour
		s := mustOpen(t, o)
		id, _, err := commitBox(t, s, MainBranch, "x", 0, "one") // opens the log
		if err != nil {
			t.Fatal(err)
		}
		before := fault.Count(vfs.OpSync)
		_, v, err := commitBox(t, s, MainBranch, "", id, "two")
		if err != nil {
			t.Fatal(err)
		}
		if n := fault.Count(vfs.OpSync) - before; n != 0 {
			t.Fatalf("%v: %d syncs for a commit", level, n)
		}
		if got := read(t, s, v, id); got != "two" {
			t.Fatalf("%v: read %q", level, got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		if got := read(t, s, v, id); got != "two" {
			t.Fatalf("%v: read %q after Close", level, got)
		}
		if st := s.Stats(); st.Durability != level {
			t.Fatalf("stats say %v", st.Durability)
		}
		s.Close()
	}
}

func TestIntervalSyncsByItself(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.Durability, o.Interval = DurabilityInterval, time.Millisecond
	slow := make(chan time.Duration, 100)
	o.Events.SlowSync, o.SlowSync = func(d time.Duration) { slow <- d }, 1
	s := mustOpen(t, o)
	defer s.Close()
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	<-slow
	for uint64(s.log.Load().Durable()) < s.applied {
		time.Sleep(time.Millisecond)
	}
	if h := s.Stats().LogSyncs; h.Count == 0 || h.Max == 0 {
		t.Fatalf("histogram of syncs %+v", h)
	}
	o.FS = fs.Crash(vfs.CrashLoseAll, 1)
	again := mustOpen(t, o)
	defer again.Close()
	if got := read(t, again, v, id); got != "one" {
		t.Fatalf("read %q", got)
	}
}

// A sync of the log fails in the background, and nothing is written after it.
func TestFailedBackgroundSyncPoisons(t *testing.T) {
	fs := newFS(t)
	fault := vfs.NewFault(fs)
	o := testOptions(fault)
	o.Durability, o.Interval = DurabilityInterval, time.Millisecond
	s := mustOpen(t, o)
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	for uint64(s.log.Load().Durable()) < s.applied {
		time.Sleep(time.Millisecond)
	}
	fs.FailSync(1)
	if _, _, err := commitBox(t, s, MainBranch, "", id, "two"); err != nil {
		t.Fatal(err)
	}
	for s.log.Load().Poisoned() == nil {
		time.Sleep(time.Millisecond)
	}
	writes := func() int { return fault.Count(vfs.OpWrite) + fault.Count(vfs.OpTruncate) + fault.Count(vfs.OpSync) }
	before := writes()
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	if n := writes() - before; n != 0 {
		t.Fatalf("Close of a poisoned store wrote: %d operations", n)
	}
	o.FS = fs.Crash(vfs.CrashLoseAll, 1)
	s = mustOpen(t, o)
	defer s.Close()
	if h := must(s.Head(bg, MainBranch))(t); h != v {
		t.Fatalf("head is %d, expected %d", h, v)
	}
	verifyClean(t, s)
}
