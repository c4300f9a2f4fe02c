package podder

import (
	"reflect"
	"testing"
)

type liesArrays struct {
	Bytes   [120]byte
	Signed  [3]int8
	Floats  [5]float32
	Nested  [4][10]float64
	Complex [2]complex128
	Bools   [20]bool
	Ints    [20]int32
	Text    [20]string
}

// Arrays of scalars that are stored as they lie in memory are copied, others are not; both come
// out as they went in.
func TestArraysThatAreStoredAsTheyLie(t *testing.T) {
	var v liesArrays
	for i := range v.Bytes {
		v.Bytes[i] = byte(7 * i)
	}
	v.Signed, v.Floats, v.Complex = [3]int8{-1, 127, -128}, [5]float32{1.5, -2, 0, 3e30}, [2]complex128{complex(1, -2), 3}
	for i := range v.Nested {
		for j := range v.Nested[i] {
			v.Nested[i][j] = float64(i) / float64(j+1)
		}
	}
	for i := range v.Ints {
		v.Bools[i], v.Ints[i], v.Text[i] = i%3 == 0, int32(i-7)<<i, string(rune('a'+i))
	}
	_, out := roundTrip(t, "v", &v)
	if got := out[0].Interface().(*liesArrays); *got != v {
		t.Fatalf("%+v came out of %+v", *got, v)
	}
	for _, c := range []struct {
		of    any
		moves int
		code  moveCode
	}{
		{[120]byte{}, 1, moveRaw}, {[3]int8{}, 1, moveRaw}, {[5]float32{}, 1, moveRaw}, {[4][10]float64{}, 1, moveRaw},
		{[2]complex128{}, 1, moveRaw}, {[20]bool{}, 1, moveArray}, {[20]int32{}, 1, moveArray}, {[20]string{}, 1, moveArray},
	} {
		pl := planOf(t, c.of)
		if len(pl.moves) != c.moves || pl.moves[0].code != c.code {
			t.Errorf("%T is decoded by %d moves, the first is %d", c.of, len(pl.moves), pl.moves[0].code)
		}
	}
}

// planOf returns how the value of a type is decoded that is stored as it is.
func planOf(t *testing.T, v any) *decodePlan {
	t.Helper()
	reg := NewRegistry()
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	roundTripWith(t, Config{Registry: reg}, "v", p.Interface())
	reg.mu.RLock()
	defer reg.mu.RUnlock()
	for key, pl := range reg.plans {
		if key.typ == p.Type().Elem() {
			return pl
		}
	}
	t.Fatalf("no plan for %T", v)
	return nil
}
