package db

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// sound checks the invariants of the nodes of a Map, and returns its chunks.
func (m *Map[K, V]) sound(t *testing.T) (chunks []*mapNode[K, V]) {
	t.Helper()
	order, err := orderOf[K]()
	if err != nil {
		t.Fatal(err)
	}
	root, err := m.root.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	depths := map[int]bool{}
	var visit func(n *mapNode[K, V], low, high *K, depth int)
	visit = func(n *mapNode[K, V], low, high *K, depth int) {
		if len(n.Children) > 0 && len(n.Entries) > 0 {
			t.Fatal("a node has entries and children")
		}
		if depth > 0 && n.size() == 0 {
			t.Fatal("an empty node below the root")
		}
		if depth == 0 && len(n.Children) == 1 {
			t.Fatal("the root has one child")
		}
		for i := range n.size() {
			if i == 0 && len(n.Children) > 0 {
				continue
			}
			k := n.key(i)
			if low != nil && order(k, low) < 0 || high != nil && order(k, high) >= 0 {
				t.Fatal("a key outside of its node")
			}
			if i > 1 && order(n.key(i-1), k) >= 0 {
				t.Fatal("keys out of order")
			}
		}
		if n.weighAgain(); n.full() {
			t.Fatalf("a node of %d parts and %d bytes", n.size(), n.weight)
		}
		if len(n.Children) == 0 {
			depths[depth] = true
			chunks = append(chunks, n)
			return
		}
		for i := range n.Children {
			lo, hi := low, high
			if i > 0 {
				lo = &n.Children[i].Low
			}
			if i+1 < len(n.Children) {
				hi = &n.Children[i+1].Low
			}
			c, err := n.child(context.Background(), i)
			if err != nil {
				t.Fatal(err)
			}
			visit(c, lo, hi, depth+1)
		}
	}
	if root != nil {
		visit(root, nil, nil, 0)
	}
	return chunks
}

// A Map does what a sorted slice does, whatever is put and deleted in which order.
func TestMapIsLikeASortedSlice(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 1))
		text := strings.Repeat("x", []int{0, 10, 300, 3000}[seed%4])
		m := NewMap[int, string]()
		model := map[int]string{}
		keys := 1 + rng.IntN(4000)
		growing := 0.7
		for step := range 12_000 {
			if step%2000 == 0 {
				growing = []float64{0.9, 0.5, 0.1}[rng.IntN(3)]
			}
			k := rng.IntN(keys)
			if rng.Float64() < growing {
				v := fmt.Sprint(text[:rng.IntN(len(text)+1)], step)
				if err := m.Put(ctx, k, v); err != nil {
					t.Fatal(err)
				}
				model[k] = v
			} else {
				ok, err := m.Delete(ctx, k)
				if _, there := model[k]; err != nil || ok != there {
					t.Fatalf("seed %d: Delete(%d) is %v, %v", seed, k, ok, err)
				}
				delete(model, k)
			}
			k = rng.IntN(keys)
			want, there := model[k]
			if v, ok, err := m.Get(ctx, k); err != nil || ok != there || v != want {
				t.Fatalf("seed %d: Get(%d) is %q, %v, %v", seed, k, v, ok, err)
			}
			if step%500 == 0 {
				sameAsModel(t, rng, m, model)
			}
		}
		for k := range model {
			if ok, err := m.Delete(ctx, k); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		if chunks := m.sound(t); len(chunks) != 1 || chunks[0].size() != 0 {
			t.Fatalf("%d chunks of an empty Map", len(chunks))
		}
	}
}

