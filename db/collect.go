package db

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// CollectOptions configures Collect.
type CollectOptions struct {
	Branch string // "" means main
	DryRun bool   // only say what would be taken away
	Budget Budget
	// Progress, if set, is called now and then from the goroutine of Collect.
	Progress func(CollectProgress)
}

// Budget bounds what runs beside the program: how long one call takes, and how
// many bytes it reads and writes a second. The zero value bounds nothing.
type Budget = mvcc.Budget

// CollectProgress says how far a Collect has come.
type CollectProgress = mvcc.CollectProgress

// CollectReport says what Collect took away, or would.
type CollectReport = mvcc.CollectReport

// Collect takes objects that no variable of a branch reaches any more out of its
// versions to come: dropped objects with all that only they referred to, and what
// was left behind where objects have moved to. Save and Commit never do that by
// themselves, because others may be about to refer to what they drop. The commits that
// Collect makes show what the one before them shows; Log leaves them out, and
// policies of Prune do not count them. Older versions stay as they are. The space
// comes back with the Prune that removes those that still have the objects.
//
// Commits and readers go on meanwhile. An object that is referred to again before it
// was taken away stays (CollectReport.Spared). A transaction that wrote what a Collect took away,
// or stores a reference to it, is ErrConflict and may be run again; a namespace goes
// on from the version behind it. Objects that the program still holds stay valid
// memory; stored again, they are new objects.
//
// The context, or the budget, ends it between two steps: what was done stays, and the
// next Collect of the branch goes on there, as long as the database is open. Until then
// the version that is being searched stays open. One Collect runs at a time.
//
// Errors: ErrNotFound (no such branch), ErrCorrupt (nothing is taken away where what
// refers to what is not known), ErrReadOnly (but for dry runs), ErrPoisoned, ErrClosed, ErrDiskFull.
func (d *DB) Collect(ctx context.Context, o CollectOptions) (CollectReport, error) {
	rep, err := d.store.Collect(ctx, mvcc.CollectOptions{
		Branch: branchOrMain(o.Branch), DryRun: o.DryRun, Budget: o.Budget, Progress: o.Progress, Trim: freeSlots(),
	})
	return rep, d.named(err)
}

// freeSlots returns what tells Collect and Verify which slots of a pod nobody reaches.
func freeSlots() func(context.Context, *mvcc.Snapshot, pod.ID, *pod.Pod, []pod.Slot) ([]pod.Slot, error) {
	reach := podder.NewSlotReach()
	return func(ctx context.Context, at *mvcc.Snapshot, id pod.ID, p *pod.Pod, exports []pod.Slot) ([]pod.Slot, error) {
		return reach.Unreached(ctx, at, id, p, exports)
	}
}

// maxFollows bounds how often one Save begins again because of collects.
const maxFollows = 10

// behindCollect reports whether a collect took something away that the graph may
// not know of.
func (ns *Namespace) behindCollect() bool {
	return ns.d.store.LastCollect(ns.branch) > ns.base.followed.Version()
}

// followCollects tells the graph what collects took away: of the base first, if
// that has passed them, and then, if nobody else has touched what is live, of the
// head of the branch, which becomes the base. If somebody has, Save will say so.
func (ns *Namespace) followCollects(ctx context.Context) error {
	if !ns.behindCollect() {
		return nil
	}
	base := ns.base.version()
	if followed := ns.base.followed.Version(); followed < base {
		collected, _, err := ns.d.store.WrittenSince(ctx, ns.branch, followed, base)
		if err != nil {
			return err
		}
		if err := ns.graph.Follow(ctx, ns.base.sn, collected); err != nil {
			return err
		}
		ns.base.followed.Pass(base)
	}
	if !ns.behindCollect() {
		return nil
	}
	head, err := ns.d.store.AtHead(ctx, ns.branch)
	if err != nil {
		return err
	}
	ok, err := ns.passTo(ctx, head)
	if err != nil || !ok {
		head.Close()
	}
	return err
}

// passTo makes head the base, if only collects wrote what is live.
func (ns *Namespace) passTo(ctx context.Context, head *mvcc.Snapshot) (bool, error) {
	collected, others, err := ns.d.store.WrittenSince(ctx, ns.branch, ns.base.followed.Version(), head.Version())
	if err != nil || slices.ContainsFunc(others, ns.graph.Holds) {
		return false, err
	}
	for _, names := range []func(func(string) bool){maps.Keys(ns.live), maps.Keys(ns.deleted), maps.Keys(ns.rebound)} {
		for n := range names {
			if same, err := sameRoot(ctx, n, ns.base.sn, head); err != nil || !same {
				return false, err
			}
		}
	}
	for _, id := range collected {
		if !ns.graph.Holds(id) {
			continue
		}
		if there, err := head.Has(ctx, id); err != nil || !there {
			return false, err
		}
	}
	names, err := namesAt(ctx, head)
	if err != nil {
		return false, err
	}
	if err := ns.graph.Follow(ctx, head, collected); err != nil {
		return false, err
	}
	ns.stored = names
	ns.base.move(head)
	ns.base.followed.Pass(head.Version())
	return true, nil
}

// sameRoot reports whether two versions bind a variable to the same pod, or neither does.
func sameRoot(ctx context.Context, name string, a, b *mvcc.Snapshot) (bool, error) {
	x, err := a.Root(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	y, err := b.Root(ctx, name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	return x == y, nil
}

// notCollected leaves out pods that a collect took out of one of two versions:
// whatever else differs refers to them.
func notCollected(ctx context.Context, ids []pod.ID, a, b *mvcc.Snapshot) ([]pod.ID, error) {
	left := ids[:0]
	for _, id := range ids {
		gone, err := a.Collected(ctx, id)
		if err == nil && !gone {
			gone, err = b.Collected(ctx, id)
		}
		if err != nil {
			return nil, err
		}
		if !gone {
			left = append(left, id)
		}
	}
	return left, nil
}
