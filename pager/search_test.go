package pager

import (
	"math/rand/v2"
	"testing"
)

// A page finds the first key at or above any key, also where keys begin alike, end in zeros or
// are shorter than what is compared at once.
func TestSearchInAPage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		n := randomLeaf(rng)
		pg, err := parsePage(n.encode(1 << 14))
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			k := keyNear(rng, n)
			i, eq := pg.search(k)
			if want, is := n.find(k); i != want || eq != is {
				t.Fatalf("%q in %q is at %d (%v), not %d (%v)", k, n.keys, i, eq, want, is)
			}
		}
	}
}
