package podder

import (
	"context"
	"math"
	"reflect"
	"strconv"
	"testing"
)

// The fast way of reading maps must be the one that is tested: if a Go release
// changes the layout this fails, and saves go on by reflection.
func TestMapsAreReadAsMemoryHere(t *testing.T) {
	if !mapsAreGroups {
		t.Fatal("maps of this Go release are laid out differently: saves read them by reflection")
	}
}

// A layout that is off by a word is noticed by the test at start.
func TestTheTestOfMapLayoutsCanFail(t *testing.T) {
	m := map[string]int{"a": 1, "b": 2}
	l := layoutOf(reflect.TypeOf(m))
	h := *(**goMap)(reflect.ValueOf(&m).UnsafePointer())
	if _, ok := l.appendSlots(nil, h); !ok {
		t.Fatal("a map was not read")
	}
	wrong := *h
	wrong.used++
	if _, ok := l.appendSlots(nil, &wrong); ok {
		t.Fatal("a map that says that it has more entries was read")
	}
	wrong = *h
	wrong.writing = 1
	if _, ok := l.appendSlots(nil, &wrong); ok {
		t.Fatal("a map that is being written was read")
	}
}

// Maps read as memory and maps copied by reflection are stored in equal bytes,
// also such as are only read by reflection: with large keys or elements.
func TestMapsAreStoredAlikeHoweverTheyAreRead(t *testing.T) {
	type wide struct{ Name, More [80]byte }
	strs, ints, floats := map[string]string{}, map[int32]*bNode{}, map[float64]uint8{}
	bigKeys, bigElems, boxes, empty := map[[20]int64]bool{}, map[uint16]wide{}, map[any]any{}, map[string]struct{}{}
	for i := range 3000 {
		strs[strconv.Itoa(i)] = strconv.Itoa(-i)
		ints[int32(i%700)] = &bNode{Name: strconv.Itoa(i)}
		floats[float64(i)/3] = uint8(i)
		bigKeys[[20]int64{int64(i)}] = i%2 > 0
		bigElems[uint16(i%5)] = wide{Name: [80]byte{byte(i)}}
		boxes[i], boxes[strconv.Itoa(i)] = float64(i), nil
		empty[strconv.Itoa(i%11)] = struct{}{}
	}
	for range 3 {
		floats[math.NaN()] = 3
	}
	for i := range 1000 {
		delete(strs, strconv.Itoa(i))
	}
	roots := []any{"strs", strs, "ints", ints, "floats", floats, "keys", bigKeys, "elems", bigElems, "boxes", boxes, "empty", empty,
		"nil", map[string]int(nil), "none", map[int]int{}}
	save := func(reflected bool) *fakeStore {
		store := newFakeStore()
		g, err := NewGraph(store.config())
		if err != nil {
			t.Fatal(err)
		}
		if reflected {
			for _, r := range rootsOf(roots...) {
				g.eng.planOf(r.Value.Type()).layout.inGroup = false
			}
		}
		mustSave(t, g, store, roots...)
		return store
	}
	a, b := save(false), save(true)
	if len(a.pods) == 0 || !reflect.DeepEqual(a.pods, b.pods) {
		t.Fatal("the bytes differ")
	}
}

// Small maps that lead nowhere are written down when they are met; maps of the
// same entries that do not qualify are not. Both are the same to a reader.
func TestSmallMapsComeBackAsTheyWere(t *testing.T) {
	type key struct {
		A string
		B uint16
	}
	long := string(make([]byte, longString))
	want := []any{
		map[string]int{"a": 1, "": -1, "b": 1 << 40},
		map[key]string{{"x", 1}: "one", {"x", 2}: "two", {}: ""},
		map[struct{}]struct{}{{}: {}},
		map[float64]bool{math.Inf(1): true, 0: false},
		map[string]string{"long": long, "short": "s"},
		map[int]string{1: long[:4000], 2: long[:4000], 3: long[:4000]},
		map[int8]int8{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8},
		map[int8]int8{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9},
		map[string]int{},
		map[string][20000]float64{"large": {1, 2}},
	}
	var pairs []any
	var names []string
	var types []reflect.Type
	for i, v := range want {
		names = append(names, strconv.Itoa(i))
		types = append(types, reflect.TypeOf(v))
		pairs = append(pairs, names[i], v)
	}
	store := newFakeStore()
	mustSave(t, mustGraph(t, store.config()), store, pairs...)
	got, err := Decode(context.Background(), store.config(), store, names, types)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range got {
		if !reflect.DeepEqual(v.Interface(), want[i]) {
			t.Errorf("%T: got %v, want %v", want[i], v, want[i])
		}
	}
}
