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

// Siblings that lie one behind the other were made in a row, and mostly so was what
// they lead to: the processor fetches that by itself.

// apart is the distance from which siblings are taken to lie anywhere.
const apart = 64 << 10

// lookAheadRegions is how many siblings are looked at together.
const lookAheadRegions = 8

// touches bounds the places that are touched together.
const touches = 64

// inARow reports whether regions i, up to end, seem to lie one behind the other.
func (w *walk) inARow(i, end int32) bool {
	first, last := uintptr(w.st.regions.at(i).addr), uintptr(w.st.regions.at(end-1).addr)
	return last-first < apart*uintptr(end-i)
}

// lookAhead touches what objects i, up to end, refer to.
func (w *walk) lookAhead(i, end int32) {
	if !mayTouch {
		return
	}
	end = min(end, i+lookAheadRegions)
	if !w.inARow(i, end) {
		w.lookApart(i, end)
	}
}

// lookApart is lookAhead of objects that lie anywhere.
func (w *walk) lookApart(i, end int32) {
	var at [touches]unsafe.Pointer
	var maps [touches]unsafe.Pointer
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
			case opPointer, opSlice:
				// A slice is three words, the first of them its pointer.
				if p := *(*unsafe.Pointer)(unsafe.Add(r.addr, o.off)); n < touches && p != nil && o.sub.size > 0 {
					at[n] = p
					n++
				}
			case opMap:
				if p := *(*unsafe.Pointer)(unsafe.Add(r.addr, o.off)); m < touches && p != nil && o.sub.layout.inGroup {
					maps[m] = p
					m++
				}
			}
		}
	}
	sum := byte(0)
	for _, p := range maps[:m] {
		if g := (*goMap)(p); g.used > 0 && g.dir != nil && n < touches {
			at[n] = g.dir
			n++
		}
	}
	for _, p := range at[:n] {
		sum += *(*byte)(p)
	}
	w.touched += sum
}
