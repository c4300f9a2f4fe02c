package pod

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// Recycler is a Source that can use the memory of pods again: for loads of whole
// graphs, where a pod is read once and the lists of its slots take more room than
// the slots.
type Recycler interface {
	Source
	// Recycle takes back a pod that Pods returned and that nobody will look at
	// again. The bytes of its slots are not meant: they may live on.
	Recycle(p *Pod)
}

// reused is the memory that a pod read by ReadWhole keeps for the next one.
type reused struct {
	lengths []uint64 // of slots
	runs    []uint32
	edges   []uint32
}

// ReadWhole makes p the pod of a stored version that stands alone, as
// DecodeVersion and Merge do, in the memory that p has: nobody else may have p.
// It refers to b. Errors match dberr.ErrCorrupt, or dberr.ErrTooNew; p is
// of no use then but to be read into again.
func (p *Pod) ReadWhole(b []byte) error {
	r := binenc.NewReader(b)
	switch head := r.Byte(); {
	case r.Err() != nil:
	case head>>4 > formatVersion:
		return fmt.Errorf("%w: pod version of format %d, this program knows %d", dberr.ErrTooNew, head>>4, formatVersion)
	case head != formatVersion<<4|byte(bodyWhole):
		r.Fail("pod version that stands alone starts with %#02x", head)
	}
	if p.reused == nil {
		p.reused = &reused{}
	}
	m := p.reused
	m.runs, m.edges, m.lengths = m.runs[:0], m.edges[:0], m.lengths[:0]
	p.readRefs(r)
	p.readExports(r)
	total := p.readSlots(r)
	if r.Err() == nil && total != uint64(r.Len()) {
		r.Fail("slots of %d bytes, body of %d", total, r.Len())
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("pod version: %w", err)
	}
	body := r.Bytes(total)
	for i, n := range m.lengths {
		p.Slots[i].Bytes, body = body[:n:n], body[n:]
	}
	if err := Validate(p); err != nil {
		return dberr.Corrupt("", -1, "pod version: %v", err)
	}
	return nil
}

// room returns list without elements, with room for n, or new memory: of a power
// of two, so that what is used again soon fits all that comes.
func room[T any](list []T, n int) []T {
	if cap(list) >= n {
		return list[:0]
	}
	return make([]T, 0, 1<<bits.Len(uint(n-1)))
}

func (p *Pod) readRefs(r *binenc.Reader) {
	n := r.Count(1)
	p.Refs = room(p.Refs, n)
	prev := ID(0)
	for range n {
		code := readRef(r)
		ref := code.ref(prev)
		if ref.Pod != 0 {
			prev = ref.Pod
		} else if code.used {
			r.Fail("reference to pod 0")
		}
		p.Refs = append(p.Refs, ref)
	}
}

// readExports reads the exports. Lists of edges that move when theirs grows stay
// what they were.
func (p *Pod) readExports(r *binenc.Reader) {
	n := r.Count(1)
	p.Exports = room(p.Exports, min(n, 4096))
	from := uint64(0)
	for range n {
		x := r.Uvarint()
		slot, form := from+x>>2, x&3
		e := Export{Slot: Slot(slot), Edges: EdgeSet{All: form == edgesAll}}
		switch {
		case slot >= maxSlots:
			r.Fail("export of slot %d", slot)
		case form == edgesList:
			e.Edges.List = p.readEdgeList(r)
		case form == edgesSame && len(p.Exports) == 0:
			r.Fail("first export is the same as the one before")
		case form == edgesSame:
			e.Edges = p.Exports[len(p.Exports)-1].Edges
		}
		if r.Err() != nil {
			return
		}
		p.Exports = append(p.Exports, e)
		from = slot + 1
	}
}

func (p *Pod) readEdgeList(r *binenc.Reader) []uint32 {
	n := r.Count(1)
	if n == 0 {
		r.Fail("empty list of edges written out")
	}
	start := len(p.reused.edges)
	from := 0
	for range n {
		from = readIndex(r, from, maxSlots)
		p.reused.edges = append(p.reused.edges, uint32(from))
		from++
	}
	return p.reused.edges[start:len(p.reused.edges):len(p.reused.edges)]
}

