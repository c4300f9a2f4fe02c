package mvcc

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Branches on branches. A read looks at each line of a lineage, so lineages are
// bounded: a branch made where the lineage is longer than maxLineage does not
// inherit all of it. Its line begins further back, at the version that one of
// the lines in the lineage begins at, and its first commit, of KindCopy, writes
// again what the lines nearer by had changed.
//
// Definitions. Origin: the version that such a branch was created at. Copy: the
// version of the first commit. Logical lineage: through origins, with nothing
// copied.
//
// Invariants:
//
//  1. The copy shows what the origin shows: pods that differ from the line's
//     beginning are whole pod versions of its own, with fresh numbers, and names
//     are set or deleted. So nobody but this file needs to know of copying: for
//     reading, retention and Verify the copy is a commit, and the line begins
//     where its row says.
//  2. Line, branch and copy are one group in the log: the branch is wholly there,
//     or absent.
//  3. Origin and copy are kept as versions that lines begin at are (retire.go,
//     invariant 1): the origin because the history of the branch goes on there,
//     the copy because transactions may begin there.
//  4. How much is copied: the fewest of the nearest forks, from minCopied on, that
//     together wrote no more than the next one did. What was copied
//     is part of the line's own from then on. So a version is copied about once
//     each time that what was written since doubles, and big old lines are left
//     alone.
//
// What lies between the beginning and the origin is seen by the logical lineage
// only, which Log and Freed follow.
type origin struct {
	fork
	copy Version
}

const minCopied = maxLineage / 4

// maxLogical bounds the logical lineages that are looked at.
const maxLogical = 256

// copied returns how many forks of a lineage to copy, of the nearest ones.
func copied(lineage []fork, from int) int {
	written := func(i int) uint64 {
		if i+1 == len(lineage) {
			return lineage[i].number
		}
		return lineage[i].number - lineage[i+1].number
	}
	sum := uint64(0)
	for n := 1; n < len(lineage); n++ {
		if sum += written(n - 1); n >= from && written(n) >= sum {
			return n
		}
	}
	return len(lineage)
}

// copyForks makes a transaction that copies to a new line what is nearest to
// it, and cuts the line's lineage.
func (s *Store) copyForks(ctx context.Context, l *line, from *Snapshot) (*Tx, error) {
	n := copied(from.lineage, max(1, s.o.maxLineage*minCopied/maxLineage))
	l.lineage = slices.Clone(from.lineage[n:])
	l.origin = &origin{fork: from.lineage[0]}
	base, err := s.At(ctx, l.forkVersion())
	if err != nil {
		return nil, err
	}
	t := &Tx{s: s, line: l, base: base, blockLen: firstPodBlock, nonce: s.salts.next()}
	err = t.copyFrom(ctx, from, from.lineage[:n])
	if err == nil && t.stream != nil {
		err = t.stream.finish(ctx)
	}
	if err == nil {
		_, err = s.backpressure(ctx, t.overlayBytes())
	}
	if err != nil {
		t.Rollback()
		return nil, err
	}
	return t, nil
}

// copyFrom puts what the snapshot shows and the base does not. forks are those
// of the snapshot's lineage that the base lacks.
func (t *Tx) copyFrom(ctx context.Context, from *Snapshot, forks []fork) error {
	var ids []pid
	var named bool
	err := t.s.steady(ctx, func(v *view) (err error) {
		ids, named, err = v.changedBy(ctx, forks)
		return err
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.copyPod(ctx, from, id); err != nil {
			return err
		}
	}
	if !named {
		return nil
	}
	for name, err := range from.Names(ctx, "") {
		if err != nil {
			return err
		}
		root, err := from.Root(ctx, name)
		if err != nil {
			return err
		}
		if err := t.SetName(ctx, name, root); err != nil {
			return err
		}
	}
	for name, err := range t.base.Names(ctx, "") {
		if err != nil {
			return err
		}
		if _, err := from.Root(ctx, name); errors.Is(err, dberr.ErrNotFound) {
			err = t.DeleteName(ctx, name)
			if err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// changedBy returns the pods of which versions were added on lines up to forks, in
// order, and whether names were changed.
func (v *view) changedBy(ctx context.Context, forks []fork) (ids []pid, named bool, err error) {
	changed := map[pid]bool{}
	for _, f := range forks {
		for version := f.version; ; {
			if err := ctx.Err(); err != nil {
				return nil, false, err
			}
			row, err := v.row(version)
			if err != nil {
				return nil, false, err
			}
			if row.line != f.line {
				break
			}
			list, err := v.ids(row)
			if err != nil {
				return nil, false, err
			}
			for _, id := range list {
				changed[id] = true
			}
			named = named || row.names > 0 || row.fold != nil && row.fold.names > 0
			if len(row.parents) == 0 {
				break
			}
			version = row.parents[0]
		}
	}
	return slices.Sorted(maps.Keys(changed)), named, nil
}

// copyPod puts a pod as the snapshot shows it.
func (t *Tx) copyPod(ctx context.Context, from *Snapshot, id pid) error {
	v, err := from.view(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	m, found, err := v.pod(from.lineage, id)
	if err != nil {
		return err
	}
	base, at, err := v.pod(t.base.lineage, id)
	switch {
	case err != nil:
		return err
	case m == nil: // collected; found has its tombstone, if that is not gone too
		if base != nil {
			t.order = append(t.order, tombstoneOf(id, at.number, base.size))
		}
		return nil
	case base != nil && (at.number == found.number || samePod(base.pod, m.pod)):
		return nil
	}
	return t.putMerged(v, &put{id: id, base: at}, base, m.pod, len(m.pod.Slots))
}

// copyGroup makes the group of a new line that begins with a copy; the token is
// held.
func (s *Store) copyGroup(q *queued, t *Tx) error {
	v, err := s.view()
	if err != nil {
		return err
	}
	defer v.close()
	users, err := s.users(v, t)
	if err != nil {
		return err
	}
	r := &request{t: t, info: CommitInfo{Kind: KindCopy}}
	if q.g, err = s.commitGroup(v, r, q.head, users); err != nil {
		return err
	}
	row := q.g.row
	t.line.origin.copy = row.version
	q.head, q.stream = head{row.version, row.last, 1}, t.stream
	q.what = written{t.order, t.names, t.types, users}
	return nil
}

// parent returns the version before a commit on its branch, 0 if it is the first.
// It is not that of the row where history leads around what was copied.
func (s *Store) parent(row *commitRow) Version {
	if l := s.lines.Load().byID[row.line]; l != nil && l.origin != nil {
		o := l.origin
		if row.version == o.copy || len(row.parents) > 0 && row.parents[0] == o.copy {
			return o.version
		}
	}
	if len(row.parents) == 0 {
		return 0
	}
	return row.parents[0]
}

// logical returns the logical lineage that belongs to one; false if it is too
// long.
func (s *Store) logical(lineage []fork) ([]fork, bool) {
	if len(lineage) == 0 {
		return nil, true
	}
	t := s.lines.Load()
	var all []fork
	for f := lineage[0]; len(all) < maxLogical; {
		all = append(all, f)
		switch l := t.byID[f.line]; {
		case l == nil:
			return nil, false
		case l.origin != nil:
			f = l.origin.fork
		case len(l.lineage) > 0:
			f = l.lineage[0]
		default:
			return all, true
		}
	}
	return nil, false
}
