package db_test

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	shape interface{ Area() float64 }
	rect  struct{ W, H float64 }
	disc  struct{ r float64 }
	only  struct{ P *node } // one pointer: its own data word
	names []string
	ages  map[string]int
	say   string
	holds struct {
		Shape  shape
		Any    any
		Printy fmt.Stringer
		Err    error
	}
	failed struct{ at *node }
)

func (r rect) Area() float64    { return r.W * r.H }
func (d *disc) Area() float64   { return d.r }
func (s say) String() string    { return string(s) }
func (n names) String() string  { return fmt.Sprint([]string(n)) }
func (f *failed) Error() string { return "failed" }
func (o only) Area() float64    { return 1 }
func (a ages) Area() float64    { return float64(len(a)) }
func registered() []db.TypeEntry {
	return []db.TypeEntry{db.Type[rect]("rect"), db.Type[disc]("disc"), db.Type[only]("only"), db.Type[names]("names"), db.Type[ages]("ages"),
		db.Type[say]("say"), db.Type[failed]("failed"), db.Type[node]("node"), db.Type[holds]("holds")}
}

func interfaceRows() []row {
	type concrete struct {
		L *[]any
		S *[]shape
		N *node
	}
	type nils struct {
		L *[]any
		S *[]shape
		E *[]error
	}
	type methods struct {
		H *holds
		F *failed
	}
	type nested struct {
		A *any
		B *any
		S *[]*any
		E *[2]error
	}
	type byValue struct {
		L *[]any
		N *node
	}
	return []row{
		kept("concrete types", func() *concrete {
			n := &node{Name: "n"}
			d := &disc{3}
			return &concrete{&[]any{1, "s", 2.5, n, *n, []int{1}, map[string]int{"a": 1}, [2]string{"x", "y"}, rect{1, 2}, &rect{3, 4}, d, only{n}, names{"n"}, ages{"a": 1}, say("hi"), &[]any{n}},
				&[]shape{rect{2, 3}, &rect{4, 5}, d, only{n}, ages{}}, n}
		}, func(t *testing.T, v *concrete) {
			l, s := *v.L, *v.S
			is(t, "predeclared", l[0] == 1 && l[1] == "s" && l[2] == 2.5 && l[7] == [2]string{"x", "y"})
			is(t, "containers", l[5].([]int)[0] == 1 && l[6].(map[string]int)["a"] == 1)
			is(t, "pointers and copies", l[3] == any(v.N) && l[4].(node).Name == "n" && (*l[15].(*[]any))[0] == any(v.N))
			is(t, "named", l[8] == rect{1, 2} && *l[9].(*rect) == rect{3, 4} && l[11] == only{v.N} && l[12].(names)[0] == "n" && l[13].(ages)["a"] == 1 && l[14] == say("hi"))
			is(t, "in interfaces with methods", s[0].Area() == 6 && s[1].Area() == 20 && s[2].Area() == 3 && s[2] == shape(l[10].(*disc)) && s[3].(only).P == v.N && s[4].Area() == 0)
		}, registered()...),
		kept("nil interfaces, nil pointers and other nils in them", func() *nils {
			return &nils{&[]any{nil, (*node)(nil), []int(nil), map[string]int(nil), (**node)(nil), names(nil), only{}, (*any)(nil), (func())(nil) == nil},
				&[]shape{nil, (*disc)(nil), ages(nil)}, &[]error{nil, (*failed)(nil)}}
		}, func(t *testing.T, v *nils) {
			l, s, e := *v.L, *v.S, *v.E
			is(t, "nil interfaces", l[0] == nil && s[0] == nil && e[0] == nil)
			is(t, "nil pointers", l[1] == any((*node)(nil)) && l[4] == any((**node)(nil)) && l[7] == any((*any)(nil)) && s[1] == shape((*disc)(nil)) && e[1] == error((*failed)(nil)))
			is(t, "nil slices and maps", l[2] != nil && l[2].([]int) == nil && l[3].(map[string]int) == nil && l[5].(names) == nil && s[2].(ages) == nil)
			is(t, "an empty struct of a pointer", l[6] == only{} && l[8] == true)
		}, registered()...),
		kept("types with methods", func() *methods {
			n := &node{Name: "at"}
			f := &failed{n}
			return &methods{&holds{rect{1, 1}, f, names{"a", "b"}, f}, f}
		}, func(t *testing.T, v *methods) {
			h := v.H
			is(t, "calls", h.Shape.Area() == 1 && h.Printy.String() == "[a b]" && h.Err.Error() == "failed")
			is(t, "one object behind two interfaces", h.Any == any(v.F) && h.Err == error(v.F) && v.F.at.Name == "at")
		}, registered()...),
		kept("interfaces that hold pointers to interfaces", func() *nested {
			var a, b, c any
			a, b, c = &b, &c, &a
			var e error = &failed{}
			return &nested{&a, &b, &[]*any{&a, &b, &c}, &[2]error{e, e}}
		}, func(t *testing.T, v *nested) {
			s := *v.S
			is(t, "a ring", *v.A == any(v.B) && *v.B == any(s[2]) && *s[2] == any(v.A) && s[0] == v.A && s[1] == v.B)
			is(t, "in methods", v.E[0] == v.E[1] && v.E[0] != nil)
		}, registered()...),
		kept("structs, arrays and interfaces in interfaces by value", func() *byValue {
			n := &node{Name: "n"}
			h := holds{Any: [3]any{1, rect{1, 2}, []any{n}}, Shape: only{n}}
			return &byValue{&[]any{h, [1]*node{n}, [0]int{}, struct{}{}, any([2]any{h.Any, nil})}, n}
		}, func(t *testing.T, v *byValue) {
			l := *v.L
			h := l[0].(holds)
			a := h.Any.([3]any)
			is(t, "nested", a[0] == 1 && a[1] == rect{1, 2} && a[2].([]any)[0] == any(v.N) && h.Shape == only{v.N})
			is(t, "arrays of one pointer and of none", l[1] == [1]*node{v.N} && l[2] == [0]int{} && l[3] == struct{}{})
			b := l[4].([2]any)
			is(t, "a box inside a box", &b[0].([3]any)[2].([]any)[0] == &a[2].([]any)[0])
		}, registered()...),
	}
}
