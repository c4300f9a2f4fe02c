package db_test

import (
	"testing"

	"github.com/poddb/poddb/db"
)

type node struct {
	Name        string
	Left, Right *node
	Any         any
	Map         map[string]*node
}

type box struct {
	a, b int
	in   inner
	arr  [3]inner
	tail string
}

type inner struct {
	x, y int
	s    string
}

type zero struct{}

func pointerRows() []row {
	type twice struct {
		X *[2]*node
		Y *node
	}
	type loops struct {
		Ring  *node
		Slice *[]any
		Map   map[string]any
		Deep  *any
	}
	type fieldsOf struct {
		P     **int
		Whole *box
		First *int
		In    *inner
		Str   *string
		Elem  *inner
		Deep  *string
		Arr   *[3]inner
		Part  *[]inner
	}
	type elements struct {
		Elem  *inner
		Str   *string
		Slice *[]inner
	}
	type grids struct {
		Cell *int
		Row  *[4]int
		Rows *[][4]int
		Grid *[3][4]int
		Cube *[2][3][4]int
		Part *[]int
	}
	type chains struct {
		P **node
		Q ***node
		N *node
	}
	type zeros struct {
		Z *struct {
			A  *zero
			B  *[0]int
			C  []zero
			D  [0]*node
			E  zero
			F  map[zero]int
			G  any
			H  *[0]node
			It *int
		}
	}
	return []row{
		kept("one pointer reached twice, from one variable or from two", func() *twice {
			n := &node{Name: "n"}
			return &twice{&[2]*node{n, n}, n}
		}, func(t *testing.T, v *twice) {
			is(t, "twice in one variable", v.X[0] == v.X[1] && v.X[0].Name == "n")
			is(t, "in two variables", v.X[0] == v.Y)
		}),
		kept("cycles, also a slice in itself, through maps and interfaces", func() *loops {
			a := &node{Name: "a"}
			b := &node{Name: "b", Left: a}
			a.Right, a.Any = b, a
			a.Map = map[string]*node{"self": a, "b": b}
			s := []any{1, nil, nil}
			s[1], s[2] = s, &s
			m := map[string]any{}
			m["self"], m["list"] = m, []any{m, map[string]any{"up": m}}
			var d any
			d = &d
			return &loops{a, &s, m, &d}
		}, func(t *testing.T, v *loops) {
			a := v.Ring
			is(t, "pointers", a.Right.Left == a && a.Map["b"] == a.Right && a.Map["self"] == a)
			is(t, "a pointer behind an interface", a.Any == any(a))
			s := *v.Slice
			in := s[1].([]any)
			is(t, "a slice that contains itself", len(in) == 3 && &in[0] == &s[0] && s[2] == any(v.Slice))
			m := v.Map
			m["probe"] = 1 // maps have no other identity
			l := m["list"].([]any)
			is(t, "a map that contains itself", m["self"].(map[string]any)["probe"] == 1 && l[0].(map[string]any)["probe"] == 1 &&
				l[1].(map[string]any)["up"].(map[string]any)["probe"] == 1)
			delete(m, "probe")
			is(t, "an interface that holds a pointer to itself", *v.Deep == any(v.Deep))
		}),
		kept("pointers to fields, to a struct and its first field at one address, to elements", func() *fieldsOf {
			b := &box{a: 1, b: 2, in: inner{3, 4, "in"}, arr: [3]inner{1: {5, 6, "one"}, 2: {s: "two"}}, tail: "tail"}
			p := &b.b
			part := b.arr[1:2]
			return &fieldsOf{&p, b, &b.a, &b.in, &b.tail, &b.arr[1], &b.arr[2].s, &b.arr, &part}
		}, func(t *testing.T, v *fieldsOf) {
			b := v.Whole
			is(t, "values", b.a == 1 && b.b == 2 && b.in == inner{3, 4, "in"} && b.arr[1] == inner{5, 6, "one"} && b.tail == "tail")
			is(t, "the first field at the address of the struct", v.First == &b.a)
			is(t, "fields", *v.P == &b.b && v.In == &b.in && v.Str == &b.tail)
			is(t, "elements of an array in a struct", v.Elem == &b.arr[1] && v.Deep == &b.arr[2].s && v.Arr == &b.arr)
			is(t, "a slice over an array in a struct", len(*v.Part) == 1 && cap(*v.Part) == 2 && &(*v.Part)[0] == &b.arr[1])
		}, db.Type[box]("box"), db.Type[inner]("inner")),
		kept("pointers to elements of a slice, met before it", func() *elements {
			s := []inner{{s: "0"}, {s: "1"}, {s: "2"}}
			return &elements{&s[2], &s[1].s, &s}
		}, func(t *testing.T, v *elements) {
			s := *v.Slice
			is(t, "values", len(s) == 3 && s[0].s == "0" && s[1].s == "1" && s[2].s == "2")
			is(t, "pointers into it", v.Elem == &s[2] && v.Str == &s[1].s)
		}, db.Type[inner]("inner")),
		kept("arrays of arrays with pointers into them", func() *grids {
			c := &[2][3][4]int{}
			for i := range 24 {
				c[i/12][i/4%3][i%4] = i
			}
			rows, part := c[0][1:], c[1][2][1:3]
			return &grids{&c[1][2][3], &c[0][1], &rows, &c[1], c, &part}
		}, func(t *testing.T, v *grids) {
			c := v.Cube
			for i := range 24 {
				is(t, "numbers", c[i/12][i/4%3][i%4] == i)
			}
			is(t, "pointers to a cell, a row, a grid", v.Cell == &c[1][2][3] && v.Row == &c[0][1] && v.Grid == &c[1])
			is(t, "slices of rows and of cells", len(*v.Rows) == 2 && &(*v.Rows)[0] == &c[0][1] && len(*v.Part) == 2 && cap(*v.Part) == 3 && &(*v.Part)[0] == &c[1][2][1])
		}),
		kept("pointers to pointers", func() *chains {
			n := &node{Name: "end"}
			n.Left = n
			p := &n.Left // a pointer to a field that is a pointer
			return &chains{p, &p, n}
		}, func(t *testing.T, v *chains) {
			is(t, "each step", v.P == &v.N.Left && *v.Q == v.P && **v.Q == v.N && v.N.Left == v.N && v.N.Name == "end")
		}, db.Type[node]("node")),
		kept("zero-size values", func() *zeros {
			v := &zeros{}
			v.Z = new(struct {
				A  *zero
				B  *[0]int
				C  []zero
				D  [0]*node
				E  zero
				F  map[zero]int
				G  any
				H  *[0]node
				It *int
			})
			v.Z.A, v.Z.B, v.Z.C, v.Z.F, v.Z.G = &zero{}, &[0]int{}, make([]zero, 5, 1<<50), map[zero]int{{}: 7}, struct{}{}
			v.Z.It = new(int)
			return v
		}, func(t *testing.T, v *zeros) {
			z := v.Z
			is(t, "not nil", z.A != nil && z.B != nil && z.It != nil && z.H == nil)
			is(t, "length and capacity", len(z.C) == 5 && cap(z.C) == 1<<50)
			is(t, "as a key", len(z.F) == 1 && z.F[zero{}] == 7)
			is(t, "in an interface", z.G == any(struct{}{}))
		}),
	}
}
