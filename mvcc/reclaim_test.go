package mvcc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// retireAll retires all versions of the main branch but the newest, with what names need after that.
func retireAll(t *testing.T, s *Store) {
	t.Helper()
	<-s.upkeep
	defer func() { s.upkeep <- struct{}{} }()
	r := &retirement{s: s, l: s.lines.Load().byName[MainBranch], keep: rules{last: 1}, report: &PruneReport{}}
	if err := r.run(bg); err != nil {
		t.Fatal(err)
	}
	most := 1000
	if more, _, err := s.reclaimNames(bg, &most, r.report, s.roomForUpkeep); more || err != nil {
		t.Fatal(more, err)
	}
}

// reclaimAsync works the queue off.
func reclaimAsync(s *Store) (*PruneReport, chan error) {
	report, done := &PruneReport{}, make(chan error, 1)
	go func() {
		<-s.upkeep
		defer func() { s.upkeep <- struct{}{} }()
		_, err := s.reclaim(bg, 1000, report, s.roomForUpkeep, func() error { return nil })
		done <- err
	}()
	return report, done
}

func beginBox(t *testing.T, s *Store, name, text string) (*Tx, pod.ID) {
	t.Helper()
	tx := begin(t, s, MainBranch)
	id := tx.NewPod()
	if err := tx.Put(bg, box(id, text)); err != nil {
		t.Fatal(err)
	}
	if err := tx.SetName(bg, name, id); err != nil {
		t.Fatal(err)
	}
	return tx, id
}

