package podder

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

type strayLink struct {
	Gone strayPart
	N    int
}
type strayPart struct{ Next *strayPart }
type strayLinkNow struct{ N int }

// What points into a removed field, or an element that an array has lost, gets
// the part as an object of its own, one for all, and the program hears of it.
func TestReferencesIntoWhatHasGoneGetObjectsOfTheirOwn(t *testing.T) {
	type old struct {
		A    int
		Gone innerOld
		Arr  [4]int
		List []int
	}
	type now struct {
		A   int
		Arr [2]int
	}
	s := newFakeStore()
	pairs := []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}
	x := &old{A: 1, Gone: innerOld{2, "two"}, Arr: [4]int{5, 6}}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x, "gone", &x.Gone, "text", &x.Gone.S, "kept", &x.Arr[1], "lost", &x.Arr[3], "lost too", &x.Arr[3])
	cfg := configOf(t, s, pairs, true)
	var warned []string
	cfg.Warn = func(_ context.Context, what string) { warned = append(warned, what) }
	g := mustGraph(t, cfg)
	names := []string{"x", "gone", "text", "kept", "lost", "lost too"}
	want := []reflect.Type{reflect.TypeFor[*now](), reflect.TypeFor[*innerNow](), nil, nil, nil, nil}
	vs, err := g.Load(context.Background(), s, names, want)
	if err != nil {
		t.Fatal(err)
	}
	n, gone := vs[0].Interface().(*now), vs[1].Interface().(*innerNow)
	if *gone != (innerNow{"two", 2}) || vs[2].Interface() != any(&gone.S) || vs[3].Interface() != any(&n.Arr[1]) || *vs[4].Interface().(*int) != 0 || vs[4].Interface() != vs[5].Interface() {
		t.Errorf("loaded %v", vs)
	}
	if all := strings.Join(warned, "\n"); len(warned) != 2 || !strings.Contains(all, "t.Gone (inner)") || !strings.Contains(all, "element 3 of [4]int") {
		t.Errorf("warned %q", warned)
	}
	// Saved in the new form, each is an object like any other.
	var all []any
	for i, name := range names {
		all = append(all, name, vs[i].Interface())
	}
	mustSave(t, g, s, all...)
	mustStayQuiet(t, g, s, all...)
	warned = nil
	_, again := reload(t, s, cfg, all...)
	for i := range vs {
		if err := isomorphic(vs[i], again[i]); err != nil || len(warned) > 0 {
			t.Errorf("%s: %v, %q", names[i], err, warned)
		}
	}
}

// If the field was not written any more when the variable is loaded, its value is
// gone, and known to be.
func TestReferencesIntoWhatIsNoLongerStoredAreZero(t *testing.T) {
	type old struct{ A, Gone int }
	type now struct{ A int }
	s := newFakeStore()
	pairs := []pair{{"t", old{}, now{}}}
	x := &old{1, 2}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x, "gone", &x.Gone)
	cfg := configOf(t, s, pairs, true)
	g := mustGraph(t, cfg)
	vs, err := g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*now]()})
	if err != nil {
		t.Fatal(err)
	}
	mustSave(t, g, s, "x", vs[0].Interface())
	warned := ""
	cfg.Warn = func(_ context.Context, what string) { warned += what }
	got, err := Decode(context.Background(), cfg, s, []string{"gone", "x"}, []reflect.Type{reflect.TypeFor[*int](), reflect.TypeFor[*now]()})
	if err != nil || *got[0].Interface().(*int) != 0 || !strings.Contains(warned, "t.Gone (int), a field that is no longer stored") {
		t.Errorf("loaded %v, %v, warned %q", got, err, warned)
	}
	if got[1].Interface().(*now).A != 1 {
		t.Errorf("loaded %v", got[1])
	}
}

// A chain of such parts as long as the data is no chain of calls.
func TestStraysDoNotNestCalls(t *testing.T) {
	const n = 200_000
	s := newFakeStore()
	pairs := []pair{{"link", strayLink{}, strayLinkNow{}}, {"part", strayPart{}, strayPart{}}}
	links := make([]*strayLink, n)
	for i := range links {
		links[i] = &strayLink{N: i}
	}
	for i := range n - 1 {
		links[i].Gone.Next = &links[i+1].Gone
	}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", &links, "part", &links[0].Gone)
	vs, err := Decode(context.Background(), configOf(t, s, pairs, true), s, []string{"part", "x"}, []reflect.Type{reflect.TypeFor[*strayPart](), reflect.TypeFor[*[]*strayLinkNow]()})
	if err != nil {
		t.Fatal(err)
	}
	length := 0
	for p := vs[0].Interface().(*strayPart); p != nil; p = p.Next {
		length++
	}
	if length != n {
		t.Errorf("%d parts, want %d", length, n)
	}
}

// What needs more elements than an array has now gets an error that says so, and what
// to do; damage is not taken for it.
func TestReferencesBeyondAShorterArrayAreRefusedForThat(t *testing.T) {
	type old struct {
		A  [5]int
		P  *[5]int
		T  []int
		TT []int
		Q  *[2]int
	}
	type now struct {
		A  [3]int
		P  *[5]int
		T  []int
		TT []int
		Q  *[2]int
	}
	for name, c := range map[string]struct {
		lead func(x *old)
		want string
	}{
		"from inside":     {func(x *old) { x.T = x.A[2:] }, "[]int refers to elements 2 to 4 of [5]int, of which 5 are stored, and the program has 3: give the array its 5 elements again"},
		"all":             {func(x *old) { x.T = x.A[:] }, "[]int refers to elements 0 to 4 of [5]int"},
		"room behind":     {func(x *old) { x.T = x.A[1:2] }, "[]int refers to elements 1 to 4 of [5]int"},
		"from outside":    {func(x *old) { x.T = x.A[3:] }, "[]int refers to elements 3 to 4 of [5]int"},
		"array of some":   {func(x *old) { x.Q = (*[2]int)(x.A[2:]) }, "*[2]int refers to elements 2 to 3 of [5]int"},
		"what is left":    {func(x *old) { x.T, x.TT, x.Q = x.A[:3:3], x.A[4:], (*[2]int)(x.A[1:]) }, ""},
		"the other array": {func(x *old) { x.P = new([5]int); x.T = x.P[2:] }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			pairs := []pair{{"t", old{}, now{}}}
			x := &old{A: [5]int{1, 2, 3}}
			c.lead(x)
			mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x)
			_, err := Decode(t.Context(), configOf(t, s, pairs, true), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*now]()})
			switch {
			case c.want == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), c.want):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
