package vfs

const chunkSize = 4096

type chunk [chunkSize]byte

// content is the bytes of a file in memory. Copies share chunks until one side
// writes; a missing chunk reads as zeros.
//
// A chunk is written in place only while owned says that no other content can
// refer to it. Bytes at and behind size are zero.
type content struct {
	size   int64
	chunks []*chunk
	owned  []bool
}

// clone returns an independent copy. It writes c.owned, so c must not be in
// use elsewhere.
func (c *content) clone() *content {
	clear(c.owned)
	return &content{size: c.size, chunks: append([]*chunk(nil), c.chunks...), owned: make([]bool, len(c.chunks))}
}

func (c *content) readAt(p []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		rest := p[done:min(len(p), done+int(chunkSize-at%chunkSize))]
		if i := int(at / chunkSize); i < len(c.chunks) && c.chunks[i] != nil {
			copy(rest, c.chunks[i][at%chunkSize:])
		} else {
			clear(rest)
		}
		done += len(rest)
	}
	return len(p)
}

// writeAt writes p, extending the size as needed.
func (c *content) writeAt(p []byte, off int64) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		done += copy(c.mutable(int(at / chunkSize))[at%chunkSize:], p[done:])
	}
	if len(p) > 0 {
		c.size = max(c.size, off+int64(len(p)))
	}
}

// mutable returns chunk i, made c's own.
func (c *content) mutable(i int) *chunk {
	c.reach(i)
	switch {
	case c.chunks[i] == nil:
		c.chunks[i] = new(chunk)
	case !c.owned[i]:
		fresh := *c.chunks[i]
		c.chunks[i] = &fresh
	}
	c.owned[i] = true
	return c.chunks[i]
}

// reach makes room for chunk i.
func (c *content) reach(i int) {
	for len(c.chunks) <= i {
		c.chunks = append(c.chunks, nil)
		c.owned = append(c.owned, false)
	}
}

// zero clears [from, to) and leaves the size alone.
func (c *content) zero(from, to int64) {
	to = min(to, int64(len(c.chunks))*chunkSize)
	for at := from; at < to; {
		i, end := int(at/chunkSize), min(to, (at/chunkSize+1)*chunkSize)
		switch {
		case c.chunks[i] == nil:
		case end-at == chunkSize:
			c.chunks[i] = nil
		default:
			clear(c.mutable(i)[at%chunkSize : at%chunkSize+end-at])
		}
		at = end
	}
}

func (c *content) truncate(size int64) {
	if size < c.size {
		c.zero(size, c.size)
		keep := int((size + chunkSize - 1) / chunkSize)
		if keep < len(c.chunks) {
			clear(c.chunks[keep:])
			c.chunks, c.owned = c.chunks[:keep], c.owned[:keep]
		}
	}
	c.size = size
}

// copyFrom takes over bytes [from, to) of src, zeros behind its end, cut to c's
// size. Whole chunks are shared.
func (c *content) copyFrom(src *content, from, to int64) {
	to = min(to, c.size)
	for at := from; at < to; {
		i, end := int(at/chunkSize), min(to, (at/chunkSize+1)*chunkSize)
		// The last chunk of a file counts as whole: behind the end are zeros.
		whole := at%chunkSize == 0 && (end-at == chunkSize || end >= src.size && end == c.size)
		switch {
		case i >= len(src.chunks) || src.chunks[i] == nil:
			c.zero(at, end)
		case whole:
			c.reach(i)
			c.chunks[i], c.owned[i], src.owned[i] = src.chunks[i], false, false
		default:
			copy(c.mutable(i)[at%chunkSize:], src.chunks[i][at%chunkSize:at%chunkSize+end-at])
		}
		at = end
	}
}

// equal reports whether bytes [from, to) are the same in both, zeros behind
// either end.
func (c *content) equal(o *content, from, to int64) bool {
	var a, b [SectorSize]byte
	for at := from; at < to; at += SectorSize {
		n := min(SectorSize, to-at)
		clear(a[c.readAt(a[:n], at):n])
		clear(b[o.readAt(b[:n], at):n])
		if a != b {
			return false
		}
		clear(a[:])
		clear(b[:])
	}
	return true
}
