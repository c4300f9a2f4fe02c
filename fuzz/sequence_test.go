package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// One test for each sequence of steps that broke a design of this engine, or
// another engine: the whole database, at the one place. The campaigns meet them
// too; here each has a name.

// scene is a world on a memory file system, for a sequence.
type scene struct {
	*world
	t   *testing.T
	mem *vfs.MemFS
}

func newScene(t *testing.T) *scene {
	t.Helper()
	mem := vfs.NewMem()
	return &scene{world: newWorld(mem, *flagSeed), t: t, mem: mem}
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// commits makes n commits on main that surely change something.
func (s *scene) commits(n int) {
	s.t.Helper()
	for range n {
		s.must(s.oneCommit())
	}
}

func (s *scene) oneCommit() error {
	return s.change(mvcc.MainBranch, func(tx *mvcc.Tx, st *state) error {
		c := s.fresh(tx.NewPod(), st)
		if err := s.put(tx, st, c); err != nil {
			return err
		}
		return s.set(tx, st, fmt.Sprint("s", s.m.newest%5), c.ID)
	})
}

// onto goes on with a disk as the next process finds it.
func (s *scene) onto(mem *vfs.MemFS) {
	s.mem, s.world.fs = mem, mem
	s.s = nil
}

// die kills the process; the machine stays up.
func (s *scene) die() {
	killed := s.s
	s.onto(s.mem.Restart())
	_ = killed.Close() // on the disk that is left behind
}

// cutPower loses everything that was not synced.
func (s *scene) cutPower() {
	killed := s.s
	s.onto(s.mem.Crash(vfs.CrashLoseAll, 0))
	_ = killed.Close()
}

// reads opens the database and compares it with the model.
func (s *scene) reads() {
	s.t.Helper()
	s.must(s.open())
	s.must(s.check())
}

// A commit's sync fails; the next process reads what the page cache still has;
// then the power goes. What it showed must be there: it was written again before
// it was trusted.
func TestSequenceReopenAfterAFailedSyncThenPowerCut(t *testing.T) {
	for failing := range 4 {
		s := newScene(t)
		s.must(s.open())
		s.commits(3)
		s.mem.FailSync(1)
		if err := s.oneCommit(); !errors.Is(err, dberr.ErrCommitUnknown) {
			t.Fatalf("the commit whose sync failed gave %v", err)
		}
		s.die()
		for range failing { // the same again, at reopening
			s.mem.FailSync(1)
			if s.open() == nil {
				break
			}
		}
		if s.s == nil {
			s.mem.FailSync(0)
			s.must(s.open())
		}
		s.mem.FailSync(0)
		s.must(s.check())
		s.cutPower()
		s.reads()
		s.must(s.close())
	}
}

// unsyncedCommits makes a database of level None with synced commits and then
// six that are not; it returns the places in the log of each one's bytes.
func (s *scene) unsyncedCommits() (name string, places [][2]int) {
	s.t.Helper()
	s.level = mvcc.DurabilityNone
	s.must(s.open())
	s.commits(3)
	s.must(s.checkpoint())
	s.commits(1) // the log's segment is there
	before, err := diskOf(s.mem)
	s.must(err)
	for range 6 {
		s.commits(1)
		now, err := diskOf(s.mem)
		s.must(err)
		for n, b := range now {
			if n == worldPath || bytes.Equal(b, before[n]) {
				continue
			}
			name = n
			from, to := len(b), 0
			for i := range b {
				if i >= len(before[n]) || b[i] != before[n][i] {
					from, to = min(from, i), i+1
				}
			}
			places = append(places, [2]int{from, to})
		}
		before = now
	}
	if len(places) != 6 {
		s.t.Fatalf("6 commits changed the log %d times", len(places))
	}
	return name, places
}

// hole takes the bytes of one record away, as a crash may that kept those
// behind it, and ends the process.
func (s *scene) hole(name string, at [2]int) {
	s.t.Helper()
	killed := s.s
	s.onto(s.mem.Crash(vfs.CrashKeepAll, 0))
	_ = killed.Close()
	f, err := s.mem.Open(name, vfs.ReadWrite)
	s.must(err)
	_, err = f.WriteAt(make([]byte, at[1]-at[0]), int64(at[0]))
	s.must(err)
	s.must(f.Close())
}

// Valid records behind an unsynced hole are an ordinary crash: the log ends at
// the hole, and the database opens.
func TestSequenceValidRecordBehindAnUnsyncedHole(t *testing.T) {
	for lost := range 6 {
		s := newScene(t)
		name, places := s.unsyncedCommits()
		want := s.m.newest - 6 + mvcc.Version(lost)
		s.hole(name, places[lost])
		s.reads()
		if s.m.newest != want {
			t.Errorf("without the record of commit %d the newest version is %d", want+1, s.m.newest)
		}
		s.must(s.close())
	}
}

// Records that stand behind the place where the log was cut have the right
// positions for what follows, and are older than it: they never come back.
func TestSequenceStaleRecordBehindACut(t *testing.T) {
	for lost := range 5 {
		s := newScene(t)
		name, places := s.unsyncedCommits()
		s.hole(name, places[lost])
		s.reads()
		for range 3 {
			s.commits(1)
			s.die()
			s.reads()
		}
		s.must(s.reopen())
		s.must(s.check())
		s.must(s.close())
	}
}

// A full disk undoes a commit whose bytes were partly written; what is written
// next ends before them.
func TestSequenceStaleRecordBehindAnUndoneCommit(t *testing.T) {
	for short := 1; short <= 4; short++ {
		s := newScene(t)
		above := vfs.NewFault(s.mem)
		s.world.fs = above
		s.must(s.open())
		s.commits(3)
		above.ShortWrite(short, dberr.ErrDiskFull)
		for range 6 {
			if err := s.oneCommit(); err != nil && (!errors.Is(err, dberr.ErrDiskFull) || errors.Is(err, dberr.ErrPoisoned)) {
				t.Fatal(err)
			}
		}
		s.must(s.check())
		s.die()
		s.reads()
		s.must(s.close())
	}
}

// The newest meta rots: the older one and the log that is kept for it are the
// same database. So is a closed file with either slot gone.
func TestSequenceRottenNewestMeta(t *testing.T) {
	for slot := range 2 {
		for _, closed := range []bool{false, true} {
			s := newScene(t)
			s.must(s.open())
			s.commits(3)
			s.must(s.checkpoint())
			s.commits(3)
			s.must(s.checkpoint())
			s.commits(2)
			if closed {
				s.must(s.close())
				s.onto(s.mem.Restart())
			} else {
				s.die()
			}
			f, err := s.mem.Open(worldPath, vfs.ReadWrite)
			s.must(err)
			_, err = f.WriteAt([]byte("rotten to the core"), int64(slot*pageBytes+40))
			s.must(err)
			s.must(f.Close())
			s.reads()
			s.commits(2)
			s.must(s.reopen())
			s.must(s.check())
			s.must(s.close())
		}
	}
}

// The log folder is deleted while the file needs it: an error that says so, for
// writing and for reading, and no byte of the file changes.
func TestSequenceLogFolderDeleted(t *testing.T) {
	s := newScene(t)
	s.must(s.open())
	s.commits(3)
	s.must(s.checkpoint())
	s.commits(3)
	s.die()
	dir := worldPath + ".wal"
	names, err := s.mem.List(dir)
	s.must(err)
	before, err := diskOf(s.mem)
	s.must(err)
	for _, n := range names {
		s.must(s.mem.Remove(path.Join(dir, n)))
	}
	for _, empty := range []bool{true, false} {
		if !empty {
			s.must(s.mem.Remove(dir))
		}
		for _, readOnly := range []bool{false, true} {
			o := s.options()
			o.ReadOnly = readOnly
			if _, err := mvcc.Open(s.ctx, o); !errors.Is(err, dberr.ErrLogMissing) {
				t.Errorf("empty folder %v, read only %v: %v", empty, readOnly, err)
			}
		}
	}
	after, err := diskOf(s.mem)
	s.must(err)
	if !bytes.Equal(before[worldPath], after[worldPath]) {
		t.Error("the file was changed")
	}
	// The log comes back from wherever it was moved to: everything is there.
	s.must(s.mem.MkdirAll(dir))
	for _, n := range names {
		f, err := s.mem.Open(path.Join(dir, n), vfs.ReadWrite|vfs.Create)
		s.must(err)
		_, err = f.WriteAt(before[path.Join(dir, n)], 0)
		s.must(err)
		s.must(f.Close())
	}
	s.reads()
	s.must(s.close())
}

// Creation is cut at every operation: the next one makes the database, whatever
// was left, and a name that was given out once leads to a whole database.
func TestSequenceCreationCutInHalf(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		s.mem.CrashAt(n)
		if s.open() == nil {
			_ = s.oneCommit()
		}
		_ = s.close()
		whole := !s.mem.Crashed()
		for i, img := range imagesOf(s.mem, 3, uint64(n)) {
			again := newScene(t)
			again.onto(img)
			again.m = s.m.clone()
			if err := again.open(); err != nil {
				t.Fatalf("operation %d (%v), image %d: %v", n, err, i, err)
			}
			again.must(again.check())
			again.commits(2)
			again.must(again.close())
			left, err := again.mem.List(".")
			again.must(err)
			for _, name := range left {
				// Half a file with garbage in it may be somebody's: it stays.
				torn := i > 2 && strings.HasPrefix(name, worldPath+".poddb-new")
				if name != worldPath && !strings.HasSuffix(name, ".lock") && !torn {
					t.Fatalf("operation %d, image %d: %s is left beside the closed database", n, i, name)
				}
			}
		}
		if whole {
			return
		}
	}
}

