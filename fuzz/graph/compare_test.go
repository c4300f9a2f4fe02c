package graph

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// of makes variables x0, x1 … of values.
func of(values ...any) []Variable {
	var vars []Variable
	for i, v := range values {
		vars = append(vars, Variable{fmt.Sprint("x", i), reflect.ValueOf(v)})
	}
	return vars
}

func nan(payload uint64) float64 { return math.Float64frombits(0x7ff8000000000000 | payload) }

// differences are pairs of graphs that differ in exactly one thing.
func differences() map[string][2]any {
	type two struct{ A, B *int }
	type at struct {
		O *Leaf
		P *int
	}
	type slices struct{ A, B []int }
	one, other := new(int), new(int)
	leaf := &Leaf{}
	ints, same := make([]int, 9), make([]int, 9)
	long := strings.Repeat("0123456789", 500)
	keyA, keyB := &Leaf{A: 1}, &Leaf{A: 2}
	m := map[string]int{}
	type maps struct{ A, B map[string]int }
	type texts struct{ A, B string }
	type keys struct {
		M map[*Leaf]int
		P *Leaf
	}
	loop := func(n int) *Circle {
		first := &Circle{}
		c := first
		for range n - 1 {
			c.of = &Circle{}
			c = c.of
		}
		c.of = first
		return first
	}
	k1, k2 := &Leaf{}, &Leaf{}
	type edges struct{ M map[*Leaf]*Leaf }
	big1, r := big.NewInt(1), rand.New(rand.NewPCG(1, 2))
	type wild struct {
		M map[float64]*int
		P *int
	}
	return map[string][2]any{
		"number":                 {&Leaf{A: 1}, &Leaf{A: 2}},
		"hidden number":          {&Own{self: &Own{}}, &Own{self: &Own{X: 1}}},
		"sign of zero":           {&Leaf{F: 0}, &Leaf{F: math.Copysign(0, -1)}},
		"payload of NaN":         {&Leaf{F: nan(1)}, &Leaf{F: nan(2)}},
		"signal of NaN":          {&[]float32{math.Float32frombits(0x7f800001)}, &[]float32{math.Float32frombits(0x7fc00001)}},
		"string":                 {&Fault{why: "a"}, &Fault{why: "b"}},
		"nil pointer":            {&two{A: one}, &two{}},
		"nil slice":              {&slices{A: []int{}}, &slices{}},
		"nil map":                {&maps{A: map[string]int{}}, &maps{}},
		"nil interface":          {&Deep{A: new(any)}, &Deep{A: func() *any { var x any = 1; return &x }()}},
		"typed nil":              {&Embeds{tail: (*Leaf)(nil)}, &Embeds{tail: (*Node)(nil)}},
		"type in an interface":   {&Embeds{tail: 1}, &Embeds{tail: int8(1)}},
		"value in an interface":  {&Embeds{tail: [1]any{1}}, &Embeds{tail: [1]any{2}}},
		"length":                 {&slices{A: ints[:3]}, &slices{A: ints[:4]}},
		"capacity":               {&slices{A: ints[:3:4]}, &slices{A: ints[:3:5]}},
		"offset":                 {&slices{ints, ints[1:3:4]}, &slices{ints, ints[2:4:5]}},
		"offset beyond length":   {&slices{ints[:1], ints[5:6:7]}, &slices{ints[:1], ints[6:7:8]}},
		"number beyond length":   {&slices{A: []int{1, 2, 3}[:1]}, &slices{A: []int{1, 2, 4}[:1]}},
		"shared array":           {&slices{ints, ints}, &slices{ints, same}},
		"array that is two":      {&slices{ints, same}, &slices{ints, ints}},
		"shared object":          {&two{one, one}, &two{one, other}},
		"object that is two":     {&two{one, other}, &two{one, one}},
		"pointer into an object": {&at{leaf, &leaf.B}, &at{leaf, new(int)}},
		"which field":            {&at{leaf, &leaf.A}, &at{leaf, &leaf.B}},
		"part before the whole":  {&Twice{PA: leaf, Other: (*Alike)(leaf)}, &Twice{PA: leaf, Other: &Alike{}}},
		"shared map":             {&maps{m, m}, &maps{m, map[string]int{}}},
		"map that is two":        {&maps{m, map[string]int{}}, &maps{m, m}},
		"entry":                  {&map[string]int{"a": 1, "b": 2}, &map[string]int{"a": 1, "c": 2}},
		"element":                {&map[string]int{"a": 1, "b": 2}, &map[string]int{"a": 1, "b": 3}},
		"number of entries":      {&map[string]int{"a": 1}, &map[string]int{}},
		"key that is a NaN":      {&map[float64]int{nan(1): 1}, &map[float64]int{nan(2): 1}},
		"elements of NaNs":       {&map[float64]int{nan(1): 1, nan(0): 2, nan(3): 0}, &map[float64]int{nan(1): 2, nan(0): 1, nan(3): 0}},
		"element of a NaN":       {&wild{map[float64]*int{nan(0): one, nan(1): other}, one}, &wild{map[float64]*int{nan(0): one, nan(1): other}, other}},
		"which key":              {&keys{map[*Leaf]int{keyA: 1, keyB: 1}, keyA}, &keys{map[*Leaf]int{keyA: 1, keyB: 1}, keyB}},
		"key without the rest":   {&keys{map[*Leaf]int{keyA: 1}, keyA}, &keys{map[*Leaf]int{keyA: 1}, &Leaf{A: 1}}},
		"element by key":         {&keys{map[*Leaf]int{keyA: 1, keyB: 2}, nil}, &keys{map[*Leaf]int{keyA: 2, keyB: 1}, nil}},
		"edges between keys":     {&edges{map[*Leaf]*Leaf{k1: k1, k2: k2}}, &edges{map[*Leaf]*Leaf{k1: k2, k2: k1}}},
		"kind of a key":          {&AnyMap{int8(1): nil}, &AnyMap{int16(1): nil}},
		"length of a cycle":      {loop(3), loop(4)},
		"where a cycle closes":   {&[]*Circle{loop(3), nil}, &[]*Circle{loop(3), loop(1)}},
		"shared long string":     {&texts{long, long[10:]}, &texts{long, strings.Clone(long[10:])}},
		"time":                   {&Node{When: time.Unix(5, 0).UTC()}, &Node{When: time.Unix(5, 1).UTC()}},
		"zone":                   {&Node{When: time.Unix(5, 0).UTC()}, &Node{When: time.Unix(5, 0).In(time.FixedZone("X", 0))}},
		"type of a variable":     {new(int), new(int8)},
		"big number":             {&Standard{PInt: big.NewInt(1)}, &Standard{PInt: big.NewInt(2)}},
		"shared big number":      {&Standard{PInt: big1, Ints: []*big.Int{big1}}, &Standard{PInt: big1, Ints: []*big.Int{big.NewInt(1)}}},
		"precision":              {&Standard{Float: *new(big.Float).SetPrec(30)}, &Standard{Float: *new(big.Float).SetPrec(31)}},
		"address":                {&Standard{Addr: address(r)}, &Standard{Addr: netip.MustParseAddr("9.9.9.9")}},
		"longest match":          {&Standard{Re: regexp.MustCompile("a|ab")}, &Standard{Re: regexp.MustCompilePOSIX("a|ab")}},
		"key that is an address": {&map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, &map[netip.Addr]int{netip.MustParseAddr("::2"): 1}},
		"state of a source":      {&Standard{PCG: *rand.NewPCG(1, 2)}, &Standard{PCG: *rand.NewPCG(1, 3)}},
		"known object":           {&Embeds{tail: defaultLeaf}, &Embeds{tail: &Leaf{A: 1, B: 2}}},
		"part of a known object": {&two{A: &defaultLeaf.B}, &two{A: &defaultLeaf.A}},
		"sentinel":               {&Standard{Err: io.EOF}, &Standard{Err: errors.New("EOF")}},
		"func":                   {&Guarded{F: func() {}}, &Guarded{}},
	}
}

