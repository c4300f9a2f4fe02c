package podder

import "github.com/poddb/poddb/internal/pod"

// refTable gives the reference numbers of one pod: open addressing, and emptied by
// counting on. A Go map takes several times as long, and as long to empty as its
// largest pod took. The zero value is empty.
type refTable struct {
	slots []refSlot // a power of two, at most half in use
	count int
	round uint32 // slots of other rounds are empty
}

type refSlot struct {
	ref    pod.Ref
	number uint32
	round  uint32
}

const leastRefs = 64

// clear empties the table.
func (t *refTable) clear() {
	t.count = 0
	if t.round++; t.round == 0 {
		clear(t.slots)
		t.round = 1
	}
}

// large reports whether the table is more than what most pods need.
func (t *refTable) large() bool { return len(t.slots) > 16*leastRefs }

// at returns the slot that has ref, or the empty one where it belongs; there are
// slots.
func (t *refTable) at(ref pod.Ref) *refSlot {
	h := (uint64(ref.Pod)<<20 ^ uint64(ref.Slot)) * 0x9E3779B97F4A7C15 >> 32
	for ; ; h++ {
		s := &t.slots[h&uint64(len(t.slots)-1)]
		if s.round != t.round || s.ref == ref {
			return s
		}
	}
}

func (t *refTable) get(ref pod.Ref) (number uint32, ok bool) {
	if t.count == 0 {
		return 0, false
	}
	s := t.at(ref)
	return s.number, s.round == t.round
}

// put gives ref a number.
func (t *refTable) put(ref pod.Ref, number uint32) {
	if t.round == 0 {
		t.round = 1
	}
	if 2*(t.count+1) > len(t.slots) {
		old := t.slots
		t.slots = make([]refSlot, max(leastRefs, 2*len(old)))
		for i := range old {
			if s := &old[i]; s.round == t.round {
				*t.at(s.ref) = *s
			}
		}
	}
	s := t.at(ref)
	if s.round != t.round {
		t.count++
	}
	*s = refSlot{ref, number, t.round}
}
