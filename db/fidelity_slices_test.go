package db_test

import (
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	forest  []forest // recursive by itself
	slicing struct {
		A, B, C, D []int
	}
	wording struct {
		All, Head, Tail, Mid []string
	}
	capped struct {
		Ints  []int
		Texts []string
		Nodes []*node
		Full  []string `pod:",fullcap"`
	}
)

func sliceRows() []row {
	type slicesOf struct {
		X *slicing
		Y *[]int
	}
	type words struct{ W *wording }
	type caps struct{ C *capped }
	type tails struct{ X *[4][]int }
	type nils struct {
		X *struct {
			N, E    []int
			Ne, Ee  []zero
			Nm, Em  map[string]int
			In      any
			Ie      any
			Nn, En  []*node
			Ns, Es  []string
			Nested  [][]int
			Pointer *[]int
		}
	}
	type forests struct {
		F *forest
		G *forest
	}
	type windows struct {
		A *[4]int
		B *[4]int
		C *[4]int
	}
	type mixed struct {
		A *[]node
		B *[3]node
		C *[3]node
	}
	type later struct {
		B     *int
		Str   *string
		Elem  *inner
		Whole *box
		Slice *[]inner
		whole *box
		slice *[]inner
	}
	type long struct {
		Floats *[]float64
		Part   *[]float64
		At     *float64
	}
	return []row{
		kept("the same slice in two fields, overlapping sub-slices, append through one seen by the other", func() *slicesOf {
			s := []int{0, 1, 2, 3, 4, 5, 6, 7}
			y := s[5:7]
			return &slicesOf{&slicing{s[1:3], s[1:3], s[2:5:6], s[4:4]}, &y}
		}, func(t *testing.T, v *slicesOf) {
			x := v.X
			is(t, "lengths and capacities", len(x.A) == 2 && cap(x.A) == 7 && len(x.C) == 3 && cap(x.C) == 4 && len(x.D) == 0 && cap(x.D) == 4)
			is(t, "numbers", slices.Equal(x.A[:7], []int{1, 2, 3, 4, 5, 6, 7}))
			is(t, "one array", &x.A[0] == &x.B[0] && &x.A[1] == &x.C[0] && &x.C[2] == &x.D[:1][0] && &(*v.Y)[0] == &x.D[:2][1])
			was := x.D[:1][0]
			_ = append(x.D, 99)
			is(t, "what append wrote", x.C[2] == 99 && x.A[:7][3] == 99)
			x.D[:1][0] = was
		}),
		kept("overlapping slices of strings", func() *words {
			s := []string{"0", "1", "2", "3", "4", "5"}
			return &words{&wording{s[:2:2], s[1:3], s[4:], s[2:5:5]}}
		}, func(t *testing.T, v *words) {
			w := v.W
			is(t, "one array", &w.All[1] == &w.Head[0] && &w.Mid[0] == &w.Head[1] && &w.Mid[2] == &w.Tail[0])
			is(t, "capacities", cap(w.All) == 2 && cap(w.Head) == 5 && cap(w.Tail) == 2 && cap(w.Mid) == 3)
			is(t, "texts", slices.Equal(w.All, []string{"0", "1"}) && slices.Equal(w.Head[:5], []string{"1", "2", "3", "4", "5"}))
		}),
		kept("capacity beyond length", func() *caps {
			ints, texts, nodes, full := []int{1, 2, 3, 4}, []string{"a", "b", "c", "d"}, []*node{{Name: "n"}, {Name: "gone"}, nil}, []string{"x", "y", "z"}
			return &caps{&capped{ints[:1], texts[:1], nodes[:1], full[:1]}}
		}, func(t *testing.T, v *caps) {
			c := v.C
			is(t, "lengths", len(c.Ints) == 1 && len(c.Texts) == 1 && len(c.Nodes) == 1 && len(c.Full) == 1)
			is(t, "capacities", cap(c.Ints) == 4 && cap(c.Texts) == 4 && cap(c.Nodes) == 3 && cap(c.Full) == 3)
			is(t, "all of pointer-free elements", slices.Equal(c.Ints[:4], []int{1, 2, 3, 4}))
			is(t, "all that the tag fullcap asks for", slices.Equal(c.Full[:3], []string{"x", "y", "z"}))
			is(t, "what is shown", c.Texts[0] == "a" && c.Nodes[0].Name == "n")
		}),
		kept("empty tail slices", func() *tails {
			s := []int{1, 2, 3, 4}
			return &tails{&[4][]int{s, s[4:], s[2:2], s[1:1:1]}}
		}, func(t *testing.T, v *tails) {
			x := v.X
			is(t, "capacities", cap(x[1]) == 0 && cap(x[2]) == 2 && cap(x[3]) == 0 && x[1] != nil && x[3] != nil)
			is(t, "place in the array", &x[2][:1][0] == &x[0][2])
		}),
		kept("nil and empty stay different", func() *nils {
			v := new(nils)
			v.X = &struct {
				N, E    []int
				Ne, Ee  []zero
				Nm, Em  map[string]int
				In      any
				Ie      any
				Nn, En  []*node
				Ns, Es  []string
				Nested  [][]int
				Pointer *[]int
			}{E: []int{}, Ee: []zero{}, Em: map[string]int{}, In: []int(nil), Ie: []int{}, En: []*node{}, Es: []string{}, Nested: [][]int{nil, {}}, Pointer: new([]int)}
			return v
		}, func(t *testing.T, v *nils) {
			x := v.X
			is(t, "nil", x.N == nil && x.Ne == nil && x.Nm == nil && x.Nn == nil && x.Ns == nil && x.In.([]int) == nil && x.Nested[0] == nil && *x.Pointer == nil)
			is(t, "empty", x.E != nil && x.Ee != nil && x.Em != nil && x.En != nil && x.Es != nil && x.Ie.([]int) != nil && x.Nested[1] != nil)
		}),
		kept("recursive slice types, and slices of them that contain each other", func() *forests {
			f := forest{{{}, nil}, nil, {}, nil}
			f[1], f[3] = f, f[:2:2]
			g := f[2:4]
			return &forests{&f, &g}
		}, func(t *testing.T, v *forests) {
			f := *v.F
			is(t, "shape", len(f) == 4 && len(f[0]) == 2 && f[0][0] != nil && f[0][1] == nil && f[2] != nil && len(f[2]) == 0)
			is(t, "itself", &f[1][0] == &f[0] && len(f[1]) == 4)
			is(t, "a part of itself", &f[3][0] == &f[0] && len(f[3]) == 2 && cap(f[3]) == 2)
			is(t, "another variable", &(*v.G)[0] == &f[2])
		}),
		kept("array windows of one array that overlap in part", func() *windows {
			s := []int{0, 1, 2, 3, 4, 5, 6, 7}
			return &windows{(*[4]int)(s), (*[4]int)(s[2:]), (*[4]int)(s[4:])}
		}, func(t *testing.T, v *windows) {
			is(t, "numbers", *v.A == [4]int{0, 1, 2, 3} && *v.B == [4]int{2, 3, 4, 5} && *v.C == [4]int{4, 5, 6, 7})
			is(t, "one array", &v.A[2] == &v.B[0] && &v.B[2] == &v.C[0])
		}),
		kept("array windows and slices that overlap in part", func() *mixed {
			s := []node{{Name: "0"}, {Name: "1"}, {Name: "2"}, {Name: "3"}, {Name: "4"}}
			s[1].Left = &s[4]
			a := s[1:3:3]
			return &mixed{&a, (*[3]node)(s), (*[3]node)(s[2:])}
		}, func(t *testing.T, v *mixed) {
			is(t, "names", v.B[0].Name == "0" && (*v.A)[0].Name == "1" && v.C[2].Name == "4")
			is(t, "one array", &(*v.A)[0] == &v.B[1] && &v.B[2] == &v.C[0] && &(*v.A)[1] == &v.C[0] && v.B[1].Left == &v.C[2])
		}),
		kept("parts of a long array", func() *long {
			f := make([]float64, 40_000)
			for i := range f {
				f[i] = float64(i)
			}
			p := f[20_000:20_010]
			return &long{&f, &p, &f[39_999]}
		}, func(t *testing.T, v *long) {
			f := *v.Floats
			for i := range f {
				if f[i] != float64(i) {
					t.Fatalf("%d is %v", i, f[i])
				}
			}
			is(t, "places", len(f) == 40_000 && &(*v.Part)[0] == &f[20_000] && cap(*v.Part) == 20_000 && v.At == &f[39_999])
		}),
		kept("a container that is reached later, from another variable, and is deleted again", func() *later {
			b := &box{a: 1, b: 2, arr: [3]inner{2: {s: "two"}}}
			s := []inner{{s: "s0"}, {s: "s1"}, {s: "s2"}}
			return &later{B: &b.b, Str: &b.arr[2].s, Elem: &s[1], whole: b, slice: &s}
		}, func(t *testing.T, v *later) {
			is(t, "values", *v.B == 22 && *v.Str == "two" && v.Elem.s == "s1 changed")
			is(t, "no container", v.Whole == nil && v.Slice == nil)
		}, db.Type[box]("box"), db.Type[inner]("inner")).after(
			did(func(v *later) { v.Whole, v.Slice = v.whole, v.slice }),
			did(func(v *later) { v.Whole.b, (*v.Slice)[1].s = 22, "s1 changed" }),
			did(func(v *later) { v.Whole, v.Slice = nil, nil }),
		),
		kept("a container that is reached later, from another variable, and stays", func() *later {
			b := &box{a: 1, b: 2, arr: [3]inner{2: {s: "two"}}}
			s := []inner{{s: "s0"}, {s: "s1"}, {s: "s2"}}
			return &later{B: &b.b, Str: &b.arr[2].s, Elem: &s[1], whole: b, slice: &s}
		}, func(t *testing.T, v *later) {
			is(t, "pointers into it", v.B == &v.Whole.b && v.Str == &v.Whole.arr[2].s && v.Elem == &(*v.Slice)[1])
			is(t, "values", v.Whole.a == 1 && v.Whole.b == 22 && len(*v.Slice) == 3 && (*v.Slice)[2].s == "s2")
		}, db.Type[box]("box"), db.Type[inner]("inner")).after(
			did(func(v *later) { v.Whole, v.Slice = v.whole, v.slice }),
			did(func(v *later) { v.Whole.b = 22 }),
		),
	}
}
