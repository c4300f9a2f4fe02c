package podder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// earlyNode is an object of which most changes are encoded when they are met.
type earlyNode struct {
	Name  string
	N     int
	F     float64
	On    bool
	When  time.Time
	Pair  [2]string
	Tags  []string
	Next  *earlyNode
	Kids  []*earlyNode
	Attrs map[string]int
}

func earlyNodes(n int) []*earlyNode {
	all := make([]*earlyNode, n)
	for i := range all {
		all[i] = &earlyNode{Name: fmt.Sprint("node ", i), N: i, Tags: []string{"a", "b", "c"}[:1+i%3], Attrs: map[string]int{"x": i}}
		if i > 0 {
			up := all[(i-1)/4]
			up.Kids = append(up.Kids, all[i])
		}
	}
	return all
}

// Whatever changes in all objects, saves without a walk store it, and what they leave
// unwritten a walk would not write either.
func TestSavesThatFindAllChangedMissNothing(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 1000
	g := mustGraph(t, cfg)
	all := earlyNodes(400)
	root := all[0]
	mustSave(t, g, s, "x", root)
	mustStayQuiet(t, g, s, "x", root)
	r := rand.New(rand.NewPCG(1, 2))
	change := func(x *earlyNode) {
		switch r.IntN(9) {
		case 0, 1, 2:
			x.N++
		case 3:
			x.F = r.Float64()
		case 4:
			x.On, x.When = !x.On, time.Unix(r.Int64N(1<<32), 0)
		case 5:
			x.Name = fmt.Sprint("another name ", r.IntN(1<<30))
		case 6:
			x.Tags[len(x.Tags)-1] = fmt.Sprint(r.IntN(1000))
		case 7:
			x.Pair[r.IntN(2)] = fmt.Sprint(r.IntN(1000))
		case 8:
			x.Tags = x.Tags[:1+r.IntN(len(x.Tags))]
		}
	}
	for round := range 30 {
		for _, x := range all {
			change(x)
		}
		if round%3 == 0 { // a few lead somewhere else
			for range 3 {
				all[r.IntN(len(all))].Next = all[r.IntN(len(all))]
			}
		}
		if round%4 == 1 {
			saved, err := g.Save(t.Context(), rootsOf("x", root), s.begin())
			if err != nil {
				t.Fatal(err)
			}
			saved.Abort()
			change(all[r.IntN(len(all))])
		}
		mustResave(t, g, s, "x", root)
		mustStayQuiet(t, g, s, "x", root)
		reload(t, s, plainConfig(cfg), "x", root)
	}
}

// An array that was encoded when it was met is encoded again if more of it is kept since
// then.
func TestAnArrayGrowsBehindTheSaveThatMetIt(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, indexed(s))
	tags := append(make([]string, 0, 8), "one", "two")
	last := &earlyNode{Name: "last", Tags: tags}
	x := &earlyNode{Tags: tags, Next: &earlyNode{Next: last}}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	mustResave(t, g, s, "x", x)
	for n := 3; n < 6; n++ {
		tags[0] = fmt.Sprint("now ", n)
		last.Tags = last.Tags[:n]
		last.Tags[n-1] = fmt.Sprint("new ", n)
		mustResave(t, g, s, "x", x)
		reload(t, s, plainConfig(indexed(s)), "x", x)
	}
}

