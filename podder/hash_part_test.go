package podder

import (
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"
)

// Every bit of what is hashed counts, at every length up to where another hash takes
// over, and so does the length.
func TestHashPartReadsEveryByte(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 3))
	zeros := map[uint64]int{}
	for n := range shortPart + 3 {
		b := make([]byte, n)
		seed := r.Uint64()
		if h, ok := zeros[hashPart(b, 1)]; ok {
			t.Errorf("%d and %d zeros have one hash", h, n)
		}
		zeros[hashPart(b, 1)] = n
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		seen := map[uint64]int{hashPart(b, seed): -1}
		for bit := range 8 * n {
			b[bit/8] ^= 1 << (bit % 8)
			h := hashPart(b, seed)
			if other, ok := seen[h]; ok {
				t.Errorf("%d bytes: bit %d makes the hash that bit %d makes", n, bit, other)
			}
			seen[h] = bit
			b[bit/8] ^= 1 << (bit % 8)
		}
	}
}

// Keys of all lengths have the hash that they are stored by.
func TestHashKeyIsXXH3(t *testing.T) {
	r := rand.New(rand.NewPCG(testSeed(t), 4))
	for n := range 40 {
		for range 20 {
			e, key := &engine{seed: r.Uint64()}, make([]byte, n)
			for i := range key {
				key[i] = byte(r.Uint32())
			}
			want := xxh3.HashSeed(key, e.seed)
			if got := e.hashKey(key); got != want {
				t.Fatalf("seed %x, key %x: %x, not %x", e.seed, key, got, want)
			}
			if n == 0 {
				continue
			}
			key[0] = byte(n-1) << 1 // as a short string; two, so that what comes behind is not read
			list := []plainEntry{{from: uint32(n)}, {from: 0}}
			e.hashShortKeys(append(key, key...), list)
			if want = xxh3.HashSeed(key, e.seed); list[0].hash != want || list[1].hash != want {
				t.Fatalf("seed %x, short key %x: %x and %x, not %x", e.seed, key, list[0].hash, list[1].hash, want)
			}
		}
	}
}