// sameAsModel compares a Map with a Go map in all ways of reading.
func sameAsModel[V comparable](t *testing.T, rng *rand.Rand, m *Map[int, V], model map[int]V) {
	t.Helper()
	ctx := context.Background()
	m.sound(t)
	var keys []int
	for k := range model {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if n, err := m.Len(ctx); n != len(keys) || err != nil {
		t.Fatalf("Len %d, %v, not %d", n, err, len(keys))
	}
	check := func(what string, got []MapEntry[int, V], want []int, back bool) {
		t.Helper()
		if back {
			slices.Reverse(got)
		}
		if len(got) != len(want) {
			t.Fatalf("%s yields %d entries, not %d", what, len(got), len(want))
		}
		for i, e := range got {
			if e.Key != want[i] || e.Value != model[e.Key] {
				t.Fatalf("%s yields %v, want key %d", what, e, want[i])
			}
		}
	}
	all := func(seq func(func(MapEntry[int, V], error) bool)) (list []MapEntry[int, V]) {
		t.Helper()
		for e, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		return list
	}
	top := 4200
	from, to := rng.IntN(top)-100, rng.IntN(top)-100
	lo, _ := slices.BinarySearch(keys, from)
	hi, _ := slices.BinarySearch(keys, to)
	between := keys[min(lo, hi):hi]
	if lo > hi {
		between = nil
	}
	check("All", all(m.All(ctx)), keys, false)
	check("Backward", all(m.Backward(ctx)), keys, true)
	check("Range", all(m.Range(ctx, from, to)), between, false)
	check("RangeBackward", all(m.RangeBackward(ctx, from, to)), between, true)
	check("From", all(m.From(ctx, from)), keys[lo:], false)
	check("Before", all(m.Before(ctx, to)), keys[:hi], true)
	first, ok, err := m.First(ctx)
	if err != nil || ok != (len(keys) > 0) || ok && first.Key != keys[0] {
		t.Fatalf("First is %v, %v, %v", first, ok, err)
	}
	last, ok, err := m.Last(ctx)
	if err != nil || ok != (len(keys) > 0) || ok && last.Key != keys[len(keys)-1] {
		t.Fatalf("Last is %v, %v, %v", last, ok, err)
	}
}

// A Map made at once holds what was given, the last of each key, in any order.
func TestMapOf(t *testing.T) {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{0, 1, 2, 100, 5000} {
		for _, sorted := range []bool{true, false} {
			model := map[int]string{}
			m, err := MapOf(func(yield func(int, string) bool) {
				for i := range n {
					k := i
					if !sorted {
						k = rng.IntN(4000)
					}
					model[k] = strings.Repeat("v", i%500) + fmt.Sprint(i)
					yield(k, model[k])
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			sameAsModel(t, rng, m, model)
			for k := range model {
				if k%3 == 0 {
					delete(model, k)
					if _, err := m.Delete(ctx, k); err != nil {
						t.Fatal(err)
					}
				}
			}
			sameAsModel(t, rng, m, model)
		}
	}
}

// Keys and values of any size end in a tree that is sound.
func TestMapOfLargeKeysAndValues(t *testing.T) {
	ctx := context.Background()
	for _, size := range []int{1, 3000, 20_000} {
		model := map[string]string{}
		m := NewMap[string, string]()
		for i := range 300 {
			k := strings.Repeat("k", size) + fmt.Sprint(i*7919%300)
			model[k] = strings.Repeat("v", i%7*size)
			if err := m.Put(ctx, k, model[k]); err != nil {
				t.Fatal(err)
			}
		}
		all, err := MapOf(func(yield func(string, string) bool) {
			for k, v := range model {
				yield(k, v)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*Map[string, string]{m, all} {
			m.sound(t)
			n := 0
			for e, err := range m.All(ctx) {
				if err != nil || model[e.Key] != e.Value {
					t.Fatal("an entry is another one", err)
				}
				n++
			}
			if n != len(model) {
				t.Fatalf("%d entries, not %d", n, len(model))
			}
		}
	}
}

// Where chunks begin depends little on the order in which entries came.
func TestShapeOfMapDependsLittleOnItsHistory(t *testing.T) {
	ctx := context.Background()
	const n = 20_000
	begins := func(m *Map[int, string]) map[int]bool {
		set := map[int]bool{}
		for _, c := range m.sound(t) {
			set[c.Entries[0].Key] = true
		}
		return set
	}
	value := func(k int) string { return strings.Repeat("v", 30+k%10) }
	shapes := []map[int]bool{}
	for seed := range uint64(3) {
		m := NewMap[int, string]()
		for _, k := range rand.New(rand.NewPCG(seed, 1)).Perm(n) {
			if err := m.Put(ctx, k, value(k)); err != nil {
				t.Fatal(err)
			}
		}
		shapes = append(shapes, begins(m))
	}
	bulk, err := MapOf(func(yield func(int, string) bool) {
		for k := range n {
			yield(k, value(k))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	shapes = append(shapes, begins(bulk))
	for i, a := range shapes {
		for _, b := range shapes[i+1:] {
			same := 0
			for k := range a {
				if b[k] {
					same++
				}
			}
			t.Logf("%d and %d chunks, %d begin alike", len(a), len(b), same)
			if same*4 < min(len(a), len(b)) {
				t.Errorf("of %d and %d chunks only %d begin with one key", len(a), len(b), same)
			}
		}
	}
}

// What a loop adds and removes ahead of it is seen, and nothing is yielded twice.
func TestMapChangesWhileItIsWalked(t *testing.T) {
	ctx := context.Background()
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 9))
		m := NewMap[int, string]()
		model := map[int]string{}
		put := func(k int) {
			model[k] = strings.Repeat("v", 40)
			if err := m.Put(ctx, k, model[k]); err != nil {
				t.Fatal(err)
			}
		}
		for k := range 1000 {
			put(k * 10)
		}
		up := seed%2 == 0
		seq, last := m.All(ctx), math.MinInt
		if !up {
			seq, last = m.Backward(ctx), math.MaxInt
		}
		seen := map[int]bool{}
		for e, err := range seq {
			if err != nil || seen[e.Key] || up != (e.Key > last) || model[e.Key] == "" {
				t.Fatalf("seed %d: %d after %d, %v", seed, e.Key, last, err)
			}
			seen[e.Key], last = true, e.Key
			for range rng.IntN(4) {
				k := e.Key + rng.IntN(400) - 200
				if rng.IntN(2) == 0 && len(model) < 5000 {
					put(k)
				} else if _, err := m.Delete(ctx, k); err != nil {
					t.Fatal(err)
				} else {
					delete(model, k)
				}
				if ahead := k > e.Key == up && k != e.Key; ahead {
					delete(seen, k)
				}
			}
		}
		m.sound(t)
	}
}

type mapKey struct {
	Group string
	when  int32
	At    netip.Addr
	ID    [4]byte
}

type level float32

// orders checks that a Map orders keys as they are listed.
func orders[K comparable](t *testing.T, keys ...K) {
	t.Helper()
	m := NewMap[K, int]()
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(keys)) {
		if err := m.Put(context.Background(), keys[i], i); err != nil {
			t.Fatal(err)
		}
	}
	want := 0
	for e, err := range m.All(context.Background()) {
		if err != nil || e.Value != want {
			t.Fatalf("%v is number %d, not %d (%v)", e.Key, want, e.Value, err)
		}
		want++
	}
	if want != len(keys) {
		t.Fatalf("%T: %d keys of %d", keys[0], want, len(keys))
	}
}

func TestOrderOfMapKeys(t *testing.T) {
	orders(t, math.MinInt, -1, 0, 1, math.MaxInt)
	orders[int8](t, -128, -1, 0, 127)
	orders[uint64](t, 0, 1, math.MaxUint64)
	orders[uintptr](t, 0, 9)
	orders(t, "", "A", "a", "a\x00", "aa", "é")
	orders(t, math.NaN(), math.Inf(-1), -1.5, 0, math.Inf(1))
	orders[level](t, -1, 0.5, 2)
	orders(t, false, true)
	orders(t, [2]int16{-1, 5}, [2]int16{0, -5}, [2]int16{0, 0})
	orders(t, time.Unix(5, 0), time.Unix(5, 1), time.Unix(6, 0))
	orders(t, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("::1"))
	ten, two := netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.2")
	orders(t, mapKey{"a", 2, ten, [4]byte{}}, mapKey{"b", -1, ten, [4]byte{}}, mapKey{"b", 1, two, [4]byte{9}}, mapKey{"b", 1, ten, [4]byte{1}}, mapKey{"b", 1, ten, [4]byte{1, 1}})
	if f, err := orderOf[float64](); err != nil || f(new(float64), new(float64)) != 0 {
		t.Fatal("0 is not 0")
	}
	nan, zero, minus := math.NaN(), 0.0, math.Copysign(0, -1)
	f, _ := orderOf[float64]()
	if f(&nan, &nan) != 0 || f(&zero, &minus) != 0 || cmp.Compare(nan, nan) != 0 {
		t.Fatal("NaN is not NaN, or -0 not 0")
	}
}
