package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

type opaqueKnown struct {
	N    int
	Next *opaqueKnown
	List []opaqueKnown
}

type opaqueHolder struct {
	Sibling int
	Known   *opaqueKnown
	First   any
	Many    []any
	Map     map[string]any
	Shape   shaped
	Keys    map[any]int
}

type opaqueInner struct{ S, T string }

// opaqueSecret is what the program of the test does not know.
type opaqueSecret struct {
	N      int
	Self   *opaqueSecret
	Shared *opaqueKnown
	Part   *int
	Long   string
	Map    map[string]*opaqueInner
	Array  []opaqueInner
	Floats []float64
	Any    []any
	Inner  *string
	Nested any
	Ptrs   map[*opaqueInner]bool
	More   []opaqueKnown
	Zero   *struct{}
}

func (s *opaqueSecret) sides() int { return s.N }

func opaqueWorld(r *rand.Rand) *opaqueHolder {
	long := strings.Repeat("long ", 2000)
	known := &opaqueKnown{N: 1, List: make([]opaqueKnown, 5, 9)}
	known.Next = known
	arr := make([]opaqueInner, 50)
	for i := range arr {
		arr[i].S = fmt.Sprint(i)
	}
	floats := make([]float64, 300)
	floats[7] = r.Float64()
	x := &opaqueSecret{N: 2, Shared: known, Part: &known.List[3].N, Long: long[100:9000], Array: arr[3:20:40], Floats: floats[5:100], Nested: opaqueInner{"by", "value"}}
	x.Self = x
	x.Inner = &arr[7].T
	x.More = known.List[1:3:6]
	x.Zero = &struct{}{}
	x.Map = map[string]*opaqueInner{"a": {"s", "t"}, "b": &arr[1], "c": nil}
	x.Ptrs = map[*opaqueInner]bool{&arr[2]: true, {"own", ""}: false}
	x.Any = []any{x, known, &known.N, 7, long, opaqueInner{"in", long[:5000]}, nil, []opaqueInner{{"q", "r"}}}
	h := &opaqueHolder{Sibling: 1, Known: known, First: x, Shape: x, Keys: map[any]int{opaqueInner{"k", "l"}: 3, "s": 4}}
	for i := range 40 {
		h.Many = append(h.Many, &opaqueSecret{N: i, Self: x, Shared: &opaqueKnown{N: i}, Nested: &opaqueInner{S: strings.Repeat("x", r.IntN(900))}})
	}
	h.Map = map[string]any{"deep": map[string]any{"er": []any{opaqueInner{"d", "e"}, arr[:2]}}}
	return h
}

