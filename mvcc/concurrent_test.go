package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Writers on two branches move amounts between accounts, so that the sum is
// the same in every version; readers, a verifier and checkpoints run beside.
func TestEveryVersionIsConsistentUnderConcurrency(t *testing.T) {
	const accounts, start = 8, 100
	o := testOptions(newFS(t))
	o.CheckpointBytes = 20 << 10
	o.Now = nil
	s := mustOpen(t, o)
	tx := begin(t, s, MainBranch)
	var ids []pod.ID
	for range accounts {
		id := tx.NewPod()
		ids = append(ids, id)
		if err := tx.Put(bg, box(id, fmt.Sprint(start))); err != nil {
			t.Fatal(err)
		}
	}
	v1 := must(tx.Commit(bg, CommitInfo{}))(t)
	if err := s.CreateBranch(bg, "b", v1); err != nil {
		t.Fatal(err)
	}
	sum := func(v Version) (int, error) {
		sn, err := s.At(bg, v)
		if err != nil {
			return 0, err
		}
		defer sn.Close()
		pods, err := sn.Pods(bg, ids)
		if err != nil {
			return 0, err
		}
		total := 0
		for _, p := range pods {
			var n int
			if _, err := fmt.Sscan(string(p.Slots[0].Bytes), &n); err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	move := func(rng *rand.Rand, branch string) error {
		base, err := s.Head(bg, branch)
		if err != nil {
			return err
		}
		tx, err := s.Begin(bg, branch, base)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		i := rng.IntN(accounts)
		j := (i + 1 + rng.IntN(accounts-1)) % accounts
		pods, err := tx.base.Pods(bg, []pod.ID{ids[i], ids[j]})
		if err != nil {
			return err
		}
		for k, by := range []int{-1, 1} {
			var n int
			fmt.Sscan(string(pods[k].Slots[0].Bytes), &n)
			if err := tx.Put(bg, boxAgain([]pod.ID{ids[i], ids[j]}[k], fmt.Sprintf("%d %s", n+by, strings.Repeat("x", rng.IntN(2000))))); err != nil {
				return err
			}
		}
		_, err = tx.Commit(bg, CommitInfo{})
		return err
	}
	var workers, readers sync.WaitGroup
	var stop atomic.Bool
	var moved, conflicts atomic.Int64
	fail := func(err error) {
		if err != nil {
			t.Error(err)
			stop.Store(true)
		}
	}
	for w := range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for range 60 {
				switch err := move(rng, []string{MainBranch, "b"}[w%2]); {
				case err == nil:
					moved.Add(1)
				case errors.Is(err, dberr.ErrConflict):
					conflicts.Add(1)
				default:
					fail(err)
					return
				}
			}
		}()
	}
	for r := range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			rng := rand.New(rand.NewPCG(uint64(r), 4))
			for !stop.Load() {
				h, err := s.Head(bg, []string{MainBranch, "b"}[r%2])
				if err != nil {
					fail(err)
					return
				}
				v := v1 + Version(rng.Uint64N(h-v1+1))
				if rng.IntN(2) == 0 {
					v = h
				}
				got, err := sum(v)
				if err == nil && got != accounts*start {
					err = fmt.Errorf("version %d adds up to %d", v, got)
				}
				fail(err)
			}
		}()
	}
	readers.Add(1)
	go func() {
		defer readers.Done()
		for !stop.Load() {
			rep, err := s.Verify(bg, VerifyOptions{})
			if err == nil && len(rep.Problems) > 0 {
				err = fmt.Errorf("Verify: %q", rep.Problems)
			}
			fail(err)
			_ = s.Stats()
		}
	}()
	workers.Wait()
	stop.Store(true)
	readers.Wait()
	if t.Failed() {
		return
	}
	verifyClean(t, s)
	st := s.Stats()
	if moved.Load()+1 != int64(st.Versions) || conflicts.Load() != int64(st.Conflicts) || st.Checkpoints == 0 {
		t.Fatalf("%d moved, %d conflicts, stats %+v", moved.Load(), conflicts.Load(), st)
	}
	for v := v1; v <= st.Versions; v++ {
		if got, err := sum(v); err != nil || got != accounts*start {
			t.Fatalf("version %d adds up to %d, %v", v, got, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	verifyClean(t, s)
	t.Logf("%d commits, %d conflicts, %d checkpoints", moved.Load(), conflicts.Load(), st.Checkpoints)
}

func TestCloseWhileBusyLosesNothing(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.Now = nil
	s := mustOpen(t, o)
	var wg sync.WaitGroup
	var acked atomic.Uint64
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				h, err := s.Head(bg, MainBranch)
				if err != nil {
					return
				}
				tx, err := s.Begin(bg, MainBranch, h)
				if err != nil {
					return
				}
				if err := tx.Put(bg, box(tx.NewPod(), fmt.Sprint(w, i))); err != nil {
					tx.Rollback()
					return
				}
				v, err := tx.Commit(bg, CommitInfo{})
				if err != nil {
					return
				}
				for {
					old := acked.Load()
					if old >= v || acked.CompareAndSwap(old, v) {
						break
					}
				}
			}
		}()
	}
	for acked.Load() < 20 {
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = mustOpen(t, o)
	defer s.Close()
	if h := must(s.Head(bg, MainBranch))(t); h < acked.Load() {
		t.Fatalf("head is %d, acknowledged %d", h, acked.Load())
	}
	verifyClean(t, s)
}

func TestCloseFinishesQueuedCommits(t *testing.T) {
	fs := &slowSync{FS: newFS(t)}
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, v1, err := commitBox(t, s, MainBranch, "x", 0, "one")
	if err != nil {
		t.Fatal(err)
	}
	tx := begin(t, s, MainBranch)
	if err := tx.Put(bg, boxAgain(id, "two")); err != nil {
		t.Fatal(err)
	}
	release := fs.hold()
	defer release()
	commit := commitAsync(tx)
	waitQueued(t, s, 1)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	for !s.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // a Close that does not wait would be past its checkpoint
	release()
	if o := <-commit; o.err != nil || o.v != v1+1 {
		t.Fatalf("the queued commit: %+v", o)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	if got := read(t, s, v1+1, id); got != "two" {
		t.Fatalf("read %q", got)
	}
}
