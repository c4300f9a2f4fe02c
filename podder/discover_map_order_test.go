package podder

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// Entries come out by hash, and by what is stored where hashes are equal, one behind the
// other, whatever the hashes are and however long the entries.
func TestOrderPlain(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 9))
	for _, bits := range []int{64, 10, 3, 0} { // of the hash that differ
		for _, n := range []int{0, 1, 2, 3, 8, 9, 25, 100, 1000, 3000} {
			var list []plainEntry
			var data []byte
			for range n {
				x := plainEntry{from: uint32(len(data))}
				if x.hash = r.Uint64(); bits < 64 {
					x.hash &= 1<<bits - 1
					if r.IntN(2) == 0 {
						x.hash <<= 64 - max(bits, 1)
					}
				}
				for range 1 + r.IntN(1+r.IntN(1+r.IntN(300))) {
					data = append(data, byte(r.Uint32()))
				}
				x.end = uint32(len(data))
				list = append(list, x)
			}
			want := slices.Clone(list)
			slices.SortFunc(want, func(a, b plainEntry) int {
				return cmp.Or(cmp.Compare(a.hash, b.hash), bytes.Compare(data[a.from:a.end], data[b.from:b.end]))
			})
			got := new(walk).orderPlain(list, slices.Clip(data))
			if len(got.order) != n || len(got.data) != len(data) {
				t.Fatalf("%d entries of %d bytes, not %d of %d", len(got.order), len(got.data), n, len(data))
			}
			at := uint32(0)
			for k, x := range got.order {
				y := want[k]
				if x.from != at || x.hash != y.hash || !bytes.Equal(got.data[x.from:x.end], data[y.from:y.end]) {
					t.Fatalf("%d bits, entry %d of %d is not the one that comes there", bits, k, n)
				}
				at = x.end
			}
		}
	}
}
