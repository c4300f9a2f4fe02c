package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type refLeaf struct {
	N    int
	Text string
	Back *refTop
}

type refTop struct {
	Name  string
	One   Ref[refLeaf]
	Same  Ref[refLeaf]
	Plain *refLeaf
	List  []Ref[refLeaf]
	Map   map[string]Ref[refLeaf]
	Arr   [2]Ref[refLeaf]
	Any   any
	Part  Ref[string] // into One's object
	Elem  Ref[int]    // into Ints
	Ints  []int
	Slice Ref[[]int]
	Table Ref[map[string]*refLeaf]
	Self  Ref[refTop]
	Empty Ref[struct{}]
	Nil   Ref[refLeaf]
}

func newRefTop() *refTop {
	t := &refTop{Name: "top", Ints: []int{1, 2, 3}}
	leaf := func(n int) *refLeaf { return &refLeaf{N: n, Text: fmt.Sprint("leaf ", n), Back: t} }
	one := leaf(1)
	t.One, t.Same, t.Part = NewRef(one), NewRef(one), NewRef(&one.Text)
	t.Plain = leaf(2)
	t.List = []Ref[refLeaf]{NewRef(leaf(3)), NewRef(t.Plain), {}}
	t.Map = map[string]Ref[refLeaf]{"a": NewRef(leaf(4)), "b": NewRef(one)}
	t.Arr = [2]Ref[refLeaf]{NewRef(leaf(5)), NewRef(one)}
	t.Any = []any{NewRef(leaf(6)), t.Map}
	t.Elem = NewRef(&t.Ints[1])
	t.Slice = NewRef(&t.Ints)
	t.Table = NewRef(&map[string]*refLeaf{"one": one})
	t.Self = NewRef(t)
	t.Empty = NewRef(new(struct{}))
	return t
}

// keepRefs gives a graph on s a home for Refs, without a lock.
func keepRefs(g *Graph, s *fakeStore) {
	g.KeepRefs(func(_ context.Context, fn func(pod.Source) error) error { return fn(s) })
}

func loadTop(t *testing.T, g *Graph, s *fakeStore) *refTop {
	t.Helper()
	vs, err := g.Load(context.Background(), s, []string{"top"}, []reflect.Type{reflect.TypeFor[*refTop]()})
	if err != nil {
		t.Fatal(err)
	}
	return vs[0].Interface().(*refTop)
}

func decodeTop(t *testing.T, s *fakeStore) *refTop {
	t.Helper()
	vs, err := Decode(context.Background(), s.config(), s, []string{"top"}, []reflect.Type{reflect.TypeFor[*refTop]()})
	if err != nil {
		t.Fatal(err)
	}
	return vs[0].Interface().(*refTop)
}

func got[T any](t *testing.T, r Ref[T]) *T {
	t.Helper()
	p, err := r.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if q, ok := r.Loaded(); !ok || q != p {
		t.Fatal("a Ref that was got is not loaded, or is something else")
	}
	return p
}

// checkTop loads everything behind the Refs of a top and compares it with newRefTop.
func checkTop(t *testing.T, top *refTop) {
	t.Helper()
	one := got(t, top.One)
	if one.N != 1 || one.Text != "leaf 1" || one.Back != top {
		t.Fatalf("one is %+v", one)
	}
	if got(t, top.Same) != one || got(t, top.Map["b"]) != one || got(t, top.Arr[1]) != one || (*got(t, top.Table))["one"] != one {
		t.Fatal("Refs to one object lead to several")
	}
	if got(t, top.Part) != &one.Text {
		t.Fatal("a Ref to a field does not lead to the field")
	}
	if got(t, top.List[1]) != top.Plain || got(t, top.List[0]).N != 3 || !top.List[2].IsNil() {
		t.Fatal("list")
	}
	if got(t, top.Map["a"]).N != 4 || got(t, top.Arr[0]).N != 5 {
		t.Fatal("map or array")
	}
	list := top.Any.([]any)
	if got(t, list[0].(Ref[refLeaf])).N != 6 || reflect.ValueOf(list[1]).Pointer() != reflect.ValueOf(top.Map).Pointer() {
		t.Fatal("interfaces")
	}
	if got(t, top.Elem) != &top.Ints[1] || got(t, top.Slice) != &top.Ints || got(t, top.Self) != top {
		t.Fatal("Refs into what is there")
	}
	if top.Empty.IsNil() || got(t, top.Empty) == nil || !top.Nil.IsNil() || got(t, top.Nil) != nil {
		t.Fatal("empty or nil")
	}
}