func TestEveryDifferenceIsNoticed(t *testing.T) {
	for name, pair := range differences() {
		for _, order := range [][2]any{pair, {pair[1], pair[0]}} {
			if name == "shared long string" && order != pair {
				continue // sharing more is no difference
			}
			_, err := Compare(of(order[0]), of(order[1]))
			if m := (*Mismatch)(nil); err == nil {
				t.Errorf("%s: not noticed", name)
			} else if !asMismatch(err, &m) || !strings.HasPrefix(m.Path, "x0") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, x := range pair {
			if _, err := Compare(of(x), of(x)); err != nil {
				t.Errorf("%s: with itself: %v", name, err)
			}
		}
	}
	if _, err := Compare(of(1, 2), of(1)); err == nil {
		t.Error("a missing variable was not noticed")
	}
	x := new(int)
	if _, err := Compare(of(x, x), of(x, new(int))); err == nil {
		t.Error("what two variables share was not noticed")
	}
}

func asMismatch(err error, m **Mismatch) bool {
	var ok bool
	*m, ok = err.(*Mismatch)
	return ok
}

func TestAMismatchNamesTheWay(t *testing.T) {
	a, b := &Node{Kids: []*Node{nil, {}}}, &Node{Kids: []*Node{nil, {}}}
	b.Kids[1].Arr[2].B = 5
	_, err := Compare(of(a), of(b))
	if want := "x0->.Kids[1]->.Arr[2].B: "; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s…", err, want)
	}
	m, n := &AnyMap{"k": []any{&Leaf{A: 1}}}, &AnyMap{"k": []any{&Leaf{A: 2}}}
	_, err = Compare(of(m), of(n))
	if want := `x0->["k"].([]interface {})[0].(*graph.Leaf)->.A: `; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s…", err, want)
	}
}

