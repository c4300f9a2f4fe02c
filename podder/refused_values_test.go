package podder

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// A time whose zone has a name too long to be stored is refused like any other value,
// with every path and what to do, wherever it is and whatever wrote it.
func TestTimesWithEndlessZoneNamesAreRefusedWithTheirPaths(t *testing.T) {
	type inner struct{ At time.Time }
	type holder struct {
		In    []inner
		None  any // visited before
		Any   any
		Ptr   *time.Time
		Array [2]inner
		Elems map[string]time.Time
		Keys  map[time.Time]int
		Loc   *time.Location
		Many  []inner
	}
	at := time.Unix(1, 0).In(time.FixedZone(strings.Repeat("z", 300), 3600))
	good := time.Unix(1, 0).In(time.FixedZone(strings.Repeat("z", 255), 3600))
	fresh := func(size int) *holder {
		return &holder{In: []inner{{good}, {good}}, Ptr: new(good), Elems: map[string]time.Time{"a": good, "b": good}, Keys: map[time.Time]int{good: 1}, Many: make([]inner, size)}
	}
	cases := map[string]struct {
		spoil func(x *holder)
		paths []string
	}{
		"element":          {func(x *holder) { x.In[1].At = at }, []string{"x.In[1].At"}},
		"interface":        {func(x *holder) { x.Any = at }, []string{"x.Any"}},
		"behind a pointer": {func(x *holder) { *x.Ptr = at }, []string{"x.Ptr"}},
		"array":            {func(x *holder) { x.Array[1].At = at }, []string{"x.Array[1].At"}},
		"map element":      {func(x *holder) { x.Elems["b"] = at }, []string{`x.Elems["b"]`}},
		"map key":          {func(x *holder) { x.Keys = map[time.Time]int{at: 1} }, []string{"x.Keys[1970-01-01T01:00:01+01:00](key)"}},
		"location":         {func(x *holder) { x.Loc = at.Location() }, []string{"x.Loc"}},
		"long list":        {func(x *holder) { x.Many[len(x.Many)-2].At = at }, []string{"x.Many[%d].At"}},
		"two of a region":  {func(x *holder) { x.In[0].At, x.In[1].At = at, at }, []string{"x.In[0].At", "x.In[1].At"}},
	}
	for name, c := range cases {
		for _, size := range []int{4, 20_000} { // these are in chunks
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				paths := slices.Clone(c.paths)
				for i, p := range paths {
					if strings.Contains(p, "%d") {
						paths[i] = fmt.Sprintf(p, size-2)
					}
				}
				s := newFakeStore()
				g := mustGraph(t, indexed(s))
				x := fresh(size)
				c.spoil(x)
				mustRefuse(t, g, s, x, paths...)
				mustSave(t, g, s, "x", fresh(size))

				s = newFakeStore()
				g = mustGraph(t, indexed(s))
				x = fresh(size)
				mustSave(t, g, s, "x", x)
				mustStayQuiet(t, g, s, "x", x)
				c.spoil(x)
				mustRefuse(t, g, s, x, paths...)
				mustRefuse(t, g, s, x, paths...)
			})
		}
	}
	// A walk finds them in all regions.
	s := newFakeStore()
	x := fresh(20_000)
	var paths []string
	for _, name := range []string{"element", "interface", "behind a pointer", "array", "map element", "map key"} {
		cases[name].spoil(x)
		paths = append(paths, cases[name].paths...)
	}
	x.Many[7].At, x.Many[19_999].At = at, at
	mustRefuse(t, mustGraph(t, s.config()), s, x, append(paths, "x.Many[7].At", "x.Many[19999].At")...)
}

// mustRefuse saves x and fails unless exactly the values at these paths are refused,
// for a reason that says what to do.
func mustRefuse(t *testing.T, g *Graph, s *fakeStore, x any, paths ...string) {
	t.Helper()
	_, err := g.Save(t.Context(), rootsOf("x", x), s.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || !errors.Is(err, dberr.ErrUnsupported) || errors.Is(err, dberr.ErrUnregistered) {
		t.Fatalf("error %v", err)
	}
	var got []string
	for _, p := range u.Problems {
		got = append(got, p.Path)
		if !strings.Contains(p.Reason, "300 bytes") || !strings.Contains(p.Reason, "use one with a shorter name") || p.Err == nil {
			t.Errorf("problem %+v", p)
		}
	}
	slices.Sort(got)
	slices.Sort(paths)
	if !slices.Equal(got, paths) {
		t.Errorf("refused %q, want %q", got, paths)
	}
}
