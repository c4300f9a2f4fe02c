package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type (
	hidesShape struct{ Any any }
	shape      struct{ Side int }
	knowsShape struct {
		Box   *hidesShape
		Shape *shape
		N     int
	}
	lacksShape struct {
		Box  *hidesShape
		Next *lacksShape
	}
)

// A variable that begins to lead to an object which did not change is asked for the types
// in it, and the error is that of a walk.
func TestTypesOfUnchangedObjectsAreAskedFor(t *testing.T) {
	for name, lead := range map[string]func(x *knowsShape, y *lacksShape){
		"a known object": func(x *knowsShape, y *lacksShape) { y.Box = x.Box },
		"a new object":   func(x *knowsShape, y *lacksShape) { y.Next = &lacksShape{Box: x.Box} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.VerifyEvery = 0
			g := mustGraph(t, cfg)
			x, y := &knowsShape{Box: &hidesShape{&shape{1}}}, &lacksShape{}
			vars := []any{"x", x, "y", y}
			mustSave(t, g, s, vars...)
			mustStayQuiet(t, g, s, vars...)
			lead(x, y)
			for range 2 {
				var u *dberr.UnsupportedError
				if _, err := g.Save(t.Context(), rootsOf(vars...), s.begin()); !errors.As(err, &u) || !u.Unregistered || len(u.Problems) != 1 || !strings.HasPrefix(u.Problems[0].Path, "y") {
					t.Fatalf("error %v", err)
				}
			}
			y.Box, y.Next = nil, nil
			x.N++
			mustSave(t, g, s, vars...)
			x.N++
			mustResave(t, g, s, vars...)
		})
	}
}

// What only one variable can hold changes without a walk, and so do references of others to
// what all of them know.
func TestTypesOfOneVariableNeedNoWalk(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, indexed(s))
	x, y := &knowsShape{Box: &hidesShape{&shape{1}}}, &lacksShape{Next: &lacksShape{}}
	vars := []any{"x", x, "y", y}
	mustSave(t, g, s, vars...)
	mustStayQuiet(t, g, s, vars...)
	for n := range 5 {
		x.Box.Any = &shape{n}
		mustResave(t, g, s, vars...)
		x.Box = &hidesShape{x.Box.Any}
		mustResave(t, g, s, vars...)
		known := y.Next
		y.Next, known.Next = y, known
		mustResave(t, g, s, vars...)
		y.Next, known.Next = &lacksShape{Next: y}, nil
		mustResave(t, g, s, vars...)
	}
	z := &lacksShape{} // has to be asked
	if _, done := resaved(t, g, s, append(vars, "z", z)...); done {
		t.Error("a variable that lacks a type was taken without a walk")
	}
	w := &knowsShape{}
	mustResave(t, g, s, "x", x, "y", y, "z", z, "zz", w)
	y.Box = x.Box
	if _, err := g.Save(t.Context(), rootsOf("x", x, "y", y, "z", z, "zz", w), s.begin()); !errors.Is(err, dberr.ErrUnregistered) {
		t.Fatalf("error %v", err)
	}
}

// Many sets of variables that lack something cost walks, not memory.
func TestManySetsOfVariablesThatLackTypes(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	var vars []any
	var boxes []*hidesShape
	for n := range 2 * maxLacks {
		typ := reflect.StructOf([]reflect.StructField{{Name: fmt.Sprint("F", n), Type: reflect.TypeFor[int]()}})
		top := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Box", Type: reflect.TypeFor[*hidesShape]()}, {Name: "S", Type: reflect.PointerTo(typ)}}))
		boxes = append(boxes, &hidesShape{reflect.New(typ).Interface()})
		top.Elem().Field(0).Set(reflect.ValueOf(boxes[n]))
		vars = append(vars, fmt.Sprint("v", n), top.Interface())
	}
	for range 3 {
		mustSave(t, g, s, vars...)
	}
	v := reflect.ValueOf(vars[1]).Elem()
	v.Field(0).Set(reflect.ValueOf(boxes[5]))
	if _, err := g.Save(t.Context(), rootsOf(vars...), s.begin()); !errors.Is(err, dberr.ErrUnregistered) {
		t.Fatalf("error %v", err)
	}
}

