package mvcc

import (
	"context"
	"errors"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// revive brings back what a revert refers to and a collect has taken away: whole pods,
// and slots of pods that nobody has written since the version before the commit that is reverted.
func (r *reverting) revive(ctx context.Context) error {
	for done := map[pod.Ref]bool{}; ; {
		var todo []pod.Ref
		for ref := range r.t.refs {
			if !done[ref] {
				todo = append(todo, ref)
			}
		}
		for _, root := range r.t.names {
			if ref := (pod.Ref{Pod: root}); root != 0 && !done[ref] {
				todo = append(todo, ref)
			}
		}
		if len(todo) == 0 {
			return nil
		}
		slices.SortFunc(todo, compareRefs) // the same pods, and numbers, each time
		for _, ref := range todo {
			done[ref] = true
			if err := r.reviveOne(ctx, ref); err != nil {
				return err
			}
		}
	}
}

func (r *reverting) reviveOne(ctx context.Context, ref pod.Ref) error {
	if p := r.t.find(ref.Pod); p != nil {
		if !p.exported(ref.Slot) {
			return r.conflict(nil, ref.Pod)
		}
		return nil
	}
	now, err := r.t.base.Pods(ctx, []pid{ref.Pod})
	missing := errors.Is(err, dberr.ErrNotFound)
	switch {
	case missing:
	case err != nil:
		return err
	case now[0].Exported(ref.Slot):
		return nil
	}
	was, err := r.then.Pods(ctx, []pid{ref.Pod})
	if errors.Is(err, dberr.ErrNotFound) || err == nil && !was[0].Exported(ref.Slot) {
		return r.conflict(nil, ref.Pod)
	}
	if err != nil {
		return err
	}
	if missing {
		c := wholeChange(ref.Pod, was[0])
		c.New = true
		return r.t.Put(ctx, c)
	}
	if !trimOf(was[0], now[0]) {
		return r.conflict(nil, ref.Pod)
	}
	c, _, ok := backTo(ref.Pod, was[0], now[0])
	if !ok {
		return r.conflict(nil, ref.Pod)
	}
	return r.t.Put(ctx, c)
}

// trimOf reports whether collects alone can have made one state of a pod out of
// another: what is there is the same.
func trimOf(was, now *pod.Pod) bool {
	if len(now.Slots) > len(was.Slots) || len(now.Refs) > len(was.Refs) {
		return false
	}
	for i := range now.Slots {
		x, y := &was.Slots[i], &now.Slots[i]
		if y.Kind != pod.SlotFree && !sameData(x, y) {
			return false
		}
	}
	for i, r := range now.Refs {
		if r.Pod != 0 && r != was.Refs[i] {
			return false
		}
	}
	return !slices.ContainsFunc(now.Exports, func(e pod.Export) bool { return !was.Exported(e.Slot) })
}

func sameData(x, y *pod.Data) bool {
	return x.Kind == y.Kind && x.Type == y.Type && string(x.Bytes) == string(y.Bytes) && slices.Equal(x.Runs, y.Runs)
}

func compareRefs(a, b pod.Ref) int {
	if a.Pod != b.Pod {
		if a.Pod < b.Pod {
			return -1
		}
		return 1
	}
	return int(a.Slot) - int(b.Slot)
}
