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
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"weak"
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
	leaf, leaves := &Leaf{}, &[2]Leaf{}
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
	cellOf := func(l *Leaf) *Concurrent { c := &Concurrent{kid: l}; c.At.Store(leaf); return c }
	table := func(pairs ...any) *Concurrent {
		c := &Concurrent{M: new(sync.Map)}
		for i := 0; i < len(pairs); i += 2 {
			c.M.Store(pairs[i], pairs[i+1])
		}
		return c
	}
	twoTables := func(same bool) *Concurrent {
		c := table(1, 2)
		if c.Again = c.M; !same {
			c.Again = table(1, 2).M
		}
		return c
	}
	anyCell := func(x any) *Concurrent { c := &Concurrent{}; c.Any.Store(x); return c }
	full := func(n int) *Tagged { l := []*Leaf{{}, {A: n}}; return &Tagged{Full: l[:1]} }
	bigs := func(change func(b *Big)) *Big {
		b := &Big{ByText: map[string]*Leaf{}, ByLeaf: map[*Leaf][8]float64{}, Text: long + long}
		for k := range 6000 {
			b.Leaves = append(b.Leaves, Leaf{A: k})
			b.Ptrs = append(b.Ptrs, &b.Leaves[k/2])
			b.Nums = append(b.Nums, float64(k))
			b.Words = append(b.Words, fmt.Sprint(k))
			b.Bytes = append(b.Bytes, byte(k))
			b.Rows = append(b.Rows, [3]int32{int32(k)})
			b.ByText[b.Words[k]] = b.Ptrs[k]
			if k%8 == 0 {
				b.ByLeaf[&Leaf{A: k}] = [8]float64{float64(k)}
			}
		}
		for k := range b.Ptrs { // of the array that it was in the end
			b.Ptrs[k] = &b.Leaves[k/2]
		}
		b.Half, b.Leaf, b.Num, b.Piece = b.Leaves[3000:], &b.Leaves[3001], &b.Nums[4000], b.Text[100:9000]
		change(b)
		return b
	}
	same0 := func(*Big) {}
	windows := func(lo, hi, changed int) *[2][]*Leaf { // the first is compared before the second
		array := make([]*Leaf, 9)
		for k := range array {
			array[k] = &Leaf{}
		}
		array[changed].A = 1
		return &[2][]*Leaf{array[3:6:6], array[lo:hi:hi]}
	}
	type wild struct {
		M map[float64]*int
		P *int
	}
	return map[string][2]any{
		"number":                  {&Leaf{A: 1}, &Leaf{A: 2}},
		"hidden number":           {&Own{self: &Own{}}, &Own{self: &Own{X: 1}}},
		"sign of zero":            {&Leaf{F: 0}, &Leaf{F: math.Copysign(0, -1)}},
		"payload of NaN":          {&Leaf{F: nan(1)}, &Leaf{F: nan(2)}},
		"signal of NaN":           {&[]float32{math.Float32frombits(0x7f800001)}, &[]float32{math.Float32frombits(0x7fc00001)}},
		"string":                  {&Fault{why: "a"}, &Fault{why: "b"}},
		"nil pointer":             {&two{A: one}, &two{}},
		"nil slice":               {&slices{A: []int{}}, &slices{}},
		"nil map":                 {&maps{A: map[string]int{}}, &maps{}},
		"nil interface":           {&Deep{A: new(any)}, &Deep{A: func() *any { var x any = 1; return &x }()}},
		"typed nil":               {&Embeds{tail: (*Leaf)(nil)}, &Embeds{tail: (*Node)(nil)}},
		"type in an interface":    {&Embeds{tail: 1}, &Embeds{tail: int8(1)}},
		"value in an interface":   {&Embeds{tail: [1]any{1}}, &Embeds{tail: [1]any{2}}},
		"length":                  {&slices{A: ints[:3]}, &slices{A: ints[:4]}},
		"capacity":                {&slices{A: ints[:3:4]}, &slices{A: ints[:3:5]}},
		"offset":                  {&slices{ints, ints[1:3:4]}, &slices{ints, ints[2:4:5]}},
		"before a window":         {windows(1, 5, 1), windows(1, 5, 8)},
		"after a window":          {windows(4, 8, 7), windows(4, 8, 0)},
		"around a window, before": {windows(1, 8, 1), windows(1, 8, 8)},
		"around a window, after":  {windows(1, 8, 7), windows(1, 8, 8)},
		"offset beyond length":    {&slices{ints[:1], ints[5:6:7]}, &slices{ints[:1], ints[6:7:8]}},
		"number beyond length":    {&slices{A: []int{1, 2, 3}[:1]}, &slices{A: []int{1, 2, 4}[:1]}},
		"shared array":            {&slices{ints, ints}, &slices{ints, same}},
		"array that is two":       {&slices{ints, same}, &slices{ints, ints}},
		"shared object":           {&two{one, one}, &two{one, other}},
		"object that is two":      {&two{one, other}, &two{one, one}},
		"pointer into an object":  {&at{leaf, &leaf.B}, &at{leaf, new(int)}},
		"which field":             {&at{leaf, &leaf.A}, &at{leaf, &leaf.B}},
		"part before the whole":   {&Twice{PA: leaf, Other: (*Alike)(leaf)}, &Twice{PA: leaf, Other: &Alike{}}},
		"shared map":              {&maps{m, m}, &maps{m, map[string]int{}}},
		"map that is two":         {&maps{m, map[string]int{}}, &maps{m, m}},
		"entry":                   {&map[string]int{"a": 1, "b": 2}, &map[string]int{"a": 1, "c": 2}},
		"element":                 {&map[string]int{"a": 1, "b": 2}, &map[string]int{"a": 1, "b": 3}},
		"number of entries":       {&map[string]int{"a": 1}, &map[string]int{}},
		"key that is a NaN":       {&map[float64]int{nan(1): 1}, &map[float64]int{nan(2): 1}},
		"elements of NaNs":        {&map[float64]int{nan(1): 1, nan(0): 2, nan(3): 0}, &map[float64]int{nan(1): 2, nan(0): 1, nan(3): 0}},
		"element of a NaN":        {&wild{map[float64]*int{nan(0): one, nan(1): other}, one}, &wild{map[float64]*int{nan(0): one, nan(1): other}, other}},
		"which key":               {&keys{map[*Leaf]int{keyA: 1, keyB: 1}, keyA}, &keys{map[*Leaf]int{keyA: 1, keyB: 1}, keyB}},
		"key without the rest":    {&keys{map[*Leaf]int{keyA: 1}, keyA}, &keys{map[*Leaf]int{keyA: 1}, &Leaf{A: 1}}},
		"element by key":          {&keys{map[*Leaf]int{keyA: 1, keyB: 2}, nil}, &keys{map[*Leaf]int{keyA: 2, keyB: 1}, nil}},
		"edges between keys":      {&edges{map[*Leaf]*Leaf{k1: k1, k2: k2}}, &edges{map[*Leaf]*Leaf{k1: k2, k2: k1}}},
		"kind of a key":           {&AnyMap{int8(1): nil}, &AnyMap{int16(1): nil}},
		"length of a cycle":       {loop(3), loop(4)},
		"where a cycle closes":    {&[]*Circle{loop(3), nil}, &[]*Circle{loop(3), loop(1)}},
		"shared long string":      {&texts{long, long[10:]}, &texts{long, strings.Clone(long[10:])}},
		"time":                    {&Node{When: time.Unix(5, 0).UTC()}, &Node{When: time.Unix(5, 1).UTC()}},
		"zone":                    {&Node{When: time.Unix(5, 0).UTC()}, &Node{When: time.Unix(5, 0).In(time.FixedZone("X", 0))}},
		"type of a variable":      {new(int), new(int8)},
		"big number":              {&Standard{PInt: big.NewInt(1)}, &Standard{PInt: big.NewInt(2)}},
		"shared big number":       {&Standard{PInt: big1, Ints: []*big.Int{big1}}, &Standard{PInt: big1, Ints: []*big.Int{big.NewInt(1)}}},
		"precision":               {&Standard{Float: *new(big.Float).SetPrec(30)}, &Standard{Float: *new(big.Float).SetPrec(31)}},
		"address":                 {&Standard{Addr: address(r)}, &Standard{Addr: netip.MustParseAddr("9.9.9.9")}},
		"longest match":           {&Standard{Re: regexp.MustCompile("a|ab")}, &Standard{Re: regexp.MustCompilePOSIX("a|ab")}},
		"key that is an address":  {&map[netip.Addr]int{netip.MustParseAddr("::1"): 1}, &map[netip.Addr]int{netip.MustParseAddr("::2"): 1}},
		"state of a source":       {&Standard{PCG: *rand.NewPCG(1, 2)}, &Standard{PCG: *rand.NewPCG(1, 3)}},
		"known object":            {&Embeds{tail: defaultLeaf}, &Embeds{tail: &Leaf{A: 1, B: 2}}},
		"part of a known object":  {&two{A: &defaultLeaf.B}, &two{A: &defaultLeaf.A}},
		"sentinel":                {&Standard{Err: io.EOF}, &Standard{Err: errors.New("EOF")}},
		"atomic pointer":          {cellOf(leaf), cellOf(&Leaf{})},
		"nil in a cell":           {cellOf(leaf), &Concurrent{kid: leaf}},
		"what a cell leads to":    {func() any { c := cellOf(nil); c.At.Store(&Leaf{A: 1}); return c }(), func() any { c := cellOf(nil); c.At.Store(&Leaf{A: 2}); return c }()},
		"atomic number":           {func() any { c := &Concurrent{}; c.N.Store(1); return c }(), &Concurrent{}},
		"atomic value":            {anyCell(1), anyCell(int8(1))},
		"entry of a sync map":     {table(1, 2, 3, 4), table(1, 2, 3, 5)},
		"key of a sync map":       {table(1, 2, 3, 4), table(1, 2, int8(3), 4)},
		"size of a sync map":      {table(1, 2, 3, 4), table(1, 2)},
		"pointer in a sync map":   {&[]any{table(leaf, 1), leaf}, &[]any{table(leaf, 1), &Leaf{}}},
		"shared sync map":         {twoTables(true), twoTables(false)},
		"weak pointer":            {&Weakly{W: weak.Make(leaf), Held: leaf}, &Weakly{Held: leaf}},
		"which weak pointer":      {&Weakly{W: weak.Make(&leaves[1]), Of: map[int8]weak.Pointer[Leaf]{1: weak.Make(&leaves[0])}, Held: &leaves[0], other: &Weakly{Held: &leaves[1]}}, &Weakly{W: weak.Make(&leaves[0]), Of: map[int8]weak.Pointer[Leaf]{1: weak.Make(&leaves[0])}, Held: &leaves[0], other: &Weakly{Held: &leaves[1]}}},
		"weak part":               {&Weakly{Num: weak.Make(&leaf.A), Held: leaf}, &Weakly{Num: weak.Make(&leaf.B), Held: leaf}},
		"handle":                  {&Concurrent{Place: unique.Make(Place{1, "a"})}, &Concurrent{Place: unique.Make(Place{2, "a"})}},
		"beyond the length":       {full(1), full(2)},
		"builder":                 {func() any { l := &Library{}; l.Builder.WriteString("a"); return l }(), &Library{}},
		"source":                  {&Library{Cha: rand.NewChaCha8([32]byte{1})}, &Library{Cha: rand.NewChaCha8([32]byte{2})}},
		"source behind one":       {&Library{Rand: rand.New(rand.NewPCG(1, 2))}, &Library{Rand: rand.New(rand.NewPCG(1, 3))}},
		"big: number":             {bigs(same0), bigs(func(b *Big) { b.Nums[3333] = -1 })},
		"big: byte":               {bigs(same0), bigs(func(b *Big) { b.Bytes[3333] ^= 8 })},
		"big: word":               {bigs(same0), bigs(func(b *Big) { b.Words[3333] = "" })},
		"big: field":              {bigs(same0), bigs(func(b *Big) { b.Leaves[3333].B = 1 })},
		"big: pointer":            {bigs(same0), bigs(func(b *Big) { b.Ptrs[3333] = &b.Leaves[3334] })},
		"big: pointer out of it":  {bigs(same0), bigs(func(b *Big) { b.Ptrs[3333] = &Leaf{A: 3333 / 2} })},
		"big: row":                {bigs(same0), bigs(func(b *Big) { b.Rows[3333][1] = 1 })},
		"big: text":               {bigs(same0), bigs(func(b *Big) { b.Text, b.Piece = b.Text[:5000]+"x"+b.Text[5001:], "" })},
		"big: piece":              {bigs(same0), bigs(func(b *Big) { b.Piece = b.Text[101:9001] })},
		"big: element":            {bigs(same0), bigs(func(b *Big) { b.ByText["3333"] = nil })},
		"big: entry":              {bigs(same0), bigs(func(b *Big) { delete(b.ByText, "3333"); b.ByText["x"] = b.Ptrs[3333] })},
		"big: key": {bigs(same0), bigs(func(b *Big) {
			for k := range b.ByLeaf {
				if k.A == 800 {
					k.B = 1
				}
			}
		})},
		"big: part":  {bigs(same0), bigs(func(b *Big) { b.Half = b.Leaves[2999:5999:5999] })},
		"big: place": {bigs(same0), bigs(func(b *Big) { b.Num = &b.Nums[4001] })},
		"func":       {&Guarded{F: func() {}}, &Guarded{}},
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
	if twins, err := Compare(of(ring(40, 17)), of(ring(40, 17))); err != nil || twins.Chosen {
		t.Error(err, "or it was a choice")
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
	if twins, err := Compare(of(cycles(3, 3, 4)), of(cycles(3, 4, 3))); err != nil || !twins.Chosen {
		t.Error(err, "or it was no choice")
	}
	if _, err := Compare(of(cycles(3, 3)), of(cycles(6))); err == nil {
		t.Error("two cycles of three are one of six")
	}
}

func randomWorld(seed uint64) *World {
	r := rand.New(rand.NewPCG(seed, 1))
	w := NewWorld(r, NewFamily(seed/10))
	w.Limits.Large = seed%50 == 7
	w.Limits.Weak = seed%3 == 0
	if seed%15 == 6 {
		w.Limits.Big = 8 << (10 + seed/15%4)
	}
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
	entries := 0 // of big maps
	flips, types := map[reflect.Kind]int{}, map[reflect.Type]int{}
	randomWorlds(t, func(seed uint64) {
		a, b := randomWorld(seed), randomWorld(seed)
		b.limbo = nil
		s := b.look()
		for range 20 {
			if len(s.spots) == 0 {
				return
			}
			v := s.spots[b.rng.IntN(len(s.spots))]
			if len(s.big) > 0 && b.rng.IntN(2) == 0 {
				v = b.one(s.big)
			}
			switch {
			case v.Kind() == reflect.Slice && v.Len() > 0 && b.isBig(v):
				v = v.Index(b.rng.IntN(v.Len()))
			case v.Kind() == reflect.Map && b.isBig(v):
				entries++
				k := b.one(b.keysOf(v))
				elem := v.MapIndex(k)
				v.SetMapIndex(k, reflect.Value{})
				if _, err := Compare(a.Variables(), b.Variables()); err == nil {
					t.Errorf("an entry of %v less was not noticed", v.Type())
				}
				v.SetMapIndex(k, elem)
				continue
			}
			was := boxOf(v)
			if !flip(b.rng, v) {
				continue
			}
			flips[v.Kind()]++
			types[v.Type()]++
			if _, err := Compare(a.Variables(), b.Variables()); err == nil {
				t.Errorf("a change of %v from %s to %s was not noticed", v.Type(), keyText(was), keyText(v))
				return
			}
			if v.Type() == syncMapType {
				v.Addr().Interface().(*sync.Map).Delete("flipped")
				continue
			}
			v.Set(was)
		}
	})
	for _, k := range []reflect.Kind{reflect.Int, reflect.Float64, reflect.Complex64, reflect.String, reflect.Slice, reflect.Pointer, reflect.Map, reflect.Interface} {
		if flips[k] == 0 {
			t.Errorf("no %v was changed", k)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[atomic.Pointer[Leaf]](), reflect.TypeFor[sync.Map](), reflect.TypeFor[atomic.Value]()} {
		if types[typ] == 0 && !testing.Short() {
			t.Errorf("no %v was changed", typ)
		}
	}
	if entries == 0 && !testing.Short() {
		t.Error("no entry of a big map was taken out")
	}
}

// flip changes v in one thing.
func flip(r *rand.Rand, v reflect.Value) bool {
	c, isCell := cells[v.Type()]
	switch k := v.Kind(); {
	case isCell && !c.weak && !c.pointerIn(v).IsNil(), v.Type() == reflect.TypeFor[atomic.Value]() && !v.IsZero():
		v.SetZero()
	case v.Type() == syncMapType:
		v.Addr().Interface().(*sync.Map).Store("flipped", 1)
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