// A map that the program let go of may be written while others are saved.
func TestWhatWasLetGoOfMayBeWritten(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	type key [200]byte // is read by reflection, which looks for writers
	type box struct {
		M    map[key]int
		S    map[string]any
		Any  any
		Text string
	}
	x := &struct {
		Box  *box
		Pad  [100]*int
		N    int
		Last *box
	}{}
	for i := range x.Pad {
		x.Pad[i] = new(int)
	}
	mustSave(t, g, s, "x", x)
	mustSave(t, g, s, "x", x)
	for round := range 20 {
		gone := &box{M: map[key]int{{1}: 1}, S: map[string]any{"a": 1}, Text: "text"}
		for i := range 1000 {
			gone.M[key{byte(i), byte(i >> 8)}] = i
		}
		x.Box, x.Last = gone, gone
		resaved(t, g, s, "x", x)
		x.Box, x.Last = nil, nil
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				gone.M[key{2, byte(i)}] = i
				gone.S[fmt.Sprint(i%50)] = i
				gone.Any, gone.Text = i, fmt.Sprint(i)
				if i%2 == 0 {
					gone.Any = &i
				}
			}
		}()
		for range 20 {
			x.N++
			resaved(t, g, s, "x", x)
			runtime.Gosched()
		}
		close(stop)
		<-stopped
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

// A load keeps the fingerprints of what the graph had; only what it brought is looked at.
func TestALoadNeedsNoWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 150
	shared := &resaveNode{Name: "shared", List: []*resaveNode{{N: 1}, {N: 2, Name: "second"}}}
	x := &resaveNode{Name: "x", Next: shared, M: map[string]int{"a": 1}}
	y := &resaveNode{Name: "y", Next: &resaveNode{Next: shared, Tags: make([]string, 2, 5)}, Any: shared.List[1]}
	z := &resaveNode{Name: "z", Next: &resaveNode{Name: strings.Repeat("z", 100), List: []*resaveNode{shared, y}}}
	mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y, "z", z)
	g := mustGraph(t, cfg)
	load := func(name string) *resaveNode {
		t.Helper()
		v, err := g.Load(t.Context(), s, []string{name}, []reflect.Type{reflect.TypeFor[*resaveNode]()})
		if err != nil {
			t.Fatal(err)
		}
		return v[0].Interface().(*resaveNode)
	}
	x = load("x")
	mustStayQuiet(t, g, s, "x", x)
	x.N++
	mustResave(t, g, s, "x", x)
	y = load("y")
	if y.Next.Next != x.Next {
		t.Fatal("the load made another object")
	}
	if tx := mustResave(t, g, s, "x", x, "y", y); len(tx.changes) > 0 {
		t.Fatalf("a load and a save wrote pods %v", tx.changes)
	}
	z = load("z")
	z.Name = "changed after the load" // before any save has seen it
	z.Next.List[1].Next.Tags[0] = "tag"
	x.N++
	if tx := mustResave(t, g, s, "x", x, "y", y, "z", z); len(tx.changes) == 0 {
		t.Fatal("changes were missed")
	}
	rvLoad(t, s, cfg, "x", x, "y", y, "z", z)
	if tx := mustResave(t, g, s, "x", x, "y", y, "z", z); len(tx.changes) > 0 {
		t.Fatalf("pods %v were written again", tx.changes)
	}
}

