package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/poddb/poddb/internal/dberr"
)

// Reading a log that another process writes.
//
// Only promised groups are delivered: what no promise covers may still be undone
// (disk full), or be cut by a recovery. The writer promises its last group when
// it was idle for a moment, so nothing stays unseen for long.
//
// What the reader sees of the log's end is a mix of moments. So a break at X
// means something only together with what is read after it:
//
//   - A promise of more than X, or a next segment that begins behind X, was written
//     after the bytes at X were synced. Whoever has read it and then reads X again
//     sees them; if the break is still there, it is damage. (One more reading would
//     do. There are some more, because files are cut while they are read.)
//   - A next segment that begins at or before X: what was read behind its beginning
//     was undone. The segment is read again up to there.
//   - Neither: that is as far as the log goes yet.
//
// A segment that is gone was released, or replaced (by a recovery, or because all
// in it was undone); the reader's position may be too old then, which is
// ErrLogMissing.

// liveTries is how often bytes that must be there are read again.
const liveTries = 8

// ReplayLive reads like Replay, but a log that a writer may be appending to,
// rotating and releasing, also from another process. It calls replay for the
// groups behind from that a promise covers, and writes nothing. Recovered.End is
// the position behind the last one.
//
// ErrLogMissing says that segments behind from are gone: the caller starts again
// from a newer position. Errors else as for Replay.
func ReplayLive(ctx context.Context, o Options, from LSN, replay func(g Group) error) (Recovered, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Recovered{}, err
	}
	if from == 0 {
		from = FirstLSN
	}
	if from%8 != 0 || from > maxLSN {
		return Recovered{}, fmt.Errorf("wal: %w: position %d", dberr.ErrInvalid, from)
	}
	l := &liveReader{ctx: ctx, o: o, from: from, replay: replay}
	l.recovered.End = from
	s, err := l.start()
	for s != nil && err == nil {
		var next *scanner
		next, err = l.read(s)
		s.close()
		s = next
	}
	if s != nil {
		s.close()
	}
	return l.recovered, err
}

type liveReader struct {
	ctx       context.Context
	o         Options
	from      LSN
	replay    func(g Group) error
	held      []Group // read, not yet promised
	recovered Recovered
}

// start opens the segment that holds position from; none if there is no log.
func (l *liveReader) start() (*scanner, error) {
	numbers, _, err := listDir(l.o.FS, l.o.Dir)
	if err != nil || len(numbers) == 0 {
		return nil, err
	}
	l.recovered.Existed = true
	for i := len(numbers) - 1; i >= 0; i-- {
		s, err := openScanner(l.o, numbers[i])
		switch {
		case errors.Is(err, fs.ErrNotExist): // released since
		case err != nil:
			return nil, err
		case s.info.first <= l.from:
			return s, nil
		default:
			s.close()
		}
	}
	return nil, l.missing("no segment holds it")
}

func (l *liveReader) missing(format string, args ...any) error {
	return fmt.Errorf("%w: log %s is read from position %d: %s", dberr.ErrLogMissing, l.o.Dir, l.from, fmt.Sprintf(format, args...))
}

// read delivers the groups of one segment and returns the next one, nil at the
// log's end.
func (l *liveReader) read(s *scanner) (next *scanner, err error) {
	q := newSequence(s, l.from, l.hold)
	goal, tries := LSN(0), 0
	for {
		at := q.at
		reason, err := l.follow(q)
		if err == nil {
			err = l.deliver(q.promised)
		}
		if err != nil {
			return nil, err
		}
		next, err := l.next(q)
		if err != nil || next != nil {
			return next, err
		}
		behind, err := l.promiseBehind(q)
		if err != nil {
			return nil, err
		}
		synced := max(behind, l.from)
		if goal == 0 {
			goal = synced // what is written from now on may wait
		}
		if q.start >= goal {
			l.recovered.Clean = q.ended
			return nil, nil
		}
		if tries++; q.at > at {
			tries = 0
		}
		if tries > liveTries {
			return nil, q.corrupt(q.at, "%s; but the log was synced up to %d", reason, synced)
		}
		if err := s.refresh(); err != nil {
			return nil, err
		}
	}
}

// follow steps to where the sequence breaks.
func (l *liveReader) follow(q *sequence) (reason string, err error) {
	q.ended = false
	for reason == "" && !q.ended {
		if _, reason, err = q.step(); errors.Is(err, io.ErrUnexpectedEOF) {
			return "the file was cut while it was read", nil
		} else if err != nil {
			return "", err
		}
	}
	if q.ended {
		reason = "log ends here"
	}
	return reason, nil
}

// promiseBehind is the highest promise at or behind a break.
func (l *liveReader) promiseBehind(q *sequence) (LSN, error) {
	if err := q.refresh(); err != nil {
		return 0, err
	}
	behind, _, err := q.scanner.promiseBehind(q.at)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return q.promised, nil
	}
	return max(behind, q.promised), err
}

// next opens the segment that continues this one and delivers what lies before
// it; nil if there is none yet.
func (l *liveReader) next(q *sequence) (*scanner, error) {
	next, err := openScanner(l.o, q.info.number+1)
	if errors.Is(err, fs.ErrNotExist) {
		if q.ended && q.next != 0 {
			return nil, l.missing("%s ends with the name of segment %d, which is gone", q.name, q.next)
		}
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if next.info.prevSalt != q.info.salt {
		err = l.missing("%s was replaced while it was read", q.name)
	} else {
		err = l.finish(q, next.info)
	}
	if err != nil {
		next.close()
		return nil, err
	}
	return next, nil
}

// finish delivers the rest of a segment that has a successor: all below the
// successor's first position was synced before it got its name.
func (l *liveReader) finish(q *sequence, next segmentInfo) error {
	if q.at > next.first { // what was read there was undone
		l.held = nil
		q = newSequence(q.scanner, l.recovered.End, l.hold)
	}
	var err error
	for range liveTries {
		if err = q.refresh(); err != nil {
			return err
		}
		q.ended = false
		err = q.through(next)
		if !errors.Is(err, dberr.ErrCorrupt) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
	}
	if err != nil {
		return err
	}
	return l.deliver(next.first)
}

func (l *liveReader) hold(g Group) error {
	l.held = append(l.held, g)
	return nil
}

// deliver hands on the groups that a promise covers.
func (l *liveReader) deliver(promised LSN) error {
	for len(l.held) > 0 && l.held[0].End <= promised {
		g := l.held[0]
		l.held[0] = Group{}
		l.held = l.held[1:]
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.replay(g); err != nil {
			return err
		}
		l.recovered.Groups++
		l.recovered.End = g.End
	}
	return nil
}
