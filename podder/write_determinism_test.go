package podder

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"testing"
)

// testSeed is the seed of random tests; PODDER_SEED replays one.
func testSeed(t testing.TB) uint64 {
	seed := rand.Uint64()
	if s := os.Getenv("PODDER_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("replay: PODDER_SEED=%d go test -run '^%s$' ./podder", seed, t.Name())
	return seed
}

type dNode struct {
	ID    int
	Name  string
	Next  *dNode
	Other []*dNode
	Any   any
	ByKey map[string]*dNode
	ByPtr map[*dNode]int
	Part  *int
}

// dGraph builds the same graph whatever the allocation order of its nodes.
func dGraph(n int, alloc *rand.Rand) *dNode {
	nodes := make([]*dNode, n)
	var keep [][]byte
	for _, i := range alloc.Perm(n) {
		keep = append(keep, make([]byte, alloc.IntN(200)))
		nodes[i] = &dNode{}
	}
	r := rand.New(rand.NewPCG(1, 2)) // the shape is fixed
	pick := func() *dNode { return nodes[r.IntN(n)] }
	for i, d := range nodes {
		d.ID, d.Name = i, fmt.Sprint("node", i)
		d.Next = pick()
		for range r.IntN(4) {
			d.Other = append(d.Other, pick())
		}
		switch r.IntN(6) {
		case 0:
			d.Any = i
		case 1:
			d.Any = []any{d, "s", map[any]any{"k": pick(), i: 1.5}}
		case 2:
			d.ByKey = map[string]*dNode{}
			for _, k := range alloc.Perm(20) {
				d.ByKey[fmt.Sprint("key", k)] = nodes[(i*31+k)%n]
			}
		case 3:
			d.ByPtr = map[*dNode]int{}
			for _, k := range alloc.Perm(10) {
				d.ByPtr[nodes[(i*17+k)%n]] = k
			}
		case 4:
			d.Part = &pick().ID
		}
	}
	for i := range nodes[1:] { // everything is reached
		nodes[i].Other = append(nodes[i].Other, nodes[i+1])
	}
	runtime.KeepAlive(keep)
	return nodes[0]
}

func canonical(t *testing.T, roots ...any) []byte {
	t.Helper()
	reg := NewRegistry()
	b, err := Canonical(Config{Registry: reg}, rootsOf(roots...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBytesDoNotDependOnAddressesMapOrderOrProcessors(t *testing.T) {
	seed := testSeed(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first []byte
	for i := range 6 {
		runtime.GOMAXPROCS(1 + i%3)
		runtime.GC()
		x := dGraph(3000, rand.New(rand.NewPCG(seed, uint64(i))))
		b := canonical(t, "x", x, "y", x.Other[0])
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			k := 0
			for k < min(len(b), len(first)) && b[k] == first[k] {
				k++
			}
			t.Fatalf("run %d: %d and %d bytes, first difference at %d", i, len(first), len(b), k)
		}
	}
}

func TestRandomGraphsRoundTripAndStayQuiet(t *testing.T) {
	seed := testSeed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	for range sample(8, 4, 2) {
		n := 2 + r.IntN(2000)
		x := dGraph(n, r)
		cfg := Config{TargetBytes: 64 << r.IntN(10)}
		roundTripWith(t, cfg, "x", x, "y", x.Other[0])
	}
}

// TestMutatedGraphsReadBackAfterEverySave changes, saves and loads, again and
// again, and compares with the live graph.
func TestMutatedGraphsReadBackAfterEverySave(t *testing.T) {
	seed := testSeed(t)
	r := rand.New(rand.NewPCG(seed, 2))
	for range 4 {
		s := newFakeStore()
		cfg := Config{Secret: s.key, TargetBytes: 128 << r.IntN(6)}
		g := mustGraph(t, cfg)
		var all []*dNode
		for i := range 50 + r.IntN(300) {
			all = append(all, &dNode{ID: i})
		}
		x := &struct{ Items []*dNode }{}
		y := &dNode{}
		for range 25 {
			for range r.IntN(30) {
				mutateGraph(r, all)
			}
			x.Items = nil
			for range r.IntN(20) {
				x.Items = append(x.Items, all[r.IntN(len(all))])
			}
			y.Other = []*dNode{all[r.IntN(len(all))]}
			mustSave(t, g, s, "x", x, "y", y)
			mustStayQuiet(t, g, s, "x", x, "y", y)
			g2, vs := reload(t, s, cfg, "x", x, "y", y)
			for i, live := range []any{x, y} {
				if err := isomorphic(reflect.ValueOf(live), vs[i]); err != nil {
					t.Fatal(err)
				}
			}
			if r.IntN(4) == 0 { // go on with what was loaded
				g = g2
				x, y = vs[0].Interface().(*struct{ Items []*dNode }), vs[1].Interface().(*dNode)
				all = all[:0]
				seen := map[*dNode]bool{}
				for todo := append([]*dNode{y}, x.Items...); len(todo) > 0; {
					d := todo[0]
					todo = todo[1:]
					if d != nil && !seen[d] {
						seen[d] = true
						all = append(all, d)
						todo = append(append(todo, d.Next), d.Other...)
					}
				}
				// Distinct: the comparison pairs pointer keys by what is near them.
				all = append(all, &dNode{ID: 1000 + r.IntN(1<<30)}, &dNode{ID: 1000 + r.IntN(1<<30)}, &dNode{ID: 1000 + r.IntN(1<<30)})
			}
		}
	}
}

func mutateGraph(r *rand.Rand, all []*dNode) {
	d := all[r.IntN(len(all))]
	pick := func() *dNode { return all[r.IntN(len(all))] }
	switch r.IntN(9) {
	case 0:
		d.Next = pick()
	case 1:
		d.Other = append(d.Other, pick())
	case 2:
		d.Other = d.Other[len(d.Other)/2:]
	case 3:
		d.Name = fmt.Sprint(r.Int())
	case 4:
		d.Part = &pick().ID
	case 5:
		d.Any = []any{pick().Other, r.IntN(5)}
	case 6:
		d.Next, d.Any, d.Part = nil, nil, nil
	case 7:
		if d.ByKey == nil {
			d.ByKey = map[string]*dNode{}
		}
		d.ByKey[fmt.Sprint(r.IntN(20))] = pick()
	case 8:
		if d.ByPtr == nil {
			d.ByPtr = map[*dNode]int{}
		}
		d.ByPtr[pick()] = r.IntN(5)
	}
}
