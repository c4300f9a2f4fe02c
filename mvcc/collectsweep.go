package mvcc

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// sweeping is step 3 of a collect: all pods of the version are walked over in the
// index; those without marks, and those with fewer marks than exports, are read.
type sweeping struct {
	next   pid // to go on from
	walked bool
	seen   uint64
	swept  []tombstone
	refs   [][]pod.Ref // of the victims
}

// victim is a pod to be taken away, or exported slots of one.
type victim struct {
	id      pid
	number  uint64
	size    uint64 // stored bytes of a whole pod
	exports uint32 // how many go
	whole   bool
	spared  bool
	gone    bool       // it was taken away
	dead    []pod.Slot // exported slots that go, if not all
}

// tombstone is one that hides nothing any more.
type tombstone struct {
	id     pid
	number uint64
}

// has reports whether the victim is, or has, what a reference names.
func (x *victim) has(s pod.Slot) bool {
	if x.whole {
		return true
	}
	_, ok := slices.BinarySearch(x.dead, s)
	return ok
}

const sweepBatch = 256

func (c *collection) sweepAll(ctx context.Context) error {
	for !c.sweep.walked {
		read, err := c.sweepSome(ctx)
		if err != nil {
			return err
		}
		c.progress(c.sweep.seen, c.set.Len())
		if err := c.pace.spend(ctx, read); err != nil {
			return err
		}
	}
	return nil
}

func (c *collection) sweepSome(ctx context.Context) (read int64, err error) {
	v, err := c.at.view(ctx)
	if err != nil {
		return 0, err
	}
	defer v.close()
	w := &c.sweep
	for range sweepBatch {
		cur := v.seek(be.AppendUint64([]byte{kindVersion}, uint64(w.next)))
		key, _, ok := cur.at()
		if err := cur.err(); err != nil {
			return read, err
		}
		if !ok || key[0] != kindVersion {
			w.walked = true
			return read, nil
		}
		id, _, _, ok := splitVersionKey(key)
		if !ok {
			return read, corrupt("version key %x", key)
		}
		n, err := c.look(v, id)
		if err != nil {
			return read, fmt.Errorf("pod %d: %w", id, err)
		}
		read += n
		w.next = id + 1
		w.seen++
	}
	return read, nil
}

// look sees what a pod has become.
func (c *collection) look(v *view, id pid) (read int64, err error) {
	lineage := c.at.lineage
	f, ok, err := v.resolve(lineage, id)
	switch {
	case err != nil || f.number == 0:
		return 0, err
	case !ok:
		return 0, c.lookAtTombstone(v, f)
	case !c.mark.seen.Contains(uint64(id)):
	case c.mark.wide[id] == 0 || c.mark.wide[id] == c.mark.slots.count(id):
		return 0, nil
	}
	m, err := v.version(f)
	if err != nil {
		return 0, err
	}
	x := victim{id: id, number: f.number}
	if !c.mark.seen.Contains(uint64(id)) {
		x.whole, x.size, x.exports = true, m.size, uint32(len(m.pod.Exports))
	} else {
		for _, e := range m.pod.Exports {
			if !c.mark.slots.has(pod.Ref{Pod: id, Slot: e.Slot}) {
				x.dead = append(x.dead, e.Slot)
			}
		}
		x.exports = uint32(len(x.dead))
	}
	var refs []pod.Ref
	for _, r := range m.pod.Refs {
		if r.Pod != 0 {
			refs = append(refs, r)
		}
	}
	c.victims = append(c.victims, x)
	c.sweep.refs = append(c.sweep.refs, refs)
	return int64(m.size), nil
}

// count returns how many slots of a pod are in the set.
func (s *slotSet) count(id pid) (n uint32) {
	if s.first.Contains(uint64(id)) {
		n++
	}
	for bits := s.low[id]; bits != 0; bits &= bits - 1 {
		n++
	}
	return n + s.beyond[id]
}

// lookAtTombstone notes one that hides nothing and is in the set of the line.
func (c *collection) lookAtTombstone(v *view, f found) error {
	if f.line != c.l.id || !c.set.Contains(f.number) || v.s.lost != nil {
		return nil
	}
	_, ok, err := v.resolve(c.at.lineage[1:], f.pod)
	if err != nil || ok {
		return err
	}
	cur := v.seek(versionKey(nil, f.pod, f.line, f.number-1))
	key, _, ok := cur.at()
	if ok && bytes.HasPrefix(key, podLineKey(nil, f.pod, f.line)) {
		return cur.err()
	}
	if cur.err() == nil {
		c.sweep.swept = append(c.sweep.swept, tombstone{f.pod, f.number})
	}
	return cur.err()
}
