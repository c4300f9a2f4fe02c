package mvcc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/poddb/poddb/internal/pod"
)

// Reclaim gives back what only retired versions needed. Its work is in the
// index, as the queue that retire writes (garbage.go): so it goes on after a
// crash or the next opening where it was, and each of its groups does a part of
// the work and takes that part off the queue, all or nothing.
//
// Invariants, beside those of retire.go:
//
//  1. Every pod version in the index decodes at any time, garbage or not. A
//     version may rest on another (frame.go). The group that deletes one stores
//     what rests on it whole.
//  2. Only the version that was the next one of the pod on the same line can rest
//     on a garbage version; so if that is gone already, nobody does, and else it
//     is the one that follows in the index, garbage itself or not. Proof: a transaction rests a patch on the version that its base
//     shows, and is refused if that is not the newest one when it lands. So
//     either base and patch follow each other on one line; or the patch is the
//     first version of the pod on its line, and the base is what the line
//     inherits, which is in the set of a version that a line begins at: that one is
//     kept, and so the base is no garbage. Verify looks at every version
//     that is left, so a base that was deleted too early is found.
//  3. Users of a shared body are counted down by the group that deletes them, and
//     the body goes with the last, with its content row if that leads to it. The
//     count is right because nothing is queued. A body that a transaction has
//     found but not yet committed is held (pins.go).
//  4. A reader who has found a version may look for its base after the group
//     that deleted the base. The group stored the version whole before it deleted the
//     base, so the reader looks for the version again (pods.go).

// reclaiming is one step.
type reclaiming struct {
	s     *Store
	v     *view
	line  uint32
	dead  map[uint64]deadVersion // by number
	held  []garbage              // stays queued: a transaction holds its body
	later []garbage              // stays queued for the next step

	g      *group
	whole  map[uint64]*merged // versions that are stored whole now
	report *PruneReport
}

// deadVersion is a version that the step deletes.
type deadVersion struct {
	garbage
	size uint64
	body uint64 // 0 if it has its own
}

// reclaim works the queue off, until it is empty but for what transactions
// hold, or most steps are done. more says that there is more to do at once. The
// upkeep token is held.
func (s *Store) reclaim(ctx context.Context, most int, report *PruneReport, room func(context.Context) error, progress func() error) (more bool, err error) {
	if more, err = s.reclaimNames(ctx, &most, report, room); err != nil || more {
		return more, err
	}
	report.Pending = 0
	for from := queueKey(1, 0); ; most-- {
		if most == 0 {
			return true, nil
		}
		if err := room(ctx); err != nil {
			return false, err
		}
		key, left, done, err := s.reclaimStep(ctx, from, report)
		if err != nil {
			return false, err
		}
		if key == nil {
			break
		}
		report.Pending += uint64(left)
		if err := progress(); err != nil {
			return true, err
		}
		if from = key; done {
			from = append(key, 0)
		}
	}
	s.reclaimable.Store(report.Pending > 0)
	return false, nil
}

// reclaimStep does the first row of the queue from a key on, or as much of it as
// commits may wait for. It returns the row's key, nil at the end, how many entries stay
// because somebody needs them, and whether no others do.
func (s *Store) reclaimStep(ctx context.Context, from []byte, report *PruneReport) (key []byte, left int, whole bool, err error) {
	done := PruneReport{}
	r := &reclaiming{s: s, report: &done, dead: map[uint64]deadVersion{}, whole: map[uint64]*merged{}}
	defer s.pins.done()
	err = s.alone(ctx, func(v *view) (*group, error) {
		var list []garbage
		var err error
		if key, r.line, list, err = v.queued(from); err != nil || key == nil {
			return nil, err
		}
		r.v = v
		start := s.o.Now()
		n := min(len(list), s.stepEntries())
		list, r.later = list[:n], list[n:]
		if err := r.build(ctx, key, list); err != nil {
			return nil, fmt.Errorf("reclaim %x: %w", key, err)
		}
		s.pace(n, s.o.Now().Sub(start))
		left, whole = len(r.held), len(r.later) == 0
		if left < n {
			return r.g, nil
		}
		if whole {
			return nil, nil
		}
		left, whole = left+len(r.later), true // the others are at the front the next time
		return r.g, nil
	})
	if err != nil {
		return nil, 0, false, err
	}
	for number, m := range r.whole {
		s.pods.Set(number, m, m.cost())
	}
	report.add(done)
	if l := s.lines.Load().byID[r.line]; l != nil && done.PodVersions > 0 {
		part := report.on(l.branch)
		part.PodVersions += done.PodVersions
		part.Bytes += done.Bytes
	}
	return key, left, whole, nil
}

