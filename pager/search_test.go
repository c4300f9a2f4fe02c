package pager

import (
	"math/rand/v2"
	"testing"
)

// A page finds the first key at or above any key, also where keys begin alike, end in zeros or
// are shorter than what is compared at once.
func TestSearchInAPage(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	random := func() []byte {
		k := []byte("ab")
		for range rng.IntN(12) {
			k = append(k, []byte{0, 0, 0, 1, 'x', 255}[rng.IntN(6)])
		}
		return k
	}
	for range 200 {
		n := randomLeaf(rng)
		pg, err := parsePage(n.encode(4096))
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			k := random()
			if rng.IntN(8) == 0 {
				k = k[:rng.IntN(len(k)+1)]
			}
			i, eq := pg.search(k)
			if want, is := n.find(k); i != want || eq != is {
				t.Fatalf("%q in %q is at %d (%v), not %d (%v)", k, n.keys, i, eq, want, is)
			}
		}
	}
}
