package podder

import (
	"context"
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

type farNode struct {
	F    func()
	Next *farNode
}

// farProblems is a list of n nodes, of which the last ones hold what cannot be stored.
func farProblems(n, last int) *farNode {
	var x *farNode
	for i := range n {
		x = &farNode{Next: x}
		if i < last {
			x.F = func() {}
		}
	}
	return x
}

// However deep or large what holds the problems is: all paths together take a few steps
// for each region and each value of them, and a few for each problem.
func TestAllPathsTogetherTakeFewSteps(t *testing.T) {
	f := func() {}
	m := map[int]func(){}
	for i := range 5000 {
		m[i] = f
	}
	a := &[5000]func(){}
	for i := range a {
		a[i] = f
	}
	var below []*farNode
	for range 1000 {
		below = append(below, &farNode{F: f})
	}
	type fan struct{ To []*farNode }
	for name, c := range map[string]struct {
		x           any
		size, found int
	}{
		"list":           {farProblems(100_000, 5000), 100_000, 5000},
		"map":            {m, 5000, 5000},
		"array":          {a, 5000, 5000},
		"slice":          {a[:], 5000, 5000},
		"below a slice":  {&fan{below}, 2000, 1000},
		"many variables": {nil, 2000, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			g := mustGraph(t, s.config())
			w := newWalk(t.Context(), g)
			defer func() {
				w.st.release()
				w.end()
			}()
			roots := rootsOf("x", c.x)
			if c.x == nil {
				roots = nil
				for _, b := range below {
					roots = append(roots, rootsOf("x", b)...)
				}
			}
			var u *dberr.UnsupportedError
			if err := w.discover(roots); !errors.As(err, &u) || len(u.Problems) != c.found {
				t.Fatalf("%d problems of %d", len(u.Problems), c.found)
			}
			f := newPathFinder(w)
			f.locate(w.problems)
			for _, p := range w.problems {
				f.want(p.region)
			}
			for _, p := range w.problems {
				f.pathTo(p.region)
			}
			if most := 8*c.size + 3*lineEvery*c.found; f.ticks > most {
				t.Errorf("%d steps, at most %d are few", f.ticks, most)
			}
		})
	}
}

// endsAfter is a context that ends after it was asked some times.
type endsAfter struct {
	context.Context
	asked, after int
}

func (c *endsAfter) Err() error {
	if c.asked++; c.asked > c.after {
		return context.Canceled
	}
	return nil
}

// A context ends the search for paths, too.
func TestContextsEndTheSearchForPaths(t *testing.T) {
	s := newFakeStore()
	x := farProblems(100_000, 5000)
	save := func(x *farNode, after int) (asked int, err error) {
		ctx := &endsAfter{t.Context(), 0, after}
		w := newWalk(ctx, mustGraph(t, s.config()))
		defer func() {
			w.st.release()
			w.end()
		}()
		err = w.discover(rootsOf("x", x))
		return ctx.asked, err
	}
	before, err := save(farProblems(100_000, 0), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	all, err := save(x, 1<<30)
	if !errors.Is(err, dberr.ErrUnsupported) || all < before+20 {
		t.Fatalf("asked %d times, %d of them for paths: %v", all, all-before, err)
	}
	for n := before; n < all; n += 7 {
		if asked, err := save(x, n); err != context.Canceled || asked != n+1 {
			t.Errorf("ended when asked for the time %d, asked for %d: %v", n+1, asked, err)
		}
	}
}
