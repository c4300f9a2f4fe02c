package pod

import (
	"bytes"
	"slices"
)

// Validate checks the invariants of a pod, by their numbers at the top of
// pod.go. The error matches dberr.ErrInvalid.
func Validate(p *Pod) error {
	if err := validateRefs(p.Refs); err != nil {
		return err
	}
	if err := validateSlots(p.Slots); err != nil {
		return err
	}
	if err := validateGenerations(p); err != nil {
		return err
	}
	return validateExports(p)
}

func validateRefs(refs []Ref) error {
	for i, ref := range refs { // 1
		if ref.Pod == 0 && ref.Slot != 0 {
			return invalid("reference %d names slot %d of pod 0", i, ref.Slot)
		}
	}
	return nil
}

func validateSlots(slots []Data) error {
	for i := range slots {
		d := &slots[i]
		switch {
		case d.Kind >= slotKinds:
			return invalid("slot %d is of unknown kind %d", i, d.Kind)
		case d.Kind == SlotFree: // 2
			if d.Type != 0 || len(d.Bytes) != 0 || d.Runs != nil {
				return invalid("free slot %d holds something", i)
			}
		case d.Runs != nil: // 5
			sum := uint64(0)
			for _, n := range d.Runs {
				sum += uint64(n)
			}
			if len(d.Runs) == 0 || sum != uint64(len(d.Bytes)) {
				return invalid("slot %d has %d bytes, its %d runs have %d", i, len(d.Bytes), len(d.Runs), sum)
			}
		}
	}
	return nil
}

func validateExports(p *Pod) error {
	if len(p.Slots) > 0 && p.Slots[0].Kind != SlotFree && (len(p.Exports) == 0 || p.Exports[0].Slot != 0) { // 3
		return invalid("root slot is not exported")
	}
	for i := range p.Exports {
		e := &p.Exports[i]
		switch {
		case i > 0 && e.Slot <= p.Exports[i-1].Slot: // 3
			return invalid("export %d of slot %d follows slot %d", i, e.Slot, p.Exports[i-1].Slot)
		case int(e.Slot) >= len(p.Slots) || p.Slots[e.Slot].Kind == SlotFree: // 3
			return invalid("export of slot %d, which is free", e.Slot)
		case e.Edges.All && e.Edges.List != nil:
			return invalid("export of slot %d reaches all and a list", e.Slot)
		case i > 0 && sameList(e.Edges.List, p.Exports[i-1].Edges.List):
			continue
		}
		for j, n := range e.Edges.List { // 4
			if int(n) >= len(p.Refs) || p.Refs[n].Pod == 0 || j > 0 && n <= e.Edges.List[j-1] {
				return invalid("export of slot %d reaches reference %d, unused or out of order", e.Slot, n)
			}
		}
	}
	return nil
}

// sameList reports whether a and b are one memory: many exports share a list,
// which is checked once.
func sameList(a, b []uint32) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// Bytes that each takes in memory on a 64-bit machine.
const (
	podBytes    = 104
	refBytes    = 16
	dataBytes   = 56
	exportBytes = 40
	genBytes    = 24
)

// Size returns the bytes of memory that p occupies. What versions of a pod
// share is counted in each.
func (p *Pod) Size() int {
	n := podBytes + len(p.Refs)*refBytes + len(p.Slots)*dataBytes + len(p.Exports)*exportBytes + len(p.Generations)*genBytes
	for i := range p.Slots {
		n += len(p.Slots[i].Bytes) + 4*len(p.Slots[i].Runs)
	}
	for i := range p.Exports {
		if i == 0 || !sameList(p.Exports[i].Edges.List, p.Exports[i-1].Edges.List) {
			n += 4 * len(p.Exports[i].Edges.List)
		}
	}
	return n
}

// Equal reports whether two pods hold the same.
func Equal(a, b *Pod) bool {
	return sameRefs(a.Refs, b.Refs) && sameExports(a.Exports, b.Exports) && slices.Equal(a.Generations, b.Generations) &&
		slices.EqualFunc(a.Slots, b.Slots, func(x, y Data) bool {
			return x.Kind == y.Kind && x.Type == y.Type && sameShape(&x, &y) &&
				slices.Equal(x.Runs, y.Runs) && bytes.Equal(x.Bytes, y.Bytes)
		})
}
