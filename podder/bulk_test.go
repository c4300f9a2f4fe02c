package podder

import (
	"context"
	"fmt"
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
