package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"unsafe"
)

// bucketEntries is what a bucket of a map holds at most on average.
const bucketEntries = 8

// mapBits returns the number of hash bits that choose the bucket among n
// entries.
func mapBits(n int) int {
	if n <= bucketEntries {
		return 0
	}
	return bits.Len(uint((n - 1) / bucketEntries))
}

// entryBytes is one encoded entry: its key and element in a buffer.
type entryBytes struct {
	hash           uint64
	from, mid, end int
}

// mapSlot appends a map: header, then a run for each bucket.
func (e *encoder) mapSlot(r *region) {
	m := &e.maps[r.extra]
	n := mapBits(m.n)
	start := len(e.buf)
	e.buf = binary.AppendUvarint(e.buf, uint64(m.n))
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
	e.runs = append(e.runs, uint32(len(e.buf)-start))
	if m.hashes == nil {
		e.sortedEntries(r.plan, m, n)
		return
	}
	b := newBuckets(e, n)
	for _, k := range m.order {
		b.upTo(m.hashes[k])
		e.value(r.plan.key, unsafe.Add(m.keys, uintptr(k)*r.plan.key.size))
		e.value(r.plan.elem, unsafe.Add(m.elems, uintptr(k)*r.plan.elem.size))
	}
	b.finish()
}

// sortedEntries encodes entries whose keys depend on placement, and orders them
// by the bytes that came out.
func (e *encoder) sortedEntries(pl *plan, m *mapEntries, bits int) {
	at := len(e.buf)
	e.entries = e.entries[:0]
	for _, k := range m.order {
		x := entryBytes{from: len(e.buf)}
		e.value(pl.key, unsafe.Add(m.keys, uintptr(k)*pl.key.size))
		x.mid = len(e.buf)
		e.value(pl.elem, unsafe.Add(m.elems, uintptr(k)*pl.elem.size))
		x.end = len(e.buf)
		x.hash = e.eng.hashKey(e.buf[x.from:x.mid])
		e.entries = append(e.entries, x)
	}
	e.keys = append(e.keys[:0], e.buf[at:]...)
	slices.SortStableFunc(e.entries, func(x, y entryBytes) int {
		if c := cmp.Compare(x.hash, y.hash); c != 0 {
			return c
		}
		if c := bytes.Compare(e.keys[x.from-at:x.mid-at], e.keys[y.from-at:y.mid-at]); c != 0 {
			return c
		}
		return bytes.Compare(e.keys[x.mid-at:x.end-at], e.keys[y.mid-at:y.end-at])
	})
	e.buf = e.buf[:at]
	b := newBuckets(e, bits)
	for _, x := range e.entries {
		b.upTo(x.hash)
		e.buf = append(e.buf, e.keys[x.from-at:x.end-at]...)
	}
	b.finish()
}

// buckets closes runs as the hash of the entries moves on.
type buckets struct {
	e     *encoder
	bits  int
	at    uint64
	start int
}

func newBuckets(e *encoder, bits int) *buckets { return &buckets{e: e, bits: bits, start: len(e.buf)} }

func (b *buckets) upTo(hash uint64) {
	if b.bits > 0 {
		b.close(hash >> (64 - b.bits))
	}
}

func (b *buckets) close(to uint64) {
	for b.at < to {
		b.e.runs = append(b.e.runs, uint32(len(b.e.buf)-b.start))
		b.start = len(b.e.buf)
		b.at++
	}
}

func (b *buckets) finish() { b.close(1 << b.bits) }
