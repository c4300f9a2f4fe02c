package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// tinyPods commits many tiny pods under names, which lie in many more blocks than the caches hold, and takes the
// room for blocks that are read once.
func tinyPods(t *testing.T, s *Store, n int) (ids []pod.ID) {
	tx := begin(t, s, MainBranch)
	for i := range n {
		ids = append(ids, tx.NewPod())
		if err := tx.Put(bg, box(ids[i], tinyText(i))); err != nil {
			t.Fatal(err)
		}
		if err := tx.SetName(bg, fmt.Sprint("p/", i), ids[i]); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	s.passed.room.Store(0)
	return ids
}

func tinyText(i int) string { return fmt.Sprintf("%d %s", i, randomText(uint64(i), 120)) }

const manyTiny = 12_000

// Readers of one tiny pod each, of more blocks than are kept, beside commits, checkpoints and prunes: what they have read
// is right, and stays.
func TestReadersOfTinyPodsInManyBlocks(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	ids := tinyPods(t, s, manyTiny)
	first := must(s.AtHead(bg, MainBranch))(t)
	defer first.Close()
	var readers, writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		rng := rand.New(rand.NewPCG(9, 9))
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			k := rng.IntN(manyTiny)
			if _, _, err := commitBox(t, s, MainBranch, "", ids[k], fmt.Sprintf("%d again", k)); err != nil {
				t.Error(err)
				return
			}
			if i%20 == 19 {
				if _, err := s.Prune(bg, PruneOptions{KeepLast: 3}); err != nil {
					t.Error(err)
				}
				if err := s.Checkpoint(bg); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for who := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(who), 4))
			read := map[int]*pod.Pod{}
			for range 1500 {
				i := rng.IntN(manyTiny)
				_, p, err := first.Variable(bg, fmt.Sprint("p/", i), new(pod.Pod))
				if err != nil {
					t.Error(err)
					return
				}
				read[i] = p
			}
			for i, p := range read {
				if got := string(p.Slots[0].Bytes); got != tinyText(i) {
					t.Errorf("variable %d is %q", i, got)
				}
			}
		})
	}
	readers.Wait()
	close(done)
	writer.Wait()
	verifyClean(t, s)
}

// blockOf returns the envelope of a pod's newest version, and the row of its block.
func blockOf(t *testing.T, s *Store, sn *Snapshot, id pod.ID) (envelope, blockRow) {
	t.Helper()
	v := must(s.view())(t)
	defer v.close()
	f, ok, err := v.resolve(sn.lineage, id)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	e := must(decodeEnvelope(f.env))(t)
	return e, must(v.blockRow(e.block))(t)
}

// A block that is read for one tiny pod is not kept, but is if it is read again.
func TestABlockIsKeptWhenItIsReadAgain(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	ids := tinyPods(t, s, manyTiny)
	sn := must(s.AtHead(bg, MainBranch))(t)
	defer sn.Close()
	e, row := blockOf(t, s, sn, ids[2000])
	s.passed.room.Store(int64(row.raw))
	if _, _, err := sn.Variable(bg, "p/2000", new(pod.Pod)); err != nil {
		t.Fatal(err)
	}
	if _, kept := s.recent.get(e.block); !kept {
		t.Error("a block was not kept though there was room")
	}
	for _, i := range []int{100, 5000, 11_000} {
		e, _ := blockOf(t, s, sn, ids[i])
		for again := range 2 {
			if _, p, err := sn.Variable(bg, fmt.Sprint("p/", i), new(pod.Pod)); err != nil || string(p.Slots[0].Bytes) != tinyText(i) {
				t.Fatal(err)
			}
			if _, kept := s.recent.get(e.block); kept != (again == 1) {
				t.Errorf("block %d, read %d times, is kept: %v", e.block, again+1, kept)
			}
		}
	}
	// Another block takes the place where the first was noted, if it has the same.
	for i := range uint64(20 * len(s.passed.places)) {
		s.passed.again(1<<40+i, 1)
	}
	e, _ = blockOf(t, s, sn, ids[10_000])
	if s.passed.again(e.block, 1) || !s.passed.again(e.block, 1) {
		t.Error("a block is noted that was not read, or not noted when it was")
	}
}

// A flipped bit in a block that is not kept is found, and a block where another one should lie is too.
func TestADamagedPassingBlockIsFound(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	defer s.Close()
	ids := tinyPods(t, s, manyTiny)
	sn := must(s.AtHead(bg, MainBranch))(t)
	defer sn.Close()
	f := must(mem.Open("dir/a.pod", vfs.ReadWrite))(t)
	defer f.Close()
	rng := rand.New(rand.NewPCG(3, 8))
	for range 40 {
		i := rng.IntN(manyTiny)
		e, row := blockOf(t, s, sn, ids[i])
		whole := make([]byte, row.place.Len)
		if _, err := f.ReadAt(whole, int64(row.place.Off)); err != nil {
			t.Fatal(err)
		}
		if _, kept := s.recent.get(e.block); kept {
			continue
		}
		if _, kept := s.blocks.Get(e.block); kept {
			continue
		}
		at := rng.IntN(len(whole))
		if _, err := f.WriteAt([]byte{whole[at] ^ byte(1<<rng.IntN(8))}, int64(row.place.Off)+int64(at)); err != nil {
			t.Fatal(err)
		}
		if _, p, err := sn.Variable(bg, fmt.Sprint("p/", i), new(pod.Pod)); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("byte %d of block %d: %v, %v", at, e.block, p, err)
		}
		if _, err := f.WriteAt(whole[at:at+1], int64(row.place.Off)+int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	v := must(s.view())(t)
	defer v.close()
	e, row := blockOf(t, s, sn, ids[7])
	other, _ := blockOf(t, s, sn, ids[6000])
	if _, err := v.passingMember(&other, row); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("block %d in place of block %d: %v", e.block, other.block, err)
	}
	e.off = row.raw
	if _, err := v.passingMember(&e, row); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("a member behind the end of its block: %v", err)
	}
}