// stepTime is about how long commits may wait for what a step computes.
const stepTime = 2 * time.Millisecond

// stepEntries is how many entries of the queue the next step takes.
func (s *Store) stepEntries() int {
	if s.stepSize == 0 {
		s.stepSize = s.queueChunk
	}
	return s.stepSize
}

// pace sees how long a step took.
func (s *Store) pace(entries int, took time.Duration) {
	switch {
	case took > stepTime:
		s.stepSize = max(1, int(float64(entries)*float64(stepTime)/float64(took)))
	case took < stepTime/2 && entries >= s.stepSize:
		s.stepSize = min(2*s.stepSize, s.queueChunk)
	}
}

// build makes the group that does a row of the queue.
func (r *reclaiming) build(ctx context.Context, key []byte, list []garbage) error {
	r.g = &group{counters: r.s.seq.counters}
	for _, g := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.look(g); err != nil {
			return err
		}
	}
	if err := r.bodies(); err != nil {
		return err
	}
	for _, g := range list {
		if _, ok := r.dead[g.number]; !ok {
			r.held = append(r.held, g)
			continue
		}
		if err := r.bury(g); err != nil {
			return err
		}
	}
	if stay := slices.Concat(r.later, r.held); len(stay) == 0 {
		r.g.dels = append(r.g.dels, key)
	} else {
		r.g.puts = append(r.g.puts, keyValue{key, inline(appendGarbage(nil, r.line, stay))})
	}
	return nil
}

// look reads a version that is to go.
func (r *reclaiming) look(g garbage) error {
	env, ok, err := r.v.get(versionKey(nil, g.pod, r.line, g.number))
	if err != nil {
		return err
	}
	if !ok {
		return corrupt("pod %d has no number %d on line %d, which is to be reclaimed", g.pod, g.number, r.line)
	}
	e, err := decodeEnvelope(env)
	if err != nil {
		return err
	}
	d := deadVersion{garbage: g}
	if d.size, d.body, err = r.v.sizeAndBody(e); err != nil {
		return err
	}
	r.dead[g.number] = d
	r.report.read += int64(d.size)
	return nil
}

// sizeAndBody returns what a version counts for, and the shared body that it
// uses, 0 if none.
func (v *view) sizeAndBody(e envelope) (size, body uint64, err error) {
	if e.how == envTombstone || e.how == envLost {
		return 0, 0, nil
	}
	fr, err := v.frame(e)
	if err != nil {
		return 0, 0, err
	}
	ver, err := pod.DecodeVersion(fr.form)
	if err != nil {
		return 0, 0, err
	}
	no, _ := ver.SharedBody()
	return fr.size(), uint64(no), nil
}

// frame reads the version record that an envelope holds.
func (v *view) frame(e envelope) (frame, error) {
	rec, err := v.openDecoded(e)
	if err != nil {
		return frame{}, err
	}
	return decodeFrame(rec)
}

// bodies counts users down, and deletes the bodies that lose their last one.
// Versions that use a body which is held are not deleted.
func (r *reclaiming) bodies() error {
	uses := map[uint64]uint64{}
	for _, d := range r.dead {
		if d.body != 0 {
			uses[d.body]++
		}
	}
	for _, no := range sortedKeys(uses) {
		users, err := r.v.users(no)
		if err != nil {
			return err
		}
		if uses[no] > users {
			return corrupt("shared body %d has %d users and loses %d", no, users, uses[no])
		}
		switch left := users - uses[no]; {
		case left > 1:
			r.g.puts = append(r.g.puts, keyValue{recordKey(kindUsers, no), binary.AppendUvarint(nil, left)})
		case left == 1:
			r.g.dels = append(r.g.dels, recordKey(kindUsers, no))
		case r.s.pins.doom(no):
			if err := r.body(no, users); err != nil {
				return err
			}
		default:
			for number, d := range r.dead {
				if d.body == no {
					delete(r.dead, number)
				}
			}
		}
	}
	return nil
}

