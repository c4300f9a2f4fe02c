package mvcc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// churn writes pods of size bytes and then commits that each rewrite a part of
// them, so that half of all versions are history.
func churn(t testing.TB, s *Store, seed uint64, pods, size, commits int) (texts map[pod.ID]string) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 3))
	texts = map[pod.ID]string{}
	var ids []pod.ID
	for commit := range commits + 1 {
		tx := begin(t, s, MainBranch)
		for i := range pods {
			switch {
			case commit == 0:
				ids = append(ids, tx.NewPod())
				texts[ids[i]] = noise(t, size, rng.Uint64())
				if err := tx.Put(bg, box(ids[i], texts[ids[i]])); err != nil {
					t.Fatal(err)
				}
			case rng.IntN(commits) == 0:
				texts[ids[i]] = noise(t, size, rng.Uint64())
				if err := tx.Put(bg, boxAgain(ids[i], texts[ids[i]])); err != nil {
					t.Fatal(err)
				}
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
		if commit%3 == 0 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	return texts
}

func checkTexts(t testing.TB, s *Store, texts map[pod.ID]string) {
	t.Helper()
	sn := must(s.At(bg, must(s.Head(bg, MainBranch))(t)))(t)
	defer sn.Close()
	for _, id := range sortedKeys(texts) {
		if got := string(must(sn.Pods(bg, []pod.ID{id}))(t)[0].Slots[0].Bytes); got != texts[id] {
			t.Fatalf("pod %d has another text", id)
		}
	}
}

// freshSize is the size of a file that never held anything else.
func freshSize(t testing.TB, texts map[pod.ID]string) int64 {
	t.Helper()
	fs := newFS(t)
	o := testOptions(fs)
	o.PageSize = 8192
	s := mustOpen(t, o)
	tx := begin(t, s, MainBranch)
	for _, id := range sortedKeys(texts) {
		if err := tx.Put(bg, box(tx.NewPod(), texts[id])); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return must(fs.Stat(o.Path))(t).Size
}

func TestCompactionLeavesLittleBesideLiveData(t *testing.T) {
	for _, size := range []int{300, 900, 3000, 40_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fs := newFS(t)
			o := testOptions(fs)
			o.PageSize = 8192
			s := mustOpen(t, o)
			pods := 3 << 20 / size
			texts := churn(t, s, 1, pods, size, 8)
			must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
			report := must(s.Compact(bg, nil))(t)
			verifyClean(t, s)
			checkTexts(t, s, texts)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			info := must(fs.Stat(o.Path))(t)
			live := freshSize(t, texts)
			t.Logf("%d bytes of contents, %d in a fresh file, %d here (%.2fx), %+v", pods*size, live, info.Size, float64(info.Size)/float64(live), report)
			if float64(info.Size) > 1.2*float64(live) {
				t.Errorf("%d bytes of file for %d of live data", info.Size, live)
			}
		})
	}
}

func TestCompactionBesideCommits(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	texts := churn(t, s, 2, 300, 900, 6)
	must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
	var group sync.WaitGroup
	var commits atomic.Int64
	stop := make(chan struct{})
	group.Go(func() {
		rng := rand.New(rand.NewPCG(5, 5))
		ids := sortedKeys(texts)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := ids[rng.IntN(len(ids))]
			text := fmt.Sprint("new text ", i, " of ", id)
			if _, _, err := commitBox(t, s, MainBranch, "", id, text); err != nil {
				t.Error(err)
				return
			}
			texts[id] = text
			commits.Add(1)
			if i%20 == 0 {
				if err := s.Checkpoint(bg); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for commits.Load() < 150 && !t.Failed() {
		must(s.Compact(bg, nil))(t)
	}
	close(stop)
	group.Wait()
	checkTexts(t, s, texts)
	verifyClean(t, s)
}

func TestCompactCanBeCancelled(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	texts := churn(t, s, 3, 200, 900, 4)
	ctx, cancel := context.WithCancel(bg)
	_, err := s.Compact(ctx, func(CompactReport) { cancel() })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	checkTexts(t, s, texts)
	verifyClean(t, s)
}

// changeOne commits another text of one pod. It returns the newest version that
// was acknowledged.
func changeOne(s *Store, head Version, id pod.ID, text string) (Version, error) {
	tx, err := s.Begin(bg, MainBranch, head)
	if err != nil {
		return head, err
	}
	defer tx.Rollback()
	if err := tx.Put(bg, boxAgain(id, text)); err != nil {
		return head, err
	}
	v, err := tx.Commit(bg, CommitInfo{})
	if err != nil {
		return head, err
	}
	return v, nil
}

// compactRun prunes and compacts a small database on a file system that stops
// at some operation. It returns the texts of the versions of one pod.
func compactRun(t *testing.T, fs *vfs.MemFS) (versions []map[pod.ID]string, acked Version) {
	s, err := Open(bg, testOptions(fs))
	if err != nil {
		return nil, 0
	}
	defer s.Close()
	versions = append(versions, nil)
	texts := map[pod.ID]string{}
	for commit := range 6 {
		tx, err := s.Begin(bg, MainBranch, acked)
		if err != nil {
			return versions, acked
		}
		for i := range pod.ID(12) {
			if commit == 0 {
				id := tx.NewPod()
				texts[id] = noise(t, 700, uint64(id))
				err = tx.Put(bg, box(id, texts[id]))
			} else if id := i + 1; int(i)%3 != commit%3 {
				texts[id] = noise(t, 700, uint64(commit)*100+uint64(id))
				err = tx.Put(bg, boxAgain(id, texts[id]))
			}
			if err != nil {
				tx.Rollback()
				return versions, acked
			}
		}
		versions = append(versions, maps.Clone(texts))
		v, err := tx.Commit(bg, CommitInfo{})
		if err != nil {
			return versions, acked
		}
		acked = v
		switch commit {
		case 1, 3:
			if s.Checkpoint(bg) != nil {
				return versions, acked
			}
		case 4:
			if _, err := s.Prune(bg, PruneOptions{KeepLast: 1}); err != nil {
				return versions, acked
			}
			// A commit between two batches is in the log alone when the next one ends.
			var failed error
			_, err := s.Compact(bg, func(CompactReport) {
				if failed == nil {
					texts[1] += "more"
					versions = append(versions, maps.Clone(texts))
					acked, failed = changeOne(s, acked, 1, texts[1])
				}
			})
			if err != nil || failed != nil {
				return versions, acked
			}
		}
	}
	return versions, acked
}

func TestCrashAtEveryOperationOfACompaction(t *testing.T) {
	clean := newFS(t)
	compactRun(t, clean)
	ops, step := clean.Ops(), 1
	if testing.Short() {
		step = 9
	}
	for n := 1; n <= ops+1; n += step {
		fs := newFS(t)
		fs.CrashAt(n)
		versions, acked := compactRun(t, fs)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix} {
			image := fs.Crash(kind, uint64(n*8+i))
			s, err := Open(bg, testOptions(image))
			if err != nil {
				t.Fatalf("crash at operation %d of %d, %v: %v", n, ops, kind, err)
			}
			head := must(s.Head(bg, MainBranch))(t)
			if head < acked || int(head) >= max(len(versions), 1) {
				t.Fatalf("crash at operation %d of %d, %v: newest version %d, acknowledged %d", n, ops, kind, head, acked)
			}
			if head > 0 {
				checkTexts(t, s, versions[head])
			}
			verifyClean(t, s)
			if err := s.Close(); err != nil {
				t.Fatalf("crash at operation %d of %d, %v: %v", n, ops, kind, err)
			}
		}
	}
	t.Logf("%d operations", ops)
}
