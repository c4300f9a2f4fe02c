package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Open recovers the log from position from (0 = the beginning; a position that
// Open or done named, what lies before may be gone), calls replay for every
// whole group behind it in order, writes again what no promise covers, and
// returns a log ready for Submit. Without a log it starts an empty one at from.
//
// A replay that returns ErrGroupLost ends the log before that group, unless it was
// synced; then Open fails with ErrCorrupt.
//
// Errors: ErrCorrupt (a *dberr.CorruptError naming file and offset), ErrLogMissing
// (the log begins behind from), ErrTooNew, ErrDiskFull, what replay returned. After an error
// nothing that Open could read is lost.
func Open(ctx context.Context, o Options, from LSN, replay func(g Group) error) (*Log, Recovered, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, Recovered{}, err
	}
	t, err := readLog(ctx, o, from, replay)
	if err != nil {
		return nil, Recovered{}, err
	}
	w, err := t.repair(o)
	if err != nil {
		if isDiskFull(err) {
			err = fmt.Errorf("%w: %w", dberr.ErrDiskFull, err)
		}
		return nil, Recovered{}, fmt.Errorf("recovering log %s: %w", o.Dir, err)
	}
	t.recovered.End = w.at
	return start(o, w, t.held(w.cur)), t.recovered, nil
}

// Replay reads like Open and writes nothing.
func Replay(ctx context.Context, o Options, from LSN, replay func(g Group) error) (Recovered, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Recovered{}, err
	}
	t, err := readLog(ctx, o, from, replay)
	return t.recovered, err
}

// tail is what reading a log found out about its end.
type tail struct {
	recovered Recovered
	older     []uint64      // segments before the first one read
	segments  []segmentInfo // read; the last one is where the log ends
	end       LSN           // all groups end at or before this
	promised  LSN           // all below was synced when it was written
	tmps      []string
}

func (t *tail) last() segmentInfo { return t.segments[len(t.segments)-1] }

func readLog(ctx context.Context, o Options, from LSN, replay func(g Group) error) (t tail, err error) {
	if from == 0 {
		from = FirstLSN
	}
	if from%8 != 0 || from > maxLSN {
		return t, fmt.Errorf("wal: %w: position %d", dberr.ErrInvalid, from)
	}
	numbers, tmps, err := listDir(o.FS, o.Dir)
	if err != nil {
		return t, err
	}
	t.tmps = tmps
	t.end, t.promised, t.recovered.End = from, from, from
	if len(numbers) == 0 {
		return t, nil
	}
	t.recovered.Existed = true
	scanners, err := openFrom(o, numbers, from)
	defer func() {
		for _, s := range scanners {
			s.close()
		}
	}()
	if err != nil {
		return t, err
	}
	t.older = numbers[:len(numbers)-len(scanners)]
	for _, s := range scanners {
		t.segments = append(t.segments, s.info)
	}
	for i, s := range scanners {
		q := newSequence(s, from, func(g Group) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := replay(g)
			if err == nil {
				t.recovered.Groups++
			}
			return err
		})
		if i+1 < len(scanners) {
			if err = q.through(scanners[i+1].info); errors.Is(err, ErrGroupLost) {
				err = q.corrupt(q.start, "the log went on behind this group: %v", err)
			}
		} else {
			err = t.findEnd(q, from)
		}
		if err != nil {
			return t, err
		}
	}
	t.recovered.End = t.end
	return t, nil
}

// openFrom opens the segments from the one that holds position from on, and
// checks that they form a chain.
func openFrom(o Options, numbers []uint64, from LSN) (chain []*scanner, err error) {
	first := len(numbers)
	var damage error
	for first > 0 {
		first--
		s, err := openScanner(o, numbers[first])
		switch {
		case err == nil:
			chain = append([]*scanner{s}, chain...)
		case errors.Is(err, dberr.ErrCorrupt):
			damage = err
			continue
		default:
			return chain, err
		}
		if s.info.first <= from {
			break
		}
	}
	// A damaged header before the chain's first segment does no harm.
	if damage != nil && (len(chain) == 0 || chain[0].info.first > from || len(chain) < len(numbers)-first) {
		return chain, damage
	}
	if chain[0].info.first > from {
		return chain, fmt.Errorf("%w: log %s is needed from position %d and begins at %d, in %s",
			dberr.ErrLogMissing, o.Dir, from, chain[0].info.first, segmentName(numbers[first]))
	}
	for i := 1; i < len(chain); i++ {
		before, s := chain[i-1].info, chain[i].info
		switch {
		case s.number != before.number+1:
			return chain, dberr.Corrupt(segmentInfo{number: before.number + 1}.path(o.Dir), -1, "log segment is missing")
		case s.prevSalt != before.salt || s.first < before.first:
			return chain, dberr.Corrupt(chain[i].name, 40, "segment does not continue the one before it")
		}
	}
	return chain, nil
}

