package mvcc

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// marking is step 2 of a collect: a search over reference tables and the edges of
// exports, from the roots of names. What a pod refers to and no export of it
// names counts as reached with the pod.
type marking struct {
	names   []byte // key to go on from; nil before the first
	named   bool   // all names were looked at
	settled bool   // so was everything
	stack   []pod.Ref
	slots   slotSet
	seen    Set            // pods with a mark
	wide    map[pid]uint32 // how many slots those export that export more than slot 0
}

// slotSet is a set of exported slots. Of most pods it is the first slot.
type slotSet struct {
	first  Set            // pods, of slot 0
	low    map[pid]uint64 // slots 1 to 63, as bits
	high   map[pod.Ref]struct{}
	beyond map[pid]uint32 // how many high has of a pod
}

func (s *slotSet) has(r pod.Ref) bool {
	switch {
	case r.Slot == 0:
		return s.first.Contains(uint64(r.Pod))
	case r.Slot < 64:
		return s.low[r.Pod]>>r.Slot&1 != 0
	}
	_, ok := s.high[r]
	return ok
}

// add reports whether the slot is new in the set.
func (s *slotSet) add(r pod.Ref) bool {
	if s.has(r) {
		return false
	}
	switch {
	case r.Slot == 0:
		s.first.Add(uint64(r.Pod))
	case r.Slot < 64:
		setIn(&s.low, r.Pod, s.low[r.Pod]|1<<r.Slot)
	default:
		setIn(&s.high, r, struct{}{})
		setIn(&s.beyond, r.Pod, s.beyond[r.Pod]+1)
	}
	return true
}

// markBatch is how many slots are looked at in one view.
const markBatch = 256

func (c *collection) markAll(ctx context.Context) error {
	m := &c.mark
	if c.set == nil {
		err := c.s.steady(ctx, func(v *view) (err error) {
			c.set, err = v.numbersOf(ctx, c.at)
			return err
		})
		if err != nil {
			return err
		}
	}
	for !m.settled {
		if len(m.stack) == 0 && m.named {
			if err := c.settleRoots(ctx); err != nil {
				return err
			}
			m.settled = len(m.stack) == 0
			continue
		}
		read, err := c.markSome(ctx)
		if err != nil {
			return err
		}
		c.progress(c.report.Reached, c.set.Len())
		if err := c.pace.spend(ctx, read); err != nil {
			return err
		}
	}
	return nil
}

// settleRoots reaches the first slots of pods that live slots lead to inside the
// pod: they are exported for as long as they are in use, referred to by others or not.
func (c *collection) settleRoots(ctx context.Context) error {
	m := &c.mark
	for id := range m.wide {
		root := pod.Ref{Pod: id}
		if m.slots.has(root) {
			continue
		}
		ps, err := c.at.Pods(ctx, []pod.ID{id})
		if err != nil {
			return err
		}
		p := ps[0]
		if p.Exports[0].Slot != 0 {
			continue
		}
		var live []pod.Slot
		for _, e := range p.Exports {
			if m.slots.has(pod.Ref{Pod: id, Slot: e.Slot}) {
				live = append(live, e.Slot)
			}
		}
		free, err := c.o.Trim(ctx, c.at, id, p, live)
		if err != nil {
			return err
		}
		if !slices.Contains(free, 0) {
			m.reach(root)
		}
	}
	return nil
}

// markSome looks at some slots, or some names if there are none, and returns how much
// was read.
func (c *collection) markSome(ctx context.Context) (read int64, err error) {
	v, err := c.at.view(ctx)
	if err != nil {
		return 0, err
	}
	defer v.close()
	m := &c.mark
	if len(m.stack) == 0 {
		return 0, c.markNames(v)
	}
	from := max(0, len(m.stack)-markBatch)
	batch := slices.Clone(m.stack[from:])
	m.stack = m.stack[:from]
	slices.SortFunc(batch, func(a, b pod.Ref) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Slot, b.Slot))
	})
	for i := 0; i < len(batch); {
		id := batch[i].Pod
		p, _, err := v.pod(c.at.lineage, id)
		if err != nil {
			return read, err
		}
		if p == nil {
			return read, corrupt("pod %d is referred to and not there at version %d", id, c.at.version)
		}
		read += int64(p.size)
		for ; i < len(batch) && batch[i].Pod == id; i++ {
			if err := c.markSlot(p.pod, batch[i]); err != nil {
				return read, err
			}
		}
	}
	return read, nil
}

func (c *collection) markNames(v *view) error {
	m := &c.mark
	head := []byte{kindName}
	if m.names == nil {
		m.names = head
	}
	names, next, err := v.names(c.at.lineage, head, m.names, namesBatch)
	if err != nil {
		return err
	}
	for _, name := range names {
		root, err := v.resolveName(c.at.lineage, nameKey(name))
		if err != nil {
			return fmt.Errorf("variable %q: %w", name, err)
		}
		m.reach(pod.Ref{Pod: root})
	}
	m.names, m.named = next, next == nil
	return nil
}

func (m *marking) reach(r pod.Ref) {
	if m.slots.add(r) {
		m.stack = append(m.stack, r)
	}
}

// markSlot reaches what a slot keeps alive.
func (c *collection) markSlot(p *pod.Pod, at pod.Ref) error {
	m := &c.mark
	i, ok := slices.BinarySearchFunc(p.Exports, at.Slot, func(e pod.Export, s pod.Slot) int { return cmp.Compare(e.Slot, s) })
	if !ok {
		return corrupt("slot %d of pod %d is referred to and not exported at version %d", at.Slot, at.Pod, c.at.version)
	}
	if !m.seen.Contains(uint64(at.Pod)) {
		m.seen.Add(uint64(at.Pod))
		c.report.Reached++
		if n := len(p.Exports); n > 1 || p.Exports[0].Slot != 0 {
			setIn(&m.wide, at.Pod, uint32(n))
		}
		for _, r := range uncovered(p) {
			m.reach(r)
		}
		if c.o.Trim == nil && p.Exports[0].Slot == 0 {
			m.reach(pod.Ref{Pod: at.Pod})
		}
	}
	for r := range edges(p, p.Exports[i].Edges) {
		m.reach(r)
	}
	return nil
}

// edges yields the references of an edge set.
func edges(p *pod.Pod, e pod.EdgeSet) func(func(pod.Ref) bool) {
	return func(yield func(pod.Ref) bool) {
		if e.All {
			for _, r := range p.Refs {
				if r.Pod != 0 && !yield(r) {
					return
				}
			}
			return
		}
		for _, n := range e.List {
			if !yield(p.Refs[n]) {
				return
			}
		}
	}
}

// uncovered returns the references in use that no export names.
func uncovered(p *pod.Pod) []pod.Ref {
	covered := referredTo(p, p.Exports)
	var refs []pod.Ref
	for n, r := range p.Refs {
		if r.Pod != 0 && covered != nil && !covered[n] {
			refs = append(refs, r)
		}
	}
	return refs
}

// referredTo says which reference numbers exports reach; nil means all.
func referredTo(p *pod.Pod, exports []pod.Export) []bool {
	for i := range exports {
		if exports[i].Edges.All {
			return nil
		}
	}
	reached := make([]bool, len(p.Refs))
	for i := range exports {
		for _, n := range exports[i].Edges.List {
			reached[n] = true
		}
	}
	return reached
}
