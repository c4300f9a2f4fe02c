package wal

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/poddb/poddb/internal/vfs"
)

var (
	seedFlag  = flag.Uint64("wal.seed", 0, "replay one seed of the crash campaigns")
	seedsFlag = flag.Int("wal.seeds", 2, "how many seeds the crash campaigns try")
	deepFlag  = flag.Bool("wal.deep", false, "crash the recovery of every image, not of one in seven")
)

func seeds() []uint64 {
	if *seedFlag != 0 {
		return []uint64{*seedFlag}
	}
	var s []uint64
	for i := range *seedsFlag {
		s = append(s, uint64(i+1))
	}
	return s
}

type image struct {
	kind vfs.CrashKind
	seed uint64
}

func images(mixes int) []image {
	all := []image{{vfs.CrashLoseAll, 0}, {vfs.CrashKeepAll, 0}, {vfs.CrashNewestOnly, 0}, {vfs.CrashNewestOnly, 1}}
	for i := range mixes {
		all = append(all, image{vfs.CrashMix, uint64(i)})
	}
	return all
}

// eachSeed runs one bubble for each seed and says how to replay it.
func eachSeed(t *testing.T, run func(t *testing.T, seed uint64)) {
	for _, seed := range seeds() {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("replay: go test ./wal -run '%s' -wal.seed %d", t.Name(), seed)
				}
			}()
			synctest.Test(t, func(t *testing.T) { run(t, seed) })
		})
	}
}

// recoverTwice recovers an image, once whole and once crashed at each
// operation of the recovery; afterwards the log goes on and crashes again.
func recoverTwice(t *testing.T, fs *vfs.MemFS, m *model, seed uint64, turn int, what string) {
	t.Helper()
	whole := m.clone()
	if !*deepFlag && turn%7 != 0 {
		recoverOnce(t, fs, whole, seed, what)
		return
	}
	second := fs.Crash(vfs.CrashKeepAll, 0)
	before := second.Ops()
	recoverOnce(t, second, whole, seed, what)
	ops := second.Ops() - before
	for k := 1; k <= ops; k++ {
		for _, im := range images(2) {
			where := fmt.Sprintf("%s; recovery crashed at op %d of %d, %v/%d", what, k, ops, im.kind, im.seed)
			fs := fs.Crash(vfs.CrashKeepAll, 0)
			fs.CrashAt(fs.Ops() + k)
			m := m.clone()
			if l, _, groups, err := openLog(testOptions(fs, seed+1), m.from); err == nil {
				if err := m.check(groups); err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				m.commit(t, l, []entry{text("in flight at the second crash")})
				l.Close()
			}
			recoverOnce(t, fs.Crash(im.kind, im.seed+uint64(k)), m, seed+2, where)
		}
	}
}

// recoverOnce recovers, commits two more groups and loses power.
func recoverOnce(t *testing.T, fs *vfs.MemFS, m *model, seed uint64, what string) {
	t.Helper()
	l, _, groups, err := openLog(testOptions(fs, seed), m.from)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := m.check(groups); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for i := range 2 {
		if !m.commit(t, l, []entry{text("after", fmt.Sprint(i))}) {
			t.Fatalf("%s: the recovered log takes nothing: %v", what, l.Poisoned())
		}
	}
	l.w.closeFilesForCrash(t, l)
	image := fs.Crash(vfs.CrashLoseAll, 0)
	l, _, groups, err = openLog(testOptions(image, seed+9), m.from)
	if err != nil {
		t.Fatalf("%s; then power lost: %v", what, err)
	}
	defer l.Close()
	if err := m.check(groups); err != nil {
		t.Fatalf("%s; then power lost: %v", what, err)
	}
}

// closeFilesForCrash ends the log's goroutine without a clean end.
func (w *writer) closeFilesForCrash(t *testing.T, l *Log) {
	l.setPoison(fmt.Errorf("power lost"))
	l.Close()
}

