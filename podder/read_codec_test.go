package podder

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func timeBytes(t *testing.T, c valueCodec, v time.Time) []byte {
	t.Helper()
	b, err := c.append(nil, unsafe.Pointer(&v))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTimeKeepsInstantAndLocation(t *testing.T) {
	c := NewRegistry().codec(timeType).(valueCodec)
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		berlin = time.FixedZone("Europe/Berlin", 3600)
	}
	locs := []*time.Location{time.UTC, time.Local, berlin, time.FixedZone("", 90), time.FixedZone("EST", -5*3600), time.FixedZone("CET", 3600), time.FixedZone("Europe/Berlin", -1), time.FixedZone("UTC", 0)}
	instants := []time.Time{{}, time.Now(), time.Unix(1<<40, 999999999), time.Unix(-1<<62, 1), time.Date(2024, 7, 1, 0, 0, 0, 1, time.UTC), time.Unix(1<<63-1, 0)}
	for _, loc := range locs {
		for _, in := range instants {
			v := in.In(loc)
			b := timeBytes(t, c, v)
			var got time.Time
			if err := c.decode(b, unsafe.Pointer(&got)); err != nil {
				t.Fatal(err)
			}
			_, wantOff := v.Zone()
			_, gotOff := got.Zone()
			if !got.Equal(v) || got.Location().String() != v.Location().String() || wantOff != gotOff {
				t.Fatalf("%v in %v came back as %v in %v", v, loc, got, got.Location())
			}
			if got.Round(0) != got {
				t.Fatal("monotonic part kept")
			}
			if again := timeBytes(t, c, got); !bytes.Equal(again, b) {
				t.Fatalf("%v: %x after a round trip %x", v, b, again)
			}
		}
	}
	var zero time.Time
	var got time.Time
	if err := c.decode(timeBytes(t, c, zero), unsafe.Pointer(&got)); err != nil || got != zero {
		t.Fatalf("zero time: %v %v", got, err)
	}
}

func TestTimesOfOneZoneStayComparable(t *testing.T) {
	c := NewRegistry().codec(timeType).(valueCodec)
	b := timeBytes(t, c, time.Unix(1, 2).In(time.FixedZone("here", 77)))
	var a, d time.Time
	if c.decode(b, unsafe.Pointer(&a)) != nil || c.decode(b, unsafe.Pointer(&d)) != nil || a != d {
		t.Fatal("equal times differ under ==")
	}
}

func TestDamagedTimesAreErrors(t *testing.T) {
	c := NewRegistry().codec(timeType).(valueCodec)
	good := timeBytes(t, c, time.Unix(1, 2).In(time.FixedZone("here", 77)))
	for n := range good {
		var v time.Time
		if c.decode(good[:n], unsafe.Pointer(&v)) == nil {
			t.Fatalf("%d of %d bytes were enough", n, len(good))
		}
	}
	for _, b := range [][]byte{{9, 0, 0}, append(good[:len(good):len(good)], 0), hand{}.raw(0).zz(1).uv(1e9), hand{}.raw(2).zz(1).uv(0).uv(1 << 40), hand{}.raw(3).zz(1).uv(0).uv(0).zz(1 << 40)} {
		var v time.Time
		if c.decode(b, unsafe.Pointer(&v)) == nil {
			t.Fatalf("%x was accepted", b)
		}
	}
}

// Unexported fields are there to be described.
var _ = []any{descGeneric[int]{p: nil}, descAll{i: 0}, descAll2{z: 0}}

type descGeneric[T any] struct {
	V T
	p *descGeneric[T]
}

type descAll struct {
	B    bool
	i    int
	F    []float64
	M    map[string]*descAll
	E    error
	A    any
	T    time.Time
	Fn   func(int, ...string) (error, bool)
	Ch   chan<- int
	Arr  [2][3]uint8
	Anon struct {
		X int `json:"x"`
		y *descAll
	}
	descGeneric[map[string]descAll2]
	Skip  int `pod:"-"`
	_     int
	I     interface{ Foo(a int) error }
	After string
}

type descAll2 struct{ z complex128 }

