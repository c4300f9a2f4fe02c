package podder

import "github.com/poddb/poddb/internal/pod"

// keepStored has arrays keep what the state before stored of their memory:
// objects and arrays that lie in them now, and to which others may refer. What
// an array that keeps its place stored is kept anyway (stick), so only arrays
// that are new or have grown are looked at.
func (w *walk) keepStored() error {
	if w.old.memory.count == 0 {
		return nil
	}
	w.needs.later = true
	w.eng.walks++
	for arrays, others := 0, 0; arrays < len(w.arrays) || others < len(w.needs.others); {
		for ; arrays < len(w.arrays); arrays++ {
			w.keepIn(w.st.resolve(w.arrays[arrays]))
		}
		for ; others < len(w.needs.others); others++ {
			w.keepIn(w.st.resolve(w.needs.others[others]))
		}
		if err := w.drain(); err != nil {
			return err
		}
	}
	return nil
}

// keepIn extends array i to what was stored of it as other regions.
func (w *walk) keepIn(i int32) {
	r := w.st.regions.at(i)
	if r.kind != pod.SlotArray {
		return
	}
	lo := uintptr(r.addr)
	for _, o := range w.old.memory.startsIn(w.old, lo, lo+w.st.size(r), nil) {
		ro := w.old.regions.at(o)
		c := candidate{addr: ro.addr, plan: ro.plan, kind: ro.kind, count: 1, reach: 1}
		switch ro.kind {
		case pod.SlotArray:
			c.count, c.reach = w.old.spans.at(ro.extra).count, w.old.spans.at(ro.extra).reach
		case pod.SlotObject:
		default:
			continue
		}
		i = w.st.resolve(i)
		r = w.st.regions.at(i)
		if r.addr == ro.addr && r.plan == ro.plan && r.kind == ro.kind && r.flags&flagSticky != 0 {
			continue
		}
		if w.within(i, c) {
			continue
		}
		if _, ok := w.grownTo(r, w.st, c); ok {
			w.current = i
			w.settle(nil, c, i)
		}
	}
}