// hookFS calls locking once before the first lock of a file.
type hookFS struct {
	vfs.FS
	locking func()
}

func (h *hookFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := h.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return &hookFile{f, h}, nil
}

type hookFile struct {
	vfs.File
	fs *hookFS
}

func (f *hookFile) Lock() error {
	if do := f.fs.locking; do != nil {
		f.fs.locking = nil
		do()
	}
	return f.File.Lock()
}

// The lock file is only information: with it unlinked, or with the other
// opener's name for the file, the second opener is refused all the same, and
// nothing of the first is disturbed.
func TestSequenceTwoOpenersAroundAnUnlinkedLock(t *testing.T) {
	s := newScene(t)
	s.must(s.open())
	s.commits(3)
	if err := s.mem.Remove(worldPath + ".lock"); err != nil {
		t.Fatalf("nobody wrote who holds the lock: %v", err)
	}
	for _, readOnly := range []bool{false, true} {
		o := s.options()
		o.ReadOnly = readOnly
		if _, err := mvcc.Open(s.ctx, o); !errors.Is(err, dberr.ErrLocked) {
			t.Errorf("a second opener (read only %v) beside an unlinked lock file: %v", readOnly, err)
		}
	}
	s.commits(2)
	s.must(s.check())
	s.must(s.close())
	s.reads()
	s.must(s.close())
}

