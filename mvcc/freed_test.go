package mvcc

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// commitSlots commits a pod of the given slot kinds, as its next version.
func commitSlots(t *testing.T, s *Store, branch string, id pod.ID, kinds ...pod.Kind) (pod.ID, Version) {
	t.Helper()
	tx := begin(t, s, branch)
	c := &pod.Change{ID: id, Whole: true}
	if id == 0 {
		c.ID, c.New = tx.NewPod(), true
		if err := tx.SetName(bg, "x", c.ID); err != nil {
			t.Fatal(err)
		}
	}
	c.Exports = []pod.Export{{Slot: 0}}
	for i, k := range kinds {
		if k != pod.SlotFree {
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: pod.Data{Kind: k, Bytes: fmt.Append(nil, k, i, must(s.Head(bg, branch))(t))}})
		}
	}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	v, err := tx.Commit(bg, CommitInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID, v
}

// Every slot that is in use at both ends and was not in between is freed, in
// either direction, on one line and across branches.
func TestFreedNamesSlotsThatWereOutOfUseBetween(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	const b, o, m, f, free = pod.SlotBox, pod.SlotObject, pod.SlotMap, pod.SlotForward, pod.SlotFree
	id, v1 := commitSlots(t, s, MainBranch, 0, b, o, o, o, o, o)
	_, v2 := commitSlots(t, s, MainBranch, id, b, o, free, o, f, o)
	_, v3 := commitSlots(t, s, MainBranch, id, b, o, o, free, o)
	_, v4 := commitSlots(t, s, MainBranch, id, b, o, o, o, o, m)
	other, v5, err := commitBox(t, s, MainBranch, "other", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, br := range []string{"early", "late"} {
		if err := s.CreateBranch(bg, br, map[string]Version{"early": v1, "late": v3}[br]); err != nil {
			t.Fatal(err)
		}
	}
	_, e1 := commitSlots(t, s, "early", id, b, free, o, o, o, o)
	_, e2 := commitSlots(t, s, "early", id, b, o, o, o, o, o)
	_, l1 := commitSlots(t, s, "late", id, b, o, o, o, o, o)
	for _, c := range []struct {
		a, b Version
		want string
	}{
		{v1, v1, ""}, {v4, v5, ""}, {v1, v2, "24"}, {v1, v3, "2345"}, {v1, v5, "2345"}, {v2, v4, "2345"}, {v3, v4, "35"},
		{e1, e2, "1"}, {v1, e2, "1"}, {e2, v2, "124"}, {e2, v5, "12345"}, {e2, l1, "12345"}, {v4, l1, "35"}, {v1, l1, "2345"}, {v3, l1, "35"},
	} {
		for range 2 {
			x, y := must(s.At(bg, c.a))(t), must(s.At(bg, c.b))(t)
			freed := must(x.Freed(bg, id, y))(t)
			got := ""
			for i := range pod.Slot(6) {
				if freed(i) {
					got += fmt.Sprint(i)
				}
			}
			if got != c.want {
				t.Errorf("versions %d and %d: freed %q, want %q", c.a, c.b, got, c.want)
			}
			x.Close()
			y.Close()
			c.a, c.b = c.b, c.a
		}
	}
	x, y := must(s.At(bg, v1))(t), must(s.At(bg, v5))(t)
	defer x.Close()
	defer y.Close()
	if freed := must(x.Freed(bg, other, y))(t); !freed(0) {
		t.Error("a pod that one version does not have holds the same objects")
	}
}

// The versions in which a slot was out of use are gone: nobody knows what
// happened to any slot between.
func TestFreedKnowsNothingOfRetiredVersions(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	const b, o, free = pod.SlotBox, pod.SlotObject, pod.SlotFree
	id, v1 := commitSlots(t, s, MainBranch, 0, b, o, o)
	commitSlots(t, s, MainBranch, id, b, free, o)
	_, v3 := commitSlots(t, s, MainBranch, id, b, o, o)
	_, v4 := commitSlots(t, s, MainBranch, id, b, o, o)
	then := must(s.At(bg, v1))(t)
	defer then.Close()
	prune(t, s, 2)
	now, between := must(s.At(bg, v4))(t), must(s.At(bg, v3))(t)
	defer now.Close()
	defer between.Close()
	for _, c := range []struct {
		a, b *Snapshot
		want bool
	}{{then, now, true}, {now, then, true}, {between, now, false}} {
		freed := must(c.a.Freed(bg, id, c.b))(t)
		for slot := range pod.Slot(3) {
			if freed(slot) != c.want {
				t.Errorf("versions %d and %d: slot %d freed %v", c.a.Version(), c.b.Version(), slot, freed(slot))
			}
		}
	}
}