func refStore(t *testing.T) *fakeStore {
	t.Helper()
	s := newFakeStore()
	mustSave(t, mustGraph(t, s.config()), s, "top", newRefTop())
	return s
}

func TestRefsComeBack(t *testing.T) {
	s := refStore(t)
	t.Run("followed", func(t *testing.T) { checkTop(t, loadTop(t, mustGraph(t, s.config()), s)) })
	t.Run("kept", func(t *testing.T) {
		g := mustGraph(t, s.config())
		keepRefs(g, s)
		top := loadTop(t, g, s)
		if _, ok := top.One.Loaded(); ok {
			t.Fatal("a Ref was loaded before anybody asked")
		}
		checkTop(t, top)
	})
	t.Run("decoded", func(t *testing.T) {
		top := decodeTop(t, s)
		if _, ok := top.One.Loaded(); ok {
			t.Fatal("a Ref was loaded before anybody asked")
		}
		checkTop(t, top)
	})
	t.Run("as any", func(t *testing.T) { // the type is met behind an interface
		cfg := s.config()
		cfg.Registry = NewRegistry()
		if err := cfg.Registry.Register(reflect.TypeFor[refTop](), ""); err != nil {
			t.Fatal(err)
		}
		vs, err := Decode(context.Background(), cfg, s, []string{"top"}, []reflect.Type{nil})
		if err != nil {
			t.Fatal(err)
		}
		checkTop(t, vs[0].Interface().(*refTop))
	})
}

// Whatever is loaded of a graph in whatever order, a save writes nothing.
func TestRefsThatWereOnlyReadAreNotWritten(t *testing.T) {
	s := refStore(t)
	touch := []func(*refTop){
		func(top *refTop) { got(t, top.One) },
		func(top *refTop) { got(t, top.Part) },
		func(top *refTop) { got(t, top.List[0]) },
		func(top *refTop) { got(t, top.Map["a"]); got(t, top.Map["b"]) },
		func(top *refTop) { got(t, top.Arr[0]) },
		func(top *refTop) { got(t, top.Any.([]any)[0].(Ref[refLeaf])) },
		func(top *refTop) { got(t, top.Elem); got(t, top.Slice); got(t, top.Self) },
		func(top *refTop) { got(t, top.Table) },
	}
	for set := range 1 << len(touch) {
		g := mustGraph(t, s.config())
		keepRefs(g, s)
		top := loadTop(t, g, s)
		for k, f := range touch {
			if set>>k&1 != 0 {
				f(top)
			}
		}
		for range 2 {
			if saved := mustSave(t, g, s, "top", top); len(saved.changes) != 0 {
				t.Fatalf("set %x: %d pods were written", set, len(saved.changes))
			}
		}
	}
}

// Each object behind a Ref begins a pod that has nothing of its neighbours.
func TestRefsCutPods(t *testing.T) {
	type side struct{ N int }
	type holder struct {
		A Ref[refLeaf]
		P *side
		B Ref[refLeaf]
		Q *side
		L []Ref[refLeaf]
	}
	h := &holder{A: NewRef(&refLeaf{N: 1}), P: &side{1}, B: NewRef(&refLeaf{N: 2}), Q: &side{2}, L: []Ref[refLeaf]{NewRef(&refLeaf{N: 3}), NewRef(&refLeaf{N: 4})}}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "h", h)
	if len(s.pods) != 5 {
		t.Fatalf("%d pods, not one for the variable and one for each Ref", len(s.pods))
	}
	// Later additions keep apart as well.
	h.L = append(h.L, NewRef(&refLeaf{N: 5}))
	h.Q = &side{3}
	mustSave(t, g, s, "h", h)
	if len(s.pods) != 6 {
		t.Fatalf("%d pods after another Ref", len(s.pods))
	}
	got(t, h.L[2]).N++
	if saved := mustSave(t, g, s, "h", h); len(saved.changes) != 1 {
		t.Fatalf("%d pods were written for one object behind a Ref", len(saved.changes))
	}
}

// An object that a pointer led to, and of which only a Ref is left that was never
// loaded, keeps what was changed in it.
func TestChangesBehindRefsThatAreNotLoadedAreFound(t *testing.T) {
	s := refStore(t)
	g := mustGraph(t, s.config())
	keepRefs(g, s)
	top := loadTop(t, g, s)
	plain := top.Plain
	plain.N, top.Plain = 77, nil
	if _, ok := top.List[1].Loaded(); ok {
		t.Fatal("the Ref is loaded")
	}
	mustSave(t, g, s, "top", top)
	if is := got(t, decodeTop(t, s).List[1]); is.N != 77 {
		t.Fatalf("%d is stored, not 77", is.N)
	}
	if got(t, top.List[1]) != plain {
		t.Fatal("the Ref leads to another object than the pointer did")
	}
	// And again through the Ref alone.
	plain.N = 78
	mustSave(t, g, s, "top", top)
	if is := got(t, decodeTop(t, s).List[1]); is.N != 78 {
		t.Fatalf("%d is stored, not 78", is.N)
	}
}

