package mvcc

import (
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// unreachable counts what no name of a head reaches.
func (w *verifier) unreachable(l *line, st *lineState, lineage []fork) error {
	if w.unread || w.s.lost != nil || l.deleted.Load() {
		return nil
	}
	r := &reacher{st: st, seen: map[pid]bool{}}
	for _, root := range st.names {
		r.reach(pod.Ref{Pod: root})
	}
	for again := true; again; {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		r.walk(w.o.Trim == nil)
		var err error
		if again, err = w.roots(r, lineage, st.version); err != nil {
			return err
		}
	}
	for id, p := range st.pods {
		if p.pod == nil {
			continue
		}
		if !r.seen[id] {
			w.report.Unreachable++
		}
		for _, e := range p.pod.Exports {
			if !r.slots.has(pod.Ref{Pod: id, Slot: e.Slot}) {
				w.report.UnreachableSlots++
			}
		}
	}
	return nil
}

// roots reaches first slots that live slots lead to inside their pods (collection.settleRoots).
func (w *verifier) roots(r *reacher, lineage []fork, version Version) (more bool, err error) {
	if w.o.Trim == nil {
		return false, nil
	}
	at := &Snapshot{s: w.s, version: version, lineage: lineage}
	for id := range r.seen {
		exports := r.st.pods[id].pod.Exports
		if root := (pod.Ref{Pod: id}); exports[0].Slot != 0 || r.slots.has(root) {
			continue
		}
		var live []pod.Slot
		for _, e := range exports {
			if r.slots.has(pod.Ref{Pod: id, Slot: e.Slot}) {
				live = append(live, e.Slot)
			}
		}
		m, _, err := w.v.pod(lineage, id)
		if err != nil {
			return false, err
		}
		free, err := w.o.Trim(w.ctx, at, id, m.pod, live)
		if err != nil {
			return false, err
		}
		if !slices.Contains(free, 0) {
			r.reach(pod.Ref{Pod: id})
			more = true
		}
	}
	return more, nil
}

// reacher follows references through the state of a line.
type reacher struct {
	st    *lineState
	slots slotSet
	seen  map[pid]bool
	stack []pod.Ref
}

func (r *reacher) reach(to pod.Ref) {
	if p, ok := r.st.pods[to.Pod]; ok && p.pod != nil && p.pod.Exported(to.Slot) && r.slots.add(to) {
		r.stack = append(r.stack, to)
	}
}

// walk reaches all that it can. roots says that the first slot of a pod is reached
// with the pod.
func (r *reacher) walk(roots bool) {
	for len(r.stack) > 0 {
		at := r.stack[len(r.stack)-1]
		r.stack = r.stack[:len(r.stack)-1]
		p := r.st.pods[at.Pod].pod
		if !r.seen[at.Pod] {
			r.seen[at.Pod] = true
			for _, to := range uncovered(p) {
				r.reach(to)
			}
			if roots {
				r.reach(pod.Ref{Pod: at.Pod})
			}
		}
		for _, e := range p.Exports {
			if e.Slot == at.Slot {
				for to := range edges(p, e.Edges) {
					r.reach(to)
				}
			}
		}
	}
}
