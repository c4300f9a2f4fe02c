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
	at             unsafe.Pointer // the key in memory
}

// mapSlot appends a map: header, then a run for each bucket.
func (e *encoder) mapSlot(r *region) {
	start := len(e.buf)
	if head := e.smallMapSlot(r); head > 0 {
		e.runs = append(e.runs, uint32(head), uint32(len(e.buf)-start-head))
		return
	}
	if r.extra < 0 && r.written == 0 && !e.scanPlain(e.current) { // it was encoded early
		e.fail(errChanged)
		return
	}
	if b := e.runsWritten(r); b != nil {
		e.fill(b)
		const head = 2 // few entries, one bucket
		e.runs = append(e.runs, head, uint32(len(e.buf)-start-head))
		return
	}
	m := e.maps.list.at(r.extra)
	n := mapBits(m.count())
	e.buf = binary.AppendUvarint(e.buf, uint64(m.count()))
	e.buf = binary.AppendUvarint(e.buf, uint64(n))
	e.runs = append(e.runs, uint32(len(e.buf)-start))
	b := newBuckets(e, n)
	switch {
	case m.plain != nil:
		for _, x := range m.plain.order {
			b.upTo(x.hash)
			e.buf = append(e.buf, m.plain.data[x.from:x.end]...)
		}
	case m.hashes == nil:
		e.sortedEntries(r.plan, m, n)
		return
	case e.rowsOf(m) != nil:
		for k := range m.at {
			b.upTo(m.hashes[k])
			e.row(m.rows, k)
		}
	default:
		for k, at := range m.at {
			b.upTo(m.hashes[k])
			e.value(r.plan.key, at)
			e.value(r.plan.elem, unsafe.Add(at, r.plan.layout.elem))
		}
	}
	b.finish()
}

// sortedEntries encodes entries whose keys depend on placement, and orders them
// by the bytes that came out.
func (e *encoder) sortedEntries(pl *plan, m *mapEntries, bits int) {
	start := len(e.buf)
	e.entries = e.entries[:0]
	for _, at := range m.at {
		x := entryBytes{from: len(e.buf), at: at}
		e.value(pl.key, at)
		x.mid = len(e.buf)
		e.value(pl.elem, unsafe.Add(at, pl.layout.elem))
		x.end = len(e.buf)
		x.hash = e.eng.hashKey(e.buf[x.from:x.mid])
		e.entries = append(e.entries, x)
	}
	e.keys = append(e.keys[:0], e.buf[start:]...)
	slices.SortStableFunc(e.entries, func(x, y entryBytes) int {
		if c := cmp.Compare(x.hash, y.hash); c != 0 {
			return c
		}
		if c := bytes.Compare(e.keys[x.from-start:x.mid-start], e.keys[y.from-start:y.mid-start]); c != 0 {
			return c
		}
		return bytes.Compare(e.keys[x.mid-start:x.end-start], e.keys[y.mid-start:y.end-start])
	})
	e.alikeKeys(pl.key.typ, e.entries, e.keys, start)
	e.buf = e.buf[:start]
	b := newBuckets(e, bits)
	for _, x := range e.entries {
		b.upTo(x.hash)
		e.buf = append(e.buf, e.keys[x.from-start:x.end-start]...)
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
