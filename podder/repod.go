package podder

import (
	"cmp"
	"context"
	"math/bits"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// Re-podding: objects that have their place get another one, in a save without a walk that
// writes their pod anyway, with Config.Repod.
//
//  1. A pod is *split* if the history of its slots says that this costs less: what changes
//     goes away from what does not (learned.leave). It is judged once in each doubling of the number of
//     commits, so log n times in its life, from what is stored: a process that opens the
//     database later judges by the same.
//  2. A pod that holds more than twice what pods are filled up to is *divided*, however often
//     it changes.
//  3. What may leave: objects, arrays and maps to which nothing outside of the pod has ever referred (they
//     are not exported), in a pod of which everything is known: all of its slots are reached, and
//     references of none are found by encoding alone. So all who refer to what leaves are
//     in the pod, and they are encoded again.
//  4. The slot that something left becomes a forwarder with its type into the new pod, and is exported: so Diff,
//     Merge and whoever holds an older version see that it is the same object. It does not
//     keep the pod's other slots, as slots of unknown objects do (slotAway).
//  5. What it costs is bounded: histories are read for a credit that saves earn by what they look at, and
//     what moves is bytes that saves have earned by what they wrote.
//
// Pods are not merged: two that never change are not written.

// Credits of re-podding. A save earns judgeEarned and one for judgeShare objects that it
// looked at; a slot in one version of a history costs one. Moving costs its bytes, of which a
// graph has movesGrant targets and a movesShare of what its saves wrote.
const (
	judgeEarned = 64
	judgeShare  = 256
	judgeMost   = 1 << 14
	movesGrant  = 8
	movesShare  = 4
)

// leastJudged is from how many commits on pods are judged.
const leastJudged = 8

// outgrown is by how much a pod may pass what pods are filled up to before it is divided.
const outgrown = 2

// forwardCost is about what a forwarder, its export and the longer reference cost in bytes.
const forwardCost = 20

// repodding are the credits of a graph.
type repodding struct{ judge, move int }

func (g *Graph) repodCredits() repodding {
	return repodding{judge: judgeMost, move: movesGrant * g.cfg.TargetBytes}
}

// earn adds what a save that was committed has earned.
func (r *repodding) earn(s *Saved) {
	r.judge = min(r.judge+judgeEarned+s.Objects/judgeShare, judgeMost)
	r.move += int(s.Bytes / movesShare)
}

// mover is a strategy that lets objects leave pods.
type mover interface {
	// learns says that leave needs the history of the pod.
	learns() bool
	// leave returns the parts of a pod that go to pods of their own, by their numbers.
	leave(c *podCase) [][]int
}

// podCase is a pod that is judged.
type podCase struct {
	id      pod.ID
	save    int // of the graph
	commits int // of the whole history
	history pod.SlotHistory
	parts   []podPart
}

// podPart is one slot of it.
type podPart struct {
	slot    int
	region  int32
	bytes   int
	changed uint32 // as pod.SlotHistory has it, and its bytes
	differs int
	stays   bool
}

// repod lets objects leave the pods that are to be written.
func (x *resaver) repod(w *walk, g *Graph) error {
	m, ok := x.cfg.Strategy.(mover)
	if !ok || m.learns() && !x.cfg.Repod || g.repod.move <= 0 {
		return nil
	}
	history, commits, epoch := pod.HistorySink(nil), 0, uint8(0)
	if m.learns() {
		if history, ok = x.sink.(pod.HistorySink); !ok {
			return nil
		}
		if commits = history.Commits(); commits < leastJudged {
			return nil
		}
		epoch = uint8(bits.Len(uint(commits)))
	}
	for _, i := range x.judged(epoch, g.repod.judge > 0) {
		ps := &x.st.pods[i]
		c := podCase{id: ps.id, save: g.resaved, commits: commits, parts: x.parts(i)}
		divides := ps.outgrew(x.most)
		ps.judged = epoch
		if divides {
			ps.tried = ps.bytes
		}
		if !slices.ContainsFunc(c.parts, func(p podPart) bool { return !p.stays }) {
			continue
		}
		var groups [][]int
		if divides {
			groups = c.divide(int(x.most))
		} else {
			if history != nil {
				var err error
				if c.history, err = history.SlotHistory(x.ctx, c.id); err != nil {
					return err
				}
				g.repod.judge -= len(c.parts) * (c.history.Versions + 1)
				for k := range c.parts {
					if p := &c.parts[k]; p.slot < len(c.history.Changed) {
						p.changed, p.differs = c.history.Changed[p.slot], c.history.Bytes[p.slot]
					}
				}
			}
			groups = m.leave(&c)
		}
		if len(groups) == 0 {
			continue
		}
		if err := x.moveOut(w, i, &c, groups, epoch); err != nil {
			return err
		}
		if divides {
			x.saved.PodsDivided++
		} else {
			x.saved.PodsSplit++
		}
		if g.repod.move -= c.bytes(groups); g.repod.move <= 0 {
			break
		}
	}
	x.sortMoves()
	return nil
}

// outgrew reports whether the pod is to be divided, and was not tried when it was
// about as large.
func (ps *podState) outgrew(most uint32) bool {
	return ps.bytes > outgrown*int(most) && ps.bytes > outgrown*ps.tried
}

// mostJudged is how many pods one save looks at.
const mostJudged = 16

// judged lists the pods that are to be written and judged: those that have outgrown what they
// may hold, and, if there is credit, those that were not judged in this epoch.
func (x *resaver) judged(epoch uint8, credit bool) (list []int32) {
	consider := func(i int32) {
		if i < 0 || i >= x.undo.podCount || len(list) == mostJudged {
			return
		}
		ps := &x.st.pods[i]
		if (ps.outgrew(x.most) || credit && (ps.judged != epoch || epoch == 0)) && !ps.isNew && !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	for n := range x.early.len() {
		if s := x.early.at(n); s.region >= 0 && s.changed {
			consider(s.pod)
		}
	}
	for n := range x.dirty.len() {
		consider(x.st.regions.at(x.dirty.at(n).region).pod)
	}
	return list
}

// parts returns the slots of pod i, nil if something in it is not known.
func (x *resaver) parts(i int32) []podPart {
	st := x.st
	ps := &st.pods[i]
	list := make([]podPart, 0, len(ps.slots))
	for s := range ps.slots {
		n := ps.slots[s].region
		if n < 0 {
			if ps.slots[s].kind == pod.SlotFree || n == slotAway {
				continue
			}
			return nil
		}
		r := st.regions.at(n)
		if n >= x.added || !x.met.reached.has(n) || r.flags&(flagScanned|flagRerun) != flagScanned ||
			st.prints.list.at(n).kind() == printAlways || r.kind == pod.SlotOpaque || st.chunked[n] != nil {
			return nil
		}
		p := podPart{slot: s, region: n, bytes: int(r.weight) + slotOverhead}
		switch r.kind {
		case pod.SlotObject, pod.SlotMap:
		case pod.SlotArray:
			p.stays = st.shadows[r.extra] != nil
		default:
			p.stays = true
		}
		p.stays = p.stays || s == 0 || r.plan.sentinel != nil || r.flags&(flagRefHead|flagExported) != 0 || exported(ps.exports, pod.Slot(s))
		list = append(list, p)
	}
	return list
}

// divide fills pods up to most with what may leave, in the order of its slots, but for
// what the pod may keep.
func (c *podCase) divide(most int) (groups [][]int) {
	kept, filled := 0, 0
	for k := range c.parts {
		if c.parts[k].stays {
			kept += c.parts[k].bytes
		}
	}
	for k := range c.parts {
		p := &c.parts[k]
		switch {
		case p.stays:
			continue
		case len(groups) == 0 && kept+p.bytes <= most:
			kept += p.bytes
			continue
		case len(groups) == 0 || filled+p.bytes > most:
			groups, filled = append(groups, nil), 0
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], k)
		filled += p.bytes
	}
	return groups
}

// bytes are those of what leaves.
func (c *podCase) bytes(groups [][]int) (n int) {
	for _, g := range groups {
		for _, k := range g {
			n += c.parts[k].bytes + forwardCost
		}
	}
	return n
}

// moveOut gives parts of pod i to new pods, one for each group.
func (x *resaver) moveOut(w *walk, i int32, c *podCase, groups [][]int, epoch uint8) error {
	st := x.st
	if x.relinked == nil {
		x.relinked = map[int32]bool{}
	}
	leaves := map[int32]bool{}
	for _, g := range groups {
		for _, k := range g {
			leaves[c.parts[k].region] = true
		}
	}
	again := map[int32]bool{} // leaves, or refers to what does
	for k := range c.parts {
		n := c.parts[k].region
		r := st.regions.at(n)
		touched := leaves[n]
		for e := r.edge; e < r.edgeEnd && !touched; e++ {
			touched = leaves[st.resolve(*x.edges.at(int32(e)))]
		}
		if touched {
			again[n] = true
		}
	}
	if err := x.encodeAgain(w, c, again); err != nil {
		return err
	}
	x.undo.pod(i)
	for _, g := range groups {
		q := int32(len(st.pods))
		to := podState{id: x.sink.NewPod(), isNew: true, judged: epoch, slots: make([]slotState, len(g))}
		for s, k := range g {
			p := &c.parts[k]
			x.undo.region(p.region)
			x.undo.slot(i, p.slot)
			to.slots[s].region = p.region
			to.bytes += p.bytes
			r := st.regions.at(p.region)
			r.pod, r.slot = q, uint32(s)
			r.flags |= flagExported // by the forwarder
			st.pods[i].slots[p.slot].region = slotAway
			st.wentAway(pod.Ref{Pod: c.id, Slot: pod.Slot(p.slot)}, pod.Ref{Pod: to.id, Slot: pod.Slot(s)})
			st.pods[i].bytes -= p.bytes
			x.moves = append(x.moves, move{pod: i, slot: uint32(p.slot), to: p.region})
		}
		st.byID[to.id] = q
		st.pods = append(st.pods, to)
		x.saved.SlotsMoved += len(g)
	}
	x.saved.MovedBytes += int64(c.bytes(groups))
	return nil
}

// encodeAgain has parts of a pod scanned and encoded, whether they differ or not.
func (x *resaver) encodeAgain(w *walk, c *podCase, again map[int32]bool) error {
	scanned := map[int32]bool{}
	for n := range x.dirty.len() {
		scanned[x.dirty.at(n).region] = true
	}
	for n := range x.early.len() {
		if s := x.early.at(n); again[s.region] {
			s.region = -1
		}
	}
	for k := range c.parts {
		n := c.parts[k].region
		if !again[n] {
			continue
		}
		x.relinked[n] = true
		if scanned[n] {
			continue
		}
		if err := x.renew(w, n); err != nil {
			return err
		}
	}
	return nil
}

// away encodes the forwarder in slot s of pod i, if something left it in this save.
func (x *resaver) away(i int32, ps *podState, s int) {
	at, ok := slices.BinarySearchFunc(x.moves, s, func(m move, s int) int {
		return cmp.Or(cmp.Compare(m.pod, i), cmp.Compare(int(m.slot), s))
	})
	if !ok {
		return
	}
	r := x.st.regions.at(x.moves[at].to)
	x.forward(&x.moves[at], ps.slots[s], x.typeID(r.plan, r.kind == pod.SlotMap))
	x.slots = append(x.slots, uint32(s))
	x.marked = append(x.marked, uint32(s))
}

// sortMoves puts the moves in the order of their slots.
func (p *placer) sortMoves() {
	slices.SortFunc(p.moves, func(a, b move) int { return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.slot, b.slot)) })
}

