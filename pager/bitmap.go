package pager

import (
	"encoding/binary"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/poddb/poddb/internal/binenc"
)

// A set of pages is kept in chunks of chunkPages, each a 32-bit roaring bitmap
// with one container. Stored, a bitmap is its length (uvarint, 0 = empty set)
// and roaring's portable format. The library's decoder believes the counts
// that it reads, so they are bounded here before it sees them, the bytes are
// covered by a checksum that was compared before, and the result is validated.
const (
	chunkPages  = 1 << 14
	maxBitmap   = 8<<10 + 64 // bytes of one container and its headers
	cookieNoRun = 12346
	cookieRun   = 12347
)

func chunkOf(no uint64) (int, uint32) { return int(no / chunkPages), uint32(no % chunkPages) }

func appendBitmap(dst []byte, bm *roaring.Bitmap) []byte {
	if bm.IsEmpty() {
		return binary.AppendUvarint(dst, 0)
	}
	bm.RunOptimize()
	b, err := bm.ToBytes()
	if err != nil || len(b) > maxBitmap {
		panic(fmt.Sprintf("pager: page bitmap of %d bytes: %v", len(b), err))
	}
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// readBitmap returns nil after an error, which r then holds.
func readBitmap(r *binenc.Reader) *roaring.Bitmap {
	n := r.Uvarint()
	if n > maxBitmap {
		r.Fail("bitmap of %d bytes", n)
	}
	b := r.Bytes(n)
	if r.Err() != nil {
		return nil
	}
	bm := roaring.New()
	if n == 0 {
		return bm
	}
	if err := decodeBitmap(bm, b); err != nil {
		r.Fail("bitmap: %v", err)
		return nil
	}
	return bm
}

func decodeBitmap(bm *roaring.Bitmap, b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("%d bytes", len(b))
	}
	cookie := binary.LittleEndian.Uint32(b)
	containers := uint64(cookie>>16) + 1
	if cookie == cookieNoRun {
		containers = uint64(binary.LittleEndian.Uint32(b[4:]))
	} else if cookie&0xffff != cookieRun {
		return fmt.Errorf("cookie %08x", cookie)
	}
	if containers != 1 {
		return fmt.Errorf("%d containers", containers)
	}
	if n, err := bm.ReadFrom(&sliceReader{b: b}); err != nil || n != int64(len(b)) {
		return fmt.Errorf("%d of %d bytes read: %v", n, len(b), err)
	}
	if err := bm.Validate(); err != nil {
		return err
	}
	if bm.IsEmpty() || bm.Maximum() >= chunkPages {
		return fmt.Errorf("values out of range")
	}
	return nil
}

// pageSet is a set of page numbers.
type pageSet map[int]*roaring.Bitmap

func (s pageSet) add(no, n uint64) {
	for n > 0 {
		c, at := chunkOf(no)
		k := min(n, chunkPages-uint64(at))
		bm := s[c]
		if bm == nil {
			bm = roaring.New()
			s[c] = bm
		}
		bm.AddRange(uint64(at), uint64(at)+k)
		no, n = no+k, n-k
	}
}

func (s pageSet) remove(no uint64) {
	c, at := chunkOf(no)
	if bm := s[c]; bm != nil {
		bm.Remove(at)
	}
}

// addSet adds the pages of t.
func (s pageSet) addSet(t pageSet) {
	for i, bm := range t {
		if s[i] == nil {
			s[i] = roaring.New()
		}
		s[i].Or(bm)
	}
}

// without returns the pages that are not in t.
func (s pageSet) without(t pageSet) pageSet {
	rest := pageSet{}
	for i, bm := range s {
		if t[i] == nil {
			rest[i] = bm.Clone()
		} else if left := roaring.AndNot(bm, t[i]); !left.IsEmpty() {
			rest[i] = left
		}
	}
	return rest
}

// cut removes all pages from no on.
func (s pageSet) cut(no uint64) {
	for i, bm := range s {
		if base := uint64(i) * chunkPages; base+chunkPages > no {
			bm.RemoveRange(no-min(no, base), chunkPages)
		}
	}
}

func (s pageSet) has(no uint64) bool {
	c, at := chunkOf(no)
	bm := s[c]
	return bm != nil && bm.Contains(at)
}

// end is one past the highest page.
func (s pageSet) end() (end uint64) {
	for i, bm := range s {
		if !bm.IsEmpty() {
			end = max(end, uint64(i)*chunkPages+uint64(bm.Maximum())+1)
		}
	}
	return end
}

func (s pageSet) count() (n uint64) {
	for _, bm := range s {
		n += bm.GetCardinality()
	}
	return n
}
