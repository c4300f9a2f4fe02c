package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// runs gives the runs of a container one after the other, checking that they
// lie inside its bytes.
type runs struct {
	rest    []byte
	lengths []uint32
	single  bool
}

func runsOf(d *pod.Data) runs {
	return runs{rest: d.Bytes, lengths: d.Runs, single: d.Runs == nil}
}

func (r *runs) count() int {
	if r.single {
		return 1
	}
	return len(r.lengths)
}

func (r *runs) next() ([]byte, bool) {
	if r.single {
		b := r.rest
		r.rest, r.single = nil, false
		return b, true
	}
	if len(r.lengths) == 0 || uint64(r.lengths[0]) > uint64(len(r.rest)) {
		return nil, false
	}
	n := r.lengths[0]
	b := r.rest[:n:n]
	r.rest, r.lengths = r.rest[n:], r.lengths[1:]
	return b, true
}

// arrayHeader is run 0 of a SlotArray.
type arrayHeader struct {
	extent uint64 // elements allocated
	stored uint64 // elements kept, at most extent
	perRun uint64
	bytes  int // of the head
}

func (l *loader) arrayHeader(p *loadPod, s pod.Slot, d *pod.Data) (h arrayHeader, ok bool) {
	b := d.Bytes
	n := uint64(1)
	if d.Runs != nil {
		if n = uint64(len(d.Runs)); n > 0 {
			b = b[:min(uint64(d.Runs[0]), uint64(len(b)))]
		}
	}
	c := cursor{buf: b}
	h.extent, h.stored, h.perRun = c.uvarint(), c.uvarint(), c.uvarint()
	if c.bad || c.off != len(b) || h.stored > h.extent || h.extent > 1<<46 {
		l.corrupt("slot %d of pod %d: damaged head of an array", s, p.id)
		return h, false
	}
	h.bytes = len(b)
	want := uint64(1)
	if h.stored > 0 {
		if h.perRun == 0 {
			l.corrupt("slot %d of pod %d: no elements in a run", s, p.id)
			return h, false
		}
		want = 2
		if h.stored > h.perRun {
			want += (h.stored - 1) / h.perRun
		}
	}
	if n != want {
		l.corrupt("slot %d of pod %d: %d elements in %d runs of %d", s, p.id, h.stored, n-1, h.perRun)
		return h, false
	}
	return h, true
}

func (l *loader) fillArray(p *loadPod, s pod.Slot, d *pod.Data, st *storedType, to unsafe.Pointer) {
	if h, ok := l.arrayHeader(p, s, d); ok {
		l.fillElems(p, d, &slotHead{array: h}, st, to)
	}
}

// fillElems decodes the elements of an array whose head was read.
func (l *loader) fillElems(p *loadPod, d *pod.Data, head *slotHead, st *storedType, to unsafe.Pointer) {
	h := &head.array
	rest, lengths := d.Bytes[h.bytes:], d.Runs
	for done := uint64(0); done < h.stored && l.err == nil; {
		n := min(h.perRun, h.stored-done)
		lengths = lengths[1:] // the head counted them
		if uint64(lengths[0]) > uint64(len(rest)) {
			l.corrupt("runs exceed the %d bytes of an array", len(d.Bytes))
			return
		}
		b := rest[:lengths[0]:lengths[0]]
		rest = rest[len(b):]
		// done < stored ≤ the elements that the array was allocated with.
		l.elems(p, st.plan, b, n, unsafe.Add(to, uintptr(done)*st.size))
		done += n
	}
	if l.err == nil && len(rest) > 0 {
		l.corrupt("%d bytes after the runs of an array", len(rest))
	}
}

// elems decodes n neighbouring elements.
func (l *loader) elems(p *loadPod, pl *decodePlan, b []byte, n uint64, at unsafe.Pointer) {
	switch {
	case pl.fixed == nil:
		l.valueRun(p, pl, b, n, at)
	case pl.changed:
		if varied, ok := l.variedRun(pl, b, n); ok {
			l.valueRun(p, pl, varied, n, at)
		}
	default:
		l.fixedRun(pl.fixed, b, n, at)
	}
}

func (l *loader) fixedRun(f *fixedElem, b []byte, n uint64, at unsafe.Pointer) {
	if !l.fixedFits(f, b, n) {
		return
	}
	if len(b) > 0 && !f.decode(b, at) {
		l.corrupt("number out of range in an array")
	}
}

// fixedFits checks the length of a run of n elements of fixed width.
func (l *loader) fixedFits(f *fixedElem, b []byte, n uint64) bool {
	each := uint64(f.count) * uint64(f.width())
	if each > 0 && n > uint64(len(b))/each || uint64(len(b)) != n*each {
		l.corrupt("run of %d bytes for %d elements of %d", len(b), n, each)
		return false
	}
	return true
}

// variedRun turns a run of numbers of fixed width into the form that values
// have elsewhere, which all moves can read.
func (l *loader) variedRun(pl *decodePlan, b []byte, n uint64) ([]byte, bool) {
	if !l.fixedFits(pl.fixed, b, n) {
		return nil, false
	}
	return pl.fixed.varied(make([]byte, 0, len(b)+len(b)/4), b), true
}

func (l *loader) valueRun(p *loadPod, pl *decodePlan, b []byte, n uint64, at unsafe.Pointer) {
	c := cursor{buf: b}
	size := pl.typ.Size()
	if size == 0 && len(b) == 0 {
		return // nothing to see, however many they are said to be
	}
	elem := func(i uint64) unsafe.Pointer {
		// The caller bounds n by the elements that are left in the array.
		return unsafe.Add(at, uintptr(i)*size)
	}
	switch code := pl.only(); {
	case len(pl.moves) == 0:
	case code == moveString:
		for i := uint64(0); i < n && l.err == nil && !c.bad; i++ {
			l.str(p, &c, elem(i))
		}
	case code == movePointer:
		for i := uint64(0); i < n && l.err == nil && !c.bad; i++ {
			l.pointer(p, &c, &pl.moves[0], elem(i))
		}
	default:
		for i := uint64(0); i < n && l.err == nil && !c.bad; i++ {
			l.value(p, &c, pl, elem(i))
		}
	}
	switch {
	case l.err != nil:
	case c.bad:
		l.corrupt("%s ends early", pl.node.text)
	case c.off != len(b):
		l.corrupt("run of %d bytes ends at %d", len(b), c.off)
	}
	if l.err != nil {
		l.locate(&c)
	}
}

// only returns the code of a plan's one move, moveArray if that is not all.
func (pl *decodePlan) only() moveCode {
	if len(pl.moves) == 1 && pl.moves[0].offset == 0 {
		return pl.moves[0].code
	}
	return moveArray
}

// part is value for a part of a container, whose plan has that one code.
func (l *loader) part(p *loadPod, c *cursor, pl *decodePlan, code moveCode, at unsafe.Pointer) {
	switch code {
	case moveString:
		l.str(p, c, at)
	case movePointer:
		l.pointer(p, c, &pl.moves[0], at)
	case moveInt, moveInt64:
		l.signed(c.varint(), code, at)
	default:
		l.value(p, c, pl, at)
		return
	}
	if c.bad && l.err == nil {
		l.corrupt("%s ends early", pl.node.text)
	}
	if l.err != nil {
		l.locate(c)
	}
}
