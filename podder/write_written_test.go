package podder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"unsafe"
	"weak"

	"github.com/poddb/poddb/internal/pod"
)

// textSink notes every change as text.
type textSink struct {
	nullSink
	changes []string
}

func (s *textSink) Put(_ context.Context, c *pod.Change) error {
	s.changes = append(s.changes, fmt.Sprintf("%+v", *c))
	return nil
}

// saveText saves roots into a new graph as Save does. If forget is set nothing
// but maps is encoded from what was written down, and what other pods refer to is
// found by a look at all edges.
func saveText(t *testing.T, cfg Config, forget bool, roots []Root) (changes []string, written int) {
	t.Helper()
	g := mustGraph(t, cfg)
	sink := &textSink{nullSink: *newNullSink()}
	w := newWalk(t.Context(), g)
	if err := w.discover(roots); err != nil {
		t.Fatal(err)
	}
	for i := range w.st.regions.len() {
		if r := w.st.regions.at(i); r.written != 0 && r.kind != pod.SlotMap {
			written++
			if forget {
				r.written = 0
			}
		}
	}
	for k := range w.maps.list.len() {
		if m := w.maps.list.at(k); m.rows != nil {
			written++
			if forget {
				m.rows = nil
			}
		}
	}
	w.written.replaced = w.written.replaced || forget
	p := &placer{walk: w, cfg: g.cfg, sink: sink}
	p.place(g, roots)
	w.edges.put(0)
	e := &encoder{placer: p, ctx: t.Context(), saved: &Saved{g: g, base: g.cur, next: w.st}}
	if err := e.run(); err != nil {
		t.Fatal(err)
	}
	return sink.changes, written
}

