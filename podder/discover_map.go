package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"reflect"
	"slices"
	"unsafe"
)

// mapEntries are the entries of a map in the order of their references, as they
// were when it was met: discovery and encoding see the same ones.
type mapEntries struct {
	plain *plainMap        // of a map that leads nowhere; then there are no addresses
	at    []unsafe.Pointer // addresses of the keys; the elements lie behind them
	// hashes are the keyed hashes of the stored keys, where these do not depend on
	// placement and all differ; then the order is also the stored order.
	hashes []uint64
	rows   *keyRows // of a map from strings to pointers, if it has hashes
}

// count returns the number of entries.
func (m *mapEntries) count() int {
	if m.plain != nil {
		return len(m.plain.order)
	}
	return len(m.at)
}

// mapSlot is an entry that is being put in order.
type mapSlot struct {
	key       unsafe.Pointer
	hash      uint64
	from, end uint32 // its row in mapReader.plain, if it has one
}

// mapReader has what reading maps needs, and the memory of what was read.
type mapReader struct {
	list   blockList[mapEntries] // by region.extra
	slots  []mapSlot
	spread []mapSlot
	starts []uint32
	at     []unsafe.Pointer // free places for entries
	hashed []uint64
	plain  []byte // the map being read in its stored form, or rows of it
	order  []plainEntry
	digits *digits // of a plain map that is put in order
	slabs  map[*plan]*slab
	iter   reflect.MapIter
}

// slab is memory for copied entries of maps of one type.
type slab struct {
	entries    unsafe.Pointer
	used, size int
}

const (
	slabEntries = 1024
	mapBlock    = 4096
)

// scanMap reads the entries of map region i and visits their references.
func (w *walk) scanMap(i int32) {
	r := w.st.regions.at(i)
	p := r.plan
	if w.scanPlain(i) {
		return
	}
	m, n := w.maps.list.add()
	r.extra = n
	w.readMap(p, r.addr)
	weight := 4 + len(w.maps.slots)*(p.key.est+p.elem.est)
	w.orderMap(p, m)
	key, elem := len(p.key.refs) > 0, len(p.elem.refs) > 0
	if m.rows != nil {
		weight += w.keyedRefs(p, m)
	} else if key || elem {
		for n, at := range m.at {
			w.boxes, w.elem = 0, n
			if key {
				w.inKey = true
				weight += w.refs(p.key, at)
				w.inKey = false
			}
			if elem {
				weight += w.refs(p.elem, unsafe.Add(at, p.layout.elem))
			}
		}
	}
	w.st.regions.at(i).weight = clampWeight(weight)
}

// readMap finds all entries of the map whose header is at p.
func (w *walk) readMap(pl *plan, p unsafe.Pointer) {
	w.maps.slots = w.maps.slots[:0]
	if pl.layout.inGroup {
		if n := int(min((*goMap)(p).used, 1<<24)); cap(w.maps.slots) < n {
			w.maps.slots = ownSlice[mapSlot](&w.own, n)[:0] // orderMap keeps the keys where the collector sees them
		}
		var ok bool
		if w.maps.slots, ok = pl.layout.appendSlots(w.maps.slots, (*goMap)(p)); ok {
			return
		}
		w.maps.slots = w.maps.slots[:0]
	}
	w.copyMap(pl, p)
}

// copyMap copies all entries by reflection.
func (w *walk) copyMap(pl *plan, p unsafe.Pointer) {
	v := reflect.NewAt(pl.typ, unsafe.Pointer(&p)).Elem()
	n := v.Len()
	if n == 0 {
		return
	}
	if w.maps.slabs == nil {
		w.maps.slabs = map[*plan]*slab{}
	}
	s := w.maps.slabs[pl]
	if s == nil || s.size-s.used < n {
		size := n
		if n < slabEntries/2 {
			size = slabEntries
		}
		s = &slab{size: size, entries: reflect.MakeSlice(reflect.SliceOf(pl.layout.entry), size, size).UnsafePointer()}
		w.maps.slabs[pl] = s
	}
	iter := &w.maps.iter
	iter.Reset(v)
	for k := 0; k < n && iter.Next(); k++ {
		at := unsafe.Add(s.entries, uintptr(s.used)*pl.layout.size)
		s.used++
		reflect.NewAt(pl.key.typ, at).Elem().SetIterKey(iter)
		reflect.NewAt(pl.elem.typ, unsafe.Add(at, pl.layout.elem)).Elem().SetIterValue(iter)
		w.maps.slots = append(w.maps.slots, mapSlot{key: at})
	}
	iter.Reset(reflect.Value{})
}

// orderMap puts the entries that were read into an order that depends on keys
// and elements only: by keyed hash of the key, then the key's bytes, then the
// element's. Keys that are pointers, first met here, compare by what they point
// at, one level deep; entries that this does not tell apart stay in the order in
// which the map gave them. From the first save on they are told apart by their
// place.
func (w *walk) orderMap(pl *plan, m *mapEntries) {
	slots := w.maps.slots
	n := len(slots)
	if n == 0 {
		return
	}
	if len(w.maps.at) < n {
		size := max(mapBlock, n)
		w.maps.at, w.maps.hashed = make([]unsafe.Pointer, size), ownAny[uint64](&w.own, size)
	}
	for k := range slots {
		w.maps.at[k] = slots[k].key // where the collector sees it
	}
	stable := w.hashKeys(pl, slots)
	slots = w.sortSlots(pl, slots)
	for k := 1; k < len(slots) && stable; k++ {
		stable = slots[k-1].hash != slots[k].hash
	}
	for k := range slots {
		w.maps.at[k], w.maps.hashed[k] = slots[k].key, slots[k].hash
	}
	m.at = w.maps.at[:n:n]
	if stable {
		m.hashes = w.maps.hashed[:n:n]
		if pl.keyed() && len(w.maps.plain) <= maxPlain {
			m.rows = w.keepRows(slots)
		}
	}
	w.maps.at, w.maps.hashed = w.maps.at[n:], w.maps.hashed[n:]
}

