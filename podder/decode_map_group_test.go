package podder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// The fast way of making small maps must be the one that is tested: if a Go release
// changes the layout this fails, and Go makes them.
func TestSmallMapsAreFilledAsMemoryHere(t *testing.T) {
	if !mapsAreFilled() {
		t.Fatal("maps of this Go release do not bear to be filled as memory: loads have Go fill them")
	}
}

// smallMaps is what a load that makes many small maps reads.
type smallMaps[E any] struct {
	Filler []string // so many that short strings are remembered
	Maps   []map[string]E
}

// Small maps that a load has made are maps of Go: they answer, grow, shrink and are
// cleared as those that were saved.
func TestSmallMapsAreMaps(t *testing.T) {
	n := 7
	checkSmallMaps(t, func(i int) int { return i - 3 })
	checkSmallMaps(t, func(i int) uint16 { return uint16(i) })
	checkSmallMaps(t, func(i int) int32 { return int32(-i) })
	checkSmallMaps(t, func(i int) float64 { return float64(i) / 3 })
	checkSmallMaps(t, func(i int) bool { return i%2 > 0 })
	checkSmallMaps(t, func(i int) string { return fmt.Sprint("elem ", i) })
	checkSmallMaps(t, func(i int) *int { return []*int{nil, &n}[i%2] })
	checkSmallMaps(t, func(i int) []int { return make([]int, i%3) })
	checkSmallMaps(t, func(i int) map[string]int { return map[string]int{"a": i, "b": i} })
	checkSmallMaps(t, func(i int) struct{} { return struct{}{} })
	checkSmallMaps(t, func(i int) any { return []any{nil, i, "x"}[i%3] })
	checkSmallMaps(t, func(i int) [3]byte { return [3]byte{1, byte(i)} })
}

func checkSmallMaps[E any](t *testing.T, elem func(i int) E) {
	t.Helper()
	rng := rand.New(rand.NewPCG(3, 5))
	want := smallMaps[E]{}
	for i := range 2000 {
		want.Filler = append(want.Filler, fmt.Sprint("filler ", i))
	}
	key := func() string {
		k := []string{"", "a", "id", "name", "a key of some length"}[rng.IntN(5)]
		return k + []string{"", fmt.Sprint(rng.IntN(3)), fmt.Sprint(rng.IntN(30))}[rng.IntN(3)]
	}
	for range 500 {
		m := make(map[string]E)
		for range rng.IntN(11) {
			m[key()] = elem(rng.IntN(100))
		}
		want.Maps = append(want.Maps, m)
	}
	_, vs := roundTrip(t, "m", &want)
	got := vs[0].Interface().(*smallMaps[E])
	for i, m := range got.Maps {
		w := want.Maps[i]
		for step := range 40 {
			switch k := key(); rng.IntN(8) {
			case 0, 1, 2, 3:
				e := elem(rng.IntN(100))
				m[k], w[k] = e, e
			case 4, 5, 6:
				delete(m, k)
				delete(w, k)
			default:
				if step%20 == 0 {
					clear(m)
					clear(w)
				}
			}
			if !reflect.DeepEqual(m, w) {
				t.Fatalf("%T after %d steps: %v, want %v", m, step, m, w)
			}
			for k := range m {
				if _, ok := m[k]; !ok {
					t.Fatalf("%T: no %q in %v", m, k, m)
				}
			}
		}
	}
}

// The test at start finds out if Go puts keys elsewhere, or takes tags from elsewhere.
func TestTheTestOfFillingMapsCanFail(t *testing.T) {
	tm := textMapIn[uint64](false)
	seed := mapSeed()
	fill := func(tag uint8) map[string]uint64 {
		g := tm.make(seed)
		slot, ok := g.free(tag, tm.slot)
		if !ok {
			t.Fatal("no room in an empty map")
		}
		g.put(slot, "key", tag)
		return asMap[uint64](g)
	}
	learned := tm.make(seed)
	asMap[uint64](learned)["key"] = 0
	tag := learned.tag("key", 0, tm.slot)
	want := map[string]uint64{"key": 0}
	if !sameEntries(fill(tag), want) {
		t.Error("a map with the right tag is refused")
	}
	if sameEntries(fill(tag^1), want) {
		t.Error("a map with a wrong tag is found to be right")
	}
	if tag := learned.tag("key", 1, tm.slot); tag != 0 {
		t.Errorf("tag %#x of an entry that is not there", tag)
	}
}
