package pod

import (
	"bytes"
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
)

// Versions that rest on the version before: patch and delta.
//
// After the head byte, and what generations changed, comes a byte of flags, two bits a part, and then the parts
// that are not unchanged (0), in this order:
//
//	bits 0-1  references  1 changes, 2 whole
//	bits 2-3  exports     1 changes, 2 whole
//	bits 4-5  patch: 1 if the number of slots changed
//	          delta: the slot directory: 1 changes, 2 whole
//	bit 6     patch: slot changes have the ops of cuts too (cut.go)
//	bit 7     not used
//
// A patch ends with its slot changes: uvarint new number of slots if the flag
// says so, uvarint count, then for each, ascending, uvarint gap<<2 | op (gap:
// slots skipped since the change before) and what the op needs.
//
//	0 free   nothing
//	1 bytes  uvarint length, bytes: kind and type stay, no runs before and after
//	2 whole  a directory group of this one slot, then its bytes
//	3 runs   uvarint new number of runs, uvarint count, for each changed run
//	         uvarint gap, uvarint length, bytes: kind and type stay
//
// With cuts it is gap<<3 | op, and two more:
//
//	4 cut    uvarint bytes kept at the start, and at the end, uvarint length, the bytes
//	         between: kind and type stay, no runs before and after
//	5 cuts   as runs, with the bytes kept of each run before its length
//
// Slots, and runs of a slot, that the base does not have must all be named: so
// what a patch makes is bounded by its bytes.
//
// A delta keeps directory changes instead: uvarint new number of slots, uvarint
// count, for each uvarint gap and a directory group of this one slot. The rest
// of it is one s2 block, see delta.go.
const (
	partSame    = 0
	partChanges = 1
	partWhole   = 2

	refsShift    = 0
	exportsShift = 2
	slotsShift   = 4

	opFree  = 0
	opBytes = 1
	opWhole = 2
	opRuns  = 3
	opCut   = 4
	opCuts  = 5

	flagCuts = 1 << 6
)

// slotsPart is what a patch or delta says about slots. The zero value leaves
// all as they were.
type slotsPart struct {
	counted bool // count is given
	count   int
	changes []slotChange
}

type slotChange struct {
	slot int
	op   uint8
	kept cut    // cut
	data Data   // bytes, cut: Bytes; whole: all of it, in a delta all but Bytes
	size uint64 // whole: length of the slot
	runs int    // runs, cuts: new number of runs
	list []runChange
}

type runChange struct {
	run   int
	bytes []byte
	kept  cut
}

// AppendPatch appends the version that turns base into next by slots and runs.
// Both must be valid; own is the generation of the change. It does not depend on how next was made.
func AppendPatch(dst []byte, base, next *Pod, own Generation) []byte {
	dst, at := appendChangesHead(dst, bodyPatch, base, next, own)
	if len(base.Slots) != len(next.Slots) {
		dst[at] |= partChanges << slotsShift
		dst = binary.AppendUvarint(dst, uint64(len(next.Slots)))
	}
	var few [32]int
	changed := changedSlots(few[:0], base.Slots, next.Slots, sameSlot)
	dst = binary.AppendUvarint(dst, uint64(len(changed)))
	cuts := cutsAny(base.Slots, next.Slots, changed)
	if cuts {
		dst[at] |= flagCuts
	}
	from := 0
	for _, i := range changed {
		dst = appendSlotChange(dst, i-from, before(base.Slots, i), next.Slots[i], cuts)
		from = i + 1
	}
	return dst
}

// before returns slot i of the base, a free one if it has none of that number.
func before(base []Data, i int) Data {
	if i >= len(base) {
		return Data{}
	}
	return base[i]
}

