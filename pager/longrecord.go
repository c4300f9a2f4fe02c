package pager

import (
	"fmt"
	"hash/crc32"
	"math"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// LongRecord is a record of an extent that is written piece by piece, so that
// nobody holds it whole. Its first bytes come last: they may depend on the
// rest. Until End the extent takes no other record.
type LongRecord struct {
	e    *Extent
	off  uint64
	head uint64 // bytes that End writes
	n    uint64 // bytes in all
	done uint64 // bytes of pieces written
	sum  uint32 // of the pieces
}

// BeginRecord begins a record of n bytes, of which End writes the first head.
func (e *Extent) BeginRecord(head, n uint64) (*LongRecord, error) {
	if err := e.usable(); err != nil {
		return nil, err
	}
	if n > math.MaxUint32 || head > n || n == 0 {
		return nil, fmt.Errorf("%w: record of %d bytes with a head of %d", dberr.ErrTooLarge, n, head)
	}
	off, err := e.records.reserve(n)
	if err != nil {
		return nil, e.broken(err)
	}
	return &LongRecord{e: e, off: off, head: head, n: n}, nil
}

// Write writes the next piece. It does not keep it.
func (r *LongRecord) Write(piece []byte) error {
	if err := r.e.usable(); err != nil {
		return err
	}
	if uint64(len(piece)) > r.n-r.head-r.done {
		return r.e.broken(fmt.Errorf("%w: record of %d bytes gets too many", dberr.ErrInvalid, r.n))
	}
	err := r.e.out.writeAt(piece, int64(r.off+r.head+r.done))
	r.done += uint64(len(piece))
	r.sum = crc32.Update(r.sum, castagnoli, piece)
	return r.e.broken(err)
}

// Sum is the CRC-32C of the pieces so far.
func (r *LongRecord) Sum() uint32 { return r.sum }

// End writes the first bytes and returns the record's place.
func (r *LongRecord) End(head []byte) (Place, error) {
	if err := r.e.usable(); err != nil {
		return Place{}, err
	}
	if uint64(len(head)) != r.head || r.head+r.done != r.n {
		return Place{}, r.e.broken(fmt.Errorf("%w: record of %d bytes ends with %d and a head of %d", dberr.ErrInvalid, r.n, r.done, len(head)))
	}
	if err := r.e.broken(r.e.out.writeAt(head, int64(r.off))); err != nil {
		return Place{}, err
	}
	return Place{Off: r.off, Len: uint32(r.n), CRC: binenc.CombineCRC(sum(head), r.sum, r.done)}, nil
}

// reserve makes room for a record of n bytes that is written past the buffer.
func (r *recordRun) reserve(n uint64) (off uint64, err error) {
	if err := r.room(n); err != nil {
		return 0, err
	}
	if err := r.out.flush(); err != nil {
		return 0, err
	}
	return r.claim(n), nil
}

// claim takes the next n bytes of the run.
func (r *recordRun) claim(n uint64) (off uint64) {
	off = r.end
	r.end += n
	for no, k := range overlaps(Place{Off: off, Len: uint32(n)}, uint64(r.out.p.pageSize)) {
		r.live[no-r.run.start] += uint32(k)
	}
	return off
}
