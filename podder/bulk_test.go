package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// bulkStore is a store without a way to recycle pods but for loads that read much.
type bulkStore struct {
	pod.Source
	bulk   *fakeStore
	loads  int
	single int // pods that were read beside them
}

func (s *bulkStore) Bulk() pod.Recycler {
	s.loads++
	return s.bulk
}

func (s *bulkStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	s.single += len(ids)
	return s.Source.Pods(ctx, ids)
}

// A load that turns out to read many pods asks for them in bulk; one that reads few
// does not.
func TestLoadsOfMuchReadInBulk(t *testing.T) {
	type node struct {
		Name string
		Next *node
	}
	for _, n := range []int{10, 5000} {
		s := newFakeStore()
		cfg := s.config()
		cfg.TargetBytes = 200
		g, err := NewGraph(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var first *node
		for i := range n {
			first = &node{fmt.Sprint("node ", i), first}
		}
		mustSave(t, g, s, "x", first)
		src := &bulkStore{Source: s, bulk: s}
		vs, err := Decode(t.Context(), Config{}, src, []string{"x"}, []reflect.Type{reflect.TypeFor[*node]()})
		if err != nil {
			t.Fatal(err)
		}
		got := vs[0].Interface().(*node)
		for want := first; want != nil; want = want.Next {
			if got == nil || got.Name != want.Name {
				t.Fatalf("%v where %v was expected", got, want)
			}
			got = got.Next
		}
		if much := n > 1000; (src.loads == 1) != much || src.loads > 1 || much && src.single > 2*bulkFrom {
			t.Errorf("%d objects: %d loads in bulk, %d pods read beside them", n, src.loads, src.single)
		}
	}
}

// failingStore fails at the n-th batch of pods.
type failingStore struct {
	*fakeStore
	n, recycled int
}

var errBatch = errors.New("a batch that cannot be read")

func (s *failingStore) Recycle(p *pod.Pod) {
	s.recycled++
	s.fakeStore.Recycle(p)
}

func (s *failingStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	if s.n--; s.n == 0 {
		return nil, errBatch
	}
	return s.fakeStore.Pods(ctx, ids)
}

// A load into an empty graph that fails when pods have joined it already leaves it empty, and the
// next one reads all; a save after it writes nothing.
func TestAFirstLoadThatFailsLeavesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.TargetBytes = rndRegistry(t), 300
	g, err := NewGraph(cfg)
	if err != nil {
		t.Fatal(err)
	}
	x := newRndGraph(r, 400).nodes[0]
	mustSave(t, g, s, "x", x)
	want := []reflect.Type{reflect.TypeFor[*rnd]()}
	failed, joined := 0, 0
	for n := 1; ; n++ {
		g, err := NewGraph(cfg)
		if err != nil {
			t.Fatal(err)
		}
		before := g.cur
		src := &failingStore{fakeStore: s, n: n}
		_, err = g.Load(t.Context(), src, []string{"x"}, want)
		if err == nil {
			break
		}
		if !errors.Is(err, errBatch) || !g.isEmpty() || g.Len() != 0 || g.cur != before {
			t.Fatalf("batch %d: %v, and the graph has %d pods", n, err, g.Len())
		}
		failed++
		if src.recycled > 0 {
			joined++
		}
		vs, err := g.Load(t.Context(), s, []string{"x"}, want)
		if err != nil {
			t.Fatal(err)
		}
		if tx := mustSave(t, g, s, "x", vs[0].Interface()); len(tx.pods) > 0 {
			t.Fatalf("batch %d: a save after the load writes %d pods", n, len(tx.pods))
		}
	}
	if failed < 10 || joined == 0 {
		t.Errorf("%d loads failed, %d after pods had joined", failed, joined)
	}
}
