package podder

import (
	"context"
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// encoder writes the slots of one pod after the other. It takes the edges in
// the order in which discovery found them: a reference that is not where its
// edge leads means that someone wrote the memory meanwhile.
type encoder struct {
	*placer
	ctx context.Context

	cur  int32 // pod being written
	edge uint32
	// Edges below edgesKnown lead to regions as they are, through no forwarder.
	edgesKnown uint32
	buf        []byte
	runs       []uint32
	out        []slotOut
	links      []uint32 // what slots refer to: slot<<1, or number<<1 | 1
	starts     []uint32 // in links, of each slot
	refs       []pod.Ref
	numbers    refTable
	unnumbered bool // refs are not in numbers yet
	used       []bool
	free       uint32 // no unused number lies below it
	steps      []uint64
	entries    []entryBytes
	keys       []byte
	change     pod.Change
	writes     []pod.SlotWrite
	slots      []uint32 // of out
	longest    int      // how long out and writes have been
	marked     []uint32 // slots that are exported, and slot 0
	sets       edgeSets
	typeIDs    []pod.TypeID // by 2*plan.number, + 1 for the entries of a map
	err        error
	// unplaced says that a reference led to a region without a place.
	unplaced bool
	saved    *Saved

	frozen map[int32][]frozenList // by pod (chunk_encode.go)

	// Of an encoder of chunks (chunk_contents.go).
	noting bool // note the references of the unit being encoded in holes
	holes  []hole
	via    []pod.Ref // forwarders that the chunk being compared goes through
}

// noType stands for a type that was not asked for yet.
const noType = ^pod.TypeID(0)

// slotOut is one encoded slot of the pod being written.
type slotOut struct {
	from, to     int // in buf
	runs, runEnd int // in runs; equal for a single run
	flat         []byte
	links        int // first of its links
	typ          pod.TypeID
	kind         pod.Kind
	hash         slotHash
	changed      bool
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

var errChanged = fmt.Errorf("memory changed while it was being saved: %w", dberr.ErrInvalid)

// take returns the region to which the next reference leads.
func (e *encoder) take() *region {
	if int32(e.edge) >= e.edges.len() {
		e.fail(errChanged)
		return nil
	}
	i := *e.edges.at(int32(e.edge))
	e.edge++
	r := e.st.regions.at(i)
	if r.kind == pod.SlotFree {
		r = e.st.regions.at(e.st.resolve(i))
	}
	return r
}

// uncommon appends the stored form of the operation's value at p where common does not.
func (e *encoder) uncommon(o *op, at unsafe.Pointer) {
	switch o.code {
	case opString:
		e.str(*(*string)(at))
	case opPointer:
		e.pointer(*(*unsafe.Pointer)(at), o.sub)
	case opAtomicPointer:
		e.pointer(e.loadedPointer(at), o.sub)
	case opMap:
		if q := *(*unsafe.Pointer)(at); q != nil {
			e.reference(q, part{typ: o.sub.typ, count: 1})
		} else {
			e.buf = append(e.buf, codeNil)
		}
	case opSlice:
		h := (*sliceWords)(at)
		var refers bool
		if e.buf, refers = appendSliceHead(e.buf, h, o.sub); refers {
			e.reference(h.data, part{typ: o.sub.typ, count: h.cap, array: true})
		}
	case opEface, opIface:
		e.boxed(o.sub, at)
	case opAtomicAny:
		e.boxed(o.sub, unsafe.Pointer(e.loadedAny(at)))
	case opArray:
		if o.n > 0 {
			e.values(o.sub, at, o.n)
		}
	case opCodec:
		b, err := appendCodec(e.buf, o.codec, at)
		if err != nil {
			e.fail(&refusedValue{at, o.sub.typ, err})
		}
		e.buf = b
	case opWeak:
		e.weak(o, at)
	case opRef:
		e.ref(o, at)
	case opHand:
		e.hand(o, at)
	case opNil, opRefuse, opBefore:
	default:
		e.buf = appendScalar(e.buf, o, at)
	}
}

// pointer appends the code of a pointer to a value of plan pl.
func (e *encoder) pointer(q unsafe.Pointer, pl *plan) {
	switch {
	case q == nil:
		e.buf = append(e.buf, codeNil)
	case pl.size == 0:
		e.buf = append(e.buf, codeZeroSize)
	default:
		e.reference(q, part{typ: pl.typ, count: 1})
	}
}

func (e *encoder) str(s string) {
	if len(s) < longString {
		e.buf = append(binary.AppendUvarint(e.buf, uint64(len(s))<<1), s...)
		return
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(len(s))<<1|1)
	r := e.take()
	// Only the address is used, to find how far into its region s begins.
	data := unsafe.Pointer(unsafe.StringData(s))
	if r == nil || r.kind != pod.SlotString || uintptr(data) < uintptr(r.addr) || uintptr(data)+uintptr(len(s)) > uintptr(r.addr)+e.st.size(r) {
		e.fail(errChanged)
		return
	}
	e.code(r, 0)
	e.buf = binary.AppendUvarint(e.buf, uint64(uintptr(data)-uintptr(r.addr)))
}

func (e *encoder) boxed(iface *plan, p unsafe.Pointer) {
	if (*interfaceWords)(p).tab == nil {
		if o := e.hidden[p]; o != nil {
			e.boxedOpaque(&o.value)
		} else {
			e.buf = append(e.buf, 0)
		}
		return
	}
	d := e.eng.dynamicOf(iface.typ, p)
	if d.drop {
		e.buf = append(e.buf, 0)
		return
	}
	if d.plan.typ == opaqueType {
		e.boxedOpaque(&(*(**Opaque)(d.value(p))).value)
		return
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(e.typeID(d.plan, false)))
	e.value(d.plan, d.value(p))
}

// reference appends the pointer code for the part t at q.
func (e *encoder) reference(q unsafe.Pointer, t part) {
	r := e.take()
	if r == nil {
		return
	}
	off := uintptr(q) - uintptr(r.addr)
	if off == 0 && r.plan.typ == t.typ && (r.kind == pod.SlotArray) == t.array {
		if len(e.st.forwards) == 0 || !e.forwarder(q, interior{}) {
			e.code(r, 0)
		}
		return
	}
	if uintptr(q) < uintptr(r.addr) || off >= e.st.size(r) {
		e.fail(errChanged)
		return
	}
	in, ok := e.eng.locate(r, off, t, e.steps[:0])
	if !ok {
		e.fail(errChanged)
		return
	}
	e.steps = in.steps
	e.eng.stepIDs(in.steps, r.plan.typ)
	if len(e.st.forwards) == 0 || !e.forwarder(q, in) {
		e.way(r, in)
	}
}

// way appends the code of a reference into r.
func (e *encoder) way(r *region, in interior) {
	e.steps = in.steps
	if in.whole() {
		e.code(r, 0)
		return
	}
	e.code(r, codeInterior)
	e.buf = binary.AppendUvarint(e.buf, in.elem)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(in.steps)))
	for _, s := range in.steps {
		e.buf = binary.AppendUvarint(e.buf, s)
	}
}