func registryOf(t testing.TB, types ...any) *Registry {
	t.Helper()
	r := NewRegistry()
	for _, v := range types {
		if err := r.Register(reflect.TypeOf(v), ""); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// What a program does not know comes back as it was, however often that program
// changes what it knows, in pods of any size.
func TestUnknownTypesSurviveAsOpaqueValues(t *testing.T) {
	for _, target := range []int{100, 1000, 8 << 10, 1 << 20} {
		t.Run(fmt.Sprint(target), func(t *testing.T) {
			s := newFakeStore()
			full, part := s.config(), s.config()
			full.TargetBytes, part.TargetBytes = target, target
			full.Registry, part.Registry = registryOf(t, opaqueSecret{}, opaqueInner{}, opaqueHolder{}), registryOf(t, opaqueHolder{})
			world := opaqueWorld(rand.New(rand.NewPCG(1, uint64(target))))
			mustSave(t, mustGraph(t, full), s, "x", world)

			g, vs := reload(t, s, part, "x", world) // and a save writes nothing
			h := vs[0].Interface().(*opaqueHolder)
			o, ok := h.First.(*Opaque)
			if !ok || o.TypeName() != "*github.com/poddb/poddb/podder.opaqueSecret" || h.Shape != nil {
				t.Fatalf("loaded %v and %v", h.First, h.Shape)
			}
			if h.Known.Next != h.Known || h.Known.List[3].N != 0 {
				t.Fatal("what is known did not come back")
			}
			for i := range 3 {
				h.Sibling++
				h.Known.List[3].N += i
				h.Many[i] = h.Many[i+10]
				if i == 1 {
					h.Many = append(h.Many, h.First)
				}
				mustSave(t, g, s, "x", h)
				mustStayQuiet(t, g, s, "x", h)
				world.Sibling++
				world.Known.List[3].N += i
				world.Many[i] = world.Many[i+10]
				if i == 1 {
					world.Many = append(world.Many, world.First)
				}
				_, vs := reload(t, s, full, "x", world)
				if err := isomorphic(reflect.ValueOf(world), vs[0]); err != nil {
					t.Fatalf("after save %d: %v", i, err)
				}
			}
			// A slice of it alone, in a variable of its own.
			all := &[]any{h.First, h.Map["deep"]}
			mustSave(t, g, s, "x", h, "y", all)
			mustStayQuiet(t, g, s, "x", h, "y", all)
			want := &[]any{world.First, world.Map["deep"]}
			_, both := reload(t, s, full, "x", world, "y", want)
			type pair struct {
				x *opaqueHolder
				y *[]any
			}
			got := pair{both[0].Interface().(*opaqueHolder), both[1].Interface().(*[]any)}
			if err := isomorphic(reflect.ValueOf(pair{world, want}), reflect.ValueOf(got)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Loading two variables one after the other, or a third time, keeps one object
// where there was one.
func TestOpaqueValuesAreSharedBetweenVariables(t *testing.T) {
	s := newFakeStore()
	full, part := s.config(), s.config()
	full.Registry = registryOf(t, opaqueSecret{}, opaqueInner{})
	x := &opaqueSecret{N: 1, Shared: &opaqueKnown{N: 2}}
	a, b := &[]any{x}, &[]any{x, opaqueInner{"s", "t"}}
	mustSave(t, mustGraph(t, full), s, "a", a, "b", b)
	g := mustGraph(t, part)
	va, err := g.Load(context.Background(), s, []string{"a"}, []reflect.Type{nil})
	if err != nil {
		t.Fatal(err)
	}
	vb, err := g.Load(context.Background(), s, []string{"b"}, []reflect.Type{nil})
	if err != nil {
		t.Fatal(err)
	}
	mustStayQuiet(t, g, s, "a", va[0].Interface(), "b", vb[0].Interface())
	*va[0].Interface().(*[]any) = append(*va[0].Interface().(*[]any), 5)
	*a = append(*a, 5)
	mustSave(t, g, s, "a", va[0].Interface(), "b", vb[0].Interface())
	_, vs := reload(t, s, full, "a", a, "b", b)
	if err := isomorphic(reflect.ValueOf([]*[]any{a, b}), reflect.ValueOf([]*[]any{vs[0].Interface().(*[]any), vs[1].Interface().(*[]any)})); err != nil {
		t.Fatal(err)
	}
}

// A nil that hides an unknown value may be replaced; then it is gone.
func TestWhatIsHiddenGivesWayToAValue(t *testing.T) {
	s := newFakeStore()
	full, part := s.config(), s.config()
	full.Registry, part.Registry = registryOf(t, opaqueSecret{}, innerNow{}), registryOf(t, innerNow{})
	mustSave(t, mustGraph(t, full), s, "x", &opaqueHolder{Shape: &opaqueSecret{N: 3}})
	g, vs := reload(t, s, part, "x", &opaqueHolder{})
	h := vs[0].Interface().(*opaqueHolder)
	h.Shape = innerNow{"s", 4}
	mustSave(t, g, s, "x", h)
	h.Shape = nil
	mustSave(t, g, s, "x", h)
	h.Shape = innerNow{"s", 4}
	mustSave(t, g, s, "x", h)
	_, vs = reload(t, s, full, "x", &opaqueHolder{})
	if got := vs[0].Interface().(*opaqueHolder).Shape; got != any(innerNow{"s", 4}) {
		t.Errorf("loaded %v", got)
	}
}

func TestOpaqueValuesAreRefusedWhereTheyCannotBe(t *testing.T) {
	s := newFakeStore()
	full := s.config()
	full.Registry = registryOf(t, opaqueSecret{})
	g := mustGraph(t, full)
	mustSave(t, g, s, "x", &opaqueHolder{Shape: &opaqueSecret{}, First: &opaqueSecret{}}, "y", &[]shaped{&opaqueSecret{}}, "z", &opaqueSecret{}, "w", &[]any{&opaqueSecret{}})
	ctx := context.Background()
	// Copies have no place for what an interface with methods cannot hold, nor do
	// elements of arrays, which move.
	_, err := Decode(ctx, s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*opaqueHolder]()})
	if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), "opaqueSecret") {
		t.Errorf("copy: %v", err)
	}
	_, err = mustGraph(t, s.config()).Load(ctx, s, []string{"y"}, []reflect.Type{reflect.TypeFor[*[]shaped]()})
	if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), `"y"`) {
		t.Errorf("array: %v", err)
	}
	// Asked for by type.
	_, err = Decode(ctx, s.config(), s, []string{"z"}, []reflect.Type{nil})
	if !errors.Is(err, dberr.ErrUnregistered) {
		t.Errorf("variable: %v", err)
	}
	// Another database.
	vs, err := Decode(ctx, s.config(), s, []string{"w"}, []reflect.Type{nil})
	if err != nil {
		t.Fatal(err)
	}
	other := newFakeStore()
	other.key[0]++
	_, err = mustGraph(t, other.config()).Save(ctx, rootsOf("w", vs[0].Interface()), other.begin())
	if !errors.Is(err, dberr.ErrUnsupported) || !strings.Contains(err.Error(), "w[0]") || !strings.Contains(err.Error(), "opaque") {
		t.Errorf("other database: %v", err)
	}
	// A copy of it goes back into its own.
	back := mustGraph(t, s.config())
	mustSave(t, back, s, "back", vs[0].Interface())
	_, again := reload(t, s, full, "back", &[]any{})
	if got, ok := (*again[0].Interface().(*[]any))[0].(*opaqueSecret); !ok || got.N != 0 {
		t.Errorf("loaded %v", again[0])
	}
}

// opaqueOwner is not known to the program of the test, what points into it is.
type opaqueOwner struct {
	N     int
	Name  string
	Bytes [8]byte
	Parts []opaqueOwner
	Self  *opaqueOwner
}

type opaquePointers struct {
	Ints *int
	Text *string
}

// Values of known types that lead into objects of unknown ones are kept like
// these, wherever the two lie and whichever is met first.
func TestValuesThatLeadIntoUnknownObjectsAreKept(t *testing.T) {
	world := func() *[]any {
		o := &opaqueOwner{N: 1, Name: "o", Parts: make([]opaqueOwner, 3)}
		o.Self = o
		first := []any{&o.N, o, &o.Name, o.Bytes[2:5], &o.Bytes, opaquePointers{&o.N, &o.Name}, &o.Parts[1].N, map[string]any{"k": &o.N, "l": 5}, &o.Self, 7}
		all := append(slices.Clone(first), strings.Repeat("pad", 30), "end")
		slices.Reverse(all)
		return &[]any{first[:7], first[7:], all[2:6], all[6:9]}
	}
	for _, target := range []int{1, 100, 8 << 10} {
		s := newFakeStore()
		full, part := s.config(), s.config()
		full.TargetBytes, part.TargetBytes = target, target
		full.Registry, part.Registry = registryOf(t, opaqueOwner{}, opaquePointers{}), registryOf(t, opaquePointers{})
		x := world()
		// A typed pointer into what is not known has no other place to go.
		typed := &opaquePointers{Ints: (*x)[0].([]any)[0].(*int)}
		g := mustGraph(t, full)
		mustSave(t, g, s, "x", x, "typed", typed)
		g, vs := reload(t, s, part, "x", x)
		y := vs[0].Interface().(*[]any)
		for i, want := range []string{"*int", "*github.com/poddb/poddb/podder.opaqueOwner", "*string", "[]uint8", "*[8]uint8", "github.com/poddb/poddb/podder.opaquePointers", "*int"} {
			if o, ok := (*y)[0].([]any)[i].(*Opaque); !ok || o.TypeName() != want {
				t.Fatalf("target %d: value %d is %v, want a %s that is kept", target, i, (*y)[0].([]any)[i], want)
			}
		}
		if m := (*y)[1].([]any)[0].(map[string]any); m["l"] != 5 {
			t.Errorf("a map is %v", m)
		}
		// What is known changes, and the rest is written back.
		(*y)[1].([]any)[2] = 8
		(*x)[1].([]any)[2] = 8
		(*y)[0].([]any)[1], (*y)[0].([]any)[2] = (*y)[0].([]any)[2], (*y)[0].([]any)[1]
		(*x)[0].([]any)[1], (*x)[0].([]any)[2] = (*x)[0].([]any)[2], (*x)[0].([]any)[1]
		mustSave(t, g, s, "x", y)
		mustStayQuiet(t, g, s, "x", y)
		_, vs = reload(t, s, full, "x", x)
		if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
			t.Fatalf("target %d: %v", target, err)
		}
		_, err := Decode(t.Context(), part, s, []string{"typed"}, []reflect.Type{reflect.TypeOf(typed)})
		if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), `"typed"`) || !strings.Contains(err.Error(), "opaqueOwner") {
			t.Errorf("a typed pointer: %v", err)
		}
	}
}