// readSlots reads the directory, all but the bytes of slots, and returns their
// sum.
func (p *Pod) readSlots(r *binenc.Reader) (total uint64) {
	left := readSlotCount(r)
	p.Slots = room(p.Slots, min(left, r.Len()))
	p.reused.lengths = room(p.reused.lengths, min(left, r.Len()))
	for left > 0 && r.Err() == nil {
		n, sum := p.readShort(r, left)
		total += sum
		if left -= n; left == 0 {
			break
		}
		g := readGroup(r, left)
		left -= g.count
		if g.kind == SlotFree {
			for range g.count {
				p.addSlot(Data{}, 0)
			}
			continue
		}
		equal := uint64(0)
		if g.equal {
			if equal = r.Uvarint(); equal == 0 || uint64(g.count) > uint64(r.Len())/equal {
				r.Fail("%d equal slots of %d bytes", g.count, equal)
			}
		}
		for i := 0; i < g.count && r.Err() == nil; i++ {
			d, n := Data{Kind: g.kind, Type: g.typ}, equal
			if g.inRuns {
				d.Runs, n = p.readRuns(r)
			} else if !g.equal {
				n = r.Uvarint()
			}
			if n > maxBody || total > maxBody {
				r.Fail("slot of %d bytes", n)
			}
			total += n
			p.addSlot(d, n)
		}
	}
	return total
}

// readShort reads at most left slots, as long as each is a group of its own and all
// its numbers are single bytes. It returns how many there were, and the sum of
// their bytes.
func (p *Pod) readShort(r *binenc.Reader, left int) (n int, total uint64) {
	ahead := *r
	b := ahead.Bytes(uint64(ahead.Len()))
	at := 0
	for n < left && len(b)-at > 2 {
		g, typ, x := b[at], b[at+1], b[at+2]
		d := Data{Kind: Kind(g & 15), Type: TypeID(typ)}
		if d.Kind == SlotFree || d.Kind >= slotKinds || g&^(groupInRuns|15) != 0 || typ|x >= 0x80 {
			break
		}
		length := uint64(x)
		next := at + 3
		if g&groupInRuns != 0 {
			next += int(x)
			if next > len(b) {
				break
			}
			if d.Runs, length = p.shortRuns(b[at+3 : next]); d.Runs == nil {
				break
			}
		}
		at = next
		p.addSlot(d, length)
		total += length
		n++
	}
	r.Bytes(uint64(at))
	return n, total
}

// shortRuns reads the lengths of runs, of which each has a byte of its own; nil if
// that is not so.
func (p *Pod) shortRuns(codes []byte) (runs []uint32, sum uint64) {
	m := p.reused
	start := len(m.runs)
	prev := int32(0)
	for _, code := range codes {
		z := int32(code >> 1)
		d := z>>1 ^ -(z & 1)
		prev += d
		if code&0x81 != 0 || d == 0 || prev < 0 {
			m.runs = m.runs[:start]
			return nil, 0
		}
		m.runs = append(m.runs, uint32(prev))
		sum += uint64(prev)
	}
	if len(m.runs) == start {
		return nil, 0
	}
	return m.runs[start:len(m.runs):len(m.runs)], sum
}

func (p *Pod) addSlot(d Data, length uint64) {
	p.Slots = append(p.Slots, d)
	p.reused.lengths = append(p.reused.lengths, length)
}

// readRuns reads the lengths of one slot's runs, of which a byte can tell
// mostRepeat.
func (p *Pod) readRuns(r *binenc.Reader) (runs []uint32, sum uint64) {
	ahead := *r
	n := readSlotCount(&ahead)
	if n > mostRepeat*ahead.Len() {
		r.Fail("%d runs in %d bytes", n, ahead.Len())
		return nil, 0
	}
	m := p.reused
	start := len(m.runs)
	m.runs = slices.Grow(m.runs, n)[:start+n]
	runs = m.runs[start : start+n : start+n]
	_, sum = readRuns(r, runs)
	return runs, sum
}
