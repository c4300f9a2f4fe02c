package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
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

// Go has the last word on keys of which an equal one may be there, and on maps that
// are full.
func TestKeysThatMayBeThereAreLeftToGo(t *testing.T) {
	tm := textMapIn[uint64](false)
	g := tm.make(mapSeed())
	for i := range mapGroupSlots {
		tag := uint8(i*3) | known
		slot, ok := g.free(tag, tm.slot)
		if !ok {
			t.Fatalf("no room for key %d", i)
		}
		g.put(slot, fmt.Sprint(i), tag)
		if _, ok := g.free(tag, tm.slot); ok {
			t.Errorf("key %d could be put twice", i)
		}
	}
	if _, ok := g.free(100|known, tm.slot); ok {
		t.Error("there is room in a full map")
	}
	if _, ok := tm.make(mapSeed()).free(0, tm.slot); ok {
		t.Error("a key without a tag could be put")
	}
}

// smallMapStore is a store of one variable, small maps of which the last is of
// entries; those before it have the same keys.
func smallMapStore[E any](entries ...hand) *handStore {
	type mapType = map[string]E
	h := newHandStore()
	var filler []hand
	for i := range 2000 {
		filler = append(filler, hand{}.str(fmt.Sprint("filler ", i)))
	}
	slots := []pod.Data{
		h.box(reflect.TypeFor[smallMaps[E]](), hand{}.uv(uint64(len(filler))+2, 0).to(1).uv(uint64(len(entries))+2, 0).to(2)),
		h.array(reflect.TypeFor[string](), uint64(len(filler)), uint64(len(filler)), filler...), {}}
	var maps []hand
	for i := range entries {
		if i == len(entries)-1 {
			i = len(entries)
		}
		maps = append(maps, hand{}.to(uint64(len(slots))))
		if i == 0 {
			slots = append(slots, h.mapOf(reflect.TypeFor[mapType]()))
			continue
		}
		slots = append(slots, h.mapOf(reflect.TypeFor[mapType](), entries[:i]...))
	}
	slots[2] = h.array(reflect.TypeFor[mapType](), uint64(len(maps)), uint64(len(maps)), maps...)
	h.pod(1, []pod.Ref{{Pod: 2}, {Pod: 3}}, slots...)
	h.names["m"] = 1
	return h
}

// A small map with a key twice, or with more or fewer entries than it says, is damaged,
// however its keys are put in.
func TestDamagedSmallMaps(t *testing.T) {
	entry := func(key string) hand { return hand{}.str(key).zz(int64(len(key))) }
	load := func(h *handStore) error {
		_, err := Decode(context.Background(), Config{Registry: h.reg}, h, []string{"m"}, []reflect.Type{reflect.TypeFor[smallMaps[int]]()})
		return err
	}
	if err := load(smallMapStore[int](entry("a"), entry("bb"), entry("c"), entry("d"))); err != nil {
		t.Fatal(err)
	}
	if err := load(smallMapStore[int](entry("a"), entry("bb"), entry("c"), entry("a"))); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("a key twice: %v", err)
	}
	for _, count := range []byte{1, 3, 5} {
		h := smallMapStore[int](entry("a"), entry("bb"), entry("c"), entry("d"))
		last := h.pods[1].Slots[len(h.pods[1].Slots)-1].Bytes
		if last[0] != 4 {
			t.Fatalf("head of a map is %v", last)
		}
		last[0] = count
		if err := load(h); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("4 entries, said to be %d: %v", count, err)
		}
	}
	var nine []hand
	for i := range 12 {
		nine = append(nine, entry(fmt.Sprint("k", i%9)))
	}
	h := smallMapStore[int](nine...)
	last := h.pods[1].Slots[len(h.pods[1].Slots)-1].Bytes
	last[0] = 8 // the map grows out of its group while it is filled
	if err := load(h); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("12 entries, said to be 8: %v", err)
	}
}

// Small maps whose elements lie in pods that are not here are filled when they are.
func TestSmallMapsWaitForTheirPods(t *testing.T) {
	entry := func(key string, ref uint64) hand { return hand{}.str(key).out(ref) }
	h := smallMapStore[*int](entry("a", 0), entry("b", 1), entry("c", 0), entry("d", 1), entry("e", 0))
	h.pod(2, nil, h.object(reflect.TypeFor[int](), hand{}.zz(22)))
	h.pod(3, nil, h.object(reflect.TypeFor[int](), hand{}.zz(33)))
	vs, err := Decode(context.Background(), Config{Registry: h.reg}, h, []string{"m"}, []reflect.Type{reflect.TypeFor[smallMaps[*int]]()})
	if err != nil {
		t.Fatal(err)
	}
	maps := vs[0].Interface().(smallMaps[*int]).Maps
	for i, keys := range []string{"", "a", "ab", "abc", "abcde"} {
		if len(maps[i]) != len(keys) {
			t.Errorf("map %d has %d entries", i, len(maps[i]))
		}
		for k, key := range keys {
			want := []int{22, 33}[k%2]
			if got := maps[i][string(key)]; got == nil || *got != want || got != maps[4][string("ab"[k%2])] {
				t.Errorf("map %d, key %c: %v, want %d", i, key, got, want)
			}
		}
	}
}
