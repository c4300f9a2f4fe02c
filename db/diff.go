package db

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Change is one difference between two versions, at a path such as
// x.Items[3].Price or m["key"]; as text `x.Items[3].Price: 4 → 5`.
type Change = podder.Change

// ChangeKind says what happened: changed, added, removed or moved.
type ChangeKind = podder.ChangeKind

// Kinds of changes.
const (
	ValueChanged = podder.ValueChanged
	ValueAdded   = podder.ValueAdded
	ValueRemoved = podder.ValueRemoved
	ValueMoved   = podder.ValueMoved
)

// DiffOptions refines Diff.
type DiffOptions struct {
	// Variables to compare; none means all of both versions.
	Variables []string
}

// Diff yields what differs between two versions, of any branches, without the
// program's types. At most one error is yielded, and it ends the sequence.
//
// It looks for the pods that differ first, by the sets of pod versions, and then for
// ways to them from the variables; what does not lead there is not read. So its cost
// follows the difference: beside the pods that differ it reads those
// that lie on the way, and some around. The first Diff since Open reads the names of all variables,
// to know from then on which one leads to a pod; so does each that finds a change
// behind a variable whose own pod did not change, or in a database with more names than a
// sixteenth of Options.MemoryBytes holds.
//
// A path is that of the newer version, of what was removed that of the older. Objects are
// the same if they are stored in the same place, so that one that several paths
// reach is told once, at a short path, and one that a pointer no longer leads to is
// not compared with the new one, unless that is new altogether. Elements of slices are
// aligned by contents: what lies behind an inserted one did not change. A renamed variable is
// one removed and one added.
func (d *DB) Diff(ctx context.Context, a, b Version, opts ...DiffOptions) iter.Seq2[Change, error] {
	var o DiffOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	return func(yield func(Change, error) bool) {
		if err := d.diff(ctx, a, b, o, func(c Change) bool { return yield(c, nil) }); err != nil {
			yield(Change{}, d.named(err))
		}
	}
}

func (d *DB) diff(ctx context.Context, a, b Version, o DiffOptions, yield func(Change) bool) error {
	from, err := d.store.At(ctx, a)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := d.store.At(ctx, b)
	if err != nil {
		return err
	}
	defer to.Close()
	changed, err := d.store.Changed(ctx, from, to)
	if err != nil {
		return err
	}
	if changed, err = notCollected(ctx, changed, from, to); err != nil {
		return err
	}
	in := podder.DiffInput{A: from, B: to, Changed: changed, Names: o.Variables}
	if len(in.Names) == 0 {
		if err := variablesNear(ctx, d.store, from, to, "", &in); err != nil {
			return err
		}
	}
	return podder.Diff(ctx, in, yield)
}

// variablesNear has a diff compare the variables with a prefix: those that are bound to other pods
// or to one that changed if the store knows which, and all only if these do not lead to all
// that changed.
func variablesNear(ctx context.Context, s *mvcc.Store, a, b *mvcc.Snapshot, prefix string, in *podder.DiffInput) error {
	all := func() ([]podder.DiffVariable, error) { return variablesOf(ctx, s, a, b, prefix) }
	known, err := s.NamesOf(ctx, a, b, prefix, in.Changed, func(c mvcc.NameChange) {
		in.Variables = append(in.Variables, podder.DiffVariable{Name: c.Name, A: c.Before, B: c.After})
	})
	switch {
	case err != nil:
		return err
	case known:
		in.All = all
	default:
		in.Variables, err = all()
	}
	return err
}

// variablesOf returns the variables with a prefix of two versions.
func variablesOf(ctx context.Context, s *mvcc.Store, a, b *mvcc.Snapshot, prefix string) ([]podder.DiffVariable, error) {
	var list []podder.DiffVariable
	err := s.NamesOfBoth(ctx, a, b, prefix, func(c mvcc.NameChange) {
		list = append(list, podder.DiffVariable{Name: c.Name, A: c.Before, B: c.After})
	})
	return list, err
}

func namesOfBoth(ctx context.Context, a, b *mvcc.Snapshot, prefix string) ([]string, error) {
	var names []string
	for _, sn := range []*mvcc.Snapshot{a, b} {
		for n, err := range sn.Names(ctx, prefix) {
			if err != nil {
				return nil, err
			}
			names = append(names, n)
		}
	}
	return names, nil
}

// History yields the commits of a branch in which the value at a path such as
// x.Items[3], or a variable, or something that it leads to, was another than before, newest
// first; where it came to be counts too. The path means what it leads to in each version: after
// an insertion before it, x.Items[3] is another element. At most one error is yielded;
// a path that no version has is ErrNotFound.
//
// Commits that wrote none of the pods that the value is in are passed without reading it.
// Versions that retention removed count as one change with the next one kept.
func (d *DB) History(ctx context.Context, path string, o LogOptions) iter.Seq2[Commit, error] {
	return func(yield func(Commit, error) bool) {
		var touched map[pod.ID]bool // that the value rests on, as of the commit at hand; nil if it is not known
		seen, absent := false, false
		for c, err := range d.Log(ctx, o) {
			if err != nil {
				yield(Commit{}, err)
				return
			}
			step, err := d.changedAt(ctx, path, c, touched)
			if err != nil {
				yield(Commit{}, d.named(err))
				return
			}
			seen, absent = seen || step.has, !step.has
			if touched = step.rests; o.Reverse {
				touched = nil
			}
			if step.changed && !yield(c, nil) {
				return
			}
		}
		if !seen && absent {
			yield(Commit{}, fmt.Errorf("%w: no version in question has %q", ErrNotFound, path))
		}
	}
}

// pathStep says what one commit did to the value at a path.
type pathStep struct {
	changed, has bool
	rests        map[pod.ID]bool // that it rests on, for the commit before
}

func (d *DB) changedAt(ctx context.Context, path string, c Commit, rests map[pod.ID]bool) (pathStep, error) {
	before := Version(0)
	if len(c.Parents) > 0 {
		before = c.Parents[0]
	}
	from, err := d.store.At(ctx, before)
	if err != nil {
		return pathStep{}, err
	}
	defer from.Close()
	to, err := d.store.At(ctx, c.Version)
	if err != nil {
		return pathStep{}, err
	}
	defer to.Close()
	changed, err := d.store.Changed(ctx, from, to)
	if err != nil {
		return pathStep{}, err
	}
	if rests != nil && c.Names == 0 && !slices.ContainsFunc(changed, func(id pod.ID) bool { return rests[id] }) {
		return pathStep{has: true, rests: rests}, nil
	}
	step := pathStep{}
	touched, err := podder.DiffAt(ctx, podder.DiffInput{A: from, B: to, Changed: changed}, path, func(Change) bool {
		step.changed = true
		return true
	})
	if err != nil {
		return step, err
	}
	if step.has = touched != nil || step.changed; !step.changed {
		step.rests = touched // it rests on the same before
	}
	return step, nil
}
