package mvcc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// cancelledPrune prunes and is cancelled after its first step.
func cancelledPrune(t *testing.T, s *Store, keep int) {
	t.Helper()
	ctx, cancel := context.WithCancel(bg)
	_, err := s.Prune(ctx, PruneOptions{KeepLast: keep, Progress: func(_, _ uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled prune: %v", err)
	}
}

// Garbage of one prune is still queued when an older version becomes garbage,
// which it rests on, and which the queue has in front of it.
func TestReclaimOfAnOlderVersionThanWhatIsQueued(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	s.queueChunk, s.windowRows = 1, 1
	id, _, err := commitBox(t, s, MainBranch, "x", 0, text(0, 1))
	if err != nil {
		t.Fatal(err)
	}
	for v := 2; v <= 8; v++ {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, text(0, v)); err != nil {
			t.Fatal(err)
		}
	}
	sn := must(s.At(bg, 3))(t)
	cancelledPrune(t, s, 1)
	if n := verifyClean(t, s).PodVersions; n != 7 {
		t.Fatalf("%d pod versions after the first step", n)
	}
	sn.Close()
	cancelledPrune(t, s, 1)
	verifyClean(t, s)
	prune(t, s, 1)
	if n := verifyClean(t, s).PodVersions; n != 1 || read(t, s, 8, id) != text(0, 8) {
		t.Fatalf("%d pod versions are left, and %q", n, read(t, s, 8, id))
	}
}

// A fold reaches over the beginning of the aggregate that is being gathered
// when versions are retired.
func TestAggregateGatheredAcrossAFold(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var ids []pod.ID
	for i := range 80 { // pods that stay, and one that changes
		id, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), 0, "x")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	prune(t, s, 3)
	for i := range 80 {
		if _, _, err := commitBox(t, s, MainBranch, "0", ids[0], fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	verifyClean(t, s)
	sn := must(s.At(bg, 160))(t)
	defer sn.Close()
	if n := must(sn.PodVersions(bg))(t).Len(); n != 80 {
		t.Fatalf("version 160 has %d pod versions", n)
	}
}

// Commits with so many pods that their ids are in rows of their own, folded and
// retired.
func TestPruneOfCommitsWithManyPods(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	ids := make([]pod.ID, 2*idChunk+100)
	for round := range 4 {
		tx := begin(t, s, MainBranch)
		for i := range ids {
			if round > 0 && i%(round+1) == 0 {
				continue
			}
			c := boxAgain(ids[i], fmt.Sprint(round))
			if round == 0 {
				ids[i] = tx.NewPod()
				c = box(ids[i], "0")
			}
			if err := tx.Put(bg, c); err != nil {
				t.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
	}
	for i := range 3 { // a small commit becomes the target of big ones
		if _, _, err := commitBox(t, s, MainBranch, "x", ids[0], fmt.Sprint("last ", i)); i > 0 && err != nil {
			t.Fatal(err)
		}
		prune(t, s, 4-i)
		verifyClean(t, s)
	}
	prune(t, s, 1)
	if rep := verifyClean(t, s); rep.PodVersions != uint64(len(ids)) {
		t.Fatalf("%d pod versions for %d pods", rep.PodVersions, len(ids))
	}
}

// A big commit is in an extent that no checkpoint has adopted yet when part of
// it, or all, is reclaimed.
func TestPruneOfABigCommitBeforeItsCheckpoint(t *testing.T) {
	for _, all := range []bool{false, true} {
		fs := newFS(t)
		s := mustOpen(t, testOptions(fs))
		rng := rand.New(rand.NewPCG(5, 5))
		ids := make([]pod.ID, 40)
		write := func(round, n int) Version {
			tx := begin(t, s, MainBranch)
			for i := range n {
				b := make([]byte, 60<<10)
				for k := range b {
					b[k] = byte(rng.Uint32())
				}
				c := boxAgain(ids[i], string(b))
				if round == 0 {
					ids[i] = tx.NewPod()
					c = box(ids[i], string(b))
				}
				if err := tx.Put(bg, c); err != nil {
					t.Fatal(err)
				}
			}
			return must(tx.Commit(bg, CommitInfo{}))(t)
		}
		write(0, 40)
		last := 15
		if all {
			last = 40
		}
		head := write(1, last)
		want := make([]string, len(ids))
		for i, id := range ids {
			want[i] = read(t, s, head, id)
		}
		live := s.Stats().LiveBytes
		if rep := prune(t, s, 1); rep.PodVersions != uint64(last) || rep.Bytes < int64(last*60<<10) {
			t.Fatalf("%+v", rep)
		}
		verifyClean(t, s)
		if st := s.Stats(); st.HistoryBytes != 0 || st.LiveBytes >= live || st.LiveBytes > 41*60<<10 {
			t.Fatalf("%d bytes of history, %d live, were %d", st.HistoryBytes, st.LiveBytes, live)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, testOptions(fs))
		for i, id := range ids {
			if read(t, s, head, id) != want[i] {
				t.Fatalf("pod %d is another", id)
			}
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Upkeep waits for what is queued. Commits by others go on beside every step,
// and use what reclaim counts down.
func TestCommitsBesidePruneKeepCounts(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	s.queueChunk = 2
	done := make(chan error, 3)
	for w := range cap(done) {
		name := fmt.Sprint("w", w)
		if err := s.CreateBranch(bg, name, 0); err != nil {
			t.Fatal(err)
		}
		go func() {
			done <- func() error {
				var id pod.ID
				for i := range 120 {
					head, err := s.Head(bg, name)
					if err != nil {
						return err
					}
					tx, err := s.Begin(bg, name, head)
					if err != nil {
						return err
					}
					c := boxAgain(id, bigText(i%3))
					if id == 0 {
						id = tx.NewPod()
						c = box(id, bigText(i%3))
					}
					if err := tx.Put(bg, c); err != nil {
						return err
					}
					if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for left := cap(done); left > 0; {
		select {
		case err := <-done:
			if left--; err != nil {
				t.Fatal(err)
			}
		default:
			prune(t, s, 2)
		}
	}
	verifyClean(t, s)
}

// betweenSteps is a context that does something once, at the n-th moment from 0 on in
// which it is asked for an error and nobody has the sequencer's token or checkpoints.
type betweenSteps struct {
	context.Context
	s  *Store
	n  *int
	do func()
}

func (c betweenSteps) Err() error {
	if len(c.s.seq.token) == 1 && len(c.s.check.token) == 1 {
		if *c.n--; *c.n == -1 {
			c.do()
		}
	}
	return c.Context.Err()
}

// Commits that come between any two steps of a prune, and fill the aggregate that the
// prune writes again, are counted in it. Versions of one such run are folded into the next.
func TestCommitsBetweenTheStepsOfAPrune(t *testing.T) {
	steps := 0
	for left := -1; left < 0; steps++ {
		s := mustOpen(t, testOptions(newFS(t)))
		s.queueChunk, s.retireWeight = 32, 120
		var ids [3]pod.ID
		made := 0
		commit := func(n int) {
			for range n {
				i := made % len(ids)
				text := fmt.Sprint(made)
				if made%16 < 3 {
					text = bigText(made % 2)
				}
				id, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), ids[i], text)
				if err != nil {
					t.Fatal(err)
				}
				ids[i], made = id, made+1
			}
		}
		commit(124)
		left = steps
		ctx := betweenSteps{bg, s, &left, func() {
			commit(2)
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
			commit(5)
		}}
		if _, err := s.Prune(ctx, PruneOptions{KeepLast: 56}); err != nil {
			t.Fatal(err)
		}
		if left >= 0 {
			commit(7)
		}
		last := must(s.At(bg, Version(made)))(t)
		if set := must(last.PodVersions(bg))(t); set.Len() != uint64(len(ids)) {
			t.Errorf("commits at step %d: the last version has %d pod versions", steps, set.Len())
		}
		last.Close()
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if steps < 20 {
		t.Fatalf("%d steps: the test proves nothing", steps)
	}
}

// A reader has found a version, and what it rests on is reclaimed before it is
// read.
func TestReaderWhoseBaseIsReclaimed(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	id, _, err := commitBox(t, s, MainBranch, "x", 0, text(0, 1))
	if err != nil {
		t.Fatal(err)
	}
	for v := 2; v <= 4; v++ {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, text(0, v)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // and nothing is cached
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	sn := must(s.At(bg, 4))(t)
	v := s.pin()
	defer v.pv.Close()
	f, ok, err := v.resolve(sn.lineage, id)
	if err != nil || !ok {
		t.Fatal(err)
	}
	frame := must(v.frame(must(decodeEnvelope(f.env))(t)))(t)
	if frame.depth == 0 {
		t.Fatal("the version rests on nothing: the test proves nothing")
	}
	ctx, cancel := context.WithCancel(bg) // without the checkpoint at the end
	_, err = s.Prune(ctx, PruneOptions{KeepLast: 1, Progress: func(_, _ uint64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := v.build(f, noCache); err == nil {
		t.Fatal("what it rests on is still there: the test proves nothing")
	}
	m, err := v.buildBesideReclaim(f)
	if err != nil || string(m.pod.Slots[0].Bytes) != text(0, 4) {
		t.Fatal(err)
	}
}

// Names become dead behind the place that the search for them has reached.
func TestNamesThatDieBehindTheSearch(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "root", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	set := func(names ...string) {
		tx := begin(t, s, MainBranch)
		for _, n := range names {
			if err := tx.SetName(bg, n, id); err != nil {
				t.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
	}
	drop := func(name string) {
		tx := begin(t, s, MainBranch)
		if err := tx.DeleteName(bg, name); err != nil {
			t.Fatal(err)
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
	}
	many := make([]string, 2*namesStep)
	for i := range many {
		many[i] = fmt.Sprintf("n%05d", i)
	}
	set(many...)
	set("a")
	set("b")
	rounds := 0
	names := func(steps int) {
		rounds++
		<-s.upkeep
		defer func() { s.upkeep <- struct{}{} }()
		report := PruneReport{}
		if _, err := s.reclaim(bg, steps, &report, s.roomForUpkeep, func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	retire := func() {
		<-s.upkeep
		defer func() { s.upkeep <- struct{}{} }()
		r := &retirement{s: s, l: s.lines.Load().byName[MainBranch], keep: rules{last: 1}, report: &PruneReport{}}
		if err := r.run(bg); err != nil {
			t.Fatal(err)
		}
	}
	retire()
	names(1) // has passed "a"
	drop("a")
	set("c")
	retire() // now the binding of "a" is dead
	verifyClean(t, s)
	names(100)
	if rep := verifyClean(t, s); rep.Names != uint64(len(many)+4) { // root, b, c, and that a was deleted
		t.Fatalf("%d states of names after %d rounds, expected %d", rep.Names, rounds, len(many)+4)
	}
}
