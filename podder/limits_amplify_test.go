package podder

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// allocated returns how many bytes a function allocates, garbage included.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// loadAny decodes x, a variable of type any, with 1 MiB for what is not stored.
func loadAny(t testing.TB, h *handStore, slots ...pod.Data) (v reflect.Value, err error) {
	h.names["x"] = 1
	h.pod(1, nil, slots...)
	vs, err := Decode(t.Context(), Config{Registry: h.reg, MaxUnstored: 1 << 20}, h, []string{"x"}, []reflect.Type{anyType})
	if err != nil {
		return v, err
	}
	return vs[0], nil
}

// Values in interfaces have no slot of their own, so what they cost must be in
// proportion to the bytes of each.
func TestLargeValuesInInterfacesAreBounded(t *testing.T) {
	type wideBox struct {
		N    int
		Skip [1 << 16]byte `pod:"-"`
	}
	const n = 2000
	h := newHandStore()
	wide := reflect.TypeFor[wideBox]()
	if err := h.reg.Register(wide, "wide"); err != nil {
		t.Fatal(err)
	}
	var elems []hand
	for range n {
		elems = append(elems, hand{}.uv(uint64(h.typ(wide))).zz(1))
	}
	list := reflect.TypeFor[[]any]()
	var err error
	took := allocated(func() {
		_, err = loadAny(t, h, h.box(anyType, hand{}.uv(uint64(h.typ(list)), n+2, 0).to(1)), h.array(anyType, n, n, elems...))
	})
	if !errors.Is(err, dberr.ErrTooLarge) || took > 8<<20 {
		t.Errorf("%d bytes from %d values of two bytes: %v", took, n, err)
	}
}

// Each of many values that are handed over inside each other may say that there
// are as many more as there are bytes left.
func TestHandedValuesInsideEachOtherAreBounded(t *testing.T) {
	h := newHandStore()
	id := uint64(h.typ(reflect.TypeFor[sync.Map]()))
	const filler, nested = 20_000, 2_000
	var b hand
	for range nested {
		b = b.uv(id, 0, filler)
	}
	b = append(b, make([]byte, filler)...)
	var err error
	took := allocated(func() { _, err = loadAny(t, h, h.box(anyType, b)) })
	if !errors.Is(err, dberr.ErrCorrupt) || took > 64*uint64(len(b))+1<<20 {
		t.Errorf("%d bytes from %d: %v", took, len(b), err)
	}
}

// So may structs in structs of a descriptor.
func TestDescriptorsOfManyFieldsInsideEachOtherAreBounded(t *testing.T) {
	const filler, nested = 60_000, 900
	b := hand{descriptorVersion}
	for range nested {
		b = b.raw(byte(nodeStruct)).uv(1).raw('T').uv(filler/6).uv(1).raw('F', 0, 0)
	}
	b = append(b, make([]byte, filler)...)
	var err error
	took := allocated(func() { _, err = parseDescriptor(b) })
	if err == nil || took > 64*uint64(len(b))+1<<20 {
		t.Errorf("%d bytes from %d: %v", took, len(b), err)
	}
}

// A short regular expression may compile to a long program.
func TestRegexpsThatCompileToMuchAreBounded(t *testing.T) {
	texts := map[string]string{
		"repeats": strings.Repeat("(abcdefghij){1000}", 20),
		"classes": strings.Repeat(`\pL`, 1000),
	}
	for name, text := range texts {
		h := newHandStore()
		b := append([]byte{0}, text...)
		v := append(hand{}.uv(uint64(h.typ(reflect.TypeFor[regexp.Regexp]())), uint64(len(b))), b...)
		if _, err := loadAny(t, h, h.box(anyType, v)); !errors.Is(err, dberr.ErrTooLarge) {
			t.Errorf("%s: %d bytes of text gave %v", name, len(text), err)
		}
		// What a program may have is within the usual bounds.
		l := newLoader(t.Context(), &Config{Registry: h.reg}, h, nil)
		l.at.pod = &loadPod{id: 1}
		var re regexp.Regexp
		if l.codec(h.reg.codec(reflect.TypeFor[regexp.Regexp]()).(valueCodec), b, reflect.ValueOf(&re).UnsafePointer()); l.err != nil || re.String() != text {
			t.Errorf("%s: %v", name, l.err)
		}
	}
	// The estimate is not too low.
	for _, text := range []string{"a{1000}", "(a{30}){30}", "(a*b|[c-e]+){500}", `\pL{3}\PN`, "x{500,}", "plain text of some length", "(?i)straße{20}"} {
		b := append([]byte{0}, text...)
		took := allocated(func() { regexp.MustCompile(text) })
		if most := 40 * compiledSize(b); took > most {
			t.Errorf("%s: estimated at %d bytes, took %d with garbage", text, compiledSize(b), took)
		}
	}
}

