package podder

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/pod"
)

// DiffAt is Diff of the value at one path, such as x.Items[3], and of what it leads to; in
// names are ignored. Without a value there in both versions nothing differs. Touched
// are the pods that it read of B, on the way to the value and in all that the value leads to: as
// long as none of them changes, nor does the value.
func DiffAt(ctx context.Context, in DiffInput, path string, yield func(Change) bool) (touched map[pod.ID]bool, err error) {
	d := newDiffer(ctx, in, yield)
	wa, hadA, err := d.a.at(path)
	if err != nil {
		return nil, err
	}
	wb, hasB, err := d.b.at(path)
	if err != nil {
		return nil, err
	}
	p := &diffPath{step: path}
	switch {
	case hadA && hasB:
		if err = d.waysFrom(wb); err == nil {
			err = d.values(wa, wb, p)
		}
	case hasB:
		err = d.added(wb, p)
	case hadA:
		err = d.removed(wa, p)
	}
	if err == nil {
		err = d.work()
	}
	if err != nil || !hasB {
		return nil, err
	}
	if err := d.b.closure(wb); err != nil {
		return nil, err
	}
	touched = map[pod.ID]bool{}
	for id := range d.b.pods {
		touched[id] = true
	}
	return touched, nil
}

// at finds the value at a path; false if there is none.
func (v *viewer) at(path string) (view, bool, error) {
	name, sels, err := splitPath(path, func(name string) (bool, error) { return hasName(v.ctx, v.src, name) })
	var w view
	if err == nil {
		w, err = v.root(name)
	}
	for _, s := range sels {
		if err != nil {
			break
		}
		w, err = v.choose(w, s)
	}
	if isNotFound(err) {
		return w, false, nil
	}
	return w, err == nil, err
}

// waysFrom finds ways from one value on.
func (d *differ) waysFrom(w view) error {
	s := d.newWays()
	if err := s.lookAll(); err != nil {
		return err
	}
	if w.n == nil {
		return nil
	}
	// What the value leads to, through slots of its own pod too. Those that changed
	// and lie there need no way.
	seen := map[target]bool{}
	queue := []target{}
	note := func(t target) error {
		if !seen[t] {
			seen[t] = true
			if t.pod == w.at.pod {
				queue = append(queue, t)
			}
			s.reach(nil, t)
		}
		return nil
	}
	_, err := d.b.refs(w, nil, func(at view, r reference, _ uint64, _ *diffPath) error {
		if r.null || r.zeroSize {
			return nil
		}
		return note(r.to)
	})
	for ; err == nil && len(queue) > 0; queue = queue[1:] {
		err = d.b.slotRefs(queue[0], w.in, note)
	}
	if err != nil {
		return err
	}
	return s.search()
}

// closure reads every pod that a value leads to.
func (v *viewer) closure(w view) error {
	if w.n == nil {
		return nil
	}
	var queue []target
	seen := map[target]bool{}
	note := func(t target) error {
		if !seen[t] {
			seen[t] = true
			queue = append(queue, t)
		}
		return nil
	}
	_, err := v.refs(w, nil, func(_ view, r reference, _ uint64, _ *diffPath) error {
		if r.null || r.zeroSize {
			return nil
		}
		return note(r.to)
	})
	for ; err == nil && len(queue) > 0; queue = queue[1:] {
		if err = v.ctx.Err(); err != nil {
			break
		}
		t := queue[0]
		var p *pod.Pod
		if p, err = v.fetch(t.pod); err != nil {
			break
		}
		if int(t.slot) >= len(p.Slots) {
			return v.corrupt(t, "reference to a slot that is not there")
		}
		if p.Slots[t.slot].Kind != pod.SlotChunks {
			err = v.slotRefs(t, p, note)
			continue
		}
		for _, r := range p.Refs { // of a list, those of the whole pod: more than it has, at most
			if r.Pod != 0 {
				err = note(target{r.Pod, r.Slot})
			}
		}
	}
	if err != nil {
		return fmt.Errorf("what the value leads to: %w", err)
	}
	return nil
}
