package db

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Commit makes the changes of the transaction one version and returns it,
// durable when it returns. Changed objects are found by comparing what Get and
// Put variables reach with what was loaded. A transaction that changed nothing
// makes no commit, cannot conflict, and returns its base. The transaction is
// over in any case.
//
// Errors: ErrConflict (a ConflictError: begin again), ErrReadChanged,
// ErrUnsupported with all paths, ErrClosed, ErrPoisoned, ErrCommitUnknown,
// ErrDiskFull, the context's. After all but ErrCommitUnknown nothing was
// committed. The context counts until the commit is queued for the log.
func (tx *Tx) Commit(ctx context.Context) (Version, error) { return tx.commit(ctx, true) }

// commit is Commit; explain says whether paths are looked for after a conflict.
func (tx *Tx) commit(ctx context.Context, explain bool) (_ Version, err error) {
	if err := tx.enter(); err != nil {
		return 0, err
	}
	defer tx.leave()
	defer tx.end()
	defer func() { err = tx.d.named(err) }()
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	v, err := tx.write(ctx)
	var c *ConflictError
	if explain && errors.As(err, &c) {
		tx.explain(ctx, c)
	}
	return v, err
}

func (tx *Tx) write(ctx context.Context) (Version, error) {
	touched, err := tx.touchedReads(ctx)
	if err != nil {
		return 0, err
	}
	var sink pod.Sink = storedSink{tx.tx, tx.remaining}
	var written map[podSlot]struct{}
	if len(touched) > 0 {
		written = map[podSlot]struct{}{}
		sink = &slotRecorder{tx: tx.tx, slots: written, remaining: tx.remaining}
	}
	saved, err := tx.graph.SaveLast(ctx, tx.roots(useGet, usePut), sink)
	if err != nil {
		return 0, err
	}
	defer saved.Abort() // the graph is as it was
	if err := tx.refuseTouched(ctx, touched, written); err != nil {
		return 0, err
	}
	if err := tx.rebind(ctx, saved); err != nil {
		return 0, err
	}
	if len(tx.deleted) > 0 {
		for _, n := range slices.Sorted(maps.Keys(tx.deleted)) {
			if err := tx.tx.DeleteName(ctx, n); err != nil {
				return 0, err
			}
		}
	}
	tx.guard()
	v, err := tx.tx.Commit(ctx, mvcc.CommitInfo{Message: tx.opts.Message, Author: tx.opts.Author})
	if err != nil {
		return 0, err
	}
	w := tx.tx.Written()
	tx.stats = TxStats{Objects: saved.Objects, Pods: saved.Pods, PodsWritten: w.PodsNew + w.PodsChanged, Bytes: int64(w.Bytes)}
	return v, nil
}

