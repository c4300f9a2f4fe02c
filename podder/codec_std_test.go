package podder

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	randv2 "math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unique"

	"github.com/poddb/poddb/internal/dberr"
)

func TestBigNumbersKeepValueAndSharing(t *testing.T) {
	huge := new(big.Int).Exp(big.NewInt(-7), big.NewInt(1001), nil)
	f := new(big.Float).SetPrec(300).SetMode(big.ToZero).Quo(big.NewFloat(1).SetPrec(300), big.NewFloat(3))
	type holder struct {
		A, B *big.Int
		V    big.Int
		In   any // by value
		R    *big.Rat
		F    []*big.Float
		M    map[string]big.Int
		Z    *big.Rat
	}
	h := &holder{A: huge, B: huge, V: *big.NewInt(0), In: *big.NewInt(-1), R: big.NewRat(-22, 14), Z: new(big.Rat),
		F: []*big.Float{f, new(big.Float), new(big.Float).SetInf(true), new(big.Float).Neg(new(big.Float))},
		M: map[string]big.Int{}}
	for i := range 100 {
		h.M[fmt.Sprint(i)] = *new(big.Int).Lsh(big.NewInt(int64(i)), 100)
	}
	got := loaded(t, h)
	if got.A != got.B || got.A.Cmp(huge) != 0 || got.V.Sign() != 0 || got.R.Cmp(h.R) != 0 || got.Z.Sign() != 0 {
		t.Errorf("%v %v %v", got.A, &got.V, got.R)
	}
	if v := got.In.(big.Int); v.Int64() != -1 {
		t.Errorf("by value: %v", &v)
	}
	for i, f := range h.F {
		if g := got.F[i]; g.Cmp(f) != 0 || g.Prec() != f.Prec() || g.Mode() != f.Mode() || g.Acc() != f.Acc() || g.Signbit() != f.Signbit() {
			t.Errorf("float %d: %v of %d bits, want %v of %d", i, g, g.Prec(), f, f.Prec())
		}
	}
	for i := range 100 {
		v := got.M[fmt.Sprint(i)]
		if want := h.M[fmt.Sprint(i)]; v.Cmp(&want) != 0 {
			t.Errorf("map %d: %v, want %v", i, &v, &want)
		}
	}
}

// The words of a big.Int that lies in an interface are its own: when they change,
// the next save sees it.
func TestABigIntChangedInPlaceIsSaved(t *testing.T) {
	s := newFakeStore()
	x := new(big.Int).Lsh(big.NewInt(1), 200)
	list := make([]any, 100)
	for i := range list {
		list[i] = *x
	}
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "x", list)
	x.Add(x, big.NewInt(1)) // keeps its memory, which all of them share
	mustSave(t, g, s, "x", list)
	_, vs := reload(t, s, s.config(), "x", list)
	if v := vs[0].Interface().([]any)[99].(big.Int); v.Cmp(x) != 0 {
		t.Errorf("%v, want %v", &v, x)
	}
}

func TestNetworkAddressesStayComparable(t *testing.T) {
	type holder struct {
		A map[netip.Addr]netip.AddrPort
		P []netip.Prefix
	}
	zone := netip.MustParseAddr("fe80::1%eth0")
	h := &holder{A: map[netip.Addr]netip.AddrPort{
		zone: netip.AddrPortFrom(zone, 80), netip.MustParseAddr("1.2.3.4"): {}, {}: netip.MustParseAddrPort("[::1]:443"),
		netip.MustParseAddr("::ffff:1.2.3.4"): netip.AddrPortFrom(netip.Addr{}, 7),
	}, P: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}, netip.PrefixFrom(netip.MustParseAddr("1.2.3.4"), 99)}}
	if got := loaded(t, h); !reflect.DeepEqual(got, h) {
		t.Errorf("%v, want %v", got, h)
	}
}

func TestRegexpsMatchAsBefore(t *testing.T) {
	longest := regexp.MustCompile(`a+|a+b`)
	longest.Longest()
	x := []*regexp.Regexp{
		regexp.MustCompile(`(?i)(\w+)@(?P<host>[a-z.]+)`), longest, regexp.MustCompile(`a+|a+b`),
		regexp.MustCompilePOSIX(`^a+|a+b$`), {}, nil,
	}
	x = append(x, x[0])
	got := loaded(t, x)
	if got[0] != got[6] || got[0] == got[2] || got[5] != nil || got[4].String() != "" {
		t.Error("identity is lost")
	}
	for _, text := range []string{"", "x@Y.org", "aab", "b\naaab", "aa\nb"} {
		for i := range 4 {
			if a, b := x[i].FindStringSubmatchIndex(text), got[i].FindStringSubmatchIndex(text); !reflect.DeepEqual(a, b) {
				t.Errorf("%v on %q: %v, want %v", x[i], text, b, a)
			}
		}
	}
}

func TestGeneratorsGoOnWhereTheyWere(t *testing.T) {
	pcg, cha := randv2.NewPCG(1, 2), randv2.NewChaCha8([32]byte{3})
	pcg.Uint64()
	for range 77 {
		cha.Uint64()
	}
	_, _ = cha.Read(make([]byte, 3))
	type holder struct {
		P *randv2.PCG
		C *randv2.ChaCha8
		R *randv2.Rand
	}
	h := &holder{pcg, cha, randv2.New(pcg)}
	got := loaded(t, h)
	for i := range 1000 {
		if a, b := h.R.Uint64(), got.R.Uint64(); a != b {
			t.Fatalf("PCG number %d is %d, want %d", i, b, a)
		}
		if a, b := h.P.Uint64(), got.P.Uint64(); a != b { // the same generator
			t.Fatalf("shared PCG number %d is %d, want %d", i, b, a)
		}
		if a, b := h.C.Uint64(), got.C.Uint64(); a != b {
			t.Fatalf("ChaCha8 number %d is %d, want %d", i, b, a)
		}
	}
}