// appendChangesHead appends the head, the flags, references and exports, and
// returns the place of the flags.
func appendChangesHead(dst []byte, kind BodyKind, base, next *Pod, own Generation) ([]byte, int) {
	dst = append(appendGenerationChanges(dst, kind, base, next, own), 0)
	at := len(dst) - 1
	if !sameRefs(base.Refs, next.Refs) {
		with, ok := appendRefChanges(dst, base.Refs, next.Refs)
		if ok {
			with[at] |= partChanges << refsShift
		} else {
			with = appendRefs(dst, next.Refs)
			with[at] |= partWhole << refsShift
		}
		dst = with
	}
	if !sameExports(base.Exports, next.Exports) {
		with, ok := appendExportChanges(dst, base.Exports, next.Exports)
		if ok {
			with[at] |= partChanges << exportsShift
		} else {
			with = appendExports(dst, next.Exports)
			with[at] |= partWhole << exportsShift
		}
		dst = with
	}
	return dst, at
}

func sameSlot(a, b *Data) bool { return sameEntry(a, b) && bytes.Equal(a.Bytes, b.Bytes) }

// sameEntry compares what the directory says of two slots.
func sameEntry(a, b *Data) bool {
	if a.Kind != b.Kind || a.Type != b.Type || len(a.Bytes) != len(b.Bytes) || !sameShape(a, b) || len(a.Runs) != len(b.Runs) {
		return false
	}
	for i := range a.Runs {
		if a.Runs[i] != b.Runs[i] {
			return false
		}
	}
	return true
}

// sameShape reports whether a and b are both in runs or both not.
func sameShape(a, b *Data) bool { return (a.Runs == nil) == (b.Runs == nil) }

// changedSlots appends the slots of next that are not the same in base, and all
// that base does not have.
func changedSlots(dst []int, base, next []Data, same func(a, b *Data) bool) []int {
	for i := range next {
		if i >= len(base) || !same(&base[i], &next[i]) {
			dst = append(dst, i)
		}
	}
	return dst
}

// opOf returns how a change of a slot is written, where there are no cuts.
func opOf(before, after Data) uint8 {
	switch {
	case after.Kind == SlotFree:
		return opFree
	case before.Kind != after.Kind || before.Type != after.Type || !sameShape(&before, &after):
	case after.Runs == nil:
		return opBytes
	case fewRunsChanged(before, after):
		return opRuns
	}
	return opWhole
}

func appendSlotChange(dst []byte, gap int, before, after Data, cuts bool) []byte {
	op, bits := opOf(before, after), 2
	if cuts {
		op, bits = cutOp(op, before, after), 3
	}
	dst = binary.AppendUvarint(dst, uint64(gap)<<bits|uint64(op))
	switch op {
	case opBytes:
		dst = binary.AppendUvarint(dst, uint64(len(after.Bytes)))
		dst = append(dst, after.Bytes...)
	case opCut:
		dst = appendCut(dst, before.Bytes, after.Bytes)
	case opWhole:
		dst = appendSlot(dst, &after)
		dst = append(dst, after.Bytes...)
	case opRuns, opCuts:
		dst = appendRunChanges(dst, before, after, op == opCuts)
	}
	return dst
}

// eachChangedRun calls visit for the runs of after that are not the same in
// before, and for all that before does not have; old is what before has there.
func eachChangedRun(before, after Data, visit func(run int, old, bytes []byte)) {
	oldAt, at := 0, 0
	for i, n := range after.Runs {
		run := after.Bytes[at : at+int(n)]
		at += int(n)
		var old []byte
		if i < len(before.Runs) {
			old = before.Bytes[oldAt : oldAt+int(before.Runs[i])]
			oldAt += len(old)
		}
		if i >= len(before.Runs) || !bytes.Equal(old, run) {
			visit(i, old, run)
		}
	}
}

// fewRunsChanged reports whether naming the changed runs is shorter than
// writing the slot whole, at two to three bytes for each.
func fewRunsChanged(before, after Data) bool {
	cost := 0
	eachChangedRun(before, after, func(_ int, _, b []byte) { cost += len(b) + 3 })
	return cost < len(after.Bytes)+2*len(after.Runs)
}

