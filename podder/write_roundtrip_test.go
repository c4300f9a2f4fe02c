package podder

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type wNode struct {
	Name        string
	Left, Right *wNode
	n           int
}

type wAll struct {
	B    bool
	I    int
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	U    uint
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	P    uintptr
	F32  float32
	F64  float64
	C64  complex64
	C128 complex128
	S    string
	A    [3]int16
	big  [40]int32
	When time.Time
	nest struct{ x, y float64 }
}

func wTree(depth int, n *int) *wNode {
	if depth == 0 {
		return nil
	}
	*n++
	return &wNode{Name: fmt.Sprint("node ", *n), Left: wTree(depth-1, n), Right: wTree(depth-1, n), n: *n}
}

func TestRoundTripNumericKindsBitForBit(t *testing.T) {
	a := &wAll{true, -5, -8, -300, 1 << 30, math.MinInt64, 7, 255, 65535, math.MaxUint32, math.MaxUint64, 99,
		math.Float32frombits(0x7fc00123), math.Float64frombits(0x7ff8000000abcdef), complex(1, 2), complex(math.Copysign(0, -1), math.Inf(1)),
		"any \x00 bytes \xff", [3]int16{1, -2, 3}, [40]int32{39: 5}, time.Unix(5, 6).UTC(), struct{ x, y float64 }{1, 2}}
	roundTrip(t, "a", a, "b", 5, "c", "bare", "d", math.NaN())
}

func TestRoundTripSharedPointersAndCycles(t *testing.T) {
	n := 0
	tree := wTree(10, &n)
	tree.Left.Left.Left = tree
	tree.Right.Right.Right = tree.Left.Right
	roundTrip(t, "x", tree, "y", tree.Left.Right)
	loop := []any{1, nil}
	loop[1] = loop
	roundTripWith(t, Config{}, "loop", &loop)
	m := map[string]any{}
	m["self"] = m
	m["list"] = []any{m, &m}
	roundTrip(t, "m", m)
}

type wSlices struct {
	A, B, C []int
	D       []*wNode
	E, F    []string
	P       *int
	Q       *[3]int
	Z       []struct{}
	Y       *struct{}
	N       []int
	M       []int
}

func TestRoundTripSlicesKeepArrayOffsetAndCapacity(t *testing.T) {
	arr := []int{1, 2, 3, 4, 5, 6, 7, 8}
	str := make([]string, 3, 10)
	str[0], str[2] = "a", "c"
	x := &wSlices{A: arr[1:3], B: arr[2:5:6], C: arr[4:4], D: make([]*wNode, 2, 7), E: str, F: str[1:2:4], P: &arr[7],
		Q: (*[3]int)(arr[3:6]), Z: make([]struct{}, 1<<50), Y: &struct{}{}, M: []int{}}
	x.D[1] = &wNode{Name: "n"}
	_, vs := roundTrip(t, "x", x)
	y := vs[0].Interface().(*wSlices)
	if cap(y.D) != 7 || cap(y.E) != 10 || cap(y.A) != cap(x.A) || y.N != nil || y.M == nil {
		t.Errorf("capacities %d %d %d, nil %v %v", cap(y.D), cap(y.E), cap(y.A), y.N == nil, y.M == nil)
	}
	y.A[1] = 77
	if y.B[0] != 77 || &y.C[:1][0] != &y.B[2:3][0] {
		t.Error("slices of one array lost each other")
	}
}

type wInner struct {
	a [4]wNode
	s wNode
	m map[string]int
}

type wOuter struct {
	first *wInner
	f     *[4]wNode // same address as first
	e     *wNode    // into the array
	str   *string   // into a field of an element
	mp    *map[string]int
	sl    []wNode // over the array in the struct
	box   any
}

func TestRoundTripInteriorPointers(t *testing.T) {
	in := &wInner{m: map[string]int{"a": 1}}
	in.a[2].Name = "two"
	o := &wOuter{first: in, f: &in.a, e: &in.a[2], str: &in.a[2].Name, mp: &in.m, sl: in.a[1:3], box: &in.s}
	roundTrip(t, "o", o)
	// The parts first, the container last.
	cfg := knowing(t, newFakeStore(), reflect.TypeFor[wInner](), reflect.TypeFor[wNode]())
	roundTripWith(t, cfg, "a", &in.a[2].Name, "b", &in.a[2], "c", in.a[1:2:2], "d", &in.a, "e", in)
	list := []wNode{{Name: "0"}, {Name: "1"}, {Name: "2"}}
	roundTripWith(t, cfg, "a", &list[1].Name, "b", &list[2], "c", &list[0], "d", &list)
	roundTrip(t, "s1", list[0:2:2], "s2", list[1:3:3], "s3", &list[2])
}

