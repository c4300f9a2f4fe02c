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

// touches bounds the places that are touched together, maxAheadMaps the maps of which the
// groups are.
const (
	touches      = 64
	maxAheadMaps = 16
)

// aheadMap is a map and the size of its slots.
type aheadMap struct {
	header unsafe.Pointer
	slot   uintptr
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
		for k := range r.plan.refs {
			o := &r.plan.refs[k]
			switch o.code {
			case opString:
				if s := (*string)(unsafe.Add(r.addr, o.off)); n < touches && len(*s) > 0 {
					at[n] = unsafe.Pointer(unsafe.StringData(*s))
					n++
				}
			case opPointer:
				if p := *(*unsafe.Pointer)(unsafe.Add(r.addr, o.off)); n < touches && p != nil && o.sub.size > 0 {
					at[n] = p
					n++
				}
			case opSlice:
				if h := (*sliceWords)(unsafe.Add(r.addr, o.off)); n < touches && h.cap > 0 && o.sub.size > 0 {
					at[n] = h.data
					n++
				}
			case opMap:
				if p := *(*unsafe.Pointer)(unsafe.Add(r.addr, o.off)); m < maxAheadMaps && p != nil && o.sub.layout.inGroup {
					maps[m] = aheadMap{p, o.sub.layout.size}
					m++
				}
			}
		}
	}
	sum := byte(0)
	for _, x := range maps[:m] {
		if g := (*goMap)(x.header); g.used > 0 && g.dir != nil && g.dirLen == 0 && n+1 < touches {
			at[n] = g.dir
			at[n+1] = unsafe.Add(g.dir, mapGroupHead+uintptr(min(g.used, mapGroupSlots)-1)*x.slot) // mostly the last entry
			n += 2
		}
	}
	for _, p := range at[:n] {
		sum += *(*byte)(p)
	}
	w.touched += sum
}