func TestDescriptorParsesBackToItself(t *testing.T) {
	reg := NewRegistry()
	for _, typ := range []reflect.Type{reflect.TypeFor[descAll](), reflect.TypeFor[int](), reflect.TypeFor[**[]map[[2]string]any](), timeType, reflect.TypeFor[struct{}](), reflect.TypeFor[[5]descGeneric[time.Time]]()} {
		b, err := describe(reg, typ)
		if err != nil {
			t.Fatal(err)
		}
		n, err := parseDescriptor(b)
		if err != nil {
			t.Fatalf("%v: %v", typ, err)
		}
		if again := appendNode([]byte{descriptorVersion}, n); !bytes.Equal(b, again) {
			t.Fatalf("%v:\n%q\n%q", typ, b, again)
		}
		for i := range b {
			if _, err := parseDescriptor(b[:i]); err == nil {
				t.Fatalf("%v: %d of %d bytes were enough", typ, i, len(b))
			}
			for _, x := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				c := bytes.Clone(b)
				c[i] = x
				_, _ = parseDescriptor(c) // any answer, but no panic and no large allocation
			}
		}
	}
	n, err := parseDescriptor(mustDescribe(t, reg, reflect.TypeFor[descAll]()))
	if err != nil {
		t.Fatal(err)
	}
	last := n.fields[len(n.fields)-1]
	if last.name != "After" || last.id != 15 || n.fields[1].flags != fieldUnexported || n.fields[11].flags != fieldEmbedded|fieldUnexported {
		t.Fatalf("%+v", n.fields)
	}
	b, err := describeMap(reg, reflect.TypeFor[map[string]descAll2]())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := parseDescriptor(b); err != nil || n.kind != nodeEntries || n.text != "map[string]github.com/poddb/poddb/podder.descAll2" || n.elem.fields[0].name != "z" {
		t.Fatalf("%v %+v", err, n)
	}
}