// useAway marks what forwarders refer to, through which objects left the pod in saves before.
func (e *encoder) useAway(ps *podState) {
	for s := range ps.slots {
		if ps.slots[s].region != slotAway {
			continue
		}
		k, ok := slices.BinarySearchFunc(ps.exports, pod.Slot(s), func(x pod.Export, s pod.Slot) int { return int(x.Slot) - int(s) })
		if !ok {
			continue
		}
		edges := &ps.exports[k].Edges
		for _, n := range edges.List {
			e.used[n] = true
		}
		for n := range ps.refs {
			e.used[n] = e.used[n] || edges.All
		}
	}
}

// wentAway notes where an object is that left its pod. If the save comes to nothing it leads
// nowhere.
func (st *state) wentAway(from, to pod.Ref) {
	if st.away == nil {
		st.away = map[pod.Ref]pod.Ref{}
	}
	st.away[from] = to
}

// liveIn returns the live object that src has at a place: that which is there, or was when
// src was stored and left its pod since. A version that has the new pod as well means something else.
func (g *Graph) liveIn(ctx context.Context, src pod.Source) func(pod.ID, pod.Slot) (liveRegion, bool) {
	has := map[pod.ID]bool{}
	return func(id pod.ID, s pod.Slot) (liveRegion, bool) {
		lr, ok := g.live(id, s)
		for n := 0; !ok && n < maxForwards; n++ {
			to, away := g.cur.away[pod.Ref{Pod: id, Slot: s}]
			if !away {
				break
			}
			if _, asked := has[to.Pod]; !asked {
				_, err := src.Pods(ctx, []pod.ID{to.Pod})
				has[to.Pod] = !isNotFound(err)
			}
			if has[to.Pod] {
				break
			}
			id, s = to.Pod, to.Slot
			lr, ok = g.live(id, s)
		}
		return lr, ok
	}
}

// isAway reports whether a slot is a forwarder out of its pod that others know.
func isAway(p *pod.Pod, s pod.Slot) bool {
	_, ok := awayTo(p, s)
	return ok
}

// awayTo returns where the object of a slot is now, if it is in another pod as it was.
func awayTo(p *pod.Pod, s pod.Slot) (to target, ok bool) {
	if p == nil || int(s) >= len(p.Slots) || !p.Slots[s].Away() || !p.Exported(s) {
		return to, false
	}
	c := cursor{buf: p.Slots[s].Bytes}
	code := c.uvarint()
	if c.bad || code < codeBase || (code-codeBase)&(codeExternal|codeInterior) != codeExternal {
		return to, false
	}
	n := (code - codeBase) >> codeShift
	if n >= uint64(len(p.Refs)) || p.Refs[n].Pod == 0 {
		return to, false
	}
	return target{p.Refs[n].Pod, p.Refs[n].Slot}, true
}
