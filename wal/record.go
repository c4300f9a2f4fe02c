package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/poddb/poddb/internal/vfs"
)

// A record, little-endian, at a file offset that is a multiple of 8:
//
//	 0  u32  CRC-32C of everything behind this field up to the record's end
//	 4  u32  payload length in bytes
//	 8  u64  LSN of this record's first byte
//	16  u64  salt of the segment
//	24  u32  CRC field of the record before it in the log
//	28  u8   type
//	29       3 zero bytes
//	32  u64  promise: all below this LSN was synced when this was written
//	40       payload, then zeros up to a multiple of 8
const recordHeader = 40

const sector = vfs.SectorSize

type recordType uint8

const (
	dataRecord    recordType = 1 // payload: the caller's bytes
	commitRecord  recordType = 2 // payload: u32 count, u32 checksum, u64 LSN of the group's first record; padding
	promiseRecord recordType = 3 // payload: padding
	endRecord     recordType = 4 // payload: u64 number of the next segment, 0 = closed cleanly; padding
)

const (
	commitPayload = 16
	endPayload    = 8
)

// header is a record's header without its CRC.
type header struct {
	length  uint32
	lsn     LSN
	salt    uint64
	prev    uint32
	kind    recordType
	promise LSN
}

func align8(n int64) int64 { return (n + 7) &^ 7 }

func alignSector(n int64) int64 { return (n + sector - 1) &^ (sector - 1) }

// recordSize is what a record with that payload takes in the file.
func recordSize(payload int) int64 { return align8(recordHeader + int64(payload)) }

// padTo returns the payload length, at least least, with which a record at
// file offset off ends at a sector boundary. off is a multiple of 8.
func padTo(off int64, least int) int {
	return int(alignSector(off+recordSize(least)) - off - recordHeader)
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encodeHeader returns the header with the CRC over header, payload and padding.
func encodeHeader(h header, payload []byte) (b [recordHeader]byte, crc uint32) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], h.length)
	le.PutUint64(b[8:], uint64(h.lsn))
	le.PutUint64(b[16:], h.salt)
	le.PutUint32(b[24:], h.prev)
	b[28] = byte(h.kind)
	le.PutUint64(b[32:], uint64(h.promise))
	var zeros [8]byte
	t := castagnoli()
	crc = crc32.Update(0, t, b[4:])
	crc = crc32.Update(crc, t, payload)
	crc = crc32.Update(crc, t, zeros[:recordSize(len(payload))-recordHeader-int64(len(payload))])
	le.PutUint32(b[0:], crc)
	return b, crc
}

func decodeHeader(b []byte) (h header, crc uint32) {
	le := binary.LittleEndian
	h = header{
		length: le.Uint32(b[4:]), lsn: LSN(le.Uint64(b[8:])), salt: le.Uint64(b[16:]),
		prev: le.Uint32(b[24:]), kind: recordType(b[28]), promise: LSN(le.Uint64(b[32:])),
	}
	return h, le.Uint32(b[0:])
}

// misfit says why a header cannot stand at this place with room bytes left in
// its file, or "". It bounds the length before anything is allocated.
func (h header) misfit(at LSN, salt uint64, room int64) string {
	switch {
	case h.lsn != at:
		return fmt.Sprintf("no record of position %d", at)
	case h.salt != salt:
		return "record of another segment"
	case h.length > MaxRecord || recordSize(int(h.length)) > room:
		return fmt.Sprintf("record length %d is out of bounds", h.length)
	case h.kind < dataRecord || h.kind > endRecord:
		return fmt.Sprintf("unknown record type %d", h.kind)
	case h.promise > h.lsn:
		return fmt.Sprintf("promise %d of a position not yet reached", h.promise)
	}
	return ""
}

// groupSum is the commit record's checksum over the data records: each one's
// length and payload, so that it stays the same when a group is framed again.
type groupSum struct {
	count uint32
	crc   uint32
}

func (s *groupSum) add(payload []byte) {
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], uint32(len(payload)))
	s.count++
	s.crc = crc32.Update(s.crc, castagnoli(), n[:])
	s.crc = crc32.Update(s.crc, castagnoli(), payload)
}

// commit returns the commit record's payload, size bytes long.
func (s *groupSum) commit(start LSN, size int) []byte {
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b[0:], s.count)
	binary.LittleEndian.PutUint32(b[4:], s.crc)
	binary.LittleEndian.PutUint64(b[8:], uint64(start))
	return b
}
