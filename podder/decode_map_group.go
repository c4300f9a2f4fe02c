package podder

import (
	"reflect"
	"sync"
	"unsafe"
)

// Of the maps in most graphs the larger part has a few entries with strings for keys,
// and the same keys over and over. Go makes one in two allocations, with a random
// number, and hashes every key: a third of the time of a load. Here it is made in one
// or two, with the seed that the maps of a load have in common, as those that
// maps.Clone makes have, and a key whose tag (7 bits of its hash) was seen in another
// map is put into the group without being hashed.
//
// This writes the layout that map_memory.go reads, which is not promised. So it is
// done only on the releases of Go that it was written for (mapsOfThisGo), and there
// only if maps made this way do what maps do (mapsAreFilled); and what is not the
// common case is left to Go: it inserts all other keys, into the same map.

// goMapWhole is all of a map but for its group.
type goMapWhole struct {
	goMap
	_ uint64 // counts clears
}

// textGroupOf is the group of a small map from strings.
type textGroupOf[E any] struct {
	tags  uint64
	slots [mapGroupSlots]struct {
		key  string
		elem E
	}
}

// textMapOf is a map with its group in one allocation.
type textMapOf[E any] struct {
	goMapWhole
	group textGroupOf[E]
}

// textMap is how small maps from strings to one kind of elements are made here.
type textMap struct {
	make func(seed uintptr) textGroup // nil if they are not
	slot uintptr                      // size of a slot of the group
}

// textMapIn returns how maps from strings to elements that are laid out like an E
// are made. A group beside which its map lies lives as long as the map, also when
// that has grown out of it; so it is an allocation of its own if elements lead to
// others.
func textMapIn[E any](pointers bool) textMap {
	var g textGroupOf[E]
	t := textMap{make: newTextMap[E], slot: unsafe.Sizeof(g.slots[0])}
	if pointers {
		t.make = newTextMapApart[E]
	}
	return t
}

func newTextMap[E any](seed uintptr) textGroup {
	m := new(textMapOf[E])
	// The group lies inside the map's allocation, which a pointer to it keeps.
	m.dir = unsafe.Pointer(&m.group)
	m.seed, m.group.tags = seed, mapEmptyBits
	return textGroup{&m.goMap, m.dir}
}

func newTextMapApart[E any](seed uintptr) textGroup {
	m, g := new(goMapWhole), new(textGroupOf[E])
	// A map has its group behind a pointer without a type.
	m.dir = unsafe.Pointer(g)
	m.seed, g.tags = seed, mapEmptyBits
	return textGroup{&m.goMap, m.dir}
}

// textGroup is the group of a map that was made here, and the map.
type textGroup struct {
	m  *goMap
	at unsafe.Pointer
}

// addr returns the map as Go has it in a variable: a map is a pointer.
func (g textGroup) addr() unsafe.Pointer { return unsafe.Pointer(g.m) }

const textElem = unsafe.Sizeof("") // where the element is in a slot

// known marks a tag that is known; Go's tags have 7 bits.
const known = 0x80

// free returns the slot for a key with a known tag, which put fills. It reports false
// if Go has to look at the key: if there is no room, or perhaps an equal key.
func (g textGroup) free(tag uint8, size uintptr) (unsafe.Pointer, bool) {
	if tag&known == 0 || g.m.used >= mapGroupSlots {
		return nil, false
	}
	const ones = 0x0101010101010101
	differ := *(*uint64)(g.at) ^ uint64(tag&^known)*ones
	if (differ-ones)&^differ&mapEmptyBits != 0 {
		return nil, false
	}
	return unsafe.Add(g.at, mapGroupHead+uintptr(g.m.used)*size), true
}

// put makes a key, with the element that is behind it in the slot, an entry of the
// map.
func (g textGroup) put(slot unsafe.Pointer, key string, tag uint8) {
	*(*string)(slot) = key
	// Go's byte for the slot is that of an empty one, known.
	*(*uint64)(g.at) ^= uint64(tag) << (8 * g.m.used)
	g.m.used++
}

// tag returns the tag of a key that Go has put into the map as its n-th entry, and
// 0 if it has not.
func (g textGroup) tag(key string, n uint64, size uintptr) uint8 {
	if n >= mapGroupSlots || g.m.used != n+1 {
		return 0
	}
	k := *(*string)(unsafe.Add(g.at, mapGroupHead+uintptr(n)*size))
	if len(k) != len(key) || unsafe.StringData(k) != unsafe.StringData(key) {
		return 0
	}
	return uint8(*(*uint64)(g.at)>>(8*n)) | known
}

// mapSeed returns a seed as Go gives it to a map.
func mapSeed() uintptr {
	m := newMap[string, uint8](1)
	return (*goMap)(m).seed
}