// Every acknowledged group survives a crash at any operation, whole and in
// order, and so does it a second crash during recovery.
func TestCrashAtEveryOpLosesNothingAcknowledged(t *testing.T) {
	lost := false
	eachSeed(t, func(t *testing.T, seed uint64) {
		clean := vfs.NewMem()
		(&model{}).workload(t, clean, seed, 14)
		total := clean.Ops()
		for k := 1; k <= total; k++ {
			fs := vfs.NewMem()
			fs.CrashAt(k)
			m := &model{}
			m.workload(t, fs, seed, 14)
			for i, im := range images(3) {
				image := fs.Crash(im.kind, im.seed+uint64(k)<<8)
				lost = lost || image.Lost()
				recoverTwice(t, image, m, seed, k+i, fmt.Sprintf("crash at op %d of %d, %v/%d", k, total, im.kind, im.seed))
			}
		}
	})
	if !lost {
		t.Error("no image lost unsynced data: the test proves nothing")
	}
}

// After a sync failed, the process ends and another one reads what the page
// cache shows. What that one recovered must survive a power cut.
func TestFailedSyncIsNotHealedByReopening(t *testing.T) {
	eachSeed(t, func(t *testing.T, seed uint64) {
		for n := 1; n <= 50; n++ {
			fs := vfs.NewMem()
			fs.FailSync(n)
			m := &model{}
			m.workload(t, fs, seed, 14)
			again := fs.Restart()
			recoverOnce(t, again, m.clone(), seed+3, fmt.Sprintf("sync %d failed", n))
			for i, im := range images(3) {
				recoverTwice(t, fs.Crash(im.kind, im.seed), m.clone(), seed, n+i, fmt.Sprintf("sync %d failed, then %v/%d", n, im.kind, im.seed))
			}
		}
	})
}

// A full disk undoes the groups that it stopped: they never come back, and the
// log goes on.
func TestDiskFullUndoesCleanly(t *testing.T) {
	undone := 0
	eachSeed(t, func(t *testing.T, seed uint64) {
		for n := 1; n <= 30; n++ {
			for part := range 3 {
				mem := vfs.NewMem()
				m := &model{}
				full := &fullFS{FS: mem, failAt: n, part: part, times: 1 + part}
				m.workload(t, full, seed, 14)
				undone += full.hits
				recoverTwice(t, mem.Crash(vfs.CrashKeepAll, 0), m, seed, n+part, fmt.Sprintf("write %d found the disk full", n))
				recoverOnce(t, mem.Crash(vfs.CrashLoseAll, 0), m.clone(), seed, fmt.Sprintf("write %d found the disk full", n))
				for extra := 1; extra < 12; extra++ {
					mem := vfs.NewMem()
					m := &model{}
					full := &fullFS{FS: mem, failAt: n, part: part, times: 1 + part}
					full.onFull = func() { mem.CrashAt(mem.Ops() + extra) }
					m.workload(t, full, seed, 14)
					for _, im := range images(2) {
						recoverOnce(t, mem.Crash(im.kind, im.seed), m.clone(), seed, fmt.Sprintf("write %d found the disk full, crash %d ops later", n, extra))
					}
				}
			}
		}
	})
	if undone == 0 {
		t.Error("the disk was never full: the test proves nothing")
	}
}

// fullFS finds no space for one or some writes from the failAt-th on.
type fullFS struct {
	vfs.FS
	failAt, part, times int
	writes, hits        int
	onFull              func()
}

func (f *fullFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &fullFile{file, f}, nil
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	f.fs.writes++
	if f.fs.writes < f.fs.failAt || f.fs.hits >= f.fs.times {
		return f.File.WriteAt(p, off)
	}
	n := len(p) * f.fs.part / 2
	if n > 0 {
		if _, err := f.File.WriteAt(p[:n], off); err != nil {
			return 0, err
		}
	}
	f.fs.hits++
	if f.fs.hits == 1 && f.fs.onFull != nil {
		f.fs.onFull()
	}
	return n, fmt.Errorf("%s: %w", "write", vfs.ErrDiskFull)
}
