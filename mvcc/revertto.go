package mvcc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Going back to a version, as a new commit.
//
//  1. The pods that differ between that version and the head become what they were, and names are
//     bound as they were. So whatever names lead to is what it was.
//  2. What is exported stays exported (validate.go): slots that came since and are exported stay as they
//     are, and what was not exported then and is now stays so. No name leads to them any more.
//  3. Where the references of what came since need numbers that what was there needs for others,
//     the pod as it is now is copied to a new one, and the slots that came since become
//     forwarders to the copy.
//  4. What comes back is the object that it was, with its generation (package pod), also where
//     another one has its slot now.
//  5. Pods that were made since are left alone; pods that were taken away since come back under
//     their ids.

// RevertTo makes a commit on a branch that brings back the state of an earlier version of its
// history. If the head has that state no commit is made, and its version is returned.
func (s *Store) RevertTo(ctx context.Context, branch string, version Version, info CommitInfo) (Version, error) {
	head, err := s.Head(ctx, branch)
	if err != nil {
		return 0, err
	}
	then, err := s.At(ctx, version)
	if err != nil {
		return 0, err
	}
	defer then.Close()
	if err := s.inHistory(branch, version); err != nil {
		return 0, err
	}
	t, err := s.Begin(ctx, branch, head)
	if err != nil {
		return 0, err
	}
	defer t.Rollback()
	ids, err := s.Changed(ctx, then, t.base)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		if err := t.takeBack(ctx, then, id); err != nil {
			return 0, err
		}
	}
	if err := t.namesBack(ctx, then); err != nil {
		return 0, err
	}
	if info.Message == "" {
		info.Message = fmt.Sprintf("back to version %d", version)
	}
	return t.Commit(ctx, info)
}

// inHistory is ErrInvalid unless a version, which is open, is in the history of a branch; 0 is in
// all.
func (s *Store) inHistory(branch string, version Version) error {
	if version == 0 {
		return nil
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	return s.read(func(v *view) error {
		row, err := v.row(version)
		if err != nil {
			return err
		}
		h := l.head.Load()
		history, whole := s.logical(append([]fork{{l.id, h.version, h.number}}, l.lineage...))
		if !whole {
			return fmt.Errorf("%w: branch %q is more than %d forks deep", dberr.ErrTooLarge, branch, maxLogical)
		}
		for _, f := range history {
			if f.line == row.line && version <= f.version {
				return nil
			}
		}
		return fmt.Errorf("%w: version %d is not in the history of branch %q", dberr.ErrInvalid, version, branch)
	})
}

// podIn returns a pod of a snapshot, nil if it has none of that id.
func podIn(ctx context.Context, sn *Snapshot, id pid) (*pod.Pod, error) {
	pods, err := sn.Pods(ctx, []pid{id})
	if errors.Is(err, dberr.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return pods[0], nil
}

// takeBack makes a pod what it was.
func (t *Tx) takeBack(ctx context.Context, then *Snapshot, id pid) error {
	was, err := podIn(ctx, then, id)
	if err != nil || was == nil {
		return err
	}
	is, err := podIn(ctx, t.base, id)
	if err != nil {
		return err
	}
	if is == nil {
		c := wholeChange(id, was)
		c.New = true
		return t.Put(ctx, c)
	}
	if len(exportedSince(was, is)) == 0 {
		return t.Put(ctx, backAround(id, was, is, 0))
	}
	if c, _, ok := backTo(id, was, is); ok {
		return t.Put(ctx, c)
	}
	copied := wholeChange(t.NewPod(), is)
	copied.New, copied.Given = true, nil // other objects, in a pod of their own
	if err := t.Put(ctx, copied); err != nil {
		return err
	}
	return t.Put(ctx, backAround(id, was, is, copied.ID))
}

// wholeChange writes all of a pod, with the objects that it holds.
func wholeChange(id pid, p *pod.Pod) *pod.Change {
	c := &pod.Change{ID: id, Whole: true, Refs: p.Refs, Exports: p.Exports, Given: p.Given()}
	for i, d := range p.Slots {
		if d.Kind != pod.SlotFree {
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: d})
		}
	}
	return c
}

// exportedSince returns the slots that came since and are exported.
func exportedSince(was, is *pod.Pod) []pod.Slot {
	var since []pod.Slot
	for _, e := range is.Exports {
		if int(e.Slot) >= len(was.Slots) || was.Slots[e.Slot].Kind == pod.SlotFree {
			since = append(since, e.Slot)
		}
	}
	return since
}

// backAround is the change that makes a pod what it was, but for forwarders to a copy where
// slots came since and are exported.
func backAround(id pid, was, is *pod.Pod, copied pid) *pod.Change {
	c := wholeChange(id, was)
	c.Refs, c.Exports = slices.Clone(was.Refs), slices.Clone(was.Exports)
	since := exportedSince(was, is)
	for _, e := range is.Exports {
		if !was.Exported(e.Slot) && !slices.Contains(since, e.Slot) {
			c.Exports = append(c.Exports, pod.Export{Slot: e.Slot, Edges: pod.EdgeSet{All: true}})
		}
	}
	for _, s := range since {
		n := uint32(len(c.Refs))
		c.Refs = append(c.Refs, pod.Ref{Pod: copied, Slot: s})
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: s, Data: forwarder(n)})
		c.Exports = append(c.Exports, pod.Export{Slot: s, Edges: pod.EdgeSet{List: []uint32{n}}})
	}
	slices.SortFunc(c.Exports, func(a, b pod.Export) int { return cmp.Compare(a.Slot, b.Slot) })
	slices.SortFunc(c.Slots, func(a, b pod.SlotWrite) int { return cmp.Compare(a.Slot, b.Slot) })
	return c
}

// forwarder is a slot whose object is where a reference leads (docs/format.md, pointer codes).
func forwarder(ref uint32) pod.Data {
	return pod.Data{Kind: pod.SlotForward, Bytes: binary.AppendUvarint(nil, 2+uint64(ref)*4+1)}
}

// namesBack binds names as they were.
func (t *Tx) namesBack(ctx context.Context, then *Snapshot) error {
	list, err := t.s.NamesChanged(ctx, then, t.base, "")
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.Before == 0 {
			err = t.DeleteName(ctx, n.Name)
		} else {
			err = t.SetName(ctx, n.Name, n.Before)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
