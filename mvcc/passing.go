package mvcc

import (
	"bytes"
	"sync/atomic"
)

// Reading one tiny pod of a block that nobody has asked for lately. To keep such a block is more work than to
// read it, and puts another one out of the caches: so it is read into memory that is used again, and the pod is
// copied. Whoever asks for the block next, and not long after, has it kept.

// passed are blocks that were read and not kept, each in the place that its number gives it: about as many as
// the cache has blocks.
type passed struct{ places []atomic.Uint64 }

// again reports whether a block is here, and puts it here.
func (p *passed) again(number uint64) bool {
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

// passingBlock is memory for one block.
type passingBlock struct {
	stored []byte
	raw    [2][]byte // unpackBlock's
}

// tinyMember returns what an envelope names, which is tiny, of its block, in memory that stays.
func (v *view) tinyMember(e *envelope) ([]byte, error) {
	raw, ok := v.atHand(e.block)
	if !ok {
		row, err := v.blockRow(e.block)
		if err != nil {
			return nil, err
		}
		if row.raw > 2*tinyBytes && max(row.raw, uint64(row.place.Len)) <= 2*hotBytes && !v.s.passed.again(e.block) {
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
	b, _ := v.s.passing.Get().(*passingBlock)
	if b == nil {
		b = new(passingBlock)
	}
	defer v.s.passing.Put(b)
	stored, err := v.pv.ReadRecordInto(b.stored, row.place)
	if err != nil {
		return nil, err
	}
	b.stored = stored
	rest, err := blockRest(stored)
	if err != nil {
		return nil, err
	}
	number, raw, err := unpackBlock(rest, &b.raw)
	if err != nil {
		return nil, err
	}
	if err := row.expect(e.block, number, raw); err != nil {
		return nil, err
	}
	rec, err := e.member(raw)
	return bytes.Clone(rec), err
}
