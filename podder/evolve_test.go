package podder

import (
	"context"
	"errors"
	"math"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// pair is a type as it was and as it is, under one stable name.
type pair struct {
	name     string
	old, now any
}

// evolved saves the variables with the old types, loads the first as a *New by
// a registry that has the new ones, checks that the next save writes the new form
// and the one after it nothing, and returns what a third process reads.
func evolved[New any](t *testing.T, pairs []pair, vars ...any) (*New, error) {
	t.Helper()
	s := newFakeStore()
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, vars...)
	return evolvedIn[New](t, s, pairs, vars[0].(string))
}

func configOf(t *testing.T, s *fakeStore, pairs []pair, now bool) Config {
	t.Helper()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	for _, p := range pairs {
		v := p.old
		if now {
			v = p.now
		}
		if v == nil {
			continue
		}
		if err := cfg.Registry.Register(reflect.TypeOf(v), p.name); err != nil {
			t.Fatal(err)
		}
	}
	return cfg
}

func evolvedIn[New any](t *testing.T, s *fakeStore, pairs []pair, name string) (*New, error) {
	t.Helper()
	cfg := configOf(t, s, pairs, true)
	want := []reflect.Type{reflect.TypeFor[*New]()}
	copies, err := Decode(context.Background(), cfg, s, []string{name}, want)
	if err != nil {
		return nil, err
	}
	g := mustGraph(t, cfg)
	vs, err := g.Load(context.Background(), s, []string{name}, want)
	if err != nil {
		t.Fatalf("a copy loads, the live variable does not: %v", err)
	}
	if err := isomorphic(copies[0], vs[0]); err != nil {
		t.Fatalf("copy and live variable: %v", err)
	}
	mustSave(t, g, s, name, vs[0].Interface())
	mustStayQuiet(t, g, s, name, vs[0].Interface())
	_, again := reload(t, s, cfg, name, new(New))
	if err := isomorphic(vs[0], again[0]); err != nil {
		t.Fatalf("saved in the new form and loaded again: %v", err)
	}
	return again[0].Interface().(*New), nil
}

func equalTo[T any](t *testing.T, got *T, err error, want T) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("loaded %+v, want %+v", *got, want)
	}
}

func mismatchAt(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, dberr.ErrTypeMismatch) {
		t.Fatalf("got %v, want ErrTypeMismatch", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not name %q", err, p)
		}
	}
}

func TestFieldsAreAddedRemovedReordered(t *testing.T) {
	type old struct {
		A int
		B string
		C *int
	}
	type now struct {
		D []int
		B string
		A int
	}
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", &old{A: 7, B: "b", C: new(int)})
	equalTo(t, got, err, now{B: "b", A: 7})
}

func TestFieldsAreRenamed(t *testing.T) {
	type old struct {
		First, Second int
		third         string
		Fourth        bool
	}
	type now struct {
		Second  int    `pod:"two,was=Second"`
		Uno     int    `pod:"one,was=ein,was=First"`
		Third   string `pod:",was=third"`
		Renamed bool   `pod:"Fourth"`
		First   int    `pod:"fresh"`
	}
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", &old{1, 2, "3", true})
	equalTo(t, got, err, now{Second: 2, Uno: 1, Third: "3", Renamed: true})
}

func TestTwoFieldsOfOneStoredNameAreRefused(t *testing.T) {
	type twice struct {
		A int `pod:"n"`
		B int `pod:"n"`
	}
	s := newFakeStore()
	_, err := mustGraph(t, s.config()).Save(context.Background(), rootsOf("x", &twice{}), s.begin())
	if !errors.Is(err, dberr.ErrInvalid) || !strings.Contains(err.Error(), `"n"`) {
		t.Fatalf("got %v", err)
	}
}

type colorBefore int8
type colorNow int32

func TestNumbersAreWidened(t *testing.T) {
	type old struct {
		A int8
		B uint16
		C float32
		D int32
		E []int16
		F [3]uint8
		G map[int8]uint8
		H colorBefore
		I complex64
		J []float32
		K any
		L int64
	}
	type now struct {
		A int64
		B uint32
		C float64
		D float64
		E []int64
		F [3]int
		G map[int]uint64
		H colorNow
		I complex128
		J []float64
		K any
		L int8
	}
	pairs := []pair{{"t", old{}, now{}}, {"color", colorBefore(0), colorNow(0)}}
	got, err := evolved[now](t, pairs, "x", &old{-5, 65535, 1.5, -7, []int16{-1, 2, math.MaxInt16}, [3]uint8{1, 255, 3},
		map[int8]uint8{-1: 1, 5: 255}, 9, complex(1, -2), []float32{0.5, -1}, colorBefore(3), -128})
	equalTo(t, got, err, now{-5, 65535, 1.5, -7, []int64{-1, 2, math.MaxInt16}, [3]int{1, 255, 3},
		map[int]uint64{-1: 1, 5: 255}, 9, complex(1, -2), []float64{0.5, -1}, colorNow(3), -128})
}

