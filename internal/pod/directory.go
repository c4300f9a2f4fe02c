package pod

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
)

// The slot directory: uvarint number of slots, then groups of neighbours of one
// kind and type until all slots are covered.
//
// A group starts with a byte g. Free slots: g = 0x00, 0x10 … 0xf0 for 1 to 16
// of them, nothing follows. Else the low half is the kind and the high half
//
//	0x10  several: uvarint count-2 follows
//	0x20  equal lengths, with several: one length, not 0, for all
//	0x40  in runs: in place of each length the lengths of its runs
//	0x80  not used
//
// then the count if several, uvarint type, and the lengths as uvarints.
//
// Run lengths: uvarint number of runs (not 0), then uvarint codes: even 2z, the
// next length is the one before plus d (z = zig-zag of d, the length before the
// first is 0); odd, below 128, 2(k-1)+1: the length before comes k more times.
const (
	groupSeveral = 0x10
	groupEqual   = 0x20
	groupInRuns  = 0x40

	mostFree   = 16
	mostRepeat = 64
)

// directory is a slot directory that was measured and is not yet filled in.
type directory struct {
	raw   []byte // the groups
	slots int
	runs  int    // of all slots together
	bytes uint64 // of all slots together
}

type group struct {
	kind   Kind
	typ    TypeID
	count  int
	equal  bool
	inRuns bool
}

func appendDirectory(dst []byte, slots []Data) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(slots)))
	var room [256]byte
	w := DirectoryWriter{groups: dst, lengths: room[:0]}
	for i := range slots {
		s := &slots[i]
		w.Add(s.Kind, s.Type, len(s.Bytes), s.Runs)
	}
	w.close()
	return w.groups
}

// appendSlot appends the group of one slot.
func appendSlot(dst []byte, s *Data) []byte {
	var room [256]byte
	w := DirectoryWriter{groups: dst, lengths: room[:0]}
	w.Add(s.Kind, s.Type, len(s.Bytes), s.Runs)
	w.close()
	return w.groups
}

// DirectoryWriter writes a slot directory, slot after slot. The zero value is ready
// to use; Reset makes it so again.
type DirectoryWriter struct {
	groups []byte // the open one, while it has one slot, as if no other would follow
	slots  int
	open   group
	start  int // of the open group
	first  int // length of the open group's first slot
	// lengths of the open group if it has several slots; of one they begin at one.
	lengths []byte
	one     int
}

// Reset forgets all slots.
func (w *DirectoryWriter) Reset() {
	*w = DirectoryWriter{groups: w.groups[:0], lengths: w.lengths[:0]}
}

// Add adds the next slot, with n bytes in runs; no runs are one.
func (w *DirectoryWriter) Add(kind Kind, typ TypeID, n int, runs []uint32) {
	g := &w.open
	inRuns := runs != nil
	switch {
	case g.count == 0 || g.kind != kind || g.typ != typ || g.inRuns != inRuns || kind == SlotFree && g.count == mostFree:
		w.begin(kind, typ, inRuns)
		if w.first = n; kind == SlotFree {
			return
		}
		if inRuns {
			w.groups = appendRuns(w.groups, runs)
		} else {
			w.groups = binary.AppendUvarint(w.groups, uint64(n))
		}
		return
	case kind == SlotFree:
		w.groups[w.start] += 1 << 4
	default:
		w.several()
		g.equal = g.equal && n == w.first
		if inRuns {
			w.lengths = appendRuns(w.lengths, runs)
		} else {
			w.lengths = binary.AppendUvarint(w.lengths, uint64(n))
		}
	}
	g.count++
	w.slots++
}

