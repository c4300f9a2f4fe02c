package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/db"
)

// problemsOf returns what a save of x as variable x cannot store.
func problemsOf(t *testing.T, x any) []db.PathProblem {
	t.Helper()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "x", x)
	_, err := ns.Save(context.Background())
	var all *db.UnsupportedError
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	return all.Problems
}

func pathsOf(problems []db.PathProblem) (paths []string) {
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	slices.Sort(paths)
	return paths
}

type pathKey struct {
	A int
	B string
}

// Each entry of a map is named, whatever its key is.
func TestUnsupportedEntriesOfMapsAreAllNamed(t *testing.T) {
	f := func() {}
	long := strings.Repeat("ü", 50)
	type typed string
	got := pathsOf(problemsOf(t, &struct {
		M map[pathKey]func()
		N map[[2]string]any
		P map[*pathKey]func()
		I map[any]func()
		S map[string]func()
		D map[struct {
			K *int
			E any
		}]func()
		Known typed
	}{
		M: map[pathKey]func(){{1, "x"}: f, {3, `"`}: f, {1, long + "1"}: f, {1, long + "2"}: f},
		N: map[[2]string]any{{"a", "b"}: f, {"a b", ""}: f},
		P: map[*pathKey]func(){{1, "x"}: f, {1, "y"}: f, nil: f},
		I: map[any]func(){1: f, int64(1): f, 1.0: f, "1": f, typed("1"): f, true: f, nil: f, [1]any{uint8(1)}: f},
		S: map[string]func(){long + "1": f, long + "2": f, "1": f},
		D: map[struct {
			K *int
			E any
		}]func(){{E: 1}: f, {K: new(int)}: f},
	}))
	cut := strings.Repeat("ü", 29)
	want := []string{
		`x.M[db_test.pathKey{A:1 B:"x"}]`, `x.M[db_test.pathKey{A:3 B:"\""}]`, `x.N[[2]string{"a" "b"}]`, `x.N[[2]string{"a b" ""}]`,
		`x.P[nil]`, `x.I[1]`, `x.I[int64(1)]`, `x.I[float64(1)]`, `x.I["1"]`, `x.I[db_test.typed("1")]`, `x.I[true]`, `x.I[nil]`, `x.I[[1]interface {}{uint8(1)}]`,
		`x.S["1"]`, `x.D[struct { K *int; E interface {} }{K:nil E:1}]`,
	}
	for _, path := range want {
		if !slices.Contains(got, path) {
			t.Errorf("%s is missing", path)
		}
	}
	numbered := map[string]int{}
	for _, path := range got {
		if !slices.Contains(want, path) {
			at := strings.LastIndex(path, " #")
			numbered[path[:max(at, 0)]]++
		}
	}
	if numbered["x.P[*db_test.pathKey"] != 2 || numbered[`x.S["`+cut+`…"`] != 2 || len(numbered) != 4 {
		t.Errorf("numbered are %v", numbered)
	}
	if all := slices.Compact(slices.Clone(got)); len(got) != 22 || len(all) != len(got) {
		t.Errorf("%d problems, %d that can be told apart: %q", len(got), len(all), got)
	}
	for _, path := range got {
		if len(path) > 80 {
			t.Errorf("%s is long", path)
		}
	}
}

// What an atomic.Value holds has a path, as have the objects behind it.
func TestUnsupportedValuesInAtomicsAreNamed(t *testing.T) {
	type held struct{ F func() }
	type holder struct {
		Arr [3]atomic.Value
		In  struct{ V atomic.Value }
		S   []*atomic.Value
		P   atomic.Value

		Known held
	}
	f := func() {}
	x := &holder{S: []*atomic.Value{nil, {}}}
	x.Arr[1].Store(f)
	x.In.V.Store(f)
	x.S[1].Store(held{f})
	x.P.Store(&held{f})
	want := []string{"x.Arr[1]", "x.In.V", "x.P.F", "x.S[1].F"}
	if got := pathsOf(problemsOf(t, x)); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

type pathNode struct {
	F           func()
	Next, Other *pathNode
}

// Values far away are all named, by the ends of their paths, with a number where these are alike.
func TestUnsupportedValuesFarAwayAreAllNamed(t *testing.T) {
	f := func() {}
	for _, n := range []int{2, 24, 31, 32, 33, 34, 63, 64, 65, 200, 1000} {
		x := &pathNode{}
		end := x
		var want []string
		for i := range n {
			end.Next = &pathNode{F: f}
			end = end.Next
			path := "x" + strings.Repeat(".Next", i+1) + ".F"
			if hidden := i + 2 - 24 - 8; hidden > 0 { // the variable leads to the first node
				path = fmt.Sprintf("x%s…(%d steps)…%s.F", strings.Repeat(".Next", 23), hidden, strings.Repeat(".Next", 8))
			}
			want = append(want, path)
		}
		slices.Sort(want)
		if got := pathsOf(problemsOf(t, x)); !slices.Equal(got, want) {
			t.Errorf("%d nodes: %q\nwant %q", n, got, want)
		}
	}
	x := &pathNode{}
	end := x
	for range 25 {
		end.Next = &pathNode{}
		end = end.Next
	}
	for _, way := range []**pathNode{&end.Next, &end.Other} {
		end := way
		for range 20 {
			*end = &pathNode{}
			end = &(*end).Next
		}
		*end = &pathNode{F: f}
	}
	path := fmt.Sprintf("x%s…(15 steps)…%s.F", strings.Repeat(".Next", 23), strings.Repeat(".Next", 8))
	if got := pathsOf(problemsOf(t, x)); !slices.Equal(got, []string{path, path + " #2"}) {
		t.Errorf("%q, want two of %s", got, path)
	}
}

// Memory that is met again as a part of something larger is named once.
func TestUnsupportedValuesInWhatGrowsAreNamedOnce(t *testing.T) {
	type item struct {
		F func()
		A any
	}
	type later struct{ S, T []item }
	type holder struct {
		P, Q  *item
		Later *later

		Known struct{ G func() }
	}
	f := func() {}
	all := make([]item, 6)
	for i := range all {
		all[i].F, all[i].A = f, struct{ G func() }{f}
	}
	want := []string{}
	for i := range all {
		want = append(want, fmt.Sprintf("[%d].A.G", i), fmt.Sprintf("[%d].F", i))
	}
	for _, x := range []*holder{
		{P: &all[4], Q: &all[1], Later: &later{all[:3:3], all}},
		{P: &all[0], Later: &later{all[2:3:3], all}},
		{Later: &later{all[:2], all}},
	} {
		var got []string
		for _, path := range pathsOf(problemsOf(t, x)) {
			got = append(got, path[strings.Index(path, "["):])
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
