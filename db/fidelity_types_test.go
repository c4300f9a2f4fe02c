package db_test

import (
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	couple[A, B any] struct {
		First  A
		Second B
	}
	tree[T any] struct {
		Value T
		Kids  []*tree[T]
		ByKey map[string]couple[string, *tree[T]]
	}
	self   *self // a pointer type that points at itself
	mutual struct{ Other *other }
	other  struct {
		Back  *mutual
		Array [2]*mutual
		Maps  map[string][]*other
	}
)

func typeRows() []row {
	type generics struct {
		T *tree[int]
		P *couple[couple[string, int], *tree[string]]
		L *[]any
	}
	type local struct {
		N    int
		Next *local
	}
	type locals struct {
		L *local
		M map[local]*local
		I *[]any
	}
	type anonymous struct {
		A *struct {
			X, Y int
			In   []struct{ S string }
		}
		I *[]any
	}
	type recursions struct {
		S *self
		M *mutual
	}
	return []row{
		kept("generic types", func() *generics {
			leaf := &tree[int]{Value: 2}
			top := &tree[int]{Value: 1, Kids: []*tree[int]{leaf, leaf}, ByKey: map[string]couple[string, *tree[int]]{"leaf": {"l", leaf}}}
			return &generics{top, &couple[couple[string, int], *tree[string]]{couple[string, int]{"a", 1}, &tree[string]{Value: "s"}}, &[]any{leaf, couple[int, bool]{1, true}}}
		}, func(t *testing.T, v *generics) {
			top := v.T
			is(t, "a tree", top.Kids[0] == top.Kids[1] && top.Kids[0].Value == 2 && top.ByKey["leaf"] == couple[string, *tree[int]]{"l", top.Kids[0]})
			is(t, "of pairs", v.P.First == couple[string, int]{"a", 1} && v.P.Second.Value == "s")
			is(t, "behind interfaces", (*v.L)[0] == any(top.Kids[0]) && (*v.L)[1] == couple[int, bool]{1, true})
		}, db.Type[tree[int]]("tree of int"), db.Type[couple[int, bool]]("a pair")),
		kept("types that are local to a function", func() *locals {
			l := &local{N: 1}
			l.Next = l
			return &locals{l, map[local]*local{*l: l}, &[]any{*l, l}}
		}, func(t *testing.T, v *locals) {
			is(t, "objects", v.L.Next == v.L && v.L.N == 1)
			is(t, "keys", v.M[local{1, v.L}] == v.L)
			is(t, "behind interfaces", (*v.I)[0] == local{1, v.L} && (*v.I)[1] == any(v.L))
		}, db.Type[local]("fidelity.local")),
		kept("structs without a name", func() *anonymous {
			v := &anonymous{}
			v.A = &struct {
				X, Y int
				In   []struct{ S string }
			}{1, 2, []struct{ S string }{{"a"}, {"b"}}}
			v.I = &[]any{struct{ A, B int }{3, 4}, &struct{ N *node }{&node{Name: "n"}}}
			return v
		}, func(t *testing.T, v *anonymous) {
			is(t, "variables", v.A.X == 1 && v.A.Y == 2 && v.A.In[1].S == "b" && len(v.A.In) == 2)
			is(t, "behind interfaces", (*v.I)[0] == struct{ A, B int }{3, 4} && (*v.I)[1].(*struct{ N *node }).N.Name == "n")
		}, db.Type[struct{ A, B int }]("two ints"), db.Type[struct{ N *node }]("a node")),
		kept("types that contain themselves", func() *recursions {
			var s self
			s = &s
			m := &mutual{}
			m.Other = &other{Back: m, Array: [2]*mutual{m, nil}}
			m.Other.Maps = map[string][]*other{"o": {m.Other}}
			return &recursions{&s, m}
		}, func(t *testing.T, v *recursions) {
			is(t, "a pointer at itself", *v.S == v.S && **v.S == v.S)
			o := v.M.Other
			is(t, "two structs", o.Back == v.M && o.Array == [2]*mutual{v.M, nil} && o.Maps["o"][0] == o)
		}),
	}
}