// through reads a segment up to where the next one takes over. All below that
// was synced before the next one got its name (invariant 6).
func (q *sequence) through(next segmentInfo) error {
	for q.at < next.first {
		at := q.at
		_, reason, err := q.step()
		switch {
		case err != nil:
			return err
		case reason != "":
			return q.corrupt(at, "%s; the next segment proves that the log went on to %d", reason, next.first)
		case q.ended:
			return q.corrupt(at, "log ends here but the next segment begins at %d", next.first)
		}
	}
	if q.at != next.first || q.at != q.start {
		return q.corrupt(q.start, "group crosses the beginning of the next segment at %d", next.first)
	}
	if q.prev != next.prevCRC {
		return q.corrupt(q.at, "the next segment continues another record")
	}
	return nil
}

// findEnd reads the last segment and decides whether it has a torn tail, or
// damage below a promise.
func (t *tail) findEnd(q *sequence, from LSN) error {
	var reason string
	for reason == "" && !q.ended {
		var err error
		if _, reason, err = q.step(); errors.Is(err, ErrGroupLost) {
			return t.cutBefore(q, from, err)
		} else if err != nil {
			return err
		}
	}
	t.end, t.promised = q.start, q.promised
	if q.ended && q.next != 0 {
		return dberr.Corrupt(path.Join(path.Dir(q.name), segmentName(q.next)), -1,
			"log segment is missing: %s ends with its name", q.name)
	}
	t.recovered.Clean = q.ended
	if !q.ended {
		behind, any, err := q.promiseBehind(q.at)
		if err != nil {
			return err
		}
		t.promised = max(t.promised, behind)
		t.recovered.Cut = any || q.at != q.start || q.remains()
	}
	if synced := max(t.promised, from); synced > t.end {
		if q.ended {
			reason = "log ends here"
		}
		return q.corrupt(q.at, "%s; but the log was synced up to %d", reason, synced)
	}
	return nil
}

// cutBefore ends the log before the group that q stands in, whose bytes elsewhere
// a crash took away.
func (t *tail) cutBefore(q *sequence, from LSN, lost error) error {
	behind, _, err := q.promiseBehind(q.start)
	if err != nil {
		return err
	}
	t.end, t.promised, t.recovered.Cut = q.start, max(q.promised, behind), true
	if synced := max(t.promised, from); synced > t.end {
		return q.corrupt(q.start, "%v; but the log was synced up to %d", lost, synced)
	}
	if q.info.level == Full {
		return q.corrupt(q.start, "%v; it was durable before the group", lost)
	}
	return nil
}

// remains reports whether part of a record's header is left where the sequence
// breaks.
func (q *sequence) remains() bool {
	off := q.info.offset(q.at)
	n := min(recordHeader, q.size-off)
	if n <= 0 {
		return false
	}
	b, err := q.bytes(off, int(n))
	if err != nil {
		return true
	}
	for _, c := range b {
		if c != 0 {
			return true
		}
	}
	return false
}

