package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"unsafe"
)

// Maps of numbers and short strings lead nowhere, so their entries are written
// down in their stored form when the map is met, while its memory is at hand, and
// put in order as that (discover_map_order.go): the map is not looked at again.

// plainMap are the entries of a map that leads nowhere, in stored order, as they
// are stored.
type plainMap struct {
	order []plainEntry
	data  []byte
}

// plainEntry is one entry in plainMap.data.
type plainEntry struct {
	hash      uint64 // of the stored key
	from, end uint32
}

// smallBytes bounds the stored form of a map that is written down like other small
// regions.
const smallBytes = maxWritten

// maxPlain bounds the stored form of a plain map.
const maxPlain = math.MaxUint32

// scanPlain writes down the map region i. It reports false if the map is none of
// that kind, or has long strings.
func (w *walk) scanPlain(i int32) bool {
	r := w.st.regions.at(i)
	p := r.plan
	if !p.key.plain || !p.wholeKey || !p.elem.plain || !w.plainEntries(p, r.addr) {
		return false
	}
	r.weight = clampWeight(4 + len(w.maps.plain))
	if n := len(w.maps.order); n <= bucketEntries && len(w.maps.plain) <= smallBytes {
		sortPlain(w.maps.order, w.maps.plain)
		if x := &w.written; x.begin(&w.own) {
			x.out = append(x.out, byte(n), 0)
			for _, entry := range w.maps.order {
				x.out = append(x.out, w.maps.plain[entry.from:entry.end]...)
			}
			x.closeRun()
			if r.written = x.keep(&w.own); r.written != 0 {
				r.extra = -1
				return true
			}
		}
	}
	m, n := w.maps.list.add()
	r.extra = n
	w.keepPlain(m)
	return true
}

// keepPlain keeps the entries that were read as those of m.
func (w *walk) keepPlain(m *mapEntries) {
	*m = mapEntries{plain: w.orderPlain(w.maps.order, w.maps.plain)}
}

// fewBytes, or half of them, are copied at once: of most maps an entry is shorter.
const fewBytes = 32

// gatherPlain copies the entries of list, which lie apart from each other in data, to out, one
// behind the other, and returns all of them. They lie there then. out is longer than data by
// fewBytes at least.
func gatherPlain(list []plainEntry, data, out []byte) []byte {
	from, start := unsafe.Pointer(unsafe.SliceData(data)), unsafe.Pointer(unsafe.SliceData(out))
	to, last := uint32(0), len(data)-fewBytes // from where on fewBytes are not in data
	for k := range list {
		x := &list[k]
		n := x.end - x.from
		src, dst := unsafe.Add(from, x.from), unsafe.Add(start, to) // inside, with n bytes of it at least
		switch {
		case n > fewBytes || int(x.from) > last:
			copy(out[to:], data[x.from:x.end])
		case n <= fewBytes/2:
			a, b := *(*[8]byte)(src), *(*[8]byte)(unsafe.Add(src, 8))
			*(*[8]byte)(dst), *(*[8]byte)(unsafe.Add(dst, 8)) = a, b
		default:
			copyFewBytes((*[fewBytes]byte)(dst), (*[fewBytes]byte)(src))
		}
		x.from, x.end = to, to+n
		to += n
	}
	return out[:to]
}

// appendFew appends the first n bytes of src. Mostly they are few: then some of those
// behind them are copied, too, beyond the end of what it returns.
func appendFew(dst, src []byte, n int) []byte {
	at := len(dst)
	if n > fewBytes || len(src) < fewBytes || cap(dst)-at < fewBytes {
		return append(dst, src[:n]...)
	}
	copyFewBytes((*[fewBytes]byte)(dst[at:at+fewBytes]), (*[fewBytes]byte)(src))
	return dst[:at+n]
}

// copyFewBytes copies an array, in registers: they may overlap, so the compiler would call
// memmove.
func copyFewBytes(to, from *[fewBytes]byte) {
	a, b := binary.LittleEndian.Uint64(from[0:]), binary.LittleEndian.Uint64(from[8:])
	c, d := binary.LittleEndian.Uint64(from[16:]), binary.LittleEndian.Uint64(from[24:])
	binary.LittleEndian.PutUint64(to[0:], a)
	binary.LittleEndian.PutUint64(to[8:], b)
	binary.LittleEndian.PutUint64(to[16:], c)
	binary.LittleEndian.PutUint64(to[24:], d)
}

