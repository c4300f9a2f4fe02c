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
// It sets each region's first child (0, which is nobody's, for none) and, of the
// heads of pieces, their size.
func (p *placer) cut() {
	regions := &p.st.regions
	n := regions.len()
	target := uint32(p.cfg.TargetBytes)
	for i := n - 1; i >= p.from; i-- {
		r := regions.at(i)
		if r.parent >= 0 {
			regions.at(r.parent).child = i
		}
		if r.weight > p.heaviest && r.kind != pod.SlotObject && r.kind != pod.SlotBox {
			p.heaviest = r.weight
		}
		if r.flags&flagSticky != 0 {
			continue
		}
		own := r.weight + slotOverhead
		if r.kind == pod.SlotFree {
			own = 0
		}
		child, sibling := r.child, int32(-1)
		if child == 0 || regions.at(child).flags&flagSticky != 0 {
			child = -1
		}
		if i+1 < n && r.parent >= 0 && regions.at(i+1).parent == r.parent && regions.at(i+1).flags&flagSticky == 0 {
			sibling = i + 1
		}
		var below, beside uint32
		if child >= 0 && regions.at(child).flags&flagHead == 0 { // else of a Ref
			below = regions.at(child).size
		}
		if sibling >= 0 && regions.at(sibling).flags&flagHead == 0 {
			beside = regions.at(sibling).size
		}
		for own+below+beside > target && below+beside > 0 {
			if below >= beside {
				regions.at(child).flags |= flagHead
				below = 0
			} else {
				regions.at(sibling).flags |= flagHead
				beside = 0
			}
		}
		r.size = own + below + beside
	}
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
	case regions.at(i-1).parent == r.parent && p.newRegion(i-1):
		return i - 1
	}
	return -1
}
