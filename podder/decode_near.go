package podder

import (
	"math"
	"reflect"

	"github.com/poddb/poddb/internal/pod"
)

// Most references lead to a slot of a pod that is here that nobody has referred to yet,
// an object or a small container of a type that was met before. Such a slot is
// placed and filled here, in one go; everything else is left to place.

// placeNear gives slot s of a pod its place, and reports false if it has none then:
// after an error, or because it is a forwarder.
func (l *loader) placeNear(p *loadPod, s pod.Slot) bool {
	d := &p.merged.Slots[s]
	st := l.recent[d.Type%recentTypes]
	switch {
	case d.Kind == pod.SlotForward:
		return false
	case st == nil || st.id != d.Type || !st.nests || st.named != "" || !p.fresh || l.want != nil ||
		l.capturing != nil || l.level >= maxNested || l.missing || l.depth > 0:
		return l.place(p, s)
	}
	r := &p.slots[s]
	isMap := st.node.kind == nodeEntries
	switch {
	case d.Kind == pod.SlotObject && !isMap:
		if !l.charge(1, uint64(st.size), len(d.Bytes)) {
			return false
		}
		*r = loadRegion{reflect.New(st.typ).UnsafePointer(), st, 1<<regionFlags | regionPlain}
		outer := l.enter(p, s)
		l.fillObject(p, d, r, r.addr)
		return l.leave(outer)
	case d.Kind == pod.SlotArray && !isMap && shortRun(d, 3) && d.Bytes[1] <= min(d.Bytes[0], d.Bytes[2]):
		return l.placeShortArray(p, s, d, st, r)
	case d.Kind == pod.SlotMap && isMap && shortRun(d, 2) && d.Bytes[1] == 0:
		return l.placeShortMap(p, s, d, st, r)
	}
	return l.place(p, s)
}

// shortRun reports whether a container has one run that is not empty, and a head of
// so many single bytes of which the first is not 0.
func shortRun(d *pod.Data, head uint32) bool {
	if len(d.Runs) != 2 || d.Runs[0] != head || d.Runs[1] == 0 || uint64(d.Runs[1])+uint64(head) != uint64(len(d.Bytes)) {
		return false
	}
	all := byte(0)
	for _, b := range d.Bytes[:head] {
		all |= b
	}
	return all < 0x80 && d.Bytes[0] > 0
}

// placeShortArray places and fills an array whose head says extent, stored and
// perRun in a byte each, with all that is stored in one run.
func (l *loader) placeShortArray(p *loadPod, s pod.Slot, d *pod.Data, st *storedType, r *loadRegion) bool {
	extent := uint64(d.Bytes[0])
	if !l.charge(extent, uint64(st.size), len(d.Bytes)) {
		return false
	}
	*r = loadRegion{makeElems(st, int(extent)), st, extent<<regionFlags | regionArray | regionPlain}
	outer := l.enter(p, s)
	l.elems(p, st.plan, d.Bytes[3:], uint64(d.Bytes[1]), r.addr)
	return l.leave(outer)
}

// placeShortMap places and fills a map whose head says its count and no bits in a
// byte each.
func (l *loader) placeShortMap(p *loadPod, s pod.Slot, d *pod.Data, st *storedType, r *loadRegion) bool {
	h := mapHeader{count: uint64(d.Bytes[0]), bytes: 2}
	if !l.mapFits(p, s, d, h, st) {
		return false
	}
	g, small := l.smallMap(st, h.count)
	addr := g.addr()
	if !small {
		addr = st.newMap(int(h.count))
	}
	*r = loadRegion{addr, st, h.count<<regionFlags | regionMap}
	outer := l.enter(p, s)
	f := l.filler(p, st, r.addr)
	if st.inPasses(h.count) {
		f.fillPass(loadSlot{p, s}, []loadSlot{{p, s}}, h.count)
	} else {
		c := cursor{buf: d.Bytes[h.bytes:]}
		if small {
			f.groupEntries(&c, g)
		}
		if f.entries(&c); l.err == nil && f.pieceEnds(0, f.seen, h) {
			f.finish(p, s, h.count)
		}
	}
	f.free()
	return l.leave(outer)
}

// outerSlot is the slot in the midst of which another one is decoded.
type outerSlot struct {
	at      loadSlot
	scratch int
}

// enter begins to decode a slot in the midst of another one, which lacks nothing
// so far.
func (l *loader) enter(p *loadPod, s pod.Slot) outerSlot {
	outer := outerSlot{l.at, l.scratch}
	l.at.in(loadSlot{p, s})
	l.scratch = 0
	l.level++
	return outer
}

// in makes the slot s. Most are in one pod, and a store of a pointer costs more than
// a look at it while the collector works.
func (at *loadSlot) in(s loadSlot) {
	if at.pod != s.pod {
		at.pod = s.pod
	}
	at.slot = s.slot
}

// leave ends what enter began.
func (l *loader) leave(outer outerSlot) bool {
	l.level--
	switch {
	case l.err != nil:
		return false
	case l.missing:
		l.blocked = append(l.blocked, l.at)
		l.awaitPods()
		l.missing, l.lowest = false, math.MaxInt
	default:
		l.filled(l.at.pod, l.at.slot)
	}
	l.at.in(outer.at)
	l.scratch = outer.scratch
	return true
}