func appendRunChanges(dst []byte, before, after Data, cuts bool) []byte {
	n := 0
	eachChangedRun(before, after, func(int, []byte, []byte) { n++ })
	dst = binary.AppendUvarint(dst, uint64(len(after.Runs)))
	dst = binary.AppendUvarint(dst, uint64(n))
	from := 0
	eachChangedRun(before, after, func(run int, old, b []byte) {
		dst = binary.AppendUvarint(dst, uint64(run-from))
		from = run + 1
		if cuts {
			dst = appendCut(dst, old, b)
			return
		}
		dst = binary.AppendUvarint(dst, uint64(len(b)))
		dst = append(dst, b...)
	})
	return dst
}

// readChanges reads what follows the head byte of a patch or delta.
func (v *Version) readChanges(r *binenc.Reader) {
	flags := r.Byte()
	part := func(shift int) int { return int(flags>>shift) & 3 }
	most, known := partChanges, byte(1<<7-1)
	if v.kind == bodyDelta {
		most, known = partWhole, flagCuts-1
	}
	if flags > known || part(refsShift) > partWhole || part(exportsShift) > partWhole || part(slotsShift) > most {
		r.Fail("flags %#02x of a %v", flags, v.kind)
		return
	}
	switch part(refsShift) {
	case partChanges:
		v.refs = readRefChanges(r)
	case partWhole:
		v.refs = refsPart{whole: true, refs: readRefs(r)}
	}
	switch part(exportsShift) {
	case partChanges:
		v.exps = readExportChanges(r)
	case partWhole:
		v.exps = exportsPart{whole: true, exports: readExports(r)}
	}
	if v.kind == bodyDelta {
		v.readDelta(r, part(slotsShift))
		return
	}
	if part(slotsShift) == partChanges {
		v.slots.counted, v.slots.count = true, readSlotCount(r)
	}
	v.slots.changes = readSlotChanges(r, flags&flagCuts != 0)
}

func readSlotChanges(r *binenc.Reader, cuts bool) []slotChange {
	bits := 2
	if cuts {
		bits = 3
	}
	n := r.Count(1)
	var changes []slotChange
	from := uint64(0)
	for range n {
		x := r.Uvarint()
		slot, op := from+x>>bits, uint8(x&(1<<bits-1))
		if slot >= maxSlots || op > opCuts {
			r.Fail("change %d of slot %d", op, slot)
		}
		if r.Err() != nil {
			return nil
		}
		from = slot + 1
		changes = append(changes, slotChange{slot: int(slot), op: op})
		c := &changes[len(changes)-1]
		switch c.op {
		case opBytes:
			c.data.Bytes = r.Bytes(r.Uvarint())
		case opCut:
			c.kept = readCut(r)
			c.data.Bytes = r.Bytes(r.Uvarint())
		case opWhole:
			c.readEntry(r)
			if c.data.Kind == SlotFree {
				r.Fail("free slot written out")
			}
			c.data.Bytes = r.Bytes(c.size)
		case opRuns, opCuts:
			c.readRuns(r)
		}
	}
	return changes
}

// readEntry reads the directory group of one slot.
func (c *slotChange) readEntry(r *binenc.Reader) {
	g := readGroup(r, 1)
	c.data.Kind, c.data.Type = g.kind, g.typ
	if g.inRuns {
		measured := *r
		var n int
		if n, c.size = readRuns(&measured, nil); measured.Err() == nil {
			c.data.Runs = make([]uint32, n)
		}
		readRuns(r, c.data.Runs)
	} else if g.kind != SlotFree {
		c.size = r.Uvarint()
	}
	if c.size > maxBody {
		r.Fail("slot of %d bytes", c.size)
	}
}

func (c *slotChange) readRuns(r *binenc.Reader) {
	c.runs = readSlotCount(r)
	if c.runs == 0 {
		r.Fail("slot in no runs")
	}
	n := r.Count(2)
	from := 0
	for range n {
		i := readIndex(r, from, c.runs)
		var kept cut
		if c.op == opCuts {
			kept = readCut(r)
		}
		b := r.Bytes(r.Uvarint())
		if r.Err() != nil {
			return
		}
		c.list = append(c.list, runChange{i, b, kept})
		from = i + 1
	}
}