func TestNarrowingIsCheckedValueByValue(t *testing.T) {
	type old struct{ A, B int64 }
	type now struct {
		A int64
		B int8
	}
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", &old{1, 128})
	mismatchAt(t, err, "t.B", "128", "int8", `"x"`)

	for _, c := range []struct {
		value any
		to    reflect.Type
		fits  bool
	}{
		{int64(127), reflect.TypeFor[int8](), true},
		{int64(-129), reflect.TypeFor[int8](), false},
		{int64(-1), reflect.TypeFor[uint64](), false},
		{uint64(1 << 63), reflect.TypeFor[int64](), false},
		{int64(1 << 53), reflect.TypeFor[float64](), true},
		{int64(1<<53 + 1), reflect.TypeFor[float64](), false},
		{int64(math.MaxInt64), reflect.TypeFor[float64](), false},
		{int64(math.MinInt64), reflect.TypeFor[float64](), true},
		{uint64(math.MaxUint64), reflect.TypeFor[float64](), false},
		{int32(1<<24 + 1), reflect.TypeFor[float32](), false},
		{float64(0.1), reflect.TypeFor[float32](), false},
		{float64(0.5), reflect.TypeFor[float32](), true},
		{math.Inf(1), reflect.TypeFor[float32](), true},
		{math.MaxFloat64, reflect.TypeFor[float32](), false},
		{float64(3), reflect.TypeFor[uint8](), true},
		{float64(256), reflect.TypeFor[uint8](), false},
		{float64(2.5), reflect.TypeFor[int](), false},
		{math.NaN(), reflect.TypeFor[int](), false},
		{float64(1 << 63), reflect.TypeFor[int64](), false},
		{complex128(complex(0.1, 0)), reflect.TypeFor[complex64](), false},
		{uint32(70000), reflect.TypeFor[uint16](), false},
		{true, reflect.TypeFor[int](), false},
		{"a", reflect.TypeFor[int](), false},
		{complex128(1), reflect.TypeFor[float64](), false},
	} {
		s := newFakeStore()
		mustSave(t, mustGraph(t, s.config()), s, "x", c.value)
		vs, err := Decode(context.Background(), s.config(), s, []string{"x"}, []reflect.Type{c.to})
		if !c.fits {
			mismatchAt(t, err)
			continue
		}
		if err != nil {
			t.Errorf("%T(%v) to %v: %v", c.value, c.value, c.to, err)
		} else if want := reflect.ValueOf(c.value).Convert(c.to); vs[0].Interface() != want.Interface() {
			t.Errorf("%T(%v) to %v gave %v", c.value, c.value, c.to, vs[0])
		}
	}
}

func TestArraysChangeTheirLength(t *testing.T) {
	type old struct {
		A [4]int
		B [4]string
		C [][2]int16
		D [0]int
		E [20]string
	}
	type now struct {
		A [2]int
		B [8]string
		C [][3]int32
		D [2]int
		E [19]string
	}
	pairs := []pair{{"t", old{}, now{}}}
	got, err := evolved[now](t, pairs, "x", &old{A: [4]int{1, 2}, B: [4]string{"a", "b", "c", "d"}, C: [][2]int16{{1, 2}, {3, 4}}, E: [20]string{18: "z"}})
	equalTo(t, got, err, now{A: [2]int{1, 2}, B: [8]string{"a", "b", "c", "d"}, C: [][3]int32{{1, 2}, {3, 4}}, E: [19]string{18: "z"}})
	_, err = evolved[now](t, pairs, "x", &old{A: [4]int{1, 2, 0, 4}})
	mismatchAt(t, err, "t.A", "[4]int", "[2]int")
}

type innerOld struct {
	N int16
	S string
}
type innerNow struct {
	S string
	N int
}

