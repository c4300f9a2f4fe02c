package podder

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/pod"
)

// A rnd is a node of a random graph: it may refer to every other part of the
// graph in every way that Go has.
type rnd struct {
	ID    int
	P     *rnd
	In    *int
	Small *rndSmall
	Str   *string
	Objs  []rnd
	Ptrs  []*rnd
	Ints  []int
	Bytes []byte
	Anys  []any
	M     map[string]*rnd
	Keys  map[*rnd]float32
	AnyM  map[any]any
	Any   any
	S     string
	T     time.Time
	Arr   [3]rndSmall
	Slice []rndSmall
	Emp   *struct{}
	rndHidden
}

type rndSmall struct {
	A, B int
	F    float64
	next *rndSmall
}

type rndHidden struct {
	u8   uint8
	c    complex64
	flag bool
	pp   **rnd
	err  error
}

type rndErr struct{ at *rnd }

func (e rndErr) Error() string { return "rnd" }

// rndGraph makes nodes, some alone and some inside shared arrays, and then sets
// their fields at random.
type rndGraph struct {
	r      *rand.Rand
	nodes  []*rnd
	arrays [][]rnd
	ints   [][]int
	bytes  [][]byte
	ptrs   [][]*rnd
	anys   [][]any
	smalls [][]rndSmall
	maps   []map[string]*rnd
	keys   []map[*rnd]float32
	anyMs  []map[any]any
	long   []string
	nextID int
}

func newRndGraph(r *rand.Rand, n int) *rndGraph {
	g := &rndGraph{r: r}
	for range n {
		g.nodes = append(g.nodes, g.node(&rnd{}))
	}
	for range 1 + n/10 {
		a := make([]rnd, 1+r.IntN(5), 6)
		for i := range a {
			g.nodes = append(g.nodes, g.node(&a[i]))
		}
		g.arrays = append(g.arrays, a)
		g.ints = append(g.ints, make([]int, 1+r.IntN(40), 50))
		g.bytes = append(g.bytes, make([]byte, 1+r.IntN(3000)))
		g.ptrs = append(g.ptrs, make([]*rnd, r.IntN(20), 20))
		g.anys = append(g.anys, make([]any, r.IntN(20), 21))
		g.smalls = append(g.smalls, make([]rndSmall, 1+r.IntN(4)))
		g.maps = append(g.maps, map[string]*rnd{})
		g.keys = append(g.keys, map[*rnd]float32{})
		g.anyMs = append(g.anyMs, map[any]any{})
		g.long = append(g.long, strings.Repeat(fmt.Sprint("long", r.Uint64()), 400))
	}
	for _, n := range g.nodes {
		g.set(n, 19)
	}
	return g
}

func (g *rndGraph) node(n *rnd) *rnd {
	g.nextID++
	n.ID = g.nextID
	return n
}

func rndOne[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// rndPart returns a random part of a slice with a random capacity.
func rndPart[T any](r *rand.Rand, s []T) []T {
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
		return s[:0:0]
	}
	lo := r.IntN(len(s) + 1)
	hi := lo + r.IntN(len(s)-lo+1)
	return s[lo : hi : hi+r.IntN(cap(s)-hi+1)]
}

func (g *rndGraph) small() *rndSmall {
	if g.r.IntN(2) == 0 {
		return &rndOne(g.r, g.nodes).Arr[g.r.IntN(3)]
	}
	return &rndOne(g.r, g.smalls)[0]
}

func (g *rndGraph) any() any {
	r := g.r
	switch r.IntN(16) {
	case 0:
		return rndOne(r, g.nodes)
	case 1:
		return r.IntN(1000)
	case 2:
		return "text"
	case 3:
		return rndOne(r, g.anys)
	case 4:
		return rndOne(r, g.maps)
	case 5:
		return rndOne(r, g.anyMs)
	case 6:
		return *rndOne(r, g.nodes).pick(g)
	case 7:
		return rndErr{rndOne(r, g.nodes)}
	case 8:
		return (*rnd)(nil)
	case 9:
		return time.Unix(r.Int64N(1e10), r.Int64N(1e9)).UTC()
	case 10:
		return [1]*rnd{rndOne(r, g.nodes)}
	case 11:
		return math.Float64frombits(r.Uint64())
	case 12:
		return rndPart(r, rndOne(r, g.ints))
	case 13:
		return [2]any{rndOne(r, g.nodes), []string{"a", "b"}}
	case 14:
		return true
	}
	return nil
}

