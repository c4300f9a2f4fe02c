package mvcc

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// Gathering rows. Sources, in the order in which one is believed over another:
//
//  1. Log groups behind the position of the newest root: the state after it.
//  2. The tree of the newest root. Outside of its gaps it is the whole truth: a
//     row that it does not have does not exist.
//  3. Inside the gaps: log groups between the older root's position and the
//     newest one's (the log is held back that far), if none of them is damaged;
//     they are what the checkpoint between put on top of the leaves of 4.
//  4. Inside the gaps: valid leaves that the walk did not reach. Either the way
//     to them is lost, or they are stale. Checkpoints copy on write: a leaf that
//     takes the place of another one is newer than that. So of all leaves whose
//     first and last key embrace a key the newest is asked alone, whether it has the
//     key or not.
//  5. Inside the gaps, what the log has of 3 if that is damaged, where nothing
//     else has the key.
//
// When a stale leaf can be wrong. The successor of its key range may be destroyed
// too, or be nothing, because the last row of a leaf went away. Then the leaf
// shows rows as they once were: rows that were deleted since, older states of
// rows that change (users, counters, branch heads, block rows, folded commits,
// queues), and packed envelopes whose block is gone. So nothing rests on such rows
// alone. Rows keyed by a version or a number never change their meaning.
// Those that were deleted belong to retired commits and to no commit that is left,
// and are dropped for that (salvagecommits.go). An envelope counts only if the
// block it names has a member of exactly this key there (salvageblocks.go).
// What changes is built anew from the rest.

// inGap reports whether the newest tree says nothing about a key.
func (s *salvager) inGap(key []byte) bool {
	i, found := slices.BinarySearchFunc(s.gaps, key, func(x pager.ScanGap, key []byte) int {
		return bytes.Compare(x.Lower, key)
	})
	if found {
		return true
	}
	return i > 0 && (s.gaps[i-1].Upper == nil || bytes.Compare(key, s.gaps[i-1].Upper) < 0)
}

// gather collects rows from all sources.
func (s *salvager) gather() error {
	s.rows = map[string][]byte{}
	roots := s.scan.Roots()
	if len(roots) > 0 {
		if err := s.walkTree(roots[0]); err != nil {
			return err
		}
	} else {
		s.gaps = []pager.ScanGap{{Why: "no meta slot is valid"}}
	}
	if len(s.gaps) > 0 {
		if err := s.orphans(); err != nil {
			return err
		}
	}
	return s.replayLog(roots)
}

func (s *salvager) walkTree(root pager.ScanRoot) error {
	return s.scan.Walk(s.ctx, root, func(l *pager.ScanLeaf) error {
		for i := range l.Len() {
			key, val := l.Row(i)
			s.rows[string(key)] = bytes.Clone(val)
		}
		return nil
	}, func(g pager.ScanGap) {
		s.gaps = append(s.gaps, g)
		s.damage("page %d: %s", g.Page, g.Why)
	})
}

// orphanRow is a row of a leaf that the walk did not reach.
type orphanRow struct {
	key, val []byte
	leaf     int
}

// orphanLeaf is where it was.
type orphanLeaf struct {
	first, last []byte
	generation  uint64
}

// orphans is source 4.
func (s *salvager) orphans() error {
	var leaves []orphanLeaf
	var rows []orphanRow
	err := s.scan.Leaves(s.ctx, func(l *pager.ScanLeaf) error {
		leaf := orphanLeaf{generation: l.Generation}
		for i := range l.Len() {
			key, val := l.Row(i)
			if i == 0 {
				leaf.first = bytes.Clone(key)
			}
			if i == l.Len()-1 {
				leaf.last = bytes.Clone(key)
			}
			if s.inGap(key) {
				rows = append(rows, orphanRow{bytes.Clone(key), bytes.Clone(val), len(leaves)})
			}
		}
		leaves = append(leaves, leaf)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b orphanRow) int { return bytes.Compare(a.key, b.key) })
	order := make([]int, len(leaves))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(leaves[a].first, leaves[b].first) })
	over := leafHeap{leaves: leaves} // leaves that may embrace the key at hand
	for _, r := range rows {
		for len(order) > 0 && bytes.Compare(leaves[order[0]].first, r.key) <= 0 {
			heap.Push(&over, order[0])
			order = order[1:]
		}
		for bytes.Compare(leaves[over.open[0]].last, r.key) < 0 {
			heap.Pop(&over)
		}
		if leaves[over.open[0]].generation == leaves[r.leaf].generation {
			s.rows[string(r.key)] = r.val
		}
	}
	return nil
}

// leafHeap has the newest leaf on top.
type leafHeap struct {
	leaves []orphanLeaf
	open   []int
}

