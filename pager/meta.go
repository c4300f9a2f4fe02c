package pager

import (
	"bytes"
	"encoding/binary"
	"time"
)

// The file begins with two meta slots, at bytes 0 and 4096 whatever the page
// size, so that no torn sector, and no torn 4 KiB device page, hits both.
//
// A slot is 512 bytes, little endian:
//
//	  0  16  magic
//	 16   4  format version
//	 20   4  compatible flags: unknown ones are kept and otherwise ignored
//	 24   4  incompatible flags: an unknown one is dberr.ErrTooNew
//	 28   4  page size
//	 32  16  database id
//	 48   8  generation: the number of this meta write
//	 56   8  root generation: the generation that wrote the roots below
//	 64   8  log position
//	 72   8  created, nanoseconds since 1970
//	 80   4  flags: bit 0 = closed cleanly
//	 84   4  level of the root page (0 = it is a leaf)
//	 88   8  root page, 0 = empty tree
//	 96   4  checksum of the root page
//	100   4  CRC-32C of the space directory
//	104   8  entries in the tree
//	112   8  pages: no used page has this number or a higher one
//	120   8  byte offset of the space directory
//	128   4  length of the space directory, 0 = nothing used
//	132 376  zero
//	508   4  CRC-32C of slot number (8 bytes) and bytes 0..508
//
// Magic, format version, flags and the place of the checksum are the same in
// every format version, so that an old program can say "newer" and mean it.
const (
	metaSize      = 512
	metaStride    = 4096
	metaArea      = 2 * metaStride
	metaSumAt     = metaSize - 4
	formatVersion = 1

	knownIncompatible = 0
	flagClean         = 1
)

// The magic finds files damaged by text-mode copies (CR LF, a lone LF, bit 7
// stripped) as well as foreign ones.
const magic = "\x89poddb\r\n\x1a\n\xffpage"

type meta struct {
	compatible     uint32
	pageSize       uint32
	databaseID     [16]byte
	generation     uint64
	rootGeneration uint64
	logPos         uint64
	created        int64
	clean          bool
	root           ref
	rootLevel      uint32
	entries        uint64
	pages          uint64
	space          Place
}

// ref names a page and the checksum that it must have.
type ref struct {
	page uint64 // 0 = none
	crc  uint32
}

func slotOffset(slot int) int64 { return int64(slot) * metaStride }

// slotOf is the slot that meta generation g is written to.
func slotOf(g uint64) int { return int(g & 1) }

func (m *meta) encode(slot int) []byte {
	b := make([]byte, metaSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[16:], formatVersion)
	le.PutUint32(b[20:], m.compatible)
	le.PutUint32(b[24:], 0)
	le.PutUint32(b[28:], m.pageSize)
	copy(b[32:], m.databaseID[:])
	le.PutUint64(b[48:], m.generation)
	le.PutUint64(b[56:], m.rootGeneration)
	le.PutUint64(b[64:], m.logPos)
	le.PutUint64(b[72:], uint64(m.created))
	if m.clean {
		le.PutUint32(b[80:], flagClean)
	}
	le.PutUint32(b[84:], m.rootLevel)
	le.PutUint64(b[88:], m.root.page)
	le.PutUint32(b[96:], m.root.crc)
	le.PutUint32(b[100:], m.space.CRC)
	le.PutUint64(b[104:], m.entries)
	le.PutUint64(b[112:], m.pages)
	le.PutUint64(b[120:], m.space.Off)
	le.PutUint32(b[128:], m.space.Len)
	le.PutUint32(b[metaSumAt:], seededSum(uint64(slot), b[:metaSumAt]))
	return b
}

// slotState says what a meta slot reads as.
type slotState int

const (
	slotForeign slotState = iota // no magic
	slotDamaged                  // magic, but checksum or contents are wrong
	slotTooNew
	slotValid
)

// decodeMeta reads the slot's bytes; why says what is wrong with an invalid one.
func decodeMeta(b []byte, slot int) (m meta, state slotState, why string) {
	if len(b) < metaSize {
		if len(b) >= len(magic) && string(b[:len(magic)]) == magic {
			return m, slotDamaged, "cut off"
		}
		return m, slotForeign, "cut off"
	}
	b = b[:metaSize]
	le := binary.LittleEndian
	if !bytes.Equal(b[:len(magic)], []byte(magic)) {
		return m, slotForeign, "magic missing"
	}
	if got, want := seededSum(uint64(slot), b[:metaSumAt]), le.Uint32(b[metaSumAt:]); got != want {
		return m, slotDamaged, "checksum wrong"
	}
	if le.Uint32(b[16:]) > formatVersion || le.Uint32(b[24:])&^uint32(knownIncompatible) != 0 {
		return m, slotTooNew, "newer format"
	}
	m = meta{
		compatible:     le.Uint32(b[20:]),
		pageSize:       le.Uint32(b[28:]),
		generation:     le.Uint64(b[48:]),
		rootGeneration: le.Uint64(b[56:]),
		logPos:         le.Uint64(b[64:]),
		created:        int64(le.Uint64(b[72:])),
		clean:          le.Uint32(b[80:])&flagClean != 0,
		rootLevel:      le.Uint32(b[84:]),
		root:           ref{page: le.Uint64(b[88:]), crc: le.Uint32(b[96:])},
		entries:        le.Uint64(b[104:]),
		pages:          le.Uint64(b[112:]),
		space:          Place{Off: le.Uint64(b[120:]), Len: le.Uint32(b[128:]), CRC: le.Uint32(b[100:])},
	}
	copy(m.databaseID[:], b[32:48])
	if why := m.implausible(slot); why != "" {
		return m, slotDamaged, why
	}
	return m, slotValid, ""
}

// implausible checks what can be checked without the rest of the file.
func (m *meta) implausible(slot int) string {
	switch {
	case !validPageSize(int64(m.pageSize)):
		return "page size is no power of two from 4096 to 65536"
	case m.generation == 0 || slotOf(m.generation) != slot:
		return "generation does not belong to this slot"
	case m.rootGeneration > m.generation:
		return "roots are newer than the meta"
	case m.pages < firstPage(int(m.pageSize)) || m.pages > maxFileBytes/uint64(m.pageSize):
		return "page count out of range"
	case m.rootLevel > maxLevel:
		return "tree too deep"
	case m.root.page != 0 && (m.root.page < firstPage(int(m.pageSize)) || m.root.page >= m.pages):
		return "root page out of range"
	case m.space.Len != 0 && !m.space.within(firstPage(int(m.pageSize))*uint64(m.pageSize), m.pages*uint64(m.pageSize)):
		return "space directory out of range"
	}
	return ""
}

const maxFileBytes = 1 << 62

func validPageSize(n int64) bool {
	return n >= MinPageSize && n <= MaxPageSize && n&(n-1) == 0
}

// firstPage is the first page behind the meta slots.
func firstPage(pageSize int) uint64 { return uint64((metaArea + pageSize - 1) / pageSize) }

func (m *meta) createdTime() time.Time { return time.Unix(0, m.created).UTC() }
