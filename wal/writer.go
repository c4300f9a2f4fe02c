package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

const (
	chunkBytes  = 1 << 20   // larger writes are made in pieces, or straight from the payload
	extendBytes = 256 << 10 // zeros written ahead in the first step
	maxExtend   = 4 << 20   // and in later ones: each is twice the one before
	largeBatch  = 64 << 10  // a batch that zeros would make dearer, not cheaper
)

// appender frames records into a segment file.
type appender struct {
	f       vfs.File
	info    segmentInfo
	at      LSN    // next record
	prev    uint32 // CRC of the record before
	promise LSN    // put into every record
	buf     []byte // framed, not yet written
	bufOff  int64  // file offset of buf
	sum     groupSum
	payload []byte // of the commit record
}

func (a *appender) record(kind recordType, payload []byte) error {
	size := recordSize(len(payload))
	if int64(len(a.buf))+size > chunkBytes {
		if err := a.flush(); err != nil {
			return err
		}
	}
	h := header{
		length: uint32(len(payload)), lsn: a.at, salt: a.info.salt, prev: a.prev, kind: kind, promise: a.promise,
	}
	if size > chunkBytes {
		return a.large(h, payload)
	}
	a.buf, a.prev = appendRecord(a.buf, h, payload)
	a.at += LSN(size)
	return nil
}

// large writes a record without copying its payload. The buffer is empty.
func (a *appender) large(h header, payload []byte) error {
	size := recordSize(len(payload))
	padding := make([]byte, size-recordHeader-int64(len(payload)))
	a.buf = appendHeader(a.buf, h)
	crc := crc32.Checksum(a.buf[4:], castagnoli())
	crc = crc32.Update(crc, castagnoli(), payload)
	crc = crc32.Update(crc, castagnoli(), padding)
	binary.LittleEndian.PutUint32(a.buf, crc)
	if err := a.flush(); err != nil {
		return err
	}
	err := writeFull(a.f, payload, a.bufOff)
	a.bufOff += int64(len(payload))
	a.buf = append(a.buf, padding...)
	a.at, a.prev = a.at+LSN(size), crc
	return err
}

func (a *appender) flush() error {
	if len(a.buf) == 0 {
		return nil
	}
	err := writeFull(a.f, a.buf, a.bufOff)
	a.bufOff += int64(len(a.buf))
	a.buf = a.buf[:0]
	return err
}

// group frames one group. The last one of a batch ends at a sector boundary.
func (a *appender) group(records [][]byte, last bool) error {
	start := a.at
	a.sum = groupSum{}
	for _, r := range records {
		a.sum.add(r)
		if err := a.record(dataRecord, r); err != nil {
			return err
		}
	}
	a.payload = a.sum.appendCommit(a.payload[:0], start)
	if last {
		padding := padTo(a.info.offset(a.at), commitPayload) - commitPayload
		a.payload = append(a.payload, make([]byte, padding)...)
	}
	return a.record(commitRecord, a.payload)
}

// fill writes a promise record that ends at a sector boundary, unless the file
// already does.
func (a *appender) fill() error {
	if a.info.offset(a.at)%sector == 0 {
		return a.flush()
	}
	return a.promised()
}

func (a *appender) promised() error {
	if err := a.record(promiseRecord, make([]byte, padTo(a.info.offset(a.at), 0))); err != nil {
		return err
	}
	return a.flush()
}

// writer is the state of the log's end. Only the log's goroutine uses it.
type writer struct {
	o        Options
	cur      segmentInfo
	f        vfs.File
	at       LSN    // end of what was written and not undone
	prev     uint32 // CRC of the record before at
	synced   LSN    // all below is durable
	grouped  LSN    // end of the last group
	promised LSN    // highest promise that is durable itself
	pending  LSN    // highest promise written
	written  int64  // the file has bytes up to this offset
	noExtend bool   // the disk had no room for zeros
	fresh    bool   // the next batch must begin a new segment
	unsealed *unsealed
	appender appender // of the batch at hand; kept for its buffers
	zeros    []byte
	step     int64 // zeros that the next extend writes
}

// unsealed is a segment that has a successor and does not yet name it.
type unsealed struct {
	info segmentInfo
	f    vfs.File
	at   LSN
	prev uint32
}

// newSegmentAt makes a segment with a new salt durable under its name, with
// what fill writes into it, and returns a writer at its end.
func newSegmentAt(o Options, info segmentInfo, fill func(*appender) error) (*writer, error) {
	info.salt, info.identity, info.level = o.Rand(), o.Identity, o.Sync
	for info.salt == 0 || info.salt == info.prevSalt {
		info.salt++
	}
	if err := o.owned(); err != nil {
		return nil, err
	}
	f, err := info.writeTmp(o.FS, o.Dir)
	if err != nil {
		info.dropTmp(o.FS, o.Dir)
		return nil, err
	}
	a := &appender{f: f, info: info, at: info.first, prev: info.prevCRC, promise: info.first, bufOff: segmentHeader}
	if fill != nil {
		err = fill(a)
	}
	if err == nil {
		err = o.meter.measure(f.Sync)
	}
	if err == nil {
		err = vfs.Rename(o.FS, f, info.path(o.Dir)+tmpSuffix, info.path(o.Dir))
	}
	if err != nil {
		f.Close()
		info.dropTmp(o.FS, o.Dir)
		return nil, err
	}
	if err := o.FS.SyncDir(o.Dir); err != nil {
		f.Close()
		return nil, &syncError{err}
	}
	return &writer{
		o: o, cur: info, f: f, at: a.at, prev: a.prev, synced: a.at, grouped: a.at,
		promised: info.first, pending: info.first, written: info.offset(a.at), step: o.extend,
	}, nil
}