// A list of interfaces that did not change itself leads elsewhere once its Refs were
// loaded.
func TestChangesBehindListsOfRefsAreFound(t *testing.T) {
	s := newFakeStore()
	list := make([]any, 3*shadowElements)
	for i := range list {
		list[i] = NewRef(&refLeaf{N: i})
	}
	cfg := s.config()
	cfg.Registry = registryOf(t, Ref[refLeaf]{}, refLeaf{}, refTop{})
	mustSave(t, mustGraph(t, cfg), s, "x", &struct{ L []any }{list})
	g := mustGraph(t, cfg)
	keepRefs(g, s)
	vs, err := g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*struct{ L []any }]()})
	if err != nil {
		t.Fatal(err)
	}
	x := vs[0].Interface().(*struct{ L []any })
	for range 2 {
		mustStayQuiet(t, g, s, "x", x)
	}
	got(t, x.L[5].(Ref[refLeaf])).N = 500
	mustSave(t, g, s, "x", x)
	if vs, err = Decode(context.Background(), cfg, s, []string{"x"}, []reflect.Type{reflect.TypeFor[*struct{ L []any }]()}); err != nil {
		t.Fatal(err)
	}
	if n := got(t, vs[0].Interface().(*struct{ L []any }).L[5].(Ref[refLeaf])).N; n != 500 {
		t.Fatalf("%d is stored, not 500", n)
	}
}

// Refs that are not loaded may be moved, copied and dropped.
func TestRefsMoveUnloaded(t *testing.T) {
	s := refStore(t)
	g := mustGraph(t, s.config())
	keepRefs(g, s)
	top := loadTop(t, g, s)
	top.Arr[0], top.Nil, top.One = top.Map["a"], top.List[0], Ref[refLeaf]{}
	top.List = append([]Ref[refLeaf]{top.Same}, top.List...)
	mustSave(t, g, s, "top", top)
	if _, ok := top.Nil.Loaded(); ok {
		t.Fatal("the save has loaded a Ref")
	}
	for _, top := range []*refTop{top, decodeTop(t, s)} {
		if got(t, top.Arr[0]).N != 4 || got(t, top.Nil).N != 3 || !top.One.IsNil() || got(t, top.List[0]).N != 1 || got(t, top.List[0]) != got(t, top.Same) {
			t.Fatal("Refs do not lead where they were moved from")
		}
	}
}

// A Ref of another graph is loaded, and what it leads to stored as new objects.
func TestRefsOfOtherGraphsAreLoaded(t *testing.T) {
	s, other := refStore(t), newFakeStore()
	top := decodeTop(t, s)
	g := mustGraph(t, other.config())
	keepRefs(g, other)
	mustSave(t, g, other, "top", top)
	checkTop(t, top)
	checkTop(t, decodeTop(t, other))
	if saved := mustSave(t, g, other, "top", top); len(saved.changes) != 0 {
		t.Fatal("saved again, it is written again")
	}
}

var errGone = errors.New("gone")

// A Ref that cannot be loaded fails the save that needs its object, with the path.
func TestRefsThatCannotBeLoaded(t *testing.T) {
	s, other := refStore(t), newFakeStore()
	g := mustGraph(t, s.config())
	g.KeepRefs(func(context.Context, func(pod.Source) error) error { return errGone })
	top := loadTop(t, g, s)
	if _, err := top.One.Get(context.Background()); !errors.Is(err, errGone) {
		t.Fatalf("Get: %v", err)
	}
	_, err := mustGraph(t, other.config()).Save(context.Background(), rootsOf("x", &struct{ L []Ref[refLeaf] }{top.List}), other.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || !errors.Is(err, errGone) || u.Problems[0].Path != "x.L[0]" {
		t.Fatalf("Save: %v", err)
	}
	// After the graph has gone.
	g2 := mustGraph(t, s.config())
	keepRefs(g2, s)
	top = loadTop(t, g2, s)
	g2.reset()
	if _, err := top.One.Get(context.Background()); !errors.Is(err, dberr.ErrDetached) {
		t.Fatalf("Get after the graph was given back: %v", err)
	}
}

// Many goroutines ask for what one decoded object leads to.
func TestRefsOfManyGoroutines(t *testing.T) {
	s := refStore(t)
	top := decodeTop(t, s)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { checkTop(t, top) })
	}
	wg.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	h := alone(s)
	held, let := make(chan bool), make(chan bool)
	go func() {
		_ = h(context.Background(), func(pod.Source) error { close(held); <-let; return nil })
	}()
	<-held
	if err := h(ctx, func(pod.Source) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatalf("waiting with a context that is over: %v", err)
	}
	close(let)
}