// Two creators meet: while the first is about to lock what it makes, the second
// makes the whole database under the same name, commits, and stays or leaves. The
// first must not replace it.
func TestSequenceTwoCreatorsAtOnce(t *testing.T) {
	for _, stays := range []bool{true, false} {
		s := newScene(t)
		other := newScene(t)
		other.onto(s.mem)
		s.world.fs = &hookFS{FS: s.mem, locking: func() {
			other.must(other.open())
			other.commits(2)
			if !stays {
				other.must(other.close())
			}
		}}
		err := s.open()
		if stays {
			if !errors.Is(err, dberr.ErrLocked) {
				t.Fatalf("the slower of two creators got %v", err)
			}
		} else {
			s.must(err)
			s.m = other.m
			s.must(s.check())
			s.must(s.close())
			other.must(other.open())
		}
		other.commits(1)
		other.must(other.check())
		other.must(other.close())
	}
}

// bigChange is more than the log takes, and ends with less than the page file
// syncs in between.
func (s *scene) bigChange(tx *mvcc.Tx, st *state) error {
	for i := range 5 {
		c := s.fresh(tx.NewPod(), st)
		c.Slots[0].Data = pod.Data{Kind: pod.SlotObject, Type: 17, Bytes: s.noise(450_000)}
		if err := s.put(tx, st, c); err != nil {
			return err
		}
		if err := s.set(tx, st, fmt.Sprint("big", i), c.ID); err != nil {
			return err
		}
	}
	return nil
}

// giveUp puts a big transaction together and rolls it back.
func (s *scene) giveUp() {
	s.t.Helper()
	tx, err := s.s.Begin(s.ctx, mvcc.MainBranch, s.m.heads[mvcc.MainBranch])
	s.must(err)
	st := &state{names: map[string]pod.ID{}, pods: map[pod.ID]*pod.Pod{}}
	s.must(s.bigChange(tx, st))
	tx.Rollback()
}

// Extents that no log record names, of transactions that were given up or whose
// process died, are free space again: the file does not grow with them.
func TestSequenceOrphanExtents(t *testing.T) {
	s := newScene(t)
	s.must(s.open())
	s.commits(2)
	s.giveUp()
	s.must(s.change(mvcc.MainBranch, s.bigChange))
	s.must(s.checkpoint())
	size := s.s.Stats().FileBytes
	for i := range 8 {
		s.giveUp()
		if i%2 == 1 {
			tx, err := s.s.Begin(s.ctx, mvcc.MainBranch, s.m.heads[mvcc.MainBranch])
			s.must(err)
			s.must(s.bigChange(tx, &state{names: map[string]pod.ID{}, pods: map[pod.ID]*pod.Pod{}}))
			s.die() // in the middle of it
			s.reads()
		}
	}
	s.must(s.check())
	s.must(s.checkpoint())
	if now := s.s.Stats().FileBytes; now > size+2_500_000 {
		t.Errorf("the file grew from %d to %d bytes with extents that nobody names", size, now)
	}
	s.must(s.change(mvcc.MainBranch, s.bigChange))
	s.must(s.reopen())
	s.must(s.check())
	s.must(s.close())
}

