package pod

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
)

// A directory that was written slot after slot, by Add and AddTwo alike, reads back
// as those slots, and AddTwo writes what Add does.
func TestDirectoryWriterReadsBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	lengths := []int{0, 0, 1, 2, 3, 31, 32, 33, 63, 64, 127, 128, 4094, 4095, 4096, 4097}
	var two, one DirectoryWriter
	for round := range 400 {
		two.Reset()
		one.Reset()
		var slots []Data
		var body []byte
		n := 1 + r.IntN(40)
		for k := range n {
			d := Data{Kind: []Kind{SlotFree, SlotObject, SlotArray, SlotMap}[r.IntN(4)], Type: []TypeID{1, 0x7f, 0x80, 1 << 20}[r.IntN(4)]}
			if round%2 == 0 { // long groups
				d.Type = 1
				if len(slots) > 0 && r.IntN(4) > 0 {
					d.Kind = slots[len(slots)-1].Kind
				}
			}
			if (k == 0 || k == n-1) && d.Kind == SlotFree {
				d.Kind = SlotArray
			}
			n := lengths[r.IntN(len(lengths))]
			switch {
			case d.Kind == SlotFree:
				d.Type, n = 0, 0
				two.Add(SlotFree, 0, 0, nil)
				one.Add(SlotFree, 0, 0, nil)
			case r.IntN(3) > 0:
				first, second := uint32(n), uint32(lengths[r.IntN(len(lengths))])
				d.Runs = []uint32{first, second}
				n += int(second)
				two.AddTwo(d.Kind, d.Type, first, second)
				one.Add(d.Kind, d.Type, n, d.Runs)
			default:
				if r.IntN(4) == 0 {
					d.Runs = []uint32{uint32(n)}
				} else if len(slots) > 0 && r.IntN(2) == 0 && slots[len(slots)-1].Runs == nil {
					n = len(slots[len(slots)-1].Bytes)
				}
				two.Add(d.Kind, d.Type, n, d.Runs)
				one.Add(d.Kind, d.Type, n, d.Runs)
			}
			if d.Kind != SlotFree {
				d.Bytes = make([]byte, n)
				for i := range d.Bytes {
					d.Bytes[i] = byte(len(slots))
				}
			}
			body = append(body, d.Bytes...)
			slots = append(slots, d)
		}
		exports := []Export{{}}
		form := append(AppendWholeHeadOf(nil, nil, exports, &two), body...)
		if plain := append(AppendWholeHeadOf(nil, nil, exports, &one), body...); !bytes.Equal(form, plain) {
			t.Fatalf("round %d: AddTwo writes %x, Add %x", round, form[:len(form)-len(body)], plain[:len(plain)-len(body)])
		}
		if whole := AppendWhole(nil, &Pod{Exports: exports, Slots: slots}); !bytes.Equal(form, whole) {
			t.Fatalf("round %d: AppendWhole writes something else", round)
		}
		var p Pod
		if err := p.ReadWhole(form); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(p.Slots) != len(slots) {
			t.Fatalf("round %d: %d slots of %d", round, len(p.Slots), len(slots))
		}
		for i := range slots {
			a, b := &slots[i], &p.Slots[i]
			if a.Kind != b.Kind || a.Type != b.Type || !bytes.Equal(a.Bytes, b.Bytes) || !slices.Equal(a.Runs, b.Runs) {
				t.Fatalf("round %d, slot %d: %d/%d %d bytes in %d, read as %d/%d %d bytes in %d",
					round, i, a.Kind, a.Type, len(a.Bytes), a.Runs, b.Kind, b.Type, len(b.Bytes), b.Runs)
			}
		}
	}
}
