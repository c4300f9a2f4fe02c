package podder

import (
	"context"
	"reflect"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Discovery finds every region that the variables of a save reach. It keeps its
// stack on the heap and goes depth first, variable by variable: what a region
// refers to is numbered in a row, then each is visited with all that hangs on it.
// That is the order in which most programs make their objects, so most of what is
// read is in the cache or about to be, and what is near in the graph gets near
// numbers. Whatever order memory lies in, equal graphs are met in equal order.
//
// Each reference that is not nil becomes an edge, in the order of the plan's
// operations; encoding consumes the edges in the same order and so never looks
// up an address again. A region that grows after it was scanned (its container
// was met later, or a longer slice of the same array) is scanned again where it
// grew; its edges are collected anew when everything is settled.

// maxNesting bounds how deep interface values may hold each other by value
// within one slot, and maxBoxes how many of them one element may have: shared
// boxes could make either exponential.
const (
	maxNesting = maxValueDepth
	maxBoxes   = 1 << 20

	tooManyBoxes = 1 << 40
)

// longString is the length from which strings are regions.
const longString = 4 << 10

// maxRegions bounds the regions of one save; region numbers are int32.
const maxRegions = 1<<31 - 2

// maxEdges bounds the references of one save in the same way.
const maxEdges = 1<<31 - 1<<20

type walk struct {
	ctx   context.Context
	eng   *engine
	old   *state
	st    *state
	maps  mapReader
	own   ownMemory   // what is needed until the save is done
	home  *idleTables // where it goes then; nil if it is not used again
	ahead aheadList   // what is fetched before it is read

	written writtenRegions
	// handed is what codecs of the program made of values.
	handed map[handedKey]*handed
	// loaded and pointers are what values of sync/atomic held when they were met.
	loaded   map[unsafe.Pointer]*any
	pointers map[unsafe.Pointer]unsafe.Pointer

	stream *stream           // places and encodes what is found, nil if that is done later
	edges  *blockList[int32] // of the state
	// crossings are the edges, as from and to, that lead to a region which another
	// one, or none, was first seen to refer to.
	crossings blockList[[2]int32]

	grown   []growth      // parts of scanned regions that came in later
	arrays  []int32       // that the state before did not know
	todo    []regionRange // regions to visit, the last ones first
	covered int32         // regions below it are, or were, in todo, or needed not to be
	ready   int32         // new regions below it are done with already (stream.leaf)
	up      *region       // the one being visited
	rescans bool          // there are regions to collect the edges of again
	settled bool          // edges are being collected again: nothing new can appear

	// namedNow are regions of sentinels by those of the state before.
	namedNow map[int32]int32
	oldRoots map[string]pod.ID
	oldBoxes map[int32]int32 // boxes and what they were in the state before, if sentinels have several regions

	first     bool        // nothing was saved or loaded before
	doubting  bool        // copies of words are not believed: it looks for what was missed (verifyIndex)
	partial   bool        // only what differs is walked, in the state before (resave.go)
	added     int32       // if partial: regions from it on are new
	undo      *undo       // if partial
	again     []int32     // if partial: regions of which more is kept now
	met       *metRegions // if partial
	printKeys printKeys   // if partial
	// overlaps says that a partial walk met memory which it cannot settle.
	overlaps bool
	root     int     // number of the root being walked, from 1
	static   typeSet // its closure
	needs    needs
	cells    []boxCell
	copies   []unsafe.Pointer // of the variables, if unpinned
	nesting  int
	boxes    int
	current  int32 // region being scanned
	elem     int   // its element, or entry in order
	scratch  []int32
	buf      []byte

	heads    []int32      // regions to which Refs lead (ref_save.go)
	hidden   hiddenValues // Graph.hidden
	inKey    bool         // of a map
	zeroed   []problem    // values that are stored as nil
	problems []problem
	others   bool // Graph.Others
	dropped  int  // problems beyond maxProblems
}

// newWalk returns a walk that follows the state of g.
func newWalk(ctx context.Context, g *Graph) *walk {
	w := g.idle.takeWalk()
	w.ctx, w.eng, w.old, w.st, w.hidden, w.oldRoots, w.others = ctx, g.eng, g.cur, g.newState(), g.hidden, g.roots, g.others
	w.first = g.cur.memory.count == 0
	w.home = &g.idle
	w.own.spare = &g.spare
	w.written.spare, g.eng.written = g.eng.written, nil
	w.edges, w.crossings.memory = &w.st.edges, &w.own
	return w
}

// end gives back the memory of the walk, but for its state's. What a next one can
// use is kept by the engine.
func (w *walk) end() {
	w.eng.written = w.written.first()
	own, home := w.own, w.home
	*w = walk{}
	own.release()
	if home != nil {
		home.giveWalk(w, &own)
	}
}

// boxCell is the private copy of a variable's value.
type boxCell struct {
	name   string
	region int32
}

// discover walks all roots.
func (w *walk) discover(roots []Root) error {
	w.needs.begin(w.eng, roots)
	for i, r := range roots {
		w.root = i + 1
		w.eng.walks++
		w.static = w.needs.static[i]
		w.addBox(r)
		w.askable(r)
		if err := w.drain(); err != nil {
			return err
		}
	}
	if err := w.keepStored(); err != nil {
		return err
	}
	if len(w.problems) > 0 {
		return w.unsupported()
	}
	w.collectAgain()
	return w.checkNeeds()
}

// scan visits the references of elements [from, to) of region i.
func (w *walk) scan(i int32, from, to int) {
	r := w.st.regions.at(i)
	p, base := r.plan, r.addr
	switch r.kind {
	case pod.SlotString:
		r.weight = clampWeight(w.st.spans.at(r.extra).reach)
		return
	case pod.SlotMap:
		w.scanMap(i)
		return
	}
	if w.stream == nil && from == 0 && to == w.elements(r) && w.writable(r) {
		w.write(i, to)
		return
	}
	weight := (to - from) * p.est
	if r.kind == pod.SlotArray && p.flat {
		weight = (to - from) * int(p.size)
	}
	switch {
	case p.only == opPointer:
		if w.first && r.kind == pod.SlotArray {
			w.aheadNext(r, p)
		}
		for k := from; k < to; k++ {
			w.elem = k
			at := unsafe.Add(base, uintptr(k)*p.size)
			if q := *(*unsafe.Pointer)(at); q != nil && p.ops[0].sub.size != 0 {
				w.pointer(at, q, p.ops[0].sub)
			}
		}
	case len(p.refs) > 0:
		for k := from; k < to; k++ {
			w.boxes, w.elem = 0, k
			weight += w.refs(p, unsafe.Add(base, uintptr(k)*p.size))
		}
	}
	r = w.st.regions.at(i)
	r.weight = clampWeight(int(r.weight) + weight)
}

func clampWeight(n int) uint32 { return uint32(min(n, 1<<30)) }

// refs visits the references of the value at p and returns what its strings and
// interfaces add to its stored size.
func (w *walk) refs(pl *plan, p unsafe.Pointer) (extra int) {
	for k := range pl.refs {
		o := &pl.refs[k]
		at := unsafe.Add(p, o.off)
		switch o.code {
		case opPointer:
			if q := *(*unsafe.Pointer)(at); q != nil && o.sub.size != 0 {
				w.pointer(at, q, o.sub)
			}
		case opString:
			s := *(*string)(at)
			if len(s) < longString {
				extra += len(s)
			} else {
				w.edge(w.longString(s))
			}
		case opSlice:
			h := (*sliceWords)(at)
			if h.cap != 0 && o.sub.size != 0 {
				w.array(at, h, o.sub, o.n)
			}
		case opMap:
			if q := *(*unsafe.Pointer)(at); q != nil {
				w.mapAt(at, q, o.sub)
			}
		case opEface, opIface:
			extra += w.boxed(o.sub.typ, at)
		case opAtomicAny:
			extra += w.boxed(o.sub.typ, unsafe.Pointer(w.loadedAny(at)))
		case opAtomicPointer:
			if q := w.loadedPointer(at); q != nil && o.sub.size != 0 {
				w.pointer(at, q, o.sub)
			}
		case opWeak:
			w.weak(o, at)
		case opRef:
			w.ref(o, at)
		case opOpaque:
			extra += w.opaqueRefs(&(*opaqueSlot)(at).value)
		case opArray:
			for i := range o.n {
				extra += w.refs(o.sub, unsafe.Add(at, uintptr(i)*o.sub.size))
			}
		case opNil:
			if *(*unsafe.Pointer)(at) != nil {
				w.runsOnly(at, o.sub.typ, "")
			}
		case opRefuse:
			w.problem(at, o.sub.typ, o.why, false)
		case opCodec:
			if _, err := o.codec.append(w.buf[:0], at); err != nil {
				w.failed(at, o.sub.typ, err)
			}
		case opHand:
			extra += w.hand(o, at)
		case opBefore:
			w.before(o.sub.typ, at)
		}
	}
	return extra
}

// loadedAny returns the value of the atomic.Value at p, as it was when the save met
// it: at one address, by which what its codec handed over is found again.
func (w *walk) loadedAny(p unsafe.Pointer) *any {
	v := w.loaded[p]
	if v == nil {
		w.pin()
		v = new(any)
		*v = (*atomic.Value)(p).Load()
		if w.loaded == nil {
			w.loaded = map[unsafe.Pointer]*any{}
		}
		w.loaded[p] = v
	}
	return v
}

// loadedPointer returns the atomic.Pointer at p, as it was when the save met it: others may store
// another one before it is encoded, which leads to what the save has not found.
func (w *walk) loadedPointer(p unsafe.Pointer) unsafe.Pointer {
	q, met := w.pointers[p]
	if !met {
		w.pin()
		q = atomicPointer(p)
		if w.pointers == nil {
			w.pointers = map[unsafe.Pointer]unsafe.Pointer{}
		}
		w.pointers[p] = q
	}
	return q
}

// boxed visits the value in the interface of type t at p.
func (w *walk) boxed(t reflect.Type, p unsafe.Pointer) (extra int) {
	if (*interfaceWords)(p).tab == nil {
		if o := w.hidden[p]; o != nil {
			return w.opaqueRefs(&o.value)
		}
		return 0
	}
	d := w.eng.dynamicOf(t, p)
	if d.plan.typ == opaqueType {
		o := *(**Opaque)(d.value(p))
		if !w.ownOpaque(p, o) {
			return 0
		}
		w.st.regions.at(w.current).flags |= flagRerun // its references are not all edges
		return w.opaqueRefs(&o.value)
	}
	if d.drop {
		w.runsOnly(p, d.plan.typ, " behind an interface")
		return 0
	}
	if d.okFor != w.eng.walks && !w.settled {
		if !w.needs.later && !w.knows(d.plan.typ) {
			w.unregistered(p, d)
			return 0
		}
		d.okFor = w.eng.walks
		if d.static = !w.eng.known(d.plan.typ, nil); d.static {
			w.st.ask(d.plan.typ)
		}
	}
	if d.static && !w.settled {
		w.st.regions.at(w.current).flags |= flagStatic
		w.needs.add(d.plan.typ, w.current)
	}
	if d.plan.rerun {
		w.st.regions.at(w.current).flags |= flagRerun
	}
	if len(d.plan.refs) == 0 {
		return d.plan.est
	}
	w.boxes++
	if w.nesting >= maxNesting || w.boxes > maxBoxes {
		if w.boxes < tooManyBoxes { // once for each element, and without looking for the place
			w.problem(nil, d.plan.typ, "interface values hold each other by value too deep or too often: put pointers in them", false)
			w.boxes = tooManyBoxes
		}
		return 0
	}
	w.nesting++
	extra = d.plan.est + w.refs(d.plan, d.value(p))
	w.nesting--
	return extra
}

// knows reports whether the variable that is being walked knows a type, or, if that
// is none in particular, any of them does: needs has those that do not.
func (w *walk) knows(t reflect.Type) bool {
	if !w.partial {
		return w.eng.known(t, w.static)
	}
	for _, static := range w.needs.static {
		if w.eng.known(t, static) {
			return true
		}
	}
	return false
}

// edge records a reference of the region that is being scanned.
func (w *walk) edge(to int32) {
	if to >= 0 {
		w.edges.put(to)
		if w.met != nil {
			w.met.mark(to)
		}
		if r := w.st.regions.at(to); r.parent != w.current {
			r.flags |= flagCrossed
			w.crossings.put([2]int32{w.current, to})
		}
	}
}

// roomy doubles the room of a full slice: append alone would copy large ones
// five times over while they grow.
func roomy[T any](s []T) []T {
	if len(s) == cap(s) {
		s = slices.Grow(s, max(16, len(s)))
	}
	return s
}

// addBox makes the region of a variable: a private copy of its value.
func (w *walk) addBox(r Root) {
	cell := reflect.New(r.Value.Type())
	cell.Elem().Set(r.Value)
	if w.st.unpinned {
		w.copies = append(w.copies, cell.UnsafePointer())
	}
	box, i := w.append(cell.UnsafePointer())
	box.plan, box.kind, box.parent = w.eng.planOf(r.Value.Type()), pod.SlotBox, -1
	w.cells = append(w.cells, boxCell{name: r.Name, region: i})
	w.noteBox(i, r)
}

// append adds a region at addr that is not in an index and has no place yet.
func (w *walk) append(addr unsafe.Pointer) (*region, int32) {
	r, i := w.st.addRegion(addr)
	r.pod, r.next, r.extra = -1, -1, -1
	return r, i
}

// sliceWords is a slice in memory.
type sliceWords struct {
	data unsafe.Pointer
	len  int
	cap  int
}
