package podder

import "github.com/poddb/poddb/internal/pod"

// slotOverhead is what a slot adds to its contents in the directory of its pod.
const slotOverhead = 3

// cut divides the new regions into pieces. They form a forest: a region hangs
// on the one that first referred to it, and children of one parent that were met
// in a row are siblings. Read as a binary tree (first child, next sibling) it is
// cut bottom up, at each region the heavier of its two branches while all
// together would pass the target. Pieces are then connected, or siblings with
// what hangs on them, and deep ones are full. (Kundu and Misra, "A linear tree
// partitioning algorithm", SIAM J. Comput. 1977; with sibling edges as in Kanne
// and Moerkotte, VLDB 2006.)
//
// A region that is to begin a pod, as the strategy says (chooser.go), is cut off
// beforehand: the siblings before and after it are bundled as if it were not there.
//
// It sets each region's first child that did not begin a pod (0, which is nobody's, for
// none) and, of the heads of pieces, their size.
func (p *placer) cut() {
	regions := &p.st.regions
	n := regions.len()
	sibling := int32(-1) // after the region, in its row, that did not begin a pod
	for i := n - 1; i >= p.from; i-- {
		r := regions.at(i)
		if i+1 == n || r.parent < 0 || regions.at(i+1).parent != r.parent {
			sibling = -1
		}
		if r.weight > p.heaviest && r.kind != pod.SlotObject && r.kind != pod.SlotBox {
			p.heaviest = r.weight
		}
		child := r.child
		if child == 0 || regions.at(child).flags&(flagSticky|flagHead) != 0 { // a head of a Ref
			child = -1
		}
		if r.flags&flagSticky == 0 && p.chooser != nil && p.cutOff(i, r, child, sibling) {
			continue
		}
		if r.parent >= 0 {
			regions.at(r.parent).child = i
		}
		if r.flags&flagSticky != 0 {
			sibling = -1
			continue
		}
		p.join(i, r, child, sibling)
		sibling = i
		if r.flags&flagHead != 0 {
			sibling = -1
		}
	}
}

// join makes region i the head of what was bundled below and beside it, without what
// would be too much.
func (p *placer) join(i int32, r *region, child, sibling int32) {
	regions := &p.st.regions
	own := r.weight + slotOverhead
	if r.kind == pod.SlotFree {
		own = 0
	}
	var below, beside uint32
	if child >= 0 {
		below = regions.at(child).size
	}
	if sibling >= 0 {
		beside = regions.at(sibling).size
	}
	for own+below+beside > p.most && below+beside > 0 {
		if below >= beside {
			regions.at(child).flags |= flagHead
			child, below = -1, 0
		} else {
			regions.at(sibling).flags |= flagHead
			sibling, beside = -1, 0
		}
	}
	r.size = own + below + beside
	if p.chooser != nil {
		p.chooser.note(i, r, child, sibling)
	}
}

// cutOff makes region i the head of a pod if the strategy says so.
func (p *placer) cutOff(i int32, r *region, child, sibling int32) bool {
	if r.kind == pod.SlotFree || r.parent < 0 || r.flags&flagHead != 0 || !p.chooser.begins(i, r, child, sibling) {
		return false
	}
	r.flags |= flagHead | flagApart
	p.join(i, r, child, -1)
	return true
}

// joined returns the region whose piece region i continues, or -1 if it heads
// one.
func (p *placer) joined(i int32) int32 {
	regions := &p.st.regions
	r := regions.at(i)
	switch {
	case r.flags&flagHead != 0 || r.parent < 0:
	case regions.at(r.parent).child == i:
		if p.newRegion(r.parent) {
			return r.parent
		}
	default:
		k := i - 1
		for regions.at(k).parent == r.parent && regions.at(k).flags&flagApart != 0 {
			k--
		}
		if regions.at(k).parent == r.parent && p.newRegion(k) {
			return k
		}
	}
	return -1
}
