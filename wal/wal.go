// Package wal is the write-ahead log: it makes groups of records durable in
// the order they were submitted and gives them back, whole and in that order,
// after any crash.
//
// # Words
//
//   - LSN: a byte position in the whole log, over all segments. Segment
//     headers have none, so a segment's last LSN is the next one's first.
//   - Record: header and payload, the unit of framing (record.go).
//   - Group: data records and one commit record that carries their count and
//     checksum. A group lies in one segment.
//   - Batch: the groups written and synced together. It starts and ends at a
//     sector boundary of its file; the last commit record carries the padding.
//   - Promise: a record with promise p says that all below LSN p had been
//     synced when it was written. A segment header promises its first LSN.
//   - Sequence: a record counts only if its own CRC, its LSN (= position), its
//     segment's salt and the CRC of the record before it all fit.
//   - Seal: an end record at the place where the next segment takes over.
//
// # Invariants
//
//  1. Acknowledged (level Full): done(nil) is called only after the sync that
//     covers the group's last byte returned nil.
//  2. One writer: only one goroutine writes the log; log order is Submit order.
//  3. No write touches a sector that holds an acknowledged byte: batches start
//     at sector boundaries. So a torn write cannot hurt what was synced.
//  4. A promise is never ahead of the last successful sync.
//  5. Under one salt no LSN is written twice with different records, except
//     for an end record. After an undone write and at every Open the log goes
//     on in a segment with a new salt, so bytes behind a cut never revive,
//     also when a group is repeated bit by bit.
//  6. Segment n+1 appears under its name (rename, directory synced) only when
//     all below its first LSN is synced in segment n and before. From then on
//     its header decides: segment n is read up to that LSN and no further.
//  7. A group in segment n+1 is acknowledged only after segment n was sealed,
//     so a missing segment n+1 is seen.
//  8. Nothing is trusted because it can be read: after a failed sync the page
//     cache shows bytes that the disk does not have. Recovery writes what no
//     promise covers again, into a new file, and syncs that, before the old
//     copy is cut.
//  9. A failed sync poisons: it is not retried and nothing more is written.
//  10. At the levels None and Interval a group is acknowledged before its sync,
//     and may name bytes elsewhere that are not synced either. Each sync makes
//     those durable first (BeforeSync), so below a promise nothing is missing.
//     Behind the last promise replay may say that a group's bytes are gone; the
//     log then ends before it: the newest groups are lost, never one between.
//     What stays is made durable again (Resync) before the log promises it.
//
// # Steps
//
// A batch: write records; write zeros behind them if the file's written part
// ends here and the batch is small (later syncs then find no size to update);
// sync; call done;
// wait for those who come back (gather.go).
//
// A new segment: sync the current one; write the header to NNNNNN.wal.tmp;
// sync; rename; sync the directory; seal the old segment and cut what lies
// behind the seal, sync. A crash before the rename leaves a .tmp that the next
// Open removes. A crash between rename and seal is invariant 6.
//
// An undone batch (disk full before the sync): truncate the file to where the
// batch began, sync that, then call done with ErrDiskFull, for everything
// queued behind as well. The next batch begins a new segment, under the same
// number if nothing else is in this one.
//
// Recovery: read from the segment that holds `from`. Where the sequence breaks
// at X, or in the middle of a group that began at X, the log ends at X, unless
// X lies below the next segment's first LSN, or below `from`, or any valid
// record behind X promises more than X: then synced bytes are damaged and Open
// fails with a CorruptError, having written nothing. Let R be the last
// position promised. Records in [R, X) are written into a new segment with a new
// salt and the same LSNs; it is synced, renamed, the directory synced; only
// then the old segment is sealed at R and cut. If nothing in the last segment
// is promised, its directory entry is not proven either: the new segment then
// takes the same number and replaces it by the rename. Recovery that crashes at any step
// leaves one of these states: the old log plus a .tmp; the new segment with
// the predecessor not yet sealed; done. All of them recover to the same groups.
//
// # Zeros ahead, not recycled segments
//
// A sync that finds a new file size to write costs more than one that does not.
// Writing zeros ahead takes that away but for one sync in 512; overwriting the
// segments that Release frees would take it away for all, and have to be safe
// against every crash around renames of files full of old records. It is not worth
// that: BenchmarkCommit (ext4, 128 bytes, medians of 150 turns on the calmest of
// several runs) says for one committer 216 µs with zeros ahead, 258 in place, 356
// without either, 252 for a bare log that only appends; for 16 committers 19.1,
// 19.5, 28.7 and 24.9 µs a commit. Over four runs zeros ahead were at 1.13 to 1.5
// times the speed of the bare log, in place at 0.96 to 1.7: no difference that
// stands out of the noise.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// LSN is a byte position in the whole log, a multiple of 8.
type LSN uint64

