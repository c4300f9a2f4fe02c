package podder

import (
	"math/bits"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// metRegions says which of the known regions a save without a walk has met. It goes
// through them once in the order of their numbers, which is about that in which they
// refer to each other, and then to those behind that were met too late. So memory
// that no variable reaches is not read, whatever is done with it, and what is reached
// is known exactly: a region that is as it was refers to what it referred to, and of one
// that is not, scanning tells.
type metRegions struct {
	reached regionSet
	known   int32    // regions from it on are new, and all of them are reached
	next    int32    // regions up to it were looked at if they had been met
	behind  []int32  // met after that
	count   int      // regions that were looked at
	before  *liveSet // what the save before reached
	// garbage says that one was met which the save before did not reach: others may
	// have changed what is stored of it.
	garbage bool
	quiet   *quietMemory // what need not be compared (hints.go); nil for nothing
	// differs is the region that was compared last and was found to differ, with the fingerprint that it has now.
	differs int32
	print   uint64
}

func newMetRegions(st *state) *metRegions {
	n := st.regions.len()
	return &metRegions{reached: make(regionSet, n/64+1), known: n, next: -1, before: st.live, differs: -1}
}

// mark notes that region i is referred to.
func (m *metRegions) mark(i int32) {
	if i < m.known && m.reached[i/64]&(1<<(i%64)) == 0 {
		m.reached[i/64] |= 1 << (i % 64)
		if i <= m.next {
			m.behind = append(roomy(m.behind), i)
		}
	}
}

// live returns what the save has reached, nil if that is all that st has, and how many
// regions and bytes it has not.
func (m *metRegions) live(st *state) (_ *liveSet, garbage, held int) {
	if garbage = int(m.known) - st.absent - m.count; garbage == 0 {
		return nil, 0, 0
	}
	for n, set := range m.reached {
		for rest := ^set; rest != 0; rest &= rest - 1 {
			i := int32(n*64 + bits.TrailingZeros64(rest))
			if i >= m.known {
				break
			}
			if r := st.regions.at(i); r.kind != pod.SlotFree {
				held += st.held(r)
			}
		}
	}
	return &liveSet{regions: m.reached, known: m.known}, garbage, held
}

// lookAtAll compares the regions that the variables reach with their fingerprints, and
// scans those that differ.
func (x *resaver) lookAtAll(w *walk) error {
	m, before := w.met, x.early.len()
	for first := int32(0); first < m.known; first += printsAhead {
		if first&0xffff == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		end := min(first+printsAhead, m.known)
		w.aheadPrints(end)
		if x.early.len()-before >= muchDiffers { // so will many of the next ones
			w.aheadStrings(end)
		}
		before = x.early.len()
		for i := first; i < end; i++ {
			if i = w.lookAtRows(i, end); i < 0 {
				break
			}
			m.next = i
			if err := x.look(w, i); err != nil {
				return err
			}
		}
	}
	m.next = m.known
	for n := 0; n < len(m.behind); n++ {
		if n&0xffff == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		if err := x.look(w, m.behind[n]); err != nil {
			return err
		}
	}
	return nil
}

// lookAtRows looks at regions from i up to end, of one block, and returns the
// first that is reached and is not as it was, or has no fingerprint, -1 for
// none. It is look for what most regions are, in one loop.
func (w *walk) lookAtRows(i, end int32) int32 {
	m, st := w.met, w.st
	b := i >> listBlockBits
	prints, addrs, regions := st.prints.list.blocks[b], st.pins.blocks[b], st.regions.blocks[b]
	edges, keys, reached := w.edges.blocks, w.printKeys, m.reached
	for ; i < end; i++ {
		if reached[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		p := &prints[i&(listBlock-1)]
		if !p.isLinked() || !m.before.has(i) {
			if !w.sameValues(i, p, addrs[i&(listBlock-1)], &regions[i&(listBlock-1)]) {
				return i
			}
			continue
		}
		w.current = i
		if addr, words := addrs[i&(listBlock-1)], p.words(); p.kind() != printRow {
			if !w.asItWas(i) {
				return i
			}
		} else if !m.isQuiet(addr, rowWord, words) {
			if h := rowPrint(keys, keys.start^uint64(words), addr, words); h != p.hash {
				m.differs, m.print = i, h
				return i
			}
		}
		m.count++
		refs := p.what >> printRefsAt & manyRefs
		if refs == manyRefs {
			r := &regions[i&(listBlock-1)]
			refs = r.edgeEnd - r.edge
		}
		for k := p.n; k < p.n+refs; k++ {
			to := edges[k>>listBlockBits][k&(listBlock-1)]
			if reached[to/64]&(1<<(to%64)) == 0 {
				reached[to/64] |= 1 << (to % 64)
				if to < i {
					m.behind = append(roomy(m.behind), to)
				}
			}
		}
	}
	return -1
}

// sameValues looks at region r, which has number i, as look does. It reports false, and has
// done nothing, if that is not a few values, or others than before.
func (w *walk) sameValues(i int32, p *regionPrint, addr unsafe.Pointer, r *region) bool {
	m := w.met
	if p.kind() != printValues || p.n == manyElements || !m.before.has(i) {
		return false
	}
	w.current = i
	x := w.eng.printers[p.what>>printKindBits]
	if !m.isQuiet(addr, x.size, uintptr(p.n)) {
		if h := w.eng.printValues(x, w.printKeys, addr, int(p.n)); h != p.hash {
			m.differs, m.print = i, h
			return false
		}
	}
	m.count++
	m.next = i
	for k := r.edge; k < r.edgeEnd; k++ {
		m.mark(*w.edges.at(int32(k)))
	}
	return true
}

// isQuiet reports whether n values of a size at addr need not be compared.
func (m *metRegions) isQuiet(addr unsafe.Pointer, size, n uintptr) bool {
	return m.quiet != nil && m.quiet.covers(uintptr(addr), size*n)
}

// look compares region i with its fingerprint, and scans it if it differs.
func (x *resaver) look(w *walk, i int32) error {
	m, st := w.met, w.st
	if !m.before.has(i) {
		m.garbage = true
		return errWalk
	}
	w.current = i
	r := st.regions.at(i)
	if r.kind == pod.SlotFree {
		m.mark(r.extra)
		return nil
	}
	m.count++
	if (m.differs == i || !w.asItWas(i)) && !x.encodeEarly(w, i, r) {
		return x.renew(w, i)
	}
	for k := r.edge; k < r.edgeEnd; k++ {
		m.mark(*w.edges.at(int32(k)))
	}
	return nil
}

// asItWas reports whether the memory of region i is what it was.
func (w *walk) asItWas(i int32) bool {
	st, e, k, m := w.st, w.eng, w.printKeys, w.met
	p := st.prints.list.at(i)
	var h uint64
	switch p.kind() {
	case printValues:
		count := int(p.n)
		if p.n == manyElements {
			count = st.spans.at(st.regions.at(i).extra).reach
		}
		x, addr := e.printers[p.what>>printKindBits], *st.pins.at(i)
		if m.isQuiet(addr, x.size, uintptr(count)) {
			return true
		}
		h = e.printValues(x, k, addr, count)
	case printOne:
		x, addr := e.printers[p.what>>printKindBits], *st.pins.at(i)
		if m.isQuiet(addr, x.size, 1) {
			return true
		}
		h = e.printValues(x, k, addr, 1)
	case printRow:
		addr, words := *st.pins.at(i), p.words()
		if m.isQuiet(addr, rowWord, words) {
			return true
		}
		h = rowPrint(k, k.start^uint64(words), addr, words)
	case printMap:
		h, ok := e.printMap(e.printers[p.what>>printKindBits], k, *st.pins.at(i))
		return ok && h == p.hash
	case printAlways:
		return false
	default:
		return true
	}
	if h == p.hash {
		return true
	}
	m.differs, m.print = i, h
	return false
}
