package mvcc

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// Rows of the queue that transactions hold stand in front of more than the background does at
// a time. It gets past them, and then has nothing to do.
func TestReclaimGetsPastWhatIsHeld(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	s.queueChunk = 1
	const held, free = backgroundSteps + 4, 10
	var ids []pod.ID
	for i := range held + free {
		first := text(i, 0)
		if i < held {
			first = bigText(i)
		}
		id, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), 0, first)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for i, id := range ids {
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), id, "small"); err != nil {
			t.Fatal(err)
		}
	}
	retireAll(t, s)
	var holders []*Tx
	for i := range held {
		tx, _ := beginBox(t, s, "holds", bigText(i))
		holders = append(holders, tx)
	}
	work := func() (versions uint64) {
		t.Helper()
		for range 10 {
			report := PruneReport{}
			more, err := s.reclaim(bg, backgroundSteps, &report, s.roomForUpkeep, func() error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			if versions += report.PodVersions; !more {
				return versions
			}
		}
		t.Fatal("there is always more to do")
		return 0
	}
	if n := work(); n != free {
		t.Errorf("%d versions were reclaimed behind %d that are held, of %d", n, held, free)
	}
	if !s.reclaimable.Load() {
		t.Error("what is held is forgotten")
	}
	for _, tx := range holders {
		tx.Rollback()
	}
	if n := work(); n != held {
		t.Errorf("%d versions were reclaimed when nobody held them any more, of %d", n, held)
	}
	verifyClean(t, s)
}

