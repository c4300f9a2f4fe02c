package podder

import (
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// forward is a forwarder that a load went through, with where it leads in the
// region that holds its address. The address alone does not say what a reference
// means: a struct begins where its first field does, but the ways differ.
type forward struct {
	ref pod.Ref
	in  interior
}

// adoptForward notes a forwarder, if it leads to where lr says in this state.
func (st *state) adoptForward(merged map[pod.ID]*pod.Pod, lr *liveRegion) {
	ref := pod.Ref{Pod: lr.pod, Slot: lr.slot}
	target, in, ok := forwardWay(merged, ref, 0)
	if !ok {
		return
	}
	i := st.memory.find(st, lr.addr)
	if i < 0 {
		return
	}
	r := st.regions.at(i)
	if r.pod < 0 || st.pods[r.pod].id != target.Pod || pod.Slot(r.slot) != target.Slot {
		return
	}
	if st.forwards == nil {
		st.forwards = map[unsafe.Pointer][]forward{}
	}
	for _, f := range st.forwards[lr.addr] {
		if f.ref == ref {
			return
		}
	}
	st.forwards[lr.addr] = append(st.forwards[lr.addr], forward{ref: ref, in: in})
}

// forwardWay reads where the forwarder at ref leads, through others.
func forwardWay(merged map[pod.ID]*pod.Pod, ref pod.Ref, hops int) (target pod.Ref, in interior, ok bool) {
	const most = 100 // longer chains are rewritten instead of kept
	p := merged[ref.Pod]
	if p == nil || int(ref.Slot) >= len(p.Slots) || p.Slots[ref.Slot].Kind != pod.SlotForward || hops == most {
		return target, in, false
	}
	c := cursor{buf: p.Slots[ref.Slot].Bytes}
	code := c.uvarint()
	if code < codeBase {
		return target, in, false
	}
	n := (code - codeBase) >> codeShift
	if (code-codeBase)&codeInterior != 0 {
		in.elem = c.uvarint()
		for range min(c.uvarint(), uint64(c.left())) {
			in.steps = append(in.steps, c.uvarint())
		}
	}
	if (code-codeBase)&codeExternal == 0 {
		target = pod.Ref{Pod: ref.Pod, Slot: pod.Slot(n)}
	} else if n < uint64(len(p.Refs)) {
		target = p.Refs[n]
	}
	q := merged[target.Pod]
	if q == nil || int(target.Slot) >= len(q.Slots) {
		return target, in, false
	}
	if q.Slots[target.Slot].Kind != pod.SlotForward {
		return target, in, true
	}
	target, way, ok := forwardWay(merged, target, hops+1)
	if in.elem > 0 {
		if n := len(way.steps); n > 0 {
			way.steps[n-1] += in.elem
		} else {
			way.elem += in.elem
		}
	}
	way.steps = append(way.steps, in.steps...)
	return target, way, ok
}

// carryForwards takes over the forwarders whose regions are what they were.
func (st *state) carryForwards(old *state) {
	for addr, list := range old.forwards {
		i, o := st.memory.find(st, addr), old.memory.find(old, addr)
		if i < 0 || o < 0 {
			continue
		}
		r, ro := st.regions.at(i), old.regions.at(o)
		if r.addr != ro.addr || r.plan != ro.plan || r.kind != ro.kind || r.flags&flagSticky == 0 {
			continue
		}
		if st.forwards == nil {
			st.forwards = map[unsafe.Pointer][]forward{}
		}
		st.forwards[addr] = list
	}
}

// forwarder writes the reference to q, which leads the way in, as one through a
// forwarder, if the pod has been referring to it like that: such references are
// rewritten only when a pod gets rid of them otherwise, so that a load followed
// by a save writes nothing.
func (e *encoder) forwarder(q unsafe.Pointer, in interior) bool {
	if e.unnumbered {
		e.giveNumbers()
	}
	for _, f := range e.st.forwards[q] {
		if f.in.elem != in.elem || !slices.Equal(f.in.steps, in.steps) {
			continue
		}
		n, ok := e.numbers.get(f.ref)
		if !ok && slices.Contains(e.via, f.ref) {
			n, ok = e.refNumber(f.ref), true
		}
		if !ok {
			continue
		}
		e.used[n] = true
		e.external(n, 0)
		return true
	}
	return false
}
