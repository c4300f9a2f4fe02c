package podder

import (
	"math"
	"reflect"
	"testing"
	"unsafe"
)

// gap has a word that is not stored behind one that is.
type gap struct {
	A uint64
	B uint64 `pod:"-"`
}

// Values that do not follow each other closely are no row of more than one, and numbers are hashed
// as bytes if they are many.
func TestRowsOfWords(t *testing.T) {
	e := newEngine(NewRegistry(), 12345, false)
	for typ, want := range map[reflect.Type][4]uintptr{ // of 0, 1, 2 and 100 values
		reflect.TypeFor[gap]():    {0, 1, 0, 0},
		reflect.TypeFor[string](): {0, 2, 4, 200},
		reflect.TypeFor[[]int]():  {0, 3, 6, 300},
		reflect.TypeFor[uint64](): {0, 1, 2, 0},
		reflect.TypeFor[uint32](): {0, 0, 0, 0},
		reflect.TypeFor[struct {
			A *int
			B bool
		}](): {0, 0, 0, 0},
	} {
		x := e.printerOf(e.planOf(typ))
		for k, n := range []int{0, 1, 2, 100} {
			if got := x.row(n); got != want[k] {
				t.Errorf("%d of %v are a row of %d words, not %d", n, typ, got, want[k])
			}
		}
	}
	if x := e.printerOf(e.planOf(reflect.TypeFor[string]())); x.row(maxRow) != 0 || x.row(maxRow/2) != maxRow || x.row(math.MaxInt) != 0 {
		t.Errorf("rows of %d, %d, %d words", x.row(maxRow), x.row(maxRow/2), x.row(math.MaxInt))
	}
}

// Each bit of the key and the element of an entry counts, of maps whose slots are rows of
// words and of others, small and large.
func TestEveryBitOfAMapCounts(t *testing.T) {
	type two struct{ A, B uint64 }
	type odd struct {
		A uint64
		B uint8
	}
	t.Run("words", func(t *testing.T) { everyBitOfAMap[two, two](t, 4) })
	t.Run("odd number of words", func(t *testing.T) { everyBitOfAMap[two, uint64](t, 3) })
	t.Run("no element", func(t *testing.T) { everyBitOfAMap[uint64, struct{}](t, 1) })
	t.Run("a byte behind", func(t *testing.T) { everyBitOfAMap[two, odd](t, 0) })
	t.Run("a gap between", func(t *testing.T) { everyBitOfAMap[gap, uint64](t, 0) })
	t.Run("short key", func(t *testing.T) { everyBitOfAMap[uint32, two](t, 0) })
}

func everyBitOfAMap[K, E comparable](t *testing.T, slot uintptr) {
	e := newEngine(NewRegistry(), 12345, false)
	x, k := e.mapPrinterOf(e.planOf(reflect.TypeFor[map[K]E]())), e.printKeys()
	if x.slot != slot {
		t.Fatalf("slots are rows of %d words", x.slot)
	}
	for _, n := range []int{1, 3, 8, 9, 100} {
		m := map[K]E{}
		for i := range n {
			var key K
			var elem E
			*(*uint8)(unsafe.Pointer(&key)) = uint8(i)
			if unsafe.Sizeof(elem) > 0 {
				*(*uint8)(unsafe.Pointer(&elem)) = uint8(i + 7)
			}
			m[key] = elem
		}
		header := *(**goMap)(unsafe.Pointer(&m))
		was, ok := e.printMap(x, k, unsafe.Pointer(header))
		if !ok {
			t.Fatal("the map was not read")
		}
		slots, _ := x.layout.appendSlots(nil, header)
		flip := func(what string, p unsafe.Pointer, typ reflect.Type) {
			for at := range typ.Size() {
				if f := typ; f.Kind() == reflect.Struct {
					if last := f.Field(f.NumField() - 1); at >= last.Offset+last.Type.Size() || last.Tag != "" && at >= last.Offset {
						break // padding, or not stored
					}
				}
				b := (*uint8)(unsafe.Add(p, at))
				for bit := range 8 {
					*b ^= 1 << bit
					if now, ok := e.printMap(x, k, unsafe.Pointer(header)); !ok || now == was {
						t.Fatalf("bit %d of byte %d of a %s among %d is lost", bit, at, what, n)
					}
					*b ^= 1 << bit
				}
			}
		}
		for _, s := range slots {
			flip("key", s.key, reflect.TypeFor[K]())
			flip("element", unsafe.Add(s.key, x.layout.elem), reflect.TypeFor[E]())
		}
		header.used++ // more entries than are there
		if _, ok := e.printMap(x, k, unsafe.Pointer(header)); ok {
			t.Errorf("a map of %d entries that says it has %d was read", n, n+1)
		}
		header.used--
		header.writing = 1
		if _, ok := e.printMap(x, k, unsafe.Pointer(header)); ok {
			t.Error("a map that is being written was read")
		}
		header.writing = 0
	}
}