// AddTwo is Add of a slot with two runs. Mostly, and then it is quick, the first is a
// short head and the second not long: codes of one byte, and one or two.
func (w *DirectoryWriter) AddTwo(kind Kind, typ TypeID, first, second uint32) {
	if first == 0 || first == second || first >= 1<<5 || second >= 1<<12 {
		w.Add(kind, typ, int(first)+int(second), []uint32{first, second})
		return
	}
	g := &w.open
	to := &w.lengths
	if g.count == 0 || g.kind != kind || g.typ != typ || !g.inRuns {
		w.begin(kind, typ, true)
		to = &w.groups
	} else {
		w.several()
		g.count++
		w.slots++
	}
	d := int32(second) - int32(first)
	if z := uint32(d<<1^d>>31) << 1; z < 0x80 {
		*to = append(*to, 2, byte(first)<<2, byte(z))
	} else {
		*to = append(*to, 2, byte(first)<<2, byte(z)|0x80, byte(z>>7))
	}
}

// begin writes the head of a group of one slot.
func (w *DirectoryWriter) begin(kind Kind, typ TypeID, inRuns bool) {
	if w.open.count > 1 {
		w.close()
	}
	w.open = group{kind: kind, typ: typ, count: 1, inRuns: inRuns, equal: !inRuns}
	w.slots++
	w.start = len(w.groups)
	b := byte(kind)
	if inRuns {
		b |= groupInRuns
	}
	switch {
	case kind == SlotFree:
		w.groups = append(w.groups, b)
	case typ < 0x80:
		w.groups = append(w.groups, b, byte(typ))
	default:
		w.groups = binary.AppendUvarint(append(w.groups, b), uint64(typ))
	}
	w.one = len(w.groups)
}

// several makes the open group one of several slots.
func (w *DirectoryWriter) several() {
	if w.open.count == 1 {
		w.lengths = append(w.lengths[:0], w.groups[w.one:]...)
		w.groups = w.groups[:w.start]
	}
}

// close writes the open group if it has several slots.
func (w *DirectoryWriter) close() {
	g := &w.open
	if g.count < 2 || g.kind == SlotFree {
		return
	}
	b := byte(g.kind) | groupSeveral
	if g.equal = g.equal && w.first > 0; g.equal {
		b |= groupEqual
	}
	if g.inRuns {
		b |= groupInRuns
	}
	w.groups = append(w.groups, b)
	w.groups = binary.AppendUvarint(w.groups, uint64(g.count-2))
	w.groups = binary.AppendUvarint(w.groups, uint64(g.typ))
	if g.equal {
		w.groups = binary.AppendUvarint(w.groups, uint64(w.first))
	} else {
		w.groups = append(w.groups, w.lengths...)
	}
	g.count = 0
}

func appendRuns(dst []byte, runs []uint32) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	prev := uint32(0)
	for i := 0; i < len(runs); {
		same := 0
		for i+same < len(runs) && runs[i+same] == prev && same < mostRepeat {
			same++
		}
		if same > 0 {
			dst = append(dst, byte(same-1)<<1|1)
			i += same
			continue
		}
		d := int64(runs[i]) - int64(prev)
		dst = binary.AppendUvarint(dst, (uint64(d)<<1^uint64(d>>63))<<1)
		prev = runs[i]
		i++
	}
	return dst
}

// readRuns reads the lengths of one slot's runs and returns their number and
// sum. out takes the lengths, and has room for them, unless it is nil.
func readRuns(r *binenc.Reader, out []uint32) (n int, sum uint64) {
	n = readSlotCount(r)
	if n == 0 {
		r.Fail("slot in no runs")
	}
	prev := int64(0)
	for done := 0; done < n; {
		x := r.Uvarint()
		if x&1 == 0 {
			z := x >> 1
			d := int64(z>>1) ^ -int64(z&1)
			if prev += d; prev < 0 || prev > 1<<32-1 || d == 0 { // 0 after an error, too
				r.Fail("run length %d, %+d from the one before", prev, d)
				return 0, 0
			}
			if out != nil {
				out[done] = uint32(prev)
			}
			sum += uint64(prev)
			done++
			continue
		}
		same := int(min(x>>1, mostRepeat)) + 1
		if same > mostRepeat || same > n-done {
			r.Fail("%d equal runs, %d left", same, n-done)
			return 0, 0
		}
		if out != nil {
			for i := range same {
				out[done+i] = uint32(prev)
			}
		}
		sum += uint64(same) * uint64(prev)
		done += same
	}
	return n, sum
}

