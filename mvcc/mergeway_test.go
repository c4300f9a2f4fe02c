package mvcc

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// The slots that hold an object of the base of a merge in one of its sides: over merges too, and
// not those where the side has an object of its own.
func TestMergeWaysTellWhichSlotsHoldWhatTheyHeld(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	const b, o, free = pod.SlotBox, pod.SlotObject, pod.SlotFree
	merge := func(branch string, id pod.ID, merged Version, kinds ...pod.Kind) Version {
		t.Helper()
		tx := begin(t, s, branch)
		c := &pod.Change{ID: id, Whole: true, Exports: []pod.Export{{Slot: 0}}}
		for i, k := range kinds {
			if k != pod.SlotFree {
				c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: pod.Data{Kind: k, Bytes: fmt.Append(nil, i)}})
			}
		}
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
		return must(tx.Commit(bg, CommitInfo{Kind: KindMerge, Merged: merged}))(t)
	}
	freed := func(base, side Version, id pod.ID, want string) {
		t.Helper()
		x, y := must(s.At(bg, base))(t), must(s.At(bg, side))(t)
		defer x.Close()
		defer y.Close()
		f := must(must(s.MergeWay(bg, x, y))(t).Freed(bg, id))(t)
		got := ""
		for i := range pod.Slot(6) {
			if f(i) {
				got += fmt.Sprint(i)
			}
		}
		if got != want {
			t.Errorf("from %d to %d: freed %q, expected %q", base, side, got, want)
		}
	}
	id, v1 := commitSlots(t, s, MainBranch, 0, b, o, free, free, o)
	createBranch(t, s, "other", v1)
	_, o1 := commitSlots(t, s, "other", id, b, o, o, o, o)          // 2 and 3 are of other
	_, m1 := commitSlots(t, s, MainBranch, id, b, o, free, o, free) // 3 is of main, which has let go of 4
	first := merge(MainBranch, id, o1, b, o, o, o, free)
	freed(v1, m1, id, "2345")
	freed(o1, first, id, "345")
	_, m2 := commitSlots(t, s, MainBranch, id, b, o, o, o, o) // 4 is of main now
	freed(o1, m2, id, "345")
	_, o2 := commitSlots(t, s, "other", id, b, free, o, o, o, o) // without 1, with 5
	_, o3 := commitSlots(t, s, "other", id, b, o, o, o, o, o)    // 1 is another
	second := merge(MainBranch, id, o3, b, o, o, o, o, o)
	freed(o1, o2, id, "15")
	freed(o3, second, id, "134")
	_, m3 := commitSlots(t, s, MainBranch, id, b, o, o, o, o, free)
	freed(o3, m3, id, "1345")
	back := merge("other", id, m3, b, o, o, o, o, o) // fast forward of main to other, which has been told
	freed(m3, back, id, "1345")
}

// What was retired since a way was found is not known any more, and not taken for what stands in
// its place.
func TestMergeWaysOverWhatWasRetired(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	const b, o = pod.SlotBox, pod.SlotObject
	id, v1 := commitSlots(t, s, MainBranch, 0, b, o)
	createBranch(t, s, "other", v1)
	_, o1 := commitSlots(t, s, "other", id, b, o, o)
	commitSlots(t, s, MainBranch, id, b, o, o) // 2 is of main
	tx := begin(t, s, MainBranch)
	c := &pod.Change{ID: id, Whole: true, Exports: []pod.Export{{Slot: 0}}}
	for i, k := range []pod.Kind{b, o, o, o} {
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: pod.Data{Kind: k, Bytes: fmt.Append(nil, i)}})
	}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	m := must(tx.Commit(bg, CommitInfo{Kind: KindMerge, Merged: o1}))(t)
	x, y := must(s.At(bg, o1))(t), must(s.At(bg, m))(t)
	defer x.Close()
	defer y.Close()
	way := must(s.MergeWay(bg, x, y))(t)
	show := func() (got string) {
		f := must(way.Freed(bg, id))(t)
		for i := range pod.Slot(6) {
			if f(i) {
				got += fmt.Sprint(i)
			}
		}
		return got
	}
	before := show()
	prune(t, s, 1)
	if got := show(); before != "2345" || got != before && got != "012345" {
		t.Errorf("freed %q, after a prune %q", before, got)
	}
}
