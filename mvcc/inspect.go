package mvcc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/wal"
)

// Inspecting: a read-only store beside the process that has the database open
// for writing. It shows the database as of one moment during Open:
//
//  1. The pager takes the newest root and a reader slot for it, so the writer
//     keeps its pages (pager/slot.go).
//  2. The log behind that root is replayed while it may be written. Nothing keeps
//     it for us: the next two checkpoints release it. If it is gone, the metas are
//     newer than ours: start again from the newest.
//  3. From then on nothing is read but pages that the slot keeps, and blocks of
//     extents that the log named. The latter become free in a later
//     generation than ours, so the slot keeps them too.
//
// What is shown: all that the file holds and all groups of its log that a promise
// covers, so every commit that is followed by another one, or was answered longer
// ago than Options.IdlePromise. A writer at DurabilityNone promises at its
// checkpoints only.
//
// With no writer about, the log is read as after a crash, to its end; should one
// have come meanwhile, again from the start.

// While a writer is just making the database, or making or removing its log, Open
// meets the same state of the metas again and again. It looks outrunTries times,
// for some seconds in all: at once for as long as a writer takes in memory, then
// with pauses, because one that syncs its files takes as long as the disk does.
const (
	outrunTries = 2000
	outrunSwift = 20
	outrunPause = 2 * time.Millisecond

	// A file that somebody is about to make is there a little before its writer says that
	// it is; a file whose making ended early looks the same.
	unfinishedTries = 400
)

// outrun is an error that may come from what a writer did meanwhile.
type outrun struct {
	error
	moved bool // the metas did change
	most  int  // tries, if they did not
}

func (e *outrun) Unwrap() error { return e.error }

// openBeside opens until it is not outrun, or ctx ends.
func openBeside(ctx context.Context, o Options) (*Store, error) {
	o.ReadOnly = true
	for tries := 0; ; {
		s, err := open(ctx, o)
		var again *outrun
		if !errors.As(err, &again) {
			return s, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !again.moved {
			if tries++; tries >= again.most {
				return nil, again.error
			}
			if tries < outrunSwift {
				runtime.Gosched()
				continue
			}
			pause, end := context.WithTimeout(ctx, outrunPause)
			<-pause.Done()
			end()
		}
	}
}

// outrun says whether a failure to open may have been the writer's doing.
// attended is whether there was one before.
func (s *Store) outrun(err error, attended bool) error {
	if !s.o.Inspect {
		return err
	}
	if moved, failed := s.pager.Moved(); failed == nil && moved {
		return &outrun{err, true, 0}
	}
	now := s.pager.Attended()
	fleeting := errors.Is(err, dberr.ErrLogMissing) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, dberr.ErrSnapshotTooOld) || errors.Is(err, errUnfinished)
	// Close cuts its log and removes it, and may be done with that by now.
	closed := attended && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist))
	switch {
	case now && (!attended || fleeting) || closed:
		return &outrun{err, false, outrunTries}
	case errors.Is(err, errUnfinished):
		return &outrun{err, false, unfinishedTries}
	}
	return err
}

// replayBeside is step 2.
func (s *Store) replayBeside(ctx context.Context, attended bool) error {
	st := s.pager.State()
	replay := wal.Replay
	if attended {
		replay = wal.ReplayLive
	}
	rec, err := replay(ctx, s.logOptions(), wal.LSN(st.LogPos), s.replay)
	if err == nil && !rec.Existed {
		err = fmt.Errorf("%w: %s", dberr.ErrLogMissing, s.logDir())
	}
	if err == nil && !attended && s.pager.Attended() {
		return &outrun{fmt.Errorf("%w: a writer came", dberr.ErrConflict), false, outrunTries}
	}
	return err
}
