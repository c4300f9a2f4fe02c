package podder

import (
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Pods that a load needs are on a stack (loader.ask), of which the newest are
// fetched first: so a pod is decoded soon after the one that refers to it, and
// few pods are under way at a time, however large the graph is.
//
// What waits for pods:
//
//   - a pointer, slice or map that leads to a whole region, in the list of the one
//     pod that it leads into;
//   - a slot that is blocked, for several: it is decoded again when the stack is
//     below all of them (loader.awaited).

// need asks for a pod that is not here, and blocks the slot being decoded.
func (l *loader) need(p *loadPod) {
	if p.released {
		l.fail(errReleased)
	}
	l.missing, l.lacks = true, p
	if !p.asked {
		p.asked, p.at = true, len(l.ask)
		l.ask = append(l.ask, p)
	}
	l.lowest = min(l.lowest, p.at)
}

// fetch gets the pods that were asked for last, and stores the references that
// waited for them.
func (l *loader) fetch() error {
	if l.bulk && len(l.fetched) >= bulkFrom {
		l.goBulk()
	}
	first := max(0, len(l.ask)-fetchBatch)
	batch := l.ask[first:]
	l.ask = l.ask[:first]
	ids := make([]pod.ID, len(batch))
	for i, p := range batch {
		ids[i] = p.id
	}
	pods, err := l.src.Pods(l.ctx, ids)
	if errors.Is(err, dberr.ErrNotFound) {
		return dberr.Corrupt("", -1, "a pod that others refer to is not in the snapshot (one of %d from pod %d): %v", len(ids), ids[0], err)
	}
	if err != nil {
		return fmt.Errorf("read pods: %w", err)
	}
	if len(pods) != len(ids) {
		return fmt.Errorf("source returned %d pods for %d ids", len(pods), len(ids))
	}
	// What is stored now may ask for more, where the batch lies in ask.
	l.batch = append(l.batch[:0], batch...)
	batch = l.batch
	for i, p := range batch {
		l.arrived(p, pods[i])
	}
	for _, p := range batch {
		if err := l.storeLate(p); err != nil {
			return err
		}
	}
	return nil
}

// arrived takes in a pod.
func (l *loader) arrived(p *loadPod, merged *pod.Pod) {
	n := len(merged.Slots)
	p.merged = merged
	p.fresh = l.lookup == nil || l.knows != nil && !l.knows(p.id)
	p.slots = take(&l.idle.slots, n)
	if l.inPlace {
		p.shadow = make([]unsafe.Pointer, n)
	}
	if l.recycler == nil || l.first != nil {
		l.fetched = append(l.fetched, p)
	}
	if l.recycler == nil {
		return
	}
	for i := range merged.Slots {
		switch merged.Slots[i].Kind {
		case pod.SlotFree:
			n--
		case pod.SlotObject, pod.SlotArray, pod.SlotMap:
		default:
			p.keep = true // there is more to ask than addresses
		}
	}
	p.left = n
}

// errReleased ends a load that needs what is stored in a pod that was released.
// That is when it finds a type that has changed in a way that makes it read things
// twice; the load begins again, and releases nothing.
var errReleased = errors.New("a pod that was released is needed again")

// idleLists are lists of pods that can be used again.
type idleLists struct {
	pods  []*loadPod // without anything
	refs  [][]*loadPod
	slots [][]loadRegion
}

func (i *idleLists) give(p *loadPod) {
	clear(p.slots)
	i.slots = append(i.slots, p.slots[:0])
	i.giveRefs(p)
}

func (i *idleLists) giveRefs(p *loadPod) {
	if p.refs != nil {
		clear(p.refs)
		i.refs, p.refs = append(i.refs, p.refs[:0]), nil
	}
}

// maxIdle bounds the idle lists and pods that are kept for another load.
const maxIdle = 8

// trim lets go of most of what is idle.
func (i *idleLists) trim() {
	i.refs, i.slots, i.pods = shortened(i.refs), shortened(i.slots), shortened(i.pods)
}

func shortened[T any](list []T) []T {
	n := min(len(list), maxIdle)
	clear(list[n:cap(list)])
	return list[:n]
}

// take returns n zero elements.
func take[T any](idle *[][]T, n int) []T {
	last := len(*idle) - 1
	if last < 0 {
		return make([]T, n)
	}
	list := (*idle)[last]
	*idle = (*idle)[:last]
	if cap(list) < n {
		return make([]T, n, n+n/4)
	}
	return list[:n]
}

// lateReference is a pointer, slice or map whose target was not here when its slot
// was decoded.
type lateReference struct {
	from loadSlot
	to   loadSlot
	at   unsafe.Pointer // where it belongs
	move *decodeMove
	len  int   // of a slice
	cap  int   // of a slice
	next int32 // in the list of the pod, 0 for none
}

// lateList has the references that wait for pods, in a list for each pod, and a
// list of free places. Number 0 is not used.
type lateList struct {
	all  []lateReference
	free int32
}

// await has a reference wait for pod p.
func (l *lateList) await(p *loadPod, f lateReference) {
	n := l.free
	switch {
	case n > 0:
		l.free = l.all[n].next
	case len(l.all) == 0:
		l.all = make([]lateReference, 2, 256)
		n = 1
	default:
		n = int32(len(l.all))
		l.all = append(l.all, lateReference{})
	}
	f.next = p.late
	l.all[n] = f
	p.late = n
}

// take removes reference n, of which the next one is returned.
func (l *lateList) take(n int32) (lateReference, int32) {
	f := l.all[n]
	l.all[n] = lateReference{next: l.free}
	l.free = n
	return f, f.next
}

// inOrder turns the list of a pod around, which was made from its end.
func (l *lateList) inOrder(p *loadPod) int32 {
	before := int32(0)
	for n := p.late; n != 0; {
		f := &l.all[n]
		n, f.next, before = f.next, before, n
	}
	p.late = 0
	return before
}

// waits has the reference at f.at wait for the pod that is missing, if it is to a
// whole region: c is at its code.
func (l *loader) waits(p *loadPod, c cursor, f lateReference) {
	code := c.uvarint()
	if (code-codeBase)&codeInterior != 0 {
		return
	}
	f.from, f.to = l.at, loadSlot{p, pod.Slot((code - codeBase) >> codeShift)}
	if (code-codeBase)&codeExternal != 0 {
		ref := p.merged.Refs[f.to.slot]
		f.to = loadSlot{l.pod(ref.Pod), ref.Slot}
	}
	l.late.await(l.lacks, f)
	l.missing, l.lowest = false, math.MaxInt
}

// mayWait reports whether a reference that was not found may wait for its pod, not
// its whole slot: if it is where it stays, and the slot lacks nothing else.
func (l *loader) mayWait(c *cursor) bool {
	return l.err == nil && l.scratch == 0 && !c.bad
}

// storeLate stores the references that waited for a pod. Those that lead to a
// forwarder into yet another pod wait on.
func (l *loader) storeLate(p *loadPod) error {
	for n := l.late.inOrder(p); n != 0; {
		var f lateReference
		f, n = l.late.take(n)
		l.start(f.from)
		if f.move.loose {
			l.want = f.move.typ
		}
		s, ok := l.reach(f.from.pod, f.to, false, 0)
		l.want = nil
		switch {
		case l.err != nil:
		case !ok:
			l.late.await(l.lacks, f)
		default:
			l.storeFound(&f, &s)
		}
		if l.err != nil {
			return l.err
		}
	}
	return nil
}

// storeFound stores a reference to s, which has come.
func (l *loader) storeFound(f *lateReference, s *spot) {
	switch m := f.move; m.code {
	case moveSlice:
		l.storeSlice(m, s, sliceHeader{len: f.len, cap: f.cap}, f.at)
	case moveMap:
		if l.isMap(s, m.typ, m.loose) {
			*(*unsafe.Pointer)(f.at) = s.addr
		}
	default:
		if l.pointsTo(s, m.typ, m.loose) {
			*(*unsafe.Pointer)(f.at) = s.addr
		}
	}
}
