package podder

import (
	"encoding/binary"
	"math/bits"
	"reflect"
	"unsafe"
)

// Go's maps read as memory: reflection takes ten times as long an entry. The
// layout is that of internal/runtime/maps since Go 1.24: groups of 8 slots
// behind a control word, one group in a small map, else tables of groups in a
// directory that may name a table several times in a row. It is not promised, so
// it is believed only if a test at start finds in maps of many shapes what range
// finds (mapsAreGroups), for types whose keys and elements lie in the slots, and
// of a map only if there are as many entries as it says. Everything else is
// read by reflection.

// goMap is a map.
type goMap struct {
	used    uint64
	seed    uintptr
	dir     unsafe.Pointer // the group, or the directory of dirLen tables
	dirLen  int
	_       uint8 // depth of the directory
	shift   uint8 // of a hash, which is then a place in it
	writing uint8
}

// goMapTable is a table of a map.
type goMapTable struct {
	_          [3]uint16 // entries, capacity, growth left
	_          uint8     // depth
	_          int       // number in the directory
	groups     unsafe.Pointer
	lengthMask uint64
}

const (
	mapGroupSlots  = 8
	mapGroupHead   = 8   // bytes of the control word
	mapInlineBytes = 128 // longer keys and elements are pointers in the slot
	mapEmptyBits   = 0x8080808080808080
)

// mapLayout is how the entries of a map type lie, in the map's groups or in a
// copy: a key with its element behind it.
type mapLayout struct {
	entry   reflect.Type
	size    uintptr
	elem    uintptr // offset of the element
	inGroup bool    // the map may be read as memory
}

func layoutOf(t reflect.Type) mapLayout {
	entry := reflect.StructOf([]reflect.StructField{{Name: "Key", Type: t.Key()}, {Name: "Elem", Type: t.Elem()}})
	return mapLayout{
		entry: entry, size: entry.Size(), elem: entry.Field(1).Offset,
		inGroup: mapsAreGroups && t.Key().Size() <= mapInlineBytes && t.Elem().Size() <= mapInlineBytes,
	}
}

// appendSlots appends the addresses of the keys of the map at m. It reports
// false if there are not as many as the map says, or it is being written.
func (l *mapLayout) appendSlots(list []mapSlot, m *goMap) ([]mapSlot, bool) {
	was := len(list)
	ok := l.eachGroup(m, func(g mapGroup) {
		for g.full != 0 {
			var key unsafe.Pointer
			key, g = g.next(l.size)
			list = append(list, mapSlot{key: key})
		}
	})
	return list, ok && uint64(len(list)-was) == m.used
}

// eachGroup visits the groups of the map at m. It reports false if the map is
// being written.
func (l *mapLayout) eachGroup(m *goMap, visit func(g mapGroup)) bool {
	switch {
	case m.used == 0:
	case m.writing != 0 || m.dir == nil:
		return false
	case m.dirLen == 0:
		visit(groupAt(m.dir))
	default:
		last := (*goMapTable)(nil)
		for i := range m.dirLen {
			t := *(**goMapTable)(unsafe.Add(m.dir, uintptr(i)*unsafe.Sizeof(last)))
			if t == last {
				continue
			}
			last = t
			size := mapGroupHead + mapGroupSlots*l.size
			for g := range uintptr(t.lengthMask) + 1 {
				visit(groupAt(unsafe.Add(t.groups, g*size)))
			}
		}
	}
	return true
}

// mapGroup are slots behind a control word, in one allocation.
type mapGroup struct {
	slots unsafe.Pointer
	full  uint64 // the highest bit of each byte stands for a slot in use
}

func groupAt(p unsafe.Pointer) mapGroup {
	g := mapGroup{slots: unsafe.Add(p, mapGroupHead)}
	if nativeLittleEndian {
		g.full = ^*(*uint64)(p) & mapEmptyBits
	} else {
		g.full = ^binary.LittleEndian.Uint64((*[8]byte)(p)[:]) & mapEmptyBits
	}
	return g
}

// next returns the key of a slot in use, and the group without it; full is not 0.
// The slot is inside the group, so its address is inside the allocation.
func (g mapGroup) next(size uintptr) (unsafe.Pointer, mapGroup) {
	i := uintptr(bits.TrailingZeros64(g.full)) / 8
	return unsafe.Add(g.slots, i*size), mapGroup{g.slots, g.full & (g.full - 1)}
}

// mapsAreGroups says that maps may be read as memory in this build.
var mapsAreGroups = readsMaps[string, int](func(i int) string { return string(rune('a'+i%26)) + string(rune(i)) }, func(i int) int { return i }) &&
	readsMaps[uint8, [3]byte](func(i int) uint8 { return uint8(i) }, func(i int) [3]byte { return [3]byte{byte(i), 7} }) &&
	readsMaps[any, *int](func(i int) any { return float64(i) }, func(i int) *int { return &i })

// readsMaps compares maps of one type, small and large, grown and with entries
// deleted, with what range finds in them.
func readsMaps[K, E comparable](key func(i int) K, elem func(i int) E) bool {
	type entry struct {
		Key  K
		Elem E
	}
	var e entry
	l := mapLayout{size: unsafe.Sizeof(e), elem: unsafe.Offsetof(e.Elem)}
	for _, n := range [...]int{0, 1, 8, 9, 200, 2000} {
		m := map[K]E{}
		for i := range n {
			m[key(i)] = elem(i)
		}
		for round := range 2 {
			slots, ok := l.appendSlots(nil, *(**goMap)(unsafe.Pointer(&m)))
			if !ok || len(slots) != len(m) {
				return false
			}
			seen := make(map[K]E, len(slots))
			for _, s := range slots {
				seen[*(*K)(s.key)] = *(*E)(unsafe.Add(s.key, l.elem))
			}
			for k, e := range m {
				if got, ok := seen[k]; !ok || got != e {
					return false
				}
			}
			if round == 0 {
				for i := 0; i < n; i += 3 {
					delete(m, key(i))
				}
			}
		}
	}
	return true
}