// Strings that are replaced in save after save are let go of without a walk, and those that
// fingerprints trust are held all the same.
func TestReplacedStringsNeedNoWalk(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	text := func(n int) string { return string(fmt.Appendf(nil, "%0200d", n)) }
	x := &earlyNode{Kids: earlyNodes(700)}
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	before := 0
	for round := range 12 {
		x.Name = text(-round)
		mustResave(t, g, s, "x", x)
		name := uintptr(unsafe.Pointer(unsafe.StringData(x.Name)))
		repinned := false
		for n := 0; !repinned; n++ {
			if n == 10 {
				t.Fatalf("%d strings are held for nothing", g.cur.prints.unusedPins)
			}
			for i, kid := range x.Kids {
				kid.Name = fmt.Sprint("round ", round, " save ", n, " kid ", i)
			}
			was := g.cur.prints.unusedPins
			if n == 1 { // what is aborted changes nothing
				saved, err := g.Save(t.Context(), rootsOf("x", x), s.begin())
				if err != nil {
					t.Fatal(err)
				}
				if saved.Abort(); g.cur.prints.unusedPins != was {
					t.Fatalf("%d strings are held for nothing after an aborted save, and were %d", g.cur.prints.unusedPins, was)
				}
			}
			mustResave(t, g, s, "x", x)
			repinned = g.cur.prints.unusedPins < was
		}
		x.Name = ""
		runtime.GC()
		runtime.GC()
		for n := range 5000 {
			if text := text(n); uintptr(unsafe.Pointer(unsafe.StringData(text))) == name {
				x.Name = text
			}
		}
		mustResave(t, g, s, "x", x)
		got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
		if err != nil {
			t.Fatal(err)
		}
		if err := isomorphic(reflect.ValueOf(x), got[0]); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if n := int(g.cur.prints.pins.len()); before > 0 && n > 2*before {
			t.Fatalf("%d strings are held, and were %d", n, before)
		} else if before == 0 {
			before = n
		}
	}
}

// Strings of arrays of which there is a copy are held by that.
func TestStringsOfACopiedArrayAreHeld(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.VerifyEvery = 0
	g := mustGraph(t, cfg)
	text := func(n int) string { return string(fmt.Appendf(nil, "%0200d", n)) }
	x := make([]string, 2*shadowElements)
	mustSave(t, g, s, "x", &x)
	mustStayQuiet(t, g, s, "x", &x)
	for round := range 20 {
		x[3] = text(-round)
		mustResave(t, g, s, "x", &x)
		if n := g.cur.prints.pins.len(); n > 0 {
			t.Fatalf("%d strings are held twice", n)
		}
		at := uintptr(unsafe.Pointer(unsafe.StringData(x[3])))
		x[3] = ""
		runtime.GC()
		runtime.GC()
		for n := range 5000 {
			if text := text(n); uintptr(unsafe.Pointer(unsafe.StringData(text))) == at {
				x[3] = text
			}
		}
		mustResave(t, g, s, "x", &x)
		reload(t, s, plainConfig(cfg), "x", &x)
	}
}

// What is placed later fits into pods as they are now, so these know what their regions
// weigh when strings of them have grown.
func TestAPodKnowsWhatItWeighs(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 1000
	g := mustGraph(t, cfg)
	all := earlyNodes(100)
	mustSave(t, g, s, "x", all[0])
	mustStayQuiet(t, g, s, "x", all[0])
	weights := func() map[string]uint32 {
		list := map[string]uint32{}
		for i := range g.cur.regions.len() {
			r := g.cur.regions.at(i)
			list[fmt.Sprint(r.kind, r.addr)] = r.weight
		}
		return list
	}
	for i, x := range all {
		x.Name, x.Tags[0] = fmt.Sprintf("%0*d", i, i), fmt.Sprintf("%0*d", i/2, i)
	}
	mustResave(t, g, s, "x", all[0])
	now, held := weights(), map[int32]int{}
	for i := range g.cur.regions.len() {
		r := g.cur.regions.at(i)
		held[r.pod] += int(r.weight)
	}
	for n, weight := range held {
		if p := &g.cur.pods[n]; p.bytes != weight {
			t.Errorf("pod %d weighs %d and holds %d", p.id, p.bytes, weight)
		}
	}
	g.Trim()
	mustStayQuiet(t, g, s, "x", all[0])
	for at, weight := range weights() {
		if was, ok := now[at]; ok && was != weight { // boxes have other addresses
			t.Errorf("%s weighs %d, and %d in a walk", at, was, weight)
		}
	}
}
