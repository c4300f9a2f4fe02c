package pager

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is the CRC-32C of b.
func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// seededSum is the CRC-32C of seed (eight bytes, little endian) followed by b:
// the same bytes in another place have another checksum, so a misdirected
// write is found.
func seededSum(seed uint64, b []byte) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, b)
}
