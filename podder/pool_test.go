package podder

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/pod"
)

// A graph that was used before saves and loads as a new one does: the same pods
// with the same bytes, whatever was in it, also after aborted saves.
func TestAGraphFromAPoolIsLikeANewOne(t *testing.T) {
	ctx := context.Background()
	a, b := newFakeStore(), newFakeStore()
	pool := NewPool(b.config())
	want := []reflect.Type{reflect.TypeFor[*wNode]()}
	step := func(s *fakeStore, g *Graph, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 1))
		name := fmt.Sprint("v", rng.IntN(5))
		n := 0
		tree := wTree(1+rng.IntN(6), &n)
		if seed%20 == 7 {
			tree = wTree(13, &n) // tables beyond the heap
		}
		if _, ok := s.names[name]; ok && rng.IntN(4) > 0 {
			vs, err := g.Load(ctx, s, []string{name}, want)
			if err != nil {
				t.Fatal(err)
			}
			tree = vs[0].Interface().(*wNode)
			tree.Name = fmt.Sprint("changed ", seed)
			if rng.IntN(2) == 0 {
				tree.Left = wTree(3, &n)
			}
		}
		if rng.IntN(3) == 0 {
			saved, err := g.Save(ctx, rootsOf(name, tree), s.begin())
			if err != nil {
				t.Fatal(err)
			}
			saved.Abort()
		}
		mustSave(t, g, s, name, tree)
	}
	for seed := range uint64(120) {
		step(a, mustGraph(t, a.config()), seed)
		g, err := pool.Get()
		if err != nil {
			t.Fatal(err)
		}
		if g.Len() != 0 || len(g.roots) != 0 {
			t.Fatal("a graph from the pool is not empty")
		}
		step(b, g, seed)
		pool.Put(g)
		if !reflect.DeepEqual(a.pods, b.pods) || !maps.Equal(a.names, b.names) {
			t.Fatalf("step %d: the pool's graph stored something else", seed)
		}
	}
	if len(pool.free) != 1 {
		t.Fatalf("%d graphs in the pool", len(pool.free))
	}
}

// What a graph knew can be collected once it is back in the pool.
func TestAGraphInAPoolHoldsNothing(t *testing.T) {
	s := newFakeStore()
	pool := NewPool(s.config())
	freed := make(chan bool, 1)
	func() {
		g, err := pool.Get()
		if err != nil {
			t.Fatal(err)
		}
		x := &list{Tail: &leaf{}}
		runtime.SetFinalizer(x.Tail, func(*leaf) { freed <- true })
		mustSave(t, g, s, "x", x)
		pool.Put(g)
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-time.After(10 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("still held")
			}
		}
	}
}

// The pods that a graph lists are those that it holds, chunks among them.
func TestAGraphListsItsPods(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(i * i >> 5)
	}
	n := 0
	mustSave(t, g, s, "big", &big, "tree", wTree(9, &n))
	all := maps.Collect(func(yield func(pod.ID, bool) bool) {
		for id := range g.All() {
			if !yield(id, true) {
				return
			}
		}
	})
	for id := range s.pods {
		if !all[id] || !g.Has(id) {
			t.Errorf("pod %d is missing", id)
		}
	}
	if len(all) != len(s.pods) || g.Len() < len(all) || len(all) < 5 {
		t.Errorf("%d pods, %d stored, Len %d", len(all), len(s.pods), g.Len())
	}
	chunks, tree := map[pod.ID]struct{}{}, map[pod.ID]struct{}{}
	g.PodsFrom("big", chunks)
	g.PodsFrom("tree", tree)
	for id := range chunks {
		if _, both := tree[id]; both {
			t.Errorf("pod %d belongs to both", id)
		}
	}
	if len(chunks)+len(tree) != len(all) {
		t.Errorf("%d and %d pods of %d", len(chunks), len(tree), len(all))
	}
}

// Blocks that are used again are empty.
func TestSpareBlocksAreCleared(t *testing.T) {
	var spare spareBlocks
	for range 3 {
		m := ownMemory{spare: &spare, heapOnly: true}
		for range 2 * maxSpare {
			regions, numbers := ownBlock[region](&m, true), ownBlock[int32](&m, true)
			for i := range regions {
				if regions[i] != (region{}) || numbers[i] != 0 {
					t.Fatal("not cleared")
				}
				regions[i].edge, numbers[i] = 1, 1
			}
		}
		m.spare.give(m.given)
		for typ, list := range spare.of {
			if len(spare.of) != 2 || len(list.blocks) != maxSpare {
				t.Fatalf("of %d types, %d of %v are kept", len(spare.of), len(list.blocks), typ)
			}
		}
	}
}
