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

// appendHeader appends a header whose CRC is still to be set.
func appendHeader(b []byte, h header) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, h.length)
	b = le.AppendUint64(b, uint64(h.lsn))
	b = le.AppendUint64(b, h.salt)
	b = le.AppendUint32(b, h.prev)
	b = append(b, byte(h.kind), 0, 0, 0)
	return le.AppendUint64(b, uint64(h.promise))
}

// appendRecord appends a whole record and returns its CRC.
func appendRecord(b []byte, h header, payload []byte) ([]byte, uint32) {
	start := len(b)
	b = append(appendHeader(b, h), payload...)
	b = append(b, make([]byte, start+int(recordSize(len(payload)))-len(b))...)
	crc := crc32.Checksum(b[start+4:], castagnoli())
	binary.LittleEndian.PutUint32(b[start:], crc)
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
	count  uint32
	crc    uint32
	length [4]byte // of the record at hand, here because it is summed by reference
}

func (s *groupSum) add(payload []byte) {
	binary.LittleEndian.PutUint32(s.length[:], uint32(len(payload)))
	s.count++
	s.crc = crc32.Update(s.crc, castagnoli(), s.length[:])
	s.crc = crc32.Update(s.crc, castagnoli(), payload)
}

// appendCommit appends the commit record's payload without padding.
func (s *groupSum) appendCommit(b []byte, start LSN) []byte {
	b = binary.LittleEndian.AppendUint32(b, s.count)
	b = binary.LittleEndian.AppendUint32(b, s.crc)
	return binary.LittleEndian.AppendUint64(b, uint64(start))
}
