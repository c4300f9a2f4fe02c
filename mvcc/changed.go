package mvcc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Changed returns the pods of which two versions have different pod versions, or
// that only one of them has, in order. If the two lie near each other on one line, the
// commits between them are looked through; else the sets of pod versions are computed from
// aggregates and compared. Then only the commits are looked up that added what differs.
// A number that both had when their histories parted needs no look: what took its
// place did so since, and names the same pod.
func (s *Store) Changed(ctx context.Context, a, b *Snapshot) ([]pod.ID, error) {
	if a.s != s || b.s != s {
		return nil, fmt.Errorf("%w: snapshots of another database", dberr.ErrInvalid)
	}
	var ids []pid
	err := s.steady(ctx, func(v *view) error {
		if near, ok, err := v.between(ctx, a, b); err != nil {
			return err
		} else if ok {
			ids = near
			return nil
		}
		sa, err := v.numbersOf(ctx, a)
		if err != nil {
			return err
		}
		sb, err := v.numbersOf(ctx, b)
		if err != nil {
			return err
		}
		differ := sa.minus(sb)
		sb.subtract(sa)
		differ.union(sb)
		common := &Set{}
		common.AddRange(1, parted(a.lineage, b.lineage))
		differ.subtract(common)
		ids, err = v.podsOf(ctx, differ)
		return err
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// nearCommits is how many commits are looked through rather than that sets are made,
// which takes as long as there are pod versions.
const nearCommits = 1000

// between returns the pods of the numbers that the later of two versions has and the earlier has
// not, if the two are of one line and near each other. What took the place of the others
// is among them, as in Changed.
func (v *view) between(ctx context.Context, a, b *Snapshot) ([]pid, bool, error) {
	if len(a.lineage) == 0 || len(b.lineage) == 0 || a.lineage[0].line != b.lineage[0].line {
		return nil, false, nil
	}
	if a.version > b.version {
		a, b = b, a
	}
	for _, sn := range []*Snapshot{a, b} {
		if err := sn.usable(ctx); err != nil {
			return nil, false, err
		}
	}
	from, err := v.row(a.lineage[0].version)
	if err != nil {
		return nil, false, err
	}
	to, err := v.row(b.lineage[0].version)
	if err != nil || to.pos-from.pos > v.s.o.nearCommits || to.line != from.line {
		return nil, false, err
	}
	if to.pos == from.pos {
		return nil, true, nil
	}
	rows, err := rowsBack(to, from.pos+1, v.row)
	if err != nil {
		return nil, false, err
	}
	rows = append(rows, to)
	numbers := &Set{}
	for _, row := range rows {
		numbers.subtract(row.removed)
		row.births(numbers)
	}
	var ids []pid
	for _, row := range rows {
		if ids, err = v.podsAdded(ids, row, numbers); err != nil {
			return nil, false, err
		}
	}
	return ids, true, nil
}

// podsAdded appends the pods of the numbers that a commit added and a set has.
func (v *view) podsAdded(ids []pid, row *commitRow, numbers *Set) ([]pid, error) {
	list, err := v.ids(row)
	if err != nil {
		return nil, err
	}
	i := 0
	for added := range row.numbers {
		if numbers.Contains(added) {
			ids = append(ids, list[i])
		}
		i++
	}
	return ids, nil
}

// numbersOf is Snapshot.PodVersions within a steady view.
func (v *view) numbersOf(ctx context.Context, sn *Snapshot) (*Set, error) {
	if err := sn.usable(ctx); err != nil {
		return nil, err
	}
	set := &Set{}
	for i := len(sn.lineage) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := v.applyLine(set, sn.lineage[i]); err != nil {
			return nil, fmt.Errorf("set of version %d: %w", sn.version, err)
		}
	}
	return set, nil
}

// parted returns the highest number that was given out when two histories parted.
func parted(a, b []fork) uint64 {
	for _, x := range a {
		for _, y := range b {
			if x.line == y.line {
				return min(x.number, y.number)
			}
		}
	}
	return 0
}

// podsOf returns the pods that numbers were given to. All of them must be added by kept
// commits.
func (v *view) podsOf(ctx context.Context, numbers *Set) ([]pid, error) {
	var ids []pid
	left := numbers.Clone()
	end := v.s.published.Load().version + 1
	for !left.empty() {
		var n uint64
		for n = range left.All() {
			break
		}
		row, err := v.rowOfNumber(ctx, n, end)
		if err != nil {
			return nil, err
		}
		if ids, err = v.podsAdded(ids, row, left); err != nil {
			return nil, err
		}
		births := &Set{}
		row.births(births)
		left.subtract(births)
	}
	return ids, nil
}

// rowOfNumber finds the kept commit that added a number. It is the first that reaches so
// far, or, if that one was retired, a later one that it was folded into.
func (v *view) rowOfNumber(ctx context.Context, n uint64, end Version) (*commitRow, error) {
	low, high := Version(0), end // those up to low end before n
	for high-low > 1 {
		mid := low + (high-low)/2
		row, err := v.rowFrom(mid, high)
		switch {
		case err != nil:
			return nil, err
		case row == nil || row.last >= n:
			high = mid
		default:
			low = row.version
		}
	}
	for version := low + 1; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row, err := v.rowFrom(version, end)
		if err != nil {
			return nil, err
		}
		if row == nil {
			return nil, corrupt("no commit added pod version %d", n)
		}
		births := &Set{}
		if row.births(births); births.Contains(n) {
			return row, nil
		}
		version = row.version + 1
	}
}

// Has reports whether the snapshot has a pod.
func (sn *Snapshot) Has(ctx context.Context, id pod.ID) (bool, error) {
	_, err := sn.Number(ctx, id)
	if errors.Is(err, dberr.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
