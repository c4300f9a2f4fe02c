package mvcc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/wal"
)

// PruneOptions says which versions to keep.
type PruneOptions struct {
	// KeepLast keeps that many of the newest commits made on each branch, at least
	// 1 unless there are other rules, counting those that are not retired yet. What
	// a branch forked from counts for the branch it was made on. Always kept are heads, versions
	// that a branch begins at, those that were merged into others, those with tags, those with open snapshots or transactions,
	// and commits of collects, with those just before them, that a Follower has not passed.
	// Of a branch that was deleted nothing else is kept.
	KeepLast int
	// Tiers keep commits by time, KeepAll all; what any rule keeps stays. See
	// policy.go for how clocks that jump are dealt with.
	Tiers   []Tier
	KeepAll bool
	// DryRun changes nothing and reports what would be removed.
	DryRun bool
	// Budget bounds giving back space. When its time is over Prune returns, and the rest
	// goes on in the background.
	Budget Budget
	// Progress, if set, is called now and then from the goroutine of Prune with
	// the number of pod versions removed and to be removed.
	Progress func(done, total uint64)
}

// PruneReport says what Prune removed, or would remove.
type PruneReport struct {
	Versions     uint64 // commits
	PodVersions  uint64
	SharedBodies uint64
	Names        uint64 // states of names; not counted by DryRun
	// Bytes is what is no longer stored, before compression into blocks. Versions
	// that rested on removed ones are stored whole: so it may be below 0. DryRun
	// does not foresee those.
	Bytes int64
	// Pending are pod versions that running transactions still need, or that the budget
	// left; they go in the background or with the next Prune.
	Pending uint64
	// Branches has the part of each branch on which something went, by name. Shared
	// bodies and names are nobody's part.
	Branches []BranchPrune

	read int64 // stored bytes of what was looked at
}

// BranchPrune is the part of a PruneReport that is about one branch.
type BranchPrune struct {
	Branch      string
	Versions    uint64
	PodVersions uint64
	Bytes       int64
}

// on returns the part of a branch.
func (r *PruneReport) on(branch string) *BranchPrune {
	i, ok := slices.BinarySearchFunc(r.Branches, branch, func(b BranchPrune, name string) int { return cmp.Compare(b.Branch, name) })
	if !ok {
		r.Branches = slices.Insert(r.Branches, i, BranchPrune{Branch: branch})
	}
	return &r.Branches[i]
}

// empty reports whether nothing happened.
func (r *PruneReport) empty() bool {
	return r.Versions == 0 && r.PodVersions == 0 && r.SharedBodies == 0 && r.Names == 0 && r.Bytes == 0 && r.Pending == 0
}

func (r *PruneReport) add(o PruneReport) {
	r.Versions += o.Versions
	r.PodVersions += o.PodVersions
	r.SharedBodies += o.SharedBodies
	r.Names += o.Names
	r.Bytes += o.Bytes
	r.read += o.read
}

// Prune removes versions that are not to be kept and gives their space back.
// Commits and readers go on meanwhile. The versions are gone when Prune has
// retired them, also if it is cancelled or the process ends after that; the
// rest of the work then goes on in the background, or with the next Prune. Its
// report covers all that was waiting to be reclaimed. The space is free in the file
// when Prune returns, and the end of the file that is free is given back.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (PruneReport, error) {
	keep, err := o.rules()
	if err != nil {
		return PruneReport{}, err
	}
	if err := s.writable(); err != nil && !o.DryRun {
		return PruneReport{}, err
	}
	select {
	case <-s.upkeep:
	case <-ctx.Done():
		return PruneReport{}, ctx.Err()
	}
	defer func() { s.upkeep <- struct{}{} }()
	if o.DryRun {
		return s.wouldPrune(ctx, keep)
	}
	report := PruneReport{}
	err = s.prune(ctx, keep, o, &report)
	report.read = 0
	if fn := s.o.Events.Prune; fn != nil && !report.empty() {
		fn(report)
	}
	return report, err
}

