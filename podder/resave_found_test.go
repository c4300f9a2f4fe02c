package podder

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func rvLoad(t *testing.T, s *fakeStore, cfg Config, pairs ...any) {
	t.Helper()
	var names []string
	var types []reflect.Type
	for i := 0; i < len(pairs); i += 2 {
		names, types = append(names, pairs[i].(string)), append(types, reflect.TypeOf(pairs[i+1]))
	}
	got, err := Decode(t.Context(), plainConfig(cfg), s, names, types)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	for i := range got {
		if err := isomorphic(reflect.ValueOf(pairs[2*i+1]), got[i]); err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
	}
}

type rvBuf struct{ Data []byte }

type rvHooked struct {
	N   int
	Buf *rvBuf
	M   map[string]int
}

func (h *rvHooked) BeforeStore() error {
	h.Buf.Data[0] = byte(h.N)
	h.M["n"] = h.N
	return nil
}

// BeforeStore changes what the value refers to (allowed by BeforeStorer's doc).

func TestResaveBeforeStoreInPlace(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &rvHooked{N: 1, Buf: &rvBuf{make([]byte, 10)}, M: map[string]int{}}
	mustSave(t, g, s, "x", x)
	mustSave(t, g, s, "x", x)
	x.N = 7
	_, done := resaved(t, g, s, "x", x)
	t.Log("without walk:", done)
	rvLoad(t, s, cfg, "x", x)
}

type rvT struct{ K int }

type rvElem struct {
	P *rvT
	S string
}

// A container whose references stay the same becomes chunked.

func TestResaveBecomesChunked(t *testing.T) {
	for _, kind := range []string{"slice", "map"} {
		t.Run(kind, func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.VerifyEvery = 0
			g := mustGraph(t, cfg)
			x := &struct {
				L []rvElem
				M map[int]rvElem
			}{}
			if kind == "slice" {
				for i := range 40 {
					x.L = append(x.L, rvElem{P: &rvT{i}})
				}
			} else {
				x.M = map[int]rvElem{}
				for i := range 40 {
					x.M[i] = rvElem{P: &rvT{i}}
				}
			}
			mustSave(t, g, s, "x", x)
			mustSave(t, g, s, "x", x)
			for i := range 40 {
				str := strings.Repeat(fmt.Sprint(i), 1900)
				if kind == "slice" {
					x.L[i].S = str
				} else {
					x.M[i] = rvElem{x.M[i].P, str}
				}
			}
			_, done := resaved(t, g, s, "x", x)
			t.Log("without walk:", done)
			rvLoad(t, s, cfg, "x", x)
		})
	}
}

// Another graph changes a pod that this one does not hold any more, then an object of it comes back.
func TestResaveGarbageChangedByOthers(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	obj := &resaveNode{Name: "shared", N: 1}
	x := &resaveNode{Name: strings.Repeat("x", 100), Next: obj}
	for i := range 50 {
		x.List = append(x.List, &resaveNode{N: i})
	}
	y := &resaveNode{Name: "y", Next: obj}
	c0 := cfg
	c0.TargetBytes = 60
	g := mustGraph(t, c0)
	mustSave(t, g, s, "x", x, "y", y)
	// namespace A has x alone, B has y alone
	gA, gB := mustGraph(t, c0), mustGraph(t, plainConfig(c0))
	va, err := gA.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	vb, err := gB.Load(t.Context(), s, []string{"y"}, []reflect.Type{reflect.TypeOf(y)})
	if err != nil {
		t.Fatal(err)
	}
	xa, yb := va[0].Interface().(*resaveNode), vb[0].Interface().(*resaveNode)
	mustSave(t, gA, s, "x", xa)
	mustSave(t, gA, s, "x", xa)
	obja := xa.Next
	xa.Next = nil
	mustResave(t, gA, s, "x", xa)
	yb.Next.N = 99
	txB := mustSave(t, gB, s, "y", yb)
	for _, id := range txB.changes {
		if gA.Holds(id) {
			t.Fatalf("a conflict on pod %d", id)
		}
	}
	xa.N++
	mustResave(t, gA, s, "x", xa) // A is past what B wrote
	xa.Next = obja
	_, done := resaved(t, gA, s, "x", xa)
	t.Log("without walk:", done)
	rvLoad(t, s, cfg, "x", xa)
}

// Edges grow by one for each save that writes nothing.

// An object that no variable of this graph reaches any more is changed by the

// program: what another variable, which is not loaded here, leads to changes with it.

func TestResaveDetachedIsWritten(t *testing.T) {
	for _, index := range []bool{false, true} {
		t.Run(fmt.Sprint("index ", index), func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.VerifyEvery, cfg.Index = 0, index
			cfg.TargetBytes = 60
			obj := &resaveNode{Name: "shared", N: 1}
			x := &resaveNode{Name: strings.Repeat("x", 100), Next: obj}
			for i := range 50 {
				x.List = append(x.List, &resaveNode{N: i})
			}
			y := &resaveNode{Name: "y", Next: obj}
			mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y)
			g := mustGraph(t, cfg)
			v, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
			if err != nil {
				t.Fatal(err)
			}
			xa := v[0].Interface().(*resaveNode)
			mustSave(t, g, s, "x", xa)
			mustSave(t, g, s, "x", xa)
			detached := xa.Next
			xa.Next = nil
			resaved(t, g, s, "x", xa)
			detached.N = 1000
			tx, done := resaved(t, g, s, "x", xa)
			t.Log("without walk:", done, "written:", tx.changes)
			rvLoad(t, s, cfg, "y", y)
		})
	}
}