func TestLocationsByPointer(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	fixed := time.FixedZone("here", 3600)
	type holder struct {
		L []*time.Location
		T time.Time
		A any
	}
	h := &holder{L: []*time.Location{time.UTC, time.Local, nil, berlin, fixed, fixed}, T: time.Unix(0, 0).In(berlin), A: berlin}
	got := loaded(t, h)
	if got.L[0] != time.UTC || got.L[1] != time.Local || got.L[2] != nil || got.L[4] != got.L[5] || got.L[4].String() != "here" {
		t.Errorf("%v", got.L)
	}
	if got.L[3] != got.T.Location() || got.A != any(got.L[3]) || got.L[3].String() != "Europe/Berlin" {
		t.Error("a zone is no longer one pointer")
	}
}

func TestReflectTypesAndHandlesAreTheSameAgain(t *testing.T) {
	type holder struct {
		T []reflect.Type
		H []unique.Handle[string]
		M map[unique.Handle[string]]int
	}
	cfg := Config{Registry: NewRegistry()}
	if err := cfg.Registry.Register(reflect.TypeFor[wNode](), "node"); err != nil {
		t.Fatal(err)
	}
	h := &holder{
		T: []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[map[string][]*wNode](), nil, reflect.TypeFor[big.Int](), reflect.TypeFor[error]()},
		H: []unique.Handle[string]{unique.Make("a"), {}, unique.Make("")},
		M: map[unique.Handle[string]]int{unique.Make("a"): 1},
	}
	got := loadedWith(t, cfg, h)
	if !reflect.DeepEqual(got.T, h.T) || !reflect.DeepEqual(got.H, h.H) || got.M[unique.Make("a")] != 1 {
		t.Errorf("%v, want %v", got, h)
	}
}

// Entries of a map are decoded in the same memory, one after the other.
func TestNilTypesAmongTheEntriesOfAMapStayNil(t *testing.T) {
	m := reflect.MakeMap(reflect.MapOf(reflect.TypeFor[int](), runtimeType))
	for i := range 40 {
		v := reflect.Zero(runtimeType)
		if i%2 == 0 {
			v = reflect.ValueOf(reflect.TypeFor[int]())
		}
		m.SetMapIndex(reflect.ValueOf(i), v)
	}
	if got := loaded(t, m.Interface()); !reflect.DeepEqual(got, m.Interface()) {
		t.Errorf("%v, want %v", got, m)
	}
}

func TestATypeThatNobodyCouldKnowIsRefusedAsAValue(t *testing.T) {
	type holder struct{ A []reflect.Type }
	s := newFakeStore()
	g := mustGraph(t, s.config())
	_, err := g.Save(context.Background(), rootsOf("x", &holder{[]reflect.Type{nil, reflect.TypeFor[wNode]()}}), s.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || u.Problems[0].Path != "x.A[1]" || !strings.Contains(u.Problems[0].Reason, "db.Register[podder.wNode]") {
		t.Errorf("%v", err)
	}
	if len(s.pods) > 0 {
		t.Error("something was written")
	}
}

func TestDamagedCodecBytesAreErrors(t *testing.T) {
	r := NewRegistry()
	for typ, c := range r.codecs {
		codec, ok := c.(valueCodec)
		if !ok {
			continue
		}
		p := reflect.New(typ)
		good, err := codec.append(nil, p.UnsafePointer())
		if err != nil {
			t.Errorf("%v: zero: %v", typ, err)
		}
		if err := codec.decode(good, p.UnsafePointer()); err != nil {
			t.Errorf("%v: zero again: %v", typ, err)
		}
		fresh := reflect.New(typ) // the zero value as a load makes it
		if err := codec.decode(good, fresh.UnsafePointer()); err != nil {
			t.Errorf("%v: zero again: %v", typ, err)
		}
		for seed := range uint64(2000) {
			rnd := randv2.New(randv2.NewPCG(seed, 1))
			b := make([]byte, rnd.IntN(40))
			for i := range b {
				b[i] = byte(rnd.Uint32() >> (8 * rnd.IntN(4)))
			}
			if len(b) > 0 && seed%2 == 0 {
				b[0] %= 6
			}
			q := reflect.New(typ)
			if codec.decode(b, q.UnsafePointer()) != nil {
				continue
			}
			// What is accepted is a value that can be stored, and comes back.
			again, err := codec.append(nil, q.UnsafePointer())
			if err != nil {
				t.Fatalf("%v of %x: %v", typ, b, err)
			}
			if err := codec.decode(again, q.UnsafePointer()); err != nil {
				t.Fatalf("%v of %x, stored as %x: %v", typ, b, again, err)
			}
			// Memory is used again.
			if err := codec.decode(good, q.UnsafePointer()); err != nil || !reflect.DeepEqual(q.Interface(), fresh.Interface()) {
				t.Fatalf("%v of %x is left in a zero value, %v", typ, b, err)
			}
		}
	}
	var f big.Float
	if err := r.codec(reflect.TypeFor[big.Float]()).(valueCodec).decode([]byte{1, 6, 0, 0, 0, 0}, reflect.ValueOf(&f).UnsafePointer()); err == nil {
		t.Error("took a float of no form")
	}
}