// What is written down when a region is met is what encoding it from memory gives.
func TestWrittenDownIsWhatMemoryHolds(t *testing.T) {
	type leaf struct {
		Name string
		N    []int16
	}
	type inner struct {
		Leaves  []leaf
		Byptr   []*leaf
		Names   []string
		Nothing []string
		Windows [3][]string
		Map     map[string]int
		Deep    map[string]*leaf
		Any     any
	}
	shared := &leaf{"shared", []int16{1, 2, 3}}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprint("element ", i*i)
	}
	long := string(make([]byte, longString))
	lastLeaves := []leaf{{"one", nil}, {"two", []int16{2}}}
	values := map[string]any{
		"plain":   &leaf{"x", nil},
		"names":   &inner{Names: many, Nothing: []string{}, Map: map[string]int{"a": 1}},
		"windows": &inner{Windows: [3][]string{many[:10], many[5:20:25], many[3:4]}},
		"late": &struct {
			One       *string
			Some, All []string
		}{&many[7], many[:8:8], many},
		"shared": &inner{Byptr: []*leaf{shared, nil, shared}, Deep: map[string]*leaf{"s": shared, "n": nil}, Any: 7},
		"long":   &inner{Names: []string{"short", long, "after"}, Leaves: []leaf{{long, nil}, {"b", []int16{}}}},
		"inside": &struct {
			Name *string
			All  *leaf
			N    *[]int16
		}{&shared.Name, shared, &shared.N},
		"map inside": &inner{Leaves: lastLeaves, Deep: map[string]*leaf{"second": &lastLeaves[1], "nil": nil, "shared": shared}},
		"map first":  &inner{Deep: map[string]*leaf{"second": &lastLeaves[1], "nil": nil, long: shared}, Any: &lastLeaves},
		"few runs":   &inner{Leaves: make([]leaf, 70), Byptr: make([]*leaf, 200)},
		"runs":       &inner{Leaves: make([]leaf, 70), Byptr: make([]*leaf, 300)},
	}
	runs := values["runs"].(*inner)
	for i := range runs.Leaves { // references at the end of an element, and elements with none
		runs.Leaves[i].Name = many[i][:i%9]
		if i%5 > 0 {
			runs.Leaves[i].N = []int16{int16(i)}
		}
	}
	for i := range runs.Byptr { // nil before a reference, and behind one
		switch i % 7 {
		case 0, 1, 3:
			runs.Byptr[i] = &leaf{Name: many[i]}
		case 2:
			runs.Byptr[i] = runs.Byptr[1]
		}
	}
	runs.Any = []*leaf{runs.Byptr[1], runs.Byptr[2]}
	for name, v := range values {
		t.Run(name, func(t *testing.T) { mustWriteAlike(t, Config{}, rootsOf("x", v)) })
	}
	// Containers in chunks refer to others' objects, and to those beside them.
	list, byName := make([]*leaf, 3000), map[string]*leaf{}
	for i := range list {
		list[i] = &leaf{Name: many[i%len(many)]}
		if i%3 > 0 {
			byName[fmt.Sprint(i)] = list[i/2]
		}
	}
	mustWriteAlike(t, Config{TargetBytes: 512}, rootsOf("x", &list, "y", &inner{Deep: byName}, "z", list[100]))
	type cell struct{ Up *cell }
	cells := make([]cell, 3000)
	for i := range cells {
		cells[i].Up = &cells[i/2]
	}
	mustWriteAlike(t, Config{TargetBytes: 512}, rootsOf("x", &cells))
	// Graphs in which nothing lies inside another region, in many pods.
	type node struct {
		Name string
		Near []*node
		Far  map[string]*node
		Any  any
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 6))
		nodes := make([]*node, 2+r.IntN(400))
		for i := range nodes {
			nodes[i] = &node{Name: many[r.IntN(len(many))]}
		}
		for i, n := range nodes {
			for range r.IntN(4) {
				n.Near = append(n.Near, nodes[min(len(nodes)-1, i+r.IntN(9))])
			}
			if r.IntN(4) == 0 {
				n.Far = map[string]*node{"far": nodes[r.IntN(len(nodes))], "next": nodes[(i+1)%len(nodes)]}
			}
			if r.IntN(9) == 0 {
				n.Any = nodes[r.IntN(len(nodes))].Near
			}
		}
		mustWriteAlike(t, Config{TargetBytes: 200 + r.IntN(2000)}, rootsOf("x", nodes[0], "y", nodes[len(nodes)/2]))
	}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		nodes := newRndGraph(r, 1+r.IntN(60)).nodes
		mustWriteAlike(t, Config{Registry: rndRegistry(t), TargetBytes: 200 + r.IntN(3000)}, rootsOf("x", nodes[0], "y", nodes[len(nodes)/2]))
	}
}

func TestFewBytesAreAppendedAsAppendDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 8))
	for range 20_000 {
		src := make([]byte, r.IntN(80))
		for i := range src {
			src[i] = byte(1 + r.IntN(255))
		}
		dst := make([]byte, r.IntN(8), 8+r.IntN(90))
		n := r.IntN(len(src) + 1)
		want := append(slices.Clone(dst), src[:n]...)
		if got := appendFew(dst, src, n); !slices.Equal(got, want) {
			t.Fatalf("%d of %d bytes behind %d, room for %d: %v, want %v", n, len(src), len(dst), cap(dst), got, want)
		}
	}
}

func mustWriteAlike(t *testing.T, cfg Config, roots []Root) {
	t.Helper()
	want, none := saveText(t, cfg, true, roots)
	got, some := saveText(t, cfg, false, roots)
	if none != some {
		t.Fatalf("%d regions were written down, then %d", none, some)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("as written down:\n%v\nas in memory:\n%v", got, want)
	}
}

// bigState makes a graph whose tables outgrow the heap, on which nothing but the
// graph holds the first of the nodes that it returns a weak pointer to.
func bigState(t *testing.T, n int) (g *Graph, s *fakeStore, nodes []*bNode, first weak.Pointer[bNode]) {
	t.Helper()
	s = newFakeStore()
	g = mustGraph(t, s.config())
	nodes = make([]*bNode, n)
	for i := range nodes {
		nodes[i] = &bNode{Name: fmt.Sprint("node ", i)}
	}
	mustSave(t, g, s, "x", &nodes)
	first = weak.Make(nodes[0])
	nodes[0] = &bNode{Name: "another one"}
	return g, s, nodes, first
}