// One version that is to be reclaimed cannot be read. It stays, with the one that it may
// rest on, and all others go; the error says so.
func TestReclaimGoesOnBesideDamage(t *testing.T) {
	const versions = 30
	for _, chunk := range []int{1, 4, 256} {
		for _, at := range []int{0, 7, versions - 1} {
			mem := newFS(t)
			s := mustOpen(t, testOptions(mem))
			s.queueChunk = chunk
			var x pod.ID
			for v := range versions + 1 {
				id, _, err := commitBox(t, s, MainBranch, "x", x, fmt.Sprint(v)) // nothing to patch
				if err != nil {
					t.Fatal(err)
				}
				x = id
			}
			retireAll(t, s)
			var keys []string
			err := s.read(func(v *view) error {
				return v.walk([]byte{kindVersion}, func(key, _ []byte) error {
					keys = append(keys, string(key))
					return nil
				})
			})
			if err != nil || len(keys) != versions+1 {
				t.Fatal(len(keys), err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(keys, func(a, b string) int { return int(numberOf(b)) - int(numberOf(a)) })
			number := numberOf(keys[1+at]) // newest first
			spoil(t, mem, keys[1+at])
			s = mustOpen(t, testOptions(mem))
			report, done := reclaimAsync(s)
			if err := <-done; !errors.Is(err, dberr.ErrCorrupt) {
				t.Errorf("chunk %d, damage at %d: %v", chunk, number, err)
			}
			want := uint64(versions - 1)
			if at < versions-1 {
				want-- // the one before it
			}
			if report.PodVersions != want || report.Pending != versions-want {
				t.Errorf("chunk %d, damage at %d: %d versions were reclaimed, expected %d; %d are left", chunk, number, report.PodVersions, want, report.Pending)
			}
			head := must(s.Head(bg, MainBranch))(t)
			if got := read(t, s, head, x); got != fmt.Sprint(versions) {
				t.Errorf("the head is %q", got)
			}
			s.Close()
		}
	}
}

func numberOf(key string) uint64 {
	_, _, number, _ := splitVersionKey([]byte(key))
	return number
}

// spoil makes a row of a closed database one that cannot be read.
func spoil(t *testing.T, fs vfs.FS, key string) {
	t.Helper()
	rewrite(t, fs, key, []byte{0xee, 1, 2, 3})
}

// rewrite puts a row into a closed database.
func rewrite(t *testing.T, fs vfs.FS, key string, val []byte) {
	t.Helper()
	p := must(pager.Open(bg, pager.Options{FS: fs, Path: "dir/a.pod"}))(t)
	b := must(p.Begin())(t)
	err := b.Put([]byte(key), val)
	if err == nil {
		err = b.Commit(bg, p.State().LogPos, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(false); err != nil {
		t.Fatal(err)
	}
}

// Versions that are to go as well are not stored whole because what they rest on goes: reclaim begins
// with the newest, over the borders of windows too.
func TestReclaimStoresNothingWholeInVain(t *testing.T) {
	for _, rows := range []int{1, 3} {
		s := mustOpen(t, testOptions(newFS(t)))
		s.queueChunk, s.windowRows, s.retireWeight = 2, rows, 20
		var ids [3]pod.ID
		for v := range 60 {
			i := v * v % len(ids)
			id, _, err := commitBox(t, s, MainBranch, string(rune('a'+i)), ids[i], text(i, v))
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = id
		}
		whole := func() map[string]bool {
			all := map[string]bool{}
			err := s.read(func(v *view) error {
				return v.walk([]byte{kindVersion}, func(key, env []byte) error {
					base, err := v.baseOf(env)
					if base == (baseRef{}) {
						all[string(key)] = true
					}
					return err
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		steps, before, more := 0, whole(), map[string]bool{}
		progress := func(_, _ uint64) {
			steps++
			for key := range whole() {
				if !before[key] {
					more[key] = true
				}
			}
		}
		rep, err := s.Prune(bg, PruneOptions{KeepLast: 2, Progress: progress})
		if err != nil || rep.PodVersions < 40 || steps < 10 {
			t.Fatalf("%+v in %d steps, %v", rep, steps, err)
		}
		if len(more) > len(ids) { // the oldest that is kept of each pod rests on what is not
			t.Errorf("windows of %d rows: %d versions were stored whole, at most %d are left that rested on others", rows, len(more), len(ids))
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A name's row that cannot be read stays, and keeps nothing else from being reclaimed, nor the
// space from being given back; it is told.
func TestReclaimGetsPastANameThatCannotBeRead(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	var x pod.ID
	const versions = 20
	for v := range versions {
		id, _, err := commitBox(t, s, MainBranch, "x", x, bigText(v))
		if err != nil {
			t.Fatal(err)
		}
		x = id
		if v < 3 {
			if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint("y", v), 0, "y"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var last string
	err := s.read(func(v *view) error {
		return v.walk([]byte{kindName}, func(key, _ []byte) error {
			if key[0] == kindName {
				last = string(key)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	spoil(t, mem, last)
	s = mustOpen(t, testOptions(mem))
	defer s.Close()
	checkpoints := s.Stats().Checkpoints
	report, err := s.Prune(bg, PruneOptions{KeepLast: 1})
	if !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("nothing is said of the damage: %v", err)
	}
	if report.PodVersions != versions-1 || report.Pending != 0 {
		t.Errorf("%d versions were reclaimed, of %d; %d are left", report.PodVersions, versions-1, report.Pending)
	}
	if s.Stats().Checkpoints == checkpoints {
		t.Error("no checkpoint was made: the space is not given back")
	}
	if got := read(t, s, must(s.Head(bg, MainBranch))(t), x); got != bigText(versions-1) {
		t.Error("the head has changed")
	}
}

// A row of the queue that cannot be read, or names what another row names, stays and keeps nothing
// else from being reclaimed. Prune and Verify tell it.
func TestReclaimGetsPastARowOfTheQueueThatCannotBeRead(t *testing.T) {
	const versions, chunk = 40, 4
	for _, lie := range []bool{false, true} {
		for _, at := range []int{0, 3, versions/chunk - 1} {
			mem := newFS(t)
			s := mustOpen(t, testOptions(mem))
			s.queueChunk = chunk
			var x pod.ID
			for v := range versions + 1 {
				id, _, err := commitBox(t, s, MainBranch, "x", x, bigText(v))
				if err != nil {
					t.Fatal(err)
				}
				x = id
			}
			retireAll(t, s)
			keys := must(s.queueKeys(bg))(t)
			if len(keys) != versions/chunk {
				t.Fatalf("%d rows", len(keys))
			}
			var another []byte
			err := s.read(func(v *view) error {
				other := keys[0]
				if at == 0 {
					other = keys[1]
				}
				env, ok, err := v.get(other)
				if err == nil && ok {
					another, err = v.open(env)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			want := uint64(versions - chunk)
			if lie {
				_, list, err := decodeGarbage(another)
				if err != nil {
					t.Fatal(err)
				}
				if at == 0 { // it is looked at first: then what the other row names stays, but for that
					want -= chunk - 1
				}
				rewrite(t, mem, string(keys[at]), inline(appendGarbage(nil, mainLine, list[:1])))
			} else {
				spoil(t, mem, string(keys[at]))
			}
			s = mustOpen(t, testOptions(mem))
			if rep := must(s.Verify(bg, VerifyOptions{}))(t); len(rep.Problems) == 0 {
				t.Error("Verify finds nothing")
			}
			if !lie {
				dry, err := s.Prune(bg, PruneOptions{KeepLast: 1, DryRun: true})
				if !errors.Is(err, dberr.ErrCorrupt) || dry.PodVersions != want {
					t.Errorf("row %d: %d versions would be reclaimed, of %d: %v", at, dry.PodVersions, want, err)
				}
			}
			report, err := s.Prune(bg, PruneOptions{KeepLast: 1})
			if !errors.Is(err, dberr.ErrCorrupt) {
				t.Errorf("row %d: nothing is said of the damage: %v", at, err)
			}
			if report.PodVersions != want {
				t.Errorf("row %d: %d versions were reclaimed, of %d", at, report.PodVersions, want)
			}
			if rep := must(s.Verify(bg, VerifyOptions{}))(t); len(rep.Problems) == 0 {
				t.Error("Verify finds nothing after reclaim")
			}
			if got := read(t, s, must(s.Head(bg, MainBranch))(t), x); got != bigText(versions) {
				t.Error("the head has changed")
			}
			s.Close()
		}
	}
}

// Nor does the row that says how far names were looked through; then they stay.
func TestReclaimGetsPastTheTaskOfNames(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	const versions = 20
	var x pod.ID
	for v := range versions {
		id, _, err := commitBox(t, s, MainBranch, "x", x, bigText(v))
		if err != nil {
			t.Fatal(err)
		}
		x = id
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	spoil(t, mem, string(namesTask))
	s = mustOpen(t, testOptions(mem))
	defer s.Close()
	report, err := s.Prune(bg, PruneOptions{KeepLast: 1})
	if !errors.Is(err, dberr.ErrCorrupt) || report.PodVersions != versions-1 || report.Names != 0 {
		t.Errorf("%d pod versions of %d and %d names went: %v", report.PodVersions, versions-1, report.Names, err)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Error(err)
	}
	if got := read(t, s, must(s.Head(bg, MainBranch))(t), x); got != bigText(versions-1) {
		t.Error("the head has changed")
	}
}