// prune is Prune with the upkeep token held.
func (s *Store) prune(ctx context.Context, keep rules, o PruneOptions, report *PruneReport) error {
	lines := s.lines.Load().byID
	merged, err := s.mergedVersions(ctx)
	if err != nil {
		return err
	}
	for _, id := range sortedKeys(lines) {
		r := &retirement{s: s, l: lines[id], keep: keep, merged: merged, report: report}
		if err := s.makingRoom(ctx, func() error { return r.run(ctx) }); err != nil {
			return fmt.Errorf("retiring versions of branch %q: %w", lines[id].branch, err)
		}
	}
	total, err := s.queuedGarbage()
	if err != nil {
		return err
	}
	pace := newPace(o.Budget, s)
	progress := func() error {
		if o.Progress != nil {
			o.Progress(report.PodVersions, total)
		}
		return pace.spend(ctx, report.read-pace.bytes)
	}
	err = s.makingRoom(ctx, func() error {
		_, err := s.reclaim(ctx, math.MaxInt, report, s.roomForUpkeep, progress)
		return err
	})
	if errors.Is(err, errOutOfTime) {
		report.Pending, err = s.queuedGarbage()
		s.wakeReclaim()
	}
	var bad error
	if err != nil {
		bad = fmt.Errorf("reclaiming space: %w", err)
		if !errors.Is(err, dberr.ErrCorrupt) { // damage: what could be done was done
			return bad
		}
	}
	if report.empty() {
		return bad
	}
	if err := s.checkpoint(ctx, false); err != nil {
		return errors.Join(bad, err)
	}
	return errors.Join(bad, s.dropLog(ctx)) // and the end of the file that neither meta needs then
}

// fullDiskTries is how often retention goes on after it made room. Each try gets
// further by at least one group, or nothing more can be done.
const fullDiskTries = 64

// makingRoom runs a part of retention, which can go on where it stopped. On a
// full disk retention is what frees space, and all that it needs is a little
// log: a checkpoint, which has its reserve, lets the log before it go, once the
// older meta does not need that either.
func (s *Store) makingRoom(ctx context.Context, part func() error) error {
	err := part()
	for try := 0; try < fullDiskTries && errors.Is(err, dberr.ErrDiskFull); try++ {
		if err := s.checkpoint(ctx, false); err != nil {
			return err
		}
		if err := s.dropLog(ctx); err != nil {
			return err
		}
		err = part()
	}
	return err
}

// dropLog makes both metas the newest root and removes the log behind it.
func (s *Store) dropLog(ctx context.Context) error {
	select {
	case <-s.check.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.check.token <- struct{}{} }()
	if err := s.pager.Shrink(ctx); err != nil {
		return err
	}
	if log := s.log.Load(); log != nil {
		return log.Release(wal.LSN(s.pager.State().OldestLog))
	}
	return nil
}

// queuedGarbage counts the queue, but for rows that cannot be read.
func (s *Store) queuedGarbage() (n uint64, err error) {
	err = s.read(func(v *view) error {
		for from := queueKey(1, 0); ; {
			key, _, list, err := v.queued(from)
			if key == nil || err != nil && !errors.Is(err, dberr.ErrCorrupt) {
				return err
			}
			n += uint64(len(list))
			from = append(key, 0)
		}
	})
	return n, err
}

// backgroundSteps is the number of steps that the background does before it
// looks whether there is something else to do.
const backgroundSteps = 16

// reclaimSome goes on with reclaim in the background, and returns how long it shall
// rest then.
func (s *Store) reclaimSome(ctx context.Context) (rest time.Duration) {
	select {
	case <-s.upkeep:
	default:
		return 0 // Prune is at it
	}
	defer func() { s.upkeep <- struct{}{} }()
	report := PruneReport{}
	// This is the goroutine that makes room.
	room := func(ctx context.Context) error {
		if s.log.Load() != nil && s.upkeepRoom() != ample {
			return s.checkpoint(ctx, false)
		}
		return nil
	}
	more, err := s.reclaim(ctx, backgroundSteps, &report, room, func() error { return nil })
	if err != nil {
		s.reclaimable.Store(false) // until the next opening, or Prune
		if ctx.Err() == nil {
			s.o.Logger.Warn("reclaim stopped", "error", err)
		}
		return 0
	}
	if more {
		s.wakeReclaim()
	}
	if rate := s.o.UpkeepBytesPerSecond; rate > 0 {
		rest = time.Duration(float64(report.read) / float64(rate) * float64(time.Second))
	}
	return rest
}

// wakeReclaim lets the background reclaim what is queued, unless nothing is to
// happen there.
func (s *Store) wakeReclaim() {
	if s.o.CheckpointBytes <= 0 || !s.reclaimable.Load() {
		return
	}
	select {
	case s.check.reclaim <- struct{}{}:
	default:
	}
}
