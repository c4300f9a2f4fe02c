package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// pruneStart makes a closed database with branches, sharing and history, and
// its model.
func pruneStart(t *testing.T, seed uint64) (*vfs.MemFS, *model) {
	t.Helper()
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	m := newModel()
	rng := rand.New(rand.NewPCG(seed, 12))
	for i := range 40 {
		if i == 12 {
			if err := s.CreateBranch(bg, "b", Version(5)); err != nil {
				t.Fatal(err)
			}
			m.heads["b"], m.base["b"] = 5, 5
		}
		if i == 20 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
		branch := MainBranch
		if i > 12 && i%4 == 0 {
			branch = "b"
		}
		x := m.begin(t, s, rng, branch, m.heads[branch])
		x.fill(t)
		x.commit(t)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, m
}

// pruneTwice prunes with a snapshot open, commits, and prunes again. It returns
// how far it got: the least that each prune begun had to keep.
func pruneTwice(fs *vfs.MemFS, m *model) (keep map[Version]bool, done int) {
	o := testOptions(fs)
	s, err := Open(bg, o)
	if err != nil {
		return nil, 0
	}
	defer s.Close()
	s.queueChunk, s.windowRows, s.retireWeight = 7, 4, 60
	sn, err := s.At(bg, 9)
	if err != nil {
		return nil, 0
	}
	defer sn.Close()
	run := &pruneRun{model: m, open: []*Snapshot{sn}, gone: map[Version]bool{}}
	keep = run.toKeep(8)
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 8}); err != nil {
		return keep, 0
	}
	for v := range m.versions {
		run.gone[Version(v)] = !keep[Version(v)]
	}
	keep = run.toKeep(2)
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 2}); err != nil {
		return keep, 1
	}
	return keep, 2
}

func TestCrashAtEveryOperationOfPrune(t *testing.T) {
	seed := max(*seedFlag, 1)
	start, m := pruneStart(t, seed)
	whole := start.Restart()
	if _, done := pruneTwice(whole, m); done != 2 {
		t.Fatalf("%d prunes", done)
	}
	ops := whole.Ops()
	step := 1 // with a seed given; else a part of it, which takes seconds
	if *seedFlag == 0 {
		step = 5
		if testing.Short() {
			step = 11
		}
	}
	images, partly := 0, 0
	for n := 1; n <= ops+1; n += step {
		fs := start.Restart()
		fs.CrashAt(n)
		keep, done := pruneTwice(fs, m)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix} {
			images++
			what := fmt.Sprintf("crash at operation %d of %d, %v (-mvcc.seed=%d)", n, ops, kind, seed)
			if checkPruneCrash(t, what, fs.Crash(kind, uint64(n*8+i)), m, keep, done) {
				partly++
			}
			if t.Failed() {
				return
			}
		}
	}
	if partly == 0 {
		t.Fatal("no image has reclaim half done: the test proves nothing")
	}
	t.Logf("%d operations, %d images, %d with reclaim half done", ops, images, partly)
}

// checkPruneCrash opens what a crash left. It reports whether reclaim was half
// done.
func checkPruneCrash(t *testing.T, what string, image *vfs.MemFS, m *model, keep map[Version]bool, done int) (partly bool) {
	t.Helper()
	s, err := Open(bg, testOptions(image))
	if err != nil {
		t.Errorf("%s: Open: %v", what, err)
		return false
	}
	defer func() {
		if t.Failed() {
			t.Log(what)
		}
	}()
	for v := range m.versions {
		v := Version(v)
		if sn, err := s.At(bg, v); err == nil {
			sn.Close()
			m.check(t, s, v)
		} else if !errors.Is(err, dberr.ErrVersionGone) || keep == nil || keep[v] {
			t.Errorf("%s: At %d after %d prunes: %v", what, v, done, err)
			return false
		}
	}
	verifyClean(t, s)
	partly = s.reclaimable.Load()
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
		t.Errorf("%s: Prune after recovery: %v", what, err)
		return partly
	}
	for _, head := range m.heads {
		m.check(t, s, head)
	}
	rep := verifyClean(t, s)
	if s.reclaimable.Load() || rep.PodVersions > uint64(len(m.pods)*3) {
		t.Errorf("%s: %d pod versions are left after a prune", what, rep.PodVersions)
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: Close: %v", what, err)
	}
	return partly
}
