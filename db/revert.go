package db

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/mvcc"
)

// RevertOptions refines Revert and RevertTo.
type RevertOptions struct {
	Branch  string // that the new commit goes to; "" means main
	Message string // "" says which version is taken back, or gone back to
	Author  string
}

// Revert makes a new commit that takes back what one earlier commit of the branch
// changed, and nothing that was committed since. It is ErrConflict if something since
// touched the same pods or variables, or refers to objects that the commit added: small
// objects share pods, so a conflict may be about a neighbour. ErrVersionGone means that retention
// removed what to go back to, ErrInvalid that the version is not of this branch.
//
// Live variables stay what they are; for them it is a commit by somebody else. For the
// last save of a namespace see Undo.
func (d *DB) Revert(ctx context.Context, v Version, opts ...RevertOptions) (Version, error) {
	var o RevertOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	at, err := d.store.Revert(ctx, branchOrMain(o.Branch), v, mvcc.CommitInfo{Message: o.Message, Author: o.Author})
	return at, d.named(err)
}

// RevertTo makes a new commit on a branch that brings back the state of an earlier version of
// its history, or of the empty database, 0: all variables and all that they lead to. The history
// between stays. It works without the program's types, as poddb checkout does; a program with live
// variables may rather use Namespace.Checkout and Save, which brings those along.
//
// If the newest version has that state already, nothing is committed and its version is
// returned. ErrInvalid means that the version is not in the history of the branch, ErrVersionGone
// that retention removed it, ErrConflict that somebody committed meanwhile: try again.
//
// Live variables stay what they are; for them it is a commit by somebody else.
func (d *DB) RevertTo(ctx context.Context, v Version, opts ...RevertOptions) (Version, error) {
	var o RevertOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	at, err := d.store.RevertTo(ctx, branchOrMain(o.Branch), v, mvcc.CommitInfo{Message: o.Message, Author: o.Author})
	return at, d.named(err)
}

// Undo takes back what the last save of this namespace changed, as a new commit, and
// brings the live variables to it in place, as Checkout does. What others committed
// since stays, and comes to the live variables too; if they touched the same, it is
// ErrConflict and nothing was done. Undo again takes the undoing back. Unsaved changes are
// ErrUnsaved; before the first save there is nothing to undo, ErrNotFound.
//
// An error of the Checkout comes after the commit: then the version is returned with
// it, and the live variables are what they were.
func (ns *Namespace) Undo(ctx context.Context) (_ Version, err error) {
	defer func() { err = ns.d.named(err) }()
	if err := ns.lockToRun(ctx); err != nil {
		return 0, err
	}
	defer ns.unlock()
	if err := ns.unsaved(ctx); err != nil {
		return 0, err
	}
	last := ns.last.Version
	if last == 0 {
		return 0, fmt.Errorf("%w: no save of this namespace to undo", ErrNotFound)
	}
	v, err := ns.d.store.Revert(ctx, ns.branch, last, mvcc.CommitInfo{Message: fmt.Sprintf("undo version %d", last)})
	if err != nil {
		return 0, err
	}
	ns.last = SaveStats{Version: v}
	then, err := ns.d.store.At(ctx, v)
	if err != nil {
		return v, err
	}
	defer then.Close()
	head, err := ns.d.store.At(ctx, v)
	if err != nil {
		return v, err
	}
	if err := ns.restore(ctx, then, head); err != nil {
		head.Close()
		return v, err
	}
	return v, nil
}
