package db_test

import (
	"math"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/db"
)

type (
	numbers struct {
		B     bool
		I     int
		I8    int8
		I16   int16
		I32   int32
		I64   int64
		U     uint
		U8    uint8
		U16   uint16
		U32   uint32
		U64   uint64
		Uptr  uintptr
		F32   float32
		F64   float64
		C64   complex64
		C128  complex128
		Kinds [4]weekday
	}
	weekday uint8
	base    struct {
		ID   int
		note string
	}
	embedding struct {
		base
		*node
		string // an embedded predeclared type
		_      int
		flag   bool
		_      [3]byte
		n      int64
		live   bool `pod:"-"` // not loaded
		Last   int32
	}
	locked struct {
		mu   sync.Mutex
		rw   sync.RWMutex
		once sync.Once
		wg   sync.WaitGroup
		cond *sync.Cond
		P    *sync.Mutex
		N    int
		temp string `pod:"-"`
		fn   func() `pod:"-"`
		ch   chan int
		was  string `pod:"stored,was=older"`
	}
	texts struct {
		Bytes    string
		Empty    string
		Long     string
		Same     string
		Parts    []string
		Raw      []byte
		Runes    []rune
		LongInIf any
	}
)

// What pointers of the row "globals" lead to.
var (
	globalNumber = 41
	globalBox    = box{a: 7, tail: "global"}
	globalList   = []int{1, 2, 3}
)

// behind returns the n bytes behind a field.
func behind(p *bool, n int) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), 1)), n)
}

