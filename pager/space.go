package pager

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/poddb/poddb/internal/binenc"
)

// space is which pages of the file are used, and by what. Persisted free is
// what the checkpoint's own root does not refer to. Of a used page, space
// knows whether it holds record bytes and how many of them are dead; all other
// used pages are tree pages.
//
// It is stored as frames, one for each chunk of 16,384 pages that has a used
// page, and a directory that names the frames and lists what this root freed.
// Frames and directory lie in pages like records do and are accounted like
// records; a checkpoint writes the frames of the chunks that it changed and
// the directory.
//
//	frame:      bitmap free, bitmap record pages, bitmap of those with dead
//	            bytes, then for each of the last kind uvarint dead bytes
//	directory:  uvarint root generation,
//	            uvarint frames, each {uvarint chunk, uvarint offset, uvarint length, u32 CRC-32C},
//	            uvarint chunks with freed pages, each {uvarint chunk, bitmap},
//	            zeros up to the end of its last page
//
// (bitmap: see bitmap.go.) Free bits reach to the end of the chunk, also past
// the end of the file: a page is used or it is free.
type space struct {
	chunks []*chunk // nil: no page used
	first  uint64   // pages below hold the meta slots
}

type chunk struct {
	free  *roaring.Bitmap
	rec   *roaring.Bitmap
	dead  []uint16 // of record pages; nil = all zero
	place Place    // of the stored frame; Len 0 = none
}

func (s *space) newChunk(i int) *chunk {
	c := &chunk{free: roaring.New(), rec: roaring.New()}
	c.free.AddRange(0, chunkPages)
	if i == 0 {
		c.free.RemoveRange(0, s.first)
	}
	return c
}

// freeIn returns a copy of the free pages of chunk i.
func (s *space) freeIn(i int) *roaring.Bitmap {
	if i < len(s.chunks) && s.chunks[i] != nil {
		return s.chunks[i].free.Clone()
	}
	return s.newChunk(i).free
}

// unused reports whether no page of chunk i is used, but for the meta slots.
func (s *space) unused(i int) bool {
	if i >= len(s.chunks) || s.chunks[i] == nil {
		return true
	}
	n := uint64(chunkPages)
	if i == 0 {
		n -= s.first
	}
	return s.chunks[i].free.GetCardinality() == n
}

func (s *space) isFree(no uint64) bool {
	i, at := chunkOf(no)
	if i >= len(s.chunks) || s.chunks[i] == nil {
		return no >= s.first
	}
	return s.chunks[i].free.Contains(at)
}

func (s *space) isRecord(no uint64) bool {
	i, at := chunkOf(no)
	return i < len(s.chunks) && s.chunks[i] != nil && s.chunks[i].rec.Contains(at)
}

func (s *space) deadBytes(no uint64) int {
	i, at := chunkOf(no)
	if s.chunks[i].dead == nil {
		return 0
	}
	return int(s.chunks[i].dead[at])
}

// end is one past the last used page.
func (s *space) end() uint64 {
	for i := len(s.chunks) - 1; i >= 0; i-- {
		if !s.unused(i) {
			return uint64(i)*chunkPages + uint64(s.chunks[i].free.PreviousAbsentValue(chunkPages-1)) + 1
		}
	}
	return s.first
}

// counts returns the used pages, the meta slots' among them, and the record
// pages among those.
func (s *space) counts() (used, rec uint64) {
	if len(s.chunks) == 0 || s.chunks[0] == nil {
		used = s.first
	}
	for _, c := range s.chunks {
		if c != nil {
			used += chunkPages - c.free.GetCardinality()
			rec += c.rec.GetCardinality()
		}
	}
	return used, rec
}

// treePages is the number of pages of the tree.
func (s *space) treePages() uint64 {
	used, rec := s.counts()
	return used - rec - s.first
}

func (c *chunk) appendFrame(dst []byte) []byte {
	partial := roaring.New()
	var dead []byte
	for at := range c.deadPages() {
		partial.Add(at)
		dead = binary.AppendUvarint(dead, uint64(c.dead[at]))
	}
	dst = appendBitmap(dst, c.free)
	dst = appendBitmap(dst, c.rec)
	dst = appendBitmap(dst, partial)
	return append(dst, dead...)
}

func (c *chunk) deadPages() func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for at, n := range c.dead {
			if n != 0 && !yield(uint32(at)) {
				return
			}
		}
	}
}

