package podder

import (
	"bytes"
	golist "container/list"
	"container/ring"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"math/rand"
	randv2 "math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"weak"

	"github.com/poddb/poddb/internal/pod"
)

// standardValues are values of all types of the standard library that have a
// stored form of their own.
func standardValues() map[string]any {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	fixed := time.FixedZone("here", 5400)
	at := time.Unix(1_700_000_000, 5)
	list := golist.New()
	list.PushBack(1)
	list.PushFront(list)
	around := ring.New(3)
	around.Value = "r"
	m := &sync.Map{}
	m.Store("k", 1)
	m.Store(2, m)
	buffer := bytes.NewBufferString("buffered")
	_, _ = buffer.ReadByte()
	builder := &strings.Builder{}
	builder.WriteString("built")
	float, _ := new(big.Float).SetPrec(100).SetString("1.25e300")
	link, err := url.Parse("https://user:pw@example.org:80/a?b=c#d")
	if err != nil {
		panic(err)
	}
	pcg, chacha := randv2.NewPCG(1, 2), randv2.NewChaCha8([32]byte{3})
	_ = chacha.Uint64()
	n := new(int)
	type cells struct {
		P atomic.Pointer[int]
		W weak.Pointer[int]
		V atomic.Value
		N atomic.Int64
		B atomic.Bool
		S *int
	}
	c := &cells{W: weak.Make(n), S: n}
	c.P.Store(n)
	c.V.Store("value")
	c.N.Store(7)
	return map[string]any{
		"time":      &[]time.Time{at.UTC(), at, at.In(berlin), at.In(fixed), {}},
		"location":  &[]*time.Location{time.UTC, time.Local, berlin, fixed, nil},
		"big":       &[]any{big.NewInt(-5), new(big.Int).Lsh(big.NewInt(1), 300), big.NewRat(-3, 7), float},
		"netip":     &[]any{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddrPort("[::1]:80"), netip.MustParsePrefix("10.0.0.0/8"), netip.Prefix{}},
		"regexp":    &[]*regexp.Regexp{regexp.MustCompile(`a(b|c)+\d{2,}`), regexp.MustCompilePOSIX("a*|b"), {}},
		"rand":      &[]any{pcg, chacha, randv2.New(pcg), rand.New(rand.NewSource(1))},
		"unique":    &[]unique.Handle[string]{unique.Make("u"), {}, unique.Make("")},
		"reflect":   &[]reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[map[string][]*time.Time](), nil},
		"list":      list,
		"ring":      around,
		"syncmap":   m,
		"buffers":   &[]any{buffer, builder, bytes.NewReader([]byte("read")), strings.NewReader("text")},
		"errors":    &[]error{errors.New("plain"), fmt.Errorf("wrapped: %w", fs.ErrExist), errors.Join(errors.New("a"), errors.New("b")), &fs.PathError{Op: "open", Path: "/", Err: fs.ErrExist}},
		"url":       link,
		"cells":     c,
		"sentinels": &[]error{fs.ErrNotExist, errors.ErrUnsupported, nil},
	}
}

// FuzzStandardValues: what is stored of types of the standard library, by codecs,
// and by their parts.
func FuzzStandardValues(f *testing.F) {
	values := standardValues()
	var stores []*hostileStore
	for _, name := range slices.Sorted(maps.Keys(values)) {
		stores = append(stores, hostile(f, name, noTypes, noTypes, 0, "x", values[name]))
	}
	fuzzSlots(f, stores)
}

// FuzzCodec: the bytes of every codec of the standard library. What is accepted is
// a value that can be stored, as bytes that give the same.
func FuzzCodec(f *testing.F) {
	r := NewRegistry()
	for i, e := range codecTable {
		c := r.codec(e.typ).(valueCodec)
		seeds := [][]byte{nil}
		for _, v := range standardValues() {
			for _, p := range valuesOf(reflect.ValueOf(v), e.typ, nil) {
				b, err := c.append(nil, p.UnsafePointer())
				if err != nil {
					f.Fatal(err)
				}
				seeds = append(seeds, b)
			}
		}
		for k, b := range seeds {
			f.Add(byte(i), b)
			seedFile(f, fmt.Sprintf("saved-%s-%d", strings.Trim(c.name(), "*"), k), byte(i), b)
		}
		if len(seeds) < 2 {
			f.Errorf("no value of %s", c.name())
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		e := codecTable[int(which)%len(codecTable)]
		h := newHandStore()
		c := h.reg.codec(e.typ).(valueCodec)
		l := newLoader(t.Context(), &Config{Registry: h.reg, MaxUnstored: 1 << 20}, h, nil)
		l.at.pod = &loadPod{id: 1}
		p := reflect.New(e.typ)
		took := allocated(func() { l.codec(c, b, p.UnsafePointer()) })
		if most := 2<<20 + 2048*uint64(len(b)); took > most {
			t.Fatalf("%s: %d bytes allocated from %d", c.name(), took, len(b))
		}
		j := &jsonWriter{viewer: newViewer(t.Context(), h)}
		j.codecText(c.name(), b)
		if l.err != nil {
			mustBeDocumented(t, c.name(), l.err)
			return
		}
		again, err := c.append(nil, p.UnsafePointer())
		if err != nil {
			t.Fatalf("%s of %x: %v", c.name(), b, err)
		}
		q := reflect.New(e.typ)
		if err := c.decode(again, q.UnsafePointer()); err != nil {
			t.Fatalf("%s of %x, stored as %x: %v", c.name(), b, again, err)
		}
		if twice, err := c.append(nil, q.UnsafePointer()); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("%s of %x is stored as %x, then as %x: %v", c.name(), b, again, twice, err)
		}
	})
}

