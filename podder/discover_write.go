package podder

import (
	"encoding/binary"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Small regions are written down when they are met, in their stored form but for
// the codes of references, which depend on placement: encoding puts those in and
// reads no memory of the program again. Regions that lead nowhere are visited at
// once, not when it is their turn: their memory is near that of who refers
// to them.
//
// A region is encoded from memory instead (it is not written down) if it has
// values that only the encoder knows how to write, if it is large, or if one of
// its references is not to all of a region. References that were written down
// count only while no region of the walk became a part of another one.

// writtenRegions are the regions that were written down. Each is a row of runs
// (one, but for arrays), a run is its length in two bytes and its pieces, a piece
// its length as uvarint and its bytes, and between two pieces is a reference.
type writtenRegions struct {
	blocks []*[writtenBlock]byte
	used   int // of the last block
	out    []byte
	holes  []int        // in out: where references belong
	ends   []elementEnd // of an array
	leaf   bool         // give up at the first reference
	failed bool         // what is in out cannot be used
	// replaced says that a region became a part of another one.
	replaced bool
	// eager are regions to be visited after the current one.
	eager []int32
}

// elementEnd says how much of out and holes is up to the end of an element.
type elementEnd struct{ out, holes int }

const (
	writtenBlock  = 1 << 16
	writtenBlocks = 1 << 16
	maxWritten    = 8 << 10 // bytes of a region
)

// onlyWritable reports whether values can be written down.
func (p *plan) onlyWritable() bool {
	for k := range p.ops {
		switch o := &p.ops[k]; o.code {
		case opPointer, opSlice, opMap, opString, opRaw, opCodec:
		case opArray:
			if !o.sub.writable {
				return false
			}
		default:
			if o.code > opAtomicU64 {
				return false
			}
		}
	}
	return true
}

// soon has region i, which leads nowhere, visited after the current one.
func (w *walk) soon(i int32) {
	if !w.settled {
		w.written.eager = append(w.written.eager, i)
	}
}

// scanEager visits the regions that soon has noted.
func (w *walk) scanEager() {
	for _, i := range w.written.eager {
		r := w.st.regions.at(i)
		if r.kind == pod.SlotFree || r.flags&(flagSame|flagScanned) != 0 {
			continue
		}
		w.current = i
		switch {
		case r.kind == pod.SlotMap:
			if !w.scanPlain(i) {
				continue
			}
		case (r.kind == pod.SlotObject || r.kind == pod.SlotArray) && r.plan.plain && w.writable(r): // still
			w.written.leaf = true
			done := w.write(i, w.elements(r))
			w.written.leaf = false
			if !done {
				continue
			}
		default:
			continue
		}
		r.flags |= flagScanned
		r.edge = uint32(w.edges.len())
		r.edgeEnd = r.edge
	}
	w.written.eager = w.written.eager[:0]
}

// writable reports whether region r, as far as it is known, can be written down.
func (w *walk) writable(r *region) bool {
	switch r.kind {
	case pod.SlotObject, pod.SlotBox:
		return r.plan.writable
	case pod.SlotArray:
		return r.plan.writable && !r.plan.flat && w.elements(r)*max(1, r.plan.est) <= maxWritten
	}
	return false
}

// write visits the n elements of region i and writes them down. It reports false,
// and has done nothing, if only leaves are wanted and this is none.
func (w *walk) write(i int32, n int) bool {
	r := w.st.regions.at(i)
	p, base, array := r.plan, r.addr, r.kind == pod.SlotArray
	x := &w.written
	x.out, x.holes, x.ends, x.failed = x.out[:0], x.holes[:0], x.ends[:0], false
	weight := n * p.est
	for k := range n {
		at := unsafe.Add(base, uintptr(k)*p.size)
		w.boxes, w.elem = 0, k
		if x.failed {
			weight += w.refs(p, at)
			continue
		}
		weight += w.writeValue(p, at)
		x.failed = x.failed || len(x.out) > maxWritten
		if x.failed && x.leaf {
			return false
		}
		if array {
			x.ends = append(x.ends, elementEnd{len(x.out), len(x.holes)})
		}
	}
	r = w.st.regions.at(i)
	r.weight = clampWeight(int(r.weight) + weight)
	r.written = 0
	if x.failed || n == 0 {
		return true
	}
	if !array {
		w.keepWritten(i, append(x.ends, elementEnd{len(x.out), len(x.holes)}), 1)
	} else {
		w.keepWritten(i, x.ends, runElements(r, w.st.spans.at(r.extra)))
	}
	return true
}

// keepWritten keeps what was written down of region i, in runs of so many
// elements. It reports false if there is no room.
func (w *walk) keepWritten(i int32, ends []elementEnd, perRun int) bool {
	x := &w.written
	runs := (len(ends)-1)/perRun + 1
	most := len(x.out) + 2*len(x.holes) + 4*runs
	x.ends = ends
	if most > writtenBlock/2 {
		return false
	}
	if len(x.blocks) == 0 || writtenBlock-x.used < most {
		if len(x.blocks) == writtenBlocks {
			return false
		}
		x.blocks = append(x.blocks, (*[writtenBlock]byte)(ownSlice[byte](&w.own, writtenBlock)))
		x.used = 1 // 0 stands for nothing
	}
	at := x.blocks[len(x.blocks)-1][x.used:x.used]
	w.st.regions.at(i).written = uint32((len(x.blocks)-1)<<16 | x.used)
	from := elementEnd{}
	for k := perRun; ; k += perRun {
		to := ends[min(k, len(ends))-1]
		start := len(at)
		at = append(at, 0, 0)
		for _, hole := range x.holes[from.holes:to.holes] {
			at = appendPiece(at, x.out[from.out:hole])
			from.out = hole
		}
		at = appendPiece(at, x.out[from.out:to.out])
		binary.LittleEndian.PutUint16(at[start:], uint16(len(at)-start-2))
		from = to
		if k >= len(ends) {
			break
		}
	}
	x.used += len(at)
	return true
}

func appendPiece(dst, piece []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(piece))), piece...)
}

