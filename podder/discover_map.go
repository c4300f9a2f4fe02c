package podder

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"unsafe"
)

// mapEntries is a copy of a map's entries, taken when it was met: discovery and
// encoding see the same ones, in the same order.
type mapEntries struct {
	keys, elems unsafe.Pointer // arrays of n
	n           int
	order       []int32 // entries in the order of their references
	// hashes are the keyed hashes of the stored keys, by entry, where these do
	// not depend on placement; then order is also the stored order.
	hashes []uint64
}

// slab is memory for the entries of many small maps of one type.
type slab struct {
	keys, elems unsafe.Pointer
	used, size  int
}

const slabEntries = 1024

// scanMap copies the entries of map region i and visits their references.
func (w *walk) scanMap(i int32) {
	r := w.st.regions.at(i)
	p := r.plan
	m := w.copyMap(p, r.addr)
	w.orderMap(p, &m)
	r.extra = int32(len(w.maps))
	w.maps = append(w.maps, m)
	weight := 4 + m.n*(p.key.est+p.elem.est)
	if len(p.key.refs) > 0 || len(p.elem.refs) > 0 {
		for n, k := range m.order {
			w.boxes, w.elem = 0, n
			weight += w.refs(p.key, unsafe.Add(m.keys, uintptr(k)*p.key.size))
			weight += w.refs(p.elem, unsafe.Add(m.elems, uintptr(k)*p.elem.size))
		}
	}
	w.st.regions.at(i).weight = clampWeight(weight)
}

// copyMap reads all entries of the map whose header is at p.
func (w *walk) copyMap(pl *plan, p unsafe.Pointer) mapEntries {
	v := reflect.NewAt(pl.typ, unsafe.Pointer(&p)).Elem()
	n := v.Len()
	if n == 0 {
		return mapEntries{}
	}
	if w.slabs == nil {
		w.slabs = map[*plan]*slab{}
	}
	s := w.slabs[pl]
	if s == nil || s.size-s.used < n {
		size := n
		if n < slabEntries/2 {
			size = slabEntries
		}
		s = &slab{size: size}
		s.keys = reflect.MakeSlice(reflect.SliceOf(pl.key.typ), size, size).UnsafePointer()
		s.elems = reflect.MakeSlice(reflect.SliceOf(pl.elem.typ), size, size).UnsafePointer()
		w.slabs[pl] = s
	}
	m := mapEntries{
		keys:  unsafe.Add(s.keys, uintptr(s.used)*pl.key.size),
		elems: unsafe.Add(s.elems, uintptr(s.used)*pl.elem.size),
	}
	s.used += n
	w.iter.Reset(v)
	for ; m.n < n && w.iter.Next(); m.n++ {
		reflect.NewAt(pl.key.typ, unsafe.Add(m.keys, uintptr(m.n)*pl.key.size)).Elem().SetIterKey(&w.iter)
		reflect.NewAt(pl.elem.typ, unsafe.Add(m.elems, uintptr(m.n)*pl.elem.size)).Elem().SetIterValue(&w.iter)
	}
	w.iter.Reset(reflect.Value{})
	return m
}

// orderMap puts the entries into an order that depends on keys and elements
// only: by keyed hash of the key, then the key's bytes, then the element's. Keys
// that are pointers, first met here, compare by what they point at, one level
// deep; entries that this does not tell apart stay in the order in which the
// map gave them. From the first save on they are told apart by their place.
func (w *walk) orderMap(pl *plan, m *mapEntries) {
	m.order = make([]int32, m.n)
	for k := range m.order {
		m.order[k] = int32(k)
	}
	hashes := make([]uint64, m.n)
	stable := true
	for k := range m.n {
		var ok bool
		w.buf, ok = w.appendOrder(w.buf[:0], pl.key, unsafe.Add(m.keys, uintptr(k)*pl.key.size), 0)
		stable = stable && ok
		hashes[k] = w.eng.hashKey(w.buf)
	}
	slices.SortStableFunc(m.order, func(a, b int32) int {
		if c := cmp.Compare(hashes[a], hashes[b]); c != 0 {
			return c
		}
		return w.compareEntries(pl, m, a, b)
	})
	for k := 1; k < m.n && stable; k++ {
		stable = hashes[m.order[k-1]] != hashes[m.order[k]]
	}
	if stable {
		m.hashes = hashes
	}
}

// compareEntries compares two entries whose keys have equal hashes: rare, but
// for NaN.
func (w *walk) compareEntries(pl *plan, m *mapEntries, a, b int32) int {
	x, _ := w.appendOrder(nil, pl.key, unsafe.Add(m.keys, uintptr(a)*pl.key.size), 0)
	y, _ := w.appendOrder(nil, pl.key, unsafe.Add(m.keys, uintptr(b)*pl.key.size), 0)
	if c := bytes.Compare(x, y); c != 0 {
		return c
	}
	x, _ = w.appendOrder(nil, pl.elem, unsafe.Add(m.elems, uintptr(a)*pl.elem.size), 0)
	y, _ = w.appendOrder(nil, pl.elem, unsafe.Add(m.elems, uintptr(b)*pl.elem.size), 0)
	return bytes.Compare(x, y)
}
