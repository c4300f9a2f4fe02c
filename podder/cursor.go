package podder

import "encoding/binary"

// cursor reads slot and descriptor bytes. It never reads past the end: after
// the first failure bad stays set and everything reads as zero.
type cursor struct {
	buf []byte
	off int
	bad bool
}

func (c *cursor) left() int { return len(c.buf) - c.off }

func (c *cursor) fail() {
	c.bad = true
	c.off = len(c.buf)
}

func (c *cursor) byte() byte {
	if c.off >= len(c.buf) {
		c.bad = true
		return 0
	}
	b := c.buf[c.off]
	c.off++
	return b
}

// small reads a number of one byte, as most are, and reports false, having read
// nothing, if the next one is none. It is inlined; uvarint is not.
func (c *cursor) small() (v uint64, ok bool) {
	if c.off < len(c.buf) && c.buf[c.off] < 0x80 {
		v, ok = uint64(c.buf[c.off]), true
		c.off++
	}
	return v, ok
}

func (c *cursor) uvarint() uint64 {
	if c.off < len(c.buf) && c.buf[c.off] < 0x80 {
		c.off++
		return uint64(c.buf[c.off-1])
	}
	return c.longUvarint()
}

func (c *cursor) longUvarint() uint64 {
	if c.off+1 < len(c.buf) && c.buf[c.off+1] < 0x80 && c.buf[c.off+1] > 0 {
		c.off += 2
		return uint64(c.buf[c.off-2]&0x7f) | uint64(c.buf[c.off-1])<<7
	}
	v, n := binary.Uvarint(c.buf[c.off:])
	if n <= 0 {
		c.fail()
		return 0
	}
	c.off += n
	return v
}

func (c *cursor) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// bytes returns the next n bytes without copying them.
func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(c.left()) {
		c.fail()
		return nil
	}
	b := c.buf[c.off : c.off+int(n) : c.off+int(n)]
	c.off += int(n)
	return b
}

func (c *cursor) uint32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) uint64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}