func TestValuesGoBehindPointersAndBack(t *testing.T) {
	type old struct {
		A innerOld
		B *innerOld
		C []innerOld
		D []*innerOld
		E map[string]innerOld
		F map[string]*innerOld
		G *innerOld
		H int
		I *int
		J **int
	}
	type now struct {
		A *innerNow
		B innerNow
		C []*innerNow
		D []innerNow
		E map[string]*innerNow
		F map[string]innerNow
		G innerNow
		H *int
		I int
		J int
	}
	seven := new(int)
	*seven = 7
	pairs := []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}
	got, err := evolved[now](t, pairs, "x", &old{innerOld{1, "a"}, &innerOld{2, "b"}, []innerOld{{3, "c"}, {4, "d"}}, []*innerOld{{5, "e"}, nil, {6, "f"}},
		map[string]innerOld{"k": {7, "g"}, "l": {8, "h"}}, map[string]*innerOld{"m": {9, "i"}, "n": nil}, nil, 7, seven, &seven})
	equalTo(t, got, err, now{&innerNow{"a", 1}, innerNow{"b", 2}, []*innerNow{{"c", 3}, {"d", 4}}, []innerNow{{"e", 5}, {}, {"f", 6}},
		map[string]*innerNow{"k": {"g", 7}, "l": {"h", 8}}, map[string]innerNow{"m": {"i", 9}, "n": {}}, innerNow{}, seven, 7, 7})
}

// A pointer to a field that is behind a pointer now follows it.
func TestPointersIntoBoxedValuesFollowThem(t *testing.T) {
	type old struct {
		P *string
		A innerOld
		Q *innerOld
		C [2]innerOld
		R *string
	}
	type now struct {
		P *string
		A *innerNow
		Q *innerNow
		C [2]*innerNow
		R *string
	}
	x := &old{A: innerOld{1, "a"}, C: [2]innerOld{{2, "b"}, {3, "c"}}}
	x.P, x.Q, x.R = &x.A.S, &x.A, &x.C[1].S
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}, "x", x)
	if err != nil {
		t.Fatal(err)
	}
	if got.P != &got.A.S || got.Q != got.A || got.R != &got.C[1].S || *got.P != "a" || *got.R != "c" {
		t.Errorf("loaded %+v", got)
	}
}

// A pointer into an object that has become a value is copied from the right
// place, in objects and arrays, in this pod and in others.
func TestInteriorTargetsBecomeValues(t *testing.T) {
	type old struct {
		Pad   [3000]int
		Inner [3]innerOld
		P     *innerOld
		Q     *int16
		All   []int16
		E     *int16
		Many  []innerOld
		M     *innerOld
	}
	type now struct {
		Inner [3]innerNow
		P     innerNow
		Q     int
		E     int
		M     innerNow
	}
	x := &old{Inner: [3]innerOld{{1, "a"}, {2, "b"}, {3, "c"}}, All: make([]int16, 1000), Many: make([]innerOld, 1000)}
	x.All[777], x.Many[555] = 77, innerOld{5, "five"}
	x.P, x.Q, x.E, x.M = &x.Inner[1], &x.Inner[2].N, &x.All[777], &x.Many[555]
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}, "x", x)
	equalTo(t, got, err, now{[3]innerNow{{"a", 1}, {"b", 2}, {"c", 3}}, innerNow{"b", 2}, 3, 77, innerNow{"five", 5}})
}

type shaped interface{ sides() int }

func (i innerNow) sides() int { return i.N }

func TestValuesGoIntoInterfacesAndBack(t *testing.T) {
	type old struct {
		A innerOld
		B *innerOld
		C int16
		D any
		E any
		F []any
		G []int
		H any
		I *innerOld
		J map[string]any
	}
	type now struct {
		A shaped
		B any
		C any
		D innerNow
		E *innerNow
		F []int
		G []any
		H int
		I shaped
		J map[string]int
	}
	pairs := []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}
	one := &innerOld{2, "b"}
	got, err := evolved[now](t, pairs, "x", &old{innerOld{1, "a"}, one, 3, innerOld{4, "d"}, one, []any{5, int8(6)}, []int{7, 8}, nil, nil, map[string]any{"k": 9}})
	equalTo(t, got, err, now{innerNow{"a", 1}, &innerNow{"b", 2}, int16(3), innerNow{"d", 4}, &innerNow{"b", 2}, []int{5, 6}, []any{7, 8}, 0, nil, map[string]int{"k": 9}})
	if got.B != any(got.E) {
		t.Error("what an interface and a pointer share is two objects now")
	}
	_, err = evolved[now](t, pairs, "x", &old{D: "text"})
	mismatchAt(t, err, "t.D", "string", "inner")
	type other struct{ A error }
	_, err = evolved[other](t, []pair{{"t", old{}, other{}}, {"inner", innerOld{}, innerNow{}}}, "x", &old{})
	mismatchAt(t, err, "t.A", "inner", "error")
}

