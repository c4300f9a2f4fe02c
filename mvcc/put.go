package mvcc

import (
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Put takes one changed pod, merges it onto the version in the base, and
// encodes the result. A pod that did not change is not written. What the base
// exports stays exported: a change that takes an exported slot away is
// ErrInvalid.
func (t *Tx) Put(ctx context.Context, c *pod.Change) error { return t.put(ctx, c, nil) }

// put is Put; hash is the body's, if it is known.
func (t *Tx) put(ctx context.Context, c *pod.Change, hash *[32]byte) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	switch {
	case c.ID == 0 || uint64(c.ID) >= t.s.next.pod.Load():
		return fmt.Errorf("%w: pod id %d was not given out", dberr.ErrInvalid, c.ID)
	case t.find(c.ID) != nil:
		return fmt.Errorf("%w: pod %d is put twice", dberr.ErrInvalid, c.ID)
	}
	if r := &t.mem.last; !c.New && r.at.pod == c.ID {
		if done, err := t.putLast(c, r); done || err != nil {
			return err
		}
	}
	v, err := t.base.view(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	var base *merged
	var at found
	if !c.New || uint64(c.ID) < t.s.published.Load().counters.pod { // else nothing durable has the id
		if base, at, err = v.pod(t.base.lineage, c.ID); err != nil {
			return err
		}
	}
	if c.New != (base == nil) {
		return fmt.Errorf("%w: pod %d put as new=%v, but the base, version %d, has it=%v",
			dberr.ErrInvalid, c.ID, c.New, t.base.version, base != nil)
	}
	if base == nil && at.number == 0 { // a pod that was collected takes the plain way back
		if t.isBig(c) {
			return t.putBig(v, c)
		}
		if done, err := t.putStreamed(v, c, hash); done || err != nil {
			return err
		}
	}
	next, err := t.next(c, base, at)
	if next == nil {
		return err
	}
	return t.putMerged(v, t.newPut(c.ID, at), base, next, len(c.Slots)+len(c.Drop))
}

// next returns the state of a pod after a change, nil if that is the same or there is an error.
func (t *Tx) next(c *pod.Change, base *merged, at found) (*pod.Pod, error) {
	var old *pod.Pod
	if base != nil {
		old = base.pod
	}
	given := *c
	given.Gen = generationOf(t.line.id, at.number)
	next, err := pod.Apply(old, &given)
	if err != nil {
		return nil, fmt.Errorf("pod %d: %w", c.ID, err)
	}
	if err := staysExported(c.ID, old, next); err != nil {
		return nil, err
	}
	if base != nil && samePod(old, next) {
		t.stats.PodsUnchanged++
		return nil, nil
	}
	return next, nil
}

// newPut returns memory for the put of a pod, whose base is at.
func (t *Tx) newPut(id pid, at found) *put {
	p := &t.mem.put
	if len(t.order) > 0 {
		p = &put{}
	}
	p.id, p.base = id, at
	return p
}

// putLast is put of the version that was read last, if what comes of it is tiny too: the index
// is not asked. It lies in memory that is used again, so nothing keeps it beyond the transaction.
func (t *Tx) putLast(c *pod.Change, r *lastRead) (done bool, err error) {
	n := r.size
	for i := range c.Slots {
		n += uint64(len(c.Slots[i].Data.Bytes)) + slotHead
	}
	if n+slotHead*uint64(len(c.Refs)+len(c.Exports)) > tinyBytes {
		return false, nil
	}
	next, err := t.next(c, &r.merged, r.at)
	if next == nil {
		return true, err
	}
	return true, t.putMerged(nil, t.newPut(c.ID, r.at), &r.merged, next, len(c.Slots)+len(c.Drop))
}

// slotHead is more than what the stored form has of a small slot, reference or export beside its bytes.
const slotHead = 16

// generationOf is the generation of slots that a version of a pod on a line gives out, which rests on the one
// with a number; 0 is none. No other version of the pod on that line rests on that one.
func generationOf(line uint32, base uint64) pod.Generation {
	if base == 0 {
		return pod.Generation{}
	}
	return pod.Generation{Line: line, Number: base}
}

// putMerged encodes and records the next state of a pod. base is the one that it
// replaces, nil if it is new; slots is how many are written.
func (t *Tx) putMerged(v *view, p *put, base *merged, next *pod.Pod, slots int) error {
	var old *pod.Pod
	if base != nil {
		old, p.baseSize = base.pod, base.size
	}
	p.exports = exportedSlots(p.few[:0], next)
	if err := t.encode(v, p, base, next); err != nil {
		return err
	}
	t.note(p, old, next, slots)
	return t.spill()
}

// fewPuts is how many puts are found without a map.
const fewPuts = 8

// find returns what the transaction puts for a pod, nil if nothing.
func (t *Tx) find(id pid) *put {
	if t.puts != nil {
		return t.puts[id]
	}
	for _, p := range t.order {
		if p.id == id {
			return p
		}
	}
	return nil
}

// staysExported refuses to take an exported slot away: somebody may refer to
// it, in this version or in a commit that is under way.
func staysExported(id pid, old, next *pod.Pod) error {
	if old == nil {
		return nil
	}
	for _, e := range old.Exports {
		if !next.Exported(e.Slot) {
			return fmt.Errorf("%w: pod %d no longer exports slot %d", dberr.ErrInvalid, id, e.Slot)
		}
	}
	return nil
}

// note records what the put means for the commit.
func (t *Tx) note(p *put, old, next *pod.Pod, slots int) {
	t.order = append(t.order, p)
	if len(t.order) > fewPuts {
		if t.puts == nil {
			for _, p := range t.order {
				setIn(&t.puts, p.id, p)
			}
		}
		t.puts[p.id] = p
	}
	t.noteRefs(p.id, old, next)
	if old == nil {
		t.stats.PodsNew++
	} else {
		t.stats.PodsChanged++
	}
	t.stats.Slots += slots
	t.stats.Bytes += uint64(len(p.env) - 1)
	t.inline += int64(len(p.env))
}

// noteRefs collects the references that old did not have.
func (t *Tx) noteRefs(id pid, old, next *pod.Pod) {
	var had map[pod.Ref]bool
	if old != nil {
		if slices.Equal(old.Refs, next.Refs) {
			return
		}
		had = make(map[pod.Ref]bool, len(old.Refs))
		for _, r := range old.Refs {
			had[r] = true
		}
	}
	for _, r := range next.Refs {
		if r != (pod.Ref{}) && !had[r] {
			setIn(&t.refs, r, id)
		}
	}
}

// exportedSlots appends the exported slots of a pod.
func exportedSlots(dst []pod.Slot, p *pod.Pod) []pod.Slot {
	dst = slices.Grow(dst, len(p.Exports))
	for _, e := range p.Exports {
		dst = append(dst, e.Slot)
	}
	return dst
}

// encode chooses how the version is stored: as a change to its base if that is
// clearly smaller (delta.go), else whole; a whole one with its body shared if
// that is worth it.
func (t *Tx) encode(v *view, p *put, base *merged, next *pod.Pod) error {
	size := next.BodyLen()
	env := appendFrameHead(append(make([]byte, 0, size+formHead), envInline), frame{})
	head := len(env)
	env = pod.AppendWhole(env, next)
	whole := env[head:]
	if err := checkForm(p.id, whole); err != nil {
		return err
	}
	f := frame{form: whole}
	if longest := longestChange(base, len(whole)); longest > 0 && !rewritten(base.pod, next, len(whole)) {
		if change := appendChange(nil, base.pod, next, generationOf(t.line.id, p.base.number), len(whole), t.s.o.NoCompression); len(change) <= longest {
			f = frame{baseRef{p.base.line, p.base.number}, base.depth + 1, change}
			t.stats.Patches++
		}
	}
	if f.depth == 0 && size >= shareMin {
		no, ok, err := t.share(v, next.Body())
		if err != nil {
			return err
		}
		if ok {
			f.form = pod.AppendWholeShared(nil, next, pod.RecordNo(no))
			t.stats.Shared++
		}
	}
	if f.depth == 0 && len(whole) < min(minPacked, shareMin) {
		p.env = env // as envelope would make it
	} else {
		p.env = t.envelope(f)
	}
	p.size = f.size()
	if base == nil || base != &t.mem.last.merged { // that is not for others
		t.keepWarm(p, next, f.depth)
	}
	return nil
}

// longestChange is how long a change to base may be to be stored as one, where the pod takes
// whole bytes; 0 for not at all. Each one more is one more to read. A chain goes on beyond
// flatDepth where that saves much: of a pod of 8 KiB that changes in few places at each
// commit, the whole that ends a chain is most of what is stored.
func longestChange(base *merged, whole int) int {
	switch {
	case base == nil || base.depth >= maxDepth:
		return 0
	case base.depth < flatDepth:
		return whole / 2
	case whole >= shareMin:
		return whole / 8
	}
	return 0
}

// keepWarm keeps a merged pod for the cache (warmCache).
func (t *Tx) keepWarm(p *put, next *pod.Pod, depth uint8) {
	if tiny(p.env) {
		return
	}
	m := &merged{pod: next, depth: depth, size: p.size}
	if cost := m.cost(); t.warm+cost <= warmMax {
		t.warm += cost
		p.merged = m
	}
}

// envelope returns a version record as it waits for the commit: compressed by
// itself, or as it is where a block will be compressed.
func (t *Tx) envelope(f frame) []byte {
	env := append(make([]byte, 0, len(f.form)+frameHead), envInline)
	if t.stream != nil {
		return append(appendFrameHead(env, f), f.form...)
	}
	return t.s.appendFrame(env, f)
}

// samePod reports whether two merged pods are the same state.
func samePod(a, b *pod.Pod) bool {
	return slices.Equal(a.Refs, b.Refs) && slices.Equal(a.Generations, b.Generations) &&
		slices.EqualFunc(a.Exports, b.Exports, func(x, y pod.Export) bool {
			return x.Slot == y.Slot && x.Edges.All == y.Edges.All && slices.Equal(x.Edges.List, y.Edges.List)
		}) &&
		slices.EqualFunc(a.Slots, b.Slots, func(x, y pod.Data) bool {
			return x.Kind == y.Kind && x.Type == y.Type && string(x.Bytes) == string(y.Bytes) &&
				(x.Runs == nil) == (y.Runs == nil) && slices.Equal(x.Runs, y.Runs)
		})
}
