package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// printsAhead is how many regions are compared with their fingerprints before memory is
// fetched again: a part of a block.
const printsAhead = 32

// aheadPrints fetches memory for the comparison of the regions from i on with their
// fingerprints, if they lie anywhere: of those behind the next ones what they have, then of the
// next ones, if they are maps, the groups, to which only the maps themselves lead.
func (w *walk) aheadPrints(i int32) {
	if !mayLookAhead {
		return
	}
	if i == printsAhead { // nobody has fetched these
		w.aheadRegions(i)
	}
	w.aheadRegions(i + printsAhead)
	w.aheadGroups(i)
}

// muchDiffers is how many of printsAhead regions differ where it pays to fetch what those behind
// them need to be encoded.
const muchDiffers = printsAhead / 4

// aheadStrings fetches the strings of objects and arrays from region i on.
func (w *walk) aheadStrings(i int32) {
	if !mayLookAhead || i >= w.met.known {
		return
	}
	st, l, end := w.st, &w.ahead, min(i+printsAhead, w.met.known)
	if at := i & (listBlock - 1); inARow(st.pins.blocks[i>>listBlockBits][at : at+end-i]) {
		return
	}
	for ; i < end; i++ {
		if w.met.reached[i/64]&(1<<(i%64)) == 0 { // others may be writing it
			continue
		}
		r, n := st.regions.at(i), 1
		switch r.kind {
		case pod.SlotObject:
		case pod.SlotArray:
			n = min(st.spans.at(r.extra).reach, maxAheadElements)
		default:
			continue
		}
		x := r.plan.printer
		if x == nil || len(x.pins) == 0 {
			continue
		}
		for k := range n {
			p := unsafe.Add(r.addr, uintptr(k)*x.size) // in the region
			for _, off := range x.pins {
				if l.n == maxAhead {
					l.fetch()
				}
				l.line(*(*uintptr)(unsafe.Add(p, off)))
			}
		}
	}
	l.fetch()
}

// inARow reports whether memory at most of the first addresses lies one behind the other: the
// processor has it fetched by itself.
func inARow(addrs []unsafe.Pointer) bool {
	near := 0
	for k := range min(len(addrs)-1, lookAheadRegions) {
		if !farApart(addrs[k], addrs[k+1]) {
			near++
		}
	}
	return near > lookAheadRegions/2
}

// aheadRegions fetches what regions from i on have in one piece.
func (w *walk) aheadRegions(i int32) {
	if i >= w.met.known {
		return
	}
	st := w.st
	b, k := i>>listBlockBits, i&(listBlock-1)
	n := min(printsAhead, w.met.known-i)
	prints, addrs := st.prints.list.blocks[b][k:k+n], st.pins.blocks[b][k:k+n]
	printers, l := w.eng.printers, &w.ahead
	if inARow(addrs) {
		return
	}
	for k := range prints {
		p := &prints[k]
		switch p.kind() {
		case printRow:
			l.add(addrs[k], p.words()*rowWord)
		case printOne:
			l.add(addrs[k], printers[p.what>>printKindBits].size)
		case printValues:
			l.add(addrs[k], uintptr(p.n)*printers[p.what>>printKindBits].size)
		case printMap:
			l.add(addrs[k], mapHeaderBytes)
		}
	}
	l.fetch()
}

// aheadGroups fetches the groups of small maps from region i on. What nothing is known to lead
// to is not read: others may be writing it.
func (w *walk) aheadGroups(i int32) {
	if i >= w.met.known {
		return
	}
	st, m := w.st, w.met
	b, k := i>>listBlockBits, i&(listBlock-1)
	n := min(printsAhead, m.known-i)
	prints, addrs := st.prints.list.blocks[b][k:k+n], st.pins.blocks[b][k:k+n]
	printers, l := w.eng.printers, &w.ahead
	for k := range prints {
		p := &prints[k]
		if p.kind() != printMap || m.reached[(i+int32(k))/64]&(1<<((i+int32(k))%64)) == 0 {
			continue
		}
		if h := (*goMap)(addrs[k]); h.dirLen == 0 && h.used <= mapGroupSlots {
			l.add(h.dir, mapGroupHead+uintptr(h.used)*printers[p.what>>printKindBits].layout.size)
		}
	}
	l.fetch()
}
