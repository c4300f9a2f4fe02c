package mvcc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// appendBlock returns the stored form of a block, and where each member lies.
func appendBlock(dst []byte, number uint64, members []member, compress bool) (stored []byte, raw int, at []memberAt) {
	how := squeeze
	if !compress {
		how = asItIs
	}
	return (&blockBuffers{stored: dst}).block(number, members, how)
}

func TestBlockGivesItsMembersBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 300 {
		var members []member
		for i := range rng.IntN(40) {
			key := versionKey(nil, pid(1+i/3), 1, rng.Uint64N(1<<20))
			members = append(members, member{key, bytes.Repeat([]byte(fmt.Sprint(rng.IntN(9))), rng.IntN(300))})
		}
		stored, size, at := appendBlock([]byte("before"), 12, members, rng.IntN(2) == 0)
		no, raw, err := decodeBlock(stored[len("before"):], new(unpacking))
		if err != nil || no != 12 || len(raw) != size {
			t.Fatalf("block %d of %d bytes, expected 12 of %d: %v", no, len(raw), size, err)
		}
		found, err := blockMembers(raw)
		if err != nil || len(found) != len(members) {
			t.Fatalf("%d members of %d, %v", len(found), len(members), err)
		}
		for i, m := range members {
			f := found[i]
			if !bytes.Equal(f.key, m.key) || f.off != at[i].off || !bytes.Equal(raw[f.off:f.off+f.length], m.data) {
				t.Fatalf("member %d is %x with %d bytes at %d", i, f.key, f.length, f.off)
			}
		}
		for cut := range len(stored) - 6 {
			if _, _, err := decodeBlock(stored[6:6+cut], new(unpacking)); err == nil {
				t.Fatalf("%d of %d bytes were accepted", cut, len(stored)-6)
			}
		}
	}
}
