package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
)

// mendBlock gives bytes the magic, length and checksum of a block.
func mendBlock(b []byte) {
	if len(b) < blockHeader {
		return
	}
	copy(b, blockMagic)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-blockHeader))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[blockHeader:], castagnoli))
}

// FuzzBlock: stored blocks, and the directory behind their compression. A
// directory that is accepted names bytes inside the block, one member after the
// other.
func FuzzBlock(f *testing.F) {
	members := []member{
		{versionKey(nil, 3, 1, 9), []byte("a version")}, {versionKey(nil, 3, 1, 8), bytes.Repeat([]byte("one before "), 30)},
		{versionKey(nil, 4, 1, 2), nil},
	}
	for _, compress := range []bool{false, true} {
		b, _, _ := appendBlock(nil, 6, members, compress)
		f.Add(b, false)
		f.Add(b, true)
	}
	for _, text := range [][]byte{fewLetters(4200), bytes.Repeat(fewLetters(2000), 3)} { // Huffman codes of raw bytes, and of s2
		b, _, _ := appendBlock(nil, 6, []member{{versionKey(nil, 3, 1, 9), text}}, true)
		if b[blockHeader]&blockCoded == 0 {
			f.Fatalf("block with flags %#x has no Huffman codes", b[blockHeader])
		}
		f.Add(b, true)
	}
	var room unpacking
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		b = bytes.Clone(b)
		if mend {
			mendBlock(b)
		}
		_, raw, err := decodeBlock(b, new(unpacking))
		if rest, bad := blockRest(b); bad == nil && (mend || err == nil) {
			_, again, err2 := unpackBlock(rest, &room, false)
			if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(raw, again) {
				t.Fatalf("%d bytes, %v; into memory that was used %d bytes, %v", len(raw), err, len(again), err2)
			}
		}
		if err != nil {
			if !errors.Is(err, dberr.ErrCorrupt) && !errors.Is(err, dberr.ErrTooNew) {
				t.Fatal(err)
			}
			return
		}
		found, err := blockMembers(raw)
		if err != nil {
			return
		}
		end := uint64(len(raw))
		for i := len(found) - 1; i >= 0; i-- {
			if found[i].off+found[i].length != end {
				t.Fatalf("member %d of %d: %d bytes at %d, the next one at %d", i, len(found), found[i].length, found[i].off, end)
			}
			end = found[i].off
		}
	})
}

// FuzzRows: the small rows of the index. What is accepted comes back from its
// own encoding.
func FuzzRows(f *testing.F) {
	f.Add(byte(0), newBlockRow(pager.Place{Off: 8192, Len: 90, CRC: 7}, 100, []memberAt{{length: 60}}).append(nil))
	f.Add(byte(1), packedIn(6, memberAt{off: 9, length: 40}))
	f.Add(byte(1), inline([]byte("bytes")))
	f.Add(byte(2), lineValue(&line{id: 2, branch: "b", lineage: []fork{{1, 3, 9}}}))
	f.Add(byte(2), lineValue(&line{id: 2, branch: "deep", lineage: []fork{{1, 3, 9}}, origin: &origin{fork{2, 7, 12}, 8}}))
	f.Add(byte(3), branchValue(2, 9))
	f.Add(byte(4), counters{version: 9, number: 500}.append(nil))
	f.Add(byte(5), rootValue(7))
	f.Add(byte(6), appendFrame(nil, frame{form: bytes.Repeat([]byte("form "), 90)}))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		var again []byte
		switch kind % 7 {
		case 0:
			if x, err := decodeBlockRow(6, b); err == nil {
				again = x.append(nil)
			}
		case 1:
			if e, err := decodeEnvelope(b); err == nil && e.how == envPacked {
				again = packedIn(e.block, memberAt{off: e.off, length: e.length})
			}
		case 2:
			if l, err := decodeLine(2, b); err == nil {
				again = lineValue(l)
			}
		case 3:
			if l, head, err := decodeBranch(b); err == nil {
				again = branchValue(l, head)
			}
		case 4:
			if c, err := decodeCounters(b); err == nil {
				again = c.append(nil)
			}
		case 5:
			if id, err := decodeRoot(b); err == nil {
				again = rootValue(id)
			}
		case 6:
			if x, err := decodeFrame(b); err == nil && len(x.form) > maxForm {
				t.Fatalf("a form of %d bytes", len(x.form))
			}
		}
		if again != nil && !bytes.Equal(again, b) {
			t.Fatalf("kind %d: %x was accepted and is written as %x", kind%7, b, again)
		}
	})
}

// FuzzUpkeepRows: what retention, aggregates and salvage keep in the index. What
// is accepted comes back from its own encoding, and takes memory in proportion.
func FuzzUpkeepRows(f *testing.F) {
	numbers, versions := &Set{}, &Set{}
	numbers.Add(3)
	numbers.Add(9)
	versions.AddRange(100, 900)
	versions.Add(70_000)
	f.Add(byte(0), appendGarbage(nil, 2, []garbage{{7, 3, 9}, {8, 4, 0}, {2, 11, 12}}))
	f.Add(byte(1), (&lostRows{[]keyRange{{[]byte("n"), []byte("nx")}, {[]byte("v"), []byte("w")}}, numbers, versions}).append(nil))
	f.Add(byte(1), (&lostRows{nil, &Set{}, &Set{}}).append(nil))
	f.Add(byte(2), (&net{versions, numbers}).append(nil))
	f.Add(byte(2), newNet().append(nil))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		var again []byte
		switch kind % 3 {
		case 0:
			if line, list, err := decodeGarbage(b); err == nil {
				again = appendGarbage(nil, line, list)
			}
		case 1:
			if l, err := decodeLostRows(b); err == nil {
				again = l.append(nil)
				l.hidesPod(versionKey(nil, 3, 1, 9), 2)
				l.hidesName(nameVersionKey(nameKey("x"), 1, 9), 2)
			}
		case 2:
			if n, err := decodeNet(b); err == nil {
				again = n.append(nil)
			}
		}
		if again == nil {
			return
		}
		// Bitmaps have several stored forms: so the second encoding decides.
		var third []byte
		switch kind % 3 {
		case 0:
			third = again
		case 1:
			third = must(decodeLostRows(again))(t).append(nil)
		case 2:
			third = must(decodeNet(again))(t).append(nil)
		}
		if !bytes.Equal(again, third) || kind%3 == 0 && !bytes.Equal(again, b) {
			t.Fatalf("kind %d: %x was accepted, is written as %x and then %x", kind%3, b, again, third)
		}
	})
}

// A salvage meets blocks that no row vouches for: a block checks itself.
func TestABlockNoticesEachFlippedBit(t *testing.T) {
	b, _, _ := appendBlock(nil, 6, []member{{versionKey(nil, 3, 1, 9), []byte("a version")}}, false)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, _, err := decodeBlock(b, new(unpacking)); err == nil {
				t.Fatalf("bit %d of byte %d of %d may be flipped", bit, i, len(b))
			}
			b[i] ^= 1 << bit
		}
	}
}
