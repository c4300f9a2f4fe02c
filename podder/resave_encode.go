package podder

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// run encodes the slots that are new or may differ, and puts the pods that do.
func (x *resaver) run() error {
	if err := x.containers(); err != nil {
		return err
	}
	x.slotItems()
	for n, items := 0, x.items; len(items) > 0; n++ {
		if n&0xff == 0 {
			if err := x.ctx.Err(); err != nil {
				return err
			}
		}
		end := 1
		for end < len(items) && items[end].pod == items[0].pod {
			end++
		}
		if err := x.podOf(items[0].pod, slices.Compact(items[:end])); err != nil {
			return err
		}
		items = items[end:]
	}
	return nil
}

// podOf encodes items of pod i and puts it if it differs. If none of them refers to
// something else than before, neither do the pod's exports or its table of
// references, and its other slots need no look.
func (x *resaver) podOf(i int32, items []slotItem) error {
	ps := &x.st.pods[i]
	links := ps.isNew || slices.ContainsFunc(items, func(it slotItem) bool { return it.links })
	if !links {
		x.begin(i, ps)
		for _, it := range items {
			if it.early > 0 {
				x.earlyItem(ps, it, false)
				continue
			}
			if err := x.item(ps, int(it.slot)); err != nil {
				return err
			}
		}
		if len(x.refs) == len(ps.refs) {
			return x.put(i, ps, false)
		}
	}
	x.begin(i, ps)
	for s := range ps.slots {
		for len(items) > 0 && int(items[0].slot) < s {
			items = items[1:]
		}
		if ps.slots[s].region == slotAway {
			x.away(i, ps, s)
			continue
		}
		if ps.slots[s].region < 0 || x.unseen(ps.slots[s].region) {
			continue
		}
		if x.st.chunked[ps.slots[s].region] != nil || len(items) > 0 && int(items[0].slot) == s {
			if len(items) > 0 && int(items[0].slot) == s && items[0].early > 0 {
				x.earlyItem(ps, items[0], true)
			} else if err := x.item(ps, s); err != nil {
				return err
			}
			continue
		}
		x.asItWas(ps, s)
	}
	return x.put(i, ps, true)
}

// unseen reports whether region i was loaded and let go of before a save met it: what
// it refers to is known to its slot alone.
func (x *resaver) unseen(i int32) bool {
	return i < x.added && x.st.regions.at(i).flags&flagScanned == 0
}

// begin makes room for pod i.
func (x *resaver) begin(i int32, ps *podState) {
	x.encoder.begin(i, ps)
	x.slots, x.marked = x.slots[:0], x.marked[:0]
}

// item encodes slot s.
func (x *resaver) item(ps *podState, s int) error {
	x.current = ps.slots[s].region
	x.slot(x.st.regions.at(x.current), ps.slots[s])
	x.noteSlot(ps, s)
	return x.failure()
}

// asItWas has slot s as it was, with what it refers to.
func (x *resaver) asItWas(ps *podState, s int) {
	was := ps.slots[s]
	r := x.st.regions.at(was.region)
	x.out = append(x.out, slotOut{from: len(x.buf), to: len(x.buf), links: len(x.links), kind: was.kind, hash: was.hash})
	x.linksOf(r)
	x.noteSlot(ps, s)
}

// linksOf lists what region r refers to.
func (x *resaver) linksOf(r *region) {
	for k := r.edge; k < r.edgeEnd; k++ {
		to := x.st.regions.at(x.st.resolve(*x.edges.at(int32(k))))
		if to.pod == x.cur {
			x.links = append(x.links, to.slot<<1)
		} else {
			x.links = append(x.links, x.number(to)<<1|1)
		}
	}
}

func (x *resaver) noteSlot(ps *podState, s int) {
	x.slots = append(x.slots, uint32(s))
	if s == 0 || x.st.regions.at(ps.slots[s].region).flags&flagExported != 0 {
		x.marked = append(x.marked, uint32(s))
	}
}

// put puts pod i if it differs, and notes its new state. links says that all slots
// were looked at for what they refer to.
func (x *resaver) put(i int32, ps *podState, links bool) error {
	frozen := x.frozen[i]
	changed := ps.isNew || len(frozen) > 0
	for k := range x.out {
		changed = changed || x.out[k].changed
	}
	exports := ps.exports
	if links {
		for _, s := range x.marked {
			changed = changed || !exported(ps.exports, pod.Slot(s))
		}
	}
	if !changed {
		return nil
	}
	x.undo.pod(i)
	if links {
		if !slices.ContainsFunc(ps.slots, func(s slotState) bool {
			return s.kind != pod.SlotFree && (s.unknown() || s.region >= 0 && x.unseen(s.region))
		}) {
			x.useAway(ps)
			x.dropUnused()
		}
		exports = x.exports(ps, x.slots, x.marked)
	}
	c := &x.change
	*c = pod.Change{ID: ps.id, New: ps.isNew, Whole: ps.isNew, Refs: x.refs, Exports: exports, Drop: c.Drop[:0]}
	x.collectWrites()
	c.Slots = x.writes
	if err := x.sink.Put(x.ctx, c); err != nil {
		return err
	}
	x.saved.PodsChanged++
	for k := range x.out {
		if o := &x.out[k]; o.changed {
			x.undo.slot(i, int(x.slots[k]))
			ps.slots[x.slots[k]].hash, ps.slots[x.slots[k]].kind = o.hash, o.kind
		}
	}
	if links {
		ps.refs = slices.Clone(x.refs)
	}
	ps.exports, ps.isNew = exports, false
	return nil
}
