package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// A segment file is one sector of header, then records. Its header, little-endian:
//
//	 0  8 bytes  "poddbwal"
//	 8  u32      format version
//	12  u32      CRC-32C of the sector's other 508 bytes
//	16  u64      number, as in the file name
//	24  u64      first LSN: the position of the byte behind this sector
//	32  u64      salt
//	40  u64      salt of the segment before, 0 = the log begins here
//	48  u32      CRC field of the record before the first LSN, 0 = none
//	52  16 bytes identity of the database that the log belongs to
//	68  u8       level of the writer: 0 = Full, its groups name only what was durable before them
//	69           zeros
const (
	segmentMagic   = "poddbwal"
	segmentVersion = 1
	segmentHeader  = sector
	segmentSuffix  = ".wal"
	tmpSuffix      = ".tmp"
)

type segmentInfo struct {
	number   uint64
	first    LSN
	salt     uint64
	prevSalt uint64
	prevCRC  uint32
	identity [16]byte
	level    Level
}

func segmentName(number uint64) string { return fmt.Sprintf("%06d%s", number, segmentSuffix) }

func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n == 0 || segmentName(n) != name {
		return 0, false
	}
	return n, true
}

func (s segmentInfo) path(dir string) string { return path.Join(dir, segmentName(s.number)) }

// offset is the file offset of a position in this segment.
func (s segmentInfo) offset(at LSN) int64 { return segmentHeader + int64(at-s.first) }

func (s segmentInfo) encode() []byte {
	b := make([]byte, segmentHeader)
	le := binary.LittleEndian
	copy(b, segmentMagic)
	le.PutUint32(b[8:], segmentVersion)
	le.PutUint64(b[16:], s.number)
	le.PutUint64(b[24:], uint64(s.first))
	le.PutUint64(b[32:], s.salt)
	le.PutUint64(b[40:], s.prevSalt)
	le.PutUint32(b[48:], s.prevCRC)
	copy(b[52:68], s.identity[:])
	b[68] = byte(s.level)
	le.PutUint32(b[12:], segmentCRC(b))
	return b
}

func segmentCRC(b []byte) uint32 {
	crc := crc32.Update(0, castagnoli(), b[:12])
	return crc32.Update(crc, castagnoli(), b[16:])
}

// readSegmentInfo reads a header. Damage is a CorruptError: a segment gets its name
// only when its header is synced, so there are no torn ones.
func readSegmentInfo(f vfs.File, name string, number uint64) (segmentInfo, error) {
	size, err := f.Size()
	if err != nil {
		return segmentInfo{}, err
	}
	if size < segmentHeader {
		return segmentInfo{}, dberr.Corrupt(name, 0, "log segment of %d bytes has no header", size)
	}
	b := make([]byte, segmentHeader)
	if err := readFull(f, b, 0); err != nil {
		return segmentInfo{}, err
	}
	le := binary.LittleEndian
	if string(b[:8]) != segmentMagic {
		return segmentInfo{}, dberr.Corrupt(name, 0, "not a log segment")
	}
	if v := le.Uint32(b[8:]); le.Uint32(b[12:]) == segmentCRC(b) && v != segmentVersion {
		return segmentInfo{}, fmt.Errorf("%s: log format %d: %w", name, v, dberr.ErrTooNew)
	}
	s := segmentInfo{
		number: le.Uint64(b[16:]), first: LSN(le.Uint64(b[24:])), salt: le.Uint64(b[32:]),
		prevSalt: le.Uint64(b[40:]), prevCRC: le.Uint32(b[48:]),
		identity: [16]byte(b[52:68]), level: Level(b[68]),
	}
	switch {
	case le.Uint32(b[12:]) != segmentCRC(b):
		return segmentInfo{}, dberr.Corrupt(name, 12, "checksum of the segment header does not fit")
	case s.number != number:
		return segmentInfo{}, dberr.Corrupt(name, 16, "header is of segment %d", s.number)
	case s.first == 0 || s.first%8 != 0 || s.first > maxLSN:
		return segmentInfo{}, dberr.Corrupt(name, 24, "first position %d", s.first)
	}
	return s, nil
}

// owned says why no file of the directory may be made or removed, nil if they may.
func (o Options) owned() error {
	if o.Owner == nil {
		return nil
	}
	return o.Owner()
}

// maxLSN keeps sums of a position and a file size far from overflow.
const maxLSN LSN = 1 << 62

// writeTmp starts the file that becomes segment s: the header, under the
// temporary name, not synced.
func (s segmentInfo) writeTmp(fsys vfs.FS, dir string) (vfs.File, error) {
	f, err := fsys.Open(s.path(dir)+tmpSuffix, vfs.ReadWrite|vfs.Create)
	if err != nil {
		return nil, err
	}
	err = f.Truncate(0)
	if err == nil {
		err = writeFull(f, s.encode(), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// dropTmp removes a temporary file that did not become a segment. Open removes
// it again if this fails.
func (s segmentInfo) dropTmp(fsys vfs.FS, dir string) { _ = fsys.Remove(s.path(dir) + tmpSuffix) }

// seal writes the end record that names the next segment at position at, which
// is at a sector boundary, cuts what lies behind it and syncs.
func (s segmentInfo) seal(o Options, f vfs.File, at LSN, prev uint32, next uint64) error {
	off := s.offset(at)
	b := s.endRecord(at, prev, next)
	if err := writeFull(f, b, off); err != nil {
		return err
	}
	if err := f.Truncate(off + int64(len(b))); err != nil {
		return err
	}
	return o.meter.measure(f.SyncData)
}

// endRecord encodes an end record; everything below at is synced.
func (s segmentInfo) endRecord(at LSN, prev uint32, next uint64) []byte {
	payload := make([]byte, padTo(s.offset(at), endPayload))
	binary.LittleEndian.PutUint64(payload, next)
	b, _ := appendRecord(nil, header{
		length: uint32(len(payload)), lsn: at, salt: s.salt, prev: prev, kind: endRecord, promise: at,
	}, payload)
	return b
}

// syncError is a failed sync, or a failed step of cutting an undone batch off:
// what the disk holds is in doubt, so it poisons whatever its cause.
type syncError struct{ err error }

func (e *syncError) Error() string { return "sync: " + e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// isDiskFull reports a write that found no space, which can be undone. A sync
// that says so cannot.
func isDiskFull(err error) bool {
	if err == nil {
		return false
	}
	var s *syncError
	return errors.Is(err, vfs.ErrDiskFull) && !errors.As(err, &s)
}

func writeFull(f vfs.File, b []byte, off int64) error {
	n, err := f.WriteAt(b, off)
	if err == nil && n != len(b) {
		err = fmt.Errorf("wrote %d of %d bytes without an error", n, len(b))
	}
	return err
}

// listDir returns segment numbers in order and the names of temporary files. A
// missing directory is an empty one.
func listDir(fsys vfs.FS, dir string) (numbers []uint64, tmps []string, err error) {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		} else if base, ok := strings.CutSuffix(name, tmpSuffix); ok {
			if _, ok := parseSegmentName(base); ok {
				tmps = append(tmps, name)
			}
		}
	}
	// Names of seven digits sort before those of six.
	slices.Sort(numbers)
	return numbers, tmps, nil
}
