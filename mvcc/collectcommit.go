package mvcc

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Step 4 of a collect. Each group is a transaction on M that is put together
// without the token. It is sequenced only if none of its victims was spared
// meanwhile; else it is put together again without them.

// maxCollectGroup bounds the pods of one group, unless more are in one cycle.
const maxCollectGroup = 512

func (c *collection) commitAll(ctx context.Context) error {
	for c.next < len(c.graph.parts) {
		end, pods := c.next, 0
		for end < len(c.graph.parts) && (end == c.next || pods+len(c.graph.parts[end]) <= c.group) {
			pods += len(c.graph.parts[end])
			end++
		}
		bytes, err := c.commitParts(ctx, c.graph.parts[c.next:end])
		if err != nil {
			return err
		}
		c.next = end
		c.progress(uint64(c.next), uint64(len(c.graph.parts)))
		if err := c.pace.spend(ctx, bytes); err != nil {
			return err
		}
	}
	if len(c.sweep.swept) == 0 {
		return nil
	}
	_, err := c.commitParts(ctx, nil)
	return err
}

// commitParts commits what is left of some parts, and all tombstones that hide nothing.
func (c *collection) commitParts(ctx context.Context, parts [][]int32) (bytes int64, err error) {
	for {
		t, list, err := c.prepare(ctx, parts)
		if err != nil || t == nil {
			return 0, err
		}
		bytes = t.overlayBytes()
		done, err := c.commitGroup(ctx, t, list)
		t.Rollback()
		if err != nil {
			return 0, err
		}
		if done {
			for _, i := range list {
				c.victims[i].gone = true
				c.count(&c.victims[i])
			}
			return bytes, nil
		}
	}
}

// prepare puts a group together; nil if nothing is left of it.
func (c *collection) prepare(ctx context.Context, parts [][]int32) (_ *Tx, list []int32, err error) {
	for _, part := range parts {
		for _, i := range part {
			if !c.victims[i].spared {
				list = append(list, i)
			}
		}
	}
	if len(list)+len(c.sweep.swept) == 0 {
		return nil, nil, nil
	}
	if err := c.s.writable(); err != nil {
		return nil, nil, err
	}
	base, err := c.s.At(ctx, c.at.version)
	if err != nil {
		return nil, nil, err
	}
	t := &Tx{s: c.s, line: c.l, base: base, blockLen: firstPodBlock, nonce: c.s.salts.next()}
	for _, i := range list {
		if x := &c.victims[i]; !x.whole {
			if err = c.trim(ctx, t, x); err != nil {
				break
			}
		}
	}
	if err == nil && t.stream != nil {
		err = t.stream.finish(ctx)
	}
	if err == nil {
		_, err = c.s.backpressure(ctx, t.overlayBytes())
	}
	if err != nil {
		t.Rollback()
		return nil, nil, err
	}
	for _, i := range list {
		if x := &c.victims[i]; x.whole {
			t.order = append(t.order, tombstoneOf(x.id, x.number, x.size))
		}
	}
	for _, x := range c.sweep.swept {
		t.swept = append(t.swept, x.number)
	}
	slices.SortFunc(t.order, func(a, b *put) int { return cmp.Compare(a.id, b.id) })
	return t, list, nil
}

// tombstoneOf takes a pod away; number and size are those of its version.
func tombstoneOf(id pid, number, size uint64) *put {
	return &put{id: id, base: found{pod: id, number: number}, baseSize: size, env: []byte{envTombstone}}
}

