package mvcc

import (
	"bytes"
	"context"

	"github.com/poddb/poddb/internal/pod"
)

// historyBacks is how many versions of a pod SlotHistory compares with the one before.
const historyBacks = 16

var _ pod.HistorySink = (*Tx)(nil)

// Commits returns the number of the transaction's base.
func (t *Tx) Commits() int { return int(t.base.version) }

// SlotHistory returns which of the newest 17 versions of a pod changed what is in its slots,
// up to the transaction's base and on the line that has the newest of them. It is advice: nothing
// if they cannot be read, or are fewer than 2. The error is ctx's, or ErrClosed.
func (t *Tx) SlotHistory(ctx context.Context, id pod.ID) (h pod.SlotHistory, err error) {
	err = t.s.steady(ctx, func(v *view) error {
		h = v.slotHistory(ctx, t.base.lineage, id, t.base.version)
		return ctx.Err()
	})
	return h, err
}

func (v *view) slotHistory(ctx context.Context, lineage []fork, id pod.ID, until Version) (h pod.SlotHistory) {
	f, ok, err := v.resolve(lineage, pid(id))
	if err != nil || !ok {
		return h
	}
	versions, err := v.newestVersions(f, historyBacks+1)
	if err != nil || len(versions) < 2 {
		return h
	}
	oldest, err := v.rowOfNumber(ctx, versions[len(versions)-1].number, v.s.published.Load().version+1)
	if err != nil || oldest.version >= until {
		return h
	}
	var now *pod.Pod
	var changed []uint32
	var differs []int
	for k := range versions {
		m, err := v.buildBesideReclaim(versions[k])
		if err != nil {
			return h
		}
		if k == 0 {
			changed, differs = make([]uint32, len(m.pod.Slots)), make([]int, len(m.pod.Slots))
		}
		for s := range changed {
			if now != nil && changedSlot(m.pod, now, s) {
				changed[s] |= 1 << (k - 1)
				differs[s] += pod.Differing(&m.pod.Slots[s], &now.Slots[s])
			}
		}
		now = m.pod
	}
	return pod.SlotHistory{Commits: int(until - oldest.version), Versions: len(versions) - 1, Changed: changed, Bytes: differs}
}

// changedSlot reports whether two versions of a pod both have a slot, with other contents.
func changedSlot(before, now *pod.Pod, s int) bool {
	if s >= len(before.Slots) || s >= len(now.Slots) {
		return false
	}
	a, b := &before.Slots[s], &now.Slots[s]
	return a.Kind != pod.SlotFree && b.Kind != pod.SlotFree && !bytes.Equal(a.Bytes, b.Bytes)
}
