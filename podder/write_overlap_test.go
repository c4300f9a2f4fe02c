package podder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// windows makes random variables that show parts of the arrays of ints and of
// nodes: windows of fixed size, slices, single elements.
func windows(r *rand.Rand, ints []int, nodes []wNode) map[string]any {
	vars := map[string]any{}
	for i := range 2 + r.IntN(8) {
		name := fmt.Sprint("v", i)
		switch at := r.IntN(len(ints) - 5); r.IntN(9) {
		case 0:
			vars[name] = (*[2]int)(ints[at:])
		case 1:
			vars[name] = (*[5]int)(ints[at:])
		case 2:
			vars[name] = (*wThree)(ints[at:])
		case 3:
			s := ints[at : at+r.IntN(3) : at+3]
			vars[name] = &s
		case 4:
			vars[name] = &ints[at]
		case 5:
			vars[name] = (*[2]wNode)(nodes[at:])
		case 6:
			vars[name] = (*[4]wNode)(nodes[at:])
		case 7:
			s := nodes[at : at+r.IntN(4) : at+3+r.IntN(3)]
			vars[name] = &s
		default:
			vars[name] = &nodes[at].Left
		}
	}
	return vars
}

type wThree [3]int

// Parts of one array that overlap are parts of one array after any sequence of
// saves, in whatever order they are met, and no save is refused.
func TestOverlappingWindowsAreOneArrayInAnyOrder(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			s := newFakeStore()
			types := []reflect.Type{reflect.TypeFor[wNode](), reflect.TypeFor[wThree]()}
			g := mustGraph(t, knowing(t, s, types...))
			ints, nodes := make([]int, 16), make([]wNode, 16)
			stored := map[string]any{}
			for round := range 4 {
				for i := range ints {
					ints[i] = 100*round + i
				}
				nodes[r.IntN(16)] = wNode{Name: fmt.Sprint(seed, round), Left: &nodes[r.IntN(16)]}
				vars := windows(r, ints, nodes)
				tx := s.begin()
				for name := range stored {
					if _, ok := vars[name]; !ok {
						g.Forget(name)
						if err := tx.DeleteName(context.Background(), name); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := tx.commit(); err != nil {
					t.Fatal(err)
				}
				var pairs []any
				for name, v := range vars {
					pairs = append(pairs, name, v)
				}
				mustSave(t, g, s, pairs...)
				mustStayQuiet(t, g, s, pairs...)
				stored = vars
				loadsAs(t, s, knowing(t, s, types...), vars)
			}
		})
	}
}

// loadsAs loads all variables, together and alone.
func loadsAs(t *testing.T, s *fakeStore, cfg Config, vars map[string]any) {
	t.Helper()
	var pairs []any
	want := make([]any, 0, len(vars))
	for name, v := range vars {
		pairs = append(pairs, name, v)
		want = append(want, v)
		g, alone := reload(t, s, cfg, name, v)
		if err := isomorphic(reflect.ValueOf(v), alone[0]); err != nil {
			t.Fatalf("%s alone: %v", name, err)
		}
		mustStayQuiet(t, g, s, name, alone[0].Interface())
	}
	g, vs := reload(t, s, cfg, pairs...)
	got := make([]any, len(vs))
	for i := range vs {
		got[i] = vs[i].Interface()
		pairs[2*i+1] = got[i]
	}
	if err := isomorphic(reflect.ValueOf(&want), reflect.ValueOf(&got)); err != nil {
		t.Fatal(err)
	}
	mustStayQuiet(t, g, s, pairs...)
}

// The elements of an array may be met before a slice whose one element it is:
// they are stored as they were met first, and the slice shows one array of them.
func TestASliceOfOneArrayShowsElementsThatOverlapIt(t *testing.T) {
	type both struct {
		Elems []wNode
		One   [][3]wNode
	}
	one := make([][3]wNode, 1)
	one[0][1].Name = "middle"
	roundTrip(t, "whole", &both{Elems: one[0][:], One: one})
	two := make([][3]wNode, 2)
	two[1][2].Left = &two[1][0]
	roundTrip(t, "part", &both{Elems: two[1][:], One: two[1:2:2]})
	roundTrip(t, "all", &both{Elems: two[1][:], One: two})
}