func (n *rnd) pick(g *rndGraph) *rndSmall { return g.small() }

// set gives count random fields of n random values.
func (g *rndGraph) set(n *rnd, count int) {
	r := g.r
	for range count {
		switch r.IntN(24) {
		case 0:
			n.P = rndOne(r, g.nodes)
		case 1:
			n.In = rndOne(r, []*int{&rndOne(r, g.nodes).ID, &rndOne(r, g.ints)[0], &g.small().B, nil})
		case 2:
			n.Small = g.small()
		case 3:
			n.Str = &rndOne(r, g.nodes).S
		case 4:
			n.Objs = rndPart(r, rndOne(r, g.arrays))
		case 5:
			n.Ptrs = rndPart(r, rndOne(r, g.ptrs))
		case 6:
			n.Ints = rndPart(r, rndOne(r, g.ints))
		case 7:
			n.Bytes = rndPart(r, rndOne(r, g.bytes))
		case 8:
			n.Anys = rndPart(r, rndOne(r, g.anys))
		case 9:
			n.M = rndOne(r, g.maps)
		case 10:
			n.Keys = rndOne(r, g.keys)
		case 11:
			n.AnyM = rndOne(r, g.anyMs)
		case 12:
			n.Any = g.any()
		case 13:
			l := rndOne(r, g.long)
			n.S = rndOne(r, []string{"", "short", l, l[r.IntN(len(l)):]})
		case 14:
			n.T = time.Unix(r.Int64N(1e12)-5e11, r.Int64N(1e9)).In(rndOne(r, []*time.Location{time.UTC, time.Local, time.FixedZone("f", 60*r.IntN(9))}))
		case 15:
			n.Arr[r.IntN(3)] = rndSmall{A: int(r.Uint64()), F: math.Float64frombits(r.Uint64()), next: g.small()}
		case 16:
			n.Slice = rndOne(r, [][]rndSmall{rndOne(r, g.smalls), rndOne(r, g.nodes).Arr[r.IntN(3):], nil})
		case 17:
			n.Emp = rndOne(r, []*struct{}{nil, {}})
		case 18:
			n.u8, n.c, n.flag = uint8(r.Uint32()), complex(1, float32(math.NaN())), !n.flag
		case 19:
			n.pp = &rndOne(r, g.nodes).P
		case 20:
			n.err = rndOne(r, []error{nil, rndErr{n}, rndErr{}})
		default:
			g.fill()
		}
	}
}

// fill changes one of the shared containers.
func (g *rndGraph) fill() {
	r := g.r
	n := rndOne(r, g.nodes)
	switch r.IntN(9) {
	case 0:
		rndOne(r, g.ints)[0] = int(r.Uint64())
	case 1:
		b := rndOne(r, g.bytes)
		b[r.IntN(len(b))] = byte(r.Uint32())
	case 2:
		if p := rndOne(r, g.ptrs); len(p) > 0 {
			p[r.IntN(len(p))] = n
		}
	case 3:
		if a := rndOne(r, g.anys); len(a) > 0 {
			a[r.IntN(len(a))] = g.any()
		}
	case 4:
		s := rndOne(r, g.smalls)
		s[r.IntN(len(s))].B = r.IntN(99)
	case 5:
		rndOne(r, g.maps)[fmt.Sprint(r.IntN(30))] = n
	case 6:
		rndOne(r, g.keys)[n] = r.Float32()
	case 7:
		m := rndOne(r, g.anyMs)
		m[rndOne(r, []any{n, r.IntN(9), "k", rndErr{n}, [2]any{n, 1}, rndSmall{A: r.IntN(4)}})] = g.any()
	case 8:
		delete(rndOne(r, g.maps), fmt.Sprint(r.IntN(30)))
	}
}

func rndRegistry(t *testing.T) *Registry {
	t.Helper()
	reg := NewRegistry()
	for _, typ := range []reflect.Type{reflect.TypeFor[rnd](), reflect.TypeFor[rndErr](), reflect.TypeFor[rndSmall](), timeType} {
		if err := reg.Register(typ, ""); err != nil {
			t.Fatal(err)
		}
	}
	return reg
}

func (s *fakeStore) snapshot() *fakeStore {
	c := *s
	c.pods, c.types, c.names = maps.Clone(s.pods), maps.Clone(s.types), maps.Clone(s.names)
	return &c
}

