package podder

import (
	"math"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// fingerprints are what a state knows of the memory of its regions as it was when
// they were stored. A save takes them if it is not the first of its graph: much is
// saved only once.
type fingerprints struct {
	// known says that all regions have theirs.
	known bool
	list  blockList[regionPrint] // by region
	// pins are the strings and boxes that fingerprints trust, for the collector. Those of a
	// region lie in a row; pinned is where, by region, if it has any.
	pins   pinList
	pinned blockList[int32]
	// otherPinned is room for pinned when all are pinned anew.
	otherPinned blockList[int32]
	// unusedPins were replaced since all were taken, with about as many bytes.
	unusedPins, unusedBytes int
}

// bytes returns what the fingerprints take.
func (f *fingerprints) bytes() int64 {
	return f.list.bytes() + f.pins.bytes() + f.pinned.bytes() + f.otherPinned.bytes()
}

type pinList = blockList[unsafe.Pointer]

// put adds the fingerprint of a region for which nothing is kept yet.
func (f *fingerprints) put(p regionPrint) {
	f.list.put(p)
	f.pinned.put(f.pins.len())
}

// tooLarge reports whether the fingerprints take more than they may.
func (g *Graph) tooLarge(f *fingerprints) bool {
	return g.cfg.IndexBytes > 0 && f.bytes() > g.cfg.IndexBytes
}

// regionPrint is the fingerprint of one region, with all that is needed to take it
// again: the address is in state.pins.
type regionPrint struct {
	hash uint64
	what uint32 // words of a row, else number of the printer, << printKindBits; references << printRefsAt; and how
	n    uint32 // elements; manyElements: see its span. Of those with references here: the first of its edges
}

// How a region is compared with its fingerprint.
const (
	printNever  = iota // it cannot change: long strings; aliases
	printAlways        // it has none
	printValues
	printBox // by who has the variable
	// Of these the references are here, so that comparing one needs no look at its region.
	printMap
	printOne // one value
	printRow // words in a row

	printRefsAt   = 4
	manyRefs      = 15 // see the region
	printKindBits = 8
	manyElements  = math.MaxUint32
)

func (p *regionPrint) kind() uint32 { return p.what & (1<<printRefsAt - 1) }

// linked is the fingerprint of region r with its references: of a map, one value or a row.
func linked(r *region, hash uint64, number uintptr, kind uint32) regionPrint {
	return regionPrint{hash, uint32(number)<<printKindBits | min(r.edgeEnd-r.edge, manyRefs)<<printRefsAt | kind, r.edge}
}

// isLinked reports whether p has the references of its region.
func (p *regionPrint) isLinked() bool { return p.kind() >= printMap }

// words of a row.
func (p *regionPrint) words() uintptr { return uintptr(p.what >> printKindBits) }

// print returns the fingerprint of region i as its memory is now.
func (st *state) print(e *engine, k printKeys, i int32) regionPrint {
	r := st.regions.at(i)
	if r.plan.sentinel != nil {
		return regionPrint{}
	}
	switch r.kind {
	case pod.SlotBox:
		x := e.printerOf(r.plan)
		p := regionPrint{what: uint32(x.number)<<printKindBits | printBox}
		if !x.always && r.flags&flagRerun == 0 && r.addr != nil {
			p.hash, p.n = e.printValues(x, k, r.addr, 1), 1
		}
		return p
	case pod.SlotObject, pod.SlotArray:
		x, n := e.printerOf(r.plan), 1
		if r.kind == pod.SlotArray {
			n = st.spans.at(r.extra).reach
		}
		if x.always || r.flags&flagRerun != 0 {
			return regionPrint{what: printAlways}
		}
		switch words := x.row(n); {
		case words > 0:
			return linked(r, rowPrint(k, k.start^uint64(words), r.addr, words), words, printRow)
		case n == 1:
			return linked(r, e.printValues(x, k, r.addr, 1), uintptr(x.number), printOne)
		}
		return regionPrint{e.printValues(x, k, r.addr, n), uint32(x.number)<<printKindBits | printValues, uint32(min(n, manyElements))}
	case pod.SlotMap:
		x := e.mapPrinterOf(r.plan)
		if h, ok := e.printableMap(x, k, r); ok {
			return linked(r, h, uintptr(x.number), printMap)
		}
		return regionPrint{what: printAlways}
	case pod.SlotOpaque:
		return regionPrint{what: printAlways}
	}
	return regionPrint{}
}

func (e *engine) printableMap(x *printer, k printKeys, r *region) (uint64, bool) {
	if x.always || r.flags&flagRerun != 0 {
		return 0, false
	}
	return e.printMap(x, k, r.addr)
}

// pin keeps what the fingerprint of region i trusts, unless that is what is kept of it already.
func (st *state) pin(e *engine, i int32) {
	p, r := st.prints.list.at(i), st.regions.at(i)
	switch p.kind() {
	case printBox, printValues, printOne, printRow:
		x := e.printerOf(r.plan)
		if len(x.pins) == 0 || p.kind() == printBox && p.n == 0 {
			return
		}
		n := 1
		if r.kind == pod.SlotArray {
			if n = st.spans.at(r.extra).reach; n >= shadowElements && st.shadows[r.extra] != nil {
				return // that keeps them
			}
		}
		if st.arePinned(x, r.addr, n, *st.prints.pinned.at(i)) {
			return
		}
		*st.prints.pinned.at(i) = st.prints.pins.len()
		for k := range n {
			st.pinValue(x, unsafe.Add(r.addr, uintptr(k)*x.size))
		}
	case printMap:
		x := e.mapPrinterOf(r.plan)
		if len(x.key.pins) == 0 && len(x.elem.pins) == 0 {
			return
		}
		*st.prints.pinned.at(i) = st.prints.pins.len()
		x.layout.eachGroup((*goMap)(r.addr), func(g mapGroup) {
			for g.full != 0 {
				var at unsafe.Pointer
				at, g = g.next(x.layout.size)
				st.pinValue(x.key, at)
				st.pinValue(x.elem, unsafe.Add(at, x.layout.elem))
			}
		})
	}
}

func (st *state) pinValue(x *printer, p unsafe.Pointer) {
	for _, off := range x.pins {
		// Element k is one of those kept, so it lies inside the region.
		q := *(*unsafe.Pointer)(unsafe.Add(p, off))
		st.prints.pins.put(q)
	}
}

// arePinned reports whether what n values at addr trust is what is kept from pin at on.
func (st *state) arePinned(x *printer, addr unsafe.Pointer, n int, at int32) bool {
	pins := &st.prints.pins
	if int(pins.len()-at) < n*len(x.pins) {
		return false
	}
	for k := range n {
		p := unsafe.Add(addr, uintptr(k)*x.size) // in the region
		for _, off := range x.pins {
			if *(*unsafe.Pointer)(unsafe.Add(p, off)) != *pins.at(at) {
				return false
			}
			at++
		}
	}
	return true
}

// takePrints takes the fingerprints of all regions. Nothing was written since they
// were encoded, but by sync/atomic. If they take too much there are none.
func (w *walk) takePrints(g *Graph) error {
	st, e := w.st, w.eng
	k := e.printKeys()
	st.prints.list.memory, st.prints.pinned.memory, st.prints.otherPinned.memory = &st.own, &st.own, &st.own
	for i := range st.regions.len() {
		if i&0xffff == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		if i%listBlock == 0 && g.tooLarge(&st.prints) {
			st.forgetPrints()
			return nil
		}
		w.current = i
		if st.regions.at(i).kind == pod.SlotFree {
			st.absent++
		}
		st.bytes += st.held(st.regions.at(i))
		st.prints.put(st.print(e, k, i))
		st.pin(e, i)
	}
	if st.prints.known = !g.tooLarge(&st.prints); !st.prints.known {
		st.forgetPrints()
		return nil
	}
	st.compactEdges()
	return nil
}