// repair makes a new segment that continues the log, with what lies between
// the last promise and the end written again, and returns a writer on it.
func (t *tail) repair(o Options) (*writer, error) {
	if err := prepareDir(o, t); err != nil {
		return nil, err
	}
	if err := t.resync(o); err != nil {
		return nil, err
	}
	if !t.recovered.Existed {
		return newSegmentAt(o, segmentInfo{number: firstNumber(t.end), first: t.end}, nil)
	}
	last := t.last()
	src, err := openScanner(o, last.number)
	if err != nil {
		return nil, err
	}
	defer src.close()
	if src.info != last {
		return nil, src.corrupt(last.first, "segment changed while it was read")
	}
	q := newSequence(src, maxLSN, nil)
	for q.at < t.promised {
		if _, err := q.again(); err != nil {
			return nil, err
		}
	}
	if q.at != t.promised || q.at != q.start || src.info.offset(q.at)%sector != 0 {
		return nil, src.corrupt(q.start, "promise of %d does not fall between batches", t.promised)
	}
	next := segmentInfo{number: last.number + 1, first: q.at, prevSalt: last.salt, prevCRC: q.prev}
	if q.at == last.first {
		next.number, next.prevSalt = last.number, last.prevSalt
	}
	sealAt, sealPrev := q.at, q.prev
	w, err := newSegmentAt(o, next, func(a *appender) error { return t.rewrite(q, a) })
	if err != nil {
		return nil, err
	}
	if err := sealBefore(o, w.cur, sealAt, sealPrev); err != nil {
		w.f.Close()
		return nil, err
	}
	return w, nil
}

// resync makes durable what groups name elsewhere that are about to become so.
func (t *tail) resync(o Options) error {
	if o.Resync == nil || t.promised >= t.end || t.last().level == Full {
		return nil
	}
	if err := o.Resync(t.promised); err != nil {
		return &syncError{err}
	}
	return nil
}

// firstNumber is the number of the first segment of a log that begins at from.
// It is above that of every segment that ended there or before, because each
// has at least one sector: should the removal of an old one turn out not to have
// reached the medium, it stands behind the log and not in front of it.
func firstNumber(from LSN) uint64 { return uint64(from)/sector + 1 }

// again is step over a record that was in sequence a moment ago.
func (q *sequence) again() (record, error) {
	r, reason, err := q.step()
	if err == nil && (reason != "" || q.ended) {
		err = q.corrupt(q.at, "not readable a second time: %s", reason)
	}
	return r, err
}

// rewrite frames the records from q's position to the end again.
func (t *tail) rewrite(q *sequence, a *appender) error {
	for q.at < t.end {
		r, err := q.again()
		if err != nil {
			return err
		}
		if a.at != r.lsn {
			panic(fmt.Sprintf("wal: record %d is framed again at %d", r.lsn, a.at))
		}
		if r.kind == commitRecord {
			t.recovered.Rewritten++
		}
		if err := a.record(r.kind, r.payload); err != nil {
			return err
		}
	}
	return a.fill()
}

// sealBefore seals the segment before next, if it is still there and what next
// continues.
func sealBefore(o Options, next segmentInfo, at LSN, prev uint32) error {
	if next.prevSalt == 0 {
		return nil
	}
	s, err := openScanner(o, next.number-1)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, dberr.ErrCorrupt) {
		return nil // released, or damaged before the part that is read
	}
	if err != nil {
		return err
	}
	info := s.info
	s.close()
	if info.salt != next.prevSalt || info.first > at {
		return nil
	}
	f, err := o.FS.Open(info.path(o.Dir), vfs.ReadWrite)
	if err != nil {
		return err
	}
	defer f.Close()
	return info.seal(o, f, at, prev, next.number)
}

// prepareDir removes temporary files. A directory without segments is made
// anew, because its own entry may not be durable.
func prepareDir(o Options, t *tail) error {
	for _, name := range t.tmps {
		if err := o.FS.Remove(path.Join(o.Dir, name)); err != nil {
			return err
		}
	}
	if t.recovered.Existed {
		return nil
	}
	_ = o.FS.Remove(o.Dir) // not there, or with files that are not ours
	if err := o.FS.MkdirAll(o.Dir); err != nil {
		return err
	}
	if err := o.FS.SyncDir(path.Dir(o.Dir)); err != nil {
		return &syncError{err}
	}
	return nil
}

// held lists all segments with the writer's own last.
func (t *tail) held(cur segmentInfo) []held {
	var all []held
	first := cur.first
	if len(t.segments) > 0 {
		first = t.segments[0].first
	}
	for _, n := range t.older {
		all = append(all, held{n, first})
	}
	for _, s := range t.segments {
		if s.number != cur.number {
			all = append(all, held{s.number, s.first})
		}
	}
	return append(all, held{cur.number, cur.first})
}