// A pointer may become a Ref, and a Ref a pointer.
func TestPointersBecomeRefsAndBack(t *testing.T) {
	type then struct{ P *refLeaf }
	type now struct{ P Ref[refLeaf] }
	cfg := func(s *fakeStore, typ reflect.Type) Config {
		c := s.config()
		c.Registry = NewRegistry()
		if err := c.Registry.Register(typ, "holder"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	s := newFakeStore()
	g, err := NewGraph(cfg(s, reflect.TypeFor[then]()))
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, g, s, "x", &then{P: &refLeaf{N: 9}})
	c := cfg(s, reflect.TypeFor[now]())
	g, err = NewGraph(c)
	if err != nil {
		t.Fatal(err)
	}
	keepRefs(g, s)
	vs, err := g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*now]()})
	if err != nil {
		t.Fatal(err)
	}
	x := vs[0].Interface().(*now)
	if got(t, x.P).N != 9 {
		t.Fatal("the pointer is another Ref")
	}
	if saved := mustSave(t, g, s, "x", x); len(saved.changes) > 1 {
		t.Fatal("more than once written")
	}
	vs, err = Decode(context.Background(), cfg(s, reflect.TypeFor[then]()), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*then]()})
	if err != nil {
		t.Fatal(err)
	}
	if vs[0].Interface().(*then).P.N != 9 {
		t.Fatal("the Ref is another pointer")
	}
}

type hastyReader struct {
	R   Ref[refLeaf]
	err error
}

func (h *hastyReader) AfterLoad() error {
	_, h.err = h.R.Get(context.Background())
	return nil
}

func TestRefsCannotBeLoadedInTheMidstOfALoad(t *testing.T) {
	s := newFakeStore()
	mustSave(t, mustGraph(t, s.config()), s, "h", &hastyReader{R: NewRef(&refLeaf{N: 1})})
	vs, err := Decode(context.Background(), s.config(), s, []string{"h"}, []reflect.Type{reflect.TypeFor[*hastyReader]()})
	if err != nil {
		t.Fatal(err)
	}
	h := vs[0].Interface().(*hastyReader)
	if !errors.Is(h.err, dberr.ErrInvalid) {
		t.Fatalf("in AfterLoad: %v", h.err)
	}
	if got(t, h.R).N != 1 {
		t.Fatal("afterwards")
	}
}

// A type that had fields and has none any more: pointers to it lead to no region, though a
// Ref that is not loaded does, and the references behind them are theirs.
func TestPointersToWhatHasNoFieldsAnyMore(t *testing.T) {
	type (
		wasEmpty struct{ A int }
		isEmpty  struct{}
		other    struct{ N int }
		was      struct {
			P *wasEmpty
			R Ref[wasEmpty]
			Q *other
			S string
		}
		is struct {
			P *isEmpty
			R Ref[isEmpty]
			Q *other
			S string
		}
	)
	pairs := []pair{{"empty", wasEmpty{}, isEmpty{}}, {"root", was{}, is{}}, {"other", other{}, other{}}}
	s := newFakeStore()
	var list []*was
	for i := range 100 {
		x := &wasEmpty{7}
		list = append(list, &was{x, NewRef(x), &other{i}, "a text that takes a little room in the pod"})
	}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", &list)
	g := mustGraph(t, configOf(t, s, pairs, true))
	keepRefs(g, s) // which stay unloaded
	want := []reflect.Type{reflect.TypeFor[*[]*is]()}
	vs, err := g.Load(context.Background(), s, []string{"x"}, want)
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, g, s, "x", vs[0].Interface())
	if vs, err = mustGraph(t, configOf(t, s, pairs, true)).Load(context.Background(), s, []string{"x"}, want); err != nil {
		t.Fatal(err)
	}
	for i, x := range *vs[0].Interface().(*[]*is) {
		if x.Q.N != i || x.P == nil {
			t.Fatalf("element %d has %d and %p", i, x.Q.N, x.P)
		}
	}
}
