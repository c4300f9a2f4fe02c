package wal

import (
	"fmt"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

const (
	chunkBytes  = 1 << 20   // larger writes are made in pieces, or straight from the payload
	extendBytes = 256 << 10 // zeros written ahead in one step
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
}

func (a *appender) record(kind recordType, payload []byte) error {
	head, crc := encodeHeader(header{
		length: uint32(len(payload)), lsn: a.at, salt: a.info.salt, prev: a.prev, kind: kind, promise: a.promise,
	}, payload)
	if err := a.emit(head[:]); err != nil {
		return err
	}
	if err := a.emit(payload); err != nil {
		return err
	}
	var zeros [8]byte
	size := recordSize(len(payload))
	if err := a.emit(zeros[:size-recordHeader-int64(len(payload))]); err != nil {
		return err
	}
	a.at, a.prev = a.at+LSN(size), crc
	return nil
}

func (a *appender) emit(b []byte) error {
	if len(a.buf)+len(b) > chunkBytes {
		if err := a.flush(); err != nil {
			return err
		}
	}
	if len(b) >= chunkBytes {
		err := writeFull(a.f, b, a.bufOff)
		a.bufOff += int64(len(b))
		return err
	}
	a.buf = append(a.buf, b...)
	return nil
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

// commit ends a group. The last one of a batch ends at a sector boundary.
func (a *appender) commit(sum groupSum, start LSN, last bool) error {
	size := commitPayload
	if last {
		size = padTo(a.info.offset(a.at), commitPayload)
	}
	return a.record(commitRecord, sum.commit(start, size))
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
	buf      []byte
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
	info.salt, info.identity = o.Rand(), o.Identity
	for info.salt == 0 || info.salt == info.prevSalt {
		info.salt++
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
		if err = f.Sync(); err != nil {
			err = &syncError{err}
		}
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
		promised: info.first, pending: info.first, written: info.offset(a.at),
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
	if err := u.info.seal(u.f, u.at, u.prev, w.cur.number); err != nil {
		return err
	}
	w.unsealed = nil
	return u.f.Close()
}

// rotate continues the log in a new segment (invariant 6).
func (w *writer) rotate() error {
	if w.unsealed != nil {
		panic(fmt.Sprintf("wal: segment %d has records and the one before it no seal", w.cur.number))
	}
	if err := w.sync(); err != nil {
		return err
	}
	next, err := newSegmentAt(w.o, segmentInfo{
		number: w.cur.number + 1, first: w.at, prevSalt: w.cur.salt, prevCRC: w.prev,
	}, nil)
	if err != nil {
		return err
	}
	next.unsealed = &unsealed{info: w.cur, f: w.f, at: w.at, prev: w.prev}
	next.grouped, next.buf = w.grouped, w.buf
	*w = *next
	return nil
}

// sync makes all that was written durable.
func (w *writer) sync() error {
	if w.synced == w.at {
		return nil
	}
	if err := w.f.SyncData(); err != nil {
		return &syncError{err}
	}
	w.synced, w.promised = w.at, w.pending
	return nil
}

// append writes what frame puts into the file's end, without a sync. After an
// error the end is where it was, and the file's bytes behind it are to be cut.
func (w *writer) append(frame func(*appender) error) error {
	a := &appender{
		f: w.f, info: w.cur, at: w.at, prev: w.prev, promise: w.synced,
		buf: w.buf[:0], bufOff: w.cur.offset(w.at),
	}
	if a.bufOff%sector != 0 {
		panic(fmt.Sprintf("wal: batch begins at offset %d of segment %d, inside a sector", a.bufOff, w.cur.number))
	}
	err := frame(a)
	if err == nil {
		err = a.flush()
	}
	w.buf = a.buf[:0]
	if err != nil {
		return err
	}
	if err := w.extend(a.bufOff); err != nil {
		return err
	}
	w.at, w.prev, w.pending = a.at, a.prev, a.promise
	return nil
}

// extend writes zeros behind off if that is the end of the file, so that the
// next syncs need not make a new size durable. A full disk only ends this.
func (w *writer) extend(off int64) error {
	if off <= w.written {
		return nil
	}
	w.written = off
	n := min(w.o.extend, w.o.SegmentBytes-off)
	if n <= 0 || w.noExtend {
		return nil
	}
	err := writeFull(w.f, make([]byte, n), off)
	if isDiskFull(err) {
		w.noExtend = true
		return nil
	}
	w.written = off + n
	return err
}

// cutBack removes durably what append left behind the log's end.
func (w *writer) cutBack() error {
	off := w.cur.offset(w.at)
	if err := w.f.Truncate(off); err != nil {
		return &syncError{err}
	}
	w.fresh, w.written = true, off
	if err := w.f.SyncData(); err != nil {
		return &syncError{err}
	}
	w.synced, w.promised = w.at, w.pending
	return nil
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
	return w.cur.seal(w.f, w.at, w.prev, 0)
}

func (w *writer) closeFiles() {
	w.f.Close()
	if w.unsealed != nil {
		w.unsealed.f.Close()
	}
}
