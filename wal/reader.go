package wal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

const windowBytes = 256 << 10

// scanner reads records of one segment file.
type scanner struct {
	f     vfs.File
	name  string
	size  int64
	info  segmentInfo
	start int64 // window holds the file's bytes from here
	win   []byte
}

// openScanner opens segment number and reads its header. A segment of
// another identity is damage: its positions mean nothing here.
func openScanner(o Options, number uint64) (*scanner, error) {
	name := segmentInfo{number: number}.path(o.Dir)
	f, err := o.FS.Open(name, 0)
	if err != nil {
		return nil, err
	}
	s := &scanner{f: f, name: name}
	if s.size, err = f.Size(); err == nil {
		s.info, err = readSegmentInfo(f, name, number)
	}
	if err == nil && s.info.identity != o.Identity {
		err = dberr.Corrupt(name, 52, "log of another database")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *scanner) close() { s.f.Close() }

// refresh forgets what was read, for a file that has changed since.
func (s *scanner) refresh() (err error) {
	s.win = s.win[:0]
	s.size, err = s.f.Size()
	return err
}

func (s *scanner) corrupt(at LSN, format string, args ...any) error {
	return dberr.Corrupt(s.name, s.info.offset(at), format, args...)
}

// bytes returns n bytes at off, which the caller has bounded by the file's
// size; valid until the next call.
func (s *scanner) bytes(off int64, n int) ([]byte, error) {
	if off >= s.start && off+int64(n) <= s.start+int64(len(s.win)) {
		return s.win[off-s.start:][:n], nil
	}
	want := int(min(int64(max(n, windowBytes)), s.size-off))
	if cap(s.win) < want || cap(s.win) > 4*windowBytes {
		s.win = make([]byte, want)
	}
	s.win, s.start = s.win[:want], off
	if err := readFull(s.f, s.win, off); err != nil {
		s.win = s.win[:0]
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return s.win[:n], nil
}

func readFull(f vfs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// record is one record as read; payload is valid until the next read.
type record struct {
	header
	crc     uint32
	payload []byte
}

func (r record) end() LSN { return r.lsn + LSN(recordSize(len(r.payload))) }

// read reads the record at a position. A non-empty reason says why none is
// there; err is a failure to read, which proves nothing about the bytes.
func (s *scanner) read(at LSN) (r record, reason string, err error) {
	off := s.info.offset(at)
	room := s.size - off
	if room < recordHeader {
		return r, "end of file", nil
	}
	b, err := s.bytes(off, recordHeader)
	if err != nil {
		return r, "", err
	}
	r.header, r.crc = decodeHeader(b)
	if reason := r.misfit(at, s.info.salt, room); reason != "" {
		return r, reason, nil
	}
	size := int(recordSize(int(r.length)))
	if b, err = s.bytes(off, size); err != nil {
		return r, "", err
	}
	if crc := crc32.Checksum(b[4:], castagnoli()); crc != r.crc {
		return r, fmt.Sprintf("record checksum is %08x, its bytes give %08x", r.crc, crc), nil
	}
	r.payload = b[recordHeader:][:r.length]
	return r, "", nil
}

// scanBudget bounds the work that crafted bytes can cause, in file sizes.
const scanBudget = 64

// promiseBehind looks for valid records at or behind a position, in sequence
// or not, and returns the highest promise among them.
func (s *scanner) promiseBehind(x LSN) (promise LSN, any bool, err error) {
	budget := scanBudget * s.size
	off, end := s.info.offset(x), s.size-recordHeader
	for off <= end {
		b, err := s.bytes(off, recordHeader)
		if err != nil {
			return 0, false, err
		}
		at := s.info.first + LSN(off-segmentHeader)
		// Most places fail the first comparison. A torn header may have any
		// length: only what is worth a checksum counts against the budget.
		h, _ := decodeHeader(b)
		if h.lsn != at || h.misfit(at, s.info.salt, s.size-off) != "" {
			off += 8
			continue
		}
		r, reason, err := s.read(at)
		if err != nil {
			return 0, false, err
		}
		if reason == "" {
			any, promise = true, max(promise, r.promise)
			off += recordSize(len(r.payload))
			continue
		}
		if budget -= recordSize(int(h.length)); budget < 0 {
			return 0, false, s.corrupt(at, "more damaged records than a crash leaves behind")
		}
		off += 8
	}
	return promise, any, nil
}

// sequence follows the records of one segment and checks the structure of
// groups. deliver is called for each whole group that begins at or behind from.
type sequence struct {
	*scanner
	at          LSN    // next record
	prev        uint32 // CRC of the record before at
	start       LSN    // where the open group began; == at between groups
	promised    LSN    // highest promise so far
	from        LSN
	group       [][]byte
	sum         groupSum
	commitBytes []byte // what the commit record must say
	ended       bool   // an end record stands at at
	next        uint64
	deliver     func(g Group) error
}

func newSequence(s *scanner, from LSN, deliver func(Group) error) *sequence {
	i := s.info
	return &sequence{
		scanner: s, at: i.first, prev: i.prevCRC, start: i.first,
		promised: i.first, from: from, deliver: deliver,
	}
}

// step reads the next record in sequence. reason is as in read, "" with ended
// set at an end record, which is not stepped over.
func (q *sequence) step() (r record, reason string, err error) {
	r, reason, err = q.read(q.at)
	if err != nil || reason != "" {
		return r, reason, err
	}
	if r.prev != q.prev {
		return r, "record does not follow the one before it", nil
	}
	if r.promise > q.start {
		return r, "", q.corrupt(q.at, "record promises %d, which is inside its group", r.promise)
	}
	q.promised = max(q.promised, r.promise)
	open := q.at != q.start
	switch {
	case r.kind == dataRecord:
		q.sum.add(r.payload)
		if q.start >= q.from {
			q.group = append(q.group, bytes.Clone(r.payload))
		}
	case r.kind == commitRecord:
		if err := q.commit(r); err != nil {
			return r, "", err
		}
	case open:
		return r, "", q.corrupt(q.at, "record of type %d inside a group", r.kind)
	case r.kind == endRecord:
		if len(r.payload) < endPayload {
			return r, "", q.corrupt(q.at, "end record of %d bytes", len(r.payload))
		}
		q.ended, q.next = true, binary.LittleEndian.Uint64(r.payload)
		return r, "", nil
	}
	q.at, q.prev = r.end(), r.crc
	if r.kind != dataRecord {
		q.start = q.at
	}
	return r, "", nil
}

func (q *sequence) commit(r record) error {
	if len(r.payload) < commitPayload {
		return q.corrupt(q.at, "commit record of %d bytes", len(r.payload))
	}
	q.commitBytes = q.sum.appendCommit(q.commitBytes[:0], q.start)
	if !bytes.Equal(q.commitBytes, r.payload[:commitPayload]) {
		return q.corrupt(q.at, "commit record does not fit its group of %d records", q.sum.count)
	}
	if q.start < q.from && r.end() > q.from {
		return q.corrupt(q.at, "position %d, where replay was asked to begin, is inside a group", q.from)
	}
	g := Group{Records: q.group, End: r.end()}
	q.group, q.sum = nil, groupSum{}
	if q.start >= q.from {
		return q.deliver(g)
	}
	return nil
}