// trim puts a pod without its dead slots.
func (c *collection) trim(ctx context.Context, t *Tx, x *victim) error {
	v, err := t.base.view(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	base, at, err := v.pod(t.base.lineage, x.id)
	if err != nil {
		return err
	}
	next, freed, err := c.trimmed(ctx, t.base, x, base.pod)
	if err != nil {
		return fmt.Errorf("pod %d: %w", x.id, err)
	}
	x.size = freed
	return t.putMerged(v, &put{id: x.id, base: at}, base, next, len(base.pod.Slots)-len(next.Slots))
}

// trimmed returns a pod without its dead exports, and the bytes of the slots that
// became free.
func (c *collection) trimmed(ctx context.Context, at *Snapshot, x *victim, p *pod.Pod) (_ *pod.Pod, freed uint64, err error) {
	change := &pod.Change{ID: x.id}
	var stay []pod.Slot
	for _, e := range p.Exports {
		if !x.has(e.Slot) {
			change.Exports = append(change.Exports, e)
			stay = append(stay, e.Slot)
		}
	}
	if c.o.Trim != nil {
		if change.Drop, err = c.o.Trim(ctx, at, x.id, p, stay); err != nil {
			return nil, 0, err
		}
	}
	for _, s := range change.Drop {
		freed += uint64(len(p.Slots[s].Bytes))
	}
	change.Refs = slices.Clone(p.Refs)
	kept, of := referredTo(p, change.Exports), referredTo(p, p.Exports)
	for n := range change.Refs {
		if kept != nil && !kept[n] && (of == nil || of[n]) {
			change.Refs[n] = pod.Ref{}
		}
	}
	for n := len(change.Refs); n > 0 && change.Refs[n-1].Pod == 0; n-- {
		change.Refs = change.Refs[:n-1]
	}
	next, err := pod.Apply(p, change)
	return next, freed, err
}

// commitGroup sequences a group and waits for its outcome; false if some of its
// victims were spared.
func (c *collection) commitGroup(ctx context.Context, t *Tx, list []int32) (bool, error) {
	r := &t.mem.request
	r.ctx, r.t, r.info, r.finished = ctx, t, CommitInfo{Kind: KindCollect}, make(chan struct{})
	done, err := c.sequence(ctx, r, list)
	if err != nil || !done {
		return false, err
	}
	<-r.finished
	if r.awaited {
		c.s.log.Load().Back()
	}
	c.s.tidy()
	if r.err != nil {
		return false, r.err
	}
	c.sweep.swept = nil
	c.report.Commits++
	c.report.Head = r.g.row.version
	return true, nil
}

// sequence is Store.sequence for a group of a collect.
func (c *collection) sequence(ctx context.Context, r *request, list []int32) (bool, error) {
	s, t := c.s, r.t
	if err := s.seq.acquire(ctx); err != nil {
		return false, err
	}
	defer s.release()
	if err := s.ready(ctx); err != nil {
		return false, err
	}
	if c.l.deleted.Load() {
		return false, fmt.Errorf("%w: branch %q was deleted", dberr.ErrNotFound, c.l.branch)
	}
	if c.spare(list) {
		return false, nil
	}
	v, err := s.view()
	if err != nil {
		return false, err
	}
	defer v.close()
	h := s.sequencedHead(c.l)
	users, err := s.users(v, t)
	if err != nil {
		return false, err
	}
	g, err := s.commitGroup(v, r, h, users)
	if err != nil {
		return false, err
	}
	q := &r.queued
	q.g, q.line, q.head = g, c.l, head{g.row.version, g.row.last, h.commits + 1}
	q.what, q.stream = written{t.order, t.names, t.types, users}, t.stream
	if err := s.submit(q); err != nil {
		return false, err
	}
	s.remember(q)
	c.l.collected.Store(g.row.version)
	return true, nil
}

// spare takes out what was written or referred to since M, and reports whether
// some of the list, or of the tombstones, was. The token is held.
func (c *collection) spare(list []int32) (hit bool) {
	written, refs := c.watch.take()
	if len(written)+len(refs) > 0 {
		c.spareSince(written, refs)
		before := len(c.sweep.swept)
		c.sweep.swept = slices.DeleteFunc(c.sweep.swept, func(x tombstone) bool {
			_, back := written[x.id]
			return back
		})
		hit = len(c.sweep.swept) != before
	}
	for _, i := range list {
		hit = hit || c.victims[i].spared
	}
	return hit
}

func (c *collection) spareSince(written map[pid]struct{}, refs map[pod.Ref]struct{}) {
	var stack []int32
	for id := range written {
		if i, ok := c.index[id]; ok {
			stack = append(stack, i)
		}
	}
	for r := range refs {
		if i, ok := c.index[r.Pod]; ok && c.victims[i].has(r.Slot) {
			stack = append(stack, i)
		}
	}
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if x := &c.victims[i]; !x.spared && !x.gone { // gone, and written: it came back
			x.spared = true
			c.report.Spared++
			stack = append(stack, c.graph.targets(i)...)
		}
	}
}