// An object that a load brought is let go of before any save has met it, while others
// lead to it: what its pod says about it stays when the pod is written.
func TestLoadedAndLetGoOf(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 300
	big := func(c string) *resaveNode { return &resaveNode{Name: strings.Repeat(c, 280)} }
	inner := &resaveNode{Name: "inner", Next: big("a"), List: []*resaveNode{big("b")}}
	w := &resaveNode{Name: "w"}
	y := &resaveNode{Name: "y", Next: inner, List: []*resaveNode{{Name: "same pod"}}}
	x := &resaveNode{Name: "x", Next: inner}
	mustSave(t, mustGraph(t, cfg), s, "w", w, "x", x, "y", y)
	for _, keep := range []bool{false, true} {
		g := mustGraph(t, cfg)
		load := func(name string) *resaveNode {
			v, err := g.Load(t.Context(), s, []string{name}, []reflect.Type{reflect.TypeFor[*resaveNode]()})
			if err != nil {
				t.Fatal(err)
			}
			return v[0].Interface().(*resaveNode)
		}
		gw := load("w")
		mustSave(t, g, s, "w", gw)
		gy := load("y")
		gx := load("x")
		if keep {
			gx.Next = &resaveNode{N: 5} // y has it still
			inner.Name = "other"
			gy.Next.Name = inner.Name
		} else {
			gx.Next, gy.Next = nil, nil // none has it
			y.Next = nil
		}
		gy.List[0].Name += "!"
		y.List[0].Name += "!"
		gx.Next = &resaveNode{Name: "new", Next: gy.List[0]}
		x.Next = gx.Next
		mustResave(t, g, s, "w", gw, "x", gx, "y", gy)
		rvLoad(t, s, cfg, "w", w, "x", gx, "y", gy)
		for id, p := range s.pods {
			for _, ex := range p.Exports {
				if int(ex.Slot) >= len(p.Slots) || p.Slots[ex.Slot].Kind == pod.SlotFree {
					t.Errorf("pod %d exports slot %d, which is free", id, ex.Slot)
				}
			}
		}
		x, y, w = gx, gy, gw
		y.Next = inner
		mustSave(t, mustGraph(t, cfg), s, "w", w, "x", x, "y", y)
	}
}

// A variable that is not loaded leads to an object in a pod of which another variable has
// loaded a part and let go of it: what the object refers to stays.
func TestLetGoOfWhatOthersLeadTo(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 400
	far := &resaveNode{Name: strings.Repeat("far", 150)}
	shared := &resaveNode{Name: "shared", Next: far}
	x := &resaveNode{Name: "x", Next: &resaveNode{Name: "between", Next: shared}}
	y := &resaveNode{Name: "y", Next: shared}
	w := &resaveNode{Name: "w"}
	mustSave(t, mustGraph(t, cfg), s, "w", w, "x", x, "y", y)
	g := mustGraph(t, cfg)
	v, err := g.Load(t.Context(), s, []string{"w"}, []reflect.Type{reflect.TypeFor[*resaveNode]()})
	if err != nil {
		t.Fatal(err)
	}
	gw := v[0].Interface().(*resaveNode)
	mustSave(t, g, s, "w", gw)
	if v, err = g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*resaveNode]()}); err != nil {
		t.Fatal(err)
	}
	gx := v[0].Interface().(*resaveNode)
	gx.Next.Next = gw // shared was never met by a save
	mustResave(t, g, s, "w", gw, "x", gx)
	rvLoad(t, s, cfg, "y", y)
	place := s.names["y"]
	seen := map[pod.ID]bool{}
	var follow func(id pod.ID, slot pod.Slot)
	follow = func(id pod.ID, slot pod.Slot) { // by edge sets, as a collect does
		seen[id] = true
		for _, ex := range s.pods[id].Exports {
			if ex.Slot != slot {
				continue
			}
			for n, r := range s.pods[id].Refs {
				if r.Pod != 0 && (ex.Edges.All || slices.Contains(ex.Edges.List, uint32(n))) && !seen[r.Pod] {
					follow(r.Pod, r.Slot)
				}
			}
		}
	}
	follow(place, 0)
	for id, p := range s.pods {
		for _, d := range p.Slots {
			if strings.Contains(string(d.Bytes), "farfarfar") && !seen[id] {
				t.Errorf("pod %d is not reached from y along the edge sets", id)
			}
		}
	}
}

