package mvcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// bigText is long enough to be shared.
func bigText(n int) string { return fmt.Sprintf("%0*d", 1500, n) }

func prune(t testing.TB, s *Store, keep int) PruneReport {
	t.Helper()
	return must(s.Prune(bg, PruneOptions{KeepLast: keep}))(t)
}

func TestPruneKeepsWhatItMust(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "1")
	if err != nil {
		t.Fatal(err)
	}
	for v := 2; v <= 20; v++ {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.CreateBranch(bg, "b", 4); err != nil {
		t.Fatal(err)
	}
	sn := must(s.At(bg, 7))(t)
	tx := must(s.Begin(bg, MainBranch, 11))(t)
	rep := prune(t, s, 3)
	if rep.Versions != 14 || rep.PodVersions != 14 || rep.Pending != 0 {
		t.Fatalf("%+v", rep)
	}
	kept := map[Version]bool{4: true, 7: true, 11: true, 18: true, 19: true, 20: true}
	for v := Version(1); v <= 20; v++ {
		_, err := s.At(bg, v)
		if kept[v] != (err == nil) || !kept[v] && !errors.Is(err, dberr.ErrVersionGone) {
			t.Fatalf("At %d: %v", v, err)
		}
		if kept[v] && read(t, s, v, id) != fmt.Sprint(v) {
			t.Fatalf("version %d shows %q", v, read(t, s, v, id))
		}
	}
	if err := s.CreateBranch(bg, "c", 5); !errors.Is(err, dberr.ErrVersionGone) {
		t.Fatalf("branch at a retired version: %v", err)
	}
	if _, err := s.Begin(bg, MainBranch, 5); !errors.Is(err, dberr.ErrVersionGone) {
		t.Fatalf("transaction on a retired version: %v", err)
	}
	if _, err := s.Prune(bg, PruneOptions{}); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("KeepLast 0: %v", err)
	}
	verifyClean(t, s)
	sn.Close()
	tx.Rollback()
}

