package mvcc

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Log yields the commits of a branch, newest first, through what it forked
// from down to the first. At most one error is yielded, and it ends the
// sequence.
func (s *Store) Log(ctx context.Context, branch string) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		version, err := s.Head(ctx, branch)
		for err == nil && version != 0 {
			var c Commit
			if c, err = s.commit(ctx, version); err != nil {
				break
			}
			if !yield(c, nil) {
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
	row, err := v.row(version)
	if err != nil {
		return Commit{}, err
	}
	l := s.lines.Load().byID[row.line]
	if l == nil {
		return Commit{}, corrupt("version %d is on line %d, which does not exist", version, row.line)
	}
	return Commit{
		Version: version, Line: row.line, Branch: l.branch, Parents: row.parents,
		Time: time.Unix(0, row.time).UTC(), Author: row.author, Message: row.message, Kind: row.kind,
		Pods: int(row.added), Removed: int(row.removed.Len()), Bytes: row.bytes,
		FirstNumber: row.first(), LastNumber: row.last,
	}, nil
}

// PodVersions returns the set of pod version numbers that make up the
// snapshot, computed from what commits added and removed: the oracle for what
// resolving each pod finds. It reads a few hundred aggregates at most.
func (sn *Snapshot) PodVersions(ctx context.Context) (*Set, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
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
	end := row.pos + 1
	done := uint64(0)
	for level := len(levelLen) - 1; level > 0; level-- {
		n := levelLen[level]
		for ; done+n <= end; done += n {
			a, err := v.net(f.line, byte(level), done/n)
			if err != nil {
				return err
			}
			a.apply(set)
		}
	}
	if done == end {
		return nil
	}
	tail, err := commitsBack(row, end-done-1, v.row)
	if err != nil {
		return err
	}
	for _, c := range append(tail, row) {
		set.subtract(c.removed)
		set.AddRange(c.first(), c.last)
	}
	return nil
}
