package mvcc

import (
	"time"

	"github.com/poddb/poddb/wal"
)

// Durability levels. They differ in when the log syncs, and so in when a commit
// is answered and visible; what they may lose are always the newest commits:
//
//  1. The log is in commit order and is cut at one place, so recovery leaves the
//     state as of some commit.
//  2. A meta page that names a log position is written only after the log is
//     durable up to there. Otherwise a power cut could leave a page file that is
//     ahead of its log: the next commits would take positions, and versions, that
//     the file has already.
//  3. A big commit's extents are synced before the log record that names them:
//     before Submit at DurabilityFull, else by the log before each of its syncs.
//     What a power cut leaves of the log between two syncs may name extents that
//     it did not leave; recovery checks those and ends the log there.

const defaultInterval = time.Second

func (d Durability) level() wal.Level {
	switch d {
	case DurabilityInterval:
		return wal.Interval
	case DurabilityNone:
		return wal.None
	}
	return wal.Full
}

// String names the level.
func (d Durability) String() string {
	switch d {
	case DurabilityFull:
		return "full"
	case DurabilityInterval:
		return "interval"
	case DurabilityNone:
		return "none"
	}
	return "unknown"
}

// syncLog makes the log durable up to a position (invariant 2). A log that
// failed says so: nothing more may be written, here neither.
func (s *Store) syncLog(upTo uint64) error {
	log := s.log.Load()
	if log == nil {
		return nil
	}
	if err := log.Poisoned(); err != nil {
		return err
	}
	if uint64(log.Durable()) >= upTo {
		return nil
	}
	return log.Sync()
}