// Elements that are read as larger ones need the memory of what they are now.
func TestElementsThatBecomeLargerHaveRoom(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1))
	type old struct{ A [][]int }
	type now struct{ A [][]any }
	x, want := &old{}, now{}
	for i := range 200 {
		var a []int
		var b []any
		for j := range i % 7 {
			a, b = append(a, i*j+1000), append(b, i*j+1000)
		}
		x.A, want.A = append(x.A, slices.Clip(a)), append(want.A, slices.Clip(b))
	}
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", x)
	equalTo(t, got, err, want)
}

// Elements that had no size, and have one now, are as many as the slice was long: room for 2^40 of
// none took no memory.
func TestRoomForEmptyElementsIsNotKept(t *testing.T) {
	type none struct{}
	type some struct {
		N int
		S string
	}
	type old struct{ A, B []none }
	type now struct{ A, B []some }
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"elem", none{}, some{}}}, "x", &old{make([]none, 5, 1<<40), make([]none, 0, 1<<40)})
	equalTo(t, got, err, now{make([]some, 5), []some{}})
}

// References that want different types of one value are an error, whichever
// comes first.
func TestSharedValuesMustAgreeAboutTheirType(t *testing.T) {
	type old struct{ A, B []int16 }
	type now struct {
		A []int16
		B []int32
	}
	type then struct {
		A []int32
		B []int16
	}
	type both struct{ A, B []int32 }
	both16 := []int16{1, 2}
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", &old{both16, both16})
	mismatchAt(t, err, "int16", "int32")
	_, err = evolved[then](t, []pair{{"t", old{}, then{}}}, "x", &old{both16, both16})
	mismatchAt(t, err, "int16", "int32")
	got, err := evolved[both](t, []pair{{"t", old{}, both{}}}, "x", &old{both16, both16})
	equalTo(t, got, err, both{[]int32{1, 2}, []int32{1, 2}})
	if &got.A[0] != &got.B[0] {
		t.Error("one array is two now")
	}
	type field struct {
		N int16
		P *int16
	}
	type wide struct {
		N int32
		P *int16
	}
	x := &field{N: 1}
	x.P = &x.N
	_, err = evolved[wide](t, []pair{{"t", field{}, wide{}}}, "x", x)
	mismatchAt(t, err, "int16", "int32")
}

func TestKeysThatCollideAreAnError(t *testing.T) {
	type old struct{ M map[float64]string }
	type now struct{ M map[any]string }
	type narrow struct{ M map[int8]string }
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", &old{map[float64]string{1: "a", 2.5: "b"}})
	equalTo(t, got, err, now{map[any]string{1.0: "a", 2.5: "b"}})
	_, err = evolved[narrow](t, []pair{{"t", old{}, narrow{}}}, "x", &old{map[float64]string{1: "a", 300: "b"}})
	mismatchAt(t, err, "300", "int8")
	type pointers struct{ M map[*int]string }
	type values struct{ M map[int]string }
	a, b := new(int), new(int)
	_, err = evolved[values](t, []pair{{"t", pointers{}, values{}}}, "x", &pointers{map[*int]string{a: "a", b: "b"}})
	mismatchAt(t, err, "1 different keys, want 2", "map[*int]string")
	*b = 5
	vals, err := evolved[values](t, []pair{{"t", pointers{}, values{}}}, "x", &pointers{map[*int]string{a: "a", b: "b"}})
	equalTo(t, vals, err, values{map[int]string{0: "a", 5: "b"}})
}

func TestWhatDoesNotConvertShowsBothTypes(t *testing.T) {
	type old struct{ A innerOld }
	for _, c := range []struct {
		now  any
		want []string
	}{
		{struct{ A string }{}, []string{".A", "inner", "string"}},
		{struct{ A []int }{}, []string{".A", "inner", "[]int"}},
		{struct{ A struct{ N string } }{}, []string{".A.N", "int16", "string"}},
		{struct{ A *reflect.Value }{}, []string{".A", "inner", "reflect.Value"}},
		{struct{ A func() }{}, []string{".A", "inner", "func"}},
	} {
		s := newFakeStore()
		mustSave(t, mustGraph(t, configOf(t, s, []pair{{"t", old{}, nil}, {"inner", innerOld{}, nil}}, false)), s, "x", &old{innerOld{1, "a"}})
		_, err := Decode(context.Background(), s.config(), s, []string{"x"}, []reflect.Type{reflect.PointerTo(reflect.TypeOf(c.now))})
		mismatchAt(t, err, append(c.want, `"x"`)...)
	}
}

