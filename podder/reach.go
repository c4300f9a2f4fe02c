package podder

import (
	"context"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// SlotReach finds out what stored slots lead to inside their pod, without the
// program's types. It is not safe for concurrent use.
type SlotReach struct{ v *viewer }

// NewSlotReach returns a SlotReach for the pods of one database: it keeps what it
// has read of types.
func NewSlotReach() *SlotReach { return &SlotReach{newViewer(context.Background(), nil)} }

// Unreached returns, in order, the slots in use of a pod to which none of some
// slots leads inside it, itself included. types gives type descriptors. Damage is
// ErrCorrupt.
func (r *SlotReach) Unreached(ctx context.Context, types pod.Source, id pod.ID, p *pod.Pod, from []pod.Slot) ([]pod.Slot, error) {
	r.v.ctx, r.v.src = ctx, types
	reached := make([]bool, len(p.Slots))
	stack := slices.Clone(from)
	for _, s := range from {
		if int(s) >= len(p.Slots) {
			return nil, r.v.corrupt(target{id, s}, "it is exported and there are %d slots", len(p.Slots))
		}
		reached[s] = true
	}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		err := r.v.slotRefs(target{id, s}, p, func(to target) error {
			if to.pod == id && !reached[to.slot] {
				reached[to.slot] = true
				stack = append(stack, to.slot)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var free []pod.Slot
	for s := range p.Slots {
		if p.Slots[s].Kind != pod.SlotFree && !reached[s] {
			free = append(free, pod.Slot(s))
		}
	}
	return free, nil
}

// Follow takes over pods of a newer version in which only what no variable
// reaches was taken away: what is live has the same places there. Pods that the graph does not know are ignored.
func (g *Graph) Follow(ctx context.Context, src pod.Source, ids []pod.ID) error {
	g.overtake()
	g.settle()
	g.sweep()
	var known []pod.ID
	for _, id := range ids {
		if g.knows(id) {
			known = append(known, id)
		}
	}
	pods, err := src.Pods(ctx, known)
	if err != nil {
		return err
	}
	for i, p := range pods {
		g.adoptPod(loadedPod{known[i], p})
	}
	return nil
}
