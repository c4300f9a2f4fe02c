package podder

import (
	"math/bits"
	"unsafe"
)

// The entries of a large plain map are put in stored order by one pass: hashes are spread
// evenly, so their first bits say almost where an entry comes to lie, once it is known how
// many entries, and bytes of them, there are with smaller ones. What lies too far back then
// is moved a few places. Reads go from the start to the end, only writes go anywhere, and for
// those the processor does not wait.

// orderPlain returns the entries of list, which lie in data, in stored order.
func (w *walk) orderPlain(list []plainEntry, data []byte) *plainMap {
	out := &plainMap{order: ownSlice[plainEntry](&w.own, len(list)), data: ownBytes(&w.own, len(data))}
	if len(list) == 0 {
		return out
	}
	shift := 64 - max(1, bits.Len(uint(len(list)-1))) // a bucket an entry
	before := w.bucketSums(list, shift)
	from, to := unsafe.Pointer(unsafe.SliceData(data)), unsafe.Pointer(unsafe.SliceData(out.data))
	for i := range list {
		x := &list[i]
		n := x.end - x.from
		sum := &before[x.hash>>(shift&63)]
		at := *sum
		*sum = at + oneEntry + uint64(n)
		out.order[at>>32] = plainEntry{x.hash, uint32(at), uint32(at) + n}
		if n > maxFew {
			copy(out.data[uint32(at):], data[x.from:x.end])
			continue
		}
		copyFew(unsafe.Add(to, uint32(at)), unsafe.Add(from, x.from), int(n)) // within both
	}
	for i := 1; i < len(out.order); i++ {
		x, y := &out.order[i-1], &out.order[i]
		switch {
		case x.hash < y.hash:
		case x.hash > y.hash && y.end-x.from <= maxFew && out.alone(i-1, i, shift):
			out.swap(x, y)
		default:
			i = w.orderBucket(out, i-1, shift)
		}
	}
	return out
}

// oneEntry counts an entry in the sum of a bucket, of which the lower half counts bytes.
const oneEntry = 1 << 32

// maxFew bounds what copyFew copies in steps of a word.
const maxFew = 64

// bucketSums returns for each bucket how many entries, and bytes of them, there are in all
// before it.
func (w *walk) bucketSums(list []plainEntry, shift int) []uint64 {
	n := 1 << (64 - shift)
	if cap(w.maps.sums) < n {
		w.maps.sums = ownSlice[uint64](&w.own, n)
	} else {
		clear(w.maps.sums[:n])
	}
	sums := w.maps.sums[:n]
	for i := range list {
		x := &list[i]
		sums[x.hash>>(shift&63)] += oneEntry + uint64(x.end-x.from)
	}
	before := uint64(0)
	for i, x := range sums {
		sums[i] = before
		before += x
	}
	return sums
}

// orderBucket puts the entries of the bucket that has entry i in order, and returns its last
// one.
func (w *walk) orderBucket(m *plainMap, i, shift int) int {
	from, to, bucket := i, i+1, m.order[i].hash>>shift
	for from > 0 && m.order[from-1].hash>>shift == bucket {
		from--
	}
	for to < len(m.order) && m.order[to].hash>>shift == bucket {
		to++
	}
	list := m.order[from:to]
	at := list[0].from
	w.maps.bucket = append(w.maps.bucket[:0], m.data[at:list[len(list)-1].end]...)
	was := w.maps.bucket
	first := at
	sortPlain(list, m.data)
	for k := range list {
		x := &list[k]
		n := x.end - x.from
		copy(m.data[at:], was[x.from-first:x.end-first])
		x.from, x.end = at, at+n
		at += n
	}
	return to - 1
}

// alone reports whether no entries but i and j, which is the next one, are in their bucket.
func (m *plainMap) alone(i, j, shift int) bool {
	bucket := m.order[i].hash >> (shift & 63)
	return (i == 0 || m.order[i-1].hash>>(shift&63) != bucket) && (j+1 == len(m.order) || m.order[j+1].hash>>(shift&63) != bucket)
}

// swap has two entries change places, b behind a, of maxFew bytes together at most.
func (m *plainMap) swap(a, b *plainEntry) {
	n, both := int(a.end-a.from), int(b.end-a.from)
	var was [maxFew]byte
	from, to := unsafe.Pointer(&was), unsafe.Add(unsafe.Pointer(unsafe.SliceData(m.data)), a.from)
	copyFew(from, to, both) // within both, as what follows
	copyFew(to, unsafe.Add(from, n), both-n)
	copyFew(unsafe.Add(to, both-n), from, n)
	at := a.from + uint32(both-n)
	*a, *b = plainEntry{b.hash, a.from, at}, plainEntry{a.hash, at, b.end}
}