// Get of a Ref that was not loaded keeps the fingerprints too.
func TestGetOfARefNeedsNoWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	type leaf struct{ N int }
	type top struct {
		N    int
		Refs []Ref[leaf]
	}
	x := &top{}
	for i := range 20 {
		x.Refs = append(x.Refs, NewRef(&leaf{i}))
	}
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	g := mustGraph(t, cfg)
	keepRefs(g, s)
	v, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*top]()})
	if err != nil {
		t.Fatal(err)
	}
	x = v[0].Interface().(*top)
	mustStayQuiet(t, g, s, "x", x)
	for i := range x.Refs {
		p, err := x.Refs[i].Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			p.N += 100
		}
		x.N++
		if tx := mustResave(t, g, s, "x", x); len(tx.changes) != 1+(i+1)%2 {
			t.Errorf("Ref %d: pods %v were written", i, tx.changes)
		}
	}
	got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*top]()})
	if err != nil {
		t.Fatal(err)
	}
	for i, ref := range got[0].Interface().(*top).Refs {
		if p, err := ref.Get(t.Context()); err != nil || p.N != i+(i+1)%2*100 {
			t.Errorf("Ref %d: %v, %v", i, p, err)
		}
	}
}

// A save that waits for its fate is aborted by the next one, and by all that changes
// what the graph knows.
func TestASecondSaveAbortsTheFirst(t *testing.T) {
	for name, other := range map[string]func(t *testing.T, g *Graph, s *fakeStore, x *resaveNode) *Saved{
		"save": func(t *testing.T, g *Graph, s *fakeStore, x *resaveNode) *Saved {
			saved, err := g.Save(t.Context(), rootsOf("x", x), s.begin())
			if err != nil {
				t.Fatal(err)
			}
			return saved
		},
		"failed save": func(t *testing.T, g *Graph, s *fakeStore, x *resaveNode) *Saved {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := g.Save(ctx, rootsOf("x", x), s.begin()); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			return nil
		},
		"load": func(t *testing.T, g *Graph, s *fakeStore, x *resaveNode) *Saved {
			if _, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*resaveNode]()}); err != nil {
				t.Fatal(err)
			}
			return nil
		},
		"trim": func(_ *testing.T, g *Graph, _ *fakeStore, _ *resaveNode) *Saved {
			g.Trim()
			return nil
		},
	} {
		for _, index := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " index ", index), func(t *testing.T) {
				s := newFakeStore()
				cfg := indexed(s)
				cfg.Index = index
				g := mustGraph(t, cfg)
				x := &resaveNode{Name: "x", List: []*resaveNode{{N: 1}, {N: 2}}}
				mustSave(t, g, s, "x", x)
				mustStayQuiet(t, g, s, "x", x)
				x.Name, x.Next = "first", &resaveNode{Name: "new"}
				first, err := g.Save(t.Context(), rootsOf("x", x), s.begin())
				if err != nil {
					t.Fatal(err)
				}
				x.List[0].N = 7
				second := other(t, g, s, x)
				func() {
					defer func() {
						if recover() == nil {
							t.Error("Commit of a save that was overtaken did nothing")
						}
					}()
					first.Commit()
				}()
				first.Abort()
				second.abort()
				tx := mustSave(t, g, s, "x", x)
				if len(tx.changes) == 0 {
					t.Error("the changes were lost")
				}
				rvLoad(t, s, cfg, "x", x)
				mustStayQuiet(t, g, s, "x", x)
			})
		}
	}
}

func (s *Saved) abort() {
	if s != nil {
		s.Abort()
	}
}

