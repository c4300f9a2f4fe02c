package mvcc

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
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
	refused, used := 0, new(unpacking)
	for bit := range 8 * len(whole) {
		lie := bytes.Clone(whole)
		lie[bit/8] ^= 1 << (bit % 8)
		back, err := new(unpacking).decode(nil, lie, 1<<20)
		if again, err2 := used.decode(nil, lie, 1<<20); (err == nil) != (err2 == nil) || !bytes.Equal(again, back) {
			t.Fatalf("bit %d: %v at first, %v in memory that was used", bit, err, err2)
		}
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
	half := fewLetters(5000)
	m[0].data = append(half, half[:2500]...)
	b, _, _ := (&blockBuffers{}).block(6, m, squeeze)
	if b[blockHeader] != blockCompressed|blockCoded {
		t.Fatalf("flags %#x of a block that repeats a third", b[blockHeader])
	}
	for flags, want := range map[byte]error{ // what follows would do
		blockTwice | blockCoded:          dberr.ErrCorrupt,
		blockCompressed | blockCoded | 8: dberr.ErrTooNew,
	} {
		lie := bytes.Clone(b)
		lie[blockHeader] = flags
		mendBlock(lie)
		if _, _, err := decodeBlock(lie, new(unpacking)); !errors.Is(err, want) || !strings.Contains(err.Error(), "block 6 has flags") {
			t.Errorf("flags %#x: %v", flags, err)
		}
	}
}

func TestTheLengthOfHuffmanCodesIsBounded(t *testing.T) {
	whole, _ := new(coder).code(fewLetters(700))
	codes := whole[2:]
	for _, n := range []uint64{codeMin - 1, 8*uint64(len(codes)) + 1, codeMax, codeMax + 1, 1 << 63, math.MaxUint64} {
		lie := append(binary.AppendUvarint(nil, n), codes...)
		if _, err := new(unpacking).decode(nil, lie, math.MaxUint64); !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), "at most") {
			t.Errorf("%d bytes in %d: %v", n, len(codes), err)
		}
	}
}

// Blocks of all sorts are read one after the other into the same memory, damaged ones in between: each reads as it
// would alone, and what was read to be kept stays.
func TestBlocksThatAreUnpackedIntoUsedMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var room unpacking
	type keptBlock struct{ raw, want []byte }
	var kept []keptBlock
	flags := map[byte]int{}
	for i := range 400 {
		var data []byte
		switch n := rng.IntN(16 << 10); rng.IntN(6) {
		case 0: // is not compressed
			data = []byte(randomText(uint64(i), n))
		case 1:
			data = fewLetters(n)
		case 5: // repeats nothing
			data = []byte(base64.StdEncoding.EncodeToString([]byte(noise(t, n, uint64(i)))))
		case 2:
			data = bytes.Repeat(fewLetters(n/8+1), 8)
		case 3: // again and again, but for a little
			for j := range n / 16 {
				data = append(data, fmt.Sprintf("%16d", j*j)...)
			}
		case 4: // the same, of what has no short codes
			text := noise(t, 200, uint64(i))
			for range n / 100 {
				data = append(append(append(data, text[:100]...), byte(rng.Uint32())), text[100:]...)
			}
		}
		b, _, _ := appendBlock(nil, uint64(2*i), []member{{versionKey(nil, 3, 1, 9), data}}, true)
		flags[b[blockHeader]]++
		_, want, err := decodeBlock(b, new(unpacking))
		if err != nil {
			t.Fatal(err)
		}
		if rng.IntN(3) == 0 { // a lie in between may say anything, but it must not matter afterwards
			lie := bytes.Clone(b)
			lie[blockHeader+rng.IntN(len(b)-blockHeader)] ^= 1 << rng.IntN(8)
			_, _, _ = unpackBlock(lie[blockHeader:], &room, rng.IntN(2) == 0)
		}
		_, raw, err := decodeBlock(b, &room)
		if err != nil || !bytes.Equal(raw, want) {
			t.Fatalf("block %d, flags %#x: %v", i, b[blockHeader], err)
		}
		kept = append(kept, keptBlock{raw, want})
		if _, raw, err = unpackBlock(b[blockHeader:], &room, false); err != nil || !bytes.Equal(raw, want) {
			t.Fatalf("block %d, flags %#x, into memory that is used again: %v", i, b[blockHeader], err)
		}
	}
	for i, k := range kept {
		if !bytes.Equal(k.raw, k.want) {
			t.Fatalf("block %d changed after it was read", i)
		}
	}
	for _, f := range []byte{0, blockCoded, blockCompressed, blockCompressed | blockCoded, blockCompressed | blockTwice, blockCompressed | blockTwice | blockCoded} {
		if flags[f] == 0 {
			t.Errorf("no block with flags %#x: %v", f, flags)
		}
	}
}

// Whoever reads one of many small pods does not pay for Huffman codes of the others.
func TestBlocksOfSmallMembersAreNotCoded(t *testing.T) {
	for _, c := range []struct {
		members, length int
		coded           bool
	}{{1, hotBytes / 2, true}, {1, hotBytes/2 - 1, false}, {8, hotBytes / 8, false}, {2, hotBytes / 2, true}, {100, 2 * hotBytes / 100, true}, {14, hotBytes / 8, false}} {
		var members []member
		for i := range c.members {
			members = append(members, member{versionKey(nil, pid(3+i), 1, 9), fewLetters(c.length + i)[i:]})
		}
		b, raw, _ := appendBlock(nil, 6, members, true)
		if coded := b[blockHeader]&blockCoded != 0; coded != c.coded {
			t.Errorf("%d members of %d bytes, %d in all: coded %v", c.members, c.length, raw, coded)
		}
	}
}