// body deletes a shared body.
func (r *reclaiming) body(no, users uint64) error {
	key := recordKey(kindShared, no)
	env, ok, err := r.v.get(key)
	if err != nil {
		return err
	}
	if !ok {
		return corrupt("shared body %d is missing", no)
	}
	e, err := decodeEnvelope(env)
	if err != nil {
		return err
	}
	r.g.dels = append(r.g.dels, key)
	if users > 1 {
		r.g.dels = append(r.g.dels, recordKey(kindUsers, no))
	}
	r.report.SharedBodies++
	if e.how == envLost {
		return nil // so is what its content would be found by
	}
	fr, err := r.v.frame(e)
	if err != nil {
		return err
	}
	r.shrink(fr.size(), false)
	content := hashKey(kindContent, r.s.contentKeyOf(fr.form))
	val, ok, err := r.v.get(content)
	if err == nil && ok && len(val) == 8 && be.Uint64(val) == no {
		r.g.dels = append(r.g.dels, content)
	}
	return err
}

// bury deletes a version, after storing whole what rests on it.
func (r *reclaiming) bury(g garbage) error {
	if err := r.unchain(g); err != nil {
		return err
	}
	r.g.dels = append(r.g.dels, versionKey(nil, g.pod, r.line, g.number))
	r.g.counters.freed++
	r.shrink(r.dead[g.number].size, true)
	r.report.PodVersions++
	return nil
}

// unchain stores the version that follows g whole if it rests on g.
func (r *reclaiming) unchain(g garbage) error {
	number, key, env, err := r.following(g)
	if _, goes := r.dead[number]; err != nil || number == 0 || goes {
		return err
	}
	e, err := decodeEnvelope(env)
	if err != nil || e.how == envTombstone || e.how == envLost {
		return err
	}
	fr, err := r.v.frame(e)
	if err != nil || fr.depth == 0 || fr.base != (baseRef{r.line, g.number}) {
		return err
	}
	gone, err := r.replaced(g.pod, number)
	if err != nil {
		return err
	}
	f := found{g.pod, r.line, number, env}
	m, err := r.v.build(f, noCache)
	if err != nil {
		if lost, other := r.v.lost(f); other == nil && lost { // and stays so
			r.g.puts = append(r.g.puts, keyValue{key, []byte{envLost}})
			r.shrink(fr.size(), gone)
			return nil
		}
		return fmt.Errorf("pod %d, number %d, which rests on %d: %w", g.pod, number, g.number, err)
	}
	whole := frame{form: pod.AppendWhole(nil, m.pod)}
	m.depth, m.size = 0, whole.size()
	r.g.puts = append(r.g.puts, keyValue{key, appendFrame([]byte{envInline}, whole)})
	r.whole[number] = m
	r.shrink(fr.size(), gone)
	r.grow(m.size, gone)
	return nil
}

// following returns the version that follows g on its line in the index, with
// key and envelope; number 0 if none does. Between g and the version that rows know
// as the next one there may be garbage that is queued behind g.
func (r *reclaiming) following(g garbage) (number uint64, key, env []byte, err error) {
	next := g.next
	if next == 0 {
		next = 1<<64 - 1
	}
	from := versionKey(nil, g.pod, r.line, next)
	c := r.v.seek(from)
	for ; ; c.next() {
		k, e, ok := c.at()
		if !ok || !bytes.HasPrefix(k, from[:versionKeyLen-8]) {
			return number, key, env, c.err()
		}
		_, _, n, _ := splitVersionKey(k)
		if n <= g.number {
			return number, key, env, nil
		}
		number, key, env = n, bytes.Clone(k), e
	}
}

func noCache(uint64) (*merged, bool) { return nil, false }

// replaced reports whether a version has a newer one on its line.
func (r *reclaiming) replaced(id pid, number uint64) (bool, error) {
	key, _, ok, err := r.v.seekIn(versionKey(nil, id, r.line, 1<<64-1), versionKeyLen-8)
	if err != nil || !ok {
		return false, err
	}
	_, _, newest, _ := splitVersionKey(key)
	return newest != number, nil
}

// shrink and grow keep the sums of stored bytes; gone says that they count as
// history. A sum may lack what a transaction replaced that read the size before
// the version was stored whole.
func (r *reclaiming) shrink(n uint64, gone bool) {
	c := &r.g.counters
	c.bytes -= min(c.bytes, n)
	if gone {
		c.gone -= min(c.gone, n)
	}
	r.report.Bytes += int64(n)
}

func (r *reclaiming) grow(n uint64, gone bool) {
	r.g.counters.bytes += n
	if gone {
		r.g.counters.gone += n
	}
	r.report.Bytes -= int64(n)
}