// plainEntries writes the entries of the map at p to maps.plain, as they lie.
func (w *walk) plainEntries(pl *plan, p unsafe.Pointer) bool {
	x := &w.maps
	used := int((*goMap)(p).used)
	x.order, x.plain = x.order[:0], x.plain[:0]
	if m := (*goMap)(p); pl.layout.inGroup && m.dirLen == 0 && m.dir != nil && m.writing == 0 {
		if ok := w.plainGroup(pl, groupAt(m.dir)); !ok || len(x.order) == used {
			return ok
		}
		x.order, x.plain = x.order[:0], x.plain[:0]
	} else if pl.layout.inGroup {
		if n := min(used, 1<<24) + mapGroupSlots; n > cap(x.order) && n > slabEntries { // a group is written as if it were full
			x.order = ownAny[plainEntry](&w.own, n)[:0]
		}
		ok := true
		var last mapGroup // is written down while the keys of the next one are on their way
		read := pl.layout.eachGroup((*goMap)(p), func(g mapGroup) {
			w.aheadGroup(pl, g)
			ok = ok && w.plainGroup(pl, last)
			last = g
			if n := len(x.order); n >= 2*bucketEntries && cap(x.plain)-len(x.plain) < max(len(x.plain)/n*bucketEntries, shortGroupBytes) {
				more := (len(x.plain)+n-1)/n*min(max(used-n, bucketEntries), 1<<24) + shortGroupBytes
				x.plain = append(ownBytes(&w.own, len(x.plain)+more)[:0], x.plain...)
			}
		})
		ok = ok && w.plainGroup(pl, last)
		if read && len(x.order) == used || !ok {
			return ok
		}
		x.order, x.plain = x.order[:0], x.plain[:0]
	}
	x.slots = x.slots[:0]
	w.copyMap(pl, p)
	for k := range x.slots {
		if !w.plainEntry(pl, x.slots[k].key) {
			return false
		}
	}
	return true
}

// plainGroup writes down the entries of a group.
func (w *walk) plainGroup(pl *plan, g mapGroup) bool {
	if w.shortGroup(pl, g) {
		return true
	}
	for g.full != 0 {
		var at unsafe.Pointer
		at, g = g.next(pl.layout.size)
		if !w.plainEntry(pl, at) {
			return false
		}
	}
	return true
}

// shortGroup is plainGroup of short strings with an integer or a short string each. It
// does nothing and reports false if they are something else.
func (w *walk) shortGroup(pl *plan, g mapGroup) bool {
	x := &w.maps
	base, n := len(x.plain), len(x.order)
	if base > maxPlain-shortGroupBytes {
		return false
	}
	if cap(x.plain)-base < shortGroupBytes || cap(x.order)-n < mapGroupSlots {
		x.plain, x.order = slices.Grow(x.plain, shortGroupBytes), slices.Grow(x.order, mapGroupSlots)
	}
	buf, list := x.plain[:base+shortGroupBytes], x.order[n:n+mapGroupSlots]
	more := pl.shortEntries(unsafe.Pointer(&buf[0]), base, g, (*[mapGroupSlots]plainEntry)(list))
	if more == 0 {
		return g.full == 0
	}
	list = list[:more]
	w.eng.hashShortKeys(buf, list)
	x.plain, x.order = buf[:list[more-1].end], x.order[:n+more]
	return true
}

// plainEntry writes down the entry whose key is at p.
func (w *walk) plainEntry(pl *plan, p unsafe.Pointer) bool {
	x := &w.maps
	from := len(x.plain)
	buf, ok := appendPlain(x.plain, pl.key, p)
	hash := w.eng.hashKey(buf[from:])
	buf, also := appendPlain(buf, pl.elem, unsafe.Add(p, pl.layout.elem))
	x.plain = buf
	if !ok || !also || len(buf) > maxPlain {
		return false
	}
	x.order = append(x.order, plainEntry{hash, uint32(from), uint32(len(buf))})
	return true
}

// appendPlain appends the stored form of numbers and strings. It reports false at
// a long string, which is a region.
func appendPlain(dst []byte, pl *plan, p unsafe.Pointer) (_ []byte, ok bool) {
	switch pl.only {
	case opString:
		if s := *(*string)(p); len(s) < longString {
			return appendShort(dst, s), true
		}
		return dst, false
	case opInt64:
		return binary.AppendVarint(dst, *(*int64)(p)), true
	}
	for k := range pl.ops {
		o := &pl.ops[k]
		at := unsafe.Add(p, o.off)
		switch o.code {
		case opString:
			s := *(*string)(at)
			if len(s) >= longString {
				return dst, false
			}
			dst = appendShort(dst, s)
		case opInt64:
			dst = binary.AppendVarint(dst, *(*int64)(at))
		default:
			dst = appendScalar(dst, o, at)
		}
	}
	return dst, true
}

// appendShort appends a string that is no region.
func appendShort(dst []byte, s string) []byte {
	if len(s) < 0x40 {
		return append(append(dst, byte(len(s))<<1), s...)
	}
	return append(binary.AppendUvarint(dst, uint64(len(s))<<1), s...)
}

// sortPlain puts few entries in stored order: by keyed hash of the key, then by
// what is stored.
func sortPlain(list []plainEntry, data []byte) {
	if len(list) > fewSlots { // equal hashes: a few keys by chance, any number that are NaN
		slices.SortFunc(list, func(a, b plainEntry) int {
			if c := cmp.Compare(a.hash, b.hash); c != 0 {
				return c
			}
			return bytes.Compare(data[a.from:a.end], data[b.from:b.end])
		})
		return
	}
	for i := 1; i < len(list); i++ {
		x := list[i]
		j := i
		for ; j > 0 && list[j-1].hash >= x.hash; j-- {
			if y := list[j-1]; y.hash == x.hash && bytes.Compare(data[y.from:y.end], data[x.from:x.end]) <= 0 {
				break
			}
			list[j] = list[j-1]
		}
		list[j] = x
	}
}
