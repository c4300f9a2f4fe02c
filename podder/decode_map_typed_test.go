package podder

import (
	"fmt"
	"math"
	"reflect"
	"testing"
)

// A map is filled through a type of the same layout where there is one, so maps
// of all kinds of keys and elements must answer as maps that Go has filled.
func TestMapsOfAllLayoutsAnswer(t *testing.T) {
	type id string
	type pair struct{ A, B int32 }
	n := 3
	checkMap(t, map[string]int{"a": 1, "b": 2})
	checkMap(t, map[id]float32{"a": 1, "b": 2})
	checkMap(t, map[string]struct{}{"a": {}})
	checkMap(t, map[int]bool{-1: true, 7: false})
	checkMap(t, map[int32]uint8{-1: 4, 7: 5})
	checkMap(t, map[uint32]int16{1: 4, 7: 5})
	checkMap(t, map[uint64]string{1: "a", 1 << 63: "b"})
	checkMap(t, map[uint8]string{1: "a", 255: "b"})
	checkMap(t, map[float64]int{1: 1, math.Inf(1): 2})
	checkMap(t, map[string][]int{"a": {1, 2}, "b": nil})
	checkMap(t, map[string]any{"a": 1, "b": "x", "c": nil})
	checkMap(t, map[string]error{"a": nil})
	checkMap(t, map[string]pair{"a": {1, 2}})
	checkMap(t, map[pair]string{{1, 2}: "a"})
	checkMap(t, map[any]int{1: 1, "x": 2})
	checkMap(t, map[string]*int{"a": &n, "b": nil})
	checkMap(t, map[string]map[int]int{"a": {1: 1}, "b": nil})
	checkMap(t, map[int64]complex128{5: 1})
	checkMap(t, map[[2]string]int8{{"a", "b"}: 1})
	checkMap(t, map[string][200]byte{"a": {1, 2, 3}})
	checkMap(t, map[*int]string{&n: "n"})
	big := map[id][]string{}
	for i := range 5000 {
		big[id(fmt.Sprint("key", i))] = []string{fmt.Sprint(i)}
	}
	checkMap(t, big)
}

func checkMap[K comparable, V any](t *testing.T, m map[K]V) {
	t.Helper()
	_, vs := roundTrip(t, "m", m)
	got := vs[0].Interface().(map[K]V)
	if _, pointers := any(*new(K)).(*int); !pointers && !reflect.DeepEqual(got, m) {
		t.Errorf("%T: got %v, want %v", m, got, m)
	}
	for k, v := range got { // by Go's own hash, after growth, too
		if w, ok := got[k]; !ok || !reflect.DeepEqual(v, w) {
			t.Errorf("%T[%v]: %v and %v", m, k, v, w)
		}
	}
	for k := range got {
		delete(got, k)
	}
	if len(got) != 0 {
		t.Errorf("%T: %d entries left", m, len(got))
	}
}