// A group of reclaim is queued between commits that use the body which it counts down.
// Those before it are counted, those behind it count on.
func TestReclaimCountsUsersThatAreQueued(t *testing.T) {
	fs := &slowSync{FS: newFS(t)}
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	x, _, err := commitBox(t, s, MainBranch, "x", 0, bigText(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := commitBox(t, s, MainBranch, "y", 0, bigText(1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := commitBox(t, s, MainBranch, "x", x, "small"); err != nil {
		t.Fatal(err)
	}
	retireAll(t, s)
	before, _ := beginBox(t, s, "a", bigText(1))
	behind, id := beginBox(t, s, "b", bigText(1))
	release := fs.hold()
	defer release()
	a := commitAsync(before)
	waitQueued(t, s, 1)
	report, done := reclaimAsync(s)
	waitQueued(t, s, 2)
	b := commitAsync(behind)
	waitQueued(t, s, 3)
	release()
	if err := <-done; err != nil || report.PodVersions != 1 || report.SharedBodies != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	if ra, rb := <-a, <-b; ra.err != nil || rb.err != nil || read(t, s, rb.v, id) != bigText(1) {
		t.Fatalf("outcomes %+v, %+v", ra, rb)
	}
	verifyClean(t, s) // counts again
	if _, n, err := s.bodyUsers(t, bigText(1)); err != nil || n != 3 {
		t.Fatalf("%d users, %v", n, err)
	}
}

// bodyUsers returns the number of the shared body with a content, 0 if it is not
// found, and its users.
func (s *Store) bodyUsers(t *testing.T, text string) (no, users uint64, err error) {
	t.Helper()
	err = s.read(func(v *view) error {
		tx, _ := beginBox(t, s, "looks", text)
		defer tx.Rollback()
		for found := range tx.held {
			no = found
			users, err = v.users(no)
		}
		return err
	})
	return no, users, err
}

// The row that a content is found by leads to another body with a commit that is queued
// when the first one is deleted.
func TestReclaimLeavesTheContentRowOfAnother(t *testing.T) {
	fs := &slowSync{FS: newFS(t)}
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	twin, _ := beginBox(t, s, "twin", bigText(1)) // does not find what is committed next
	x, _, err := commitBox(t, s, MainBranch, "x", 0, bigText(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := commitBox(t, s, MainBranch, "x", x, "small"); err != nil {
		t.Fatal(err)
	}
	first, _, err := s.bodyUsers(t, bigText(1))
	if err != nil || first == 0 {
		t.Fatalf("body %d, %v", first, err)
	}
	retireAll(t, s)
	release := fs.hold()
	defer release()
	c := commitAsync(twin)
	waitQueued(t, s, 1)
	report, done := reclaimAsync(s)
	waitQueued(t, s, 2)
	release()
	if err := <-done; err != nil || report.SharedBodies != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if out := <-c; out.err != nil {
		t.Fatal(out.err)
	}
	if no, n, err := s.bodyUsers(t, bigText(1)); err != nil || no == 0 || no == first || n != 1 {
		t.Fatalf("body %d with %d users is found, before it was %d; %v", no, n, first, err)
	}
	verifyClean(t, s)
}

// Between any two groups of reclaim every version that is left can be read, also
// if one that others rest on goes before them.
func TestEveryStepOfReclaimLeavesWhatCanBeRead(t *testing.T) {
	for chunk := 1; chunk <= 3; chunk++ {
		s := mustOpen(t, testOptions(newFS(t)))
		s.queueChunk, s.retireWeight = chunk, 20
		var ids [3]pod.ID
		for v := range 60 {
			i := v * v % len(ids)
			id, _, err := commitBox(t, s, MainBranch, string(rune('a'+i)), ids[i], text(i, v))
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = id
		}
		steps := 0
		progress := func(_, _ uint64) {
			steps++
			verifyClean(t, s)
		}
		rep, err := s.Prune(bg, PruneOptions{KeepLast: 2, Progress: progress})
		if err != nil || rep.PodVersions < 40 || steps < 10 {
			t.Fatalf("%+v in %d steps, %v", rep, steps, err)
		}
		if got, want := s.published.Load().counters.bytes, storedBytes(t, s); got != want {
			t.Fatalf("%d bytes are said to be stored, %d are", got, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// storedBytes adds up what all pod versions and shared bodies count for.
func storedBytes(t *testing.T, s *Store) (n uint64) {
	t.Helper()
	err := s.read(func(v *view) error {
		for _, kind := range []byte{kindVersion, kindShared} {
			err := v.walk([]byte{kind}, func(_, env []byte) error {
				e, err := decodeEnvelope(env)
				if err != nil {
					return err
				}
				fr, err := v.frame(e)
				n += fr.size()
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What waits beside retention is little: a group of reclaim is submitted while the sync of the one
// before it is held, and so are commits.
func TestReclaimDoesNotWaitForItsGroups(t *testing.T) {
	fs := &slowSync{FS: newFS(t)}
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	s.queueChunk = 2
	x, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for v := range 12 {
		if _, _, err := commitBox(t, s, MainBranch, "x", x, text(0, v)); err != nil {
			t.Fatal(err)
		}
	}
	retireAll(t, s)
	tx, _ := beginBox(t, s, "y", "y")
	release := fs.hold()
	defer release()
	report, done := reclaimAsync(s)
	waitQueued(t, s, reclaimAhead+1)
	c := commitAsync(tx)
	waitQueued(t, s, reclaimAhead+2)
	release()
	if err := <-done; err != nil || report.PodVersions != 12 {
		t.Fatalf("%+v, %v", report, err)
	}
	if out := <-c; out.err != nil {
		t.Fatal(out.err)
	}
	verifyClean(t, s)
}

// One write of a group fails for lack of space, those behind it would not. They are built on
// it, so none may go into the log: whatever is left decodes, also after opening again, and
// the next prune gets to its end.
func TestReclaimBehindAGroupThatWasUndone(t *testing.T) {
	stopped := 0
	for chunk := 1; chunk <= 4; chunk++ {
		for fail := range 4 {
			t.Run(fmt.Sprint("chunk ", chunk, " group ", fail), func(t *testing.T) {
				if reclaimPastAFailure(t, chunk, fail) {
					stopped++
				}
			})
		}
	}
	if stopped < 4 {
		t.Errorf("%d groups failed: the test says little", stopped)
	}
}

// reclaimPastAFailure has the write of a group fail, and reports whether reclaim said so.
func reclaimPastAFailure(t *testing.T, chunk, fail int) bool {
	mem := newFS(t)
	faults := vfs.NewFault(mem)
	s := mustOpen(t, testOptions(faults))
	x, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for v := range 12 {
		if _, _, err := commitBox(t, s, MainBranch, "x", x, text(0, v)); err != nil {
			t.Fatal(err)
		}
	}
	retireAll(t, s)
	s.queueChunk, s.stepSize = chunk, chunk
	groups := 0
	room := func(context.Context) error {
		time.Sleep(5 * time.Millisecond) // as when it waits for a checkpoint: the group before has failed by then
		if groups == fail {
			faults.FailKind(vfs.OpWrite, vfs.ErrDiskFull, false)
		}
		groups++
		return nil
	}
	<-s.upkeep
	_, failed := s.reclaim(bg, 1000, &PruneReport{}, room, func() error { return nil })
	s.upkeep <- struct{}{}
	if failed != nil && !errors.Is(failed, dberr.ErrDiskFull) {
		t.Errorf("reclaim: %v", failed)
	}
	faults.Heal()
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = mustOpen(t, testOptions(mem))
	defer s.Close()
	head, err := s.Head(bg, MainBranch)
	if err != nil {
		t.Fatal(err)
	}
	sn, err := s.At(bg, head)
	if err != nil {
		t.Fatal(err)
	}
	defer sn.Close()
	if _, err := sn.Pods(bg, []pod.ID{x}); err != nil {
		t.Errorf("reading at the head after opening again: %v", err)
	}
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
		t.Errorf("the next prune: %v", err)
	}
	return failed != nil
}