// hashKeys fills in the hashes and reports whether none of them depends on
// placement.
func (w *walk) hashKeys(pl *plan, slots []mapSlot) (stable bool) {
	if ops := pl.key.ops; len(ops) == 1 && ops[0].code == opString {
		return w.hashStrings(pl, slots)
	}
	stable = true
	for k := range slots {
		var ok bool
		w.buf, ok = w.appendOrder(w.buf[:0], pl.key, slots[k].key, 0)
		stable = stable && ok
		slots[k].hash = w.eng.hashKey(w.buf)
	}
	return stable
}

// hashStrings is hashKeys for keys that are strings. It writes rows down if the map
// can have them.
func (w *walk) hashStrings(pl *plan, slots []mapSlot) (stable bool) {
	stable = true
	keyed := pl.keyed()
	if keyed {
		w.roomForRows(slots)
	}
	rows := w.maps.plain[:0]
	for k := range slots {
		x := &slots[k]
		if k%keysAhead == 0 {
			w.aheadKeys(slots, k)
		}
		s := *(*string)(x.key)
		if len(s) >= longString {
			stable = false
			w.buf = append(binary.AppendUvarint(w.buf[:0], uint64(len(s))<<1), s...)
			x.hash = w.eng.hashKey(w.buf)
			continue
		}
		if !keyed {
			rows = rows[:0]
		}
		x.from = uint32(len(rows))
		rows = appendShort(rows, s)
		x.hash = w.eng.hashKey(rows[x.from:])
		if keyed {
			rows = appendRowEnd(rows, unsafe.Add(x.key, pl.layout.elem))
			x.end = uint32(len(rows))
		}
	}
	w.maps.plain = rows
	return stable
}

// fewSlots are sorted by insertion.
const fewSlots = 24

// roomForRows makes room for the rows of a large map, about as much as they will take: memory of the
// heap that grows with them would be new, and more.
func (w *walk) roomForRows(slots []mapSlot) {
	const looks, rowMost, around = 64, 256, 4 // around a key are its length and what its element is
	if len(slots) < looks*looks {
		return
	}
	most := 0
	for k := 0; k < len(slots); k += len(slots) / looks {
		most = max(most, len(*(*string)(slots[k].key)))
	}
	if n := len(slots) * min(most+around, rowMost); cap(w.maps.plain) < n {
		w.maps.plain = ownBytes(&w.own, n)
	}
}

// sortSlots sorts by hash and, where those are equal, by what compareEntries
// says. Hashes are spread evenly, so their first bits cut many slots into
// buckets of a few; only equal keys, which are NaN, can make a large one.
func (w *walk) sortSlots(pl *plan, slots []mapSlot) []mapSlot {
	if len(slots) <= fewSlots {
		w.insertionSort(pl, slots)
		return slots
	}
	shift := 64 - (bits.Len(uint(len(slots))) - 2)
	starts := w.maps.starts[:cap(w.maps.starts)]
	if n := 1<<(64-shift) + 1; n <= len(starts) {
		starts = starts[:n]
		clear(starts)
	} else {
		starts = ownSlice[uint32](&w.own, n)
	}
	for i := range slots {
		starts[slots[i].hash>>shift+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	out := w.maps.spread[:cap(w.maps.spread)]
	if len(out) < len(slots) {
		out = ownSlice[mapSlot](&w.own, len(slots))
	}
	out = out[:len(slots)]
	for i := range slots {
		b := slots[i].hash >> shift
		out[starts[b]] = slots[i]
		starts[b]++
	}
	from := uint32(0)
	for _, end := range starts[:len(starts)-1] {
		w.insertionSort(pl, out[from:end])
		from = end
	}
	w.maps.starts, w.maps.spread = starts, out
	return out
}

func (w *walk) insertionSort(pl *plan, slots []mapSlot) {
	if len(slots) > fewSlots {
		slices.SortStableFunc(slots, func(a, b mapSlot) int {
			if c := cmp.Compare(a.hash, b.hash); c != 0 {
				return c
			}
			return w.compareEntries(pl, a.key, b.key)
		})
		return
	}
	for i := 1; i < len(slots); i++ {
		s := slots[i]
		j := i
		for ; j > 0 && (slots[j-1].hash > s.hash || slots[j-1].hash == s.hash && w.compareEntries(pl, slots[j-1].key, s.key) > 0); j-- {
			slots[j] = slots[j-1]
		}
		slots[j] = s
	}
}

// compareEntries compares two entries whose keys have equal hashes: rare, but
// for NaN.
func (w *walk) compareEntries(pl *plan, a, b unsafe.Pointer) int {
	x, _ := w.appendOrder(nil, pl.key, a, 0)
	y, _ := w.appendOrder(nil, pl.key, b, 0)
	if c := bytes.Compare(x, y); c != 0 {
		return c
	}
	x, _ = w.appendOrder(nil, pl.elem, unsafe.Add(a, pl.layout.elem), 0)
	y, _ = w.appendOrder(nil, pl.elem, unsafe.Add(b, pl.layout.elem), 0)
	return bytes.Compare(x, y)
}
