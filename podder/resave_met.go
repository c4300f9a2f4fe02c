package podder

import (
	"math/bits"

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
	next    int32    // regions below it were looked at if they had been met
	behind  []int32  // met after that
	count   int      // regions that were looked at
	before  *liveSet // what the save before reached
	// garbage says that one was met which the save before did not reach: others may
	// have changed what is stored of it.
	garbage bool
}

func newMetRegions(st *state) *metRegions {
	n := st.regions.len()
	return &metRegions{reached: make(regionSet, n/64+1), known: n, before: st.live}
}

// mark notes that region i is referred to.
func (m *metRegions) mark(i int32) {
	if i >= m.known {
		return
	}
	word, bit := &m.reached[i/64], uint64(1)<<(i%64)
	if *word&bit != 0 {
		return
	}
	*word |= bit
	if i < m.next {
		m.behind = append(roomy(m.behind), i)
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
	m := w.met
	for ; m.next < m.known; m.next++ {
		if m.next&0xffff == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		if m.reached[m.next/64] == 0 {
			m.next |= 63
			continue
		}
		if m.reached.has(m.next) {
			if err := x.look(w, m.next); err != nil {
				return err
			}
		}
	}
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
	if !w.asItWas(i) {
		return x.renew(w, i)
	}
	for k := r.edge; k < r.edgeEnd; k++ {
		m.mark(*w.edges.at(int32(k)))
	}
	return nil
}

// asItWas reports whether the memory of region i is what it was.
func (w *walk) asItWas(i int32) bool {
	st, e, k := w.st, w.eng, w.printKeys
	p := st.prints.list.at(i)
	switch p.what & (1<<printKindBits - 1) {
	case printValues:
		x := e.printers[p.what>>printKindBits]
		addr := *st.pins.at(i)
		if x.row > 0 && p.n == 1 {
			return printRow(k, addr, x.row) == p.hash
		}
		count := int(p.n)
		if p.n == manyElements {
			count = st.spans.at(st.regions.at(i).extra).reach
		}
		return e.printValues(x, k, addr, count) == p.hash
	case printMap:
		h, ok := e.printMap(e.printers[p.what>>printKindBits], k, *st.pins.at(i))
		return ok && h == p.hash
	case printAlways:
		return false
	}
	return true
}