// A struct that was written with its fields in another order is still referred
// to rightly by a variable that was not loaded meanwhile.
func TestInteriorReferencesOfVariablesNotLoadedSurviveNewFields(t *testing.T) {
	type old struct{ A, B, C, Gone int }
	type now struct {
		New, C, B int
		First     int `pod:"first,was=A"`
		Newer     [2]int
	}
	type later struct{ Gone, Newer, First, C, B int }
	s := newFakeStore()
	pairs := []pair{{"t", old{}, now{}}}
	x := &old{1, 2, 3, 4}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x, "a", &x.A, "b", &x.B, "c", &x.C)
	cfg := configOf(t, s, pairs, true)
	g := mustGraph(t, cfg)
	vs, err := g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*now]()})
	if err != nil {
		t.Fatal(err)
	}
	n := vs[0].Interface().(*now)
	n.Newer[1] = 9
	mustSave(t, g, s, "x", n, "newer", &n.Newer[1])
	mustStayQuiet(t, g, s, "x", n, "newer", &n.Newer[1])
	_, all := reload(t, s, cfg, "x", n, "a", new(int), "b", new(int), "c", new(int), "newer", new(int))
	n = all[0].Interface().(*now)
	for i, want := range []*int{&n.First, &n.B, &n.C, &n.Newer[1]} {
		if got := all[i+1].Interface().(*int); got != want {
			t.Errorf("pointer %d leads to a %d", i, *got)
		}
	}
	if *n != (now{0, 3, 2, 1, [2]int{0, 9}}) {
		t.Errorf("loaded %+v", *n)
	}
	// A name that comes back is the field that it was; ids are never reused.
	cfg = configOf(t, s, []pair{{"t", nil, later{}}}, true)
	g = mustGraph(t, cfg)
	fresh := &later{1, 2, 3, 4, 5}
	mustSave(t, g, s, "y", fresh, "gone", &fresh.Gone, "z", &fresh.First)
	ids := assignIDs(g.eng.storedFor(reflect.TypeFor[later]()), reflect.TypeFor[later]())
	if want := []uint32{3, 4, 6, 2, 1}; !reflect.DeepEqual(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}

type selfPointer *selfPointer

// TestPointerTypesThatPointAtThemselvesTakeNothingElse, and asking whether they
// might ends.
func TestPointerTypesThatPointAtThemselvesTakeNothingElse(t *testing.T) {
	type old struct {
		A *float32
		B int
	}
	type viaPointer struct{ A selfPointer }
	type viaNumber struct{ B selfPointer }
	_, err := evolved[viaPointer](t, []pair{{"t", old{}, viaPointer{}}}, "x", &old{A: new(float32)})
	mismatchAt(t, err, "A")
	_, err = evolved[viaNumber](t, []pair{{"t", old{}, viaNumber{}}}, "x", &old{B: 1})
	mismatchAt(t, err, "B")
}

// TestACircleOfPointersDoesNotBecomeAValue: that is the types' fault, not damage.
func TestACircleOfPointersDoesNotBecomeAValue(t *testing.T) {
	type old struct{ A selfPointer }
	type now struct{ A int }
	x := &old{}
	x.A = &x.A
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", x)
	mismatchAt(t, err, "circle")
}

// TestACircleThroughInterfacesDoesNotBecomeAValue, wherever in the circle it is noticed.
func TestACircleThroughInterfacesDoesNotBecomeAValue(t *testing.T) {
	type old struct{ A any }
	type now struct{ A int }
	type behind struct{ A *any }
	x := &old{}
	x.A = &x.A
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}}, "x", x)
	mismatchAt(t, err, "circle")
	y := &behind{A: new(any)}
	*y.A = y.A
	_, err = evolved[now](t, []pair{{"t", behind{}, now{}}}, "x", y)
	mismatchAt(t, err, "circle")
}

// TestPointersIntoWhatIsInAnInterfaceNow have nowhere to point to.
func TestPointersIntoWhatIsInAnInterfaceNow(t *testing.T) {
	type in struct{ F, G int }
	type old struct {
		A *in
		N *int
	}
	type now struct {
		A *any
		N *int
	}
	a := &in{}
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"in", in{}, in{}}}, "x", &old{A: a, N: &a.G})
	mismatchAt(t, err, "in")
}

// TestASliceOfOneIsAnObjectUnderAnotherName that converts.
func TestASliceOfOneIsAnObjectUnderAnotherName(t *testing.T) {
	type leaf struct{ A, B int }
	type alike leaf
	type both struct {
		P *alike
		S []leaf
	}
	list := make([]leaf, 3)
	roundTrip(t, "x", &both{P: (*alike)(&list[1]), S: list[1:2:2]})
	roundTrip(t, "x", &both{P: (*alike)(&list[1]), S: list[1:2]})
}
