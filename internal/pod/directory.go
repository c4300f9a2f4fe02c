package pod

import (
	"encoding/binary"
	"slices"

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
	w := DirectoryWriter{slots: make([]dirSlot, 0, len(slots))}
	for i := range slots {
		s := &slots[i]
		w.Add(s.Kind, s.Type, len(s.Bytes), s.Runs)
	}
	return w.appendTo(dst)
}

// appendSlot appends the group of one slot.
func appendSlot(dst []byte, s *Data) []byte {
	var room [1]dirSlot
	w := DirectoryWriter{slots: room[:0]}
	w.Add(s.Kind, s.Type, len(s.Bytes), s.Runs)
	return w.appendGroup(dst, w.slots)
}

// DirectoryWriter takes the slots of a directory, one after the other, and writes it
// when it has all. The zero value is ready to use; Reset makes it so again.
type DirectoryWriter struct {
	slots []dirSlot
	long  []byte // lengths that are too long for a dirSlot
	ends  []int  // of each of them
}

// dirSlot is a slot of a directory. Neighbours of one kind and type that are in runs, or
// are not, are a group.
type dirSlot struct {
	group uint64 // type<<8 | groupInRuns | kind, which are the first bytes of most groups of one
	// length is what is stored of the length or those of the runs, the first byte lowest,
	// and how many bytes that is<<56; or, with 0 there, which one of the long ones it is.
	length uint64
}

// Reset forgets all slots.
func (w *DirectoryWriter) Reset() { w.slots, w.long, w.ends = w.slots[:0], w.long[:0], w.ends[:0] }

// Add adds the next slot, with n bytes in runs; no runs are one.
func (w *DirectoryWriter) Add(kind Kind, typ TypeID, n int, runs []uint32) {
	switch {
	case kind == SlotFree:
		w.slots = append(w.slots, dirSlot{group: uint64(typ) << 8})
	case runs == nil:
		length, bytes := uint64(n), uint64(1)
		if n >= 0x80 {
			length, bytes = 0, 0
			for x := uint64(n); x > 0; x >>= 7 { // at most 7 bytes, as maxBody is
				length |= (x&0x7f | 0x80) << (8 * bytes)
				bytes++
			}
			length &^= 0x80 << (8 * (bytes - 1))
		}
		w.slots = append(w.slots, dirSlot{uint64(typ)<<8 | uint64(kind), bytes<<56 | length})
	default:
		w.slots = append(w.slots, dirSlot{uint64(typ)<<8 | groupInRuns | uint64(kind), uint64(len(w.ends))})
		w.long = appendRuns(w.long, runs)
		w.ends = append(w.ends, len(w.long))
	}
}

// AddOne is Add of a slot that is not in runs. Mostly, and then it is quick, it is short.
func (w *DirectoryWriter) AddOne(kind Kind, typ TypeID, n int) {
	if n >= 0x80 {
		w.Add(kind, typ, n, nil)
		return
	}
	w.slots = append(w.slots, dirSlot{uint64(typ)<<8 | uint64(kind), 1<<56 | uint64(n)})
}

// AddTwo is Add of a slot with two runs. Mostly, and then it is quick, the first is a
// short head and the second not long: codes of one byte, and one or two.
func (w *DirectoryWriter) AddTwo(kind Kind, typ TypeID, first, second uint32) {
	if first == 0 || first == second || first >= 1<<5 || second >= 1<<12 {
		w.Add(kind, typ, 0, []uint32{first, second})
		return
	}
	d := int64(second) - int64(first)
	z := uint64(d<<1^d>>63) << 1
	length := 3<<56 | z<<16 | uint64(first)<<10 | 2
	if z >= 0x80 {
		length = 4<<56 | z>>7<<24 | (z&0x7f|0x80)<<16 | uint64(first)<<10 | 2
	}
	w.slots = append(w.slots, dirSlot{uint64(typ)<<8 | groupInRuns | uint64(kind), length})
}

// appendTo appends the directory.
func (w *DirectoryWriter) appendTo(dst []byte) []byte {
	slots := w.slots
	dst = binary.AppendUvarint(slices.Grow(dst, 16+4*len(slots)), uint64(len(slots)))
	for {
		if dst, slots = appendShort(dst, slots); len(slots) == 0 {
			return dst
		}
		n := sameGroup(slots)
		dst = w.appendGroup(dst, slots[:n])
		slots = slots[n:]
	}
}

// sameGroup returns how many of the slots make the first group.
func sameGroup(slots []dirSlot) int {
	n := 1
	for n < len(slots) && slots[n].group == slots[0].group {
		n++
	}
	return n
}

// appendShort is appendGroup of as many groups as have short codes, and room in dst for
// 8 bytes at a time. It returns the slots that are left.
func appendShort(dst []byte, slots []dirSlot) ([]byte, []dirSlot) {
	room, at := dst[:cap(dst)], len(dst)
	for len(slots) > 0 {
		first := slots[0]
		if first.group >= 0x80<<8 || first.length>>56-1 >= 6 || len(room)-at < 8 {
			break
		}
		if len(slots) == 1 || slots[1].group != first.group {
			binary.LittleEndian.PutUint64(room[at:], first.group|first.length<<16)
			at += 2 + int(first.length>>56)
			slots = slots[1:]
			continue
		}
		n, equal := 1, first.group&groupInRuns == 0 && first.length != 1<<56
		for n < len(slots) && slots[n].group == first.group && slots[n].length>>56 > 0 {
			equal = equal && slots[n].length == first.length
			n++
		}
		if n > 0x80 || len(room)-at < 8+8*n || n < len(slots) && slots[n].group == first.group {
			break
		}
		head := first.group&0xff | groupSeveral | uint64(n-2)<<8 | first.group>>8<<16
		lengths := slots[:n]
		if slots = slots[n:]; equal {
			head, lengths = head|groupEqual, lengths[:1]
		}
		binary.LittleEndian.PutUint64(room[at:], head)
		at += 3
		for _, x := range lengths {
			binary.LittleEndian.PutUint64(room[at:], x.length)
			at += int(x.length >> 56)
		}
	}
	return dst[:at], slots
}

// appendGroup appends the group of some slots.
func (w *DirectoryWriter) appendGroup(dst []byte, slots []dirSlot) []byte {
	head, typ := byte(slots[0].group), slots[0].group>>8
	switch {
	case Kind(head) == SlotFree:
		for n := len(slots); n > 0; n -= mostFree {
			dst = append(dst, byte(min(n, mostFree)-1)<<4)
		}
		return dst
	case len(slots) == 1:
		dst = binary.AppendUvarint(append(dst, head), typ)
	default:
		head |= groupSeveral
		if head&groupInRuns == 0 && equalLengths(slots) {
			head |= groupEqual
		}
		dst = binary.AppendUvarint(append(dst, head), uint64(len(slots)-2))
		dst = binary.AppendUvarint(dst, typ)
		if head&groupEqual != 0 {
			slots = slots[:1]
		}
	}
	for i := range slots {
		x := slots[i].length
		n := x >> 56
		if n > 0 {
			for ; n > 0; n-- {
				dst = append(dst, byte(x))
				x >>= 8
			}
			continue
		}
		from := 0
		if x > 0 {
			from = w.ends[x-1]
		}
		dst = append(dst, w.long[from:w.ends[x]]...)
	}
	return dst
}

// equalLengths reports whether slots that are not in runs are equally long, and not empty.
func equalLengths(slots []dirSlot) bool {
	for i := range slots {
		if slots[i].length != slots[0].length {
			return false
		}
	}
	return slots[0].length != 1<<56
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