func (h *leafHeap) Len() int { return len(h.open) }
func (h *leafHeap) Less(i, j int) bool {
	return h.leaves[h.open[i]].generation > h.leaves[h.open[j]].generation
}
func (h *leafHeap) Swap(i, j int) { h.open[i], h.open[j] = h.open[j], h.open[i] }
func (h *leafHeap) Push(x any)    { h.open = append(h.open, x.(int)) }
func (h *leafHeap) Pop() any {
	x := h.open[len(h.open)-1]
	h.open = h.open[:len(h.open)-1]
	return x
}

// replayLog is sources 1, 3 and 5.
func (s *salvager) replayLog(roots []pager.ScanRoot) error {
	o := wal.Options{FS: s.o.FS, Dir: s.o.From + logSuffix}
	var from, tree wal.LSN // tree: what the newest root holds
	for _, r := range roots {
		if from == 0 || wal.LSN(r.LogPos) < from {
			from = wal.LSN(r.LogPos)
		}
	}
	if len(roots) > 0 {
		o.Identity, tree = roots[0].DatabaseID, wal.LSN(roots[0].LogPos)
	}
	older, merged, end := map[string][]byte{}, false, from
	var unplaced []*group
	log, err := wal.Salvage(s.ctx, o, from, func(w wal.Group) error {
		g, err := s.salvageGroup(w)
		switch {
		case err != nil:
			return err
		case len(roots) == 0:
			unplaced = append(unplaced, g)
		case w.End <= tree:
			s.collect(older, g)
		default:
			if !merged {
				s.mergeOlder(older, true)
				merged = true
			}
			s.apply(g)
		}
		end = w.End
		return nil
	})
	if bad := (*badGroup)(nil); errors.As(err, &bad) {
		s.damage("%v", bad)
	} else if err != nil {
		return err
	}
	for _, d := range log.Damage {
		s.damage("%s", d)
	}
	s.report.LogGroups = log.Groups
	switch {
	case len(roots) == 0:
		s.applyUnplaced(unplaced)
	case !merged:
		s.mergeOlder(older, end >= tree)
	}
	if len(roots) > 0 && !log.Existed && !roots[0].Clean {
		s.damage("%s is missing, and the file was not closed cleanly: commits since its last checkpoint are lost", o.Dir)
	}
	return nil
}

// badGroup is a group that the log delivers and nobody understands.
type badGroup struct {
	end wal.LSN
	err error
}

func (b *badGroup) Error() string { return fmt.Sprintf("log group that ends at %d: %v", b.end, b.err) }

func (s *salvager) salvageGroup(w wal.Group) (*group, error) {
	g, err := decodeGroup(w.Records)
	if err == nil && s.logID != 0 && g.db != s.logID {
		err = corrupt("the log belongs to another database")
	}
	if err != nil {
		return nil, &badGroup{w.End, err}
	}
	s.logID = g.db
	return g, nil
}

// effects yields what a group does to the index; without a value the row goes.
func (g *group) effects(yield func(key, val []byte)) {
	o := newOverlay()
	g.apply(o, "", nil)
	for n := o.head.following(); n != nil; n = n.following() {
		if len(n.key) > 1 { // the branch row of a commit, whose name is not known here
			yield(n.key, n.value())
		}
	}
}

func (s *salvager) apply(g *group) {
	s.counted = true
	g.effects(func(key, val []byte) {
		if val == nil {
			delete(s.rows, string(key))
		} else {
			s.rows[string(key)] = val
		}
	})
}

// collect notes what a group did inside the gaps.
func (s *salvager) collect(older map[string][]byte, g *group) {
	g.effects(func(key, val []byte) {
		if s.inGap(key) {
			older[string(key)] = val
		}
	})
}

// mergeOlder is source 3, if it is whole, else 5.
func (s *salvager) mergeOlder(older map[string][]byte, whole bool) {
	s.counted = s.counted || whole && len(older) > 0
	for key, val := range older {
		_, have := s.rows[key]
		switch {
		case !whole && (have || val == nil):
		case val == nil:
			delete(s.rows, key)
		default:
			s.rows[key] = val
		}
	}
}

// applyUnplaced deals with a log when no root says which groups the tree has. To
// apply a group that it has already does no harm if all that follow are applied
// too; so it is all of them if they reach beyond what the rows know, and else
// only what no row says.
func (s *salvager) applyUnplaced(groups []*group) {
	known, _ := decodeCounters(s.rows[string(singleKey(singleCounters))])
	if n := len(groups); n > 0 && groups[n-1].counters.version >= known.version {
		for _, g := range groups {
			s.apply(g)
		}
		return
	}
	older := map[string][]byte{}
	for _, g := range groups {
		s.collect(older, g)
	}
	s.mergeOlder(older, false)
}
