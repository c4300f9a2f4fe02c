package mvcc

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/pager"
)

// A block is the unit in which contents lie in the page file: what one or more
// rows stand for, packed and compressed together. Every record of the page
// file is a block. It describes itself, so that what an index page held can be
// found again when that page is lost:
//
//	 0   8  magic
//	 8   4  length of what lies behind these 16 bytes
//	12   4  CRC-32C of what lies behind these 16 bytes
//	16   1  flags: bit 0 = the rest is an s2 block, bit 1 = and that is one of an
//	        s2 block, bit 2 = Huffman codes (huffman.go) of what these two say
//	17      uvarint number, raw length; then the raw bytes, or their s2 form:
//
//	raw: uvarint members n, n × (key, uvarint length of contents), then the
//	     contents, back to back
//	key: a pod version: uvarint 1 + 2 × zigzag(pod − pod of the last such key),
//	         varint line, varint number, both as differences too
//	     any other: uvarint 2 × bytes shared with the last such key, uvarint
//	         length of the rest, the rest
//
// A block has a number, which is never given out again, and a row that says
// where it lies. Rows refer to (number, offset in the raw bytes, length), so
// moving a block changes one row. Numbers from a checkpoint are even, those
// that a commit gave to blocks in its extent are odd: each kind has its own
// counter, and neither needs to know the other.
const (
	blockMagic  = "\x8bpodblk\n"
	blockHeader = 16

	blockCompressed = 1
	blockTwice      = 2
	blockCoded      = 4

	maxBlockRaw = maxForm + 1<<20
)

// member is one row's contents in a block.
type member struct {
	key  []byte
	data []byte
}

// memberAt says where a member lies in the raw bytes.
type memberAt struct {
	key         []byte
	off, length uint64
}

// blockBuffers make blocks one after the other.
type blockBuffers struct {
	raw, stored, packed []byte
	plain               bool // blocks are not compressed
	coder               coder
}

// squeezer returns a shorter form of b, perhaps in the buffer, or b itself.
type squeezer func(b []byte, buffer *[]byte) (packed []byte, flags byte)

// block appends the stored form of a block to what is stored. The next call
// overwrites it unless the caller takes it away.
func (w *blockBuffers) block(number uint64, members []member, how squeezer) (stored []byte, raw int, at []memberAt) {
	at = make([]memberAt, len(members))
	size := 0
	for i, m := range members {
		at[i] = memberAt{key: m.key, length: uint64(len(m.data))}
		size += len(m.data)
	}
	b := slices.Grow(w.directory(at), size)
	for i, m := range members {
		at[i].off = uint64(len(b))
		b = append(b, m.data...)
	}
	w.raw = b
	dst, start := w.stored, len(w.stored)
	if w.plain {
		how = asItIs
	}
	packed, flags := how(b, &w.packed)
	if !w.plain && worthCoding(len(b), size, len(members)) {
		coded, flag := w.coder.code(packed)
		packed, flags = coded, flags|flag
	}
	dst = slices.Grow(dst, len(packed)+maxBlockFront)
	dst = append(appendBlockFront(dst, flags, number, len(b)), packed...)
	sealBlock(dst[start:])
	return dst, len(b), at
}

// directory returns that of a block with these members, in the buffer for raw
// bytes. Offsets are not looked at.
func (w *blockBuffers) directory(members []memberAt) []byte {
	b := binary.AppendUvarint(w.raw[:0], uint64(len(members)))
	var keys keyCoder
	for i := range members {
		b = binary.AppendUvarint(keys.append(b, members[i].key), members[i].length)
	}
	w.raw = b
	return b
}

func asItIs(b []byte, _ *[]byte) ([]byte, byte) { return b, 0 }

// squeezeFast is for what must keep up with a disk.
func squeezeFast(b []byte, buffer *[]byte) (packed []byte, flags byte) {
	if n := s2.MaxEncodedLen(len(b)); cap(*buffer) < n {
		*buffer = make([]byte, n)
	}
	if packed = s2.Encode((*buffer)[:cap(*buffer)], b); len(packed) > len(b)-len(b)/packGain {
		return b, 0
	}
	return packed, blockCompressed
}

// squeeze compresses if that makes b shorter. s2 knows only copies: of what
// repeats itself much, the copies repeat themselves, and a second pass over the
// little that is left is cheap both ways (a tenth to a fifth less on traces of
// text and tables).
func squeeze(b []byte, buffer *[]byte) (packed []byte, flags byte) {
	n := s2.MaxEncodedLen(len(b))
	if cap(*buffer) < 2*n {
		*buffer = make([]byte, 2*n)
	}
	room := (*buffer)[:2*n]
	once := s2.EncodeBetter(room[:n], b)
	if len(once) > len(b)-len(b)/packGain {
		return b, 0
	}
	if len(once) < len(b)/2 {
		if twice := s2.EncodeBetter(room[n:], once); len(twice) < len(once)-len(once)/packGain {
			return twice, blockCompressed | blockTwice
		}
	}
	return once, blockCompressed
}

