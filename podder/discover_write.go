package podder

import (
	"encoding/binary"
	"slices"
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
// (one, but for arrays), a run is a row of pieces, and between two pieces is a
// reference. A piece is its length in two bytes, which also say whether it is the
// last of its run, and its bytes.
type writtenRegions struct {
	blocks []*[writtenBlock]byte
	spare  *[writtenBlock]byte // the first block of the walk before, on the heap
	cur    int                 // the block that regions are written to
	used   int                 // of that
	out    []byte              // the region being written, in place unless it needs more room
	piece  int                 // where in out the last piece begins
	ends   []elementEnd        // of an array
	leaf   bool                // give up at the first reference
	failed bool                // what is in out cannot be used
	// replaced says that a region became a part of another one.
	replaced bool
	// eager are regions to be visited after the current one.
	eager []int32
}

// elementEnd is the end of an element in writtenRegions.out.
type elementEnd int32

const (
	writtenBlock  = 1 << 16
	writtenBlocks = 1 << 16
	maxWritten    = 8 << 10 // bytes of a region
	leastWritten  = 1 << 10 // room in a block with which a region is begun

	pieceHead = 2
	lastPiece = 1 << 15 // in the head of a piece
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
	p, at, array := r.plan, r.addr, r.kind == pod.SlotArray
	x := &w.written
	if !x.begin(&w.own) {
		if x.failed = true; x.leaf {
			return false
		}
	}
	weight := n * p.est
	for k := range n {
		w.boxes, w.elem = 0, k
		if x.failed {
			weight += w.refs(p, at)
		} else {
			weight += w.writeValue(p, at)
			x.failed = x.failed || len(x.out) > maxWritten
			if x.failed && x.leaf {
				return false
			}
			if array {
				x.ends = append(x.ends, elementEnd(len(x.out)))
			}
		}
		if k+1 < n {
			at = unsafe.Add(at, p.size)
		}
	}
	r.weight = clampWeight(int(r.weight) + weight)
	r.written = 0
	if x.failed || n == 0 {
		return true
	}
	x.closeRun()
	if array { // for good: a part that is scanned again makes it heavier
		sp := w.st.spans.at(r.extra)
		if sp.perRun = runElements(r, sp); sp.perRun < n {
			x.split(sp.perRun)
		}
	}
	r.written = x.keep(&w.own)
	return true
}

// first returns the block that the next walk may begin with: most small saves need
// one.
func (x *writtenRegions) first() *[writtenBlock]byte {
	if len(x.blocks) > 0 {
		return x.blocks[0]
	}
	return x.spare
}

// begin makes room for a region to be written down. It reports false if there is none.
func (x *writtenRegions) begin(own *ownMemory) bool {
	x.ends, x.failed, x.piece = x.ends[:0], false, 0
	if len(x.blocks) == 0 || writtenBlock-x.used < leastWritten {
		if !x.next(own) {
			return false
		}
	}
	x.out = append(x.blocks[x.cur][x.used:x.used], 0, 0)
	return true
}

// next goes on with another block. It reports false if there is none.
func (x *writtenRegions) next(own *ownMemory) bool {
	x.used = 1 // 0 stands for nothing
	if len(x.blocks) == writtenBlocks {
		return false
	}
	x.cur = len(x.blocks)
	switch {
	case x.cur > 0:
		x.blocks = append(x.blocks, (*[writtenBlock]byte)(ownBytes(own, writtenBlock)))
	case x.spare == nil:
		x.blocks = append(x.blocks, new([writtenBlock]byte))
	default:
		x.blocks = append(x.blocks, x.spare)
	}
	return true
}

// closePiece ends a piece before a reference and begins the next one. It returns out
// with that.
func (x *writtenRegions) closePiece(out []byte) []byte {
	n := len(out) - x.piece - pieceHead
	if n >= lastPiece {
		x.failed = true
	}
	binary.LittleEndian.PutUint16(out[x.piece:], uint16(n))
	x.piece = len(out)
	return append(out, 0, 0)
}

// closeRun ends the last piece of a run.
func (x *writtenRegions) closeRun() {
	binary.LittleEndian.PutUint16(x.out[x.piece:], uint16(len(x.out)-x.piece-pieceHead)|lastPiece)
}

// split cuts what was written as one run into runs of so many elements.
func (x *writtenRegions) split(perRun int) {
	from := slices.Clone(x.out)
	x.out, x.piece = append(x.out[:0], 0, 0), 0
	next := perRun
	for at := 0; ; {
		head := binary.LittleEndian.Uint16(from[at:])
		at += pieceHead
		end := at + int(head&^lastPiece)
		for ; next < len(x.ends) && int(x.ends[next-1]) <= end; next += perRun {
			cut := int(x.ends[next-1])
			x.out = append(x.out, from[at:cut]...)
			x.closeRun()
			x.piece = len(x.out)
			x.out = append(x.out, 0, 0)
			at = cut
		}
		x.out = append(x.out, from[at:end]...)
		if at = end; head&lastPiece != 0 {
			x.closeRun()
			return
		}
		x.out = x.closePiece(x.out)
	}
}

// keep keeps the region that was written and returns where it is, 0 if there is no
// room for it.
func (x *writtenRegions) keep(own *ownMemory) uint32 {
	if n := len(x.out); &x.out[0] != &x.blocks[x.cur][x.used] { // it lies elsewhere
		if n > writtenBlock/2 || !x.next(own) {
			return 0
		}
		copy(x.blocks[x.cur][x.used:], x.out)
	}
	at := uint32(x.cur<<16 | x.used)
	x.used += len(x.out)
	return at
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
				out = x.closePiece(out)
				n := w.st.regions.n
				w.whole(w.object(at, q, o.sub), n, q, o.sub, false)
			}
		case opSlice:
			h := (*sliceWords)(at)
			var refers bool
			if out, refers = appendSliceHead(out, h, o.sub); refers {
				out = x.closePiece(out)
				n := w.st.regions.n
				w.whole(w.slice(at, h, o.sub, o.n), n, h.data, o.sub, true)
			}
		case opMap:
			q := *(*unsafe.Pointer)(at)
			if q == nil {
				out = append(out, codeNil)
				continue
			}
			out = x.closePiece(out)
			n := w.st.regions.n
			w.whole(w.mapHeader(at, q, o.sub), n, q, o.sub, false)
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

// whole records a reference to region i. What was written down is good only if it
// leads to all of it. On a first save that is so of a region that was not among the
// known ones, unless it is that of a sentinel.
func (w *walk) whole(i, known int32, q unsafe.Pointer, p *plan, array bool) {
	if w.first && i >= known && !w.eng.sentinels.near(q) { // of a sentinel it may be a part
		w.edges.put(i)
		return
	}
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
	buf := e.buf
	for {
		head := binary.LittleEndian.Uint16(b)
		n := int(head &^ lastPiece)
		buf = appendFew(buf, b[pieceHead:], n)
		b = b[pieceHead+n:]
		if head&lastPiece != 0 {
			e.buf = buf
			return b
		}
		r := e.take()
		if r == nil {
			return b
		}
		if code := codeBase + uint64(r.slot)<<codeShift; r.pod == e.cur && code < 0x80 {
			e.links = append(e.links, r.slot<<1)
			buf = append(buf, byte(code))
			continue
		}
		e.buf = buf
		e.code(r, 0)
		buf = e.buf
	}
}