// readGroup reads the head of a group of at most left slots.
func readGroup(r *binenc.Reader, left int) group {
	b := r.Byte()
	g := group{kind: Kind(b & 15), count: 1}
	if g.kind == SlotFree {
		g.count = int(b>>4) + 1
	} else {
		g.equal, g.inRuns = b&groupEqual != 0, b&groupInRuns != 0
		if b >= 0x80 || g.kind >= slotKinds || g.equal && (g.inRuns || b&groupSeveral == 0) {
			r.Fail("slot group starts with %#02x", b)
		}
		if b&groupSeveral != 0 {
			g.count = int(min(r.Uvarint(), maxSlots)) + 2
		}
		g.typ = TypeID(r.Uvarint32())
	}
	if g.count > left {
		r.Fail("group of %d slots, %d left", g.count, left)
	}
	return g
}

// readDirectory measures a directory, so that what fill makes is bounded.
func readDirectory(r *binenc.Reader) directory {
	d := directory{slots: readSlotCount(r)}
	before := *r
	for left := d.slots; left > 0 && r.Err() == nil; {
		g := readGroup(r, left)
		d.measure(r, g)
		left -= g.count
	}
	if r.Err() != nil {
		return directory{}
	}
	d.raw = before.Bytes(uint64(r.Off() - before.Off()))
	return d
}

func (d *directory) measure(r *binenc.Reader, g group) {
	lengths := g.count
	if g.kind == SlotFree {
		lengths = 0
	} else if g.equal {
		lengths = 1
	}
	for range lengths {
		var n uint64
		if g.inRuns {
			var runs int
			runs, n = readRuns(r, nil)
			d.runs += runs
		} else {
			n = r.Uvarint()
		}
		if g.equal {
			if n == 0 || n > maxBody/uint64(g.count) {
				r.Fail("%d equal slots of %d bytes", g.count, n)
				return
			}
			n *= uint64(g.count)
		}
		if r.Err() == nil && n >= maxBody-d.bytes {
			r.Fail("slots of %d bytes and more", uint64(maxBody))
		}
		if r.Err() != nil {
			return
		}
		d.bytes += n
	}
}

// fill makes the slots of a directory over body, whose length is d.bytes.
func (d *directory) fill(body []byte) []Data {
	if d.slots == 0 {
		return nil
	}
	slots := make([]Data, d.slots)
	runs := make([]uint32, d.runs)
	r := binenc.NewReader(d.raw)
	for left := slots; len(left) > 0; {
		g := readGroup(r, len(left))
		group := left[:g.count]
		left = left[g.count:]
		if g.kind == SlotFree {
			continue
		}
		equal := uint64(0)
		if g.equal {
			equal = r.Uvarint()
		}
		for i := range group {
			s := &group[i]
			s.Kind, s.Type = g.kind, g.typ
			n := equal
			if g.inRuns {
				var k int
				k, n = readRuns(r, runs)
				s.Runs, runs = runs[:k:k], runs[k:]
			} else if !g.equal {
				n = r.Uvarint()
			}
			s.Bytes, body = body[:n:n], body[n:]
		}
	}
	return slots
}

// readSlotCount reads a number of slots, references or runs.
func readSlotCount(r *binenc.Reader) int {
	n := r.Uvarint()
	if n > maxSlots {
		r.Fail("count %d", n)
		return 0
	}
	return int(n)
}

// readIndex reads a gap and returns the index after it, which is below end.
func readIndex(r *binenc.Reader, from, end int) int {
	gap := r.Uvarint()
	if r.Err() == nil && (from >= end || gap >= uint64(end-from)) {
		r.Fail("index %d+%d, only %d there", from, gap, end)
	}
	if r.Err() != nil {
		return from
	}
	return from + int(gap)
}
