package podder

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

type firstNode struct {
	Name string
	Next *firstNode
}

func firstNodes(n int) *firstNode {
	var first *firstNode
	for i := range n {
		first = &firstNode{fmt.Sprint("node ", i), first}
	}
	return first
}

func loadFirstNodes(t *testing.T, g *Graph, s *fakeStore) *firstNode {
	t.Helper()
	vs, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*firstNode]()})
	if err != nil {
		t.Fatal(err)
	}
	return vs[0].Interface().(*firstNode)
}

// panickingStore panics at the n-th batch of pods.
type panickingStore struct {
	*fakeStore
	n int
}

func (s *panickingStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	if s.n--; s.n == 0 {
		panic("a source that panics")
	}
	return s.fakeStore.Pods(ctx, ids)
}

// A load into an empty graph that ends by a panic leaves it empty, and the next one reads all.
func TestAFirstLoadThatPanicsLeavesNothing(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 200
	mustSave(t, mustGraph(t, cfg), s, "x", firstNodes(200))
	for n := 2; n < 30; n += 3 {
		g := mustGraph(t, cfg)
		panicked := func() (yes bool) {
			defer func() { yes = recover() != nil }()
			_, _ = g.Load(t.Context(), &panickingStore{s, n}, []string{"x"}, []reflect.Type{reflect.TypeFor[*firstNode]()})
			return false
		}()
		empty, k := g.isEmpty(), 0
		for q := loadFirstNodes(t, g, s); q != nil; q = q.Next {
			k++
		}
		if panicked && !empty || k != 200 {
			t.Errorf("batch %d: empty %v after a load that panicked; the next has %d nodes of 200", n, empty, k)
		}
	}
}

// A forwarder between pods that could be let go of is known after a first load: a save that
// follows writes nothing.
func TestForwardersOfAFirstLoadAreKept(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 200
	mustSave(t, mustGraph(t, cfg), s, "x", firstNodes(200))
	var from *pod.Pod
	for id, p := range s.pods {
		if id != s.names["x"] && len(p.Refs) == 1 && p.Refs[0].Pod != s.names["x"] {
			from = p
		}
	}
	if from == nil {
		t.Fatal("no pod refers to another one")
	}
	s.last++
	s.pods[s.last] = &pod.Pod{Refs: []pod.Ref{from.Refs[0]}, Slots: []pod.Data{{Kind: pod.SlotForward, Bytes: hand{}.out(0)}},
		Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}}}
	from.Refs[0] = pod.Ref{Pod: s.last}
	g := mustGraph(t, cfg)
	tx := mustSave(t, g, s, "x", loadFirstNodes(t, g, s))
	if len(tx.changes) > 0 || len(g.cur.forwards) != 1 {
		t.Errorf("a save after a load wrote %v; %d forwarders are known", tx.slots, len(g.cur.forwards))
	}
}

type firstItem struct {
	Text  string
	Items []firstHolder
	Next  *firstItem
}
type firstHolder struct{ V firstMethods }
type firstMethods interface{ M() int }
type firstUnknown struct{ X int }

func (firstUnknown) M() int { return 0 }

// An error about a type names the variable from which it comes, also when much had joined the graph.
func TestErrorsOfAFirstLoadNameTheVariable(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes, cfg.Registry = 200, NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[firstUnknown](), ""); err != nil {
		t.Fatal(err)
	}
	items := func(unknown bool) *firstItem {
		var x *firstItem
		for i := range 300 {
			x = &firstItem{Text: fmt.Sprint("text number ", i), Next: x}
			if unknown && i == 0 {
				x.Items = []firstHolder{{firstUnknown{1}}}
			}
		}
		return x
	}
	mustSave(t, mustGraph(t, cfg), s, "a", items(false), "b", items(true))
	want := reflect.TypeFor[*firstItem]()
	_, err := mustGraph(t, s.config()).Load(t.Context(), s, []string{"a", "b"}, []reflect.Type{want, want})
	if err == nil || !strings.Contains(err.Error(), `variable "b"`) {
		t.Errorf("the error does not name the variable: %v", err)
	}
}

type firstLeaf struct{ N int }
type firstTop struct{ L []*firstLeaf }

// Exports with one list of edges keep one list in the graph: what a pod that says so with a byte
// for each takes stays in proportion.
func TestExportsOfAFirstLoadShareTheirList(t *testing.T) {
	const n = 3000
	h := newHandStore()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2}}, h.box(reflect.TypeFor[*firstTop](), hand{}.out(0)))
	refs, list := make([]pod.Ref, n), make([]uint32, n)
	slots := make([]pod.Data, 2)
	var elems []hand
	for i := range refs {
		refs[i], list[i] = pod.Ref{Pod: 3, Slot: pod.Slot(i)}, uint32(i)
		elems = append(elems, hand{}.to(uint64(i+2)))
		slots = append(slots, h.object(reflect.TypeFor[firstLeaf](), hand{}.zz(1)))
	}
	slots[0] = h.object(reflect.TypeFor[firstTop](), hand{}.uv(n, 0).to(1))
	slots[1] = h.array(reflect.TypeFor[*firstLeaf](), n, 64, elems...)
	p := &pod.Pod{Refs: refs, Slots: slots}
	for i := range slots {
		p.Exports = append(p.Exports, pod.Export{Slot: pod.Slot(i), Edges: pod.EdgeSet{List: list[:n-1]}})
	}
	h.pods[2] = p
	g := mustGraph(t, Config{Registry: h.reg})
	if _, err := g.Load(t.Context(), h, []string{"x"}, []reflect.Type{reflect.TypeFor[*firstTop]()}); err != nil {
		t.Fatal(err)
	}
	lists := map[*uint32]bool{}
	for _, x := range g.cur.pods[g.cur.byID[2]].exports {
		lists[unsafe.SliceData(x.Edges.List)] = true
	}
	if len(lists) != 1 {
		t.Errorf("%d exports have %d lists", n, len(lists))
	}
	runtime.KeepAlive(g)
}
