package podder

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// chunkBox holds one container of each sort.
type chunkBox struct {
	Floats  []float64
	Text    string
	Bytes   []byte
	Ptrs    []*chunkLeaf
	Rows    []chunkRow
	Names   []string
	Anys    []any
	Odd     [][3]uint16
	Map     map[int]string
	ByPtr   map[*chunkLeaf]int
	Lists   map[string][]int
	Sub     []float64 // into Floats
	Float   *float64  // into Floats
	Field   *string   // into Rows
	Part    string    // of Text
	SameMap map[int]string
}

type chunkLeaf struct {
	N    int
	Next *chunkLeaf
}

type chunkRow struct {
	ID   int
	Name string
	Leaf *chunkLeaf
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(26))
	}
	return string(b)
}

// newChunkBox makes containers of n units.
func newChunkBox(r *rand.Rand, n int) *chunkBox {
	x := &chunkBox{Map: map[int]string{}, ByPtr: map[*chunkLeaf]int{}, Lists: map[string][]int{}}
	x.Text = randomText(r, 5000+8*n) // long enough to be a region
	x.Bytes = []byte(randomText(r, 8*n))
	for i := range n {
		x.Floats = append(x.Floats, r.Float64())
		x.Odd = append(x.Odd, [3]uint16{uint16(r.Uint32()), uint16(i), 7})
		l := &chunkLeaf{N: i}
		x.Ptrs = append(x.Ptrs, l)
		x.Rows = append(x.Rows, chunkRow{ID: i, Name: randomText(r, 6), Leaf: l})
		x.Names = append(x.Names, randomText(r, 9))
		x.Anys = append(x.Anys, []any{i, "text", l, 1.5, nil}[r.IntN(5)])
		x.Map[r.Int()] = randomText(r, 5)
		x.ByPtr[l] = i
		x.Lists[randomText(r, 8)] = []int{i, i + 1}
	}
	return x
}

// chunkInserts add one unit in the middle of a container, into new memory or, if
// there is room, in place.
var chunkInserts = map[string]func(x *chunkBox, r *rand.Rand){
	"floats": func(x *chunkBox, r *rand.Rand) { x.Floats = slices.Insert(x.Floats, len(x.Floats)/2, r.Float64()) },
	"bytes":  func(x *chunkBox, r *rand.Rand) { x.Bytes = slices.Insert(x.Bytes, len(x.Bytes)/2, 'X') },
	"odd":    func(x *chunkBox, r *rand.Rand) { x.Odd = slices.Insert(x.Odd, len(x.Odd)/2, [3]uint16{9, 9, 9}) },
	"text":   func(x *chunkBox, r *rand.Rand) { x.Text = x.Text[:len(x.Text)/2] + "X" + x.Text[len(x.Text)/2:] },
	"pointers": func(x *chunkBox, r *rand.Rand) {
		x.Ptrs = slices.Insert(x.Ptrs, len(x.Ptrs)/2, &chunkLeaf{N: -1})
	},
	"structs": func(x *chunkBox, r *rand.Rand) {
		x.Rows = slices.Insert(x.Rows, len(x.Rows)/2, chunkRow{ID: -1, Leaf: x.Ptrs[3]})
	},
	"strings":      func(x *chunkBox, r *rand.Rand) { x.Names = slices.Insert(x.Names, len(x.Names)/2, "new") },
	"interfaces":   func(x *chunkBox, r *rand.Rand) { x.Anys = slices.Insert(x.Anys, len(x.Anys)/2, any("new")) },
	"map":          func(x *chunkBox, r *rand.Rand) { x.Map[r.Int()] = "new" },
	"pointer keys": func(x *chunkBox, r *rand.Rand) { x.ByPtr[&chunkLeaf{N: -1}] = -1 },
	"lists":        func(x *chunkBox, r *rand.Rand) { x.Lists["new"] = []int{1} },
}

func (x *chunkBox) clone() *chunkBox {
	y := *x
	return &y
}

// An insert into the middle hands over a small part of a container, whether the
// elements behind it move in place or to a new array, and whether the graph that
// is saved was saved or loaded before.
func TestInsertHandsOverLittle(t *testing.T) {
	const n, target = 6000, 512
	for name, insert := range chunkInserts {
		for _, how := range []string{"new memory", "in place", "after a load", "beside the old one"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				x := newChunkBox(r, n)
				if how == "in place" {
					insert(x, r) // makes room
				}
				keepOnly(x, name)
				s := newFakeStore()
				cfg := s.config()
				cfg.TargetBytes = target
				g := mustGraph(t, cfg)
				whole := mustSave(t, g, s, "x", x, "old", (*chunkBox)(nil)).bytes
				var old *chunkBox
				switch how {
				case "after a load":
					var vs []reflect.Value
					g, vs = reload(t, s, cfg, "x", x)
					x = vs[0].Interface().(*chunkBox)
				case "beside the old one":
					old = x.clone()
				}
				insert(x, r)
				tx := mustSave(t, g, s, "x", x, "old", old)
				t.Logf("%d of %d bytes", tx.bytes, whole)
				if most := whole/50 + 8*target; tx.bytes > most {
					t.Errorf("an insert handed over %d bytes of %d", tx.bytes, whole)
				}
				mustStayQuiet(t, g, s, "x", x, "old", old)
				_, vs := reload(t, s, cfg, "x", x, "old", old)
				if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
					t.Error(err)
				}
				if err := isomorphic(reflect.ValueOf(old), vs[1]); err != nil {
					t.Errorf("what was before: %v", err)
				}
			})
		}
	}
}

