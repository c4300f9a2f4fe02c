package graph

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// Elements that ranges do not cover are compared, whatever was met before in whatever
// order; what both unseen and cover say is checked by bytes.
func TestUnseenElementsAreCompared(t *testing.T) {
	const size, memory = 24, 64
	r := rand.New(rand.NewPCG(1, 1))
	spared := 0
	for range 3000 {
		l := &layout{typ: reflect.TypeFor[[3]int]()}
		var met [memory * size]bool
		for range 12 {
			at, n := r.IntN(memory-8), 1+r.IntN(8)
			p := uintptr(at * size)
			if r.IntN(8) == 0 { // in between
				p += 8
			}
			lo, hi := l.unseen(p, n)
			if lo < 0 || hi > n || lo > hi {
				t.Fatalf("elements %d to %d of %d", lo, hi, n)
			}
			for k := range n {
				for b := range uintptr(size) {
					if !met[p+uintptr(k*size)+b] && (k < lo || k >= hi) {
						t.Fatalf("element %d of %d at %d was not met before, ranges %v", k, n, p, l.ranges)
					}
				}
				if k < lo || k >= hi {
					spared++
				}
			}
			l.cover(p, n)
			for b := p; b < p+uintptr(n*size); b++ {
				met[b] = true
			}
			for k, g := range l.ranges {
				if g.lo >= g.hi || k > 0 && l.ranges[k-1].hi > g.lo {
					t.Fatalf("ranges %v", l.ranges)
				}
			}
		}
	}
	if spared < 10_000 {
		t.Errorf("only %d elements were spared", spared)
	}
}

// Slices into slices that lead back to each other are compared once, though there are more ways
// through them than anybody can go.
func TestSlicesThatLeadToEachOther(t *testing.T) {
	type tree []tree
	type root struct{ All tree }
	loops := func(last int) *root {
		array := make(tree, 500)
		for k := range array {
			at := k * 7 % 400
			array[k] = array[at : at+k%90+1 : 500]
		}
		array[499] = make(tree, last)
		return &root{array}
	}
	if _, err := Compare(of(loops(1)), of(loops(1))); err != nil {
		t.Error(err)
	}
	if _, err := Compare(of(loops(1)), of(loops(2))); err == nil {
		t.Error("a difference was missed")
	}
}

// A Comparer that has seen other graphs says what a new one says.
func TestAComparerForgets(t *testing.T) {
	c := NewComparer()
	for name, pair := range differences() {
		for _, two := range [][2]any{{pair[0], pair[1]}, {pair[0], pair[0]}, {pair[1], pair[0]}} {
			_, want := Compare(of(two[0]), of(two[1]))
			_, got := c.Compare(of(two[0]), of(two[1]))
			if (want == nil) != (got == nil) || want != nil && want.Error() != got.Error() {
				t.Errorf("%s: %v, a new one says %v", name, got, want)
			}
		}
	}
}
