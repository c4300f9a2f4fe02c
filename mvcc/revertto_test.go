package mvcc

import (
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// A slot that came since, and is referred to, needs the reference number that was in use for
// something else then: it is led on to a copy, and what refers to it goes on to find it.
func TestRevertToWhereReferenceNumbersCollide(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	tx := begin(t, s, MainBranch)
	a, b, p := tx.NewPod(), tx.NewPod(), tx.NewPod()
	for _, c := range []*pod.Change{box(a, "a"), box(b, "b"), box(p, "was", pod.Ref{Pod: a})} {
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.SetName(bg, "p", p); err != nil {
		t.Fatal(err)
	}
	v1 := must(tx.Commit(bg, CommitInfo{}))(t)

	tx = begin(t, s, MainBranch)
	user := tx.NewPod()
	c := boxAgain(p, "is", pod.Ref{Pod: b}) // number 0 is b now
	c.Slots = append(c.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Type: 2, Bytes: []byte("since")}})
	c.Exports = append(c.Exports, pod.Export{Slot: 1, Edges: pod.EdgeSet{All: true}})
	for _, c := range []*pod.Change{c, box(user, "user", pod.Ref{Pod: p, Slot: 1})} {
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.SetName(bg, "user", user); err != nil {
		t.Fatal(err)
	}
	must(tx.Commit(bg, CommitInfo{}))(t)

	v3 := must(s.RevertTo(bg, MainBranch, v1, CommitInfo{}))(t)
	sn := must(s.At(bg, v3))(t)
	defer sn.Close()
	got := must(sn.Pods(bg, []pod.ID{p}))(t)[0]
	if string(got.Slots[0].Bytes) != "was" || got.Refs[0] != (pod.Ref{Pod: a}) || len(got.Slots) != 2 {
		t.Fatalf("%+v", got)
	}
	if at := got.Slots[1]; at.Kind != pod.SlotForward || !slices.Equal(at.Bytes, []byte{2 + 1*4 + 1}) {
		t.Fatalf("slot 1: %+v", at)
	}
	copied := must(sn.Pods(bg, []pod.ID{got.Refs[1].Pod}))(t)[0]
	if string(copied.Slots[got.Refs[1].Slot].Bytes) != "since" || copied.Refs[0] != (pod.Ref{Pod: b}) {
		t.Fatalf("%+v", copied)
	}
	for n, err := range sn.Names(bg, "") {
		if err != nil || n != "p" {
			t.Fatalf("%q %v", n, err)
		}
	}
	verifyClean(t, s)
}
