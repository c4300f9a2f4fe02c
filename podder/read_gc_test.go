package podder

import (
	"context"
	"reflect"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// torturedStore collects garbage at each step of a load.
type torturedStore struct{ *handStore }

func (s torturedStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	runtime.GC()
	return s.handStore.Pods(ctx, ids)
}

func (s torturedStore) Type(ctx context.Context, id pod.TypeID) ([]byte, error) {
	runtime.GC()
	return s.handStore.Type(ctx, id)
}

func TestLoadsSurviveTheCollector(t *testing.T) {
	small, tree := fuzzStore(), treeStore(11)
	wantSmall, wantTree := mustGet[*fuzzAll](t, small, "x"), mustGet[*benchUser](t, tree, "x")
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	load := func(h *handStore, want reflect.Type) reflect.Value {
		vs, err := Decode(t.Context(), Config{Registry: h.reg}, torturedStore{h}, []string{"x"}, []reflect.Type{want})
		if err != nil {
			t.Fatal(err)
		}
		return vs[0]
	}
	for range 6 {
		a, b := load(small, reflect.TypeFor[*fuzzAll]()), load(tree, reflect.TypeFor[*benchUser]())
		for range 3 {
			garbage := make([][]byte, 2000)
			for i := range garbage {
				garbage[i] = make([]byte, 8+i%100)
				for j := range garbage[i] {
					garbage[i][j] = 0xff
				}
			}
			runtime.GC()
		}
		sameAs(t, wantSmall, a)
		sameAs(t, wantTree, b)
	}
}

// sameAs compares what was loaded; by now the collector has seen it, and need not see each step of
// the comparison.
func sameAs(t *testing.T, want any, got reflect.Value) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	if err := isomorphic(reflect.ValueOf(want), got); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreSurvivesTheCollector(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	h := restoreStore()
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	want := mustGet[*restItem](t, h, "x")
	x := loadRest(t, g, h)
	for range 15 {
		x.Next, x.Map, x.Ints = nil, map[float64]*restItem{}, nil
		if _, err := g.Restore(t.Context(), torturedStore{h}, []string{"x"}, History{}); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		sameAs(t, want, reflect.ValueOf(x))
	}
}