// opaqueUser refers to an object that the program knows, and is not known itself.
type opaqueUser struct {
	Cfg  *tConfig
	Elem *int
	Own  *opaqueUser
	Text string
}

// An opaque value goes on referring to the slot of a sentinel that it referred to,
// if there are several: nothing is written again, and it is the program's object.
func TestOpaqueValuesKeepTheSlotOfASentinel(t *testing.T) {
	type holder struct {
		N    int
		Any  any
		Many []any
		Map  map[string]any
		Cfg  *tConfig
	}
	for _, target := range []int{100, 8 << 10} {
		s := newFakeStore()
		full, part := s.config(), s.config()
		full.TargetBytes, part.TargetBytes = target, target
		full.Registry, part.Registry = withValues(t, "default", &tDefault), withValues(t, "default", &tDefault)
		if err := full.Registry.Register(reflect.TypeFor[opaqueUser](), ""); err != nil {
			t.Fatal(err)
		}
		user := func() *opaqueUser {
			u := &opaqueUser{Cfg: &tDefault, Elem: &tDefault.List[2], Text: strings.Repeat("t", 200)}
			u.Own = &opaqueUser{Own: u, Cfg: &tDefault}
			return u
		}
		all := []any{"box", &tDefault, "x", &holder{}, "y", &holder{}}
		mustSave(t, mustGraph(t, full), s, all...)
		for k := 2; k < len(all); k += 2 { // each in a graph that has not met the slots of the others
			g, vs := reload(t, s, full, all[k:k+2]...)
			h := vs[0].Interface().(*holder)
			h.Any, h.Cfg = user(), &tDefault
			h.Many, h.Map = []any{user(), h.Any, *user()}, map[string]any{"u": user()}
			mustSave(t, g, s, all[k], h)
		}
		slots := 0
		for _, p := range s.pods {
			for i := range p.Slots {
				if d, _ := s.Type(context.Background(), p.Slots[i].Type); len(d) > 1 && d[1] == byte(nodeNamed) {
					slots++
				}
			}
		}
		if slots < 3 {
			t.Errorf("the sentinel has %d slots: nothing is proven", slots)
		}
		for _, list := range [][]any{all, {"y", all[5], "x", all[3], "box", all[1]}, all[4:], all[2:]} {
			g, vs := reload(t, s, part, list...) // and a save writes nothing
			for round := range 2 {
				var live []any
				for k, v := range vs {
					if h, ok := v.Interface().(*holder); ok {
						if _, ok := h.Any.(*Opaque); !ok || h.Cfg != &tDefault {
							t.Fatalf("loaded %v", h)
						}
						h.N += round
					}
					live = append(live, list[2*k], v.Interface())
				}
				mustSave(t, g, s, live...)
				mustStayQuiet(t, g, s, live...)
			}
		}
		_, vs := reload(t, s, full, all...)
		for _, v := range vs[1:] {
			h := v.Interface().(*holder)
			for _, u := range []*opaqueUser{h.Any.(*opaqueUser), h.Many[0].(*opaqueUser), h.Map["u"].(*opaqueUser)} {
				if u.Cfg != &tDefault || u.Elem != &tDefault.List[2] || u.Own.Cfg != &tDefault || u.Own.Own != u {
					t.Errorf("target %d: pointers of an opaque value lead elsewhere", target)
				}
			}
			if u := h.Many[2].(opaqueUser); u.Cfg != &tDefault || h.Many[1] != h.Any {
				t.Errorf("target %d: pointers of an opaque copy lead elsewhere", target)
			}
		}
	}
}
