package podder

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/poddb/poddb/internal/dberr"
)

func indexed(s *fakeStore) Config {
	cfg := s.config()
	cfg.Index, cfg.VerifyEvery = true, 1
	return cfg
}

// Random graphs are changed a little and saved again and again. Each save that does
// without a walk is followed by one (VerifyEvery), and what is stored is loaded and
// compared. Some saves are aborted, some fail in the sink: the next one finds the same
// changes again.
func TestSavesWithoutAWalkMissNothing(t *testing.T) {
	resaves, saves := 0, 0
	for seed := range sample(25, 10, 2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			n, m := resaveRandom(t, seed)
			resaves, saves = resaves+n, saves+m
		})
	}
	if t.Logf("%d of %d saves did without a walk", resaves, saves); resaves < saves/3 {
		t.Errorf("%d of %d saves did without a walk: the test says little", resaves, saves)
	}
}

func resaveRandom(t *testing.T, seed uint64) (resaves, saves int) {
	r := rand.New(rand.NewPCG(seed, 7))
	rg := newRndGraph(r, 1+r.IntN(40))
	s := newFakeStore()
	cfg := indexed(s)
	cfg.Registry = rndRegistry(t)
	cfg.TargetBytes = 200 + r.IntN(3000)
	cfg.Strategy = stStrategy(s, seed)
	g := mustGraph(t, cfg)
	x, y := rg.nodes[0], rg.nodes[len(rg.nodes)/2]
	roots := rootsOf("x", x, "y", y)
	for round := range 30 {
		tx := s.begin()
		fails := r.IntN(8) == 0
		if fails {
			tx.fail = errors.New("sink")
		}
		saved, err := g.Save(t.Context(), roots, tx)
		switch {
		case fails && err != nil:
			if !errors.Is(err, tx.fail) {
				t.Fatal(err)
			}
			continue
		case err != nil:
			t.Fatalf("round %d: %v", round, err)
		case r.IntN(6) == 0:
			saved.Abort()
			continue
		}
		if saves++; !saved.Walked {
			resaves++
		}
		if err := tx.commit(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		saved.Commit()
		checkStored(t, s, plainConfig(cfg), x, y)
		for range r.IntN(5) {
			if r.IntN(12) == 0 {
				rg.nodes = append(rg.nodes, rg.node(&rnd{}))
			}
			rg.set(rndOne(r, rg.nodes), 1+r.IntN(3))
		}
		if r.IntN(10) == 0 {
			runtime.GC()
		}
		if r.IntN(15) == 0 { // another state of pods that the graph knows
			if _, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{tRnd}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return resaves, saves
}

func plainConfig(cfg Config) Config {
	cfg.Index = false
	return cfg
}

// resaved saves and commits, and reports whether it did without a walk.
func resaved(t *testing.T, g *Graph, s *fakeStore, pairs ...any) (*fakeTx, bool) {
	t.Helper()
	tx := s.begin()
	saved, err := g.Save(t.Context(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	done := !saved.Walked
	saved.Commit()
	return tx, done
}

// mustResave is resaved for a save that can do without a walk.
func mustResave(t *testing.T, g *Graph, s *fakeStore, pairs ...any) *fakeTx {
	t.Helper()
	tx, done := resaved(t, g, s, pairs...)
	if !done {
		t.Fatal("the save walked")
	}
	return tx
}

type resaveNode struct {
	Name string
	N    int
	Next *resaveNode
	Tags []string
	Any  any
	M    map[string]int
	List []*resaveNode
}

// Each kind of change is found, alone, and writes the slots that it must.
func TestSavesWithoutAWalkFindEachChange(t *testing.T) {
	mk := func() *resaveNode {
		x := &resaveNode{Name: "x", Tags: make([]string, 2, 4), Any: 5, M: map[string]int{"a": 1}, List: make([]*resaveNode, 3, 8)}
		for i := range x.List {
			x.List[i] = &resaveNode{N: i}
		}
		return x
	}
	for name, change := range map[string]func(x *resaveNode){
		"number":                 func(x *resaveNode) { x.N++ },
		"number far away":        func(x *resaveNode) { x.List[2].N = 77 },
		"string":                 func(x *resaveNode) { x.Name = "other" },
		"element":                func(x *resaveNode) { x.Tags[1] = "tag" },
		"append in place":        func(x *resaveNode) { x.Tags = append(x.Tags, "more") },
		"append beyond":          func(x *resaveNode) { x.Tags = append(x.Tags, "a", "b", "c", "d") },
		"append a new object":    func(x *resaveNode) { x.List = append(x.List, &resaveNode{Name: "new"}) },
		"pointer to a new one":   func(x *resaveNode) { x.Next = &resaveNode{Next: &resaveNode{Name: "deep"}} },
		"pointer to a known one": func(x *resaveNode) { x.Next = x.List[1] },
		"cycle":                  func(x *resaveNode) { x.List[0].Next = x },
		"nil":                    func(x *resaveNode) { x.List[1] = nil },
		"boxed value":            func(x *resaveNode) { x.Any = 6 },
		"boxed type":             func(x *resaveNode) { x.Any = "six" },
		"entry":                  func(x *resaveNode) { x.M["a"] = 2 },
		"new entry":              func(x *resaveNode) { x.M["b"] = 2 },
		"entry gone":             func(x *resaveNode) { delete(x.M, "a") },
		"map":                    func(x *resaveNode) { x.M = map[string]int{"a": 1} },
		"shorter slice":          func(x *resaveNode) { x.List = x.List[:1] },
		"interior pointer":       func(x *resaveNode) { x.Any = &x.List[1].N },
		"swap":                   func(x *resaveNode) { x.List[0], x.List[2] = x.List[2], x.List[0] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			g := mustGraph(t, cfg)
			x := mk()
			mustSave(t, g, s, "x", x)
			mustStayQuiet(t, g, s, "x", x)
			if tx := mustResave(t, g, s, "x", x); len(tx.changes) > 0 {
				t.Fatalf("nothing changed, pods %v were written", tx.changes)
			}
			change(x)
			tx, done := resaved(t, g, s, "x", x)
			if len(tx.changes) == 0 {
				t.Fatal("the change was missed")
			}
			if !done && name != "interior pointer" {
				t.Error("the save walked")
			}
			reload(t, s, plainConfig(cfg), "x", x)
			if tx, _ := resaved(t, g, s, "x", x); len(tx.changes) > 0 {
				t.Fatalf("written again: %v", tx.changes)
			}
		})
	}
}

// A program that replaces all of its state, or what one reference leads to, does not
// keep what it had.
func TestSavesWithoutAWalkLetGo(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &resaveNode{}
	fill := func() *resaveNode {
		head := &resaveNode{}
		for i := range 2000 {
			head = &resaveNode{N: i, Next: head}
		}
		return head
	}
	most := int32(0)
	walked := 0
	for range 100 {
		x.Next = fill()
		if _, done := resaved(t, g, s, "x", x); !done {
			walked++
		}
		most = max(most, g.cur.regions.len())
	}
	if most > 3*2000+100 || walked == 100 {
		t.Errorf("%d regions were held for 2,000 objects, %d of 100 saves walked", most, walked)
	}
	x.Next = nil
	for range 20 {
		x.N++
		resaved(t, g, s, "x", x)
	}
	if n := g.cur.regions.len(); n > 10 {
		t.Errorf("%d regions are held for one object", n)
	}
}

// The bytes of a string and what an interface boxes are trusted without being read,
// so nothing else may get their address while the state knows them: a string at the
// address of one that the program let go of, in the same place, would be missed.
func TestTrustedMemoryIsNotUsedAgain(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	x := &struct {
		Name string
		Any  any
	}{}
	text := func(n int) string { return string(fmt.Appendf(nil, "%0200d", n)) }
	box := func(n int) any { return [25]int{n} }
	mustSave(t, g, s, "x", x)
	for round := range 20 {
		x.Name, x.Any = text(-round), box(-round)
		resaved(t, g, s, "x", x)
		name, data := uintptr(unsafe.Pointer(unsafe.StringData(x.Name))), uintptr((*interfaceWords)(unsafe.Pointer(&x.Any)).data)
		x.Name, x.Any = "", nil
		runtime.GC()
		runtime.GC()
		for n := range 5000 {
			if text := text(n); uintptr(unsafe.Pointer(unsafe.StringData(text))) == name {
				x.Name = text
			}
			if box := box(n); uintptr((*interfaceWords)(unsafe.Pointer(&box)).data) == data {
				x.Any = box
			}
		}
		resaved(t, g, s, "x", x)
		got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
		if err != nil {
			t.Fatal(err)
		}
		if err := isomorphic(reflect.ValueOf(x), got[0]); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

// A walk finds what a save without one missed: here because a pinned string's bytes
// were changed, against the rules of the language.
func TestVerifyEveryFindsWhatWasMissed(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	g := mustGraph(t, cfg)
	b := []byte("immutable, they say")
	x := &resaveNode{Name: unsafeString(b)}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	mustResave(t, g, s, "x", x)
	b[0] = 'I'
	if _, err := g.Save(context.Background(), rootsOf("x", x), s.begin()); !errors.Is(err, dberr.ErrUnsound) {
		t.Fatalf("error %v", err)
	}
	b[0] = 'i'
	mustResave(t, g, s, "x", x)
}

func unsafeString(b []byte) string { return unsafe.String(&b[0], len(b)) }

// A new variable needs no walk, and shares what others have.
func TestANewVariableNeedsNoWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	g := mustGraph(t, cfg)
	x := &resaveNode{Name: "x", List: []*resaveNode{{N: 1}, {N: 2}}}
	mustSave(t, g, s, "b", x)
	mustStayQuiet(t, g, s, "b", x)
	y := &resaveNode{Name: "y", Next: x.List[1], List: x.List}
	if tx := mustResave(t, g, s, "a", y, "b", x); tx.named != 1 {
		t.Errorf("%d names were set", tx.named)
	}
	reload(t, s, plainConfig(cfg), "a", y, "b", x)
	z := &y.Next
	tx := s.begin()
	saved, err := g.Save(t.Context(), rootsOf("a", y, "b", x, "c", z), tx)
	if err != nil {
		t.Fatal(err)
	}
	saved.Abort()
	x.List[0].N = 5
	mustResave(t, g, s, "a", y, "b", x)
	resaved(t, g, s, "a", y, "b", x, "c", z)
	reload(t, s, plainConfig(cfg), "a", y, "b", x, "c", z)
	x.N++
	resaved(t, g, s, "b", x, "c", z) // one is gone
	reload(t, s, plainConfig(cfg), "b", x, "c", z)
}

// Other causes than memory that differs: each is found.
func TestSavesWithoutAWalkFindWhatMemoryDoesNotTell(t *testing.T) {
	type cell struct {
		A atomic.Int64
		P atomic.Pointer[int]
		V atomic.Value
		B *big.Int
		W weak.Pointer[resaveNode]
		T time.Time
	}
	n := 1
	kept := &resaveNode{Name: "kept"}
	c := &cell{B: big.NewInt(5), T: time.Unix(1, 2).UTC()}
	c.P.Store(&n)
	c.V.Store("value")
	root := &struct {
		C    *cell
		Keep *resaveNode
		Arr  [8]int
		In   *int
		All  any
		B    []byte
		Sub  []byte
	}{C: c, Keep: kept}
	root.In = &n
	s := newFakeStore()
	cfg := indexed(s)
	g := mustGraph(t, cfg)
	mustSave(t, g, s, "x", root)
	mustStayQuiet(t, g, s, "x", root)
	box := new(int)
	array := make([]int, 10)
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"atomic number", func() { c.A.Add(1) }},
		{"what an atomic pointer leads to", func() { n = 7 }},
		{"atomic pointer", func() { c.P.Store(box) }},
		{"atomic value", func() { c.V.Store("another") }},
		{"what a codec reads behind a pointer", func() { c.B.SetInt64(8) }},
		{"time", func() { c.T = c.T.Add(time.Second) }},
		{"weak pointer", func() { c.W = weak.Make(kept) }},
		{"target of a weak pointer goes", func() { root.Keep = nil }},
		{"no weak pointer any more", func() { c.W = weak.Pointer[resaveNode]{}; c.A.Add(1) }},
		{"an element", func() { root.In = &array[3] }},
		{"its container is found later", func() { root.All = &array }},
		{"the container goes again", func() { root.All = nil }},
		{"bytes", func() { root.B = make([]byte, 100) }},
		{"a part of them, with a larger capacity", func() { root.Sub = root.B[10:20]; root.B = root.B[:15:30] }},
		{"one byte", func() { root.Sub[3] = 9 }},
	} {
		step.change()
		tx, _ := resaved(t, g, s, "x", root)
		if len(tx.changes) == 0 {
			t.Errorf("%s: missed", step.name)
		}
		got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"x"}, []reflect.Type{reflect.TypeOf(root)})
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if root.Keep == nil && c.W.Value() != nil {
			continue // stored as nil, but alive here
		}
		if err := isomorphic(reflect.ValueOf(root), got[0]); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	runtime.KeepAlive(kept)
}

// Containers in chunks change without a walk, grow, and lend their chunks.
func TestChunkedContainersNeedNoWalk(t *testing.T) {
	type big struct {
		Numbers []float64
		Nodes   []*resaveNode
		M       map[int]*resaveNode
		Text    string
	}
	x := &big{Numbers: make([]float64, 40_000), M: map[int]*resaveNode{}}
	for i := range x.Numbers {
		x.Numbers[i] = float64(i * i)
	}
	for i := range 20_000 {
		x.Nodes = append(x.Nodes, &resaveNode{N: i})
		x.M[i] = x.Nodes[i]
	}
	s := newFakeStore()
	cfg := indexed(s)
	g := mustGraph(t, cfg)
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 12 {
		switch round % 6 {
		case 0:
			x.Numbers[r.IntN(len(x.Numbers))]++
		case 1:
			i := r.IntN(len(x.Numbers))
			x.Numbers = append(x.Numbers[:i:i], append([]float64{1}, x.Numbers[i:]...)...)
		case 2:
			x.Nodes[r.IntN(len(x.Nodes))] = &resaveNode{Name: "new"}
		case 3:
			x.Nodes = append(x.Nodes, &resaveNode{Name: "more"})
		case 4:
			x.M[1_000_000+round] = x.Nodes[5]
			delete(x.M, r.IntN(20_000))
		case 5:
			x.Text = strings.Repeat(fmt.Sprint("text ", round), 20_000)
		}
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		saved.Abort()
		if tx, done := resaved(t, g, s, "x", x); !done || tx.bytes > 1<<20 {
			t.Errorf("round %d: %d bytes were written, walked: %v", round, tx.bytes, !done)
		}
		got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
		if err != nil {
			t.Fatal(err)
		}
		if err := isomorphic(reflect.ValueOf(x), got[0]); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

type fourWords struct{ A, B, C, D uint64 }

// Each bit of a value counts, whatever its other words are.
func TestEveryBitOfAFingerprintCounts(t *testing.T) {
	type words struct {
		A, B, C uint64
		D       [5]uint8
		E       uint16
		F       uint32
		G       [9]uint32
	}
	e := newEngine(NewRegistry(), 12345, false)
	x, k := e.printerOf(e.planOf(reflect.TypeFor[words]())), e.printKeys()
	row := e.printerOf(e.planOf(reflect.TypeFor[fourWords]()))
	if row.row(1) != 4 || x.row(1) != 0 {
		t.Fatalf("rows of %d and %d words", row.row(1), x.row(1))
	}
	print := func(p *[4]uint64, words uintptr) uint64 { return rowPrint(k, k.start, unsafe.Pointer(p), words) }
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 200 {
		var w words
		var four [4]uint64
		if round > 2 {
			w = words{A: r.Uint64(), B: r.Uint64(), E: uint16(r.Uint32())}
			four = [4]uint64{r.Uint64(), 1, r.Uint64(), 0}
		} else {
			w.A, four[0] = uint64(round), uint64(round)
		}
		was := e.printValues(x, k, unsafe.Pointer(&w), 1)
		for words := range uintptr(5) {
			wasRow := print(&four, words)
			for bit := range 8 * unsafe.Sizeof(four) {
				b := (*[32]byte)(unsafe.Pointer(&four))
				b[bit/8] ^= 1 << (bit % 8)
				if (print(&four, words) == wasRow) != (bit >= 64*words) {
					t.Fatalf("round %d: bit %d of a row of %d words is lost, or another one counts", round, bit, words)
				}
				b[bit/8] ^= 1 << (bit % 8)
			}
		}
		for _, p := range []any{&w.A, &w.B, &w.C, &w.D[4], &w.E, &w.F, &w.G[8]} {
			v := reflect.ValueOf(p).Elem()
			before := v.Uint()
			for bit := range v.Type().Bits() {
				v.SetUint(before ^ 1<<bit)
				if e.printValues(x, k, unsafe.Pointer(&w), 1) == was {
					t.Fatalf("round %d: bit %d of a %v is lost", round, bit, v.Type())
				}
			}
			v.SetUint(before)
		}
	}
}

// What is not reached any more is not held for others, although the state has it still;
// a load or Trim drops it.
func TestGarbageIsNotHeld(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 100
	g := mustGraph(t, cfg)
	x := &resaveNode{Name: "x"}
	for i := range 40 {
		x.List = append(x.List, &resaveNode{N: i, Name: strings.Repeat("n", 50)})
	}
	gone := &resaveNode{Name: strings.Repeat("gone", 30)}
	x.Next = gone
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	i := g.cur.memory.find(g.cur, unsafe.Pointer(gone))
	id := g.cur.placeOf(i).Pod
	x.Next = nil
	mustResave(t, g, s, "x", x)
	if g.cur.memory.find(g.cur, unsafe.Pointer(gone)) != i || g.Holds(id) || !g.Holds(s.names["x"]) {
		t.Errorf("known as %d, held: %v", g.cur.memory.find(g.cur, unsafe.Pointer(gone)), g.Holds(id))
	}
	x.Next = gone // again: others may have changed what is stored of it
	if _, done := resaved(t, g, s, "x", x); done || !g.Holds(g.cur.placeOf(g.cur.memory.find(g.cur, unsafe.Pointer(gone))).Pod) {
		t.Errorf("what is reached again is not held, or no walk (%v) found its place", !done)
	}
	reload(t, s, plainConfig(cfg), "x", x)
	mustStayQuiet(t, g, s, "x", x)
	x.Next = nil
	mustResave(t, g, s, "x", x)
	g.Trim()
	if g.cur.memory.find(g.cur, unsafe.Pointer(gone)) >= 0 || g.knows(id) {
		t.Error("Trim did not let go")
	}
	x.Next = gone
	resaved(t, g, s, "x", x)
	reload(t, s, plainConfig(cfg), "x", x)
}