// Tables do not grow while the graph does not, whatever a save changes.
func TestManySavesTakeNoMoreMemory(t *testing.T) {
	saves := 100_000
	if testing.Short() {
		saves = 20_000
	}
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &resaveNode{Name: "x", M: map[string]int{}, List: make([]*resaveNode, 0, 30)}
	for i := range 10 {
		x.List = append(x.List, &resaveNode{N: i})
	}
	sizes := func() [6]int32 {
		st := g.cur
		return [6]int32{st.regions.len(), st.edges.len(), st.spans.len(), int32(len(st.pods)), st.prints.pins.len(), int32(len(st.types))}
	}
	var most [6]int32
	sink := newNullSink()
	save := func(changed bool) {
		sink.puts = 0
		saved, err := g.Save(t.Context(), rootsOf("x", x), sink)
		if err != nil {
			t.Fatal(err)
		}
		if saved.Commit(); changed && sink.puts == 0 {
			t.Fatal("a change was missed")
		}
	}
	before := uint64(0)
	for n := range saves {
		switch n % 8 {
		case 0: // nothing
		case 1:
			x.N = n
		case 2:
			x.Name = fmt.Sprint("name ", n)
		case 3:
			x.Next = x.List[n/8%10]
		case 4:
			x.List[n/8%10], x.List[(n/8+3)%10] = x.List[(n/8+3)%10], x.List[n/8%10]
		case 5:
			x.M[fmt.Sprint(n/8%5)] = n
		case 6:
			x.List = append(x.List, &resaveNode{Any: n})
		case 7:
			clear(x.List[10:])
			x.List = x.List[:10]
			x.Tags = append(x.Tags[:0:0], fmt.Sprint(n))
		}
		save(n%8 != 0)
		now := sizes()
		for k := range now {
			most[k] = max(most[k], now[k])
		}
		if n == saves/2 {
			before = heapInUse()
		}
	}
	after := heapInUse()
	t.Logf("at most %d regions, %d edges, %d spans, %d pods, %d pins, %d types; %d and %d bytes", most[0], most[1], most[2], most[3], most[4], most[5], before, after)
	for k, n := range most {
		if n > 3000 {
			t.Errorf("table %d has grown to %d entries", k, n)
		}
	}
	if after > before+before/4+1<<20 {
		t.Errorf("%d bytes after half of the saves, %d at the end", before, after)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Saves that change nothing, and such that change one reference, take no edges.
func TestEdgesDoNotLeak(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &resaveNode{Next: &resaveNode{}}
	mustSave(t, g, s, "x", x)
	mustSave(t, g, s, "x", x)
	n := g.cur.edges.len()
	for range 100 {
		mustResave(t, g, s, "x", x)
	}
	if m := g.cur.edges.len(); m != n {
		t.Errorf("%d edges became %d", n, m)
	}
	x.List = append(make([]*resaveNode, 0, 4), &resaveNode{N: 1}, x)
	for i := range 5000 { // grows, and is shown shorter again: both count
		x.List = append(x.List[:1+i%2:4], x.Next)
		resaved(t, g, s, "x", x)
		used := 0
		for i := range g.cur.regions.len() {
			r := g.cur.regions.at(i)
			used += int(r.edgeEnd - r.edge)
		}
		if m := int(g.cur.edges.len()); m > used+g.cur.unusedEdges+1 || m < used+g.cur.unusedEdges {
			t.Fatalf("round %d: %d edges, %d of them used, %d not", i, m, used, g.cur.unusedEdges)
		}
	}
}

// What is not reached any more is not among the pods of the graph.
func TestGarbageIsNotListed(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 100
	g := mustGraph(t, cfg)
	x := &resaveNode{Name: "x"}
	for i := range 40 {
		x.List = append(x.List, &resaveNode{N: i, Name: strings.Repeat("n", 50)})
	}
	x.Next = &resaveNode{Name: strings.Repeat("gone", 30)}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	before := slices.Sorted(g.All())
	x.Next = nil
	mustResave(t, g, s, "x", x)
	walked := mustGraph(t, plainConfig(cfg))
	if _, err := walked.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)}); err != nil {
		t.Fatal(err)
	}
	got, want := slices.Sorted(g.All()), slices.Sorted(walked.All())
	if !slices.Equal(got, want) || g.Len() != len(want) || len(before) != len(want)+1 {
		t.Errorf("%d pods (Len %d), want %d; before %d", len(got), g.Len(), len(want), len(before))
	}
}

