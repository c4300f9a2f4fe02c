package mvcc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// The stored form of a Set. roaring's own decoder takes counts at their word
// and accepts most damaged inputs, so it never sees a byte that was not
// checked first:
//
//	0 | uvarint n | n × uvarint             a short set: first element, then differences
//	1 | uvarint n | u32 CRC-32C | n × part  CRC over all parts
//	part: u32 upper bits | uvarint length | a 32-bit roaring bitmap, portable form
//
// 1. The number of parts is bounded by the bytes that are left. 2. The CRC is
// compared before roaring decodes. 3. Every bitmap must fill its length, pass
// Validate and not be empty, and parts ascend.
const (
	setList    = 0
	setBitmaps = 1

	listMax = 64 // largest set stored as a list
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendSet appends the stored form of s. It may reorganise s's containers, so
// s must not be shared yet.
func appendSet(dst []byte, s *Set) []byte {
	if n := s.Len(); n <= listMax {
		dst = append(dst, setList)
		dst = binary.AppendUvarint(dst, n)
		prev := uint64(0)
		for e := range s.All() {
			dst = binary.AppendUvarint(dst, e-prev)
			prev = e
		}
		return dst
	}
	dst = append(dst, setBitmaps)
	dst = binary.AppendUvarint(dst, uint64(len(s.parts)))
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, p := range s.parts {
		p.bm.RunOptimize()
		dst = binary.LittleEndian.AppendUint32(dst, p.hi)
		dst = binary.AppendUvarint(dst, p.bm.GetSerializedSizeInBytes())
		b, err := p.bm.ToBytes()
		if err != nil {
			panic(fmt.Sprintf("mvcc: serialising a bitmap in memory: %v", err))
		}
		dst = append(dst, b...)
	}
	binary.LittleEndian.PutUint32(dst[at:], crc32.Checksum(dst[at+4:], castagnoli))
	return dst
}

// readSet reads a set that ends before the end of r, so its length precedes it.
func readSet(r *binenc.Reader) *Set {
	b := r.Bytes(r.Uvarint())
	if r.Err() != nil {
		return &Set{}
	}
	s, err := decodeSet(b)
	if err != nil {
		r.Fail("%v", err)
		return &Set{}
	}
	return s
}

// appendSizedSet is what readSet reads.
func appendSizedSet(dst []byte, s *Set) []byte {
	at := len(dst)
	dst = appendSet(append(dst, 0), s) // its length has one byte, mostly
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	return slices.Replace(dst, at, at+1, binary.AppendUvarint(nil, uint64(n))...)
}

// decodeSet reads the stored form of a set, which must fill b.
func decodeSet(b []byte) (*Set, error) {
	r := binenc.NewReader(b)
	s := &Set{}
	switch form := r.Byte(); form {
	case setList:
		readList(r, s)
	case setBitmaps:
		n := r.Count(5)
		if sum := r.U32(); r.Err() == nil && sum != crc32.Checksum(b[r.Off():], castagnoli) {
			r.Fail("checksum of a bitmap does not fit")
		}
		for range n {
			readPart(r, s)
		}
	default:
		r.Fail("form %d of a set is unknown", form)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return s, nil
}

func readList(r *binenc.Reader, s *Set) {
	n := r.Count(1)
	if n > listMax {
		r.Fail("list of %d elements is longer than %d", n, listMax)
	}
	prev := uint64(0)
	for i := range n {
		d := r.Uvarint()
		if r.Err() != nil {
			return
		}
		if (i > 0 && d == 0) || prev+d < prev {
			r.Fail("elements do not ascend")
			return
		}
		prev += d
		s.Add(prev)
	}
}

func readPart(r *binenc.Reader, s *Set) {
	hi := r.U32()
	b := r.Bytes(r.Uvarint())
	if r.Err() != nil {
		return
	}
	if k := len(s.parts); k > 0 && s.parts[k-1].hi >= hi {
		r.Fail("parts of a bitmap do not ascend")
		return
	}
	bm, err := decodeBitmap(b)
	if err != nil {
		r.Fail("%v", err)
		return
	}
	s.parts = append(s.parts, setPart{hi, bm})
}

// decodeBitmap guards roaring's decoder, which may panic on lies that a
// correct CRC covers.
func decodeBitmap(b []byte) (bm *roaring.Bitmap, err error) {
	defer func() {
		if p := recover(); p != nil {
			bm, err = nil, dberr.Corrupt("", -1, "bitmap: %v", p)
		}
	}()
	bm = roaring.New()
	n, err := bm.ReadFrom(bytes.NewReader(b))
	if err != nil {
		return nil, dberr.Corrupt("", -1, "bitmap: %v", err)
	}
	if n != int64(len(b)) {
		return nil, dberr.Corrupt("", -1, "bitmap of %d bytes in %d", n, len(b))
	}
	if err := bm.Validate(); err != nil {
		return nil, dberr.Corrupt("", -1, "bitmap: %v", err)
	}
	if bm.IsEmpty() {
		return nil, dberr.Corrupt("", -1, "empty bitmap")
	}
	return bm, nil
}