func TestRoundTripMaps(t *testing.T) {
	type key struct {
		a int
		b string
	}
	n := &wNode{Name: "shared"}
	big := map[int]*wNode{}
	for i := range 1000 {
		big[i*7] = &wNode{n: i}
	}
	big[3] = n
	roundTrip(t, "a", map[string]*wNode{"x": n, "y": nil, "z": n}, "b", big, "c", map[key][]int{{1, "q"}: {1}, {2, ""}: nil},
		"d", map[any]any{1: "int", "1": 1, 1.5: nil, true: nil, [2]int{1, 2}: map[string]int{}, int8(1): 0},
		"e", map[string]struct{}{"k": {}}, "f", map[int]int{}, "g", map[int]int(nil), "h", map[*wNode]int{n: 1, {Name: "only here"}: 2},
		"i", map[string]string{strings.Repeat("k", 5000): strings.Repeat("v", 6000)}, "n", n)
	nan := map[float64]*int{math.NaN(): new(int), math.Float64frombits(0x7ff8000000000055): nil, math.Copysign(0, -1): new(int)}
	nan[math.NaN()] = new(int)
	s := newFakeStore()
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "nan", nan)
	mustStayQuiet(t, g, s, "nan", nan)
	_, vs := reload(t, s, s.config(), "nan", nan)
	if got := vs[0].Interface().(map[float64]*int); len(got) != 4 {
		t.Errorf("NaN keys: %v", got)
	}
}

func TestRoundTripLongStringsAreStoredOnceAndShared(t *testing.T) {
	long := strings.Repeat("abcdefgh", 100_000)
	parts := []string{long[5000:20000], long[10:600_000], long, "short", long[100:200]}
	s, _ := roundTrip(t, "a", &parts, "b", &long)
	total := 0
	for _, p := range s.pods {
		total += p.Size()
	}
	if total > len(long)+4000 {
		t.Errorf("%d bytes stored for a string of %d", total, len(long))
	}
}

type wShape interface{ area() float64 }
type wSquare struct{ side float64 }
type wCircle struct{ r float64 }

func (s wSquare) area() float64  { return s.side }
func (c *wCircle) area() float64 { return c.r }

func TestRoundTripInterfaces(t *testing.T) {
	type holder struct {
		shapes []wShape
		x      any
		known  *wSquare
		other  *wCircle
	}
	h := &holder{known: &wSquare{1}, other: &wCircle{1}, shapes: []wShape{wSquare{2}, &wCircle{3}, nil, (*wCircle)(nil)}, x: []any{1, "a", [1]*wSquare{{4}}, wSquare{9}, nil, any(5)}}
	roundTrip(t, "h", h)
}

func TestSaveIgnoresLocksAndSkippedFields(t *testing.T) {
	type guarded struct {
		mu     lockAlias
		skip   func() `pod:"-"`
		_      int
		n      int
		nested *lockAlias
	}
	g := &guarded{n: 5, skip: func() {}, nested: &lockAlias{}}
	g.mu.Lock()
	g.nested.Lock()
	s := newFakeStore()
	gr := mustGraph(t, s.config())
	mustSave(t, gr, s, "g", g)
	_, vs := reload(t, s, s.config(), "g", g)
	if got := vs[0].Interface().(*guarded); got.n != 5 || !got.mu.TryLock() {
		t.Errorf("%+v", got)
	}
	g.mu.Unlock()
	mustStayQuiet(t, gr, s, "g", g)
}

// Locks and atomics may be in use while a save runs: under the race detector
// this fails if a plan reads a lock, or an atomic without its functions.
func TestSaveRunsBesideLocksAndAtomicsInUse(t *testing.T) {
	type counters struct {
		mu   lockAlias
		_    sync.Once
		n    atomic.Int64
		b    atomic.Bool
		u    [3]atomic.Uint32
		v    atomic.Value
		text string
	}
	x := &counters{text: "t"}
	x.v.Store("stored")
	s := newFakeStore()
	g := mustGraph(t, s.config())
	stop := make(chan struct{})
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				x.mu.Lock()
				x.n.Add(1)
				x.b.Store(!x.b.Load())
				x.u[1].Add(1)
				x.mu.Unlock()
			}
		}
	})
	for range 200 {
		mustSave(t, g, s, "x", x)
	}
	close(stop)
	busy.Wait()
	mustSave(t, g, s, "x", x)
	_, vs := reload(t, s, s.config(), "x", x)
	y := vs[0].Interface().(*counters)
	if y.n.Load() != x.n.Load() || y.u[1].Load() != x.u[1].Load() || y.b.Load() != x.b.Load() || y.v.Load() != "stored" {
		t.Error("atomics came back as something else")
	}
}

// A slice without capacity refers to nothing, though it may point to where an array
// begins that the next slice refers to.
func TestASliceWithoutCapacityRefersToNothing(t *testing.T) {
	type both struct {
		Empty, All []string
		Next       *both
	}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	var v *both
	for range 20 {
		list := []string{"a", "b", "c"}
		v = &both{list[:0:0], list, v}
	}
	mustSave(t, g, s, "v", v)
	reload(t, s, s.config(), "v", v)
}
