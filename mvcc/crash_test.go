package mvcc

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// crashRun is a short workload on a file system that stops at operation n. It
// returns the model and the newest version that must survive: the newest that
// was acknowledged, or checkpointed at the weaker levels. The model may have one
// more than was acknowledged, whose commit got no answer.
func crashRun(t *testing.T, fs *vfs.MemFS, level Durability, seed uint64) (m *model, kept Version) {
	rng := rand.New(rand.NewPCG(seed, 2))
	m = newModel()
	o := testOptions(fs)
	o.Durability, o.Interval = level, time.Hour
	o.streamFrom = 400 // some of the commits are streamed
	var acked Version
	defer func() {
		if level == DurabilityFull {
			kept = acked
		}
	}()
	s, err := Open(bg, o)
	if err != nil {
		return m, 0
	}
	defer s.Close()
	for step := range 12 {
		switch step {
		case 4, 9:
			if s.Checkpoint(bg) != nil {
				return m, kept
			}
			kept = acked
			continue
		case 6:
			if s.CreateBranch(bg, "b", acked) != nil {
				return m, kept
			}
			m.heads["b"], m.base["b"] = acked, acked
			continue
		case 7:
			if s.Close() != nil {
				return m, kept
			}
			kept = acked
			if s, err = Open(bg, o); err != nil {
				return m, kept
			}
			continue
		}
		branch := pick(rng, slices.Sorted(maps.Keys(m.heads)))
		x := m.begin(t, s, rng, branch, m.heads[branch])
		x.fill(t)
		v, err := x.tx.Commit(bg, CommitInfo{})
		if err == nil && v == x.base {
			continue
		}
		x.land(Version(len(m.versions)))
		if err != nil {
			return m, kept
		}
		acked = v
	}
	return m, kept
}

func TestCrashAtEveryOperationKeepsWhatWasAcknowledged(t *testing.T) {
	crashEverywhere(t, DurabilityFull)
}

// At the weaker levels too a crash leaves the state as of some commit, at least
// the newest that a checkpoint moved into the page file.
func TestCrashAtAnyLevelLeavesTheStateAsOfACommit(t *testing.T) {
	for _, level := range []Durability{DurabilityInterval, DurabilityNone} {
		t.Run(level.String(), func(t *testing.T) { crashEverywhere(t, level) })
	}
}

func crashEverywhere(t *testing.T, level Durability) {
	seed := max(*seedFlag, 1)
	clean := newFS(t)
	crashRun(t, clean, level, seed)
	ops := clean.Ops()
	step := 1
	if testing.Short() {
		step = 7
	}
	lost := 0
	for n := 1; n <= ops+1; n += step {
		fs := newFS(t)
		fs.CrashAt(n)
		m, kept := crashRun(t, fs, level, seed)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix, vfs.CrashMix} {
			image := fs.Crash(kind, uint64(n*8+i))
			if image.Lost() {
				lost++
			}
			what := fmt.Sprintf("crash at operation %d of %d, %v, image %d (-mvcc.seed=%d)", n, ops, kind, i, seed)
			checkCrashed(t, what, image, level, m, kept)
			if t.Failed() {
				return
			}
		}
	}
	if lost == 0 {
		t.Fatal("no image lost anything: the test proves nothing")
	}
	t.Logf("%d operations, %d images that lost data", ops, lost)
}

func checkCrashed(t *testing.T, what string, image *vfs.MemFS, level Durability, m *model, kept Version) {
	t.Helper()
	if _, err := image.Stat("dir"); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	o := testOptions(image)
	o.Durability = level
	s, err := Open(bg, o)
	if err != nil {
		t.Errorf("%s: Open: %v", what, err)
		return
	}
	newest := s.published.Load().version
	if newest < kept || newest >= Version(len(m.versions)) {
		t.Errorf("%s: newest version is %d, to be kept %d, begun %d", what, newest, kept, len(m.versions)-1)
		return
	}
	defer func() {
		if t.Failed() {
			t.Log(what)
		}
	}()
	for v := range newest + 1 {
		m.check(t, s, v)
	}
	verifyClean(t, s)
	if _, _, err := commitBox(t, s, MainBranch, "after", 0, "the crash"); err != nil {
		t.Errorf("%s: commit after recovery: %v", what, err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: Close: %v", what, err)
	}
}
