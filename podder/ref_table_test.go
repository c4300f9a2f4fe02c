package podder

import (
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// The table answers what a map would, also after it was emptied.
func TestReferenceNumbersAreThoseOfAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var table refTable
	for round := range 300 {
		if round == 150 {
			table.round = ^uint32(0) - 1
			clear(table.slots)
			table.count = 0
		}
		want := map[pod.Ref]uint32{}
		for n := range uint32(r.IntN(300)) {
			ref := pod.Ref{Pod: pod.ID(r.IntN(20)), Slot: pod.Slot(r.IntN(20))}
			got, ok := table.get(ref)
			if w, there := want[ref]; ok != there || ok && got != w {
				t.Fatalf("round %d: %v has number %d, %v; want %d, %v", round, ref, got, ok, w, there)
			}
			want[ref] = n
			table.put(ref, n)
		}
		if table.count != len(want) {
			t.Fatalf("round %d: %d references, want %d", round, table.count, len(want))
		}
		table.clear()
	}
}
