package mvcc

import (
	"encoding/binary"
	"hash/crc32"
)

// The blocks of a stream. What goes into one is copied once, into the memory
// that is written: the header and the directory, whose lengths are known last, go
// into room that was left before the contents. Buffers come from a list and go
// back to it, so a transaction of gigabytes makes no garbage of its bytes.

// streamHead is the room before the contents.
const streamHead = 4 << 10

// streamBlock is a block on its way, or a piece of a long one (bigbody.go).
type streamBlock struct {
	long      *longBlock
	piece     []byte // of it
	last      bool   // piece
	number    uint64
	members   []memberAt // with offsets in buf until it is laid out
	envelopes []*[]byte  // what names each member
	buf       []byte     // room, contents
	size      int        // of the contents
}

// add moves contents from an inline envelope into a block. The envelope is
// changed later, at the latest when finish returns.
func (w *stream) add(key []byte, env *[]byte) error {
	data, _, err := loose((*env)[1:])
	if err != nil {
		return err
	}
	w.begin(key, env)
	w.part(data)
	return w.complete()
}

// begin begins a member, part appends to it, complete ends it.
func (w *stream) begin(key []byte, env *[]byte) {
	if w.open == nil {
		w.open = &streamBlock{number: w.s.next.block.Add(2) - 2, buf: w.buffer()}
	}
	b := w.open
	b.members = append(b.members, memberAt{key: key, off: uint64(len(b.buf))})
	b.envelopes = append(b.envelopes, env)
}

func (w *stream) part(b []byte) { w.open.buf = append(w.open.buf, b...) }

// complete hands the block over if it is full.
func (w *stream) complete() error {
	b := w.open
	m := &b.members[len(b.members)-1]
	m.length = uint64(len(b.buf)) - m.off
	b.size = len(b.buf) - streamHead
	if limit := b.limit(); b.size >= limit {
		return w.send()
	}
	return nil
}

// limit is the size at which a block is closed. Where members are tiny each is read by itself, so
// the block is as small as one of what is current (pack.go, rule 1).
func (b *streamBlock) limit() int {
	if b.size <= tinyBytes*len(b.members) {
		return hotBytes
	}
	return streamBlockBytes
}

// held is the memory that a block takes until it is written.
func (b *streamBlock) held() int { return max(b.size, cap(b.buf)) }

// buffer returns memory for a block, that of one that is written if there is any.
func (w *stream) buffer() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.free)
	if n == 0 {
		return make([]byte, streamHead, streamHead+streamBlockBytes*3/2)
	}
	b := w.free[n-1]
	w.free = w.free[:n-1]
	w.freeBytes -= cap(b)
	return b[:streamHead]
}

// recycle takes the memory of a block that is written. w.mu is held.
func (w *stream) recycle(b *streamBlock) {
	if b.buf != nil && w.freeBytes+cap(b.buf) <= streamPending {
		w.free = append(w.free, b.buf)
		w.freeBytes += cap(b.buf)
	}
	b.buf = nil
}

// layOut returns the stored form of a block and the length of its raw bytes, and
// gives members their offsets in these. The result is in the memory of the block
// or of the buffers.
func (b *streamBlock) layOut(buf *blockBuffers) (stored []byte, raw int) {
	directory := buf.directory(b.members)
	for i := range b.members {
		b.members[i].off += uint64(len(directory)) - streamHead
	}
	raw = len(directory) + b.size
	var all []byte
	at := streamHead - len(directory) // where the directory begins
	if at >= maxBlockFront {
		copy(b.buf[at:], directory)
		all = b.buf[at:]
	} else { // very many members
		all = append(directory, b.buf[streamHead:]...)
		buf.raw = all
	}
	packed, flags := all, byte(0)
	if !buf.plain {
		packed, flags = squeezeFast(all, &buf.packed)
	}
	var front [maxBlockFront]byte
	head := appendBlockFront(front[:0], flags, b.number, raw)
	if flags == 0 && at >= maxBlockFront {
		stored = b.buf[at-len(head):]
		copy(stored, head)
	} else {
		buf.stored = append(append(buf.stored[:0], head...), packed...)
		stored = buf.stored
	}
	sealBlock(stored)
	return stored, raw
}

// maxBlockFront is the longest that a block has before its raw bytes.
const maxBlockFront = blockHeader + 1 + 2*binary.MaxVarintLen64

// appendBlockFront appends what stands before the raw bytes of a block or their
// packed form. sealBlock completes it.
func appendBlockFront(dst []byte, flags byte, number uint64, raw int) []byte {
	dst = append(dst, blockMagic...)
	dst = append(dst, make([]byte, blockHeader-len(blockMagic))...)
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, number)
	return binary.AppendUvarint(dst, uint64(raw))
}

// sealBlock puts length and checksum into the header of a block.
func sealBlock(b []byte) {
	rest := b[blockHeader:]
	binary.LittleEndian.PutUint32(b[8:], uint32(len(rest)))
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)))
}