// FirstLSN is where a log begins that was opened at position 0.
const FirstLSN LSN = 8

// MaxRecord is the largest record payload in bytes.
const MaxRecord = 64 << 20

// Level says what done(nil) means.
type Level int

const (
	// Full: the group is durable.
	Full Level = iota
	// None: the group was written; Sync, a new segment or Close make it durable.
	None
	// Interval: like None, and a sync runs at the latest Options.Interval after
	// the first write that was not synced.
	Interval
)

const (
	defaultSegmentBytes = 16 << 20
	defaultIdlePromise  = time.Second
)

// Options say where the log lives. FS and Dir are required.
type Options struct {
	FS           vfs.FS
	Dir          string
	Identity     [16]byte      // of what the log belongs to; a log with another one is refused
	SegmentBytes int64         // a segment is closed before it grows past this; one batch may be larger. 0 = 16 MiB
	IdlePromise  time.Duration // quiet time after which the last group is promised. 0 = 1 s, negative = never
	Sync         Level
	Interval     time.Duration // for level Interval, above 0

	// BeforeSync runs before each sync of groups at the levels None and Interval, so
	// that what they name elsewhere is durable before them. If it fails, so has
	// the sync. It is called by the log's goroutine and must not wait for the log.
	BeforeSync func() error
	// Resync runs in Open before groups behind promised are written again, if they
	// were written at level None or Interval: what they name elsewhere may be in
	// the page cache only, even if a sync of it failed. It writes that again and
	// syncs it. If it fails, so does Open.
	Resync func(promised LSN) error
	// Owner, if set, is asked before a segment is made and before segments are
	// removed: an error says that the directory may be another log's by now, and
	// neither is done.
	Owner func() error
	// OnSync is told how long each sync of a log file took, failed ones too. The
	// log waits for it.
	OnSync func(time.Duration)

	Now  func() time.Time // for measuring syncs; nil = time.Now
	Rand func() uint64    // salts; nil = crypto/rand

	meter  *meter
	extend int64 // zeros written ahead in one step; 0 = extendBytes, negative = none
}

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil || o.Dir == "" {
		return o, fmt.Errorf("wal: %w: FS and Dir are required", dberr.ErrInvalid)
	}
	if o.Sync < Full || o.Sync > Interval {
		return o, fmt.Errorf("wal: %w: sync level %d", dberr.ErrInvalid, o.Sync)
	}
	if o.Sync == Interval && o.Interval <= 0 {
		return o, fmt.Errorf("wal: %w: sync interval %v", dberr.ErrInvalid, o.Interval)
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.IdlePromise == 0 {
		o.IdlePromise = defaultIdlePromise
	}
	if o.extend == 0 {
		o.extend = extendBytes
	}
	if o.Rand == nil {
		o.Rand = randomSalt
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.meter = &meter{now: o.Now, report: o.OnSync}
	return o, nil
}

func randomSalt() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return binary.LittleEndian.Uint64(b[:])
}

// Group is one group as replayed. The record bytes belong to the receiver.
type Group struct {
	Records [][]byte
	End     LSN // position behind the group
}

// Recovered says what Open found.
type Recovered struct {
	Existed   bool // there was a log
	Clean     bool // it was closed cleanly
	Groups    int  // replayed
	Rewritten int  // of these, not covered by a promise and written again
	Cut       bool // bytes behind End were given up: an unfinished or torn tail
	End       LSN  // where the log goes on
}