// The collector does not look into tables outside of the heap, but what they know
// is kept; and they are given back while later saves go on.
func TestTablesOutsideOfTheHeapKeepWhatTheyKnow(t *testing.T) {
	g, s, nodes, first := bigState(t, 60_000)
	if g.cur.own.heap+int(unsafe.Sizeof(region{}))*listBlock <= heapBytes {
		t.Fatal("the tables fit on the heap")
	}
	for range 3 {
		runtime.GC()
	}
	if first.Value() == nil {
		t.Fatal("a node of the saved state was collected")
	}
	for round := range 4 {
		nodes[100+round].Name += " changed"
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", &nodes), tx)
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			saved.Abort()
			continue
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		saved.Commit()
		runtime.GC()
	}
	if first.Value() != nil {
		t.Fatal("a node that no variable reaches is still held")
	}
	mustStayQuiet(t, g, s, "x", &nodes)
	vs, err := mustGraph(t, s.config()).Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(&nodes)})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range *vs[0].Interface().(*[]*bNode) {
		if *got != *nodes[i] {
			t.Fatalf("node %d is %+v, want %+v", i, *got, *nodes[i])
		}
	}
}

// The address index finds what a search through all regions finds.
func TestAddressIndexFindsWhatASearchDoes(t *testing.T) {
	claimed := 0
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 9))
		memory := make([]byte, 200<<10)
		st := newState()
		type part struct{ from, end int }
		var parts []part
		for at := r.IntN(40); at < len(memory)-20<<10; {
			size := 1 + r.IntN([]int{8, 16, 100, 1500, 20 << 10}[r.IntN(5)])
			parts = append(parts, part{at, at + size})
			at += size + r.IntN(60)*r.IntN(2)
		}
		numbers := make([]int32, len(parts))
		for _, k := range r.Perm(len(parts)) {
			reg, i := st.addRegion(unsafe.Pointer(&memory[parts[k].from]))
			reg.kind, reg.plan, reg.next = pod.SlotArray, &plan{size: 1}, -1
			reg.extra = st.spans.put(span{count: parts[k].end - parts[k].from})
			st.memory.add(st, i)
			numbers[k] = i
		}
		gone := map[int]bool{}
		for k := range parts {
			if r.IntN(8) == 0 {
				st.memory.remove(st, numbers[k])
				st.regions.at(numbers[k]).kind = pod.SlotBox // as one that was dropped
				st.moveRegion(numbers[k], nil)
				gone[k] = true
			}
		}
		for range 3000 {
			at, size := r.IntN(len(memory)-300), 1+r.IntN(200)
			want, touched := int32(-1), false
			for k, x := range parts {
				if gone[k] {
					continue
				}
				if x.from <= at && at < x.end {
					want = numbers[k]
				}
				touched = touched || x.from < at+size && at < x.end
			}
			q := unsafe.Pointer(&memory[at])
			if got := st.memory.find(st, q); got != want {
				t.Fatalf("seed %d: region %d at %d, want %d", seed, got, at, want)
			}
			if r.IntN(8) > 0 || !st.memory.claim(q, uintptr(size), st.regions.n) {
				continue
			}
			if touched {
				t.Fatalf("seed %d: %d bytes at %d are said to be nobody's", seed, size, at)
			}
			reg, i := st.addRegion(q)
			reg.kind, reg.plan, reg.next = pod.SlotArray, &plan{size: 1}, -1
			reg.extra = st.spans.put(span{count: size})
			parts, numbers = append(parts, part{at, at + size}), append(numbers, i)
			claimed++
		}
		st.release()
	}
	if claimed < 100 {
		t.Fatalf("only %d regions were claimed", claimed)
	}
}
