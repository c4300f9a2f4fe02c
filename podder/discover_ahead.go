package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Siblings lie anywhere, and each leads to more places. The processor waits for one
// place after the other if they are asked for one after the other. So before a
// few siblings are visited, what they refer to is touched: all references first,
// then all that they lead to. Nothing is read that a visit would not read, but for
// a byte at each place.

// lookAheadRegions is how many siblings are looked at together.
const lookAheadRegions = 8

// touches bounds the places that are touched together, maxAheadMaps the maps among them.
const (
	touches      = 64
	maxAheadMaps = 16
)

// aheadRef is a reference whose target may be touched: where its pointer is in the value,
// and a word that is 0 if there is nothing behind that. Of a map it is the size of
// its slots, too.
type aheadRef struct{ off, some, slot uintptr }

// aheadMap is a map and the size of its slots.
type aheadMap struct {
	header *goMap
	slot   uintptr
}

// aheadRefs returns those among the references of a plan.
func aheadRefs(refs []op) (list []aheadRef) {
	for k := range refs {
		switch o := &refs[k]; {
		case o.code == opString:
			list = append(list, aheadRef{o.off, o.off + unsafe.Offsetof(sliceWords{}.len), 0})
		case o.code == opPointer && o.sub.size > 0:
			list = append(list, aheadRef{o.off, o.off, 0})
		case o.code == opSlice && o.sub.size > 0:
			list = append(list, aheadRef{o.off, o.off + unsafe.Offsetof(sliceWords{}.cap), 0})
		case o.code == opMap && o.sub.layout.inGroup:
			list = append(list, aheadRef{o.off, o.off, o.sub.layout.size})
		}
	}
	return list[:min(len(list), touches)]
}

// lookAhead touches what objects i, up to end, refer to. That pays also where they lie one
// behind the other: what maps and slices have is then in many rows beside each other, more
// than the processor follows by itself.
func (w *walk) lookAhead(i, end int32) {
	if !mayTouch {
		return
	}
	end = min(end, i+lookAheadRegions)
	var at [touches]unsafe.Pointer
	var maps [maxAheadMaps]aheadMap
	n, m := 0, 0
	for ; i < end; i++ {
		r := w.st.regions.at(i)
		if r.kind != pod.SlotObject || r.flags&flagScanned != 0 {
			continue
		}
		refs := r.plan.ahead
		if n+len(refs) > touches {
			break
		}
		for k := range refs {
			x := &refs[k]
			p := *(*unsafe.Pointer)(unsafe.Add(r.addr, x.off))
			if p == nil || *(*uintptr)(unsafe.Add(r.addr, x.some)) == 0 {
				continue
			}
			if x.slot == 0 {
				at[n] = p
				n++
				continue
			}
			if m < maxAheadMaps {
				maps[m] = aheadMap{(*goMap)(p), x.slot}
				m++
			}
		}
	}
	sum := byte(0)
	for _, x := range maps[:m] {
		g := x.header
		if g.used == 0 || g.dir == nil || g.dirLen != 0 {
			continue
		}
		sum += *(*byte)(g.dir)
		// Mostly that is the last entry.
		sum += *(*byte)(unsafe.Add(g.dir, mapGroupHead+uintptr(min(g.used, mapGroupSlots)-1)*x.slot))
	}
	for _, p := range at[:n] {
		sum += *(*byte)(p)
	}
	w.touched += sum
}