// valuesOf returns pointers to the values of type t that v leads to.
func valuesOf(v reflect.Value, t reflect.Type, found []reflect.Value) []reflect.Value {
	if v.IsValid() && v.Type() == t {
		p := reflect.New(t)
		p.Elem().Set(v)
		return append(found, p)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Type().Elem().Kind() != reflect.Struct || v.Type().Elem() == t {
			return valuesOf(v.Elem(), t, found)
		}
	case reflect.Interface:
		return valuesOf(v.Elem(), t, found)
	case reflect.Slice:
		for i := range v.Len() {
			found = valuesOf(v.Index(i), t, found)
		}
	}
	return found
}

// FuzzChunkLists: lists of chunks, and the chunks.
func FuzzChunkLists(f *testing.F) {
	r := randv2.New(randv2.NewPCG(9, 10))
	fuzzSlots(f, []*hostileStore{hostile(f, "containers", noTypes, noTypes, 64, "x", newChunkBox(r, 60))})
}

// FuzzOpaque: values whose types the program does not know, and what they lead to.
func FuzzOpaque(f *testing.F) {
	writer := func(t testing.TB) *Registry { return registryOf(t, opaqueSecret{}, opaqueInner{}, opaqueHolder{}) }
	reader := func(t testing.TB) *Registry { return registryOf(t, opaqueHolder{}) }
	world := opaqueWorld(randv2.New(randv2.NewPCG(1, 1)))
	world.Many = world.Many[:4]
	fuzzSlots(f, []*hostileStore{
		hostile(f, "whole", writer, reader, 0, "x", world),
		hostile(f, "many", writer, reader, 100, "x", world),
	})
}

// fuzzInside is what other variables point into, at every depth.
type fuzzInside struct {
	N    int
	Name string
	Grid [3][4]fuzzCorner
	Rows []fuzzCorner
	One  struct{ C fuzzCorner }
}

type fuzzCorner struct {
	X, Y  int
	Label string
	Up    *fuzzInside
}

// fuzzPointers points into the same objects.
type fuzzPointers struct {
	Ints    []*int
	Strings []*string
	Corners []*fuzzCorner
	Rows    []*[4]fuzzCorner
	Grid    *[3][4]fuzzCorner
	Part    []fuzzCorner
	Any     []any
	ByPart  map[*int]*string
}

func newFuzzPointers() (*fuzzInside, *fuzzPointers) {
	in := &fuzzInside{N: 1, Name: "in", Rows: make([]fuzzCorner, 5, 8)}
	in.Grid[1][2] = fuzzCorner{X: 3, Label: "corner", Up: in}
	in.One.C.Up = in
	return in, &fuzzPointers{
		Ints:    []*int{&in.N, &in.Grid[2][3].Y, &in.Rows[4].X, &in.One.C.X},
		Strings: []*string{&in.Name, &in.Grid[1][2].Label, &in.Rows[0].Label},
		Corners: []*fuzzCorner{&in.Grid[0][0], &in.Rows[1], &in.One.C},
		Rows:    []*[4]fuzzCorner{&in.Grid[1], (*[4]fuzzCorner)(in.Rows[1:])},
		Grid:    &in.Grid,
		Part:    in.Rows[1:3:6],
		Any:     []any{&in.N, &in.Grid[1], in.Rows[2:], &in.One.C.Label},
		ByPart:  map[*int]*string{&in.N: &in.Name, &in.Grid[0][1].X: nil},
	}
}

