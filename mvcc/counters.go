package mvcc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
)

// counters are the numbers that only ever grow, and two sums. They are logged
// whole with every group, so after a crash nothing is given out twice that
// anything durable refers to.
type counters struct {
	version Version // newest commit
	number  uint64  // highest pod version number
	pod     uint64  // next pod id
	typ     uint64  // next type id
	record  uint64  // next record number
	line    uint64  // next line
	bytes   uint64  // stored bytes of all pod versions and shared bodies
	gone    uint64  // of them, replaced; a version counts on each line that replaced it
	block   uint64  // next number for a block in an extent, odd
	freed   uint64  // pod versions that were reclaimed
}

func (c *counters) fields() [10]*uint64 {
	return [10]*uint64{&c.version, &c.number, &c.pod, &c.typ, &c.record, &c.line, &c.bytes, &c.gone, &c.block, &c.freed}
}

const countersHint = 1 + 10*binary.MaxVarintLen32 // about how long append makes them

// append writes format 1 and the ten fields in the order above as uvarints.
func (c counters) append(dst []byte) []byte {
	dst = append(slices.Grow(dst, countersHint), 1)
	for _, f := range c.fields() {
		dst = binary.AppendUvarint(dst, *f)
	}
	return dst
}

func readCounters(r *binenc.Reader) (c counters) {
	if f := r.Byte(); f != 1 && r.Err() == nil {
		r.Fail("format %d of the counters is unknown", f)
	}
	for _, f := range c.fields() {
		*f = r.Uvarint()
	}
	return c
}

func decodeCounters(b []byte) (counters, error) {
	r := binenc.NewReader(b)
	c := readCounters(r)
	if err := r.End(); err != nil {
		return c, fmt.Errorf("counters: %w", err)
	}
	return c, nil
}
