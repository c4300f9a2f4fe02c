package db_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
)

type keyed struct {
	Any    map[any]int
	Led    map[any]*cup
	Spots  map[spotKey]int
	Cups   map[spotKey]*cup
	Floats map[float64]int
	Pairs  map[floatKey]*cup
	Coded  map[codedKey]int
}

type spotKey struct{ X, Y int }

// codedKey has a codec that stores N itself, and hands V over.
type codedKey struct {
	N uint64
	V string
}

func codedKeys() db.TypeEntry {
	return db.Codec("coded.key", 1, func(w *db.ValueWriter, k *codedKey) error {
		w.Uint(k.N)
		w.Value(k.V)
		return nil
	}, func(r *db.ValueReader, k *codedKey) error {
		k.N, k.V = r.Uint(), r.Value().(string)
		return nil
	})
}

type floatKey struct {
	Name string
	F    any
}

// mergeKeyed merges what two branches did to a value, and gives the conflicts and what came of it.
func mergeKeyed(t *testing.T, first *keyed, ours, theirs func(*keyed), resolve db.Resolver) ([]*db.MergeConflict, *keyed) {
	t.Helper()
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(codedKeys())}))(t)
	t.Cleanup(func() { d.Close() })
	edit := func(branch string, fn func(*keyed)) {
		must(d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			x := first
			if fn != nil {
				x = must(db.Get[*keyed](ctx, tx, "a"))(t)
				fn(x)
			}
			return tx.Put(ctx, "a", x)
		}, db.TxOptions{Branch: branch}))(t)
	}
	edit("main", nil)
	if err := d.Branch(ctx, "other", must(d.Head(ctx, "main"))(t)); err != nil {
		t.Fatal(err)
	}
	edit("main", ours)
	edit("other", theirs)
	r, err := d.Merge(ctx, db.MergeOptions{Into: "main", From: "other", Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	verifyDeep(t, d)
	s := must(d.At(ctx, must(d.Head(ctx, "main"))(t)))(t)
	defer s.Close()
	return r.Conflicts, must(db.Get[*keyed](ctx, s, "a"))(t)
}

// sum takes what both sides added.
var sum = db.ResolveType(func(b, o, d int) (int, error) { return o + d - b, nil })

// Entries whose keys look alike are conflicts each, with a choice each.
func TestMergeTellsKeysThatLookAlikeApart(t *testing.T) {
	t.Run("values", func(t *testing.T) {
		add := func(n int) func(*keyed) {
			return func(x *keyed) {
				for k := range x.Any {
					x.Any[k] += n
				}
			}
		}
		c, x := mergeKeyed(t, &keyed{Any: map[any]int{1: 10, int64(1): 20, uint8(1): 30}}, add(1), add(2), sum)
		if len(c) != 3 || !maps.Equal(x.Any, map[any]int{1: 13, int64(1): 23, uint8(1): 33}) {
			t.Errorf("%v after the conflicts %v", x.Any, c)
		}
		for _, c := range c {
			if c.Path != "a.Any[1]" {
				t.Errorf("path %s", c.Path)
			}
		}
	})
	t.Run("codec", func(t *testing.T) {
		key := func(n int) codedKey { return codedKey{uint64(n % 3), "v"} }
		for n := range 3 {
			first := &keyed{Coded: map[codedKey]int{key(0): 1, key(1): 1, key(2): 1}}
			c, x := mergeKeyed(t, first, func(x *keyed) { x.Coded[key(n)] = 10 }, func(x *keyed) { delete(x.Coded, key(n+1)) }, nil)
			if len(c) != 0 || !maps.Equal(x.Coded, map[codedKey]int{key(n): 10, key(n + 2): 1}) {
				t.Errorf("%v after the conflicts %v", x.Coded, c)
			}
		}
	})
	t.Run("behind", func(t *testing.T) {
		for _, key := range []any{1, int64(1), uint8(1)} {
			c, x := mergeKeyed(t, &keyed{Led: map[any]*cup{1: {V: 10}, int64(1): {V: 20}, uint8(1): {V: 30}}},
				func(x *keyed) { delete(x.Led, key) }, func(x *keyed) { x.Led[key].V++ }, db.TakeTheirs)
			if len(c) != 1 || len(x.Led) != 3 {
				t.Fatalf("%T: %v after the conflicts %v", key, x.Led, c)
			}
			if sum := x.Led[1].V + x.Led[int64(1)].V + x.Led[uint8(1)].V; sum != 61 || x.Led[key].V%10 != 1 {
				t.Errorf("%T: sum %d, value %d", key, sum, x.Led[key].V)
			}
		}
	})
}

// So many keys that those that are no text have the same in their paths.
func TestMergeTellsManyStructKeysApart(t *testing.T) {
	const n = 3000
	first := func() *keyed {
		x := &keyed{Spots: map[spotKey]int{}, Cups: map[spotKey]*cup{}}
		for i := range n {
			x.Spots[spotKey{i, i}], x.Cups[spotKey{i, i}] = 10*i, &cup{V: i}
		}
		return x
	}
	t.Run("values", func(t *testing.T) {
		add := func(n int) func(*keyed) {
			return func(x *keyed) {
				for k := range x.Spots {
					x.Spots[k] += n
				}
			}
		}
		c, x := mergeKeyed(t, first(), add(1), add(2), sum)
		if len(c) != n || len(x.Spots) != n {
			t.Errorf("%d conflicts, %d entries", len(c), len(x.Spots))
		}
		for k, v := range x.Spots {
			if v != 10*k.X+3 {
				t.Fatalf("%v is %d", k, v)
			}
		}
	})
	t.Run("behind", func(t *testing.T) {
		c, x := mergeKeyed(t, first(),
			func(x *keyed) { maps.DeleteFunc(x.Cups, func(k spotKey, _ *cup) bool { return k.X%2 == 0 }) },
			func(x *keyed) {
				for i := range 40 {
					x.Cups[spotKey{i, i}].V = -1
				}
			}, db.TakeTheirs)
		if len(c) != 20 || len(x.Cups) != n/2+20 {
			t.Errorf("%d conflicts, %d entries", len(c), len(x.Cups))
		}
		for i := range 40 {
			if p := x.Cups[spotKey{i, i}]; p == nil || p.V != -1 {
				t.Errorf("%d: %v", i, p)
			}
		}
	})
}

// Keys that are not equal to themselves: of a map's entries with them none is lost, doubled or brought back.
func TestMergeOfEntriesWithNaN(t *testing.T) {
	nan := math.NaN()
	with := func(m map[float64]int, vals ...int) {
		for k := range m {
			if k != k {
				clear(m)
			}
		}
		for _, v := range vals {
			m[nan] = v
		}
	}
	for name, c := range map[string]struct {
		base, ours, theirs, want []int
		conflicts                int
	}{
		"as it was":         {[]int{1, 2}, []int{1, 2}, []int{1, 2}, []int{1, 2}, 0},
		"equal ones":        {[]int{1, 1}, []int{1, 1}, []int{1, 1, 1}, []int{1, 1, 1}, 0},
		"added by both":     {[]int{1}, []int{1, 5}, []int{1, 7}, []int{1, 5, 7}, 0},
		"removed by each":   {[]int{10, 20, 30}, []int{20, 30}, []int{10, 30}, []int{30}, 0},
		"changed by each":   {[]int{10, 20}, []int{5, 20}, []int{10, 25}, []int{5, 25}, 0},
		"changed, removed":  {[]int{10, 20}, []int{11, 20}, []int{10}, []int{11}, 0},
		"changed by both":   {[]int{10}, []int{11}, []int{12}, []int{13}, 1},
		"both, two of them": {[]int{10, 20}, []int{11, 21}, []int{13, 23}, []int{14, 24}, 2},
	} {
		for _, many := range []int{1, 30000} {
			t.Run(fmt.Sprint(name, " ", many), func(t *testing.T) {
				fill := func(m map[float64]int, vals []int, more ...float64) map[float64]int {
					with(m, vals...)
					for i := range many {
						m[float64(i)] = i
					}
					for _, f := range more {
						m[f] = 7
					}
					return m
				}
				first := &keyed{Floats: fill(map[float64]int{}, c.base)}
				list, x := mergeKeyed(t, first, func(x *keyed) { fill(x.Floats, c.ours, -1) }, func(x *keyed) { fill(x.Floats, c.theirs, -2) }, sum)
				var got []int
				for k, v := range x.Floats {
					if k != k {
						got = append(got, v)
					}
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) || len(x.Floats) != many+2+len(got) || len(list) != c.conflicts {
					t.Errorf("%v of %d entries after the conflicts %v, expected %v", got, len(x.Floats), list, c.want)
				}
			})
		}
	}
}

// The key of the entry that an edit is behind is not equal to itself either.
func TestMergeOfAnEditBehindNaN(t *testing.T) {
	nan := floatKey{"x", math.NaN()}
	for i := range 3 {
		first := &keyed{Pairs: map[floatKey]*cup{}}
		for v := range 3 {
			first.Pairs[nan] = &cup{V: 10 * v}
		}
		list, x := mergeKeyed(t, first,
			func(x *keyed) {
				left := slices.Collect(maps.Values(x.Pairs))
				clear(x.Pairs) // nothing else deletes such keys
				for _, p := range left {
					if p.V != 10*i {
						x.Pairs[nan] = p
					}
				}
			},
			func(x *keyed) {
				for _, p := range x.Pairs {
					if p.V == 10*i {
						p.V++
					}
				}
			}, db.TakeTheirs)
		got := 0
		for _, p := range x.Pairs {
			got += p.V
		}
		if len(list) != 1 || len(x.Pairs) != 3 || got != 31 {
			t.Errorf("%d: %d entries, sum %d, after the conflicts %v", i, len(x.Pairs), got, list)
		}
	}
}
