package pager

import (
	"fmt"
	"sync/atomic"
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
type output struct {
	p        *Pager
	unsynced int64
	written  *atomic.Uint64 // bytes
}

const (
	pacedBytes = 1 << 20 // written between two syncs
	writeBytes = 1 << 20 // of one write
)

func (o *output) writeAt(data []byte, off int64) error {
	if _, err := o.p.file.WriteAt(data, off); err != nil {
		return fmt.Errorf("writing %s at byte %d: %w", o.p.path, off, err)
	}
	o.written.Add(uint64(len(data)))
	if o.unsynced += int64(len(data)); o.unsynced < pacedBytes {
		return nil
	}
	return o.sync()
}

// sync makes what was written durable.
func (o *output) sync() error {
	if err := o.p.syncData(); err != nil {
		return err
	}
	o.unsynced = 0
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
