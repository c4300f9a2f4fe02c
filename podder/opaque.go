package podder

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A value behind an interface whose type this program does not know is loaded
// as an *Opaque. Left where it is, it is written back byte for byte, with
// everything that it leads to:
//
//   - what lies in other pods is kept by its place, (pod, slot), and not loaded:
//     an exported slot is never given to another object;
//   - what lies in the same pod is loaded as what it is if the type is known, so
//     that it stays one object with what the program holds, else as an
//     opaqueSlot, a region whose contents are stored bytes.
//
// Type ids in the bytes are those of one database, so an Opaque cannot be saved
// in another one.

// Opaque stands for a value whose type this program does not know. The value
// itself is an *Opaque in the interface, which is immutable and may be moved to
// another interface or variable of the same database; a process that knows the
// type finds the original there.
type Opaque struct {
	text  string
	seed  uint64 // of the database that its bytes belong to
	value opaqueValue
}

// TypeName returns the stored name of the value's type.
func (o *Opaque) TypeName() string { return o.text }

// String describes the value.
func (o *Opaque) String() string {
	return fmt.Sprintf("value of type %s, which this program does not know", o.text)
}

// opaqueValue is the stored form of a value: its bytes without the references,
// and those.
type opaqueValue struct {
	id   pod.TypeID
	data []byte
	refs []opaqueRef
	runs []opaqueRun // ends of the runs of a container
}

// opaqueRun is where a run ends: in the bytes, and among the references.
type opaqueRun struct{ data, refs int }

// opaqueRef is one reference, with the place in data where it belongs.
type opaqueRef struct {
	at int
	// Into this pod: a part of a known value, or a string, or an opaque slot.
	addr   unsafe.Pointer
	part   part
	kind   pod.Kind // SlotObject, SlotArray, SlotMap; SlotString; SlotOpaque
	shown  int      // length of a slice
	text   string
	opaque *opaqueSlot
	// Into another pod, if not 0.
	outside pod.Ref
	tail    []byte // interior part of a reference to what is not known
}

// opaqueSlot is the memory of a region whose type is not known.
type opaqueSlot struct {
	kind  pod.Kind // as stored
	value opaqueValue
}

var (
	opaqueType     = reflect.TypeFor[*Opaque]()
	opaqueSlotType = reflect.TypeFor[opaqueSlot]()
)

// hiddenValues are values that belong in interfaces with methods, by the
// interface. That is nil, since the program does not know their types, and as long
// as it is nil they are written in its place.
type hiddenValues map[unsafe.Pointer]*Opaque

// hide takes over what a load has hidden.
func (g *Graph) hide(hidden hiddenValues) { maps.Copy(g.hidden, hidden) }

// uncover forgets what was hidden in objects that are gone.
func (g *Graph) uncover() {
	maps.DeleteFunc(g.hidden, func(at unsafe.Pointer, _ *Opaque) bool { return g.cur.memory.find(g.cur, at) < 0 })
}

// opaqueRefs visits the references of an opaque value.
func (w *walk) opaqueRefs(v *opaqueValue) (extra int) {
	for i := range v.refs {
		switch r := &v.refs[i]; {
		case r.outside.Pod != 0:
		case r.opaque != nil:
			w.edge(w.opaqueSlot(r.opaque))
		case r.kind == pod.SlotString:
			if len(r.text) >= longString {
				w.edge(w.longString(r.text))
			}
		case r.kind == pod.SlotMap:
			w.edge(w.mapHeader(nil, r.addr, w.eng.planOf(r.part.typ)))
		case r.part.array:
			w.edge(w.slice(nil, &sliceWords{r.addr, r.shown, r.part.count}, w.eng.planOf(r.part.typ), 0))
		default:
			w.edge(w.object(nil, r.addr, w.eng.planOf(r.part.typ)))
		}
	}
	return len(v.data) + 3*len(v.refs)
}

// opaqueSlot returns the region of an opaque slot.
func (w *walk) opaqueSlot(q *opaqueSlot) int32 {
	addr := unsafe.Pointer(q)
	if i := w.st.memory.find(w.st, addr); i >= 0 {
		return i
	}
	i := w.add(candidate{addr: addr, plan: w.eng.planOf(opaqueSlotType), kind: pod.SlotOpaque})
	if o := w.old.memory.find(w.old, addr); o >= 0 {
		w.stick(i, w.old.regions.at(o))
	}
	return i
}

// ownOpaque refuses an opaque value of another database.
func (w *walk) ownOpaque(at unsafe.Pointer, o *Opaque) bool {
	if o != nil && o.seed == w.eng.seed {
		return true
	}
	w.problem(at, opaqueType, "an opaque value can be saved only in the database from which it was loaded", false)
	return false
}

// boxedOpaque appends an opaque value as an interface holds it.
func (e *encoder) boxedOpaque(v *opaqueValue) {
	e.buf = binary.AppendUvarint(e.buf, uint64(v.id))
	e.opaque(v)
}

// opaque appends the stored form of an opaque value.
func (e *encoder) opaque(v *opaqueValue) {
	e.opaquePiece(v, opaqueRun{}, opaqueRun{len(v.data), len(v.refs)})
}

// opaqueRuns appends the stored form of an opaque container, and the lengths of
// its runs.
func (e *encoder) opaqueRuns(v *opaqueValue) {
	from := opaqueRun{}
	for _, to := range v.runs {
		start := len(e.buf)
		e.opaquePiece(v, from, to)
		e.runs = append(e.runs, uint32(len(e.buf)-start))
		from = to
	}
}

func (e *encoder) opaquePiece(v *opaqueValue, from, to opaqueRun) {
	at := from.data
	for i := from.refs; i < to.refs; i++ {
		r := &v.refs[i]
		e.buf = append(e.buf, v.data[at:r.at]...)
		at = r.at
		switch {
		case r.outside.Pod != 0:
			e.noteKept(r, true)
			e.outside(r)
		case r.opaque != nil:
			if to := e.take(); to != nil {
				e.code(to, interiorFlag(r.tail))
				e.buf = append(e.buf, r.tail...)
			}
		case r.kind == pod.SlotString:
			e.str(r.text)
		default:
			e.reference(r.addr, r.part)
		}
	}
	e.buf = append(e.buf, v.data[at:to.data]...)
}

func interiorFlag(tail []byte) uint64 {
	if len(tail) > 0 {
		return codeInterior
	}
	return 0
}

// outside appends a reference to what was stored in another pod.
func (e *encoder) outside(r *opaqueRef) {
	if e.cur >= 0 && r.outside.Pod == e.st.pods[e.cur].id {
		e.links = append(e.links, uint32(r.outside.Slot)<<1)
		e.buf = binary.AppendUvarint(e.buf, codeBase+(uint64(r.outside.Slot)<<codeShift|interiorFlag(r.tail)))
	} else {
		e.external(e.refNumber(r.outside), interiorFlag(r.tail))
	}
	e.buf = append(e.buf, r.tail...)
}

// sameKind reports whether region r may live in a slot that is stored as kind.
func sameKind(kind pod.Kind, r *region) bool {
	if r.kind == pod.SlotOpaque {
		return (*opaqueSlot)(r.addr).kind == kind
	}
	if kind == pod.SlotChunks {
		return r.kind == pod.SlotArray || r.kind == pod.SlotMap || r.kind == pod.SlotString
	}
	return r.kind == kind
}
