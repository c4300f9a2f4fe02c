package pager

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/poddb/poddb/internal/vfs"
)

// output is what one batch or one extent writes, in steps: after each it syncs,
// so that nobody else's sync waits behind all of it.
//
// The size of a step, measured on two cores that others used too, with a log on
// the same disk (128 bytes and fdatasync at a time, into written space) while
// batches of 256 MB were written (BenchmarkLogSyncBesideABatch):
//
//	step      log sync p50   p95      p99      a batch
//	(none)    0.17 ms        5.3 ms   10.3 ms
//	32 MiB    0.16 ms        12.0 ms  22.9 ms  0.28 s
//	4 MiB     0.24 ms        5.9 ms   11.8 ms  0.33 s
//	2 MiB     0.58 ms        5.9 ms   12.6 ms  0.40 s
//	1 MiB     0.40 ms        3.8 ms   8.6 ms   0.49 s
//	512 KiB   0.31 ms        4.0 ms   8.9 ms   0.72 s
//
// Below 1 MiB nothing is gained and the batch takes longer; a slower disk, where
// 4 MiB are 40 ms, gains the more from it.
//
// An extent does not wait for its steps to be durable, only for the one before to
// have left the machine's memory, where the file can say so (vfs.EarlyWriter): so
// the processor prepares a step while the disk takes another.
//
// A sync also has the file system write down where new bytes lie, and the log's
// sync waits behind that. So where a batch has others to spare a step is a short
// piece, and the batch waits until it has left.
type output struct {
	p        *Pager
	spare    func() bool     // whether there are others to spare; nil: none
	early    vfs.EarlyWriter // nil: each step ends with a sync
	unsynced int64
	step     int64          // of them, since the last step
	now      span           // what they cover
	moving   span           // what the step before covers, on its way to the disk
	written  *atomic.Uint64 // bytes
}

const (
	pacedBytes = 1 << 20  // written between two syncs
	writeBytes = 1 << 20  // of one write
	pieceBytes = 64 << 10 // of a step that spares others
)

// span is a range of bytes of the file; an empty one has to = 0.
type span struct{ from, to int64 }

func (o *output) writeAt(data []byte, off int64) error {
	for len(data) > 0 {
		n, paced := len(data), int64(pacedBytes)
		gently := o.early != nil && o.spare != nil && o.spare()
		if gently {
			n, paced = min(n, pieceBytes), 0
		}
		if err := o.write(data[:n], off, paced); err != nil {
			return err
		}
		if gently {
			if err := o.await(); err != nil {
				return err
			}
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// write writes some bytes, and ends the step if it has as many as paced.
func (o *output) write(data []byte, off, paced int64) error {
	if _, err := o.p.file.WriteAt(data, off); err != nil {
		return fmt.Errorf("writing %s at byte %d: %w", o.p.path, off, err)
	}
	n := int64(len(data))
	o.written.Add(uint64(n))
	o.unsynced += n
	if o.now.to == 0 {
		o.now.from = off
	}
	o.now = span{min(o.now.from, off), max(o.now.to, off+n)}
	if o.step += n; o.step < paced {
		return nil
	}
	if o.early == nil {
		return o.sync()
	}
	return o.pace()
}

// pace waits for the step before and begins with this one.
func (o *output) pace() error {
	err := o.await()
	if err == nil {
		err = o.early.StartWrite(o.now.from, o.now.to-o.now.from)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		o.early = nil
		return o.sync()
	case err != nil:
		return o.p.fail(fmt.Errorf("writing %s early: %w", o.p.path, err))
	}
	o.moving, o.now, o.step = o.now, span{}, 0
	return nil
}

// await waits for the step before. A system tells of a failed write to one wait
// or sync only, so nobody may sync meanwhile (syncData).
func (o *output) await() error {
	if o.moving.to == 0 {
		return nil
	}
	o.p.syncing.Lock()
	defer o.p.syncing.Unlock()
	if err := o.p.Poisoned(); err != nil {
		return err
	}
	if err := o.early.AwaitWrite(o.moving.from, o.moving.to-o.moving.from); err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		return o.p.fail(fmt.Errorf("writing %s early: %w", o.p.path, err))
	}
	o.moving = span{}
	return nil
}

// sync makes what was written durable.
func (o *output) sync() error {
	if err := o.p.syncData(); err != nil {
		return err
	}
	o.unsynced, o.step, o.now, o.moving = 0, 0, span{}, span{}
	return nil
}

// pageWriter joins writes to adjacent places.
type pageWriter struct {
	*output
	buf []byte
	off int64
}

func (w *pageWriter) write(data []byte, off int64) error {
	if off != w.off+int64(len(w.buf)) || len(w.buf)+len(data) > writeBytes {
		if err := w.flush(); err != nil {
			return err
		}
		w.off = off
	}
	if n := len(w.buf) + len(data); n > cap(w.buf) {
		w.buf = append(make([]byte, 0, max(n, min(2*cap(w.buf), writeBytes))), w.buf...)
	}
	w.buf = append(w.buf, data...)
	return nil
}

// holds reports whether bytes at off are not in the file yet.
func (w *pageWriter) holds(off int64) bool { return off >= w.off && off < w.off+int64(len(w.buf)) }

func (w *pageWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if err := w.writeAt(w.buf, w.off); err != nil {
		return err
	}
	w.off += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}
