package mvcc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// fewLetters returns n bytes that do not repeat and are of eight sorts.
func fewLetters(n int) []byte {
	rng := rand.New(rand.NewPCG(8, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefgh"[rng.IntN(8)]
	}
	return b
}

func TestHuffmanCodesGiveTheirBytesBack(t *testing.T) {
	var used coder
	for _, n := range []int{codeMin, codeMin + 1, 1000, 8 << 10, 64 << 10, codeMax} {
		b := fewLetters(n)
		packed, flag := used.code(b)
		if flag != blockCoded || len(packed) > n*5/8 {
			t.Fatalf("%d bytes of eight sorts took %d, flag %d", n, len(packed), flag)
		}
		if fresh, _ := new(coder).code(b); !bytes.Equal(fresh, packed) {
			t.Fatalf("%d bytes are coded otherwise after others", n)
		}
		if back, err := new(unpacking).decode(nil, packed, uint64(n)); err != nil || !bytes.Equal(back, b) {
			t.Fatalf("%d of %d bytes came back: %v", len(back), n, err)
		}
		if _, err := new(unpacking).decode(nil, packed, uint64(n-1)); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("%d bytes where one less was allowed: %v", n, err)
		}
	}
}

func TestWhatHuffmanCodesDoNotShortenStaysAsItIs(t *testing.T) {
	noise := make([]byte, 4096)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var c coder
	for _, b := range [][]byte{nil, fewLetters(codeMin - 1), fewLetters(codeMax + 1), noise, make([]byte, 4096)} {
		if packed, flag := c.code(b); flag != 0 || len(packed) != len(b) {
			t.Errorf("%d bytes took %d, flag %d", len(b), len(packed), flag)
		}
	}
}

// A block's checksum fits here, so only the decoder stands between lies and the reader.
func TestDamagedHuffmanCodesAreCorruptOrOfTheLengthTheySay(t *testing.T) {
	b := fewLetters(700)
	whole, _ := new(coder).code(b)
	for cut := range whole {
		if _, err := new(unpacking).decode(nil, whole[:cut], 700); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v", cut, len(whole), err)
		}
	}
	refused := 0
	for bit := range 8 * len(whole) {
		lie := bytes.Clone(whole)
		lie[bit/8] ^= 1 << (bit % 8)
		back, err := new(unpacking).decode(nil, lie, 1<<20)
		switch {
		case err == nil && len(back) <= 8*len(lie):
		case errors.Is(err, dberr.ErrCorrupt):
			refused++
		default:
			t.Fatalf("bit %d: %d bytes, %v", bit, len(back), err)
		}
	}
	if refused == 0 {
		t.Error("no lie was refused")
	}
}

func TestBlocksAreCodedUnlessNothingIsCompressed(t *testing.T) {
	m := []member{{versionKey(nil, 3, 1, 9), fewLetters(5000)}}
	for _, how := range []squeezer{asItIs, squeeze} {
		for _, plain := range []bool{false, true} {
			stored, size, at := (&blockBuffers{plain: plain}).block(6, m, how)
			if coded := stored[blockHeader]&blockCoded != 0; coded == plain {
				t.Errorf("plain %v: flags %#x", plain, stored[blockHeader])
			}
			_, raw, err := decodeBlock(stored, new(unpacking))
			if err != nil || len(raw) != size || !bytes.Equal(raw[at[0].off:], m[0].data) {
				t.Errorf("plain %v: %d of %d bytes: %v", plain, len(raw), size, err)
			}
		}
	}
	for _, flags := range []byte{blockTwice, blockTwice | blockCoded, 8} {
		b, _, _ := (&blockBuffers{}).block(6, m, asItIs)
		b[blockHeader] = flags
		mendBlock(b)
		if _, _, err := decodeBlock(b, new(unpacking)); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("flags %#x: %v", flags, err)
		}
	}
}
