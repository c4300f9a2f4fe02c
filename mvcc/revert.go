package mvcc

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Reverting one commit.
//
//  1. Each pod that the commit wrote must still be in the state that it left, in the head
//     of the branch, and each name bound as it left it; else it is a conflict. So it is if a name
//     leads to a pod that the commit wrote, and the head has bound it to another one or deleted it:
//     binding a variable anew can write its pod, or make another.
//  2. Slots that the commit changed or freed become what they were. Slots that it added
//     stay, because what is exported stays so (validate.go): nothing leads to them any
//     more, and collecting them is as with other garbage. Pods that it made are left alone.
//  3. It is a conflict too if something that was written since refers to what the commit
//     added: that would keep an object in two states, as it is and as it was before it moved there.
//
//  4. What a collect has taken away since is no change. Where the head comes to refer to it
//     again, it comes back as it was before the commit (revive).
//
// So the head is, but for what was written since, what it was before the commit.

// Revert makes a commit on a branch that takes one earlier commit back. It is a
// *dberr.ConflictError if later commits touched the same pods or names, or refer to what it
// added. If versions just before it were retired, what to go back to is not known:
// ErrVersionGone.
func (s *Store) Revert(ctx context.Context, branch string, version Version, info CommitInfo) (Version, error) {
	head, err := s.Head(ctx, branch)
	if err != nil {
		return 0, err
	}
	c, err := s.Commit(ctx, version)
	if err != nil {
		return 0, err
	}
	if found, err := s.newestUpTo(ctx, branch, version); err != nil || found != version || c.Kind.hidden() {
		if err == nil {
			err = fmt.Errorf("%w: version %d is not in the history of branch %q", dberr.ErrInvalid, version, branch)
		}
		return 0, err
	}
	t, err := s.Begin(ctx, branch, head)
	if err != nil {
		return 0, err
	}
	defer t.Rollback()
	r := &reverting{t: t, added: map[pod.Ref]bool{}, made: map[pid]bool{}, wrote: map[pid]bool{}}
	if r.that, err = s.At(ctx, version); err != nil {
		return 0, err
	}
	defer r.that.Close()
	before := Version(0)
	if len(c.Parents) > 0 {
		before = c.Parents[0]
	}
	if r.then, err = s.At(ctx, before); err != nil {
		return 0, err
	}
	defer r.then.Close()
	if err := s.whole(version); err != nil {
		return 0, err
	}
	if err := r.run(ctx); err != nil {
		return 0, err
	}
	if info.Message == "" {
		info.Message = fmt.Sprintf("revert version %d", version)
	}
	return t.Commit(ctx, info)
}

// whole is ErrVersionGone if a commit stands for others that were retired before it.
func (s *Store) whole(version Version) error {
	return s.read(func(v *view) error {
		row, err := v.row(version)
		if err == nil && row.fold != nil {
			err = fmt.Errorf("%w: the one before version %d", dberr.ErrVersionGone, version)
		}
		return err
	})
}

type reverting struct {
	t          *Tx
	then, that *Snapshot // before and after the commit
	added      map[pod.Ref]bool
	made       map[pid]bool // pods
	wrote      map[pid]bool
}

func (r *reverting) conflict(names []string, pods ...pid) error {
	e := &dberr.ConflictError{Names: names, Base: r.that.version, With: r.t.base.version}
	for _, id := range pods {
		e.Pods = append(e.Pods, uint64(id))
	}
	return e
}

func (r *reverting) run(ctx context.Context) error {
	ids, err := r.t.s.Changed(ctx, r.then, r.that)
	if err != nil {
		return err
	}
	for _, id := range ids {
		r.wrote[id] = true
		if err := r.pod(ctx, id); err != nil {
			return err
		}
	}
	if err := r.users(ctx); err != nil {
		return err
	}
	if err := r.names(ctx); err != nil {
		return err
	}
	return r.revive(ctx)
}

