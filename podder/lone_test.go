package podder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// variableStore reads variables one by one, as a snapshot does, and takes no pod back.
type variableStore struct {
	s    *fakeStore
	read int // variables read into a spare pod
}

func (v *variableStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	return v.s.Pods(ctx, ids)
}
func (v *variableStore) Root(ctx context.Context, name string) (pod.ID, error) {
	return v.s.Root(ctx, name)
}
func (v *variableStore) Type(ctx context.Context, id pod.TypeID) ([]byte, error) {
	return v.s.Type(ctx, id)
}
func (v *variableStore) Secret() [32]byte { return v.s.key }

func (v *variableStore) Variable(ctx context.Context, name string, spare *pod.Pod) (pod.ID, *pod.Pod, error) {
	id, err := v.s.Root(ctx, name)
	if err != nil {
		return 0, nil, err
	}
	p := v.s.pods[id]
	if spare != nil && spare.ReadWhole(pod.AppendWhole(nil, p)) == nil {
		v.read++
		return id, spare, nil
	}
	return id, lent(p), nil
}

type loneAccount struct {
	Balance int64
	Owner   string
	Rate    float64
	Codes   [5]uint16
	Open    bool
	Key     [40]byte
}

type loneNumber uint32

type lonePair struct{ A, B *loneAccount }

// loneValues are variables of all kinds, lone ones first, each with a change that is made
// to what was loaded.
func loneValues() []struct {
	what   string
	lone   bool
	value  any
	change func(any)
} {
	number := loneNumber(7)
	text := strings.Repeat("l", longString)
	return []struct {
		what   string
		lone   bool
		value  any
		change func(any)
	}{
		{"nothing changes", true, &loneAccount{Balance: 1, Owner: "a"}, func(any) {}},
		{"a number", true, &loneAccount{Balance: 1, Owner: "a"}, func(v any) { v.(*loneAccount).Balance = -1 << 40 }},
		{"a string", true, &loneAccount{Balance: 1, Owner: "a"}, func(v any) { v.(*loneAccount).Owner = "somebody else" }},
		{"all", true, &loneAccount{}, func(v any) {
			*v.(*loneAccount) = loneAccount{1, "b", 0.5, [5]uint16{1, 2, 3, 4, 5}, true, [40]byte{39: 9}}
		}},
		{"a string becomes long", true, &loneAccount{Owner: "a"}, func(v any) { v.(*loneAccount).Owner = text }},
		{"a single number", true, &number, func(v any) { *v.(*loneNumber)++ }},
		{"a long string", false, &loneAccount{Owner: text}, func(v any) { v.(*loneAccount).Owner = "short" }},
		{"two objects", false, &lonePair{A: &loneAccount{}}, func(v any) { v.(*lonePair).B = &loneAccount{Balance: 2} }},
		{"a slice", false, &[]int64{1, 2, 3}, func(v any) { (*v.(*[]int64))[1] = 9 }},
		{"a map", false, map[string]int{"a": 1}, func(v any) { v.(map[string]int)["b"] = 2 }},
	}
}

// loadLone loads a variable into an empty graph.
func loadLone(t *testing.T, g *Graph, v *variableStore, name string, typ reflect.Type) any {
	t.Helper()
	vs, err := g.Load(t.Context(), v, []string{name}, []reflect.Type{typ})
	if err != nil {
		t.Fatal(err)
	}
	return vs[0].Interface()
}

// saveLast is the last save of a graph.
func saveLast(t *testing.T, g *Graph, s *fakeStore, pairs ...any) (*fakeTx, Saved) {
	t.Helper()
	tx := s.begin()
	saved, err := g.SaveLast(t.Context(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	sum := *saved
	sum.Roots = map[string]pod.ID{}
	for n, id := range saved.Roots {
		sum.Roots[n] = id
	}
	sum.g, sum.base, sum.next = nil, nil, nil
	saved.Abort()
	return tx, sum
}

// What the last save of a lone variable puts is what a walk puts, and what it says of it too.
func TestALoneVariableIsSavedAsByAWalk(t *testing.T) {
	for _, c := range loneValues() {
		t.Run(c.what, func(t *testing.T) {
			s := newFakeStore()
			mustSave(t, mustGraph(t, s.config()), s, "x", c.value)
			src, typ := &variableStore{s: s}, reflect.TypeOf(c.value)
			pool := NewPool(s.config())
			save := func(settled bool) (*fakeTx, Saved) {
				g, err := pool.Get()
				if err != nil {
					t.Fatal(err)
				}
				defer pool.Put(g)
				v := loadLone(t, g, src, "x", typ)
				if got := g.lone.id != 0; got != c.lone {
					t.Errorf("lone: %v, want %v", got, c.lone)
				}
				if settled {
					g.settle()
				}
				c.change(v)
				return saveLast(t, g, s, "x", v)
			}
			for range 3 { // also with memory that is used again
				tx, sum := save(false)
				walked, want := save(true)
				if !reflect.DeepEqual(tx.pods, walked.pods) || !slices.Equal(tx.changes, walked.changes) || !reflect.DeepEqual(tx.slots, walked.slots) || tx.named != walked.named {
					t.Errorf("put %v (slots %v), a walk %v (slots %v)", tx.pods, tx.slots, walked.pods, walked.slots)
				}
				if !reflect.DeepEqual(sum, want) {
					t.Errorf("says %+v, a walk %+v", sum, want)
				}
			}
			if read := src.read > 0; !read {
				t.Error("nothing was read into a spare pod")
			}
		})
	}
}

// A lone variable whose type is stored otherwise now is written by a walk.
func TestALoneVariableOfAnotherTypeIsWalked(t *testing.T) {
	type before struct{ N int64 }
	type now struct {
		N int64
		M int64
	}
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[before](), "account"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, mustGraph(t, cfg), s, "x", &before{5})
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[now](), "account"); err != nil {
		t.Fatal(err)
	}
	g := mustGraph(t, cfg)
	v := loadLone(t, g, &variableStore{s: s}, "x", reflect.TypeFor[*now]()).(*now)
	v.M = 6
	tx, _ := saveLast(t, g, s, "x", v)
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	again := loadLone(t, mustGraph(t, cfg), &variableStore{s: s}, "x", reflect.TypeFor[*now]()).(*now)
	if *again != (now{5, 6}) {
		t.Errorf("stored as %+v", *again)
	}
}