// TestWhatIsNotStoredIsNotCompared: locks, skipped and blank fields.
func TestWhatIsNotStoredIsNotCompared(t *testing.T) {
	a, b := &Guarded{Skip: &Node{}, Run: func() {}, Kept: 1}, &Guarded{Kept: 1}
	a.mu.Lock()
	a.once.Do(func() {})
	if _, err := Compare(of(a), of(b)); err != nil {
		t.Error(err)
	}
}

// TestALongListIsComparedOnTheHeap, with a path that ends somewhere.
func TestALongListIsComparedOnTheHeap(t *testing.T) {
	list := func(last int) *Own {
		o := &Own{X: last}
		for range 200_000 {
			o = &Own{self: o}
		}
		return o
	}
	a := list(1)
	if _, err := Compare(of(a), of(list(1))); err != nil {
		t.Error(err)
	}
	if _, err := Compare(of(a), of(list(2))); err == nil || len(err.Error()) > 2000 {
		t.Errorf("%.3000v", err)
	}
}

// TestEntriesThatLookAlike: keys that only what they lead to, or what leads to
// them, tells apart, in another order each time.
func TestEntriesThatLookAlike(t *testing.T) {
	ring := func(n int, last int) any {
		m := map[*Circle]*Circle{}
		keys := make([]*Circle, n)
		for i := range keys {
			keys[i] = &Circle{}
		}
		for i, k := range keys {
			m[k] = keys[(i+1)%n]
		}
		far := keys[0]
		for range last {
			far = m[far]
		}
		return &[]any{m, keys[0], map[*Circle]bool{far: true}}
	}
	if _, err := Compare(of(ring(40, 17)), of(ring(40, 17))); err != nil {
		t.Error(err)
	}
	if _, err := Compare(of(ring(40, 17)), of(ring(40, 18))); err == nil {
		t.Error("rings with another mark are isomorphic")
	}
	// Two cycles of three and one of six: only a choice can tell.
	cycles := func(lengths ...int) any {
		m := map[*Circle]*Circle{}
		for _, n := range lengths {
			first := &Circle{}
			c := first
			for range n - 1 {
				next := &Circle{}
				m[c] = next
				c = next
			}
			m[c] = first
		}
		return m
	}
	if _, err := Compare(of(cycles(3, 3, 4)), of(cycles(3, 4, 3))); err != nil {
		t.Error(err)
	}
	if _, err := Compare(of(cycles(3, 3)), of(cycles(6))); err == nil {
		t.Error("two cycles of three are one of six")
	}
}