// pod takes back what the commit did to a pod.
func (r *reverting) pod(ctx context.Context, id pid) error {
	now, err := r.t.base.Number(ctx, id)
	if gone, other := r.t.base.Collected(ctx, id); other == nil && gone {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := r.that.Number(ctx, id)
	if err != nil {
		return err
	}
	was, err := r.then.Pods(ctx, []pid{id})
	if errors.Is(err, dberr.ErrNotFound) {
		if r.made[id] = true; now != left {
			return r.unchanged(ctx, id)
		}
		return nil
	}
	if err != nil {
		return err
	}
	is, err := r.that.Pods(ctx, []pid{id})
	if err != nil {
		return err
	}
	if now != left {
		head, err := r.t.base.Pods(ctx, []pid{id})
		if err != nil {
			return err
		}
		if !trimOf(is[0], head[0]) {
			return r.conflict(nil, id)
		}
		is = head
	}
	c, added, ok := backTo(id, was[0], is[0])
	if !ok {
		return r.conflict(nil, id)
	}
	for _, s := range added {
		r.added[pod.Ref{Pod: id, Slot: s}] = true
	}
	return r.t.Put(ctx, c)
}

// unchanged is a conflict if others than collects wrote a pod since the commit.
func (r *reverting) unchanged(ctx context.Context, id pid) error {
	is, err := r.that.Pods(ctx, []pid{id})
	if err != nil {
		return err
	}
	head, err := r.t.base.Pods(ctx, []pid{id})
	if err == nil && !trimOf(is[0], head[0]) {
		err = r.conflict(nil, id)
	}
	return err
}

// backTo is the change that makes slots what they were, and the slots that stay though
// they were not there before. It fails if both need one number for different references.
func backTo(id pid, was, is *pod.Pod) (c *pod.Change, added []pod.Slot, ok bool) {
	c = &pod.Change{ID: id, Whole: true, Exports: was.Exports, Given: was.Given()}
	for i := range max(len(was.Slots), len(is.Slots)) {
		switch {
		case i < len(was.Slots) && was.Slots[i].Kind != pod.SlotFree:
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: was.Slots[i]})
		case i < len(is.Slots) && is.Slots[i].Kind != pod.SlotFree && is.Slots[i].Kind != pod.SlotForward:
			added = append(added, pod.Slot(i))
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: is.Slots[i]})
		case i < len(is.Slots) && is.Slots[i].Kind == pod.SlotForward:
			return nil, nil, false
		}
	}
	c.Refs = was.Refs
	if len(added) == 0 && slices.EqualFunc(is.Exports, was.Exports, func(a, b pod.Export) bool { return a.Slot == b.Slot }) {
		return c, nil, true
	}
	c.Refs = slices.Clone(was.Refs)
	for i, ref := range is.Refs {
		switch {
		case i >= len(c.Refs):
			c.Refs = append(c.Refs, ref)
		case c.Refs[i].Pod == 0:
			c.Refs[i] = ref
		case ref.Pod != 0 && ref != c.Refs[i]:
			return nil, nil, false
		}
	}
	// What a slot reaches is what it was, and of one that was added what it is, through
	// slots that may be what they were: so it is all.
	slots := map[pod.Slot]bool{}
	for _, e := range slices.Concat(was.Exports, is.Exports) {
		slots[e.Slot] = true
	}
	c.Exports = nil
	for _, s := range sortedKeys(slots) {
		c.Exports = append(c.Exports, pod.Export{Slot: s, Edges: pod.EdgeSet{All: true}})
	}
	return c, added, true
}

// users is rule 3.
func (r *reverting) users(ctx context.Context) error {
	ids, err := r.t.s.Changed(ctx, r.that, r.t.base)
	if err != nil {
		return err
	}
	for _, id := range ids {
		pods, err := r.t.base.Pods(ctx, []pid{id})
		if errors.Is(err, dberr.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, ref := range pods[0].Refs {
			if r.added[ref] || r.made[ref.Pod] {
				return r.conflict(nil, id)
			}
		}
	}
	return nil
}

// names takes back what the commit did to names.
func (r *reverting) names(ctx context.Context) error {
	roots := map[string][2]pid{} // before and after the commit
	for i, sn := range []*Snapshot{r.then, r.that} {
		for n, err := range sn.Names(ctx, "") {
			if err != nil {
				return err
			}
			root, err := sn.Root(ctx, n)
			if err != nil {
				return err
			}
			both := roots[n]
			both[i] = root
			roots[n] = both
		}
	}
	for _, n := range sortedKeys(roots) {
		both := roots[n]
		same := both[0] == both[1]
		if same && !r.wrote[both[1]] {
			continue
		}
		now, err := r.t.base.Root(ctx, n)
		if err != nil && !errors.Is(err, dberr.ErrNotFound) {
			return err
		}
		switch {
		case now != both[1]:
			return r.conflict([]string{n})
		case same: // nothing to take back but in the pod
		case both[0] == 0:
			err = r.t.DeleteName(ctx, n)
		default:
			err = r.t.SetName(ctx, n, both[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
