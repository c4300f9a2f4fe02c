package mvcc

import (
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// checkSpace compares what Stats keeps with what a walk finds.
func checkSpace(t *testing.T, s *Store, when string) {
	t.Helper()
	st, r := s.Stats(), must(s.SpaceReport(bg))(t)
	sp := st.Space
	if sum := sp.Metas + sp.Index + sp.Blocks + sp.Extents + sp.Held + sp.Free; sum != st.FileBytes || sp.Free < 0 {
		t.Fatalf("%s: %+v add up to %d of a file of %d", when, sp, sum, st.FileBytes)
	}
	if sp.Index != r.Index || sp.Blocks != r.Records || sp.BlockCount != r.Blocks || sp.Stored != r.Stored || sp.Dead != r.Dead || sp.Directory != r.Directory {
		t.Fatalf("%s: Stats say %+v, the report %+v", when, sp, r)
	}
	if sp.Stored > sp.Blocks || sp.Dead+sp.Directory > sp.Stored {
		t.Fatalf("%s: %+v", when, sp)
	}
}

// The classes of Stats are those that a scan finds, whatever happened.
func TestStatsKnowWhereTheSpaceIs(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 9))
		fs := newFS(t)
		o := testOptions(fs)
		o.streamFrom = []int64{20 << 10, 1 << 40}[seed%2]
		s := mustOpen(t, o)
		var ids []pod.ID
		dead, extents := int64(0), int64(0)
		for range 60 {
			when := ""
			switch rng.IntN(12) {
			case 0:
				when = "prune"
				must(s.Prune(bg, PruneOptions{KeepLast: 1 + rng.IntN(4)}))(t)
			case 1:
				when = "compact"
				must(s.Compact(bg, nil))(t)
			case 2:
				when = "open"
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, o)
			case 3:
				when = "crash"
				crashed := o
				fs = fs.Restart()
				crashed.FS = fs
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s, o = mustOpen(t, crashed), crashed
			case 4, 5, 6:
				when = "checkpoint"
				if err := s.Checkpoint(bg); err != nil {
					t.Fatal(err)
				}
			default:
				when = "commit"
				ids = spaceCommit(t, s, rng, ids)
			}
			checkSpace(t, s, when)
			st := s.Stats().Space
			dead, extents = max(dead, st.Dead), max(extents, st.Extents)
		}
		if dead == 0 || extents == 0 == (seed%2 == 0) {
			t.Errorf("seed %d: at most %d dead bytes, %d of extents: the test proves little", seed, dead, extents)
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// spaceCommit writes new pods and changes old ones.
func spaceCommit(t *testing.T, s *Store, rng *rand.Rand, ids []pod.ID) []pod.ID {
	t.Helper()
	tx := begin(t, s, MainBranch)
	changed := map[pod.ID]bool{}
	for range 1 + rng.IntN(40) {
		text := randomBody(rng, rng.IntN(2500))
		c := box(tx.NewPod(), text)
		if len(ids) > 5 && rng.IntN(2) == 0 {
			if c = boxAgain(ids[rng.IntN(len(ids))], text); changed[c.ID] {
				continue
			}
		} else {
			ids = append(ids, c.ID)
		}
		changed[c.ID] = true
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	return ids
}

// A file without the sums, as older programs wrote it, gets them with the next
// checkpoint that changes a block.
func TestSumsOfAnOlderFile(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 9))
	var ids []pod.ID
	for range 5 {
		ids = spaceCommit(t, s, rng, ids)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	upkeepFor(t, s, func(o *overlay) { o.remove(singleKey(singleSums)) })
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	page := s.pager.View()
	defer page.Close()
	if _, ok, err := foundSums(page); ok || err != nil {
		t.Fatalf("the sums are still there, %v", err)
	}
	verifyClean(t, s)
	spaceCommit(t, s, rng, ids)
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	checkSpace(t, s, "after a checkpoint")
	verifyClean(t, s)
}