func randomWorld(seed uint64) *World {
	r := rand.New(rand.NewPCG(seed, 1))
	w := NewWorld(r, NewFamily(seed/10))
	w.Limits.Large = seed%50 == 7
	for range 4 {
		w.Mutate(5 + r.IntN(40))
	}
	return w
}

func randomWorlds(t *testing.T, check func(seed uint64)) {
	n := uint64(300)
	if testing.Short() {
		n = 30
	}
	for seed := range n {
		check(seed)
		if t.Failed() {
			t.Fatalf("replay: go test ./fuzz/graph -run '^%s$' # seed %d", t.Name(), seed)
		}
	}
}

// TestEqualSeedsMakeIsomorphicWorlds, in memory of their own.
func TestEqualSeedsMakeIsomorphicWorlds(t *testing.T) {
	objects := 0
	randomWorlds(t, func(seed uint64) {
		a, b := randomWorld(seed), randomWorld(seed)
		twins, err := Compare(a.Variables(), b.Variables())
		if err != nil {
			t.Error(err)
			return
		}
		// And go on with the memory of the other as they would.
		c, d := randomWorld(seed), randomWorld(seed)
		d.Adopt(b.Variables(), a.Orders().Follow(twins), false)
		d.rng, c.limbo = rand.New(rand.NewPCG(seed, 9)), nil
		c.rng = rand.New(rand.NewPCG(seed, 9))
		c.Mutate(30)
		d.Mutate(30)
		if _, err := Compare(c.Variables(), d.Variables()); err != nil {
			t.Errorf("after adopting: %v", err)
		}
		objects += len(a.look().spots)
	})
	if objects < 10_000 {
		t.Errorf("only %d places", objects)
	}
}

// TestOneFlippedBitIsNoticed wherever a random world has a number, a string, a
// length or a nil.
func TestOneFlippedBitIsNoticed(t *testing.T) {
	flips := map[reflect.Kind]int{}
	randomWorlds(t, func(seed uint64) {
		a, b := randomWorld(seed), randomWorld(seed)
		b.limbo = nil
		s := b.look()
		for range 20 {
			if len(s.spots) == 0 {
				return
			}
			v := s.spots[b.rng.IntN(len(s.spots))]
			was := boxOf(v)
			if !flip(b.rng, v) {
				continue
			}
			flips[v.Kind()]++
			if _, err := Compare(a.Variables(), b.Variables()); err == nil {
				t.Errorf("a change of %v from %s to %s was not noticed", v.Type(), keyText(was), keyText(v))
				return
			}
			v.Set(was)
		}
	})
	for _, k := range []reflect.Kind{reflect.Int, reflect.Float64, reflect.Complex64, reflect.String, reflect.Slice, reflect.Pointer, reflect.Map, reflect.Interface} {
		if flips[k] == 0 {
			t.Errorf("no %v was changed", k)
		}
	}
}

// flip changes v in one thing.
func flip(r *rand.Rand, v reflect.Value) bool {
	switch k := v.Kind(); {
	case means(v.Type()), k == reflect.Struct, k == reflect.Array, k == reflect.Func, k == reflect.Chan:
		return false
	case k == reflect.Bool:
		v.SetBool(!v.Bool())
	case k <= reflect.Complex128:
		m := memory(v)
		m[r.IntN(len(m))] ^= 1 << r.IntN(8)
	case k == reflect.String:
		v.SetString(v.String() + "!")
	case k == reflect.Slice && v.Cap() > 0 && r.IntN(2) == 0:
		v.Set(v.Slice3(0, min(v.Len(), v.Cap()-1), v.Cap()-1))
	case v.IsNil():
		return false
	default:
		v.SetZero()
	}
	return true
}
