package podder

import (
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// run encodes every pod and puts those that changed.
func (e *encoder) run() error {
	st := e.st
	e.knowTypes()
	st.carryForwards(e.old)
	st.away = e.old.away
	if err := e.cutContainers(); err != nil {
		return err
	}
	e.markExports()
	moves := map[int32][]*move{}
	for i := range e.moves {
		m := &e.moves[i]
		moves[m.pod] = append(moves[m.pod], m)
	}
	for i := range st.pods {
		if i&0xff == 0 {
			if err := e.ctx.Err(); err != nil {
				return err
			}
		}
		if done, err := e.stream.put(int32(i)); done || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := e.pod(int32(i), moves[int32(i)]); err != nil {
			return err
		}
	}
	e.saved.Pods += len(st.pods)
	return nil
}

// knowTypes has the state know the ids of types that the one before knew.
func (e *encoder) knowTypes() {
	if e.st.types != nil {
		return
	}
	if e.st.types = maps.Clone(e.old.types); e.st.types == nil {
		e.st.types = map[typeKey]pod.TypeID{}
	}
}

// onlyCrossings reports whether each region is referred to by its parent and, but
// for that, by crossings alone: then not all edges need be looked at to find what
// other pods refer to.
func (w *walk) onlyCrossings() bool { return w.first && !w.written.replaced }

// markExports finds the regions that other pods refer to, and counts all.
func (e *encoder) markExports() {
	st := e.st
	if e.onlyCrossings() { // placeNew has marked those whose parent is in another pod
		e.saved.Objects += int(st.regions.len())
		for k := range e.crossings.len() {
			x := e.crossings.at(k)
			if to := st.regions.at(x[1]); to.pod != st.regions.at(x[0]).pod {
				e.export(to)
			}
		}
		for i := range st.chunked {
			e.exportAll(st.regions.at(i))
		}
		return
	}
	for i := range st.regions.len() {
		r := st.regions.at(i)
		if r.kind == pod.SlotFree {
			continue
		}
		e.saved.Objects++
		if r.edge == r.edgeEnd {
			continue
		}
		if st.chunked[i] != nil {
			e.exportAll(r)
			continue
		}
		for k := r.edge; k < r.edgeEnd; k++ {
			if to := st.regions.at(st.resolve(*e.edges.at(int32(k)))); to.pod != r.pod {
				to.flags |= flagExported
			}
		}
	}
	for i := range e.moves {
		m := &e.moves[i]
		if to := st.regions.at(m.to); to.pod != m.pod {
			to.flags |= flagExported
		}
	}
}

// exportAll marks all that a container in chunks refers to: chunks are other pods.
func (e *encoder) exportAll(r *region) {
	for k := r.edge; k < r.edgeEnd; k++ {
		e.export(e.st.regions.at(e.st.resolve(*e.edges.at(int32(k)))))
	}
}

// export marks a region that another pod refers to.
func (e *encoder) export(r *region) {
	if r.flags&flagExported == 0 {
		r.flags |= flagExported
		e.stream.unseal(r.pod)
	}
}

// pod encodes pod i and puts it if it changed.
func (e *encoder) pod(i int32, moves []*move) error {
	ps := &e.st.pods[i]
	e.begin(i, ps)
	e.slots, e.marked = e.slots[:0], e.marked[:0]
	for s := range ps.slots {
		e.fetchTargets(ps, s+targetsAhead)
		slot := uint32(s)
		if r := ps.slots[s].region; r >= 0 {
			e.current = r
			e.slot(e.st.regions.at(r), ps.slots[s])
			if e.err != nil {
				return e.failure()
			}
			e.slots = append(e.slots, slot)
			if s == 0 || e.st.regions.at(r).flags&flagExported != 0 {
				e.marked = append(e.marked, slot)
			}
			continue
		}
		for _, m := range moves {
			if m.slot == slot {
				e.forward(m, ps.slots[s], 0)
				e.slots = append(e.slots, slot)
			}
		}
	}
	return e.finish(i, ps)
}

// begin makes room for pod i, with the reference numbers it had.
func (e *encoder) begin(i int32, ps *podState) {
	e.cur, e.free = i, 0
	e.edgesKnown = uint32(e.edges.len())
	if len(e.st.forwards) > 0 {
		e.edgesKnown = 0
	}
	e.longest = max(e.longest, len(e.out), len(e.writes))
	e.buf, e.runs, e.out, e.links = e.buf[:0], e.runs[:0], e.out[:0], e.links[:0]
	e.refs = append(e.refs[:0], ps.refs...)
	e.used = append(e.used[:0], make([]bool, len(ps.refs))...)
	e.numbers.clear()
	e.unnumbered = len(ps.refs) > 0
}

// giveNumbers lists the reference numbers that the pod had. Many saves change what refers
// to nothing outside of it.
func (e *encoder) giveNumbers() {
	e.unnumbered = false
	for n, r := range e.refs {
		if r.Pod != 0 {
			e.numbers.put(r, uint32(n))
		}
	}
}

// finish compares the encoded pod with its state before, puts it if it differs,
// and notes its new state.
func (e *encoder) finish(i int32, ps *podState) error {
	frozen := e.frozen[i]
	changed := ps.isNew || ps.gone || len(frozen) > 0
	for k := range e.out {
		changed = changed || e.out[k].changed
	}
	for _, s := range e.marked {
		changed = changed || !exported(ps.exports, pod.Slot(s))
	}
	if !changed {
		e.settleUnchanged(ps)
		return nil
	}
	if !e.keep[i] {
		e.useAway(ps)
		e.dropUnused()
	}
	exports := e.exports(ps, e.slots, e.marked)
	c := &e.change
	*c = pod.Change{ID: ps.id, New: ps.isNew || ps.gone, Whole: ps.isNew || ps.gone, Refs: e.refs, Exports: exports, Drop: c.Drop[:0]}
	e.collectWrites()
	e.freezeIn(ps, frozen)
	c.Slots = e.writes
	if !c.New {
		e.drops(ps, c)
	}
	e.noteReshaped(c)
	if err := e.sink.Put(e.ctx, c); err != nil {
		return err
	}
	e.saved.PodsChanged++
	for k := range e.out {
		s := &ps.slots[e.slots[k]]
		s.hash, s.kind = e.out[k].hash, e.out[k].kind
	}
	for len(ps.slots) > 0 && ps.slots[len(ps.slots)-1].kind == pod.SlotFree {
		ps.slots = ps.slots[:len(ps.slots)-1]
	}
	ps.refs = slices.Clone(e.refs)
	ps.exports = exports
	ps.isNew, ps.gone = false, false
	return nil
}

// dropUnused frees the reference numbers that no slot uses.
func (e *encoder) dropUnused() {
	for n := range e.refs {
		if !e.used[n] {
			e.refs[n] = pod.Ref{}
		}
	}
	for len(e.refs) > 0 && e.refs[len(e.refs)-1].Pod == 0 {
		e.refs = e.refs[:len(e.refs)-1]
	}
}

// collectWrites lists the encoded slots that changed.
func (e *encoder) collectWrites() {
	e.writes = e.writes[:0]
	for k := range e.out {
		if o := &e.out[k]; o.changed {
			n := len(e.writes)
			e.writes = append(roomy(e.writes), pod.SlotWrite{})
			w := &e.writes[n]
			w.Slot = pod.Slot(e.slots[k])
			e.data(&w.Data, o, e.slots[k])
			e.saved.SlotsChanged++
			e.saved.Bytes += int64(len(w.Data.Bytes))
		}
	}
}

// data fills in an encoded slot; what lies in memory as it is stored and was not
// encoded is copied now.
func (e *encoder) data(d *pod.Data, o *slotOut, slot uint32) {
	// Up to the end of the buffer: who copies slots sees that they lie in a row.
	d.Kind, d.Type, d.Bytes = o.kind, o.typ, e.buf[o.from:o.to]
	switch {
	case o.kind == pod.SlotString:
		d.Bytes = o.flat
	case o.kind == pod.SlotArray && o.flat != nil && !o.changed:
		d.Bytes = append(slices.Clone(d.Bytes), o.flat...)
		e.arrayRuns(e.st.regions.at(e.st.pods[e.cur].slots[slot].region), len(o.flat), o)
	}
	if runs := e.runs[o.runs:o.runEnd]; len(runs) > 1 {
		d.Runs = runs
	}
}

// drops lists the slots that were in use and are free now.
func (e *encoder) drops(ps *podState, c *pod.Change) {
	was := &e.old.pods[e.old.byID[ps.id]]
	for s := range was.slots {
		if was.slots[s].kind != pod.SlotFree && ps.slots[s].region < 0 && ps.slots[s].kind == pod.SlotFree {
			c.Drop = append(c.Drop, pod.Slot(s))
		}
	}
}

// settleUnchanged keeps slots that nothing refers to until the pod is written
// for another reason: a load followed by a save writes nothing.
func (e *encoder) settleUnchanged(ps *podState) {
	was := &e.old.pods[e.old.byID[ps.id]]
	for s := range ps.slots {
		if ps.slots[s].region < 0 {
			ps.slots[s] = was.slots[s]
			ps.slots[s].leave()
		}
	}
}

func exported(exports []pod.Export, s pod.Slot) bool {
	_, ok := slices.BinarySearchFunc(exports, s, func(x pod.Export, s pod.Slot) int { return int(x.Slot) - int(s) })
	return ok
}
