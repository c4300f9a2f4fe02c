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

// BulkSource is a Source that has another way for loads that read much.
type BulkSource interface {
	Source
	// Bulk returns a source of the same snapshot for one load, which is not safe for
	// concurrent use.
	Bulk() Recycler
}

// reused is the memory that a pod read by ReadWhole keeps for the next one.
type reused struct {
	lengths []uint64 // of slots
	runs    []uint32
	edges   []uint32
	gens    []generationRun
	shared  bool // the bytes of the slots are not behind the directory
}

// ReadWhole makes p the pod of a stored version that stands alone, as
// DecodeVersion and Merge do, in the memory that p has: nobody else may have p.
// It refers to b. Errors match dberr.ErrCorrupt, or dberr.ErrTooNew; p is
// of no use then but to be read into again.
func (p *Pod) ReadWhole(b []byte) error { return p.Read(b, nil) }

// Read is ReadWhole that also reads versions whose body is a record of its own, which
// shared returns; nil if there are none. p refers to that body.
func (p *Pod) Read(b []byte, shared func(RecordNo) ([]byte, error)) error {
	kind, record := bodyWhole, RecordNo(0)
	if shared != nil && len(b) > 0 && BodyKind(b[0]&15) == bodyShared {
		kind = bodyShared
	}
	r := binenc.NewReader(b)
	if p.reused == nil {
		p.reused = &reused{}
	}
	m := p.reused
	m.runs, m.edges, m.lengths, m.gens, m.shared = m.runs[:0], m.edges[:0], m.lengths[:0], m.gens[:0], kind == bodyShared
	head := r.Byte()
	format, runs, err := splitFormat(head)
	switch {
	case r.Err() != nil:
	case err != nil:
		return err
	case head&15 == byte(kind) && (format == generationFormat || format == movedFormat):
		m.gens = readGenerations(m.gens, r, format, false)
	case head&15 != byte(kind) || format != formatVersion:
		r.Fail("pod version that stands alone starts with %#02x", head)
	}
	if kind == bodyShared {
		record = RecordNo(r.Uvarint())
	}
	if runs {
		p.Refs = readRefRuns(r, p.Refs)
		p.Exports = readExportRuns(r, p.Exports, p.readEdgeList, p.oneEdge)
	} else {
		p.readRefs(r)
		p.readExports(r)
	}
	total := p.readSlots(r)
	body := b[len(b)-r.Len():]
	if kind == bodyShared && r.Err() == nil {
		var err error
		if r.Len() > 0 {
			r.Fail("%d bytes behind a version with a shared body", r.Len())
		} else if body, err = shared(record); err != nil {
			return err
		}
	}
	if r.Err() == nil && total != uint64(len(body)) {
		r.Fail("slots of %d bytes, body of %d", total, len(body))
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("pod version: %w", err)
	}
	for i, n := range m.lengths {
		p.Slots[i].Bytes, body = body[:n:n], body[n:]
	}
	if err := p.addGenerations(m.gens); err != nil {
		return err
	}
	// What else Validate checks is so by the way things were read.
	if err := validateExports(p); err != nil {
		return dberr.Corrupt("", -1, "pod version: %v", err)
	}
	return nil
}

