package mvcc

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Reclaim gives back what only retired versions needed. Its work is in the
// index, as the queue that retire writes (garbage.go): so it goes on after a
// crash or the next opening where it was, and each of its groups does a part of
// the work and takes that part off the queue, all or nothing.
//
// Rows of the queue are worked off by windows, the newest first: what a window needs is read once, in the
// order of pods (reclaimplan.go), then the groups are built, one row after the other, newest
// first, and submitted without waiting for those before them (reclaimgroup.go). So a
// version goes after those that could rest on it, if these are garbage too, and commits are held up by
// the moment of submitting only.
//
// Invariants, beside those of retire.go:
//
//  1. Every pod version in the index decodes at any time, garbage or not. A
//     version may rest on another (frame.go). The group that deletes one stores
//     what rests on it whole, unless that is gone with it or before it.
//  2. Only the version that was the next one of the pod on the same line can rest
//     on a garbage version; so if that is gone already, nobody does, and else it
//     is the one that follows in the index, garbage itself or not. Proof: a transaction rests a patch on the version that its base
//     shows, and is refused if that is not the newest one when it lands. So
//     either base and patch follow each other on one line; or the patch is the
//     first version of the pod on its line, and the base is what the line
//     inherits, which is in the set of a version that a line begins at: that one is
//     kept, and so the base is no garbage. Verify looks at every version
//     that is left, so a base that was deleted too early is found.
//  3. Groups of reclaim are not alone (retire.go, invariant 3): commits are queued before and
//     behind them. Of rows that both read and write there are users of shared bodies and
//     content rows. Both count users with the token held, and see what is queued (pending). Garbage
//     is seen by no commit, a version that is stored whole has the same contents as before,
//     and nothing else that commits read changes. Other upkeep waits until no group is queued.
//  4. Users of a shared body are counted down by the group that deletes them, and
//     the body goes with the last, with its content row if that leads to it. A body that a transaction has
//     found but not yet committed is held (pins.go): so who wants to use it is counted, or
//     finds it doomed.
//  5. A window begins when no group of the one before is queued any more. Within it groups go into the log
//     in the order in which they were built, and one that fails takes those behind it along: so each may
//     rest on what those before it do (reclaimWindow.buried, whole).
//  6. A reader who has found a version may look for its base after the group
//     that deleted the base. The group stored the version whole before it deleted the
//     base, so the reader looks for the version again (pods.go).

// windowRows is the number of rows of the queue that are planned at once.
const windowRows = 64

// reclaimAhead is how many groups of reclaim may wait for the log.
const reclaimAhead = 4

// reclaim works the queue off, until it is empty but for what transactions
// hold and what cannot be read, or most steps are done that had something to do: else rows that
// are held, in front, would be all that is ever looked at. more says that there is more to do at once. Damage is told
// when the rest is done. The upkeep token is held.
func (s *Store) reclaim(ctx context.Context, most int, report *PruneReport, room func(context.Context) error, progress func() error) (more bool, err error) {
	more, bad, err := s.reclaimNames(ctx, &most, report, room)
	if err != nil || more {
		return more, err
	}
	report.Pending = 0
	bases := map[uint64]baseRef{}
	keys, err := s.queueKeys(ctx)
	if err != nil {
		return false, err
	}
	for len(keys) > 0 {
		if most <= 0 {
			return true, nil
		}
		n := min(len(keys), most, s.windowRows)
		w, err := s.planWindow(ctx, keys[:n], bases)
		if err != nil {
			return false, err
		}
		keys = keys[n:]
		w.report, w.room, w.progress = report, room, progress
		if err := w.run(ctx); err != nil {
			return true, err
		}
		most -= w.steps
		if bad == nil {
			bad = w.bad
		}
	}
	s.reclaimable.Store(report.Pending > 0)
	return false, bad
}

// run works a window off.
func (w *reclaimWindow) run(ctx context.Context) error {
	defer w.s.pins.done() // when no group is queued any more
	err := w.submitAll(ctx)
	for len(w.ahead) > 0 {
		if failed := w.finish(ctx); err == nil {
			err = failed
		}
	}
	return err
}

// submitAll builds the groups of a window and submits them.
func (w *reclaimWindow) submitAll(ctx context.Context) error {
	for _, row := range w.rows {
		list, held := row.list, []garbage(nil)
		if w.bad != nil {
			bad := func(g garbage) bool { return w.dead[g.number].bad }
			held = slices.DeleteFunc(slices.Clone(list), func(g garbage) bool { return !bad(g) })
			list = slices.DeleteFunc(slices.Clone(list), bad)
		}
		for len(list) > 0 {
			if err := w.room(ctx); err != nil {
				return err
			}
			n := min(len(list), w.s.stepEntries())
			r := &reclaiming{w: w, s: w.s, key: row.key, line: row.line, list: list[:n], later: slices.Concat(list[n:], held)}
			if err := r.run(ctx); err != nil {
				return fmt.Errorf("reclaim %x: %w", row.key, err)
			}
			held, list = append(held, r.held...), list[n:]
			if r.q != nil {
				w.steps++
				w.ahead = append(w.ahead, r)
			}
			for len(w.ahead) > reclaimAhead {
				if err := w.finish(ctx); err != nil {
					return err
				}
			}
		}
		w.report.Pending += uint64(len(held))
	}
	return nil
}

// finish waits for the oldest group that is under way.
func (w *reclaimWindow) finish(ctx context.Context) error {
	r := w.ahead[0]
	w.ahead = w.ahead[1:]
	<-r.q.finished
	w.s.tidy()
	if r.q.err != nil {
		return r.q.err
	}
	for number, m := range r.whole {
		w.s.pods.Set(number, m, m.cost())
	}
	w.report.add(r.report)
	if l := w.s.lines.Load().byID[r.line]; l != nil && r.report.PodVersions > 0 {
		part := w.report.on(l.branch)
		part.PodVersions += r.report.PodVersions
		part.Bytes += r.report.Bytes
	}
	return w.progress()
}

// stepTime is about how long commits may wait while a group is submitted.
const stepTime = 2 * time.Millisecond

// stepEntries is how many entries of the queue the next step takes.
func (s *Store) stepEntries() int {
	if s.stepSize == 0 {
		s.stepSize = s.queueChunk
	}
	return s.stepSize
}

// pace sees how long a step took.
func (s *Store) pace(entries int, took time.Duration) {
	switch {
	case took > stepTime:
		s.stepSize = max(1, int(float64(entries)*float64(stepTime)/float64(took)))
	case took < stepTime/2 && entries >= s.stepSize:
		s.stepSize = min(2*s.stepSize, s.queueChunk)
	}
}
