package podder

import (
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// mapHeader is run 0 of a SlotMap: entries follow in 1<<bits buckets, a run
// each.
type mapHeader struct {
	count uint64
	bits  uint64
}

const maxMapBits = 30

func (l *loader) mapHeader(p *loadPod, s pod.Slot, d *pod.Data) (h mapHeader, ok bool) {
	all := runsOf(d)
	n := all.count()
	b, ok := all.next()
	c := cursor{buf: b}
	h = mapHeader{count: c.uvarint(), bits: c.uvarint()}
	if !ok || c.bad || c.off != len(b) || h.bits > maxMapBits || n != 1+1<<h.bits {
		l.corrupt("slot %d of pod %d: damaged head of a map", s, p.id)
		return h, false
	}
	return h, true
}

// fillMap inserts the entries of a map. Go's hash of a key depends on what the
// key holds by value and on addresses, both final when the key is decoded
// (invariant 1 of loader), never on what pointers lead to. If a pod is
// missing, nothing is inserted and the map is filled after the fetch.
func (l *loader) fillMap(p *loadPod, s pod.Slot, d *pod.Data, r *loadRegion, to unsafe.Pointer) {
	h, ok := l.mapHeader(p, s, d)
	if !ok {
		return
	}
	all := runsOf(d)
	all.next()
	pl := r.typ.plan
	f := mapFiller{l: l, p: p, pl: pl, key: reflect.New(pl.key.typ), elem: reflect.New(pl.elem.typ)}
	f.m = reflect.NewAt(pl.typ, unsafe.Pointer(&to)).Elem()
	if f.m.Len() > 0 {
		f.m.Clear()
	}
	if pl.minBytes == 0 && h.count == 1 {
		f.entry(&cursor{}) // an entry without bytes
	}
	for range uint64(1) << h.bits {
		b, ok := all.next()
		if !ok {
			l.corrupt("runs exceed the %d bytes of a map", len(d.Bytes))
			return
		}
		for c := (cursor{buf: b}); c.off < len(b) && l.err == nil; {
			off := c.off
			if f.entry(&c); c.off == off && l.err == nil {
				l.corrupt("bytes in a map whose entries have none")
			}
		}
		if l.err != nil {
			return
		}
	}
	switch {
	case len(all.rest) > 0:
		l.corrupt("%d bytes after the runs of a map", len(all.rest))
	case f.seen != h.count:
		l.corrupt("map of %d entries, want %d", f.seen, h.count)
	case !l.missing && uint64(f.m.Len()) != h.count:
		l.corrupt("map has %d different keys, want %d", f.m.Len(), h.count)
	}
}

type mapFiller struct {
	l         *loader
	p         *loadPod
	pl        *decodePlan
	m         reflect.Value
	key, elem reflect.Value // pointers to scratch memory
	seen      uint64
}

func (f *mapFiller) entry(c *cursor) {
	l := f.l
	l.scratch++
	l.value(f.p, c, f.pl.key, f.key.UnsafePointer())
	if l.err == nil {
		l.value(f.p, c, f.pl.elem, f.elem.UnsafePointer())
	}
	l.scratch--
	f.seen++
	if l.err != nil || l.missing {
		return
	}
	key := f.key.Elem()
	if f.pl.key.ifaces && !key.Comparable() {
		l.corrupt("map key of a type that cannot be compared")
		return
	}
	f.m.SetMapIndex(key, f.elem.Elem())
}
