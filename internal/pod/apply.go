package pod

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Apply makes the pod that c turns base into; base is nil exactly if c.New. The
// result is valid and keeps no memory of c: unchanged slots, and a reference
// table or exports that did not change, share base's memory; slots that changed
// are copies of their own, so an old version is not held by few bytes of it.
// Errors match dberr.ErrInvalid.
func Apply(base *Pod, c *Change) (*Pod, error) { return checked(base, c, false) }

// Borrow is Apply for a receiver that is done with the result before it lets
// the sender go on: slots written whole share the memory of c.
func Borrow(base *Pod, c *Change) (*Pod, error) { return checked(base, c, true) }

func checked(base *Pod, c *Change, borrow bool) (*Pod, error) {
	p, err := apply(base, c, borrow)
	if err == nil {
		err = Validate(p)
	}
	if err != nil {
		return nil, fmt.Errorf("change of pod %d: %w", c.ID, err)
	}
	return p, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", dberr.ErrInvalid, fmt.Sprintf(format, args...))
}

func apply(base *Pod, c *Change, borrow bool) (*Pod, error) {
	switch {
	case c.New != (base == nil):
		return nil, invalid("New is %v, base is there: %v", c.New, base != nil)
	case c.Whole && len(c.Drop) > 0:
		return nil, invalid("Whole, and %d slots dropped", len(c.Drop))
	}
	if base == nil {
		base = &Pod{}
	}
	p := &Pod{Refs: base.Refs, Exports: base.Exports}
	if !sameRefs(base.Refs, c.Refs) {
		p.Refs = slices.Clone(c.Refs)
	}
	if !sameExports(base.Exports, c.Exports) {
		p.Exports = cloneExports(base.Exports, c.Exports)
	}
	var err error
	if p.Slots, err = applySlots(base.Slots, c, borrow); err == nil {
		p.Generations = generations(base, p.Slots, c)
	}
	return p, err
}

// cloneExports copies exports, sharing the edge lists that base has too and
// those that follow each other.
func cloneExports(base, exports []Export) []Export {
	clone := make([]Export, len(exports))
	i := 0
	for n, e := range exports {
		for i < len(base) && base[i].Slot < e.Slot {
			i++
		}
		switch {
		case i < len(base) && base[i].Slot == e.Slot && sameEdges(base[i].Edges, e.Edges):
			clone[n] = base[i]
		case n > 0 && sameEdges(clone[n-1].Edges, e.Edges):
			clone[n] = Export{e.Slot, clone[n-1].Edges}
		default:
			clone[n] = Export{e.Slot, EdgeSet{e.Edges.All, slices.Clone(e.Edges.List)}}
		}
	}
	return clone
}

func applySlots(base []Data, c *Change, borrow bool) ([]Data, error) {
	old := base
	if c.Whole {
		old = nil
	}
	count := len(old)
	for i := range c.Slots {
		if c.Slots[i].Slot >= maxSlots {
			return nil, invalid("slot %d", c.Slots[i].Slot)
		}
		count = max(count, int(c.Slots[i].Slot)+1)
	}
	slots := make([]Data, count)
	copy(slots, old)
	for _, s := range c.Drop {
		if int(s) >= count || slots[s].Kind == SlotFree {
			return nil, invalid("dropped slot %d is not in use", s)
		}
		slots[s] = Data{}
	}
	for i := range c.Slots {
		w := &c.Slots[i]
		var before Data
		if int(w.Slot) < len(base) {
			before = base[w.Slot]
		}
		var err error
		if slots[w.Slot], err = w.apply(before, borrow); err != nil {
			return nil, err
		}
	}
	for count > 0 && slots[count-1].Kind == SlotFree {
		count--
	}
	return slots[:count:count], nil
}

// apply makes the slot that w turns before into.
func (w *SlotWrite) apply(before Data, borrow bool) (Data, error) {
	if w.Runs == nil {
		if d := &w.Data; d.Kind == SlotFree && (d.Type != 0 || len(d.Bytes) > 0 || d.Runs != nil) {
			return Data{}, invalid("free slot %d holds something", w.Slot)
		}
		if borrow {
			return w.Data, nil
		}
		return Data{w.Data.Kind, w.Data.Type, bytes.Clone(w.Data.Bytes), slices.Clone(w.Data.Runs)}, nil
	}
	list := make([]runChange, len(w.Runs))
	for i, rw := range w.Runs {
		if rw.Run < 0 || rw.Run >= w.NumRuns || i > 0 && rw.Run <= w.Runs[i-1].Run {
			return Data{}, invalid("slot %d: run %d of %d", w.Slot, rw.Run, w.NumRuns)
		}
		list[i] = runChange{run: rw.Run, bytes: rw.Bytes}
	}
	if before.Runs == nil {
		return Data{}, invalid("slot %d was not in runs", w.Slot)
	}
	before.Kind, before.Type = w.Data.Kind, w.Data.Type
	d, wrong := mergeRuns(before, w.NumRuns, list)
	if wrong != "" {
		return Data{}, invalid("slot %d: %s", w.Slot, wrong)
	}
	return d, nil
}
