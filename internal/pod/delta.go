package pod

import (
	"encoding/binary"

	"github.com/klauspost/compress/s2"

	"github.com/poddb/poddb/internal/binenc"
)

// A delta keeps the body as one s2 block, made with the base's body as
// dictionary (s2.MakeDict(base body, nil)): good where many slots changed a
// little. s2 knows dictionaries of 16 bytes to 64 KiB, and only the first 64
// KiB of a block can refer to one.
//
// A body is at most twice its base's plus 4 KiB, on both sides: the length that
// a block claims is not covered by the block's own bytes.
const (
	minDeltaBase = s2.MinDictSize
	maxDeltaBase = s2.MaxDictSize
	deltaSlack   = 4 << 10
)

func maxDeltaBody(base int) int { return 2*base + deltaSlack }

// AppendDelta appends the version that turns base into next by an s2 delta of
// the body. It returns dst and false if the bodies do not lend themselves to
// it, or the delta would not be shorter than the body. Both must be valid; own is the
// generation of the change.
func AppendDelta(dst []byte, base, next *Pod, own Generation) ([]byte, bool) {
	oldBody, body := base.bodyFor(s2.MinDictSize), next.Body()
	if len(oldBody) < minDeltaBase || len(oldBody) > maxDeltaBase ||
		len(body) == 0 || len(body) > maxDeltaBody(len(oldBody)) {
		return dst, false
	}
	block := s2.MakeDict(oldBody, nil).Encode(nil, body)
	if len(block) >= len(body) {
		return dst, false
	}
	dst, at := appendChangesHead(dst, bodyDelta, base, next, own)
	var few [32]int
	changed := changedSlots(few[:0], base.Slots, next.Slots, sameEntry)
	switch {
	case len(changed)*2 > len(next.Slots):
		dst[at] |= partWhole << slotsShift
		dst = appendDirectory(dst, next.Slots)
	case len(changed) > 0 || len(base.Slots) != len(next.Slots):
		dst[at] |= partChanges << slotsShift
		dst = binary.AppendUvarint(dst, uint64(len(next.Slots)))
		dst = binary.AppendUvarint(dst, uint64(len(changed)))
		from := 0
		for _, i := range changed {
			dst = binary.AppendUvarint(dst, uint64(i-from))
			dst = appendSlot(dst, &next.Slots[i])
			from = i + 1
		}
	}
	return append(dst, block...), true
}

// bodyFor returns the body with room for spare bytes more.
func (p *Pod) bodyFor(spare int) []byte {
	return appendBody(make([]byte, 0, p.BodyLen()+spare), p)
}

func (v *Version) readDelta(r *binenc.Reader, part int) {
	switch part {
	case partWhole:
		v.dir = readDirectory(r)
	case partChanges:
		v.slots.counted, v.slots.count = true, readSlotCount(r)
		n := r.Count(2)
		from := 0
		for range n {
			i := readIndex(r, from, v.slots.count)
			c := slotChange{slot: i, op: opWhole}
			c.readEntry(r)
			if r.Err() != nil {
				return
			}
			v.slots.changes = append(v.slots.changes, c)
			from = i + 1
		}
	}
	v.dirWhole = part == partWhole
	v.body = r.Bytes(uint64(r.Len()))
}

// mergeDelta makes the slots that follow base, and says what is not right.
func (v *Version) mergeDelta(base *Pod) ([]Data, string) {
	oldBody := base.bodyFor(s2.MinDictSize)
	if len(oldBody) < minDeltaBase || len(oldBody) > maxDeltaBase {
		return nil, "delta against a body that is no dictionary"
	}
	n, err := s2.DecodedLen(v.body)
	if err != nil || n > maxDeltaBody(len(oldBody)) {
		return nil, "delta block with a bad length"
	}
	var shells []Data
	var sizes []uint64
	total := v.dir.bytes
	if !v.dirWhole {
		var wrong string
		if shells, sizes, wrong = v.slots.shells(base.Slots); wrong != "" {
			return nil, wrong
		}
		total = 0
		for _, size := range sizes {
			if total += size; total > uint64(n) {
				break
			}
		}
	}
	if total != uint64(n) {
		return nil, "delta block is not as long as the slots together"
	}
	body, err := s2.MakeDict(oldBody, nil).Decode(nil, v.body)
	if err != nil {
		return nil, "delta block does not decode"
	}
	if v.dirWhole {
		return v.dir.fill(body), ""
	}
	at := uint64(0)
	for i, size := range sizes {
		if shells[i].Kind != SlotFree {
			shells[i].Bytes = body[at : at+size : at+size]
			at += size
		}
	}
	return shells, ""
}

// shells makes the slots that follow base without their bytes, and the length
// of each.
func (p *slotsPart) shells(base []Data) ([]Data, []uint64, string) {
	count, wrong := p.newCount(len(base))
	if wrong != "" {
		return nil, nil, wrong
	}
	slots := make([]Data, count)
	sizes := make([]uint64, count)
	for i := range slots[:copy(slots, base)] {
		sizes[i] = uint64(len(slots[i].Bytes))
		slots[i].Bytes = nil
	}
	for _, c := range p.changes {
		slots[c.slot], sizes[c.slot] = c.data, c.size
	}
	return slots, sizes, ""
}
