package mvcc

import (
	"bytes"
	"sync/atomic"
)

// Reading one tiny pod of a block that nobody has asked for lately. To keep such a block is more work than to
// read it, and puts another one out of the caches: so it is read into memory that is used again, and the pod is
// copied. Whoever asks for the block next, and not long after, has it kept. The first blocks are kept as long as they
// put out none.

// passed are blocks that were read and not kept, each in the place that its number gives it: about as many as
// the cache has blocks.
type passed struct {
	places []atomic.Uint64
	room   atomic.Int64 // bytes of blocks that are kept when they are first read
}

// begin makes an empty one, of a cache of so many bytes.
func (p *passed) begin(bytes int64) {
	p.places = make([]atomic.Uint64, bytes/hotBytes)
	p.room.Store(bytes)
}

// again reports whether a block of so many bytes is to be kept: it is here, or there is room. Else it puts it here.
func (p *passed) again(number, size uint64) bool {
	if p.room.Load() > 0 && p.room.Add(-int64(size)) >= 0 {
		return true
	}
	if len(p.places) == 0 {
		return false
	}
	at := &p.places[number*0x9E3779B97F4A7C15>>20%uint64(len(p.places))]
	if at.Load() == number+1 {
		return true
	}
	at.Store(number + 1)
	return false
}

// tinyMember returns what an envelope names, which is tiny, of its block, in memory that stays.
func (v *view) tinyMember(e *envelope) ([]byte, error) {
	raw, ok := v.atHand(e.block)
	if !ok {
		row, err := v.blockRow(e.block)
		if err != nil {
			return nil, err
		}
		if row.raw > 2*tinyBytes && max(row.raw, uint64(row.place.Len)) <= 2*hotBytes && !v.s.passed.again(e.block, row.raw) {
			return v.passingMember(e, row)
		}
		if raw, err = v.readKept(e.block, row); err != nil {
			return nil, err
		}
	}
	return e.member(raw)
}

// passingMember is tinyMember of a block that is not kept. The row has the checksum of all that is read.
func (v *view) passingMember(e *envelope, row blockRow) ([]byte, error) {
	b := v.s.blockRoom()
	defer v.s.rooms.Put(b)
	stored, err := v.pv.ReadRecordInto(b.stored, row.place)
	if err != nil {
		return nil, err
	}
	b.stored = stored
	rest, err := blockRest(stored)
	if err != nil {
		return nil, err
	}
	number, raw, err := unpackBlock(rest, &b.unpacking, false)
	if err != nil {
		return nil, err
	}
	if err := row.expect(e.block, number, raw); err != nil {
		return nil, err
	}
	rec, err := e.member(raw)
	return bytes.Clone(rec), err
}