// keepOnly empties all containers but one.
func keepOnly(x *chunkBox, name string) {
	y := *x
	*x = chunkBox{}
	switch name {
	case "floats":
		x.Floats = y.Floats
	case "bytes":
		x.Bytes = y.Bytes
	case "odd":
		x.Odd = y.Odd
	case "text":
		x.Text = y.Text
	case "pointers":
		x.Ptrs = y.Ptrs
	case "structs":
		x.Rows, x.Ptrs = y.Rows, y.Ptrs
	case "strings":
		x.Names = y.Names
	case "interfaces":
		x.Anys = y.Anys
	case "map":
		x.Map = y.Map
	case "pointer keys":
		x.ByPtr = y.ByPtr
	case "lists":
		x.Lists = y.Lists
	}
}

// Changes in place are patches of the chunks that have them: the list stays,
// and so do the ends of all chunks, also where a change takes away what ended one.
func TestScatteredChangesKeepTheChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 1024
	g := mustGraph(t, cfg)
	floats := make([]float64, 20_000)
	for i := range floats {
		floats[i] = r.Float64()
	}
	mustSave(t, g, s, "x", &floats)
	before := len(s.pods)
	chunks := listOf(t, g, s, unsafe.Pointer(&floats[0]))
	for range 300 {
		floats[r.IntN(len(floats))] = r.Float64()
	}
	tx := mustSave(t, g, s, "x", &floats)
	if len(s.pods) != before {
		t.Errorf("%d new pods", len(s.pods)-before)
	}
	if after := listOf(t, g, s, unsafe.Pointer(&floats[0])); !slices.Equal(after, chunks) {
		t.Errorf("chunks %v, before %v", after, chunks)
	}
	if len(tx.changes) > len(chunks) {
		t.Errorf("%d pods written of %d chunks", len(tx.changes), len(chunks))
	}
	mustStayQuiet(t, g, s, "x", &floats)
}

// listOf returns the units of the chunks of the container at addr.
func listOf(t *testing.T, g *Graph, s *fakeStore, addr unsafe.Pointer) (units []uint64) {
	t.Helper()
	r := g.cur.regions.at(g.cur.memory.find(g.cur, addr))
	p := s.pods[g.cur.pods[r.pod].id]
	list, wrong := parseChunks(&p.Slots[r.slot], p.Refs)
	if wrong != "" {
		t.Fatal(wrong)
	}
	for _, c := range list.chunks {
		units = append(units, c.units)
	}
	return units
}

// Small containers are stored as they always were, and big ones that an older
// program stored whole are left alone until they change.
func TestContainersAreCutWhenTheyAreWritten(t *testing.T) {
	floats := make([]float64, 3000)
	for i := range floats {
		floats[i] = float64(i) * 1.7
	}
	for name, bytes := range map[string]int{"small": 8 * len(floats), "big": 256} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := s.config()
			cfg.TargetBytes = 8 * len(floats)
			g := mustGraph(t, cfg)
			mustSave(t, g, s, "x", &floats)
			kinds := func() (kinds [9]int) {
				for _, p := range s.pods {
					for _, d := range p.Slots {
						kinds[d.Kind]++
					}
				}
				return kinds
			}
			if k := kinds(); k[pod.SlotArray] != 1 || k[pod.SlotChunks] != 0 {
				t.Fatalf("slots by kind: %v", k)
			}
			cfg.TargetBytes = bytes
			g, vs := reload(t, s, cfg, "x", &floats)
			again := vs[0].Interface().(*[]float64)
			(*again)[7] = 0.5
			mustSave(t, g, s, "x", again)
			if k := kinds(); (k[pod.SlotChunks] > 0) != (name == "big") {
				t.Errorf("after a change, slots by kind: %v", k)
			}
			mustStayQuiet(t, g, s, "x", again)
			_, vs = reload(t, s, cfg, "x", again)
			if got := vs[0].Interface().(*[]float64); !slices.Equal(*got, *again) {
				t.Error("it came back different")
			}
		})
	}
}