// FuzzInterior: references into objects, by elements and fields, within a pod,
// between pods and through forwarders, and the paths of the viewer to them.
func FuzzInterior(f *testing.F) {
	in, out := newFuzzPointers()
	near := hostile(f, "near", noTypes, noTypes, 0, "x", out, "y", in)
	far := hostile(f, "far", noTypes, noTypes, 64, "x", out, "y", in)
	// Parts that were saved alone, and are parts of their object now: z, which does not
	// know that, gets to them through forwarders.
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = registryOf(f, fuzzInside{})
	g := mustGraph(f, cfg)
	in, _ = newFuzzPointers()
	in.Grid[1][2].Up, in.One.C.Up = nil, nil // nothing but y leads to the whole
	x, z := &[]any{&in.Grid[1], in.Rows[2:3], &in.One.C}, &[]any{in.Rows[2:3], &in.One.C, &in.Grid[1]}
	mustSave(f, g, s, "x", x, "z", z)
	mustSave(f, g, s, "x", x, "y", in)
	forwarded := *near
	forwarded.name, forwarded.store, forwarded.vars = "forwarded", s, []string{"x", "y", "z"}
	forwarded.want = []reflect.Type{reflect.TypeOf(x), reflect.TypeOf(in), reflect.TypeOf(z)}
	forwarded.cfg = func(t testing.TB) Config {
		return Config{Secret: s.key, Registry: registryOf(t, fuzzInside{}), MaxUnstored: 1 << 20, MaxLoad: 64 << 20}
	}
	if err := forwarded.read(f, s); err != nil {
		f.Fatal(err)
	}
	forwards := 0
	for _, p := range s.pods {
		for _, d := range p.Slots {
			if d.Kind == pod.SlotForward {
				forwards++
			}
		}
	}
	if forwards == 0 {
		f.Fatal("no forwarders")
	}
	forwarded.least = allocated(func() { forwarded.read(f, s) })
	stores := []*hostileStore{near, far, &forwarded}
	paths := []string{"x.Grid[1][2].Label", "x.Ints[1]", "y.Rows[2].Up.Grid[0]", "x.ByPart", "x.Any[2][0]", "x[0]", `x["k"]`}
	for i, h := range stores {
		for k, at := range h.slots() {
			b := h.store.pods[at.pod].Slots[at.slot].Bytes
			f.Add(byte(i), uint16(k), b, paths[k%len(paths)])
			seedFile(f, fmt.Sprintf("saved-%s-%d", h.name, k), byte(i), uint16(k), b, paths[k%len(paths)])
		}
	}
	f.Fuzz(func(t *testing.T, which byte, at uint16, b []byte, path string) {
		h := *stores[int(which)%len(stores)]
		all := h.slots()
		h.path = path
		h.mustCopeWithPath(t, with(h.store, all[int(at)%len(all)], b), len(b)+len(path))
	})
}

// mustCopeWithPath is mustCope for a path that may be no path.
func (h *hostileStore) mustCopeWithPath(t *testing.T, s *fakeStore, added int) {
	_, _, err := splitPath(h.path, func(name string) (bool, error) { return s.names[name] != 0, nil })
	if err != nil {
		h.path = h.vars[0]
	}
	h.mustCope(t, s, added)
}

// FuzzStoredType: another descriptor in the catalogue, with values of its type.
func FuzzStoredType(f *testing.F) {
	writer := func(t testing.TB) *Registry {
		return registryOf(t, opaqueSecret{}, opaqueInner{}, opaqueHolder{}, fuzzInside{}, fuzzPointers{}, fuzzErr{})
	}
	world := opaqueWorld(randv2.New(randv2.NewPCG(1, 1)))
	world.Many = world.Many[:2]
	in, out := newFuzzPointers()
	values := []any{world, in, out, m3(), &fuzzErr{"e"}}
	known := hostile(f, "known", writer, writer, 0, "x", &values)
	unknown := hostile(f, "unknown", writer, noTypes, 0, "x", &[]any{world.First, opaqueInner{"a", "b"}, [3]opaqueInner{}})
	stores := []*hostileStore{known, unknown}
	var descs [][]string
	for i, h := range stores {
		var ds []string
		for d := range h.store.types {
			ds = append(ds, d)
		}
		slices.SortFunc(ds, func(a, b string) int { return int(h.store.types[a]) - int(h.store.types[b]) })
		descs = append(descs, ds)
		all := h.slots()
		for k, d := range ds {
			n := k % len(all)
			b := h.store.pods[all[n].pod].Slots[all[n].slot].Bytes
			if len(d)+len(b) > 4096 {
				continue
			}
			f.Add(byte(i), byte(k), []byte(d), uint16(n), b)
			seedFile(f, fmt.Sprintf("saved-%s-%d", h.name, k), byte(i), byte(k), []byte(d), uint16(n), b)
		}
	}
	f.Fuzz(func(t *testing.T, which, typ byte, d []byte, at uint16, b []byte) {
		h := stores[int(which)%len(stores)]
		ds := descs[int(which)%len(stores)]
		s := h.store.snapshot()
		if len(b) > 0 {
			all := h.slots()
			s = with(s, all[int(at)%len(all)], b)
		}
		old := ds[int(typ)%len(ds)]
		if _, taken := s.types[string(d)]; !taken {
			s.types[string(d)] = s.types[old]
			delete(s.types, old)
		}
		h.mustCope(t, s, len(d)+len(b))
		list, err := DescribeStored(s.types[string(d)], d)
		if err == nil {
			CompareTypes(list, list)
		}
	})
}

// m3 leads to types that are known by their text alone.
func m3() any {
	return map[string][]*[3]any{"k": {{1, "two", [2]bool{true}}, nil}}
}