// decodeBlock returns a block's number and raw bytes, which are a part of b or in memory that nothing else is in.
// It allocates no more than the block proves to need. Errors match dberr.ErrCorrupt, or dberr.ErrTooNew.
func decodeBlock(b []byte, room *unpacking) (number uint64, raw []byte, err error) {
	rest, err := blockRest(b)
	if err != nil {
		return 0, nil, err
	}
	if got, want := crc32.Checksum(rest, castagnoli), binary.LittleEndian.Uint32(b[12:]); got != want {
		return 0, nil, corrupt("block has checksum %08x, expected %08x", got, want)
	}
	return unpackBlock(rest, room, true)
}

// blockRest returns what lies behind a block's header.
func blockRest(b []byte) ([]byte, error) {
	if len(b) < blockHeader+3 || string(b[:len(blockMagic)]) != blockMagic {
		return nil, corrupt("no block where one was expected")
	}
	rest := b[blockHeader:]
	if n := binary.LittleEndian.Uint32(b[8:]); uint64(n) != uint64(len(rest)) {
		return nil, corrupt("block of %d bytes, expected %d", len(rest), n)
	}
	return rest, nil
}

// blockMembers reads the directory of a block's raw bytes.
func blockMembers(raw []byte) ([]memberAt, error) {
	r := binenc.NewReader(raw)
	n := r.Count(3)
	members := make([]memberAt, 0, n)
	var keys keyCoder
	total := uint64(0)
	for range n {
		key := keys.read(r)
		length := r.Uvarint()
		if r.Err() != nil || length > uint64(len(raw)) {
			break
		}
		members = append(members, memberAt{key: key, length: length})
		total += length
	}
	if r.Err() == nil && (len(members) != n || total != uint64(r.Len())) {
		r.Fail("block with %d members of %d bytes has %d bytes of contents", n, total, r.Len())
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("block directory: %w", err)
	}
	off := uint64(r.Off())
	for i := range members {
		members[i].off = off
		off += members[i].length
	}
	return members, nil
}

// blockRow says where a block lies, and how much of it rows still refer to.
type blockRow struct {
	place       pager.Place
	raw         uint64 // length of the raw bytes
	contents    uint64 // of them, the members'
	members     uint64
	liveMembers uint64
	liveBytes   uint64 // of contents
}

// newBlockRow is the row of a new block: all of it is live.
func newBlockRow(pl pager.Place, raw int, at []memberAt) blockRow {
	n := uint64(len(at))
	b := blockRow{place: pl, raw: uint64(raw), members: n, liveMembers: n}
	for _, m := range at {
		b.contents += m.length
	}
	b.liveBytes = b.contents
	return b
}

func blockKey(number uint64) []byte { return recordKey(kindBlock, number) }

// append writes place, length of the directory, members, live members, bytes of
// contents, live ones.
func (b blockRow) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, b.place.Off)
	dst = binary.AppendUvarint(dst, uint64(b.place.Len))
	dst = binary.LittleEndian.AppendUint32(dst, b.place.CRC)
	for _, n := range []uint64{b.raw - b.contents, b.members, b.liveMembers, b.contents, b.liveBytes} {
		dst = binary.AppendUvarint(dst, n)
	}
	return dst
}

func decodeBlockRow(number uint64, b []byte) (blockRow, error) {
	r := binenc.NewReader(b)
	x := blockRow{place: pager.Place{Off: r.Uvarint(), Len: r.Uvarint32(), CRC: r.U32()}}
	directory := r.Uvarint()
	x.members, x.liveMembers, x.contents, x.liveBytes = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	x.raw = directory + x.contents
	if r.Err() == nil && (x.liveMembers > x.members || x.liveBytes > x.contents || x.raw > maxBlockRaw || x.raw < directory || x.place.Len < blockHeader) {
		r.Fail("%d of %d members with %d of %d bytes live in %d stored", x.liveMembers, x.members, x.liveBytes, x.contents, x.place.Len)
	}
	if err := r.End(); err != nil {
		return x, fmt.Errorf("row of block %d: %w", number, err)
	}
	return x, nil
}

// blockBytes is the stored length of the block that a row names.
func blockBytes(row []byte) int64 {
	b, err := decodeBlockRow(0, row)
	if err != nil {
		return 0 // whoever needs the block finds out
	}
	return int64(b.place.Len)
}
