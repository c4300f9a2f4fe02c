package mvcc

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// LogRange selects a part of a branch's history.
type LogRange struct {
	// From and To bound the versions, both included; 0 is no bound.
	From, To Version
	Limit    int  // of commits; 0 is no limit
	Reverse  bool // oldest first
}

// LogOf yields a part of the commits of a branch, newest first unless it is
// reversed: then all versions of the part are looked up first. At most one error is
// yielded, and it ends the sequence.
func (s *Store) LogOf(ctx context.Context, branch string, r LogRange) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		if r.Reverse {
			s.logReversed(ctx, branch, r, yield)
			return
		}
		n := 0
		for c, err := range s.logDown(ctx, branch, r) {
			if !yield(c, err) || err != nil {
				return
			}
			if n++; n == r.Limit {
				return
			}
		}
	}
}

// logDown is LogOf without a limit.
func (s *Store) logDown(ctx context.Context, branch string, r LogRange) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		version, err := s.Head(ctx, branch)
		if err == nil && r.To != 0 && r.To < version {
			version, err = s.newestUpTo(ctx, branch, r.To)
		}
		if err != nil {
			yield(Commit{}, err)
			return
		}
		for c, err := range s.logFrom(ctx, branch, version) {
			if err == nil && c.Version < r.From || !yield(c, err) {
				return
			}
		}
	}
}

func (s *Store) logReversed(ctx context.Context, branch string, r LogRange, yield func(Commit, error) bool) {
	var versions []Version
	for c, err := range s.logDown(ctx, branch, r) {
		if err != nil {
			yield(Commit{}, err)
			return
		}
		versions = append(versions, c.Version)
	}
	slices.Reverse(versions)
	n := 0
	for _, v := range versions {
		c, err := s.Commit(ctx, v)
		if errors.Is(err, dberr.ErrVersionGone) { // since
			continue
		}
		if !yield(c, err) || err != nil {
			return
		}
		if n++; n == r.Limit {
			return
		}
	}
}

// Commit describes a version.
func (s *Store) Commit(ctx context.Context, version Version) (Commit, error) {
	if err := s.usable(ctx); err != nil {
		return Commit{}, err
	}
	if newest := s.published.Load().version; version == 0 || version > newest {
		return Commit{}, fmt.Errorf("%w: %w %d, the newest is %d", dberr.ErrNotFound, dberr.ErrUnknownVersion, version, newest)
	}
	return s.commit(ctx, version)
}

// AtTime opens the newest kept version of a branch that was not committed after
// t. What retention removed is not looked for. If there is none it is ErrNotFound.
func (s *Store) AtTime(ctx context.Context, branch string, t time.Time) (*Snapshot, error) {
	for {
		version, err := s.versionAt(ctx, branch, t)
		if err != nil {
			return nil, err
		}
		sn, err := s.At(ctx, version)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue // retired since
		}
		return sn, err
	}
}

// versionAt finds the version that AtTime opens. Commit times rise with versions, so
// versions are halved first: what is left to walk is other branches' commits.
func (s *Store) versionAt(ctx context.Context, branch string, t time.Time) (found Version, err error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return 0, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	err = s.steady(ctx, func(v *view) error {
		found, err = v.versionAt(ctx, l, t.UnixNano())
		return err
	})
	if err == nil && found == 0 {
		err = fmt.Errorf("%w: nothing of branch %q is from %v or before", dberr.ErrNotFound, branch, t)
	}
	return found, err
}

func (v *view) versionAt(ctx context.Context, l *line, t int64) (Version, error) {
	b, _, err := v.get(l.branchKey())
	if err != nil {
		return 0, err
	}
	_, head, err := decodeBranch(b)
	if err != nil || head == 0 {
		return 0, err
	}
	// The versions up to low are not after t, those from high on are.
	low, high := Version(0), head+1
	for high-low > 1 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		mid := low + (high-low)/2
		row, err := v.rowFrom(mid, high)
		switch {
		case err != nil:
			return 0, err
		case row == nil: // all from mid on are retired
			high = mid
		case row.time <= t:
			low = row.version
		default:
			high = mid
		}
	}
	return v.newestOn(ctx, l, low)
}

// rowFrom returns the first kept commit from a version on and below end, nil if there
// is none.
func (v *view) rowFrom(from, end Version) (*commitRow, error) {
	c := v.seek(commitKey(from))
	for ; ; c.next() {
		key, _, ok := c.at()
		if !ok || key[0] != kindCommit || len(key) < commitKeyLen || be.Uint64(key[1:]) >= end {
			return nil, c.err()
		}
		if len(key) == commitKeyLen {
			return v.row(be.Uint64(key[1:]))
		}
	}
}

// newestUpTo returns the newest kept version of a branch not after one, 0 if there is
// none.
func (s *Store) newestUpTo(ctx context.Context, branch string, most Version) (found Version, err error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return 0, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	err = s.steady(ctx, func(v *view) error {
		found, err = v.newestOn(ctx, l, most)
		return err
	})
	return found, err
}

// newestOn returns the newest kept version not after one in the history of a line.
func (v *view) newestOn(ctx context.Context, l *line, most Version) (Version, error) {
	h := l.head.Load()
	history, whole := v.s.logical(append([]fork{{l.id, most, h.number}}, l.lineage...))
	if !whole {
		return 0, fmt.Errorf("%w: branch %q is more than %d forks deep", dberr.ErrTooLarge, l.branch, maxLogical)
	}
	gone := v.s.open.gone.Load()
	for i, f := range history {
		first := Version(0) // commits of this line are after it
		if i+1 < len(history) {
			first = history[i+1].version
		}
		for version := min(f.version, most); version > first; version-- {
			if gone.Contains(version) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			row, err := v.row(version)
			if err != nil {
				return 0, err
			}
			if row.line == f.line && row.kind != KindCopy {
				return version, nil
			}
		}
	}
	return 0, nil
}
