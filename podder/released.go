package podder

import (
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// bulkFrom is how many pods a load has fetched when it is one that reads much.
const bulkFrom = 64

// recycle has pods released if the source can use their memory again, at once or
// when it turns out that there are many.
func (l *loader) recycle(src pod.Source) {
	l.recycler, _ = src.(pod.Recycler)
	l.bulk = l.recycler == nil
	if l.recycler != nil && l.first != nil {
		l.first.begin()
	}
}

// goBulk asks the source for another way to read the pods to come, if it has one.
func (l *loader) goBulk() {
	l.bulk = false
	if b, ok := l.src.(pod.BulkSource); ok {
		l.recycler = b.Bulk()
		l.src = l.recycler
		if l.first != nil {
			l.first.begin()
		}
	}
}

// release lets go of pods whose slots are all filled, but for what other pods may
// ask for: where exported slots are.
func (l *loader) release() {
	for _, p := range l.done {
		if p.keep {
			continue
		}
		p.exported = l.exports.of(p)
		if l.first != nil {
			l.first.take(l, p)
		}
		l.idle.give(p)
		l.recycler.Recycle(p.merged)
		p.merged, p.slots, p.released = nil, nil, true
	}
	l.done = l.done[:0]
}

// podExports are the exported slots of a released pod.
type podExports struct {
	slots []pod.Slot // in order, nil if they are the first ones
	addrs []unsafe.Pointer
	alike loadRegion   // without an address: what they all are
	each  []loadRegion // instead of addrs and alike, if they differ
}

// exportBlocks is memory for many podExports.
type exportBlocks struct {
	pods    []podExports
	slots   []pod.Slot
	addrs   []unsafe.Pointer
	regions []loadRegion
}

// exportBlock is for how many exports memory is made at once.
const exportBlock = 1024

// room returns an empty list with room for n elements, from the end of a block.
func roomIn[T any](block *[]T, n int) []T {
	if n > cap(*block)-len(*block) {
		*block = make([]T, 0, max(n, exportBlock))
	}
	start := len(*block)
	*block = (*block)[:start+n]
	return (*block)[start:start:len(*block)]
}

// of returns the exports of a pod whose slots are filled.
func (b *exportBlocks) of(p *loadPod) *podExports {
	exports := p.merged.Exports
	if len(exports) == 0 {
		return nil
	}
	if len(b.pods) == cap(b.pods) {
		b.pods = make([]podExports, 0, exportBlock/16)
	}
	b.pods = append(b.pods, podExports{})
	e := &b.pods[len(b.pods)-1]
	first, alike := true, true
	e.alike = p.slots[exports[0].Slot]
	e.alike.addr = nil
	for i := range exports {
		s := exports[i].Slot
		first = first && int(s) == i
		r := &p.slots[s]
		alike = alike && r.typ == e.alike.typ && r.count == e.alike.count
	}
	n := len(exports)
	if !first {
		e.slots = roomIn(&b.slots, n)
		for i := range exports {
			e.slots = append(e.slots, exports[i].Slot)
		}
	}
	if alike {
		e.addrs = roomIn(&b.addrs, n)
		for i := range exports {
			e.addrs = append(e.addrs, p.slots[exports[i].Slot].addr)
		}
		return e
	}
	e.each = roomIn(&b.regions, n)
	for i := range exports {
		e.each = append(e.each, p.slots[exports[i].Slot])
	}
	return e
}

// at returns what is in a slot of a released pod, and reports false if other pods
// may not refer to it.
func (e *podExports) at(s pod.Slot) (r loadRegion, ok bool) {
	if e == nil {
		return r, false
	}
	i := int(s)
	if e.slots != nil {
		if i, ok = slices.BinarySearch(e.slots, s); !ok {
			return r, false
		}
	}
	switch {
	case i < len(e.addrs):
		r = e.alike
		r.addr = e.addrs[i]
	case i < len(e.each):
		r = e.each[i]
	default:
		return r, false
	}
	return r, true
}
