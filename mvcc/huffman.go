package mvcc

import (
	"encoding/binary"

	"github.com/klauspost/compress/huff0"

	"github.com/poddb/poddb/internal/binenc"
)

// s2 knows only copies, so what is left between them, and numbers that never
// repeat, are whole bytes still. Checkpoints give those Huffman codes: of what
// they store of a block, raw or s2, if that makes it shorter by 1/packGain.
//
// To read them takes about 4 us and 1 ns a byte, where a cold read of one small pod takes some 25 us in all: so only
// blocks of long members have them, of which a reader needs most of what is decoded, and large ones, of history.
//
//	uvarint length of what was coded, then a tree and four streams as zstd has
//	them (RFC 8878, 4.2.1 and 4.2.2)
const (
	codeMin = 256       // what is shorter pays for no tree
	codeMax = 128 << 10 // one tree fits what is longer badly, and it is read without a copy
)

// worthCoding says of a block of current contents or history whether it may have Huffman codes.
func worthCoding(raw, contents, members int) bool {
	return raw > 2*hotBytes || contents >= members*hotBytes/2
}

// coder makes Huffman codes, one after the other. The zero value is ready to use.
type coder struct {
	scratch huff0.Scratch
	out     []byte
}

// code returns the coded form of b, which the next call overwrites, and the
// flag that says so; or b and 0 if that is not shorter.
func (c *coder) code(b []byte) ([]byte, byte) {
	if len(b) < codeMin || len(b) > codeMax {
		return b, 0
	}
	c.scratch.Reuse = huff0.ReusePolicyNone // each block has its own tree
	codes, _, err := huff0.Compress4X(b, &c.scratch)
	if err != nil { // it does not get shorter
		return b, 0
	}
	c.out = append(binary.AppendUvarint(c.out[:0], uint64(len(b))), codes...)
	if len(c.out) > len(b)-len(b)/packGain {
		return b, 0
	}
	return c.out, blockCoded
}

// decode is the inverse of code, for at most limit bytes, into the memory of dst if they fit there.
func (u *unpacking) decode(dst, b []byte, limit uint64) (out []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			u.tree = nil // nobody knows what is in it
			out, err = nil, corrupt("Huffman codes: %v", p)
		}
	}()
	r := binenc.NewReader(b)
	n := r.Uvarint()
	codes := r.Bytes(uint64(r.Len()))
	if err := r.End(); err != nil {
		return nil, err
	}
	if n < codeMin || n > min(limit, codeMax, 8*uint64(len(codes))) { // no code is shorter than a bit
		return nil, corrupt("%d bytes in %d of Huffman codes, of %d at most", n, len(codes), limit)
	}
	tree, streams, err := huff0.ReadTable(codes, u.tree)
	if err != nil {
		return nil, corrupt("Huffman tree: %v", err)
	}
	u.tree = tree
	if uint64(cap(dst)) < n {
		dst = make([]byte, n)
	}
	// The capacity says how many bytes there are.
	if out, err = tree.Decoder().Decompress4X(dst[:0:n], streams); err != nil || uint64(len(out)) != n {
		return nil, corrupt("Huffman codes of %d bytes give %d: %v", n, len(out), err)
	}
	return out, nil
}
