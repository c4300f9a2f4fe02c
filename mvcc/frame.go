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

	maxDepth  = 8
	maxForm   = 1 << 30 // bytes of one stored form
	minPacked = 128     // forms shorter than this are not worth compressing
	// packGain: a compressed form must be shorter by this part of the whole.
	packGain = 16
)

// appendFrame appends a version record.
func appendFrame(dst []byte, f frame) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if f.depth > 0 {
		dst[at] |= flagBase
		dst = binary.AppendUvarint(dst, uint64(f.base.line))
		dst = binary.AppendUvarint(dst, f.base.number)
		dst = append(dst, f.depth)
	}
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

func checkForm(id pid, form []byte) error {
	if len(form) > maxForm {
		return fmt.Errorf("%w: pod %d has %d bytes, at most %d", dberr.ErrTooLarge, id, len(form), maxForm)
	}
	return nil
}