// Whatever a graph with a lone variable is asked for is as if all had joined it at once.
func TestALoneVariableIsInItsGraph(t *testing.T) {
	type answers struct {
		holds, notHolds, has, inUse bool
		length                      int
		all, from                   []pod.ID
		paths                       string
		second, same                bool
		changes                     int
	}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "x", &loneAccount{Balance: 1}, "y", &loneAccount{Balance: 2})
	root, other := s.names["x"], s.names["y"]
	typ := []reflect.Type{reflect.TypeFor[*loneAccount]()}
	ask := func(settled bool, first int) (a answers) {
		g := mustGraph(t, s.config())
		src := &variableStore{s: s}
		x := loadLone(t, g, src, "x", typ[0]).(*loneAccount)
		if g.lone.id == 0 {
			t.Fatal("not lone")
		}
		if settled {
			g.settle()
		}
		x.Balance++
		questions := []func(){
			func() { a.holds, a.notHolds, a.has = g.Holds(root), g.Holds(other), g.Has(root) },
			func() { a.length, a.all = g.Len(), slices.Collect(g.All()) },
			func() { a.inUse = g.InUse(root, loneObject) && !g.InUse(root, 7) },
			func() {
				set := map[pod.ID]struct{}{}
				g.PodsFrom("x", set)
				for id := range set {
					a.from = append(a.from, id)
				}
			},
			func() {
				paths, err := g.Paths(t.Context(), rootsOf("x", x), []pod.ID{root})
				a.paths = fmt.Sprint(paths, err)
			},
			func() {
				tx := s.begin()
				saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
				if err != nil {
					t.Fatal(err)
				}
				a.changes = len(tx.changes)
				saved.Abort()
			},
			func() {
				if err := g.Follow(t.Context(), src, []pod.ID{root}); err != nil {
					t.Fatal(err)
				}
			},
			func() {
				vs, err := g.Load(t.Context(), src, []string{"x"}, typ)
				if err != nil {
					t.Fatal(err)
				}
				a.same = vs[0].Interface().(*loneAccount) == x && x.Balance == 2
			},
		}
		for i := range questions {
			questions[(first+i)%len(questions)]()
		}
		y := loadLone(t, g, src, "y", typ[0]).(*loneAccount)
		a.second = y != x && y.Balance == 2 && g.Holds(other)
		return a
	}
	for first := range 8 {
		if got, want := ask(false, first), ask(true, first); !reflect.DeepEqual(got, want) || !got.same || got.changes != 1 {
			t.Errorf("from question %d on: %+v, want %+v", first, got, want)
		}
	}
}

// One object that was a lone variable's and is another's too when it is saved, or is replaced, or is
// the value of a variable that was forgotten, is stored as by a walk.
func TestALoneVariableWithOthers(t *testing.T) {
	for seed := range uint64(40) {
		s := newFakeStore()
		mustSave(t, mustGraph(t, s.config()), s, "x", &loneAccount{Balance: 1})
		run := func(settled bool) string {
			rng := rand.New(rand.NewPCG(seed, 0))
			g, begun := mustGraph(t, s.config()), s.last
			defer func() { s.last = begun }()
			x := loadLone(t, g, &variableStore{s: s}, "x", reflect.TypeFor[*loneAccount]()).(*loneAccount)
			if settled {
				g.settle()
			}
			if rng.IntN(2) == 0 {
				x.Balance = 5
			}
			roots := []any{"x", x}
			switch rng.IntN(5) {
			case 0:
				roots = append(roots, "y", x)
			case 1:
				roots = append(roots, "y", &lonePair{A: x})
			case 2:
				roots = []any{"x", &loneAccount{Balance: 6}}
			case 3:
				roots = []any{"y", x}
			case 4:
				g.Forget("x")
			}
			tx, sum := saveLast(t, g, s, roots...)
			var pods []string
			for _, id := range tx.changes {
				pods = append(pods, fmt.Sprintf("%d: %+v", id, *tx.pods[id]))
			}
			return fmt.Sprint(pods, tx.names, sum.Roots, sum.Objects, sum.Pods)
		}
		if got, want := run(false), run(true); got != want {
			t.Errorf("seed %d: stored %s, want %s", seed, got, want)
		}
	}
}
