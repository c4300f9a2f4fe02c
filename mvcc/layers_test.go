package mvcc

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// threeLayers is an index of random version keys in three layers, beside the
// map that all of them together must equal.
type threeLayers struct {
	v    *view
	rng  *rand.Rand
	want map[string]string
}

func (x *threeLayers) randomKey() []byte {
	return versionKey(nil, pid(1+x.rng.IntN(6)), uint32(1+x.rng.IntN(2)), uint64(1+x.rng.IntN(20)))
}

func makeThreeLayers(t *testing.T, s *Store, seed uint64) *threeLayers {
	t.Helper()
	x := &threeLayers{rng: rand.New(rand.NewPCG(seed, 4)), want: map[string]string{}}
	b, err := s.pager.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Abort()
	for i := range x.rng.IntN(80) {
		k, val := x.randomKey(), fmt.Sprint("page ", i)
		if err := b.Put(k, []byte(val)); err != nil {
			t.Fatal(err)
		}
		x.want[string(k)] = val
	}
	if err := b.Commit(bg, s.pager.State().LogPos, true); err != nil {
		t.Fatal(err)
	}
	la := &layers{active: newOverlay()}
	overlays := []*overlay{la.active}
	if x.rng.IntN(4) > 0 {
		la.frozen = newOverlay()
		overlays = []*overlay{la.frozen, la.active}
	}
	for i, o := range overlays {
		for j := range x.rng.IntN(60) {
			k := x.randomKey()
			if x.rng.IntN(2) == 0 {
				o.remove(k)
				delete(x.want, string(k))
				continue
			}
			val := fmt.Sprintf("layer %d, %d", i, j)
			o.replace(k, []byte(val))
			x.want[string(k)] = val
		}
		if x.rng.IntN(3) == 0 {
			overlays[i] = o.copy()
		}
	}
	if la.active = overlays[len(overlays)-1]; la.frozen != nil {
		la.frozen = overlays[0]
	}
	x.v = &view{s: s, la: la, pv: s.pager.View()}
	return x
}

// first is the lowest key of the map that is not below from.
func (x *threeLayers) first(from []byte) (string, bool) {
	keys := slices.Sorted(maps.Keys(x.want))
	i, _ := slices.BinarySearch(keys, string(from))
	if i == len(keys) {
		return "", false
	}
	return keys[i], true
}

// Rows that upkeep replaced or deleted, in any layer and of any age: reading the
// layers gives what one map would.
func TestLayersWithDeletionsEqualAMap(t *testing.T) {
	for seed := range uint64(300) {
		s := mustOpen(t, testOptions(newFS(t)))
		x := makeThreeLayers(t, s, seed)
		var walked []string
		if err := x.v.walk([]byte{kindVersion}, func(k, val []byte) error {
			if x.want[string(k)] != string(val) {
				return fmt.Errorf("row %x is %q, expected %q", k, val, x.want[string(k)])
			}
			walked = append(walked, string(k))
			return nil
		}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.Equal(walked, slices.Sorted(maps.Keys(x.want))) {
			t.Fatalf("seed %d: walked %d rows, expected %d", seed, len(walked), len(x.want))
		}
		for range 200 {
			x.look(t, seed)
		}
		x.v.pv.Close()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// look compares one get, one seek and one seek within a prefix.
func (x *threeLayers) look(t *testing.T, seed uint64) {
	t.Helper()
	k := x.randomKey()
	val, ok, err := x.v.get(k)
	want, has := x.want[string(k)]
	if err != nil || ok != has || string(val) != want {
		t.Fatalf("seed %d: get %x gave %q, %v, %v; expected %q", seed, k, val, ok, err, want)
	}
	first, any := x.first(k)
	key, val, ok := x.v.seek(k).at()
	if ok && key[0] != kindVersion {
		ok = false // behind the rows of this test
	}
	if ok != any || ok && (string(key) != first || string(val) != x.want[first]) {
		t.Fatalf("seed %d: seek %x gave %x %q, expected %x", seed, k, key, val, first)
	}
	any = any && bytes.HasPrefix([]byte(first), k[:versionKeyLen-8])
	key, val, ok, err = x.v.seekIn(k, versionKeyLen-8)
	if err != nil || ok != any || ok && (string(key) != first || string(val) != x.want[first]) {
		t.Fatalf("seed %d: seekIn %x gave %x %q %v, %v; expected %x", seed, k, key, val, ok, err, first)
	}
}

// Without upkeep a newer layer has only higher numbers under one prefix, and
// the first layer with a hit decides, deletions or not.
func TestSeekInTrustsTheFirstLayerOnlyWhileOrdered(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	la := &layers{frozen: newOverlay(), active: newOverlay()}
	la.frozen.put(versionKey(nil, 1, 1, 5), []byte("five"))
	la.active.put(versionKey(nil, 1, 1, 9), []byte("nine"))
	v := &view{s: s, la: la, pv: s.pager.View()}
	defer v.pv.Close()
	seek := func(n uint64) string {
		_, val, _, err := v.seekIn(versionKey(nil, 1, 1, n), versionKeyLen-8)
		if err != nil {
			t.Fatal(err)
		}
		return string(val)
	}
	if got := seek(8); got != "five" {
		t.Fatalf("below nine is %q", got)
	}
	la.active.replace(versionKey(nil, 1, 1, 3), []byte("three"))
	if got := seek(8); got != "five" {
		t.Fatalf("after the older three was replaced, below nine is %q", got)
	}
	la.active.remove(versionKey(nil, 1, 1, 5))
	if got := seek(8); got != "three" {
		t.Fatalf("without five, below nine is %q", got)
	}
	la.active.remove(versionKey(nil, 1, 1, 9))
	if got := seek(20); got != "three" {
		t.Fatalf("without nine, the newest is %q", got)
	}
}

// The first row of upkeep in a layer may come between a reader's look at the
// layer's order and its seek.
func TestSeekInWhileALayerBecomesUnordered(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	pv := s.pager.View()
	defer pv.Close()
	for round := range 3000 {
		la := &layers{frozen: newOverlay(), active: newOverlay()}
		la.frozen.put(versionKey(nil, 1, 1, 5), []byte("five"))
		la.active.put(versionKey(nil, 1, 1, 9), []byte("nine"))
		v := &view{s: s, la: la, pv: pv}
		done := make(chan struct{})
		go func() {
			defer close(done)
			la.active.replace(versionKey(nil, 1, 1, 3), []byte("three"))
			la.active.remove(versionKey(nil, 1, 1, 9))
		}()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
			}
			_, val, _, err := v.seekIn(versionKey(nil, 1, 1, 8), versionKeyLen-8)
			if err != nil || string(val) != "five" {
				t.Fatalf("round %d: below nine is %q, %v", round, val, err)
			}
			key, val, ok, err := v.seekIn(versionKey(nil, 1, 1, 30), versionKeyLen-8)
			if err != nil || !ok || string(val) != "five" && string(val) != "nine" {
				t.Fatalf("round %d: the newest is %x %q, %v", round, key, val, err)
			}
		}
	}
}
