package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// mapHeader is run 0 of a SlotMap: entries follow in 1<<bits buckets, a run
// each.
type mapHeader struct {
	count uint64
	bits  uint64
	bytes int // of the head
}

const maxMapBits = 30

func (l *loader) mapHeader(p *loadPod, s pod.Slot, d *pod.Data) (h mapHeader, ok bool) {
	if len(d.Runs) == 0 || uint64(d.Runs[0]) > uint64(len(d.Bytes)) {
		l.corrupt("slot %d of pod %d: map without runs", s, p.id)
		return h, false
	}
	c := cursor{buf: d.Bytes[:d.Runs[0]]}
	h = mapHeader{count: c.uvarint(), bits: c.uvarint(), bytes: len(c.buf)}
	if c.bad || c.off != len(c.buf) || h.bits > maxMapBits || len(d.Runs) != 1+1<<h.bits {
		l.corrupt("slot %d of pod %d: damaged head of a map", s, p.id)
		return h, false
	}
	return h, true
}

// mapFits checks that the memory of a map is in proportion to its bytes.
func (l *loader) mapFits(p *loadPod, s pod.Slot, d *pod.Data, h mapHeader, st *storedType) bool {
	if h.count > uint64(len(d.Bytes)) && h.count > 1 {
		l.corrupt("slot %d of pod %d: map of %d entries in %d bytes", s, p.id, h.count, len(d.Bytes))
		return false
	}
	return l.charge(h.count, uint64(st.entry), len(d.Bytes))
}

// fillMap inserts the entries of a map. Go's hash of a key depends on what the
// key holds by value and on addresses, both final when the key is decoded
// (invariant 1 of loader), never on what pointers lead to. If a pod is
// missing, nothing is inserted and the map is filled after the fetch.
func (l *loader) fillMap(p *loadPod, s pod.Slot, d *pod.Data, st *storedType, to unsafe.Pointer) {
	if h, ok := l.mapHeader(p, s, d); ok {
		l.fillEntries(p, s, d, &slotHead{entries: h}, st, to)
	}
}

// fillEntries is fillMap of a map whose head was read.
func (l *loader) fillEntries(p *loadPod, s pod.Slot, d *pod.Data, head *slotHead, st *storedType, to unsafe.Pointer) {
	f := l.filler(p, st, to)
	if st.inPasses(head.entries.count) {
		f.fillPass(loadSlot{p, s}, []loadSlot{{p, s}}, head.entries.count)
	} else if f.begin(); f.buckets(d, head.entries) {
		f.finish(p, s, head.entries.count)
	}
	f.free()
}

// begin empties the map: it may be filled again.
func (f *mapFiller) begin() {
	if f.len() > 0 {
		f.m.Clear()
	}
}

// len returns how many entries the map has.
func (f *mapFiller) len() int {
	// All maps keep their length in the same place, whatever their type.
	return len(*(*map[int]int)(unsafe.Pointer(&f.to)))
}

// buckets inserts the entries of one slot. It reports false after an error.
func (f *mapFiller) buckets(d *pod.Data, h mapHeader) bool {
	l := f.l
	rest := d.Bytes[h.bytes:]
	before := f.seen
	if f.noBytes && h.count == 1 {
		f.entry(&cursor{}) // an entry without bytes
	}
	for _, n := range d.Runs[1:] {
		if uint64(n) > uint64(len(rest)) {
			l.corrupt("runs exceed the %d bytes of a map", len(d.Bytes))
			return false
		}
		c := cursor{buf: rest[:n:n]}
		rest = rest[n:]
		if f.entries(&c); l.err != nil {
			return false
		}
	}
	return f.pieceEnds(len(rest), f.seen-before, h)
}

// pieceEnds checks that the runs of a slot were all of it, and their entries as many
// as its head says.
func (f *mapFiller) pieceEnds(left int, seen uint64, h mapHeader) bool {
	l := f.l
	switch {
	case left > 0:
		l.corrupt("%d bytes after the runs of a map", left)
	case seen != h.count:
		l.corrupt("map of %d entries, want %d", seen, h.count)
	}
	return l.err == nil
}

// finish checks that the map has as many entries as were stored.
func (f *mapFiller) finish(p *loadPod, s pod.Slot, count uint64) {
	l := f.l
	switch {
	case l.err != nil:
	case l.sawMigration && !l.migrating: // keys may be missing yet
	case !l.missing && uint64(f.len()) != count:
		f.keysFail(loadSlot{p, s}, f.m.MapKeys(), fmt.Sprintf("map has %d different keys, want %d", f.len(), count))
	}
}

