package db_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	dict  map[string]dict // recursive by itself
	entry struct {        // by way of its own map
		Name string
		In   map[string]entry
		By   map[*entry]*entry
	}
	place struct {
		X, Y int
		Name string
		At   *node
	}
	measured struct {
		F float64
		C complex64
	}
)

func mapRows() []row {
	type sameMap struct {
		A map[string]int
		B *struct {
			M, N map[string]int
			P    *map[string]int
		}
		C *any
	}
	type pointerKeys struct {
		M map[*node]string
		N *node
		L *[]*node
	}
	type fieldKeys struct {
		M map[*int]string
		B *box
	}
	type interfaceKeys struct {
		M map[any]string
		N *node
	}
	type structKeys struct {
		M map[place]int
		A map[[2]any]int
		N *node
	}
	type nans struct {
		F map[float64]int
		S map[measured]string
		C map[complex128]int
		I map[any]int
	}
	type shared struct {
		M map[int]*node
		N map[string]*node
		L *node
	}
	type recursive struct {
		D dict
		E *entry
	}
	type values struct {
		M *struct {
			Empty  map[int]int
			Nil    map[int]int
			Slices map[string][]int
			Arrays map[string][2]*node
			Maps   map[string]map[string]int
			Chars  map[rune]struct{}
			Bools  map[bool]any
		}
	}
	type many struct {
		M map[*node]*node
		N map[int]string
		L *[]*node
	}
	return []row{
		kept("the same map twice", func() *sameMap {
			m := map[string]int{"a": 1}
			v := &sameMap{A: m, C: new(any)}
			v.B = &struct {
				M, N map[string]int
				P    *map[string]int
			}{M: m, N: m}
			v.B.P, *v.C = &v.B.N, m
			return v
		}, func(t *testing.T, v *sameMap) {
			v.A["probe"] = 2
			is(t, "one map", v.B.M["probe"] == 2 && v.B.N["probe"] == 2 && (*v.C).(map[string]int)["probe"] == 2 && v.A["a"] == 1 && len(v.B.M) == 2)
			is(t, "a pointer to the variable that holds it", v.B.P == &v.B.N)
			delete(v.A, "probe")
		}),
		kept("pointers as map keys", func() *pointerKeys {
			a, b, c := &node{Name: "a"}, &node{Name: "b"}, &node{Name: "b"}
			a.Left = b
			return &pointerKeys{map[*node]string{a: "a", b: "b", c: "c", nil: "nil"}, a, &[]*node{a, b, c}}
		}, func(t *testing.T, v *pointerKeys) {
			l := *v.L
			is(t, "keys", len(v.M) == 4 && v.M[l[0]] == "a" && v.M[l[1]] == "b" && v.M[l[2]] == "c" && v.M[nil] == "nil")
			is(t, "sharing", v.M[v.N] == "a" && v.N.Left == l[1])
		}),
		kept("pointers into structs as map keys", func() *fieldKeys {
			b := &box{}
			return &fieldKeys{map[*int]string{&b.a: "a", &b.b: "b", &b.arr[1].y: "y"}, b}
		}, func(t *testing.T, v *fieldKeys) {
			is(t, "keys", len(v.M) == 3 && v.M[&v.B.a] == "a" && v.M[&v.B.b] == "b" && v.M[&v.B.arr[1].y] == "y")
		}, db.Type[box]("box")),
		kept("interfaces as map keys", func() *interfaceKeys {
			n := &node{Name: "n"}
			return &interfaceKeys{map[any]string{1: "int", int8(1): "int8", "1": "string", 1.0: "float", true: "bool", nil: "nil", n: "node",
				[2]int{1, 2}: "array", place{Name: "p", At: n}: "struct", struct{}{}: "empty", any(complex(1, 2)): "complex"}, n}
		}, func(t *testing.T, v *interfaceKeys) {
			m := v.M
			is(t, "numbers of different types", m[1] == "int" && m[int8(1)] == "int8" && m[1.0] == "float" && m[complex(1, 2)] == "complex")
			is(t, "others", m["1"] == "string" && m[true] == "bool" && m[nil] == "nil" && m[struct{}{}] == "empty" && m[[2]int{1, 2}] == "array")
			is(t, "pointers and structs with them", m[v.N] == "node" && m[place{Name: "p", At: v.N}] == "struct" && len(m) == 11)
		}, db.Type[place]("place"), db.Type[node]("node")),
		kept("structs as map keys", func() *structKeys {
			n := &node{Name: "n"}
			return &structKeys{map[place]int{{}: 0, {1, 2, "a", nil}: 1, {1, 2, "a", n}: 2}, map[[2]any]int{{1, "x"}: 1, {n, nil}: 2}, n}
		}, func(t *testing.T, v *structKeys) {
			is(t, "structs", len(v.M) == 3 && v.M[place{1, 2, "a", nil}] == 1 && v.M[place{1, 2, "a", v.N}] == 2)
			is(t, "arrays of interfaces", len(v.A) == 2 && v.A[[2]any{1, "x"}] == 1 && v.A[[2]any{v.N, nil}] == 2)
		}, db.Type[node]("node")),
		kept("NaN as map keys, alone, in structs and interfaces", func() *nans {
			other := math.Float64frombits(0x7ff8000000000abc)
			return &nans{
				map[float64]int{math.NaN(): 1, math.NaN(): 2, other: 3, math.Copysign(0, -1): 4, math.Inf(1): 5},
				map[measured]string{{F: math.NaN()}: "a", {F: math.NaN(), C: complex64(complex(1, math.NaN()))}: "b", {}: "zero"},
				map[complex128]int{complex(math.NaN(), 1): 1, complex(0, math.NaN()): 2},
				map[any]int{math.NaN(): 1, float32(math.NaN()): 2, measured{F: math.NaN()}: 3},
			}
		}, func(t *testing.T, v *nans) {
			bits := map[int]uint64{}
			for k, n := range v.F {
				bits[n] = math.Float64bits(k)
			}
			want := map[int]uint64{1: math.Float64bits(math.NaN()), 2: math.Float64bits(math.NaN()), 3: 0x7ff8000000000abc, 4: 1 << 63, 5: math.Float64bits(math.Inf(1))}
			is(t, "floats, bit for bit", len(v.F) == 5 && fmt.Sprint(bits) == fmt.Sprint(want) && v.F[0] == 4)
			names := map[string]bool{}
			for k, s := range v.S {
				names[s] = true
				is(t, "NaN in structs", (s == "zero") == (k.F == 0) && (s == "b") == (k.C != 0))
			}
			is(t, "all structs", len(v.S) == 3 && len(names) == 3 && v.S[measured{}] == "zero")
			sum := 0
			for k, n := range v.C {
				sum += n
				is(t, "complex", n != 1 || math.IsNaN(real(k)) && imag(k) == 1)
			}
			is(t, "all complex", len(v.C) == 2 && sum == 3)
			types := map[string]int{}
			for k, n := range v.I {
				types[fmt.Sprintf("%T", k)] = n
			}
			is(t, "interfaces", len(v.I) == 3 && types["float64"] == 1 && types["float32"] == 2 && types["db_test.measured"] == 3)
		}, db.Type[measured]("measured")),
		kept("values of maps that share with the rest", func() *shared {
			a, b := &node{Name: "a"}, &node{Name: "b"}
			a.Left, b.Map = b, map[string]*node{"a": a}
			return &shared{map[int]*node{1: a, 2: b, 3: a, 4: nil}, map[string]*node{"b": b}, a}
		}, func(t *testing.T, v *shared) {
			is(t, "objects", v.M[1] == v.L && v.M[3] == v.L && v.M[2] == v.L.Left && v.N["b"] == v.M[2] && v.M[2].Map["a"] == v.L)
			got, ok := v.M[4]
			is(t, "a nil value", ok && got == nil)
		}),
		kept("maps with values that contain the map type itself", func() *recursive {
			d := dict{"a": nil, "b": {}, "c": {"d": {}}}
			d["self"] = d
			e := &entry{Name: "top", In: map[string]entry{}, By: map[*entry]*entry{}}
			e.In["leaf"] = entry{Name: "leaf"}
			e.In["again"] = entry{Name: "again", In: e.In} // a copy that holds the map it lies in
			e.By[e] = e
			return &recursive{d, e}
		}, func(t *testing.T, v *recursive) {
			d, e := v.D, v.E
			d["probe"] = nil
			_, ok := d["self"]["probe"]
			delete(d, "probe")
			is(t, "a map in itself", ok && len(d) == 4 && len(d["c"]) == 1 && d["c"]["d"] != nil)
			is(t, "nil and empty", d["a"] == nil && d["b"] != nil)
			e.In["probe"] = entry{}
			_, ok = e.In["again"].In["probe"]
			delete(e.In, "probe")
			is(t, "a struct in a map, with that map", ok && e.In["leaf"].Name == "leaf" && len(e.In) == 2 && e.In["again"].Name == "again")
			is(t, "a pointer as key and value of its own map", len(e.By) == 1 && e.By[e] == e)
		}),
		kept("values of every kind", func() *values {
			n := &node{Name: "n"}
			v := &values{}
			v.M = &struct {
				Empty  map[int]int
				Nil    map[int]int
				Slices map[string][]int
				Arrays map[string][2]*node
				Maps   map[string]map[string]int
				Chars  map[rune]struct{}
				Bools  map[bool]any
			}{map[int]int{}, nil, map[string][]int{"nil": nil, "empty": {}, "two": {1, 2}}, map[string][2]*node{"n": {n, n}},
				map[string]map[string]int{"nil": nil, "one": {"x": 1}}, map[rune]struct{}{'a': {}, 'ß': {}}, map[bool]any{true: nil, false: 1}}
			return v
		}, func(t *testing.T, v *values) {
			m := v.M
			is(t, "empty and nil", m.Empty != nil && m.Nil == nil)
			is(t, "slices", len(m.Slices) == 3 && m.Slices["nil"] == nil && m.Slices["empty"] != nil && m.Slices["two"][1] == 2)
			a := m.Arrays["n"]
			is(t, "arrays", a[0] == a[1] && a[0].Name == "n")
			_, ok := m.Maps["nil"]
			is(t, "maps", ok && m.Maps["nil"] == nil && m.Maps["one"]["x"] == 1)
			_, ok = m.Chars['ß']
			is(t, "nothing", ok && len(m.Chars) == 2)
			x, ok := m.Bools[true]
			is(t, "interfaces", ok && x == nil && m.Bools[false] == 1)
		}),
		kept("many entries", func() *many {
			v := &many{map[*node]*node{}, map[int]string{}, new([]*node)}
			for i := range 3000 {
				n := &node{Name: fmt.Sprint(i % 7)} // most look alike
				v.M[n] = n
				v.N[i*i] = n.Name
				*v.L = append(*v.L, n)
			}
			return v
		}, func(t *testing.T, v *many) {
			ok := len(v.M) == 3000 && len(v.N) == 3000
			for i, n := range *v.L {
				ok = ok && v.M[n] == n && v.N[i*i] == n.Name && n.Name == fmt.Sprint(i%7)
			}
			is(t, "each", ok)
		}),
	}
}