// prepare makes room for a batch of size bytes. It fails before any byte of
// the batch was written.
func (w *writer) prepare(size int64) error {
	used := w.cur.offset(w.at)
	if w.fresh || (used > segmentHeader && used+size > w.o.SegmentBytes) {
		if err := w.rotate(); err != nil {
			return err
		}
	}
	if w.unsealed == nil {
		return nil
	}
	u := w.unsealed
	if err := u.info.seal(w.o, u.f, u.at, u.prev, w.cur.number); err != nil {
		return err
	}
	w.unsealed = nil
	return u.f.Close()
}

// rotate continues the log in a new segment (invariant 6). One that holds nothing,
// because all that was written to it was undone, is replaced under its own
// number: so a segment that has a successor has at least one sector (firstNumber),
// and trying again on a full disk does not fill the rest of it with segments.
func (w *writer) rotate() error {
	if w.unsealed != nil {
		panic(fmt.Sprintf("wal: segment %d has records and the one before it no seal", w.cur.number))
	}
	if err := w.sync(); err != nil {
		return err
	}
	info := segmentInfo{number: w.cur.number + 1, first: w.at, prevSalt: w.cur.salt, prevCRC: w.prev}
	empty := w.at == w.cur.first
	if empty {
		info.number, info.prevSalt = w.cur.number, w.cur.prevSalt
	}
	next, err := newSegmentAt(w.o, info, nil)
	if err != nil {
		return err
	}
	if empty {
		err = w.f.Close()
	} else {
		next.unsealed = &unsealed{info: w.cur, f: w.f, at: w.at, prev: w.prev}
	}
	next.grouped, next.appender, next.zeros, next.step = w.grouped, w.appender, w.zeros, w.step
	*w = *next
	return err
}

// append writes what frame puts into the file's end, without a sync. After an
// error the end is where it was, and the file's bytes behind it are to be cut.
func (w *writer) append(frame func(*appender) error) error {
	a := &w.appender
	*a = appender{
		f: w.f, info: w.cur, at: w.at, prev: w.prev, promise: w.synced,
		buf: a.buf[:0], payload: a.payload[:0], bufOff: w.cur.offset(w.at),
	}
	if a.bufOff%sector != 0 {
		panic(fmt.Sprintf("wal: batch begins at offset %d of segment %d, inside a sector", a.bufOff, w.cur.number))
	}
	err := frame(a)
	if err == nil {
		err = a.flush()
	}
	if err != nil {
		return err
	}
	if err := w.extend(a.bufOff); err != nil {
		return err
	}
	w.at, w.prev, w.pending = a.at, a.prev, a.promise
	return nil
}

// extend writes zeros behind off, where a batch ended, if that is the end of the
// file, so that the next syncs need not make a new size durable. A full disk only
// ends this. A large batch gets none: its bytes take longer than the size, and
// zeros for more of its kind would be written again at once, each byte twice.
func (w *writer) extend(off int64) error {
	if off <= w.written {
		return nil
	}
	w.written = off
	n := min(w.step, w.o.SegmentBytes-off)
	if n <= 0 || w.noExtend || off-w.cur.offset(w.at) >= largeBatch {
		return nil
	}
	w.step = max(w.step, min(2*w.step, maxExtend))
	if w.zeros == nil {
		w.zeros = make([]byte, min(w.o.extend, extendBytes))
	}
	for end := off + n; w.written < end; {
		piece := w.zeros[:min(end-w.written, int64(len(w.zeros)))]
		if err := writeFull(w.f, piece, w.written); err != nil {
			if isDiskFull(err) {
				w.noExtend = true
				return nil
			}
			return err
		}
		w.written += int64(len(piece))
	}
	return nil
}

// cutBack removes durably what append left behind the log's end.
func (w *writer) cutBack() error {
	off := w.cur.offset(w.at)
	if err := w.f.Truncate(off); err != nil {
		return &syncError{err}
	}
	w.fresh, w.written = true, off
	return w.syncFile()
}

// idle reports how long to wait before the last group is promised; ok = false
// if there is nothing to promise.
func (w *writer) idle() (d time.Duration, ok bool) {
	return w.o.IdlePromise, w.o.IdlePromise > 0 && w.grouped > w.promised
}

// promise makes a promise of the last group durable. A full disk undoes it.
func (w *writer) promise() error {
	err := w.sync()
	if err == nil && (w.fresh || w.unsealed != nil) {
		// A new segment's header is a promise too.
		err = w.prepare(0)
	} else if err == nil {
		err = w.append((*appender).promised)
		if isDiskFull(err) {
			if err := w.cutBack(); err != nil {
				return err
			}
		}
	}
	if err == nil {
		err = w.sync()
	}
	return err
}

// end writes the clean end.
func (w *writer) end() error {
	if err := w.sync(); err != nil {
		return err
	}
	return w.cur.seal(w.o, w.f, w.at, w.prev, 0)
}

func (w *writer) closeFiles() {
	w.f.Close()
	if w.unsealed != nil {
		w.unsealed.f.Close()
	}
}