// Two saves that wait at once: Abort of the first after the second undoes too much.

// A walk that was aborted resets what is known of garbage.

func TestResaveGarbageAfterAbortedWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &resaveNode{}
	head := &resaveNode{}
	for i := range 2000 {
		head = &resaveNode{N: i, Next: head}
	}
	x.Next = head
	mustSave(t, g, s, "x", x)
	mustSave(t, g, s, "x", x)
	x.Next = nil
	mustResave(t, g, s, "x", x)
	head = nil
	walked := 0
	for range 8 { // until the save walks; that one is aborted
		x.N++
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
		if err != nil {
			t.Fatal(err)
		}
		if saved.Walked {
			walked++
			saved.Abort()
			break
		}
		tx.commit()
		saved.Commit()
	}
	for range 50 {
		x.N++
		resaved(t, g, s, "x", x)
	}
	if n := g.cur.regions.len(); n > 10 {
		t.Errorf("%d regions are held for one object (aborted walks: %d)", n, walked)
	}
}

// A second key: maps of arrays, zero-size, interior pointers through boxes.

type rvBox struct{ In [2]any }

func TestResaveBoxes(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	cfg.Registry = NewRegistry()
	cfg.Registry.Register(reflect.TypeFor[rvBox](), "")
	cfg.Registry.Register(reflect.TypeFor[rvT](), "")
	g := mustGraph(t, cfg)
	p := &rvT{1}
	m := map[string]*rvT{"a": {3}}
	sl := []rvT{{1}, {2}, {3}}
	x := &struct {
		A any
		M map[[2]string]rvBox
		Z map[int]struct{}
		S []struct{}
		L [][3]any
	}{A: rvBox{[2]any{rvBox{[2]any{p, m}}, sl[:1]}}, M: map[[2]string]rvBox{{"k"}: {[2]any{p, "s"}}}, Z: map[int]struct{}{1: {}}, L: make([][3]any, 1, 5)}
	mustSave(t, g, s, "x", x)
	mustSave(t, g, s, "x", x)
	for i, f := range []func(){
		func() { p.K = 9 }, func() { m["a"].K = 5 }, func() { m["b"] = p }, func() { sl[0].K = 8 },
		func() { x.M[[2]string{"k"}] = rvBox{[2]any{sl, &sl[0]}} }, func() { x.Z[2] = struct{}{}; delete(x.Z, 1) }, func() { x.S = make([]struct{}, 3) },
		func() { x.L = append(x.L, [3]any{p, 1, nil}) }, func() { x.L[1][2] = m }, func() { sl[2].K = 7 },
	} {
		f()
		tx, done := resaved(t, g, s, "x", x)
		t.Log(i, done, len(tx.changes))
		rvLoad(t, s, cfg, "x", x)
	}
}

// Detached and changed before one and the same save.

func TestResaveDetachedAndChanged(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery, cfg.TargetBytes = 0, 60
	obj := &resaveNode{Name: "shared", N: 1}
	x := &resaveNode{Name: strings.Repeat("x", 100), Next: obj}
	for i := range 50 {
		x.List = append(x.List, &resaveNode{N: i})
	}
	y := &resaveNode{Name: "y", Next: obj}
	mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y)
	g := mustGraph(t, cfg)
	v, _ := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	xa := v[0].Interface().(*resaveNode)
	mustSave(t, g, s, "x", xa)
	mustSave(t, g, s, "x", xa)
	detached := xa.Next
	xa.Next = nil
	detached.N = 1000
	_, done := resaved(t, g, s, "x", xa)
	t.Log("without walk:", done)
	rvLoad(t, s, cfg, "y", y)
}

// The object comes back by a save that walks.

func TestResaveBackByAWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery, cfg.TargetBytes = 0, 60
	obj := &resaveNode{Name: "shared", N: 1}
	x := &resaveNode{Name: strings.Repeat("x", 100), Next: obj}
	for i := range 50 {
		x.List = append(x.List, &resaveNode{N: i})
	}
	y := &resaveNode{Name: "y", Next: obj}
	mustSave(t, mustGraph(t, cfg), s, "x", x, "y", y)
	gA, gB := mustGraph(t, cfg), mustGraph(t, plainConfig(cfg))
	va, _ := gA.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	vb, _ := gB.Load(t.Context(), s, []string{"y"}, []reflect.Type{reflect.TypeOf(y)})
	xa, yb := va[0].Interface().(*resaveNode), vb[0].Interface().(*resaveNode)
	mustSave(t, gA, s, "x", xa)
	mustSave(t, gA, s, "x", xa)
	obja := xa.Next
	xa.Next = nil
	mustResave(t, gA, s, "x", xa)
	yb.Next.N = 99
	mustSave(t, gB, s, "y", yb)
	xa.N++
	mustResave(t, gA, s, "x", xa)
	xa.Next = obja
	xa.Any = &xa.List[1].N // has it walk
	_, done := resaved(t, gA, s, "x", xa)
	t.Log("without walk:", done)
	rvLoad(t, s, cfg, "x", xa)
}