// mapFiller puts the entries of one map into it.
type mapFiller struct {
	l         *loader
	p         *loadPod
	pl        *decodePlan
	to        unsafe.Pointer // the map
	m         reflect.Value  // it, too
	key, elem reflect.Value  // pointers to scratch memory
	keyAt     unsafe.Pointer // to which they lead
	elemAt    unsafe.Pointer
	keyCode   moveCode
	elemCode  moveCode
	typedMap
	seen    uint64
	noBytes bool // entries have none
	busy    bool
}

// filler returns the filler for a map of a type. One is kept for each type, with
// its scratch memory; what it holds from the map before is overwritten.
func (l *loader) filler(p *loadPod, st *storedType, to unsafe.Pointer) *mapFiller {
	f := st.filler
	if f == nil || f.busy {
		pl := st.plan
		f = &mapFiller{l: l, pl: pl, key: reflect.New(pl.key.typ), elem: reflect.New(pl.elem.typ)}
		f.keyAt, f.elemAt = f.key.UnsafePointer(), f.elem.UnsafePointer()
		f.keyCode, f.elemCode, f.typedMap = pl.key.only(), pl.elem.only(), pl.goMap
		f.m = reflect.NewAt(pl.typ, unsafe.Pointer(&f.to)).Elem()
		f.noBytes = leastBytes(pl.node.key)+leastBytes(pl.node.elem) == 0
		st.filler = f
		l.fillers = append(l.fillers, st)
	}
	f.in(p)
	f.to, f.seen, f.busy = to, 0, true
	return f
}

// in has entries of pod p be read.
func (f *mapFiller) in(p *loadPod) {
	if f.p != p {
		f.p = p
	}
}

// free lets the filler be used for the next map.
func (f *mapFiller) free() { f.busy = false }

// entries inserts the entries of one run.
func (f *mapFiller) entries(c *cursor) {
	l := f.l
	if f.plainText() && !l.missing {
		f.stringEntries(c)
	}
	for c.off < len(c.buf) && l.err == nil {
		off := c.off
		if f.entry(c); c.off == off && l.err == nil {
			l.corrupt("bytes in a map whose entries have none")
		}
	}
}

// stringEntries inserts entries with keys that are strings stored in place, as long
// as they lack nothing.
func (f *mapFiller) stringEntries(c *cursor) {
	l := f.l
	l.scratch++
	for c.off < len(c.buf) {
		key, ok := f.textKey(c)
		if !ok {
			break
		}
		if f.textElem(c, f.elemAt); l.err != nil || l.missing {
			break
		}
		f.insertText(f.to, key, f.elemAt)
	}
	l.scratch--
}

// plainText reports whether keys are strings that are put in by insertText.
func (f *mapFiller) plainText() bool {
	return f.keyCode == moveString && f.insertText != nil && !f.pl.changed && !f.pl.boxes
}

// textKey reads a key that is a string stored in place; of another it reports false,
// and has read nothing.
func (f *mapFiller) textKey(c *cursor) (string, bool) {
	off := c.off
	x, ok := c.small()
	if !ok {
		x = c.longUvarint()
	}
	if x&1 != 0 {
		c.off = off
		return "", false
	}
	return f.l.slab.copyOf(c.bytes(x >> 1)), true
}

// textElem decodes the element of an entry of which the key was read.
func (f *mapFiller) textElem(c *cursor, at unsafe.Pointer) {
	l := f.l
	if code := f.elemCode; code == moveInt || code == moveInt64 {
		v, ok := c.small()
		if !ok {
			v = c.longUvarint()
		}
		l.signed(int64(v>>1)^-int64(v&1), code, at)
	} else {
		l.part(f.p, c, f.pl.elem, code, at)
	}
	f.seen++
	if c.bad && l.err == nil {
		l.corrupt("%s ends early", f.pl.node.text)
	}
	if l.err != nil {
		l.locate(c)
	}
}

func (f *mapFiller) entry(c *cursor) {
	l := f.l
	if f.pl.changed || f.pl.boxes {
		f.key.Elem().SetZero()
		f.elem.Elem().SetZero()
	}
	l.scratch++
	l.part(f.p, c, f.pl.key, f.keyCode, f.keyAt)
	if l.err == nil {
		l.part(f.p, c, f.pl.elem, f.elemCode, f.elemAt)
	}
	l.scratch--
	f.seen++
	if l.err != nil || l.missing {
		return
	}
	if f.insert != nil {
		f.insert(f.to, f.keyAt, f.elemAt)
		return
	}
	key := f.key.Elem()
	if f.pl.key.ifaces && !key.Comparable() {
		f.keysFail(l.at, []reflect.Value{key}, "map key of a type that cannot be compared")
		return
	}
	f.m.SetMapIndex(key, f.elem.Elem())
}
