package podder

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type (
	releasedLeaf struct{ N int }
	releasedMid  struct{ Next *releasedEnd }
	releasedRoot struct {
		Leaf *releasedLeaf
		Mid  *releasedMid
	}
	releasedEnd    struct{ V *releasedLeaf }
	releasedEndNow struct{ V releasedLeaf }
	releasedMidNow struct{ Next *releasedEndNow }
	releasedNow    struct {
		Leaf *releasedLeaf
		Mid  *releasedMidNow
	}
)

// A value that was behind a pointer is read where the pointer leads, also if the
// pod there was filled and let go of before.
func TestAReleasedPodIsReadAgain(t *testing.T) {
	h := newHandStore()
	reg := NewRegistry()
	for i, pair := range [][2]reflect.Type{
		{reflect.TypeFor[releasedRoot](), reflect.TypeFor[releasedNow]()},
		{reflect.TypeFor[releasedMid](), reflect.TypeFor[releasedMidNow]()},
		{reflect.TypeFor[releasedEnd](), reflect.TypeFor[releasedEndNow]()},
	} {
		name := string(rune('a' + i))
		if err := h.reg.Register(pair[0], name); err != nil {
			t.Fatal(err)
		}
		if err := reg.Register(pair[1], name); err != nil {
			t.Fatal(err)
		}
	}
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2}}, h.box(reflect.TypeFor[*releasedRoot](), hand{}.out(0)))
	h.pod(2, []pod.Ref{{Pod: 3}, {Pod: 4}}, h.object(reflect.TypeFor[releasedRoot](), hand{}.out(0).out(1)))
	h.pod(3, nil, h.object(reflect.TypeFor[releasedLeaf](), hand{}.zz(7)))
	h.pod(4, []pod.Ref{{Pod: 5}}, h.object(reflect.TypeFor[releasedMid](), hand{}.out(0)))
	h.pod(5, []pod.Ref{{Pod: 3}}, h.object(reflect.TypeFor[releasedEnd](), hand{}.out(0)))
	vs, err := Decode(t.Context(), Config{Registry: reg}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[*releasedNow]()})
	if err != nil {
		t.Fatal(err)
	}
	x := vs[0].Interface().(*releasedNow)
	if x.Leaf.N != 7 || x.Mid.Next.V.N != 7 || &x.Mid.Next.V == x.Leaf {
		t.Errorf("%+v %+v", x, x.Mid.Next)
	}
	if h.asked[3] != 2 {
		t.Errorf("pod 3 was asked for %d times: it was not let go of, and the test says nothing", h.asked[3])
	}
}

// Addresses of a released pod stay: what refers to it later finds the same object,
// and only what it exports.
func TestAReleasedPodKeepsItsExports(t *testing.T) {
	h := newHandStore()
	leaf, mid, root := reflect.TypeFor[*releasedLeaf](), reflect.TypeFor[releasedEnd](), reflect.TypeFor[[2]*releasedEnd]()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2}, {Pod: 4}}, h.box(root, hand{}.out(0).out(1)))
	h.pod(2, nil, h.object(mid, hand{}.to(1)), h.object(leaf.Elem(), hand{}.zz(7)))
	h.pod(4, []pod.Ref{{Pod: 5}}, pod.Data{Kind: pod.SlotForward, Bytes: hand{}.out(0)})
	h.pod(5, []pod.Ref{{Pod: 2, Slot: 1}}, h.object(mid, hand{}.out(0)))
	x := mustGet[[2]*releasedEnd](t, h, "x")
	if x[0].V != x[1].V || x[0].V.N != 7 {
		t.Errorf("%v %v", x[0].V, x[1].V)
	}
	h.pods[2].Exports = h.pods[2].Exports[:1]
	_, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{"x"}, []reflect.Type{root})
	if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), "not exported") {
		t.Error(err)
	}
}

// What is kept of a released pod is where each exported slot is and what it holds,
// whether they are the first slots or not, and alike or not.
func TestExportsOfAReleasedPod(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	types := []*storedType{{}, {}}
	var blocks exportBlocks
	type kept struct {
		e *podExports
		p *loadPod
		m *pod.Pod
	}
	var all []kept
	for n := range 400 {
		p, m := &loadPod{}, &pod.Pod{}
		for s := range rng.IntN(40) {
			p.slots = append(p.slots, loadRegion{unsafe.Pointer(new(int)), types[rng.IntN(1+n%2)], uint64(1 + rng.IntN(1+n/2%2))})
			if rng.IntN(4) < 3 || n%3 == 0 {
				m.Exports = append(m.Exports, pod.Export{Slot: pod.Slot(s)})
			}
		}
		p.merged = m
		all = append(all, kept{blocks.of(p), p, m})
	}
	for _, k := range all {
		for s := range pod.Slot(len(k.p.slots) + 2) {
			r, ok := k.e.at(s)
			if ok != k.m.Exported(s) || ok && r != k.p.slots[s] {
				t.Fatalf("slot %d of %v: %v %v, want %v", s, k.m.Exports, r, ok, k.p.slots)
			}
		}
	}
}
