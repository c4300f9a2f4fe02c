package mvcc

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// crashRun is a short workload on a file system that stops at operation n. It
// returns the model and the newest version that was acknowledged; the model
// may have one more, whose commit got no answer.
func crashRun(t *testing.T, fs *vfs.MemFS, seed uint64) (m *model, acked Version) {
	rng := rand.New(rand.NewPCG(seed, 2))
	m = newModel()
	s, err := Open(bg, testOptions(fs))
	if err != nil {
		return m, 0
	}
	defer s.Close()
	for step := range 12 {
		switch step {
		case 4, 9:
			if s.Checkpoint(bg) != nil {
				return m, acked
			}
			continue
		case 6:
			if s.CreateBranch(bg, "b", acked) != nil {
				return m, acked
			}
			m.heads["b"], m.base["b"] = acked, acked
			continue
		case 7:
			if s.Close() != nil {
				return m, acked
			}
			if s, err = Open(bg, testOptions(fs)); err != nil {
				return m, acked
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
			return m, acked
		}
		acked = v
	}
	return m, acked
}

func TestCrashAtEveryOperationKeepsWhatWasAcknowledged(t *testing.T) {
	seed := max(*seedFlag, 1)
	clean := newFS(t)
	crashRun(t, clean, seed)
	ops := clean.Ops()
	step := 1
	if testing.Short() {
		step = 7
	}
	lost := 0
	for n := 1; n <= ops+1; n += step {
		fs := newFS(t)
		fs.CrashAt(n)
		m, acked := crashRun(t, fs, seed)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix, vfs.CrashMix} {
			image := fs.Crash(kind, uint64(n*8+i))
			if image.Lost() {
				lost++
			}
			what := fmt.Sprintf("crash at operation %d of %d, %v, image %d (-mvcc.seed=%d)", n, ops, kind, i, seed)
			checkCrashed(t, what, image, m, acked)
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

func checkCrashed(t *testing.T, what string, image *vfs.MemFS, m *model, acked Version) {
	t.Helper()
	if _, err := image.Stat("dir"); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	s, err := Open(bg, testOptions(image))
	if err != nil {
		t.Errorf("%s: Open: %v", what, err)
		return
	}
	newest := s.published.Load().version
	if newest < acked || newest >= Version(len(m.versions)) {
		t.Errorf("%s: newest version is %d, acknowledged %d, begun %d", what, newest, acked, len(m.versions)-1)
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