// smallMap makes a map of n entries to be filled by groupEntries; it reports false
// if Go is to make it.
func (l *loader) smallMap(st *storedType, n uint64) (g textGroup, ok bool) {
	t := &st.plan.goMap.small
	if n > mapGroupSlots || t.make == nil || st.plan.changed || st.plan.boxes {
		return g, false
	}
	if l.mapSeed == 0 {
		if !mapsAreFilled() {
			return g, false
		}
		l.mapSeed = mapSeed() | 1
	}
	return t.make(l.mapSeed), true
}

// groupEntries inserts entries into a map that smallMap has made, as long as they
// lack nothing and their keys are stored in place.
func (f *mapFiller) groupEntries(c *cursor, g textGroup) {
	l := f.l
	l.scratch++
	for c.off < len(c.buf) {
		off := c.off
		x, ok := c.small()
		if !ok {
			x = c.longUvarint()
		}
		if x&1 != 0 {
			c.off = off
			break
		}
		b := c.bytes(x >> 1)
		key, recent := l.slab.remembered(b)
		tag := uint8(0)
		if recent != nil {
			tag = recent.tag
		}
		slot, direct := g.free(tag, f.small.slot)
		elem := f.elemAt
		if direct {
			elem = unsafe.Add(slot, textElem)
		}
		f.textElem(c, elem)
		if l.err != nil || l.missing {
			break
		}
		if direct {
			g.put(slot, key, tag)
			continue
		}
		n := g.m.used
		f.insertText(f.to, key, elem)
		// The element may have led to other strings in the place of this one.
		if recent != nil && unsafe.StringData(recent.text) == unsafe.StringData(key) {
			recent.tag = g.tag(key, n, f.small.slot)
		}
	}
	l.scratch--
}

// mapsAreFilled reports whether maps may be filled as memory in this build.
var mapsAreFilled = sync.OnceValue(func() bool {
	n := 7
	return mapsOfThisGo && mapsAreGroups &&
		fillsMaps(func(i int) uint8 { return uint8(i) }) &&
		fillsMaps(func(i int) uint32 { return uint32(i) }) &&
		fillsMaps(func(i int) uint64 { return uint64(i) }) &&
		fillsMaps(func(i int) string { return string(rune(i)) }) &&
		fillsMaps(func(i int) *int { return []*int{nil, &n}[i%2] }) &&
		fillsMaps(func(i int) any { return []any{nil, n, "x"}[i%3] }) &&
		fillsMaps(func(int) struct{} { return struct{}{} })
})

// fillsMaps makes small maps as groupEntries does and compares what Go does with
// them then with what it does with maps that it has made.
func fillsMaps[E comparable](elem func(i int) E) bool {
	t := typedMapOf(reflect.TypeFor[map[string]E]())
	seed := mapSeed()
	tags := map[string]uint8{}
	for n := range mapGroupSlots + 1 {
		for range 2 { // tags are learned the first time
			want := make(map[string]E)
			g := t.small.make(seed)
			got := asMap[E](g)
			for i := range n {
				key, e := string(rune('a'+i*7))+"key"[:i%4], elem(i)
				want[key] = e
				if slot, ok := g.free(tags[key], t.small.slot); ok {
					*(*E)(unsafe.Add(slot, textElem)) = e
					g.put(slot, key, tags[key])
					continue
				}
				before := g.m.used
				got[key] = e
				if tags[key] = g.tag(key, before, t.small.slot); tags[key] == 0 {
					return false
				}
			}
			if !sameUse(got, want, elem) {
				return false
			}
		}
	}
	return true
}

// asMap returns the map whose group it is, of elements that are laid out like an E.
func asMap[E any](g textGroup) map[string]E { return *(*map[string]E)(unsafe.Pointer(&g.m)) }

// sameUse reports whether two maps that should be equal are, and stay so when
// entries come and go.
func sameUse[E comparable](a, b map[string]E, elem func(i int) E) bool {
	if !sameEntries(a, b) {
		return false
	}
	for k := range b {
		delete(a, k)
		delete(b, k)
		break
	}
	for i := range 2 * mapGroupSlots {
		k := string(rune('a' + i*7))
		a[k], b[k] = elem(i+1), elem(i+1)
		if !sameEntries(a, b) {
			return false
		}
	}
	clear(a)
	a["one"] = elem(1)
	return len(a) == 1 && sameEntries(a, map[string]E{"one": elem(1)})
}

func sameEntries[E comparable](a, b map[string]E) bool {
	n := 0
	for k, e := range a {
		if f, ok := b[k]; !ok || f != e {
			return false
		}
		n++
	}
	for k, e := range b {
		if f, ok := a[k]; !ok || f != e {
			return false
		}
	}
	return n == len(b) && len(a) == n
}
