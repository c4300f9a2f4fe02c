package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Values side by side in memory: the one of an object, or the elements of an array.
// Most of what they consist of is common, takes few bytes, and is appended by a
// function that calls no other one and keeps what it needs in registers. It stops at
// what is not like that, which is appended the long way, and goes on behind it.

const (
	// commonMost bounds what a common operation appends: a length or a number, and so
	// much memory.
	commonMost  = 10 + commonBytes
	commonBytes = 1<<6 - 1
)

// value appends the stored form of the value of plan pl at p.
func (e *encoder) value(pl *plan, p unsafe.Pointer) { e.values(pl, p, 1) }

// values appends the stored form of n values of plan pl, at least one, of which the
// first is at p.
func (e *encoder) values(pl *plan, p unsafe.Pointer, n int) {
	if len(pl.ops) == 0 {
		return
	}
	for o := &pl.ops[0]; ; {
		if p, n, o = e.common(pl, p, n, o); n == 0 {
			return
		}
		e.uncommon(o, unsafe.Add(p, o.off))
		if p, n, o = pl.next(p, n, o); n == 0 {
			return
		}
	}
}

// next returns what follows operation o of the value at p: it has another one, or
// others follow of the n that it is the first of.
func (pl *plan) next(p unsafe.Pointer, n int, o *op) (unsafe.Pointer, int, *op) {
	if o != &pl.ops[len(pl.ops)-1] {
		return p, n, (*op)(unsafe.Add(unsafe.Pointer(o), unsafe.Sizeof(op{}))) // of the same list
	}
	if n--; n > 0 { // not behind the last one: that may be another's memory
		p = unsafe.Add(p, pl.size)
	}
	return p, n, &pl.ops[0]
}

// common appends the stored form of n values of plan pl from p on, of the first from
// operation o on, until it comes to something uncommon or may lack room. It returns
// where it is.
func (e *encoder) common(pl *plan, p unsafe.Pointer, n int, o *op) (unsafe.Pointer, int, *op) {
	room := cap(e.buf) - commonMost*len(pl.ops)
	if len(e.buf) >= room {
		return p, n, o // where the buffer ends may be another's memory, so there is no pointer to it
	}
	w, begin, last := e.walk, unsafe.Pointer(unsafe.SliceData(e.buf)), &pl.ops[len(pl.ops)-1]
	to := unsafe.Add(begin, len(e.buf)) // inside the buffer, since there is more room than is used
values:
	for n > 0 && int(uintptr(to)-uintptr(begin)) < room {
		for {
			from := unsafe.Add(p, o.off) // in the value
			switch o.code {
			case opString:
				s := *(*string)(from)
				if len(s) > commonBytes {
					break values
				}
				*(*byte)(to) = byte(len(s)) << 1
				to = unsafe.Add(to, 1)
				copyFew(to, unsafe.Pointer(unsafe.StringData(s)), len(s))
				to = unsafe.Add(to, len(s))
			case opRaw:
				if o.n > commonBytes {
					break values
				}
				copyFew(to, from, o.n)
				to = unsafe.Add(to, o.n)
			case opInt64:
				x := *(*int64)(from)
				to = putUvarint(to, uint64(x<<1^x>>63))
			default:
				var kind pod.Kind
				switch o.code {
				case opSlice:
					kind = pod.SlotArray
				case opPointer:
					kind = pod.SlotObject
				case opMap:
					kind = pod.SlotMap
				default:
					break values
				}
				q := *(*unsafe.Pointer)(from) // not before: only now it is known to be one
				if q == nil {
					*(*byte)(to) = codeNil // as of a slice
					to = unsafe.Add(to, 1)
					break
				}
				// A reference, mostly to all of a region in the same pod. To what has no
				// size there is none: the next one belongs to something behind it.
				if o.sub.size == 0 || e.edge >= e.edgesKnown {
					break values
				}
				r := w.st.regions.at(*w.edges.at(int32(e.edge)))
				if r.addr != q || r.plan != o.sub || r.kind != kind || r.pod != e.cur {
					break values
				}
				k := len(e.links)
				if k >= cap(e.links) {
					break values
				}
				if kind == pod.SlotArray {
					h := (*sliceWords)(from)
					behind := h.cap - h.len
					if h.cap == 0 || uint(h.len) >= 0x80-2 || uint(behind) >= 0x80 {
						break values // without capacity it refers to nothing, wherever it points
					}
					*(*[2]byte)(to) = [2]byte{byte(h.len) + 2, byte(behind)}
					to = unsafe.Add(to, 2)
				}
				e.edge++
				e.links = e.links[:k+1]
				e.links[k] = r.slot << 1
				to = putUvarint(to, codeBase+uint64(r.slot)<<codeShift)
			}
			if o == last {
				break
			}
			o = (*op)(unsafe.Add(unsafe.Pointer(o), unsafe.Sizeof(op{}))) // not the last one
		}
		if n--; n > 0 {
			p, o = unsafe.Add(p, pl.size), &pl.ops[0]
		}
	}
	e.buf = e.buf[:uintptr(to)-uintptr(begin)]
	return p, n, o
}

// copyFew copies n bytes. It reads and writes no others: what is behind them may be
// another's memory.
func copyFew(to, from unsafe.Pointer, n int) {
	switch {
	case n >= 8:
		for i := 0; i < n-8; i += 8 {
			*(*[8]byte)(unsafe.Add(to, i)) = *(*[8]byte)(unsafe.Add(from, i))
		}
		*(*[8]byte)(unsafe.Add(to, n-8)) = *(*[8]byte)(unsafe.Add(from, n-8))
	case n >= 4:
		*(*[4]byte)(to) = *(*[4]byte)(from)
		*(*[4]byte)(unsafe.Add(to, n-4)) = *(*[4]byte)(unsafe.Add(from, n-4))
	default:
		for i := range n {
			*(*byte)(unsafe.Add(to, i)) = *(*byte)(unsafe.Add(from, i))
		}
	}
}

// putUvarint writes x where there is room for it and returns where it ends.
func putUvarint(to unsafe.Pointer, x uint64) unsafe.Pointer {
	for x >= 0x80 {
		*(*byte)(to) = byte(x) | 0x80
		to, x = unsafe.Add(to, 1), x>>7
	}
	*(*byte)(to) = byte(x)
	return unsafe.Add(to, 1)
}
