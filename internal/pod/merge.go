package pod

import (
	"github.com/poddb/poddb/internal/dberr"
)

// Merge makes the pod that version v is. base is the pod of the version before
// and needed if NeedsBase; sharedBody is the body of the record that SharedBody
// names. The result is valid; it may share memory with base, sharedBody and
// the bytes v was decoded from. Errors match dberr.ErrCorrupt.
func Merge(base *Pod, v *Version, sharedBody []byte) (*Pod, error) {
	if !v.NeedsBase() {
		base = &Pod{}
	} else if base == nil {
		return nil, dberr.Corrupt("", -1, "pod version is a %v and has no base", v.kind)
	}
	p := &Pod{}
	var wrong string
	if p.Slots, wrong = v.mergeSlots(base, sharedBody); wrong == "" {
		p.Generations, wrong = v.mergeGenerations(base, p.Slots)
	}
	if wrong == "" {
		p.Refs, wrong = v.refs.merge(base.Refs)
	}
	if wrong == "" {
		p.Exports, wrong = v.exps.merge(base.Exports)
	}
	if wrong != "" {
		return nil, dberr.Corrupt("", -1, "pod version (%v): %s", v.kind, wrong)
	}
	if err := Validate(p); err != nil {
		return nil, dberr.Corrupt("", -1, "pod version (%v): %v", v.kind, err)
	}
	return p, nil
}

func (v *Version) mergeSlots(base *Pod, sharedBody []byte) ([]Data, string) {
	switch v.kind {
	case bodyPatch:
		return v.slots.merge(base.Slots)
	case bodyDelta:
		return v.mergeDelta(base)
	case bodyShared:
		if uint64(len(sharedBody)) != v.dir.bytes {
			return nil, "shared body is not as long as the slots together"
		}
		return v.dir.fill(sharedBody), ""
	}
	return v.dir.fill(v.body), ""
}

// newCount returns the number of slots after the changes; all that are new are
// named by one.
func (p *slotsPart) newCount(base int) (int, string) {
	count := base
	if p.counted {
		count = p.count
	}
	known := min(base, count)
	for i := range p.changes {
		slot := p.changes[i].slot
		if slot > known || slot >= count {
			return 0, "change of a slot that is not there"
		}
		known = max(known, slot+1)
	}
	if known < count {
		return 0, "pod grows by slots that are not named"
	}
	return count, ""
}

// merge makes the slots that follow base.
func (p *slotsPart) merge(base []Data) ([]Data, string) {
	count, wrong := p.newCount(len(base))
	if wrong != "" {
		return nil, wrong
	}
	slots := make([]Data, count)
	copy(slots, base)
	for i := range p.changes {
		c := &p.changes[i]
		slot := &slots[c.slot]
		switch c.op {
		case opFree:
			*slot = Data{}
		case opWhole:
			*slot = c.data
		case opBytes:
			if slot.Kind == SlotFree || slot.Runs != nil {
				return nil, "new bytes for a slot that is free or in runs"
			}
			slot.Bytes = c.data.Bytes
		case opCut:
			if slot.Kind == SlotFree || slot.Runs != nil {
				return nil, "cut of a slot that is free or in runs"
			}
			if !c.kept.fits(slot.Bytes) {
				return nil, "more is kept of a slot than it has"
			}
			slot.Bytes = c.kept.appendTo(make([]byte, 0, int(c.kept.head+c.kept.tail)+len(c.data.Bytes)), slot.Bytes, c.data.Bytes)
		case opRuns, opCuts:
			if slot.Runs == nil {
				return nil, "new runs for a slot that has none"
			}
			if *slot, wrong = mergeRuns(*slot, c.runs, c.list); wrong != "" {
				return nil, wrong
			}
		}
	}
	return slots, ""
}

// mergeRuns makes the slot with count runs that has those of list, ascending,
// and else those of d.
func mergeRuns(d Data, count int, list []runChange) (Data, string) {
	known := min(len(d.Runs), count)
	size, from, at := 0, 0, 0
	for _, n := range d.Runs[:known] {
		size += int(n)
	}
	for _, c := range list {
		if c.run > known || c.run >= count {
			return d, "change of a run that is not there"
		}
		var old []byte
		if c.run < len(d.Runs) {
			for ; from < c.run; from++ {
				at += int(d.Runs[from])
			}
			old = d.Bytes[at : at+int(d.Runs[from])]
			size -= len(old)
		}
		if !c.kept.fits(old) {
			return d, "more is kept of a run than it has"
		}
		size += int(c.kept.head+c.kept.tail) + len(c.bytes)
		known = max(known, c.run+1)
	}
	if known < count {
		return d, "slot grows by runs that are not named"
	}
	next := Data{Kind: d.Kind, Type: d.Type, Bytes: make([]byte, 0, size), Runs: make([]uint32, count)}
	at = 0
	for i := range next.Runs {
		var run []byte
		if i < len(d.Runs) {
			run = d.Bytes[at : at+int(d.Runs[i])]
			at += len(run)
		}
		begin := len(next.Bytes)
		if len(list) > 0 && list[0].run == i {
			next.Bytes = list[0].kept.appendTo(next.Bytes, run, list[0].bytes)
			list = list[1:]
		} else {
			next.Bytes = append(next.Bytes, run...)
		}
		run = next.Bytes[begin:]
		if uint64(len(run)) > 1<<32-1 {
			return d, "run longer than 32 bits"
		}
		next.Runs[i] = uint32(len(run))
	}
	return next, ""
}
