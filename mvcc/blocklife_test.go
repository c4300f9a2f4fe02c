package mvcc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// verifyBlocks checks blocks alone.
func verifyBlocks(t testing.TB, s *Store) {
	t.Helper()
	v := must(s.view())(t)
	defer v.close()
	w := &verifier{ctx: bg, s: s, v: v, o: VerifyOptions{Deep: true}, counters: s.published.Load().counters}
	for _, check := range []func() error{w.blocks, w.records} {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.report.Problems) > 0 {
		t.Fatalf("%q", w.report.Problems)
	}
}

// upkeepFor changes rows as retention does.
func upkeepFor(t testing.TB, s *Store, fn func(o *overlay)) {
	t.Helper()
	if s.log.Load() == nil {
		if _, _, err := commitBox(t, s, MainBranch, "begin", 0, "so that there is a log"); err != nil {
			t.Fatal(err)
		}
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	fn(s.layers.Load().active)
}

// Rows come, are replaced and go, over many checkpoints: what is left reads as
// it was written, live members are counted right, and dead bytes stay bounded.
func TestBlocksFollowTheirMembers(t *testing.T) {
	seed := max(*seedFlag, 1)
	rng := rand.New(rand.NewPCG(seed, 9))
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	defer func() { s.Close() }()
	want := map[string][]byte{}
	var keys []string
	for round := range 40 {
		upkeepFor(t, s, func(o *overlay) {
			for range rng.IntN(60) {
				key := versionKey(nil, pod.ID(1000+rng.IntN(50)), 1, rng.Uint64N(1000))
				rec := append([]byte{0}, noise(t, 20+rng.IntN(400), rng.Uint64())...)
				if rng.IntN(30) == 0 {
					rec = append([]byte{0}, bytes.Repeat(rec, 200)...)
				}
				if want[string(key)] == nil {
					keys = append(keys, string(key))
				}
				want[string(key)] = rec
				o.replace(key, inline(rec))
			}
			for range rng.IntN(60) {
				key := pick(rng, keys)
				delete(want, key)
				o.remove([]byte(key))
			}
		})
		if err := s.Checkpoint(bg); err != nil {
			t.Fatalf("round %d (-mvcc.seed=%d): %v", round, seed, err)
		}
		if rng.IntN(8) == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, testOptions(fs))
		}
		verifyBlocks(t, s)
		if wrong := differs(s, keys, want); wrong != "" {
			t.Fatalf("round %d (-mvcc.seed=%d): %s", round, seed, wrong)
		}
	}
	r := must(s.SpaceReport(bg))(t)
	if contents := r.Live.Stored + r.History.Stored; r.Dead > 2*contents {
		t.Fatalf("%d dead bytes beside %d", r.Dead, contents)
	}
}

// differs says which row is not as it should be.
func differs(s *Store, keys []string, want map[string][]byte) string {
	v, err := s.view()
	if err != nil {
		return err.Error()
	}
	defer v.close()
	for _, key := range keys {
		got, ok, err := v.fetch([]byte(key))
		if err != nil || ok != (want[key] != nil) || !bytes.Equal(got, want[key]) {
			return fmt.Sprintf("row %x: %d bytes, %v, %v; expected %d bytes", key, len(got), ok, err, len(want[key]))
		}
	}
	return ""
}

// sparseRows make more blocks than one checkpoint rewrites.
const sparseRows = 9000

// Compaction may rewrite what checkpoints remember.
func TestCompactionTakesSparseBlocksOffTheList(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for round := range 2 {
		upkeepFor(t, s, func(o *overlay) {
			for i := range sparseRows {
				key := versionKey(nil, pod.ID(1000+i), 1, 1)
				if round == 0 {
					o.put(key, inline(append([]byte{0}, noise(t, 300, uint64(i))...)))
				} else if i%4 != 0 {
					o.remove(key)
				}
			}
		})
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.check.sparse.known) == 0 {
		t.Fatal("one checkpoint rewrote all: the test proves nothing")
	}
	must(s.Compact(bg, nil))(t)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "something"); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	verifyBlocks(t, s)
}

// A sparse block that an earlier session left behind is found and rewritten.
func TestSparseBlocksAreFoundAfterOpening(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	key := func(i int) []byte { return versionKey(nil, pod.ID(1000+i), 1, 1) }
	upkeepFor(t, s, func(o *overlay) {
		for i := range sparseRows {
			o.put(key(i), inline(append([]byte{0}, noise(t, 300, uint64(i))...)))
		}
	})
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	upkeepFor(t, s, func(o *overlay) {
		for i := range sparseRows {
			if i%4 != 0 {
				o.remove(key(i))
			}
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, testOptions(fs))
	defer s.Close()
	before := must(s.SpaceReport(bg))(t)
	if before.Dead < before.Live.Stored/4 {
		t.Fatalf("one checkpoint rewrote all: the test proves nothing: %+v", before)
	}
	for i := range 4 {
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint("x", i), 0, "something"); err != nil {
			t.Fatal(err)
		}
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	verifyBlocks(t, s)
	after := must(s.SpaceReport(bg))(t)
	if after.Dead*10 > after.Live.Stored || after.Blocks >= before.Blocks {
		t.Fatalf("before %+v, after %+v", before, after)
	}
}
