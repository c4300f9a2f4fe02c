package podder

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

func TestEdgeSetsAreWhatEachSlotReaches(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 3))
	var x edgeSets
	downward := 0
	for round := range 600 {
		n, refs := 1+r.IntN(60), 1+r.IntN(150)
		down := round%2 == 0 // mostly, as in a tree
		starts := make([]uint32, n)
		slots := make([]uint32, n)
		var links []uint32
		for i := range starts {
			slots[i] = uint32(3*i + r.IntN(3))
			if down {
				slots[i] = uint32(i)
			}
			starts[i] = uint32(len(links))
			for range r.IntN(4) {
				if r.IntN(3) == 0 {
					links = append(links, uint32(r.IntN(refs))<<1|1)
				} else {
					links = append(links, uint32(i)<<1) // a slot, known when all are
				}
			}
		}
		used := map[uint32]bool{}
		for i, l := range links {
			if from := int(l >> 1); l&1 == 0 && down && from < n-1 && r.IntN(500) > 0 {
				links[i] = slots[from+1+r.IntN(n-1-from)] << 1
			} else if l&1 == 0 {
				links[i] = slots[r.IntN(n)] << 1
			} else {
				used[l>>1] = true
			}
		}
		var first pod.EdgeSet
		if len(used) > 0 {
			first = x.fromFirst(starts, slots, links, refs, len(used))
		}
		x.compute(starts, slots, links, refs)
		if x.downward {
			downward++
		}
		if want, _ := x.set(slots[0], len(used)); len(used) > 0 && (first.All != want.All || !slices.Equal(first.List, want.List)) {
			t.Fatalf("the first slot reaches %v, or %v", first, want)
		}
		for i, s := range slots {
			want := naiveReach(starts, slots, links, i)
			got, live := x.set(s, len(used))
			if !live && len(used) > 0 {
				t.Fatalf("slot %d is encoded", s)
			}
			if len(used) == 0 {
				continue
			}
			if got.All {
				if len(want) != len(used) {
					t.Fatalf("slot %d: All of %d, it reaches %v", s, len(used), want)
				}
				continue
			}
			if !slices.Equal(got.List, want) || len(want) == len(used) {
				t.Fatalf("slot %d: %v, it reaches %v of %d", s, got, want, len(used))
			}
		}
		if _, live := x.set(slots[n-1]+1, len(used)); live {
			t.Fatalf("slot %d is not encoded", slots[n-1]+1)
		}
	}
	if downward < 20 || downward > 280 {
		t.Errorf("%d of 600 pods were taken for such that refer downwards only", downward)
	}
}

func naiveReach(starts, slots, links []uint32, from int) []uint32 {
	seen := map[int]bool{from: true}
	set := map[uint32]bool{}
	for todo := []int{from}; len(todo) > 0; {
		i := todo[0]
		todo = todo[1:]
		to := len(links)
		if i+1 < len(starts) {
			to = int(starts[i+1])
		}
		for _, l := range links[starts[i]:to] {
			if l&1 != 0 {
				set[l>>1] = true
			} else if k := slices.Index(slots, l>>1); !seen[k] {
				seen[k] = true
				todo = append(todo, k)
			}
		}
	}
	var list []uint32
	for n := range set {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

type edgeNodeT struct {
	text string
	big  *[20_000]byte // a pod of its own
	next *edgeNodeT
}

// Without this, P = {R, C} kept alive through C would keep R and all behind it.
func TestAnExportKeepsAliveOnlyWhatItReaches(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	c := &edgeNodeT{text: "c", big: new([20_000]byte)}
	r := &edgeNodeT{text: "r", big: new([20_000]byte), next: c}
	holder := &struct{ c *edgeNodeT }{c}
	mustSave(t, g, s, "a", r, "b", holder)
	p := s.pods[s.names["a"]]
	if len(p.Exports) != 2 || !p.Exports[0].Edges.All || len(p.Exports[1].Edges.List) != 1 {
		t.Fatalf("exports %+v, references %v", p.Exports, p.Refs)
	}
	// a goes: its pod keeps both slots, b's way in keeps its own edges only.
	g.Forget("a")
	mustSave(t, g, s, "b", holder)
	c.text = "changed"
	mustSave(t, g, s, "b", holder)
	q := s.pods[s.names["a"]]
	if len(q.Slots) != len(p.Slots) || q.Slots[0].Kind != pod.SlotBox {
		t.Error("slots were dropped though an exported one is not live here")
	}
	if e := q.Exports[1].Edges; e.All || len(e.List) != 1 || !slices.Equal(e.List, p.Exports[1].Edges.List) {
		t.Errorf("edges of c: %+v", e)
	}
	reload(t, s, s.config(), "a", r, "b", holder)
}

func TestExportsOfAnUnchangedPodGrowWhenAnotherPodRefersToIt(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	l := &leaf{Text: "inner"}
	x := &list{Tail: l}
	mustSave(t, g, s, "x", x)
	y := &list{Tail: l}
	tx := mustSave(t, g, s, "x", x, "y", y)
	id := s.names["x"]
	if !slices.Contains(tx.changes, id) || len(tx.slots[id]) != 0 {
		t.Errorf("pods %v, slots %v: want the own part of pod %d alone", tx.changes, tx.slots, id)
	}
	y.Tail = nil
	mustSave(t, g, s, "x", x, "y", y)
	if len(s.pods[id].Exports) != 2 {
		t.Error("an export was taken back")
	}
	reload(t, s, s.config(), "x", x, "y", y)
}
