package podder

import (
	"hash/maphash"
	"strconv"
	"sync"
	"unsafe"

	"github.com/poddb/poddb/internal/prefetch"
)

// An insertion into a large map waits for memory: the group that a key belongs to lies
// anywhere in the map, and what was decoded since the one before has driven it out of the
// processor's caches. That took a fifth of the time of a map of 100,000 users. If keys are
// strings and wait for their elements (decode_map_waits.go), the groups of the next ones are
// fetched meanwhile. Where a group lies follows from the hash that Go's maps have of a string,
// which is that of maphash for the map's seed. It is not promised, and nothing depends on it
// but time; it is looked for only if a test at start finds keys there (findsGroups).

const (
	// groupsAhead is how many entries before its turn the group of one is fetched.
	groupsAhead = 2
	// groupLines is how much of a group is: all of one whose elements are pointers.
	groupLines = 4
	lineBytes  = 64
)

// hashOf returns the hash that the map has of a key, 0 if that is of no use.
func (f *mapFiller) hashOf(key string) uint64 {
	if m := (*goMap)(f.to); m.dirLen > 0 && mapsFindGroups() {
		return m.textHash(key)
	}
	return 0
}

// fetchGroup fetches the group of a key with a hash that hashOf has returned.
func (f *mapFiller) fetchGroup(hash uint64) {
	if hash == 0 {
		return
	}
	if g := uintptr((*goMap)(f.to).groupOf(hash, f.small.slot)); g != 0 {
		var at [groupLines]uintptr
		for i := range at {
			at[i] = g + uintptr(i)*lineBytes
		}
		prefetch.Lines(at[:])
	}
}

// textHash returns the hash of a key that is a string, 0 if that is not known.
func (m *goMap) textHash(key string) uint64 {
	seed := uint64(m.seed)
	if unsafe.Sizeof(maphash.Seed{}) != unsafe.Sizeof(seed) || seed == 0 { // of which maphash wants none
		return 0
	}
	return maphash.String(*(*maphash.Seed)(unsafe.Pointer(&seed)), key)
}

// groupOf returns the group in which a key with a hash is looked for first, nil if it is not
// known. A slot of the map, which is not a small one, has so many bytes.
func (m *goMap) groupOf(hash uint64, slot uintptr) unsafe.Pointer {
	i := uint64(0)
	if m.dirLen > 1 {
		i = hash >> (m.shift & 63)
	}
	if i >= uint64(m.dirLen) {
		return nil
	}
	t := *(**goMapTable)(unsafe.Add(m.dir, uintptr(i)*unsafe.Sizeof(uintptr(0)))) // one of dirLen
	// The mask keeps the number below that of the table's groups.
	return unsafe.Add(t.groups, uintptr(hash>>7&t.lengthMask)*(mapGroupHead+mapGroupSlots*slot))
}

// mapsFindGroups reports whether groups are found by hash in this build.
var mapsFindGroups = sync.OnceValue(func() bool {
	return mapsOfThisGo && mapsAreGroups && findsGroups(mapGroupSlots+1, 0) && findsGroups(3000, 0) && findsGroups(3000, 3000)
})

// findsGroups looks for the keys of a map of n entries, made with room for so many: each is
// in its group, or that is full.
func findsGroups(n, room int) bool {
	m := make(map[string]*int, room)
	for i := range n {
		m["key "+strconv.Itoa(i)] = nil
	}
	slot := unsafe.Sizeof(struct {
		key  string
		elem *int
	}{})
	whole, found := *(**goMap)(unsafe.Pointer(&m)), 0
	for key := range m {
		at := whole.groupOf(whole.textHash(key), slot)
		if at == nil {
			return false
		}
		g := groupAt(at)
		full := g.full == mapEmptyBits
		here := false
		for g.full != 0 {
			var k unsafe.Pointer
			k, g = g.next(slot)
			here = here || *(*string)(k) == key
		}
		if here {
			found++
		} else if !full {
			return false
		}
	}
	return found > n/2
}
