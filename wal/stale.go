package wal

import (
	"context"

	"github.com/poddb/poddb/internal/dberr"
)

// Stale reports whether a log holds no group behind from. It writes nothing.
//
// A log beside a file that was closed cleanly at from must be stale: it is what
// a Close that was cut off left, or segments whose removal never reached the
// medium, because a directory sync failed. Such segments may end with the name
// of one that is gone. The segment that begins last decides: if it begins at or
// before from, the ones before it end there.
//
// Errors: ErrCorrupt if that segment is damaged below something that it
// promises, or belongs to another database; ErrTooNew.
func Stale(ctx context.Context, o Options, from LSN) (bool, error) {
	o, err := o.withDefaults()
	if err != nil {
		return false, err
	}
	numbers, _, err := listDir(o.FS, o.Dir)
	if err != nil || len(numbers) == 0 {
		return err == nil, err
	}
	s, err := openScanner(o, numbers[len(numbers)-1])
	if err != nil {
		return false, err
	}
	defer s.close()
	if s.info.first > from {
		return false, nil
	}
	behind := false
	q := newSequence(s, from, func(Group) error {
		behind = true
		return ctx.Err()
	})
	for !q.ended && !behind {
		_, reason, err := q.step()
		if err != nil {
			return false, err
		}
		if reason == "" {
			continue
		}
		promised, _, err := q.promiseBehind(q.at)
		if err != nil {
			return false, err
		}
		if promised > q.start {
			return false, dberr.Corrupt(q.name, q.info.offset(q.at), "%s; but the log was synced up to %d", reason, promised)
		}
		break
	}
	return !behind, nil
}
