package mvcc

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/pod"
)

// keyCoder codes the keys in a block's directory, each as what it differs in
// from the one before of its sort (block.go). Neighbours are near each other,
// so the 21 bytes of a pod version's key become three or four.
type keyCoder struct {
	pod, line, number uint64 // of the last pod version
	other             []byte // the last other key
}

func (c *keyCoder) append(dst, key []byte) []byte {
	id, line, number, ok := splitVersionKey(key)
	if d := zigzag(uint64(id) - c.pod); ok && d < 1<<63 {
		dst = binary.AppendUvarint(dst, d<<1|1)
		dst = binary.AppendVarint(dst, int64(uint64(line)-c.line))
		dst = binary.AppendVarint(dst, int64(number-c.number))
		c.pod, c.line, c.number = uint64(id), uint64(line), number
		return dst
	}
	n := sharedPrefix(c.other, key)
	dst = binary.AppendUvarint(dst, uint64(n)<<1)
	dst = binary.AppendUvarint(dst, uint64(len(key)-n))
	c.other = key
	return append(dst, key[n:]...)
}

// read returns a key of its own memory; what r fails with says why not.
func (c *keyCoder) read(r *binenc.Reader) []byte {
	x := r.Uvarint()
	if x&1 != 0 {
		c.pod += unzigzag(x >> 1)
		c.line += uint64(r.Varint())
		c.number += uint64(r.Varint())
		if c.line > 1<<32-1 {
			r.Fail("key of a pod version on line %d", c.line)
			return nil
		}
		return versionKey(make([]byte, 0, versionKeyLen), pod.ID(c.pod), uint32(c.line), c.number)
	}
	shared, rest := x>>1, r.Uvarint()
	if r.Err() == nil && (shared > uint64(len(c.other)) || rest > maxKeyLen || shared+rest > maxKeyLen || shared+rest == 0) {
		r.Fail("key of %d bytes shares %d with one of %d", shared+rest, shared, len(c.other))
	}
	tail := r.Bytes(rest)
	if r.Err() != nil {
		return nil
	}
	c.other = append(append(make([]byte, 0, shared+rest), c.other[:shared]...), tail...)
	return c.other
}

// zigzag and unzigzag give small differences small numbers, whatever their
// sign.
func zigzag(d uint64) uint64 { return d<<1 ^ uint64(int64(d)>>63) }

func unzigzag(z uint64) uint64 { return z>>1 ^ -(z & 1) }

func sharedPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