func (s *space) decodeFrame(b []byte, i, pageSize int) (*chunk, error) {
	r := binenc.NewReader(b)
	c := &chunk{free: readBitmap(r), rec: readBitmap(r)}
	partial := readBitmap(r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if c.free.Intersects(c.rec) {
		return nil, fmt.Errorf("pages are free and hold records")
	}
	if i == 0 && (c.free.IntersectsWithInterval(0, s.first) || c.rec.IntersectsWithInterval(0, s.first)) {
		return nil, fmt.Errorf("pages of the meta slots are free or hold records")
	}
	if partial.AndCardinality(c.rec) != partial.GetCardinality() {
		return nil, fmt.Errorf("dead bytes in pages without records")
	}
	if !partial.IsEmpty() {
		c.dead = make([]uint16, chunkPages)
		for it := partial.Iterator(); it.HasNext(); {
			at, n := it.Next(), r.Uvarint()
			if n == 0 || n >= uint64(pageSize) {
				r.Fail("page with %d dead bytes of %d", n, pageSize)
				break
			}
			c.dead[at] = uint16(n)
		}
	}
	if r.Err() == nil && r.Len() != 0 {
		r.Fail("%d bytes too many", r.Len())
	}
	return c, r.Err()
}

// appendDirectory is called when all frames have their place.
func (s *space) appendDirectory(dst []byte, generation uint64, freed pageSet) []byte {
	dst = binary.AppendUvarint(dst, generation)
	n := 0
	for _, c := range s.chunks {
		if c != nil && c.place.Len != 0 {
			n++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(n))
	for i, c := range s.chunks {
		if c == nil || c.place.Len == 0 {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(i))
		dst = binary.AppendUvarint(dst, c.place.Off)
		dst = binary.AppendUvarint(dst, uint64(c.place.Len))
		dst = binary.LittleEndian.AppendUint32(dst, c.place.CRC)
	}
	dst = binary.AppendUvarint(dst, uint64(len(freed)))
	for _, i := range slices.Sorted(maps.Keys(freed)) {
		dst = binary.AppendUvarint(dst, uint64(i))
		dst = appendBitmap(dst, freed[i])
	}
	return dst
}

const (
	directoryEntry = 5 + 10 + 5 + 4 // bytes at most
	directoryFixed = 32
)

// decodeDirectory returns a space whose chunks have places only.
func decodeDirectory(b []byte, generation, pages, first uint64) (*space, pageSet, error) {
	r := binenc.NewReader(b)
	if g := r.Uvarint(); r.Err() == nil && g != generation {
		r.Fail("written by generation %d, wanted %d", g, generation)
	}
	limit := pages/chunkPages + 1
	s := &space{first: first}
	for range r.Count(7) {
		i, off, n, crc := r.Uvarint(), r.Uvarint(), r.Uvarint(), r.U32()
		if r.Err() == nil && (i >= limit || i < uint64(len(s.chunks)) || n == 0 || n > 4*maxBitmap+3*chunkPages) {
			r.Fail("frame of chunk %d with %d bytes", i, n)
		}
		if r.Err() != nil {
			return nil, nil, r.Err()
		}
		s.chunks = append(s.chunks, make([]*chunk, i-uint64(len(s.chunks))+1)...)
		s.chunks[i] = &chunk{place: Place{Off: off, Len: uint32(n), CRC: crc}}
	}
	freed := pageSet{}
	for range r.Count(2) {
		i := r.Uvarint()
		bm := readBitmap(r)
		if r.Err() == nil && (i >= maxFileBytes/MinPageSize/chunkPages || freed[int(i)] != nil) {
			r.Fail("freed pages in chunk %d", i)
		}
		if r.Err() != nil {
			return nil, nil, r.Err()
		}
		freed[int(i)] = bm
	}
	return s, freed, r.Err()
}

// readSpace loads the space of a root.
func (p *Pager) readSpace(g *generation) (*space, pageSet, error) {
	first := firstPage(p.pageSize)
	if g.place.Len == 0 {
		return &space{first: first}, pageSet{}, nil
	}
	b, err := p.readRecord(nil, g.place)
	if err != nil {
		return nil, nil, fmt.Errorf("space directory: %w", err)
	}
	s, freed, err := decodeDirectory(b, g.number, g.pages, first)
	if err != nil {
		return nil, nil, p.corrupt(int64(g.place.Off), "space directory: %v", err)
	}
	for i, c := range s.chunks {
		if c == nil {
			continue
		}
		b, err := p.readRecord(nil, c.place)
		if err != nil {
			return nil, nil, fmt.Errorf("space frame of chunk %d: %w", i, err)
		}
		full, err := s.decodeFrame(b, i, p.pageSize)
		if err != nil {
			return nil, nil, p.corrupt(int64(c.place.Off), "space frame of chunk %d: %v", i, err)
		}
		full.place = c.place
		s.chunks[i] = full
	}
	if end := s.end(); end != g.pages {
		return nil, nil, p.corrupt(int64(g.place.Off), "space ends at page %d, the meta says %d", end, g.pages)
	}
	return s, freed, nil
}

// loadSpace makes p.space, p.pending and p.alloc known; p.mu is held.
func (p *Pager) loadSpace() error {
	if p.space != nil {
		return nil
	}
	g := p.current.Load()
	s, freed, err := p.readSpace(g)
	if err != nil {
		return err
	}
	for i, bm := range freed {
		if taken := roaring.AndNot(bm, s.freeIn(i)); !taken.IsEmpty() {
			no := uint64(i)*chunkPages + uint64(taken.Minimum())
			return p.corrupt(int64(g.place.Off), "space directory: page %d is in use and listed as freed", no)
		}
	}
	freed.cut(p.size.Load())
	p.space, g.space = s, s
	p.pending = []freedSet{{generation: g.number, pages: freed}}
	p.alloc = newAllocator(p, s, p.pending)
	p.treePages.Store(s.treePages())
	p.loaded.Store(true)
	return nil
}

// spaceEdit is a batch's private copy of a space: chunks are copied when they
// are changed first.
type spaceEdit struct {
	space
	owned map[int]bool
}

func (s *space) edit() *spaceEdit {
	return &spaceEdit{space: space{chunks: slices.Clone(s.chunks), first: s.first}, owned: map[int]bool{}}
}

func (e *spaceEdit) chunk(i int) *chunk {
	for i >= len(e.chunks) {
		e.chunks = append(e.chunks, nil)
	}
	if e.owned[i] {
		return e.chunks[i]
	}
	e.owned[i] = true
	if old := e.chunks[i]; old != nil {
		e.chunks[i] = &chunk{free: old.free.Clone(), rec: old.rec.Clone(), dead: slices.Clone(old.dead), place: old.place}
	} else {
		e.chunks[i] = e.newChunk(i)
	}
	return e.chunks[i]
}

// take marks a page used by the tree.
func (e *spaceEdit) take(no uint64) {
	i, at := chunkOf(no)
	if !e.chunk(i).free.CheckedRemove(at) {
		panic(fmt.Sprintf("pager: page %d taken twice", no))
	}
}

// takeRecord marks a page used by records, with so many dead bytes.
func (e *spaceEdit) takeRecord(no uint64, dead int) {
	e.take(no)
	i, at := chunkOf(no)
	c := e.chunks[i]
	c.rec.Add(at)
	c.setDead(at, dead)
}

func (c *chunk) setDead(at uint32, n int) {
	if c.dead == nil {
		if n == 0 {
			return
		}
		c.dead = make([]uint16, chunkPages)
	}
	c.dead[at] = uint16(n)
}

// give marks a page free; false if it is free already.
func (e *spaceEdit) give(no uint64) bool {
	i, at := chunkOf(no)
	c := e.chunk(i)
	if !c.free.CheckedAdd(at) {
		return false
	}
	c.rec.Remove(at)
	c.setDead(at, 0)
	return true
}

// revive marks n bytes of a page as a live record's: of one that was free, or
// of one that holds records and has so many dead bytes.
func (e *spaceEdit) revive(no uint64, n, pageSize int) bool {
	if e.isFree(no) {
		e.takeRecord(no, pageSize-n)
		return true
	}
	if !e.isRecord(no) || e.deadBytes(no) < n {
		return false
	}
	i, at := chunkOf(no)
	e.chunk(i).setDead(at, e.deadBytes(no)-n)
	return true
}

// kill adds dead bytes to a record page; full says that nothing in it lives
// any more, ok is false if the page has not so many live bytes.
func (e *spaceEdit) kill(no uint64, n, pageSize int) (full, ok bool) {
	if !e.isRecord(no) {
		return false, false
	}
	i, at := chunkOf(no)
	c := e.chunk(i)
	dead := e.deadBytes(no) + n
	if dead > pageSize {
		return false, false
	}
	if dead == pageSize {
		return true, true
	}
	c.setDead(at, dead)
	return false, true
}

// sliceReader is an io.Reader that is never longer than its slice.
type sliceReader struct{ b []byte }

func (r *sliceReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}