// writeValue is refs and also appends the stored form of the value at p.
func (w *walk) writeValue(pl *plan, p unsafe.Pointer) (extra int) {
	x := &w.written
	out := x.out
	for k := range pl.ops {
		o := &pl.ops[k]
		at := unsafe.Add(p, o.off)
		switch o.code {
		case opString:
			s := *(*string)(at)
			if len(s) < longString {
				extra += len(s)
				out = appendShort(out, s)
				continue
			}
			if x.failed = true; !x.leaf {
				w.edge(w.longString(s))
			}
		case opInt64:
			out = binary.AppendVarint(out, *(*int64)(at))
		case opRaw:
			out = appendRaw(out, at, o.n)
		case opPointer:
			switch q := *(*unsafe.Pointer)(at); {
			case q == nil:
				out = append(out, codeNil)
			case o.sub.size == 0:
				out = append(out, codeZeroSize)
			default:
				x.hole(len(out))
				w.whole(w.object(at, q, o.sub), q, o.sub, false)
			}
		case opSlice:
			h := (*sliceWords)(at)
			var refers bool
			if out, refers = appendSliceHead(out, h, o.sub); refers {
				x.hole(len(out))
				w.whole(w.slice(at, h, o.sub, o.n), h.data, o.sub, true)
			}
		case opMap:
			q := *(*unsafe.Pointer)(at)
			if q == nil {
				out = append(out, codeNil)
				continue
			}
			x.hole(len(out))
			w.whole(w.mapHeader(at, q, o.sub), q, o.sub, false)
		case opArray:
			x.out = out
			for i := range o.n {
				extra += w.writeValue(o.sub, unsafe.Add(at, uintptr(i)*o.sub.size))
			}
			out = x.out
		case opCodec:
			b, err := appendCodec(out, o.codec, at)
			out = b
			if err != nil {
				x.failed = true
				if o.n == checked {
					w.failed(at, o.sub.typ, err)
				}
			}
		default:
			out = appendScalar(out, o, at)
		}
	}
	x.out = out
	return extra
}

func (x *writtenRegions) hole(at int) { x.holes = append(x.holes, at) }

// whole records a reference to region i. What was written down is good only if it
// leads to all of it.
func (w *walk) whole(i int32, q unsafe.Pointer, p *plan, array bool) {
	w.edge(i)
	if i < 0 {
		w.written.failed = true
		return
	}
	r := w.st.regions.at(i)
	if r.addr != q || r.plan.typ != p.typ || (r.kind == pod.SlotArray) != array {
		w.written.failed = true
	}
}

// appendSliceHead appends the stored form of a slice up to its reference, and
// reports whether it has one.
func appendSliceHead(dst []byte, h *sliceWords, elem *plan) (_ []byte, refers bool) {
	switch {
	case h.data == nil:
		return append(dst, 0), false
	case h.cap == 0:
		return append(dst, 1), false
	}
	dst = binary.AppendUvarint(dst, uint64(h.len)+2)
	dst = binary.AppendUvarint(dst, uint64(h.cap-h.len))
	if elem.size == 0 {
		return append(dst, codeZeroSize), false
	}
	return dst, true
}

// runsWritten returns what was written down of the region being encoded, nil for
// nothing.
func (e *encoder) runsWritten(r *region) []byte {
	at := r.written
	if at == 0 || r.edge != r.edgeEnd && (e.written.replaced || len(e.st.forwards) > 0) {
		return nil
	}
	return e.written.blocks[at>>16][at&(writtenBlock-1):]
}

// fill appends a run that was written down, with its references, and returns what
// is behind it.
func (e *encoder) fill(b []byte) (rest []byte) {
	n := int(binary.LittleEndian.Uint16(b))
	b, rest = b[2:2+n], b[2+n:]
	for {
		k, w := uint64(b[0]), 1
		if k >= 0x80 {
			k, w = binary.Uvarint(b)
		}
		e.buf = append(e.buf, b[w:w+int(k)]...)
		if b = b[w+int(k):]; len(b) == 0 {
			return rest
		}
		r := e.take()
		if r == nil {
			return rest
		}
		e.code(r, 0)
	}
}
