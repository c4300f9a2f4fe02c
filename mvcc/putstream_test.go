package mvcc

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// streamCase is a transaction for TestStreamedBodies: new pods of every size and
// shape, some of them equal to others of it or to stored ones.
func streamCase(rng *rand.Rand, ids func() pod.ID, old []string) (changes []pod.Change, texts []string) {
	for i := range 150 {
		text := randomBody(rng, rng.IntN(3000))
		switch {
		case i%11 == 0:
			text = randomBody(rng, 70_000+rng.IntN(60_000))
		case i%7 == 0:
			text = strings.Repeat(randomBody(rng, 50), 40)
		case i%5 == 0 && i > 0:
			text = texts[rng.IntN(i)]
		case i%9 == 0 && len(old) > 0:
			text = old[rng.IntN(len(old))]
		}
		c := box(ids(), text)
		if i%13 == 0 { // a slot between is free
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: 2, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte(randomBody(rng, 900))}})
		}
		changes, texts = append(changes, *c), append(texts, text)
	}
	return changes, texts
}

func randomBody(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

// What goes straight into the blocks of a stream comes back, is stored once, and
// is the same whether changes are prepared together or put one by one.
func TestStreamedBodies(t *testing.T) {
	var stats [2]TxStats
	for prepared := range 2 {
		fs := newFS(t)
		o := testOptions(fs)
		o.streamFrom = 10 << 10
		s := mustOpen(t, o)
		rng := rand.New(rand.NewPCG(3, 3))
		var old []string
		for range 3 {
			tx := begin(t, s, MainBranch)
			changes, texts := streamCase(rng, tx.NewPod, old)
			old = append(old, texts...)
			var ids []pod.ID
			put := func(part []pod.Change) {
				t.Helper()
				if prepared == 1 {
					if err := tx.Prepare(part)(bg); err != nil {
						t.Fatal(err)
					}
				}
				for i := range part {
					if prepared == 0 {
						if err := tx.Put(bg, &part[i]); err != nil {
							t.Fatal(err)
						}
					}
					ids = append(ids, part[i].ID)
					for k := range part[i].Slots { // the sender may use the memory again
						clear(part[i].Slots[k].Data.Bytes)
					}
				}
			}
			for from := 0; from < len(changes); from += 25 {
				put(changes[from : from+25])
			}
			w := tx.Written()
			stats[prepared].Bytes += w.Bytes
			stats[prepared].Shared += w.Shared
			v := must(tx.Commit(bg, CommitInfo{}))(t)
			readAll(t, s, v, ids, texts)
			verifyClean(t, s)
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
			readAll(t, s, v, ids, texts)
			verifyClean(t, s)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if stats[0] != stats[1] || stats[0].Shared < 100 {
		t.Errorf("put one by one: %+v, prepared: %+v", stats[0], stats[1])
	}
}

// Two bodies with one key are two bodies.
func TestStreamedBodiesWithOneKey(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.streamFrom = 10 << 10
	s := mustOpen(t, o)
	defer s.Close()
	s.contentKey = func([32]byte) contentKey { return contentKey{1} }
	rng := rand.New(rand.NewPCG(5, 5))
	for range 2 {
		tx := begin(t, s, MainBranch)
		changes, texts := streamCase(rng, tx.NewPod, nil)
		var ids []pod.ID
		for i := range changes {
			ids = append(ids, changes[i].ID)
		}
		if err := tx.Prepare(changes)(bg); err != nil {
			t.Fatal(err)
		}
		readAll(t, s, must(tx.Commit(bg, CommitInfo{}))(t), ids, texts)
		verifyClean(t, s)
	}
}