// code appends the pointer code of region r.
func (e *encoder) code(r *region, flags uint64) {
	if r.pod < 0 {
		e.unplaced = true
		return
	}
	if r.pod == e.cur {
		e.links = append(e.links, r.slot<<1)
		e.buf = binary.AppendUvarint(e.buf, codeBase+(uint64(r.slot)<<codeShift|flags))
		return
	}
	e.external(e.number(r), flags)
}

// external appends the pointer code of reference number n.
func (e *encoder) external(n uint32, flags uint64) {
	e.links = append(e.links, n<<1|1)
	from := len(e.buf)
	e.buf = appendExternal(e.buf, n, flags)
	if e.noting {
		e.holes = append(e.holes, hole{from, len(e.buf), e.refs[n]})
	}
}

// appendExternal appends the pointer code of reference number n.
func appendExternal(buf []byte, n uint32, flags uint64) []byte {
	return binary.AppendUvarint(buf, codeBase+(uint64(n)<<codeShift|flags|codeExternal))
}

// number returns the reference number of region r in the current pod: the one
// that it has, or the lowest that is not in use.
func (e *encoder) number(r *region) uint32 {
	return e.refNumber(pod.Ref{Pod: e.st.pods[r.pod].id, Slot: pod.Slot(r.slot)})
}

func (e *encoder) refNumber(ref pod.Ref) uint32 {
	if e.unnumbered {
		e.giveNumbers()
	}
	n, ok := e.numbers.get(ref)
	if !ok {
		for int(e.free) < len(e.refs) && e.refs[e.free].Pod != 0 {
			e.free++
		}
		n = e.free
		if int(n) == len(e.refs) {
			e.refs = append(e.refs, pod.Ref{})
			e.used = append(e.used, false)
		}
		e.refs[n] = ref
		e.numbers.put(ref, n)
	}
	e.used[n] = true
	return n
}

// typeID returns the catalogue id of the type of a plan, or of the entries of a map.
func (e *encoder) typeID(pl *plan, entries bool) pod.TypeID {
	at := 2 * pl.number
	if entries {
		at++
	}
	if id := e.typeAt(at); id != noType {
		return id
	}
	return e.newTypeID(typeKey{plan: pl, entries: entries}, at)
}

// typeAt returns what typeIDs has, noType for nothing.
func (e *encoder) typeAt(at int) pod.TypeID {
	if at < len(e.typeIDs) {
		return e.typeIDs[at]
	}
	return noType
}

// newTypeID is typeID of a type that was not asked for yet.
func (e *encoder) newTypeID(k typeKey, at int) pod.TypeID {
	for len(e.typeIDs) <= at {
		e.typeIDs = append(e.typeIDs, noType)
	}
	id, ok := e.st.types[k]
	if !ok {
		var err error
		if id, err = e.askType(k); err != nil {
			e.fail(fmt.Errorf("type %v: %w", k.plan.typ, err))
			return 0
		}
		e.st.types[k] = id
		e.undo.typ(k)
	}
	e.typeIDs[at] = id
	return id
}

func (e *encoder) askType(k typeKey) (pod.TypeID, error) {
	if s := k.plan.sentinel; s != nil {
		return e.namedType(s)
	}
	if !k.entries {
		if id, ok := predeclaredID(k.plan.typ); ok {
			return id, nil
		}
	}
	if d, ok := e.eng.described[k]; ok {
		return e.sink.Type(e.ctx, d)
	}
	describe := describe
	if k.entries {
		describe = describeMap
	}
	d, err := describe(e.eng.reg, k.plan.typ)
	if err == nil {
		d, err = e.eng.withIDs(d, k.plan.typ)
	}
	if err != nil {
		return 0, err
	}
	e.eng.described[k] = d
	return e.sink.Type(e.ctx, d)
}
