package mvcc

import (
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
)

// Merging, as far as versions go: which version two others have in common, the second
// parent of the commit that a merge makes, and what retention must keep for the next one.
// What becomes of pods is decided above (package podder).
//
// The base of a merge is the newest version that is an ancestor of both. Versions rise
// along every parent, so it is never an ancestor of another common one; of several that
// are no ancestors of each other, as branches have that were merged in both
// directions, it is the one committed last. git's merge-base looks for the same set, and takes
// its first best one too where it does not merge the bases with each other.
//
// A kept merge commit keeps the version that it took over, which is the base of the next
// merge. When the merge is retired, its second parent moves to the commit that it is folded
// into; of several of one line the newest is enough.

// MergeBase returns the newest common ancestor of two versions, which may be one of
// them. Without any but the empty version 0 it is ErrUnrelated. If the way to it leads over a
// merge of a version that is gone it is ErrVersionGone.
func (s *Store) MergeBase(ctx context.Context, a, b Version) (Version, error) {
	var base Version
	err := s.steady(ctx, func(v *view) (err error) {
		base, err = v.mergeBase(ctx, a, b)
		return err
	})
	return base, err
}

// versionHeap gives the highest version first.
type versionHeap []Version

func (h versionHeap) Len() int           { return len(h) }
func (h versionHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h versionHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *versionHeap) Push(x any)        { *h = append(*h, x.(Version)) }
func (h *versionHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// mergeBase walks back from both, the newest first: the first version that both lead
// to is it. A version on the way that is being retired is gone already (retire.go, invariant 2), but the view still has
// its row: only the row says whether the way goes on.
func (v *view) mergeBase(ctx context.Context, a, b Version) (Version, error) {
	const fromA, fromB = 1, 2
	side := map[Version]byte{}
	var queue versionHeap
	reach := func(version Version, from byte) {
		if version == 0 {
			return
		}
		if side[version] == 0 {
			heap.Push(&queue, version)
		}
		side[version] |= from
	}
	reach(a, fromA)
	reach(b, fromB)
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		version := heap.Pop(&queue).(Version)
		from := side[version]
		if from == fromA|fromB {
			return version, nil
		}
		row, err := v.row(version)
		if err != nil {
			if v.s.open.gone.Load().Contains(version) {
				err = fmt.Errorf("looking for the common ancestor of versions %d and %d: %w", a, b, versionGone(version))
			}
			return 0, err
		}
		reach(v.s.parent(row), from)
		for _, p := range mergedInto(row) {
			reach(p, from)
		}
		delete(side, version)
	}
	return 0, fmt.Errorf("%w: versions %d and %d", dberr.ErrUnrelated, a, b)
}

// mergedInto returns the versions that a commit, or retired ones that it stands for, took over
// from other branches.
func mergedInto(row *commitRow) []Version {
	if len(row.parents) < 2 {
		return nil
	}
	return row.parents[1:]
}

// withMerged appends to the parent of a folded row what was merged: of each line the
// newest, and no more than a row has room for.
func (v *view) withMerged(parents, merged []Version) ([]Version, error) {
	if len(merged) == 0 {
		return parents, nil
	}
	newest := map[uint32]Version{}
	for _, version := range merged {
		if v.s.open.gone.Load().Contains(version) {
			continue // by a program that did not know merges
		}
		row, err := v.row(version)
		if err != nil {
			return nil, err
		}
		newest[row.line] = max(newest[row.line], version)
	}
	parents = slices.Clone(parents)
	if len(parents) == 0 {
		return nil, nil // nothing is merged into an empty line
	}
	list := make([]Version, 0, len(newest))
	for _, version := range newest {
		list = append(list, version)
	}
	slices.Sort(list)
	return append(parents, list[max(0, len(list)-(maxParents-1)):]...), nil
}

// merges are the merges since the store was opened, or since the last look at all rows:
// which version was taken over by which.
type merges struct {
	mu   sync.Mutex
	list map[Version]Version
}

func (m *merges) add(merged, by Version) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.list == nil {
		m.list = map[Version]Version{}
	}
	m.list[merged] = by
}

// fix adds them to a set.
func (m *merges) fix(fixed map[Version]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for version := range m.list {
		fixed[version] = true
	}
}

// forget drops those that were made up to a version.
func (m *merges) forget(upTo Version) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for version, by := range m.list {
		if by <= upTo {
			delete(m.list, version)
		}
	}
}

// mergedVersions returns what kept commits took over, as of now; what is merged later,
// merges has. The upkeep token is held, so none of these commits is retired meanwhile but by
// whoever asked.
func (s *Store) mergedVersions(ctx context.Context) (map[Version]bool, error) {
	merged := map[Version]bool{}
	s.applying.Lock() // a version is published before it is the head of its line
	newest := s.published.Load().version
	lines, heads := s.lines.Load().byID, map[uint32]*head{}
	for id, l := range lines {
		heads[id] = l.head.Load()
	}
	s.applying.Unlock()
	err := s.read(func(v *view) error { return v.addMerged(ctx, lines, heads, merged) })
	if err == nil {
		s.merges.forget(newest)
	}
	return merged, err
}

// addMerged adds the versions that kept commits of all lines took over. One line alone has
// nothing to merge, and is not walked.
func (v *view) addMerged(ctx context.Context, lines map[uint32]*line, heads map[uint32]*head, merged map[Version]bool) error {
	if len(lines) < 2 {
		return nil
	}
	for id, h := range heads {
		for version, left := h.version, h.commits > 0; left; {
			if err := ctx.Err(); err != nil {
				return err
			}
			row, err := v.row(version)
			if err != nil {
				return err
			}
			if row.line != id {
				break
			}
			for _, p := range mergedInto(row) {
				merged[p] = true
			}
			if left = len(row.parents) > 0; left {
				version = row.parents[0]
			}
		}
	}
	return nil
}
