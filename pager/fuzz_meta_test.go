package pager

import (
	"encoding/binary"
	"testing"
)

// FuzzMeta: a meta slot from anywhere, its checksum made right if mend is set.
// What is accepted encodes as it was, but for bytes that no field has.
func FuzzMeta(f *testing.F) {
	for slot := range 2 {
		m := meta{pageSize: 4096, generation: uint64(2 + slot), pages: 9, logPos: firstLogPos, clean: slot == 0}
		f.Add(m.encode(slot), slot == 0, false)
		f.Add(m.encode(slot), slot == 0, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, first, mend bool) {
		slot := 1
		if first {
			slot = 0
		}
		b = append([]byte(nil), b...)
		if mend && len(b) >= metaSize {
			copy(b, magic)
			binary.LittleEndian.PutUint32(b[metaSumAt:], seededSum(uint64(slot), b[:metaSumAt]))
		}
		m, state, why := decodeMeta(b, slot)
		if (state == slotDamaged || state == slotForeign) != (why != "") && state != slotTooNew {
			t.Fatalf("state %d, because %q", state, why)
		}
		if state != slotValid {
			return
		}
		again, state, why := decodeMeta(m.encode(slot), slot)
		if state != slotValid || again != m {
			t.Fatalf("a meta that was accepted does not come back: %s\n%+v\n%+v", why, m, again)
		}
	})
}

// FuzzSlots: the lock file's board and slots.
func FuzzSlots(f *testing.F) {
	f.Add(board{floor: 7}.encode(), false)
	f.Add(slot{generation: 3, pages: 9, since: 1, pid: 4}.encode(), true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		b = append([]byte(nil), b...)
		for _, n := range []int{boardBytes, slotBytes} {
			if mend && len(b) >= n {
				binary.LittleEndian.PutUint32(b[n-4:], sum(b[:n-4]))
			}
		}
		if d, ok := decodeBoard(b); ok {
			if again, ok := decodeBoard(d.encode()); !ok || again != d {
				t.Fatalf("a board that was accepted does not come back: %+v", d)
			}
		}
		if len(b) < slotBytes {
			return
		}
		if s, ok := decodeSlot(b[:slotBytes]); ok {
			if again, ok := decodeSlot(s.encode()); !ok || again != s {
				t.Fatalf("a slot that was accepted does not come back: %+v", s)
			}
		}
	})
}
