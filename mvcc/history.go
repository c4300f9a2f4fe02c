package mvcc

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// Log yields the commits of a branch that retention has kept, newest first,
// through what it forked from down to the first. At most one error is yielded,
// and it ends the sequence.
func (s *Store) Log(ctx context.Context, branch string) iter.Seq2[Commit, error] {
	return s.LogOf(ctx, branch, LogRange{})
}

// logFrom yields the history of a branch from one of its versions on.
func (s *Store) logFrom(ctx context.Context, branch string, version Version) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		var err error
		for err == nil && version != 0 {
			var c Commit
			c, err = s.commit(ctx, version)
			if errors.Is(err, dberr.ErrVersionGone) { // since its child was read
				version, err = s.keptBelow(ctx, branch, version)
				continue
			}
			if err != nil {
				break
			}
			if !c.Kind.hidden() && !yield(c, nil) {
				return
			}
			version = 0
			if len(c.Parents) > 0 {
				version = c.Parents[0]
			}
		}
		if err != nil {
			yield(Commit{}, err)
		}
	}
}

// keptBelow returns the newest version before a retired one in the history of
// a branch, 0 if there is none.
func (s *Store) keptBelow(ctx context.Context, branch string, gone Version) (Version, error) {
	var below Version
	err := s.steady(ctx, func(v *view) error {
		b, _, err := v.get(branchKey(branch)) // the head that this view has
		if err != nil {
			return err
		}
		if _, below, err = decodeBranch(b); err != nil {
			return err
		}
		for below > gone {
			if err := ctx.Err(); err != nil {
				return err
			}
			row, err := v.row(below)
			if err != nil {
				return err
			}
			below = s.parent(row)
		}
		return nil
	})
	return below, err
}

// steadyTries is how often steady reads beside retention before it takes a copy.
const steadyTries = 3

// steady calls fn with a view in which no versions are retired meanwhile: fn
// reads several commit rows or aggregates, which must fit together. It may be
// called more than once, and only what its last call did counts.
func (s *Store) steady(ctx context.Context, fn func(v *view) error) error {
	for range steadyTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		before := s.folds.Load()
		v, err := s.view()
		if err != nil {
			return err
		}
		err = fn(v)
		v.close()
		if before%2 == 0 && s.folds.Load() == before {
			return err
		}
	}
	v, _, err := s.stillView()
	if err != nil {
		return err
	}
	defer v.close()
	return fn(v)
}

// commit describes a version.
func (s *Store) commit(ctx context.Context, version Version) (Commit, error) {
	if err := ctx.Err(); err != nil {
		return Commit{}, err
	}
	v, err := s.view()
	if err != nil {
		return Commit{}, err
	}
	defer v.close()
	if s.open.gone.Load().Contains(version) {
		return Commit{}, versionGone(version)
	}
	row, err := v.row(version)
	if err != nil {
		if s.open.gone.Load().Contains(version) { // since
			err = versionGone(version)
		}
		return Commit{}, err
	}
	added, removed := row.own()
	names := row.names
	if row.fold != nil {
		names += row.fold.names
	}
	l := s.lines.Load().byID[row.line]
	if l == nil {
		return Commit{}, corrupt("version %d is on line %d, which does not exist", version, row.line)
	}
	parents := row.parents
	if p := s.parent(row); p != 0 && (len(parents) == 0 || p != parents[0]) {
		parents = append([]Version{p}, mergedInto(row)...) // history leads around the first one
	}
	return Commit{
		Version: version, Line: row.line, Branch: l.branch, Parents: parents,
		Time: time.Unix(0, row.time).UTC(), Author: row.author, Message: row.message, Kind: row.kind,
		Pods: int(added), Removed: int(removed), Bytes: row.bytes, Names: int(names),
		FirstNumber: row.first(), LastNumber: row.last,
	}, nil
}

// PodVersions returns the set of pod version numbers that make up the
// snapshot, computed from what commits added and removed: the oracle for what
// resolving each pod finds. It reads a few hundred aggregates at most.
func (sn *Snapshot) PodVersions(ctx context.Context) (*Set, error) {
	var set *Set
	err := sn.s.steady(ctx, func(v *view) error {
		if err := sn.usable(ctx); err != nil {
			return err
		}
		set = &Set{}
		for i := len(sn.lineage) - 1; i >= 0; i-- {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := v.applyLine(set, sn.lineage[i]); err != nil {
				return fmt.Errorf("set of version %d: %w", sn.version, err)
			}
		}
		return nil
	})
	return set, err
}

// applyLine applies a line's commits up to a fork: full aggregates of the
// longest kind first, then of the shorter, then the commits that are left.
func (v *view) applyLine(set *Set, f fork) error {
	row, err := v.row(f.version)
	if err != nil {
		return err
	}
	if row.line != f.line {
		return corrupt("version %d is on line %d, expected %d", f.version, row.line, f.line)
	}
	end, done := row.pos+1, uint64(0)
	for level := len(levelLen) - 1; level > 0; level-- {
		n := levelLen[level]
		if err := v.nets(f.line, byte(level), done/n, end/n, func(a *net) { a.apply(set) }); err != nil {
			return err
		}
		done = end / n * n
	}
	if done == end {
		return nil
	}
	tail, err := rowsBack(row, done, v.row)
	if err != nil {
		return err
	}
	for _, c := range append(tail, row) {
		set.subtract(c.removed)
		c.births(set)
	}
	return nil
}