func mustDescribe(t *testing.T, reg *Registry, typ reflect.Type) []byte {
	b, err := describe(reg, typ)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func localOne() reflect.Type { type local struct{ A int }; return reflect.TypeFor[local]() }
func localTwo() reflect.Type { type local struct{ B int }; return reflect.TypeFor[local]() }

func TestTypesThatCannotBeToldApartAreRefused(t *testing.T) {
	reg := NewRegistry()
	if _, err := describe(reg, localOne()); err != nil {
		t.Fatal(err)
	}
	if _, err := describe(reg, localTwo()); err == nil {
		t.Fatal("two types of one name were accepted")
	}
	if err := reg.Register(localTwo(), "two"); err != nil {
		t.Fatal(err)
	}
	if _, err := describe(reg, localTwo()); err != nil {
		t.Fatal(err)
	}
}

func TestRegisterRefusesConflicts(t *testing.T) {
	reg := NewRegistry()
	node, pair := reflect.TypeFor[handNode](), reflect.TypeFor[handPair]()
	for i, c := range []struct {
		typ     reflect.Type
		name    string
		aliases []string
		ok      bool
	}{
		{node, "app.Node", []string{"old.Node"}, true},
		{node, "app.Node", nil, true},
		{node, "app.Other", nil, false},
		{pair, "app.Node", nil, false},
		{pair, "old.Node", nil, false},
		{pair, "app.Pair", []string{"app.Node"}, false},
		{reflect.TypeFor[*handNode](), "p", nil, false},
		{reflect.TypeFor[int](), "number", nil, false},
		{pair, "*x", nil, false},
		{pair, "int", nil, false},
		{pair, "", nil, true},
		{nil, "x", nil, false},
	} {
		if err := reg.Register(c.typ, c.name, c.aliases...); (err == nil) != c.ok {
			t.Errorf("case %d: %v", i, err)
		}
	}
	if got := reg.typeText(reflect.TypeFor[map[string][]*handNode]()); got != "map[string][]*app.Node" {
		t.Error(got)
	}
	if !reg.textIs("map[string][]*old.Node", reflect.TypeFor[map[string][]*handNode]()) || reg.textIs("[]*old.Node", reflect.TypeFor[[]*handPair]()) {
		t.Error("aliases inside composite texts")
	}
}

func TestKnownIsWhatALaterProcessCanMake(t *testing.T) {
	reg := NewRegistry()
	static := reg.reachable(reflect.TypeFor[*descAll]())
	for _, typ := range []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[map[string][]any](), reflect.TypeFor[**descAll](), reflect.TypeFor[[]descAll2](), timeType, reflect.TypeFor[[3]error]()} {
		if !reg.known(typ, static) {
			t.Errorf("%v is not known", typ)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[handNode](), reflect.TypeFor[map[handNode]int](), reflect.TypeFor[struct{ Q int }](), reflect.TypeFor[strings.Replacer]()} {
		if reg.known(typ, static) {
			t.Errorf("%v is known", typ)
		}
	}
	if err := reg.Register(reflect.TypeFor[handNode](), ""); err != nil || !reg.known(reflect.TypeFor[[]*handNode](), nil) {
		t.Error("registered type is not known")
	}
}

// randomType builds a type from bases, some of which no later process knows.
func randomType(r *rand.Rand, bases []reflect.Type, depth int) reflect.Type {
	if depth == 0 || r.IntN(4) == 0 {
		return bases[r.IntN(len(bases))]
	}
	t := randomType(r, bases, depth-1)
	switch r.IntN(5) {
	case 0:
		return reflect.PointerTo(t)
	case 1:
		return reflect.SliceOf(t)
	case 2:
		n := []int{0, 1, 3, 300, maxMadeArray, maxMadeArray + 1}[r.IntN(6)]
		if uint64(n)*uint64(t.Size()) > 1<<30 {
			n = 1
		}
		return reflect.ArrayOf(n, t)
	case 3:
		if k := randomType(r, bases, 1); k.Comparable() {
			return reflect.MapOf(k, t)
		}
	}
	return t
}

// known is the promise that a save gives: a later process with the same
// registrations, which wants the variable's type, makes the type from its text.
func TestKnownTypesAreThoseThatALoadResolves(t *testing.T) {
	type local struct{ A [100000]int }
	registered := reflect.TypeFor[handNode]()
	static := reflect.TypeFor[*local]()
	bases := []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[string](), reflect.TypeFor[any](), reflect.TypeFor[error](), reflect.TypeFor[struct{}](), timeType,
		reflect.TypeFor[handPair](), registered, static, static.Elem(), reflect.TypeFor[[100000]int](), reflect.TypeFor[[]any](),
		reflect.TypeFor[struct{ Q int }](), reflect.TypeFor[func()](), reflect.TypeFor[strings.Replacer](), reflect.TypeFor[interface{ M() }](),
	}
	newReg := func() *Registry {
		reg := NewRegistry()
		if err := reg.Register(registered, "app.Node"); err != nil {
			t.Fatal(err)
		}
		return reg
	}
	reg, yes := newReg(), 0
	r := rand.New(rand.NewPCG(1, 2))
	for range 4000 {
		typ := randomType(r, bases, 5)
		known := reg.known(typ, reg.reachable(static))
		l := newLoader(t.Context(), &Config{Registry: newReg()}, newHandStore(), []reflect.Type{static})
		got, err := l.resolve(reg.typeText(typ))
		if known != (err == nil) || err == nil && got != typ {
			t.Fatalf("%v: known %v, resolved as %v, %v", typ, known, got, err)
		}
		if known {
			yes++
		}
		if part := reg.unmakable(typ, reg.reachable(static)); part != nil && reg.unknownHint(part, false) == "" {
			t.Fatalf("%v: no hint", typ)
		}
	}
	if yes < 400 || yes > 3600 {
		t.Errorf("%d of 4000 types are known", yes)
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[[100001]int](), reflect.TypeFor[[1 << 20]struct{}]()} {
		if reg.known(typ, nil) {
			t.Errorf("%v is known", typ)
		}
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[map[string]struct{}](), reflect.TypeFor[struct{}]()} {
		if !reg.known(typ, nil) {
			t.Errorf("%v is not known", typ)
		}
	}
}