func valueRows() []row {
	type kinds struct {
		X *numbers
		N *[]numbers
	}
	type bare struct {
		I  int
		B  bool
		S  string
		F  float64
		C  complex128
		U8 uint8
		W  weekday
	}
	type embedded struct{ E *embedding }
	type strs struct {
		X *texts
		Y *[]string
	}
	type small struct{ L *[]any }
	type globals struct {
		N *int
		F *int
		B *box
		L *[]int
		P *struct{ Inside *string }
	}
	type syncs struct {
		L *locked
		M *[2]locked
	}
	full := func() numbers {
		return numbers{true, -5, math.MinInt8, math.MinInt16, math.MinInt32, math.MinInt64, math.MaxUint, 255, 65535, math.MaxUint32, math.MaxUint64, 99,
			math.Float32frombits(0x7fc00123), math.Float64frombits(0x7ff8000000abcdef), complex(float32(math.Inf(-1)), 2),
			complex(math.Copysign(0, -1), math.Float64frombits(0xfff8000000000001)), [4]weekday{1, 2, 255, 0}}
	}
	same := func(a, b *numbers) bool { // by bits, but for padding
		x, y := *a, *b
		ok := math.Float32bits(x.F32) == math.Float32bits(y.F32) && math.Float64bits(x.F64) == math.Float64bits(y.F64) &&
			math.Float64bits(real(x.C128)) == math.Float64bits(real(y.C128)) && math.Float64bits(imag(x.C128)) == math.Float64bits(imag(y.C128))
		for _, z := range []*numbers{&x, &y} {
			z.F32, z.F64, z.C128 = 0, 0, 0
		}
		return ok && x == y
	}
	long := strings.Repeat("0123456789abcdef", 1000)
	return []row{
		kept("every numeric kind, bit for bit", func() *kinds {
			f := full()
			return &kinds{&f, &[]numbers{{}, full(), {F64: math.Inf(1), I: math.MaxInt64}}}
		}, func(t *testing.T, v *kinds) {
			f := full()
			l := *v.N
			is(t, "one", same(v.X, &f))
			is(t, "in a slice", len(l) == 3 && same(&l[0], &numbers{}) && same(&l[1], &f) && math.IsInf(l[2].F64, 1) && l[2].I == math.MaxInt64)
		}),
		kept("variables that are numbers, bools and strings", func() *bare {
			return &bare{-1, true, "s\x00", math.Copysign(0, -1), complex(1, -1), 200, 3}
		}, func(t *testing.T, v *bare) {
			is(t, "values", *v == bare{-1, true, "s\x00", 0, complex(1, -1), 200, 3} && math.Signbit(v.F))
		}),
		kept("unexported and embedded fields; blank ones are zero", func() *embedded {
			e := &embedding{base: base{1, "note"}, node: &node{Name: "in"}, string: "str", flag: true, n: -9, live: true}
			*(*int)(unsafe.Add(unsafe.Pointer(&e.string), unsafe.Sizeof(e.string))) = 77 // the blank field behind it
			copy(behind(&e.flag, 7), "\x55\x55\x55\x55\x55\x55\x55")                     // blank, and padding
			copy(behind(&e.live, 3), "\x55\x55\x55")                                     // padding
			return &embedded{e}
		}, func(t *testing.T, v *embedded) {
			e := v.E
			is(t, "embedded", e.ID == 1 && e.note == "note" && e.Name == "in" && e.string == "str")
			is(t, "unexported", e.flag && e.n == -9)
			blank := *(*int)(unsafe.Add(unsafe.Pointer(&e.string), unsafe.Sizeof(e.string)))
			is(t, "blank fields are zero", e.live || blank == 0 && string(behind(&e.flag, 7)) == "\x00\x00\x00\x00\x00\x00\x00")
			is(t, "padding is zero", e.live || string(behind(&e.live, 3)) == "\x00\x00\x00")
		}),
		kept("strings with any bytes; long ones are stored once and shared", func() *strs {
			x := &texts{Bytes: "a\x00\xff\xfe\u00e9", Long: long, Same: long, Raw: []byte{0, 255, 10}, Runes: []rune("aß\U0001f600")}
			x.Parts = []string{long[:5000], long[16:8016], long[16000-5:], long[10:20]}
			x.LongInIf = long[1:]
			return &strs{x, &[]string{long, long[4096:]}}
		}, func(t *testing.T, v *strs) {
			x := v.X
			is(t, "short ones", x.Bytes == "a\x00\xff\xfe\u00e9" && x.Empty == "" && string(x.Raw) == "\x00\xff\n" && string(x.Runes) == "aß\U0001f600")
			is(t, "long ones", x.Long == long && x.Same == long && x.Parts[0] == long[:5000] && x.Parts[1] == long[16:8016] && x.Parts[2] == long[16000-5:] &&
				x.Parts[3] == long[10:20] && x.LongInIf == long[1:] && (*v.Y)[0] == long && (*v.Y)[1] == long[4096:])
			at := func(s string) uintptr {
				return uintptr(unsafe.Pointer(unsafe.StringData(s))) - uintptr(unsafe.Pointer(unsafe.StringData(x.Long)))
			}
			is(t, "one copy of it", at(x.Same) == 0 && at(x.Parts[0]) == 0 && at(x.Parts[1]) == 16 && at(x.LongInIf.(string)) == 1 && at((*v.Y)[1]) == 4096)
		}),
		kept("boxed small integers", func() *small {
			l := []any{}
			for i := range 300 {
				l = append(l, i, uint8(i), int64(i), rune(i), i%2 == 0, weekday(i))
			}
			return &small{&l}
		}, func(t *testing.T, v *small) {
			l := *v.L
			ok := len(l) == 1800
			for i := range 300 {
				k := 6 * i
				ok = ok && l[k] == i && l[k+1] == uint8(i) && l[k+2] == int64(i) && l[k+3] == rune(i) && l[k+4] == (i%2 == 0) && l[k+5] == weekday(i)
			}
			is(t, "types and values", ok)
		}, db.Type[weekday]("weekday")),
		kept("globals: what pointers into the program's data lead to", func() *globals {
			return &globals{&globalNumber, &globalBox.a, &globalBox, &globalList, &struct{ Inside *string }{&globalBox.tail}}
		}, func(t *testing.T, v *globals) {
			is(t, "values", *v.N == 41 && v.B.a == 7 && len(*v.L) == 3 && (*v.L)[2] == 3)
			is(t, "pointers into one", v.F == &v.B.a && v.P.Inside == &v.B.tail && *v.P.Inside == "global")
		}, db.Type[box]("box")),
		kept("locks are never read and zero after load; pod:\"-\" skips", func() *syncs {
			v := &syncs{&locked{N: 1, was: "w", temp: "t", cond: nil}, &[2]locked{{N: 2}, {N: 3}}}
			v.L.mu.Lock()
			v.M[1].rw.RLock()
			v.L.wg.Add(1)
			v.L.once.Do(func() {})
			v.L.fn = func() {}
			return v
		}, func(t *testing.T, v *syncs) {
			is(t, "the rest", v.L.N == 1 && v.M[0].N == 2 && v.M[1].N == 3 && v.L.was == "w")
			if v.L.temp != "t" { // loaded
				is(t, "unlocked", v.L.mu.TryLock() && v.M[1].rw.TryLock())
				v.L.mu.Unlock()
				v.M[1].rw.Unlock()
				v.L.wg.Wait()
				ran := false
				v.L.once.Do(func() { ran = true })
				v.L.once = sync.Once{}
				is(t, "not done", ran)
				is(t, "not stored", v.L.temp == "" && v.L.fn == nil && v.L.ch == nil)
			}
		}),
	}
}
