package binenc

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func TestCombinedCRCIsThatOfTheWhole(t *testing.T) {
	table := crc32.MakeTable(crc32.Castagnoli)
	rng := rand.New(rand.NewPCG(3, 3))
	for range 500 {
		b := make([]byte, rng.IntN(3000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		cut := rng.IntN(len(b) + 1)
		got := CombineCRC(crc32.Checksum(b[:cut], table), crc32.Checksum(b[cut:], table), uint64(len(b)-cut))
		if want := crc32.Checksum(b, table); got != want {
			t.Fatalf("%d and %d bytes: %08x, want %08x", cut, len(b)-cut, got, want)
		}
	}
}
