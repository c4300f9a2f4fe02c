package wal

import (
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// Salvaged says what Salvage found.
type Salvaged struct {
	Existed  bool     // there was a log
	Identity [16]byte // of the log; zero if no segment header could be read
	Groups   int      // delivered
	Bytes    int64    // of all segment files
	Damage   []string // places that are damaged; nothing behind the first one is delivered
}

// Salvage reads a log that may be damaged, and writes nothing. It calls replay for
// every whole group behind position from (0 = wherever the log begins) in order, up to the
// first damage: what lies behind a gap cannot be told from a log that never
// was. A torn tail is listed too: it may be damage. Options.Identity may be zero: then the newest
// readable segment says whose log it is.
//
// Errors: ErrTooNew, the context's, and what replay returned.
func Salvage(ctx context.Context, o Options, from LSN, replay func(g Group) error) (Salvaged, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Salvaged{}, err
	}
	r := &salvager{ctx: ctx, o: o, from: from, replay: replay}
	r.out.Identity = o.Identity
	numbers, _, err := listDir(o.FS, o.Dir)
	if err != nil {
		r.damaged(err)
		return r.out, nil
	}
	r.out.Existed = len(numbers) > 0
	segments, err := r.open(numbers)
	defer func() {
		for _, s := range segments {
			s.close()
		}
	}()
	if err != nil {
		return r.out, err
	}
	if len(segments) > 0 && from != 0 && segments[0].info.first > from {
		r.damaged(segments[0].corrupt(segments[0].info.first, "log is needed from position %d and begins at %d", from, segments[0].info.first))
		return r.out, nil
	}
	for i, s := range segments {
		if i+1 < len(segments) && segments[i+1].info.first <= from {
			continue
		}
		var next *segmentInfo
		if i+1 < len(segments) {
			next = &segments[i+1].info
		}
		if more, err := r.segment(s, next); err != nil || !more {
			return r.out, err
		}
	}
	return r.out, nil
}

type salvager struct {
	ctx    context.Context
	o      Options
	from   LSN
	replay func(Group) error
	stop   error // of replay or the context
	out    Salvaged
}

func (r *salvager) damaged(err error) { r.out.Damage = append(r.out.Damage, err.Error()) }

// open returns the segments whose headers can be read, in order.
func (r *salvager) open(numbers []uint64) (segments []*scanner, err error) {
	for i := len(numbers) - 1; i >= 0; i-- {
		if r.out.Identity == [16]byte{} {
			r.out.Identity = r.identity(numbers[i])
		}
		o := r.o
		o.Identity = r.out.Identity
		s, err := openScanner(o, numbers[i])
		if errors.Is(err, dberr.ErrTooNew) {
			return segments, err
		}
		if err != nil {
			r.damaged(err)
			continue
		}
		r.out.Bytes += s.size
		segments = append([]*scanner{s}, segments...)
	}
	return segments, nil
}

// identity reads whose segment it is; zero if that cannot be read.
func (r *salvager) identity(number uint64) (id [16]byte) {
	name := segmentInfo{number: number}.path(r.o.Dir)
	f, err := r.o.FS.Open(name, 0)
	if err != nil {
		return id
	}
	defer f.Close()
	info, err := readSegmentInfo(f, name, number)
	if err != nil {
		return id
	}
	return info.identity
}

// segment delivers the groups of one segment, up to where the next one takes over.
// more says that the log goes on there.
func (r *salvager) segment(s *scanner, next *segmentInfo) (more bool, err error) {
	q := newSequence(s, r.from, func(g Group) error {
		if r.stop = r.ctx.Err(); r.stop == nil {
			r.stop = r.replay(g)
		}
		if r.stop == nil {
			r.out.Groups++
		}
		return r.stop
	})
	follows := next != nil && next.number == s.info.number+1 && next.prevSalt == s.info.salt
	reason := ""
	for reason == "" && !q.ended && !(follows && q.at >= next.first) {
		if _, reason, err = q.step(); r.stop != nil {
			return false, r.stop
		} else if err != nil {
			r.damaged(err)
			return false, nil
		}
	}
	switch {
	case follows && q.at == next.first && q.start == q.at && q.prev == next.prevCRC:
		return true, nil
	case next != nil:
		r.damaged(s.corrupt(q.start, "%s; the next segment %s does not go on from here", orEnds(reason), segmentName(next.number)))
	case q.ended && q.next != 0:
		r.damaged(fmt.Errorf("%s: log segment %s, which it ends with, is missing", s.name, segmentName(q.next)))
	case !q.ended:
		promised, any, err := q.promiseBehind(q.at)
		if err != nil || max(promised, q.promised) > q.start {
			r.damaged(s.corrupt(q.start, "%s; but the log was synced up to %d", reason, max(promised, q.promised)))
		} else if any || q.at != q.start || q.remains() {
			r.damaged(s.corrupt(q.start, "%s: a write that was cut off, or damage to the newest commits", reason))
		}
	}
	return false, nil
}

func orEnds(reason string) string {
	if reason == "" {
		return "log ends here"
	}
	return reason
}
