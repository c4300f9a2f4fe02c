package db

import (
	"context"
	"iter"

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
// follows the difference: beside the pods that differ it reads the names of variables, those
// pods that lie on the way, and some around.
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
	names := o.Variables
	if len(names) == 0 {
		if names, err = namesOfBoth(ctx, from, to); err != nil {
			return err
		}
	}
	return podder.Diff(ctx, podder.DiffInput{A: from, B: to, Changed: changed, Names: names}, yield)
}

func namesOfBoth(ctx context.Context, a, b *mvcc.Snapshot) ([]string, error) {
	var names []string
	for _, sn := range []*mvcc.Snapshot{a, b} {
		for n, err := range sn.Names(ctx, "") {
			if err != nil {
				return nil, err
			}
			names = append(names, n)
		}
	}
	return names, nil
}
