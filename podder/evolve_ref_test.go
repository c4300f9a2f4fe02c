package podder

import (
	"context"
	"reflect"
	"sync/atomic"
	"testing"
	"weak"
)

// Fields change between values, pointers, atomic pointers and Refs, also in containers.
func TestFieldsBecomeRefsAndBack(t *testing.T) {
	type old struct {
		A innerOld
		B *innerOld
		C Ref[innerOld]
		D Ref[innerOld]
		E []innerOld
		F []*innerOld
		G []Ref[innerOld]
		H map[string]innerOld
		I map[string]Ref[innerOld]
		J [2]innerOld
		K innerOld
		L atomic.Pointer[innerOld]
		M Ref[innerOld]
		N *Ref[innerOld]
		O Ref[innerOld] // nil
		P *innerOld     // nil
		Q int16
	}
	type now struct {
		A Ref[innerNow]
		B Ref[innerNow]
		C innerNow
		D *innerNow
		E []Ref[innerNow]
		F []Ref[innerNow]
		G []*innerNow
		H map[string]Ref[innerNow]
		I map[string]innerNow
		J [2]Ref[innerNow]
		K atomic.Pointer[innerNow]
		L Ref[innerNow]
		M atomic.Pointer[innerNow]
		N **innerNow
		O innerNow
		P Ref[innerNow]
		Q Ref[int]
	}
	in := func(n int16) innerOld { return innerOld{n, "text"} }
	p := func(n int16) *innerOld { return &innerOld{n, "text"} }
	m := NewRef(p(16))
	x := &old{A: in(1), B: p(2), C: NewRef(p(3)), D: NewRef(p(4)), E: []innerOld{in(5), in(6)}, F: []*innerOld{p(7), nil}, G: []Ref[innerOld]{NewRef(p(8)), {}},
		H: map[string]innerOld{"h": in(9)}, I: map[string]Ref[innerOld]{"i": NewRef(p(10)), "j": {}}, J: [2]innerOld{in(11), in(12)}, K: in(13), M: m, N: &m, Q: 17}
	x.L.Store(p(15))
	pairs := []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}
	check := func(n *now) {
		t.Helper()
		for i, v := range []*innerNow{got(t, n.A), got(t, n.B), &n.C, n.D, got(t, n.E[0]), got(t, n.E[1]), got(t, n.F[0]), n.G[0],
			got(t, n.H["h"]), new(innerNow), got(t, n.J[0]), got(t, n.J[1]), n.K.Load(), nil, got(t, n.L), n.M.Load()} {
			switch want := (innerNow{"text", i + 1}); {
			case i == 9:
				if n.I["i"] != want {
					t.Errorf("map of values: %v", n.I)
				}
			case i == 13:
			case v == nil || *v != want:
				t.Errorf("%d: %v", i+1, v)
			}
		}
		if !n.F[1].IsNil() || n.G[1] != nil || n.I["j"] != (innerNow{}) || n.O != (innerNow{}) || !n.P.IsNil() || *got(t, n.Q) != 17 || *n.N != n.M.Load() {
			t.Errorf("loaded %+v", n)
		}
	}
	want := []reflect.Type{reflect.TypeFor[*now]()}
	for _, kept := range []bool{true, false} {
		s := newFakeStore()
		mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x)
		cfg := configOf(t, s, pairs, true)
		copies, err := Decode(context.Background(), cfg, s, []string{"x"}, want)
		if err != nil {
			t.Fatal(err)
		}
		check(copies[0].Interface().(*now))
		for range 2 { // in the old form, and in the new one
			g := mustGraph(t, cfg)
			if kept {
				keepRefs(g, s)
			}
			vs, err := g.Load(context.Background(), s, []string{"x"}, want)
			if err != nil {
				t.Fatal(err)
			}
			n := vs[0].Interface().(*now)
			mustSave(t, g, s, "x", n)
			mustStayQuiet(t, g, s, "x", n)
			check(n)
			mustStayQuiet(t, g, s, "x", n)
		}
	}
}

// What points into a value follows it behind a Ref, and the Ref is loaded then.
func TestPointersIntoValuesBehindRefs(t *testing.T) {
	type old struct {
		P *string
		A innerOld
		Q *innerOld
		C [2]innerOld
		R *string
	}
	type now struct {
		P *string
		A Ref[innerNow]
		Q Ref[innerNow]
		C [2]Ref[innerNow]
		R *string
	}
	x := &old{A: innerOld{1, "a"}, C: [2]innerOld{{2, "b"}, {3, "c"}}}
	x.P, x.Q, x.R = &x.A.S, &x.A, &x.C[1].S
	for _, kept := range []bool{false, true} {
		s := newFakeStore()
		pairs := []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}
		mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "x", x)
		g := mustGraph(t, configOf(t, s, pairs, true))
		if kept {
			keepRefs(g, s)
		}
		for range 2 {
			vs, err := g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*now]()})
			if err != nil {
				t.Fatal(err)
			}
			n := vs[0].Interface().(*now)
			a, c := got(t, n.A), got(t, n.C[1])
			if n.P != &a.S || got(t, n.Q) != a || n.R != &c.S || *n.P != "a" || *n.R != "c" {
				t.Errorf("loaded %+v", n)
			}
			mustSave(t, g, s, "x", n)
			mustStayQuiet(t, g, s, "x", n)
			g = mustGraph(t, configOf(t, s, pairs, true))
			if kept {
				keepRefs(g, s)
			}
		}
	}
}

// A weak pointer holds no value.
func TestValuesDoNotBecomeWeakPointers(t *testing.T) {
	type old struct{ A innerOld }
	type now struct{ A weak.Pointer[innerNow] }
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}, "x", &old{})
	mismatchAt(t, err, "t.A", "inner", "weak.Pointer[")
}