// The extent of an acknowledged commit lies at the end of the file, behind all
// that a meta needs, and other extents behind it are given back: whoever cuts the
// file leaves it alone.
func TestSequenceTruncationUnderAnAcknowledgedExtent(t *testing.T) {
	for _, cut := range []bool{false, true} {
		s := newScene(t)
		s.must(s.open())
		s.commits(2)
		s.must(s.checkpoint())
		s.must(s.change(mvcc.MainBranch, s.bigChange))
		s.giveUp()
		for range 3 { // each opening cuts what it takes for the rest of a crash
			if cut {
				s.cutPower()
			} else {
				s.die()
			}
			s.reads()
			s.giveUp()
		}
		s.commits(1)
		s.must(s.checkpoint())
		s.must(s.reopen())
		s.must(s.check())
		s.must(s.close())
	}
}

// At level None a power cut leaves the log record of a big commit and not its
// extent. The log ends before it: what came earlier is there, nothing later is.
func TestSequenceExtentLostInNone(t *testing.T) {
	for _, level := range []mvcc.Durability{mvcc.DurabilityNone, mvcc.DurabilityInterval} {
		s := newScene(t)
		s.level = level
		s.must(s.open())
		s.commits(3)
		s.must(s.checkpoint())
		s.commits(2)
		before := s.m.newest
		s.must(s.change(mvcc.MainBranch, s.bigChange))
		s.commits(2)
		kept, lost := s.mem.Crash(vfs.CrashKeepAll, 0), s.mem.Crash(vfs.CrashLoseAll, 0)
		killed := s.s
		logs, err := diskOf(kept)
		s.must(err)
		s.must(lost.MkdirAll(worldPath + ".wal"))
		for name, b := range logs {
			if name != worldPath {
				f, err := lost.Open(name, vfs.ReadWrite|vfs.Create)
				s.must(err)
				_, err = f.WriteAt(b, 0)
				s.must(err)
				s.must(f.Close())
			}
		}
		s.onto(lost)
		_ = killed.Close()
		s.reads()
		if s.m.newest != before {
			t.Errorf("level %v: version %d is shown, the extent of version %d was lost", level, s.m.newest, before+1)
		}
		s.must(s.change(mvcc.MainBranch, s.bigChange))
		s.must(s.reopen())
		s.must(s.check())
		s.must(s.close())
	}
}

// A transaction stores a body that the database has already, and a prune takes
// the last version away that used it, before the transaction commits. The body
// stays.
func TestSequenceContentHitAgainstPrune(t *testing.T) {
	for _, end := range []string{"die", "cut", "reopen"} {
		for _, checkpoint := range []bool{false, true} {
			s := newScene(t)
			s.must(s.open())
			var first pod.ID
			body := pod.SlotWrite{Data: pod.Data{Kind: pod.SlotObject, Type: 17, Bytes: bytes.Repeat([]byte("the same "), 300)}}
			exports := []pod.Export{{Edges: pod.EdgeSet{All: true}}}
			s.must(s.change(mvcc.MainBranch, func(tx *mvcc.Tx, st *state) error {
				first = tx.NewPod()
				err := s.put(tx, st, &pod.Change{ID: first, New: true, Exports: exports, Slots: []pod.SlotWrite{body}})
				return errors.Join(err, s.set(tx, st, "first", first))
			}))
			s.must(s.checkpoint())
			s.must(s.change(mvcc.MainBranch, func(tx *mvcc.Tx, st *state) error {
				other := pod.SlotWrite{Data: pod.Data{Kind: pod.SlotObject, Type: 17, Bytes: []byte("something else")}}
				return s.put(tx, st, &pod.Change{ID: first, Exports: exports, Whole: true, Slots: []pod.SlotWrite{other}})
			}))
			s.commits(1)
			s.must(s.change(mvcc.MainBranch, func(tx *mvcc.Tx, st *state) error {
				id := tx.NewPod()
				if err := s.put(tx, st, &pod.Change{ID: id, New: true, Exports: exports, Slots: []pod.SlotWrite{body}}); err != nil {
					return err
				}
				if tx.Written().Shared == 0 {
					return errors.New("the body was not found again")
				}
				if _, err := s.s.Prune(s.ctx, mvcc.PruneOptions{KeepLast: 1}); err != nil {
					return err
				}
				if checkpoint { // twice: then space is free
					s.must(errors.Join(s.checkpoint(), s.checkpoint()))
				}
				return s.set(tx, st, "second", id)
			}))
			s.m.retired = map[mvcc.Version]bool{1: true, 2: true}
			switch end {
			case "die":
				s.die()
				s.must(s.open())
			case "cut":
				s.cutPower()
				s.must(s.open())
			case "reopen":
				s.must(s.reopen())
			}
			s.must(s.check())
			s.commits(3)
			s.must(s.check())
			s.must(s.close())
		}
	}
}