// room returns list without elements, with room for n, or new memory: of a power
// of two, so that what is used again soon fits all that comes, unless there is
// nothing to use again yet.
func room[T any](list []T, n int) []T {
	switch {
	case cap(list) >= n:
		return list[:0]
	case cap(list) == 0:
		return make([]T, 0, n)
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

// oneEdge makes a list of one.
func (p *Pod) oneEdge(n uint32) []uint32 {
	e := append(p.reused.edges, n)
	p.reused.edges = e
	return e[len(e)-1 : len(e) : len(e)]
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
			if equal = r.Uvarint(); equal == 0 || uint64(g.count) > p.reused.room(r.Len())/equal {
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

// readShort reads groups of at most left slots in all, as long as what it meets is
// common: numbers of one or two bytes, no free slots. It returns how many slots
// there were, and the sum of their bytes; what is not common, or wrong, is left for
// others to read.
func (p *Pod) readShort(r *binenc.Reader, left int) (n int, total uint64) {
	ahead := *r
	b := ahead.Bytes(uint64(ahead.Len()))
	at := 0
	for n < left {
		count, length, next := p.shortGroup(b, at, left-n)
		if count == 0 {
			break
		}
		at, total = next, total+length
		n += count
	}
	r.Bytes(uint64(at))
	return n, total
}

// room returns how many bytes slots may have, of which left ones follow here.
func (m *reused) room(left int) uint64 {
	if m.shared {
		return maxBody
	}
	return uint64(left)
}

// shortGroup reads one group at b[at:]. It returns how many slots it has, the sum of
// their bytes, and what follows it; no slots if it is not a common group.
func (p *Pod) shortGroup(b []byte, at, left int) (count int, total uint64, next int) {
	if len(b)-at < 5 {
		return 0, 0, 0
	}
	g := b[at]
	at++
	kind := Kind(g & 15)
	if kind == SlotFree || kind >= slotKinds || g >= 0x80 ||
		g&groupEqual != 0 && g&(groupInRuns|groupSeveral) != groupSeveral {
		return 0, 0, 0
	}
	count = 1
	if g&groupSeveral != 0 {
		count = int(b[at]) + 2
		if at++; count >= 0x80+2 {
			return 0, 0, 0
		}
	}
	typ, at := short(b, at)
	if at == 0 || count > left {
		return 0, 0, 0
	}
	equal := uint64(0)
	if g&groupEqual != 0 {
		if equal, at = short(b, at); at == 0 || equal == 0 || uint64(count) > p.reused.room(len(b)-at)/equal {
			return 0, 0, 0
		}
	}
	m := p.reused
	first, firstRun := len(p.Slots), len(m.runs)
	slots, lengths := grow(p.Slots, count), grow(m.lengths, count)
	for i := first; i < len(slots); i++ {
		d := &slots[i]
		d.Kind, d.Type = kind, TypeID(typ) // Bytes follow when all is read
		switch {
		case g&groupInRuns != 0:
			d.Runs, lengths[i], at = m.shortRuns(b, at)
		case equal > 0:
			d.Runs, lengths[i] = nil, equal
		default:
			d.Runs = nil
			lengths[i], at = short(b, at)
		}
		if at == 0 {
			m.runs = m.runs[:firstRun]
			return 0, 0, 0
		}
		total += lengths[i]
	}
	p.Slots, m.lengths = slots, lengths
	return count, total, at
}

// grow returns list with n elements more, which hold anything.
func grow[T any](list []T, n int) []T {
	if cap(list)-len(list) < n {
		list = slices.Grow(list, n)
	}
	return list[:len(list)+n]
}

// short reads a number of one or two bytes at b[at:] and returns what follows it, 0
// if it is longer, not in its shortest form, or not there.
func short(b []byte, at int) (v uint64, next int) {
	if len(b)-at < 2 {
		return 0, 0
	}
	c, c2 := b[at], b[at+1]
	switch {
	case c < 0x80:
		return uint64(c), at + 1
	case c2 < 0x80 && c2 > 0:
		return uint64(c&0x7f) | uint64(c2)<<7, at + 2
	}
	return 0, 0
}

// shortRuns reads the lengths of the runs of a slot at b[at:], of which each has a
// byte of its own. It returns them, their sum, and what follows; 0 if they are not
// so.
func (m *reused) shortRuns(b []byte, at int) (runs []uint32, sum uint64, next int) {
	if at >= len(b) {
		return nil, 0, 0
	}
	n := int(b[at])
	at++
	if n == 0 || n >= 0x80 || len(b)-at < n {
		return nil, 0, 0
	}
	start := len(m.runs)
	m.runs = grow(m.runs, n)
	runs = m.runs[start : start+n : start+n]
	prev := int32(0)
	for i, code := range b[at : at+n] {
		z := int32(code >> 1)
		d := z>>1 ^ -(z & 1)
		prev += d
		if code&0x81 != 0 || d == 0 || prev < 0 {
			return nil, 0, 0
		}
		runs[i] = uint32(prev)
		sum += uint64(prev)
	}
	return runs, sum, at + n
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
