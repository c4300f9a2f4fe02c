package podder

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// Who reads without types sees the same whether containers are in chunks or not.
func TestViewOfChunks(t *testing.T) {
	x := newChunkBox(rand.New(rand.NewPCG(13, 14)), 300)
	x.Floats = append(x.Floats, make([]float64, 500)...) // zeros that are not stored
	x.Sub, x.Float, x.Part, x.SameMap = x.Floats[50:150], &x.Floats[200], x.Text[1000:5500], x.Map
	x.Lists, x.ByPtr, x.Map = nil, nil, map[int]string{1: "one"} // in an order that depends on how they are stored
	x.SameMap = nil
	views := map[string][]string{}
	for _, target := range []int{64, DefaultTargetBytes} {
		s := newFakeStore()
		cfg := s.config()
		cfg.TargetBytes = target
		mustSave(t, mustGraph(t, cfg), s, "x", x)
		if lists := len(s.lists(pod.SlotArray)); (lists > 5) != (target == 64) {
			t.Fatalf("%d lists at %d bytes", lists, target)
		}
		for _, path := range []string{"x", "x.Floats", "x.Floats[299]", "x.Floats[300]", "x.Floats[799]", "x.Sub[99]", "x.Float", "x.Ptrs[211].N",
			"x.Rows[123].Name", "x.Anys[77]", "x.Names[250]", "x.Text", "x.Part", "x.Odd[299]", "x.Bytes", "x.Map"} {
			var out strings.Builder
			if err := WriteJSON(context.Background(), s, &out, path, JSONOptions{}); err != nil {
				t.Errorf("%s at %d bytes: %v", path, target, err)
			}
			views[path] = append(views[path], out.String())
		}
	}
	for path, v := range views {
		if v[0] != v[1] {
			t.Errorf("%s:\nin chunks %.300s\nelse      %.300s", path, v[0], v[1])
		}
	}
}

func TestViewOfMapsInChunks(t *testing.T) {
	m := map[string]int{}
	for i := range 1000 {
		m[randomText(rand.New(rand.NewPCG(uint64(i), 15)), 8)] = i
	}
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 128
	mustSave(t, mustGraph(t, cfg), s, "m", m)
	if len(s.lists(pod.SlotMap)) != 1 {
		t.Fatal("the map is not in chunks")
	}
	v := newViewer(t.Context(), s)
	w, err := v.root("m")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	if _, err := v.entries(&w, func(key, val view) error {
		k, err := v.keyText(key)
		seen[k] = int(val.c.varint())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(seen, m) {
		t.Errorf("%d entries of %d", len(seen), len(m))
	}
	counts, err := CountValues(t.Context(), s, []string{"m"})
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range counts {
		if n != 1 {
			t.Errorf("%d values of type %d", n, id)
		}
	}
}

// A value of a type that the program does not know keeps its chunks.
func TestOpaqueContainersInChunks(t *testing.T) {
	type stranger struct {
		Leaf *chunkLeaf
		N    int
	}
	type holder struct {
		Any  any
		Leaf *chunkLeaf
		N    int
	}
	leaf := &chunkLeaf{N: 1}
	list, m := make([]stranger, 2, 2000), map[int]stranger{}
	anys := []any{list, m}
	x := &holder{Any: anys, Leaf: leaf}
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 256
	full := cfg
	full.Registry = NewRegistry()
	if err := full.Registry.Register(reflect.TypeFor[stranger](), "stranger"); err != nil {
		t.Fatal(err)
	}
	g := mustGraph(t, full)
	mustSave(t, g, s, "x", x)
	// They grow where they are, in the pod of what refers to them.
	list = list[:2000]
	for i := range list {
		list[i] = stranger{leaf, i}
		m[i] = list[i]
	}
	anys[0] = list
	mustSave(t, g, s, "x", x)
	lists := 0
	for _, p := range s.pods {
		for _, d := range p.Slots[1:] {
			if d.Kind == pod.SlotChunks {
				lists++
			}
		}
	}
	if lists != 2 {
		t.Fatalf("%d lists beside other slots", lists)
	}
	g, vs := reload(t, s, cfg, "x", x)
	y := vs[0].Interface().(*holder)
	y.N = 7
	mustSave(t, g, s, "x", y)
	_, vs = reload(t, s, full, "x", x)
	x.N = 7
	if err := isomorphic(reflect.ValueOf(x), vs[0]); err != nil {
		t.Error(err)
	}
}

// Elements in chunks convert like others.
func TestElementsInChunksConvert(t *testing.T) {
	floats := make([]int32, 3000)
	for i := range floats {
		floats[i] = int32(i * 3)
	}
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 256
	mustSave(t, mustGraph(t, cfg), s, "x", &floats)
	g := mustGraph(t, cfg)
	vs, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*[]int64]()})
	if err != nil {
		t.Fatal(err)
	}
	wide := vs[0].Interface().(*[]int64)
	for i, v := range *wide {
		if v != int64(floats[i]) {
			t.Fatalf("element %d is %d", i, v)
		}
	}
	mustSave(t, g, s, "x", wide)
	_, vs = reload(t, s, cfg, "x", wide)
	if !slices.Equal(*vs[0].Interface().(*[]int64), *wide) {
		t.Error("it came back different")
	}
}