// A transaction found a body by its content; then the last version that used it
// is pruned, and then the transaction commits, or not.
func TestContentHitAgainstPrune(t *testing.T) {
	for _, commits := range []bool{true, false} {
		s := mustOpen(t, testOptions(newFS(t)))
		id, _, err := commitBox(t, s, MainBranch, "x", 0, bigText(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = commitBox(t, s, MainBranch, "x", id, bigText(2)); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, s, MainBranch)
		y := tx.NewPod()
		if err := tx.Put(bg, box(y, bigText(1))); err != nil {
			t.Fatal(err)
		}
		if err := tx.SetName(bg, "y", y); err != nil {
			t.Fatal(err)
		}
		if tx.Written().Shared != 1 || len(tx.shared) != 0 {
			t.Fatal("the body was not found by its content: the test proves nothing")
		}
		if rep := prune(t, s, 1); rep.Pending != 1 || rep.SharedBodies != 0 {
			t.Fatalf("prune beside the transaction: %+v", rep)
		}
		verifyClean(t, s)
		want := uint64(1)
		if commits {
			v := must(tx.Commit(bg, CommitInfo{}))(t)
			if got := read(t, s, v, y); got != bigText(1) {
				t.Fatalf("the committed pod has %d bytes", len(got))
			}
			want = 0
		} else {
			tx.Rollback()
		}
		if rep := prune(t, s, 1); rep.Pending != 0 || rep.SharedBodies != want || rep.PodVersions != 1 {
			t.Fatalf("prune after the transaction, committed %v: %+v", commits, rep)
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A body that reclaim is about to delete is not found any more.
func TestDoomedBodyIsNotFound(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, bigText(1)); err != nil {
		t.Fatal(err)
	}
	if !s.pins.doom(1) {
		t.Fatal("a body that nobody holds is held")
	}
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, box(tx.NewPod(), bigText(1))); err != nil {
		t.Fatal(err)
	}
	if len(tx.shared) != 1 {
		t.Fatal("the doomed body was found")
	}
	s.pins.done()
	other := begin(t, s, MainBranch)
	if err := other.Put(bg, box(other.NewPod(), bigText(1))); err != nil {
		t.Fatal(err)
	}
	if len(other.shared) != 0 || s.pins.doom(1) {
		t.Fatal("the body is not held")
	}
	tx.Rollback()
	other.Rollback()
	if !s.pins.doom(1) {
		t.Fatal("the body is still held")
	}
	s.pins.done()
}

// Readers, committers and pruning at once: whoever gets a snapshot reads what it
// shows, whatever is retired and reclaimed meanwhile.
func TestReadersBesidePrune(t *testing.T) {
	o := testOptions(newFS(t))
	o.MemoryBytes = 8 << 20
	s := mustOpen(t, o)
	defer s.Close()
	s.queueChunk = 3
	ids := make([]pod.ID, 6)
	tx := begin(t, s, MainBranch)
	for i := range ids {
		ids[i] = tx.NewPod()
		if err := tx.Put(bg, box(ids[i], text(i, 1))); err != nil {
			t.Fatal(err)
		}
		if err := tx.SetName(bg, fmt.Sprint("n", i), ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	commits := 250
	if testing.Short() {
		commits = 100
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	var reads atomic.Int64
	for r := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(r), 3))
			for !over.Load() {
				if err := readBesidePrune(s, ids, rng); err != nil {
					t.Error(err)
					return
				}
				reads.Add(1)
			}
		}()
	}
	for v := 2; v < commits; v++ {
		tx := begin(t, s, MainBranch)
		for i := range ids {
			if (v+i)%3 > 0 {
				continue
			}
			if err := tx.Put(bg, boxAgain(ids[i], text(i, v))); err != nil {
				t.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
		if v%7 == 0 {
			prune(t, s, 1+v%4)
		}
		if v%40 == 0 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	over.Store(true)
	wg.Wait()
	verifyClean(t, s)
	t.Logf("%d rounds of reading", reads.Load())
}

// text is what pod i has in version v: long, and a small part of it changes, so
// that versions are stored as patches.
func text(i, v int) string { return strings.Repeat(fmt.Sprint("pod ", i, " "), 50) + fmt.Sprint(v) }

func readBesidePrune(s *Store, ids []pod.ID, rng *rand.Rand) error {
	head, err := s.Head(bg, MainBranch)
	if err != nil {
		return err
	}
	v := head - min(head-1, Version(rng.IntN(8)))
	sn, err := s.At(bg, v)
	if errors.Is(err, dberr.ErrVersionGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sn.Close()
	for range 4 {
		pods, err := sn.Pods(bg, ids)
		if err != nil {
			return fmt.Errorf("version %d: %w", v, err)
		}
		for i, p := range pods {
			written := int(v)
			for ; written > 1 && (written+i)%3 > 0; written-- {
			}
			if got := string(p.Slots[0].Bytes); got != text(i, written) {
				return fmt.Errorf("version %d: pod %d is %q", v, i, got[len(got)-8:])
			}
		}
		set, err := sn.PodVersions(bg)
		if err != nil {
			return fmt.Errorf("version %d: %w", v, err)
		}
		if set.Len() != uint64(len(ids)) {
			return fmt.Errorf("version %d: %d pod versions", v, set.Len())
		}
		last := head + 1
		for c, err := range s.Log(bg, MainBranch) {
			if err != nil || c.Version >= last && last <= head {
				return fmt.Errorf("log: %d after %d, %w", c.Version, last, err)
			}
			last = c.Version
		}
	}
	old, err := s.At(bg, head)
	if err != nil {
		return nil
	}
	defer old.Close()
	_, err = sn.Freed(bg, ids[0], old)
	return err
}

// Thousands of commits, so that there are aggregates of both levels, and folds
// across their borders.
func TestAggregatesSurviveFolds(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	var open []*Snapshot
	check := func() {
		t.Helper()
		for _, sn := range open {
			set := must(sn.PodVersions(bg))(t)
			n := must(sn.Number(bg, id))(t)
			if set.Len() != sn.Version() && set.Len() > 3 || !set.Contains(n) {
				t.Fatalf("version %d has %d pod versions", sn.Version(), set.Len())
			}
		}
		verifyClean(t, s)
	}
	for v := Version(2); v <= 9000; v++ {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(v)); err != nil {
			t.Fatal(err)
		}
		switch v {
		case 100, 4000, 4097, 4159, 4160, 4161, 8190, 8191, 8192, 8193, 8500:
			open = append(open, must(s.At(bg, v))(t))
		case 4200: // folds within the window, and over what is complete
			prune(t, s, 150)
			check()
		case 8600:
			prune(t, s, 500)
			check()
		}
	}
	check()
	for i, sn := range open {
		if i%2 == 0 {
			sn.Close()
		}
	}
	open = []*Snapshot{open[1], open[3], open[5]}
	prune(t, s, 70)
	check()
}

func TestReclaimGoesOnInTheBackground(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	s.queueChunk = 2
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, text(0, i)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(bg)
	_, err = s.Prune(ctx, PruneOptions{KeepLast: 2, Progress: func(done, total uint64) {
		if done >= 10 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled prune: %v", err)
	}
	if rep := verifyClean(t, s); rep.PodVersions <= 2 || rep.PodVersions > 51 || rep.Versions != 2 {
		t.Fatalf("%+v: the test proves nothing", rep)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.CheckpointBytes = 1 << 20
	s = mustOpen(t, o)
	defer s.Close()
	if !s.reclaimable.Load() {
		t.Fatal("the queue was forgotten")
	}
	if _, _, err := commitBox(t, s, MainBranch, "x", id, "after"); err != nil {
		t.Fatal(err)
	}
	for s.reclaimable.Load() {
		time.Sleep(time.Millisecond)
	}
	if rep := verifyClean(t, s); rep.PodVersions != 3 {
		t.Fatalf("%d pod versions are left", rep.PodVersions)
	}
}

func TestDeadNamesAreReclaimed(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	ids := make([]pod.ID, 3)
	for i := range ids {
		id, _, err := commitBox(t, s, MainBranch, fmt.Sprint("keep", i), 0, "x")
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	set := func(name string, root pod.ID) Version {
		tx := begin(t, s, MainBranch)
		err := error(nil)
		if root == 0 {
			err = tx.DeleteName(bg, name)
		} else {
			err = tx.SetName(bg, name, root)
		}
		if err != nil {
			t.Fatal(err)
		}
		return must(tx.Commit(bg, CommitInfo{}))(t)
	}
	for i := range 30 {
		set("moves", ids[i%3])
		set(fmt.Sprint("short-lived ", i), ids[0])
		set(fmt.Sprint("short-lived ", i), 0)
	}
	sn := must(s.At(bg, set("moves", ids[1])))(t)
	defer sn.Close()
	set("moves", ids[2])
	for range 3 { // that a name was deleted is forgotten with the second
		prune(t, s, 1)
		if _, _, err := commitBox(t, s, MainBranch, "y", ids[0], fmt.Sprint(s.Stats().Versions)); err != nil {
			t.Fatal(err)
		}
	}
	set("again", ids[0])
	set("again", ids[1])
	prune(t, s, 1)
	if rep := verifyClean(t, s); rep.Names != 6 { // 3 kept, 2 of moves, 1 of again
		t.Fatalf("%d states of names are left", rep.Names)
	}
	if root := must(sn.Root(bg, "moves"))(t); root != ids[1] {
		t.Fatalf("the snapshot's name leads to %d", root)
	}
}

func TestStatsNameTheOldestSnapshot(t *testing.T) {
	o := testOptions(newFS(t))
	o.TraceSnapshots = true
	s := mustOpen(t, o)
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "x"); err != nil {
		t.Fatal(err)
	}
	sn := must(s.At(bg, 1))(t)
	o.Now()
	for range 10 {
		must(s.At(bg, 0))(t)
	}
	st := s.Stats()
	if st.OpenSnapshots != 11 || st.OldestSnapshot != 1 || st.OldestAge <= 0 || !strings.Contains(st.OldestOwner, "TestStatsNameTheOldestSnapshot at ") {
		t.Fatalf("%+v", st)
	}
	if strings.Contains(st.OldestOwner, "mvcc.(*Store).At") {
		t.Fatalf("the owner begins inside: %s", st.OldestOwner)
	}
	sn.Close()
	if st := s.Stats(); st.OldestSnapshot != 0 || st.OpenSnapshots != 10 {
		t.Fatalf("%+v", st)
	}
}

// Retiring fails for lack of space: nothing is gone then.
func TestRetireWithoutSpaceChangesNothing(t *testing.T) {
	faults := vfs.NewFault(newFS(t))
	o := testOptions(faults)
	s := mustOpen(t, o)
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, text(0, i)); err != nil {
			t.Fatal(err)
		}
	}
	faults.FailKind(vfs.OpWrite, syscall.ENOSPC, true)
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); !errors.Is(err, dberr.ErrDiskFull) {
		t.Fatalf("prune without any space: %v", err)
	}
	for v := Version(2); v <= 41; v++ {
		if got := read(t, s, v, id); got != text(0, int(v)-2) {
			t.Fatalf("version %d is %q", v, got)
		}
	}
	faults.Heal()
	if rep := prune(t, s, 1); rep.Versions != 40 {
		t.Fatalf("%+v", rep)
	}
	verifyClean(t, s)
}

// A program that prunes and then only reads has the end of its file back.
func TestPruneGivesTheEndOfTheFileBack(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var ids []pod.ID
	for i := range uint64(30) {
		tx := begin(t, s, MainBranch)
		for k := range uint64(100) {
			c := box(0, noise(t, 1000, 100*i+k))
			if i == 0 {
				ids = append(ids, tx.NewPod())
			}
			c.ID, c.New = ids[k], i == 0
			if err := tx.Put(bg, c); err != nil {
				t.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	before := s.Stats().FileBytes
	prune(t, s, 1)
	if after := s.Stats().FileBytes; after > before {
		t.Fatalf("the file has %d bytes, %d before", after, before)
	}
	verifyClean(t, s)
}
