package mvcc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// edit changes a text as programs do: some bytes in place, a cut, an insertion,
// or all of it.
func edit(rng *rand.Rand, b []byte) []byte {
	b = append([]byte(nil), b...)
	at := rng.IntN(len(b) + 1)
	n := rng.IntN(1 + len(b)/20)
	switch rng.IntN(8) {
	case 0:
		return append(b[:at], b[min(at+n, len(b)):]...)
	case 1, 2:
		return append(b[:at:at], append([]byte(strings.Repeat(fmt.Sprint(rng.IntN(100)), 1+n/2)), b[at:]...)...)
	case 3:
		if rng.IntN(4) == 0 {
			return []byte(strings.Repeat(fmt.Sprint(rng.Uint64()), 1+rng.IntN(2000)))
		}
	}
	for i := at; i < min(at+n, len(b)); i++ {
		b[i] = byte(rng.Uint64())
	}
	return b
}

// Whatever happens to a pod, each version reads as it was put, and no chain
// gets longer than maxDepth.
func TestChainsOfRandomChangesReadBack(t *testing.T) {
	for seed := max(*seedFlag, 1); seed < max(*seedFlag, 1)+6; seed++ {
		rng := rand.New(rand.NewPCG(seed, 11))
		o := testOptions(newFS(t))
		o.MemoryBytes = -1 // no caches
		s := mustOpen(t, o)
		texts := map[Version]string{}
		id, kinds := pod.ID(0), map[string]int{}
		text := []byte(noise(t, 1+rng.IntN(20_000), seed))
		for range 60 {
			var v Version
			var err error
			if id, v, err = commitBox(t, s, MainBranch, "x", id, string(text)); err != nil {
				t.Fatal(err)
			}
			texts[v] = string(text)
			kinds[storedKind(t, s, id)]++
			text = edit(rng, text)
			if rng.IntN(9) == 0 {
				if err := s.Checkpoint(bg); err != nil {
					t.Fatal(err)
				}
			}
		}
		for v, want := range texts {
			if got := read(t, s, v, id); got != want {
				t.Fatalf("version %d reads as another text (-mvcc.seed=%d)", v, seed)
			}
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if kinds["delta"] == 0 {
			t.Errorf("no delta in %v: the test proves nothing (-mvcc.seed=%d)", kinds, seed)
		}
	}
}

// storedKind says how the newest version of a pod is stored, and checks its
// depth.
func storedKind(t testing.TB, s *Store, id pod.ID) string {
	t.Helper()
	v := must(s.view())(t)
	defer v.close()
	f, _, err := v.resolve(everything(s.lines.Load().byName[MainBranch]), id)
	if err != nil {
		t.Fatal(err)
	}
	fr := must(decodeFrame(must(v.open(f.env))(t)))(t)
	if fr.depth > maxDepth {
		t.Fatalf("chain of %d versions", fr.depth)
	}
	return must(pod.DecodeVersion(fr.form))(t).Kind().String()
}

// A small change inside a large slot costs what it changes, about.
func TestASmallChangeOfALargeSlotIsStoredSmall(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	text := []byte(noise(t, 8192, 1))
	id, _, err := commitBox(t, s, MainBranch, "x", 0, string(text))
	if err != nil {
		t.Fatal(err)
	}
	copy(text[4000:4100], noise(t, 100, 2))
	if _, _, err := commitBox(t, s, MainBranch, "x", id, string(text)); err != nil {
		t.Fatal(err)
	}
	v := must(s.view())(t)
	defer v.close()
	f, _, err := v.resolve(everything(s.lines.Load().byName[MainBranch]), id)
	if err != nil || len(f.env) > 120 {
		t.Fatalf("%d bytes for 100 changed ones, %v", len(f.env), err)
	}
}

func BenchmarkSmallChangeOfALargePod(b *testing.B) {
	text := []byte(noise(b, 8192, 1))
	exports := []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}}
	old := &pod.Pod{Exports: exports, Slots: []pod.Data{{Kind: pod.SlotBox, Bytes: text}}}
	changed := append([]byte(nil), text...)
	for i := range 100 {
		changed[4000+i] = 'x'
	}
	next := &pod.Pod{Exports: exports, Slots: []pod.Data{{Kind: pod.SlotBox, Bytes: changed}}}
	var form []byte
	b.Run("write", func(b *testing.B) {
		for range b.N {
			form = appendChange(form[:0], old, next, pod.Generation{}, 8200, false)
		}
		b.ReportMetric(float64(len(form)), "stored-B")
	})
	b.Run("read", func(b *testing.B) {
		for range b.N {
			v := must(pod.DecodeVersion(form))(b)
			must(pod.Merge(old, v, nil))(b)
		}
	})
}
