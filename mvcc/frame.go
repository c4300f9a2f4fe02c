package mvcc

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/s2"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// A version record is what a pod version's envelope holds: a short head of ours
// and the pod's stored form (package pod).
//
//	flags 1: bit 0 needs a base, bit 1 compressed; others 0
//	with a base: uvarint line, number of the base, byte depth
//	compressed: uvarint length, then an s2 block of that length; else the form
//
// A shared body has the same shape and never a base.
//
// 1. A base is an older version of the same pod: its number is lower, so a
// chain ends. 2. depth is the length of the chain down to a version without a
// base, at most maxDepth, so reading is bounded.
type frame struct {
	base  baseRef
	depth uint8 // 0: no base
	form  []byte
}

// baseRef names the version that a patch applies to.
type baseRef struct {
	line   uint32
	number uint64
}

const (
	flagBase       = 1
	flagCompressed = 2

	maxDepth  = 16
	flatDepth = 8       // up to which small pods, and long changes, make a chain longer
	maxForm   = 1 << 30 // bytes of one stored form
	minPacked = 512     // forms shorter than this are compressed with their neighbours only, in a block
	formHead  = 48      // what a stored form has beside the body, mostly
	frameHead = 32      // at most, with an envelope's first byte
	// packGain: a compressed form must be shorter by this part of the whole.
	packGain = 16
)

func appendFrameHead(dst []byte, f frame) []byte {
	if f.depth == 0 {
		return append(dst, 0)
	}
	dst = append(dst, flagBase)
	dst = binary.AppendUvarint(dst, uint64(f.base.line))
	dst = binary.AppendUvarint(dst, f.base.number)
	return append(dst, f.depth)
}

// size is the length of the record with its form uncompressed: what it counts
// as, however it is stored.
func (f frame) size() uint64 {
	var head [3 * binary.MaxVarintLen64]byte
	return uint64(len(appendFrameHead(head[:0], f)) + len(f.form))
}

// appendFrame appends a version record, compressed by itself unless the store does without.
func (s *Store) appendFrame(dst []byte, f frame) []byte {
	if s.o.NoCompression {
		return append(appendFrameHead(dst, f), f.form...)
	}
	return appendFrame(dst, f)
}

// appendFrame appends a version record.
func appendFrame(dst []byte, f frame) []byte {
	at := len(dst)
	dst = appendFrameHead(dst, f)
	if n := len(f.form); n >= minPacked {
		if packed := s2.Encode(nil, f.form); len(packed)+binary.MaxVarintLen32 <= n-n/packGain {
			dst[at] |= flagCompressed
			dst = binary.AppendUvarint(dst, uint64(n))
			return append(dst, packed...)
		}
	}
	return append(dst, f.form...)
}

func decodeFrame(b []byte) (frame, error) {
	r := binenc.NewReader(b)
	var f frame
	flags := r.Byte()
	if flags&^(flagBase|flagCompressed) != 0 {
		r.Fail("flags %#x of a version record are unknown", flags)
	}
	if flags&flagBase != 0 {
		f.base = baseRef{r.Uvarint32(), r.Uvarint()}
		if f.depth = r.Byte(); (f.depth == 0 || f.depth > maxDepth) && r.Err() == nil {
			r.Fail("chain of %d versions", f.depth)
		}
	}
	if flags&flagCompressed == 0 {
		f.form = r.Bytes(uint64(r.Len()))
		return f, r.End()
	}
	n := r.Uvarint()
	packed := r.Bytes(uint64(r.Len()))
	if got, err := s2.DecodedLen(packed); r.Err() == nil && (err != nil || uint64(got) != n || n > maxForm) {
		r.Fail("compressed to %d bytes, expected %d", got, n)
	}
	if err := r.End(); err != nil {
		return f, err
	}
	var err error
	if f.form, err = s2.Decode(nil, packed); err != nil {
		return f, corrupt("version record: %v", err)
	}
	return f, nil
}

// loose returns the record for a place in a block that is compressed as a
// whole. solid says that it is as short as it gets: it was tried alone, and is
// too long to gain much from neighbours.
func loose(rec []byte) (out []byte, solid bool, err error) {
	if len(rec) == 0 || rec[0]&flagCompressed == 0 {
		return rec, len(rec) >= solidMin, nil
	}
	f, err := decodeFrame(rec)
	if err != nil {
		return rec, true, err
	}
	out = make([]byte, 0, f.size())
	return append(appendFrameHead(out, f), f.form...), false, nil
}

// rests returns the base that a version record needs; the zero base if none.
func rests(rec []byte) baseRef {
	r := binenc.NewReader(rec)
	if r.Byte()&flagBase == 0 {
		return baseRef{}
	}
	return baseRef{r.Uvarint32(), r.Uvarint()}
}

func checkForm(id pid, form []byte) error {
	if len(form) > maxForm {
		return tooLong(id, len(form))
	}
	return nil
}

func tooLong(id pid, n int) error {
	return fmt.Errorf("%w: pod %d has %d bytes, at most %d", dberr.ErrTooLarge, id, n, maxForm)
}