var deepFlag = flag.Bool("podder.deep", false, "all seeds of the random tests, not some of them")

// sample is how many seeds a random test tries: all with -podder.deep, some in
// go test, few with -short, as the race detector runs it.
func sample(all, some, few uint64) uint64 {
	switch {
	case *deepFlag:
		return all
	case testing.Short():
		return few
	}
	return some
}

// TestRandomGraphsComeBack saves random graphs, changes them, and checks for
// each version: decoding gives an isomorphic graph; loading into a new graph
// and saving writes nothing, also when the variables come one after the other;
// restoring an older version in place gives that version, and saving after it
// makes it the newest. Replay: go test -run TestRandomGraphsComeBack, seed as
// printed.
func TestRandomGraphsComeBack(t *testing.T) {
	for seed := range sample(150, 40, 5) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomGraph(t, seed) })
	}
}

func randomGraph(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	rg := newRndGraph(r, 1+r.IntN(40))
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = rndRegistry(t)
	cfg.TargetBytes = 200 + r.IntN(3000)
	cfg.Strategy = stStrategy(s, seed)
	g := mustGraph(t, cfg)
	x, y := rg.nodes[0], rg.nodes[len(rg.nodes)/2]
	var old *fakeStore
	for round := range 4 {
		mustSave(t, g, s, "x", x, "y", y)
		mustStayQuiet(t, g, s, "x", x, "y", y)
		checkStored(t, s, cfg, x, y)
		if old != nil && round == 3 {
			checkRestore(t, g, old, s, cfg, x, y)
			return
		}
		old = s.snapshot()
		for range 1 + r.IntN(10) {
			rg.set(rndOne(r, rg.nodes), 1+r.IntN(4))
		}
	}
}

var tRnd = reflect.TypeFor[*rnd]()

func decodeXY(t *testing.T, s *fakeStore, cfg Config) [2]*rnd {
	t.Helper()
	vs, err := Decode(t.Context(), cfg, s, []string{"x", "y"}, []reflect.Type{tRnd, tRnd})
	if err != nil {
		t.Fatal(err)
	}
	return [2]*rnd{vs[0].Interface().(*rnd), vs[1].Interface().(*rnd)}
}

func checkIso(t *testing.T, what string, want, got [2]*rnd) {
	t.Helper()
	if err := isomorphic(reflect.ValueOf(want), reflect.ValueOf(got)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func checkStored(t *testing.T, s *fakeStore, cfg Config, x, y *rnd) {
	t.Helper()
	want := [2]*rnd{x, y}
	checkIso(t, "decode", want, decodeXY(t, s, cfg))
	cfg.Strategy = SplitAll() // others than it was written with
	g := mustGraph(t, cfg)
	var got [2]*rnd
	for i, name := range []string{"y", "x"} {
		vs, err := g.Load(t.Context(), s, []string{name}, []reflect.Type{tRnd})
		if err != nil {
			t.Fatal(err)
		}
		got[1-i] = vs[0].Interface().(*rnd)
		if i == 0 {
			mustStayQuiet(t, g, s, "y", got[1])
		}
	}
	checkIso(t, "load one after the other", want, got)
	mustStayQuiet(t, g, s, "x", got[0], "y", got[1])
}

func checkRestore(t *testing.T, g *Graph, old, head *fakeStore, cfg Config, x, y *rnd) {
	t.Helper()
	res, err := g.Restore(t.Context(), old, []string{"x", "y"}, History{Head: func(ids []pod.ID) ([]*pod.Pod, error) {
		now := make([]*pod.Pod, len(ids))
		for i, id := range ids {
			if old.pods[id] != head.pods[id] {
				now[i] = head.pods[id]
			}
		}
		return now, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := [2]*rnd{res.Values["x"].Interface().(*rnd), res.Values["y"].Interface().(*rnd)}
	if got != [2]*rnd{x, y} || len(res.Moved) != 0 {
		t.Fatalf("roots moved: %v", res.Moved)
	}
	want := decodeXY(t, old, cfg)
	checkIso(t, "restore", want, got)
	mustSave(t, g, head, "x", x, "y", y)
	checkIso(t, "head after restore and save", want, decodeXY(t, head, cfg))
	mustStayQuiet(t, g, head, "x", x, "y", y)
	checkStored(t, head, cfg, x, y)
}