// Memory that is zero costs little, however much there is, and what is loaded
// stays in proportion to what is stored.
func TestZerosOfContainersCostLittle(t *testing.T) {
	for name, at := range map[string]int{"at the end": 1000, "in the middle": 1_999_999, "all": -1} {
		t.Run(name, func(t *testing.T) {
			floats := make([]float64, 2_000_000)
			floats[0] = 1
			if at >= 0 {
				floats[at] = 2
			}
			s := newFakeStore()
			g := mustGraph(t, s.config())
			tx := mustSave(t, g, s, "x", &floats)
			if tx.bytes > 8*len(floats)/7 {
				t.Errorf("%d bytes of %d handed over", tx.bytes, 8*len(floats))
			}
			l := newLoader(context.Background(), &Config{Registry: NewRegistry()}, s, nil)
			if _, err := l.load([]string{"x"}, []reflect.Type{reflect.TypeOf(&floats)}); err != nil {
				t.Fatal(err)
			}
			if l.budget.unstored != DefaultMaxUnstored {
				t.Errorf("%d bytes of memory are justified by nothing", DefaultMaxUnstored-l.budget.unstored)
			}
			_, vs := reload(t, s, s.config(), "x", &floats)
			if !slices.Equal(*vs[0].Interface().(*[]float64), floats) {
				t.Error("it came back different")
			}
		})
	}
}

// What leads into a container in chunks leads to the same element of it after a
// load.
func TestAliasesIntoChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := newChunkBox(r, 2000)
	x.Floats = slices.Grow(x.Floats, 100)
	x.Sub = x.Floats[700:900:950]
	x.Float, x.Field = &x.Floats[1234], &x.Rows[1111].Name
	x.Part, x.SameMap = x.Text[6000:12_000], x.Map
	s, vs := roundTripWith(t, Config{TargetBytes: 256}, "x", x)
	y := vs[0].Interface().(*chunkBox)
	if &y.Sub[0] != &y.Floats[700] || cap(y.Sub) != 250 || y.Float != &y.Floats[1234] || y.Field != &y.Rows[1111].Name {
		t.Error("parts of arrays are somewhere else")
	}
	if unsafe.StringData(y.Part) != unsafe.StringData(y.Text[6000:]) {
		t.Error("the substring has bytes of its own")
	}
	if y.SameMap[-1] = "both"; y.Map[-1] != "both" {
		t.Error("two maps of one")
	}
	lists := 0
	for _, p := range s.pods {
		for _, d := range p.Slots {
			if d.Kind == pod.SlotChunks {
				lists++
			}
		}
	}
	if lists < 11 {
		t.Errorf("only %d containers in chunks", lists)
	}
}

// A container that holds itself, through its own chunks.
func TestChunkedContainersMayHoldThemselves(t *testing.T) {
	anys := make([]any, 5000)
	for i := range anys {
		anys[i] = i
	}
	anys[100], anys[4000] = anys, &anys
	m := map[string]any{}
	for i := range 2000 {
		m[fmt.Sprint(i)] = strings.Repeat("x", i%9)
	}
	m["self"] = m
	roundTripWith(t, Config{TargetBytes: 256}, "anys", &anys, "map", m)
}

// Two savers from the same start put the same bytes, wherever memory lies.
func TestChunksDoNotDependOnAddresses(t *testing.T) {
	build := func() *chunkBox { return newChunkBox(rand.New(rand.NewPCG(7, 8)), 2000) }
	one, err := Canonical(Config{TargetBytes: 256}, rootsOf("x", build()))
	if err != nil {
		t.Fatal(err)
	}
	two, err := Canonical(Config{TargetBytes: 256}, rootsOf("x", build()))
	if err != nil {
		t.Fatal(err)
	}
	if string(one) != string(two) {
		t.Error("equal graphs gave different bytes")
	}
}

// A map of a few long entries is written down when it is met, and cut into chunks
// all the same where pods are small; so is one that was larger before.
func TestMapsOfFewEntriesAreCutToo(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 64
	g := mustGraph(t, cfg)
	x := map[string]string{}
	for i := range 30 {
		x[fmt.Sprint("key ", i)] = strings.Repeat("v", 150+i)
	}
	mustSave(t, g, s, "x", &x)
	for i := 4; i < 30; i++ {
		delete(x, fmt.Sprint("key ", i))
	}
	mustSave(t, g, s, "x", &x)
	y := map[string]string{"a": strings.Repeat("w", 400), "b": strings.Repeat("w", 500)}
	mustSave(t, g, s, "x", &x, "y", &y)
	_, vs := reload(t, s, cfg, "x", &x, "y", &y)
	for i, want := range []map[string]string{x, y} {
		if got := *vs[i].Interface().(*map[string]string); !maps.Equal(got, want) {
			t.Errorf("%d entries, want %d: %v", len(got), len(want), got)
		}
	}
}