// rebind has variables that were loaded and bound to another object, and keep
// their root pod, count as bound anew: whoever changes the object before loses
// it, although the two write different pods.
func (tx *Tx) rebind(ctx context.Context, saved *podder.Saved) error {
	for n, v := range tx.live {
		if v.use != usePut || !isObject(v.value) || !tx.graph.Holds(saved.Roots[n]) {
			continue
		}
		if err := tx.tx.RebindName(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// guard says on what the commit depends beyond what it writes.
func (tx *Tx) guard() {
	if tx.opts.Isolation == Serializable {
		tx.tx.GuardPods(tx.graph)
		for n := range tx.asked {
			tx.tx.GuardName(n)
		}
		return // ranges were noted when they were walked
	}
	tx.tx.GuardPods(tx.unbound)
	// Bound elsewhere, a changed object would be saved where no name leads.
	for n, v := range tx.live {
		if v.use == useGet {
			tx.tx.GuardName(n)
		}
	}
}

// explain adds to a conflict the variables and paths by which the transaction
// reaches what it collided with.
func (tx *Tx) explain(ctx context.Context, c *ConflictError) {
	if len(c.Pods) == 0 {
		return
	}
	pods := make([]pod.ID, len(c.Pods))
	for i, id := range c.Pods {
		pods[i] = pod.ID(id)
	}
	paths, err := tx.graph.Paths(ctx, tx.roots(useRead, useGet, usePut), pods)
	if err != nil {
		return // the conflict is what counts
	}
	for _, id := range pods {
		if p, ok := paths[id]; ok {
			c.Paths = append(c.Paths, p.Path)
			c.Names = append(c.Names, p.Names...)
		}
	}
	slices.Sort(c.Paths)
	slices.Sort(c.Names)
	c.Paths, c.Names = slices.Compact(c.Paths), slices.Compact(c.Names)
}

// podSlot is a slot of a pod.
type podSlot struct {
	pod  pod.ID
	slot pod.Slot
}

// slotRecorder is a sink that notes which slots of known pods are written, and
// hands everything on unless it is dry.
type slotRecorder struct {
	tx    *mvcc.Tx
	slots map[podSlot]struct{}
	dry   bool
	// remaining is what Stored returns, nil if that is nothing.
	remaining func(context.Context) (pod.Source, []string, error)
}

var _ interface {
	pod.RatedSink
	podder.Catalogue
	podder.StoredSink
} = (*slotRecorder)(nil)

func (r *slotRecorder) Stored(ctx context.Context) (pod.Source, []string, error) {
	if r.remaining == nil {
		return nil, nil, nil
	}
	return r.remaining(ctx)
}

func (r *slotRecorder) NewPod() pod.ID { return r.tx.NewPod() }

func (r *slotRecorder) Type(ctx context.Context, descriptor []byte) (pod.TypeID, error) {
	return r.tx.Type(ctx, descriptor)
}

func (r *slotRecorder) Rates(ctx context.Context) (*pod.Rates, error) { return r.tx.Rates(ctx) }

func (r *slotRecorder) Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	return r.tx.Types(ctx, from, fn)
}

func (r *slotRecorder) Put(ctx context.Context, c *pod.Change) error {
	if !c.New {
		for i := range c.Slots {
			r.slots[podSlot{c.ID, c.Slots[i].Slot}] = struct{}{}
		}
	}
	if r.dry {
		return nil
	}
	return r.tx.Put(ctx, c)
}

func (r *slotRecorder) SetName(ctx context.Context, name string, root pod.ID) error {
	if r.dry {
		return nil
	}
	return r.tx.SetName(ctx, name, root)
}

func (r *slotRecorder) DeleteName(ctx context.Context, name string) error {
	if r.dry {
		return nil
	}
	return r.tx.DeleteName(ctx, name)
}

// touchedReads returns the slots that saving the Read variables would write.
func (tx *Tx) touchedReads(ctx context.Context) (map[podSlot]struct{}, error) {
	if tx.opts.TrustReads {
		return nil, nil
	}
	return tx.wouldWrite(ctx, tx.roots(useRead))
}

// wouldWrite returns the slots of loaded objects that saving roots would write.
// An object that is new hangs on one that was changed.
func (tx *Tx) wouldWrite(ctx context.Context, roots []podder.Root) (map[podSlot]struct{}, error) {
	if len(roots) == 0 {
		return nil, nil
	}
	dry := &slotRecorder{tx: tx.tx, dry: true, slots: map[podSlot]struct{}{}}
	saved, err := tx.graph.Save(ctx, roots, dry)
	if err != nil {
		return nil, fmt.Errorf("looking whether variables that were only read were changed: %w", err)
	}
	saved.Abort()
	maps.DeleteFunc(dry.slots, func(s podSlot, _ struct{}) bool { return !tx.graph.InUse(s.pod, s.slot) })
	return dry.slots, nil
}

// refuseTouched is ErrReadChanged if a slot was touched that is not written.
func (tx *Tx) refuseTouched(ctx context.Context, touched, written map[podSlot]struct{}) error {
	lost := func(slots map[podSlot]struct{}) bool {
		for s := range slots {
			if _, ok := written[s]; !ok {
				return true
			}
		}
		return false
	}
	if !lost(touched) {
		return nil
	}
	var names []string
	for _, r := range tx.roots(useRead) {
		slots, err := tx.wouldWrite(ctx, []podder.Root{r})
		if err != nil {
			return err
		}
		if lost(slots) {
			names = append(names, r.Name)
		}
	}
	return fmt.Errorf("%w: %q; get it with Get, or see TxOptions.TrustReads", ErrReadChanged, names)
}