// Types that values name are counted among those that a load makes.
func TestTypesThatValuesNameAreBounded(t *testing.T) {
	h := newHandStore()
	n := maxMadeTypes + 1
	elems := make([]hand, n)
	for i := range elems {
		text := fmt.Sprintf("[%d]int16", i)
		elems[i] = append(hand{}.uv(uint64(len(text))), text...)
	}
	h.names["x"] = 1
	list := reflect.SliceOf(runtimeType)
	h.pod(1, nil, h.box(list, hand{}.uv(uint64(n)+2, 0).to(1)), h.array(runtimeType, uint64(n), uint64(n), elems...))
	if _, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{"x"}, []reflect.Type{list}); !errors.Is(err, dberr.ErrTooLarge) {
		t.Errorf("%d types: %v", n, err)
	}
}

// What has a zone of the system stays one pointer however many names that are none
// were read, and a zone has one name.
func TestNamesOfNoZonesTakeNoRoom(t *testing.T) {
	z := newZones()
	for i := range 2 * maxZones {
		z.named(fmt.Sprintf("None/%d", i))
	}
	a, b := z.named("Europe/Berlin"), z.named("Europe/Berlin")
	if a == nil || a != b {
		t.Errorf("%p and %p", a, b)
	}
	if n := len(z.byName); n > maxZones+1 {
		t.Errorf("%d names are remembered", n)
	}
	for _, name := range []string{"Europe//Berlin", "./Europe/Berlin", "Europe/./Berlin"} {
		if z.named(name) != nil {
			t.Errorf("%s is a zone", name)
		}
	}
}

// Big numbers are shown in time that is in proportion to what is stored.
func TestJSONOfBigNumbersEnds(t *testing.T) {
	h := newHandStore()
	codecs := []struct {
		codec string
		bytes []byte
		want  string
	}{
		{"big.Float", []byte{1, 0xa, 0, 0, 0, 53, 0x7f, 0xff, 0xff, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, "0x.8p+2147483647"},
		{"big.Float", []byte{1, 0xa, 0, 0, 0, 53, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0}, "1"},
		{"big.Float", []byte{1, 0xa, 0x30, 0, 0, 53, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0}, "0x.8p+1"},
		{"big.Int", append([]byte{0, 1}, make([]byte, 4<<20)...), "0x1000"},
		{"big.Int", []byte{1, 77}, "-77"},
		{"big.Rat", []byte{2, 0, 3, 0, 2}, "3/2"},
	}
	for _, c := range codecs {
		j := &jsonWriter{viewer: newViewer(t.Context(), h)}
		start := time.Now()
		text, ok := j.codecText(c.codec, c.bytes)
		if !ok || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s is shown as %.40s, want %s", c.codec, text, c.want)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s took %v", c.codec, took)
		}
	}
}

// Damage that a codec took for a value.
func TestCodecsTakeOnlyWhatTheyWrite(t *testing.T) {
	r := NewRegistry()
	for name, b := range map[string][]byte{
		"unique.Handle[string]": {7, 'a'},
		"netip.Prefix":          {1, 2, 3, 4, 200},
	} {
		for _, e := range codecTable {
			if c := r.codec(e.typ).(valueCodec); c.name() == name && c.decode(b, reflect.New(e.typ).UnsafePointer()) == nil {
				t.Errorf("%s took %x", name, b)
			}
		}
	}
}

// An error about damage says how far into its slot it is.
func TestDamageIsSaidWithItsPlace(t *testing.T) {
	type inner struct {
		N int
		B bool
	}
	type holder struct {
		L []inner
		M map[string]inner
		P *inner
	}
	for name, c := range map[string]struct {
		slot  int // damaged
		at    int // from the end
		want  string
		elems int
	}{
		"object": {3, 1, "slot 3 at byte 2: bool of value 9", 1},
		"array":  {1, 1, "slot 1 at byte 83: bool of value 9", 40},
		"map":    {2, 1, "slot 2 at byte 6: bool of value 9", 1},
	} {
		s := newFakeStore()
		x := holder{L: make([]inner, c.elems), M: map[string]inner{"k": {}}, P: &inner{}}
		mustSave(t, mustGraph(t, s.config()), s, "x", x)
		p := s.pods[1]
		d := &p.Slots[c.slot]
		d.Bytes[len(d.Bytes)-c.at] = 9
		_, err := Decode(t.Context(), s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
		if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), "pod 1 "+c.want) {
			t.Errorf("%s: %v; slot is %v", name, err, d)
		}
	}
}
