package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// timed makes commits of a line at times, in hours, versions 1, 2, 3 ….
func timed(hours ...float64) []lineCommit {
	var list []lineCommit
	last := int64(0)
	for i, h := range hours {
		last = max(last+1, int64(h*float64(time.Hour))) // as the sequencer gives them
		list = append(list, lineCommit{version: Version(i + 1), time: last})
	}
	return list
}

func keptBy(r rules, commits []lineCommit, nowHours float64) []Version {
	gone := r.victims(&line{}, commits, int64(nowHours*float64(time.Hour)))
	var kept []Version
	for _, c := range commits {
		if !gone[c.version] {
			kept = append(kept, c.version)
		}
	}
	return kept
}

const day = 24 * time.Hour

func TestPolicies(t *testing.T) {
	quarters := func(n int) (h []float64) { // four commits an hour
		for i := range n {
			h = append(h, float64(i)/4)
		}
		return h
	}
	gfs := []Tier{{0, day}, {time.Hour, 7 * day}, {day, 0}}
	for _, c := range []struct {
		what    string
		r       rules
		commits []lineCommit
		now     float64
		want    string
	}{
		{"all", rules{all: true}, timed(1, 2, 3), 9, "[1 2 3]"},
		{"last 2", rules{last: 2}, timed(1, 2, 3), 9, "[2 3]"},
		{"for 3 hours", rules{tiers: []Tier{{0, 3 * time.Hour}}}, timed(quarters(40)...), 39.0 / 4, "[28 29 30 31 32 33 34 35 36 37 38 39 40]"},
		{"for an hour at four an hour: ten gaps", rules{tiers: []Tier{{0, time.Hour}}}, timed(quarters(40)...), 39.0 / 4, "[30 31 32 33 34 35 36 37 38 39 40]"},
		{"for an hour, long ago: the newest", rules{tiers: []Tier{{0, time.Hour}}}, timed(1), 1000, "[1]"},
		{"hourly", rules{tiers: []Tier{{time.Hour, 0}}}, timed(quarters(12)...), 99, "[4 8 12]"},
		{"hourly or last 2", rules{last: 2, tiers: []Tier{{time.Hour, 0}}}, timed(quarters(12)...), 99, "[4 8 11 12]"},
		{"nothing committed yet", rules{last: 1}, nil, 1, "[]"},
	} {
		if got := fmt.Sprint(keptBy(c.r, c.commits, c.now)); got != c.want {
			t.Errorf("%s: kept %s, want %s", c.what, got, c.want)
		}
	}
	// All for a day, hourly for a week, daily for ever, over twenty days.
	n := 20 * 24 * 4
	commits := timed(quarters(n)...)
	kept := keptBy(rules{tiers: gfs}, commits, float64(n)/4)
	if want := 24*4 + 6*24 + 13; len(kept) < want-1 || len(kept) > want+2 {
		t.Errorf("%d kept of %d, expected about %d", len(kept), n, want)
	}
	// Pruned every hour on the way, the same is left.
	var live []lineCommit
	for i, c := range commits {
		live = append(live, c)
		if i%4 == 3 || i == n-1 {
			gone := rules{tiers: gfs}.victims(&line{}, live, c.time)
			live = slices.DeleteFunc(live, func(c lineCommit) bool { return gone[c.version] })
		}
	}
	once := rules{tiers: gfs}.victims(&line{}, commits, commits[n-1].time)
	for _, c := range live {
		if once[c.version] {
			t.Errorf("version %d is left by many prunes and not by one", c.version)
		}
	}
	if len(live) != n-len(once) {
		t.Errorf("many prunes leave %d, one leaves %d", len(live), n-len(once))
	}
}

// A clock that jumps, forward or back, for a while or for good, deletes no more than
// a tenth of the span would.
func TestAClockThatJumpsDeletesNoHistory(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		const span, n = 100.0, 400
		jumpAt, jump := rng.IntN(n+1), (rng.Float64()-0.3)*1e6 // hours; after commit n it is the prune that sees it
		backAt := jumpAt + rng.IntN(n)
		var clock []float64
		var truth []float64
		for i := range n + 1 { // the last one is the clock of the prune
			at := 2e6 + float64(i)
			truth = append(truth, at)
			if i >= jumpAt && i < backAt {
				at += jump
			}
			clock = append(clock, at)
		}
		kept := keptBy(rules{tiers: []Tier{{0, time.Duration(span * float64(time.Hour))}}}, timed(clock[:n]...), clock[n])
		for i := range n {
			if truth[n]-truth[i] <= span*0.8 && !slices.Contains(kept, Version(i+1)) {
				t.Fatalf("seed %d: the clock jumps %.0f hours at commit %d and back at %d; commit %d, %.0f hours old, is deleted (KeepFor %.0f)",
					seed, jump, jumpAt, backAt, i, truth[n]-truth[i], span)
			}
		}
		if jump == 0 || backAt == jumpAt {
			if len(kept) > int(span)+1 {
				t.Fatalf("seed %d: %d kept without a jump", seed, len(kept))
			}
		}
	}
}

func TestRulesThatCannotBe(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for _, o := range []PruneOptions{{}, {KeepLast: -1, KeepAll: true}, {Tiers: []Tier{{-1, 0}}}, {Tiers: []Tier{{0, -1}}}} {
		if _, err := s.Prune(bg, o); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Tiers on a database: the dry run says what goes, and what is kept can be read.
func TestPruneByTime(t *testing.T) {
	o := testOptions(newFS(t))
	now := time.Unix(1_000_000_000, 0)
	o.Now = func() time.Time { return now }
	s := mustOpen(t, o)
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		now = now.Add(20 * time.Minute)
		if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	keep := PruneOptions{Tiers: []Tier{{0, 2 * time.Hour}, {time.Hour, 0}}, DryRun: true}
	dry := must(s.Prune(bg, keep))(t)
	keep.DryRun = false
	rep := must(s.Prune(bg, keep))(t)
	if rep.Versions != dry.Versions || rep.PodVersions != dry.PodVersions || rep.Versions < 120 || rep.Versions > 135 {
		t.Fatalf("dry run %+v, then %+v", dry, rep)
	}
	if again := must(s.Prune(bg, keep))(t); again.Versions != 0 {
		t.Fatalf("a second prune removes %d more", again.Versions)
	}
	for c, err := range s.Log(bg, MainBranch) {
		if err != nil {
			t.Fatal(err)
		}
		if got := readBox(t, s, c.Version, "x"); got != fmt.Sprint(c.Version-1) {
			t.Fatalf("version %d has %q", c.Version, got)
		}
	}
	verifyClean(t, s)
}