// Until its Commit a save holds what the one before did: who changed that meanwhile is in
// conflict with it.
func TestWhatASaveLetsGoOfIsHeldUntilItsCommit(t *testing.T) {
	for _, index := range []bool{false, true} {
		s := newFakeStore()
		cfg := indexed(s)
		cfg.TargetBytes, cfg.Index = 100, index
		g := mustGraph(t, cfg)
		gone := &resaveNode{Name: strings.Repeat("gone", 30)}
		numbers := make([]float64, 10_000) // in chunks
		x := &struct {
			Next *resaveNode
			F    []float64
			Pad  [40]*resaveNode
		}{Next: gone, F: numbers}
		for i := range x.Pad {
			x.Pad[i] = &resaveNode{N: i}
		}
		mustSave(t, g, s, "x", x)
		mustSave(t, g, s, "x", x)
		held := slices.Collect(g.All())
		x.Next = nil
		x.F = nil
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range held {
			if !g.Holds(id) {
				t.Errorf("index %v: pod %d is not held before the Commit", index, id)
			}
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		saved.Commit()
		lost := 0
		for _, id := range held {
			if !g.Holds(id) {
				lost++
			}
		}
		if lost == 0 {
			t.Errorf("index %v: all is held after the Commit", index)
		}
	}
}

// What was let go of is counted in bytes too: a few large things are no less than many small
// ones, be they regions or boxed.
func TestLargeGarbageIsLetGoOf(t *testing.T) {
	for name, set := range map[string]func(x *resaveNode, n int){
		"array":  func(x *resaveNode, n int) { x.Any = &[]int{0: n, 1 << 20: 0} },
		"string": func(x *resaveNode, n int) { x.Name = strings.Repeat(fmt.Sprint(n%10), 8<<20) },
		"boxes": func(x *resaveNode, n int) {
			if x.Any == nil {
				x.Any = &[100]any{}
			}
			for i := range x.Any.(*[100]any) {
				x.Any.(*[100]any)[i] = [8000]int{n, i}
			}
		},
		"map": func(x *resaveNode, n int) {
			x.M = map[string]int{}
			for i := range 100_000 {
				x.M[fmt.Sprint(n, "th map, entry ", i)] = i
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.VerifyEvery = 0
			g := mustGraph(t, cfg)
			x := &resaveNode{List: make([]*resaveNode, 5000)}
			for i := range x.List {
				x.List[i] = &resaveNode{N: i}
			}
			most := uint64(0)
			for n := range 12 {
				set(x, n)
				saved, err := g.Save(t.Context(), rootsOf("x", x), newNullSink())
				if err != nil {
					t.Fatal(err)
				}
				saved.Commit()
				most = max(most, heapInUse())
			}
			x.Any, x.Name, x.M = nil, "", nil
			if most > 60<<20 {
				t.Errorf("%d MB in use", most>>20)
			}
		})
	}
}

// An index that takes more than it may is given up, whether a walk makes it or saves without
// one extend it, and made again when it takes less.
func TestAnIndexThatTakesTooMuchIsGivenUp(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.IndexBytes = 40_000
	g := mustGraph(t, cfg)
	x := &resaveNode{}
	fill := func(n int) {
		for i := range n {
			x.List = append(x.List, &resaveNode{N: i, Name: fmt.Sprint(i)})
		}
	}
	fill(1000)
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	mustResave(t, g, s, "x", x)
	if n := g.IndexBytes(); n == 0 || n > cfg.IndexBytes {
		t.Fatalf("%d bytes", n)
	}
	fill(4000)
	mustResave(t, g, s, "x", x) // is too much from here on
	for range 3 {
		x.N++
		if _, done := resaved(t, g, s, "x", x); done || g.IndexBytes() != 0 {
			t.Fatalf("no walk with %d bytes", g.IndexBytes())
		}
	}
	rvLoad(t, s, cfg, "x", x)
	x.List = slices.Clone(x.List[:500])
	mustSave(t, g, s, "x", x)
	x.N++
	mustResave(t, g, s, "x", x)
	rvLoad(t, s, cfg, "x", x)
	if _, err := NewGraph(Config{IndexBytes: -1}); !errors.Is(err, dberr.ErrInvalid) {
		t.Errorf("a negative bound: %v", err)
	}
}
