package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// reclaiming is one step: the group that deletes some versions of one row of the queue.
type reclaiming struct {
	s     *Store
	w     *reclaimWindow
	key   []byte // of the row
	line  uint32
	list  []garbage
	later []garbage // stays queued
	held  []garbage // likewise: a transaction holds its body, or it cannot be read
	at    uint64    // the number that build is at, for what is damaged there

	g      *group
	goes   map[uint64]bool // the numbers in list
	bodies map[uint64]deadBody
	less   uint64 // stored bytes of the versions that go
	lessBy uint64 // of the shared bodies
	raised []raised
	whole  map[uint64]*merged // of the raised ones
	// contents are the content rows that queued groups put, when they were asked for.
	contents map[string][]byte
	q        *queued // nil if there was nothing to do
	report   PruneReport
}

// deadBody is what has to be known of a shared body to delete it.
type deadBody struct {
	size    uint64
	content []byte // key of the row that its contents are found by; nil if they are lost
}

// raised is a version that is stored whole.
type raised struct {
	pod            pid
	number         uint64
	before, behind uint64 // stored bytes
}

// run builds the group and submits it. It is built again without what a transaction
// turns out to hold.
func (r *reclaiming) run(ctx context.Context) error {
	for {
		r.at = 0
		err := r.s.read(func(v *view) error { return r.build(ctx, v) })
		if errors.Is(err, dberr.ErrCorrupt) && r.at != 0 {
			r.w.spoiled(err)
			r.hold(func(g garbage) bool { return g.number == r.at })
			continue
		}
		if err != nil {
			return err
		}
		if len(r.goes) == 0 {
			return nil
		}
		hold, err := r.submit(ctx)
		if err != nil {
			return err
		}
		if hold == nil {
			break
		}
		r.hold(func(g garbage) bool { return hold[r.w.dead[g.number].body] })
	}
	for number := range r.goes {
		r.w.dead[number].buried = true
	}
	for _, x := range r.raised {
		r.w.whole[x.number] = x.behind
		r.w.bases[x.number] = baseRef{}
	}
	return nil
}

// hold leaves some versions queued.
func (r *reclaiming) hold(held func(garbage) bool) {
	r.list = slices.DeleteFunc(slices.Clone(r.list), func(g garbage) bool {
		if held(g) {
			r.held = append(r.held, g)
			return true
		}
		return false
	})
}

// build makes the group, but for what depends on what others commit meanwhile.
func (r *reclaiming) build(ctx context.Context, v *view) error {
	r.g, r.report = &group{}, PruneReport{}
	r.goes, r.less, r.lessBy, r.raised, r.whole = make(map[uint64]bool, len(r.list)), 0, 0, nil, nil
	for _, g := range r.list {
		r.goes[g.number] = true
	}
	if err := r.lookAtBodies(v); err != nil {
		return err
	}
	for _, g := range r.list {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.at = g.number
		if err := r.bury(v, g); err != nil {
			return err
		}
	}
	r.at = 0
	if stay := slices.Concat(r.later, r.held); len(stay) == 0 {
		r.g.dels = append(r.g.dels, r.key)
	} else {
		r.g.puts = append(r.g.puts, keyValue{r.key, inline(appendGarbage(nil, r.line, stay))})
	}
	return nil
}

// lookAtBodies reads the shared bodies that may lose their last user with this group.
// Commits only add users, so one with more of them than the whole window takes away
// does not.
func (r *reclaiming) lookAtBodies(v *view) error {
	r.bodies = nil
	for _, g := range r.list {
		no := r.w.dead[g.number].body
		if _, known := r.bodies[no]; known || no == 0 {
			continue
		}
		r.at = g.number
		users, err := v.users(no)
		if err != nil {
			return err
		}
		if users > r.w.uses[no] {
			continue
		}
		b, err := v.deadBody(no)
		if err != nil {
			return err
		}
		setIn(&r.bodies, no, b)
	}
	return nil
}

// deadBody reads a shared body.
func (v *view) deadBody(no uint64) (deadBody, error) {
	env, ok, err := v.get(recordKey(kindShared, no))
	if err != nil {
		return deadBody{}, err
	}
	if !ok {
		return deadBody{}, corrupt("shared body %d is missing", no)
	}
	e, err := decodeEnvelope(env)
	if err != nil || e.how == envLost { // lost: so is what its content would be found by
		return deadBody{}, err
	}
	fr, err := v.frame(e)
	if err != nil {
		return deadBody{}, err
	}
	return deadBody{fr.size(), hashKey(kindContent, v.s.contentKeyOf(fr.form))}, nil
}

// bury deletes a version, after storing whole what rests on it.
func (r *reclaiming) bury(v *view, g garbage) error {
	d := r.w.dead[g.number]
	if err := r.unchain(v, d); err != nil {
		return err
	}
	r.g.dels = append(r.g.dels, versionKey(nil, g.pod, r.line, g.number))
	size := d.size
	if n, ok := r.w.whole[g.number]; ok {
		size = n
	}
	r.less += size
	r.report.PodVersions++
	r.report.Bytes += int64(size)
	r.report.read += int64(size)
	return nil
}

// unchain stores the version that follows a dead one whole if it rests on that.
func (r *reclaiming) unchain(v *view, d *deadVersion) error {
	if d.free || d.after == 0 || r.goes[d.after] {
		return nil
	}
	if next := r.w.dead[d.after]; next != nil && next.buried {
		return nil // and what follows that one does not rest on this (invariant 2)
	}
	env, ok, err := v.get(versionKey(nil, d.pod, d.line, d.after))
	if err == nil && !ok {
		err = corrupt("pod %d has no number %d on line %d any more", d.pod, d.after, d.line)
	}
	if err != nil {
		return err
	}
	base, err := v.baseOf(env)
	if err != nil || base != (baseRef{d.line, d.number}) {
		return err
	}
	return r.raise(v, found{d.pod, d.line, d.after, env}, d)
}

// raise stores a version whole that rests on a dead one.
func (r *reclaiming) raise(v *view, f found, on *deadVersion) error {
	e, err := decodeEnvelope(f.env)
	if err != nil {
		return err
	}
	fr, err := v.frame(e)
	if err != nil {
		return err
	}
	key := versionKey(nil, f.pod, f.line, f.number)
	m, err := v.buildBesideReclaimWith(f, noCache)
	if err != nil {
		if lost, other := v.lost(f); other == nil && lost { // and stays so
			r.g.puts = append(r.g.puts, keyValue{key, []byte{envLost}})
			r.raised = append(r.raised, raised{f.pod, f.number, fr.size(), 0})
			r.report.Bytes += int64(fr.size())
			return nil
		}
		return fmt.Errorf("pod %d, number %d, which rests on %d: %w", f.pod, f.number, on.number, err)
	}
	whole := frame{form: pod.AppendWhole(nil, m.pod)}
	m.depth, m.size = 0, whole.size()
	r.g.puts = append(r.g.puts, keyValue{key, r.s.appendFrame([]byte{envInline}, whole)})
	setIn(&r.whole, f.number, m)
	r.raised = append(r.raised, raised{f.pod, f.number, fr.size(), m.size})
	r.report.Bytes += int64(fr.size()) - int64(m.size)
	return nil
}

func noCache(uint64) (*merged, bool) { return nil, false }

// submit completes the group and hands it to the log, with the token held: that is
// all that commits wait for. It returns the bodies that transactions hold, if any: then
// nothing was submitted.
func (r *reclaiming) submit(ctx context.Context) (hold map[uint64]bool, err error) {
	s := r.s
	if err := s.seq.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	start := s.o.Now()
	r.contents = nil
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := r.w.failed(); err != nil {
		return nil, err
	}
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	defer v.close()
	users, hold, err := r.countDown(v)
	if err != nil || hold != nil {
		return hold, err
	}
	if err := r.count(v); err != nil {
		return nil, err
	}
	r.g.db, r.g.kind = s.logID, groupUpkeep
	r.q = &queued{g: r.g, what: written{users: users}}
	if err := s.submit(r.q); err != nil {
		return nil, err
	}
	for no, n := range users {
		s.seq.pending.users[no] = pendingUsers{n, r.q}
	}
	s.pace(len(r.list), s.o.Now().Sub(start))
	return nil, nil
}

// countDown counts the users of shared bodies down, and deletes those that lose their
// last one. It returns the users that others keep; or the bodies that are held, and then
// the group has to go without what uses them.
func (r *reclaiming) countDown(v *view) (users map[uint64]uint64, hold map[uint64]bool, err error) {
	uses := map[uint64]uint64{}
	for _, g := range r.list {
		if no := r.w.dead[g.number].body; no != 0 {
			uses[no]++
		}
	}
	before := make(map[uint64]uint64, len(uses))
	for no, n := range uses {
		if before[no], err = r.s.usersNow(v, no); err != nil {
			return nil, nil, err
		}
		if n > before[no] {
			return nil, nil, corrupt("shared body %d has %d users and loses %d", no, before[no], n)
		}
		if n == before[no] && !r.s.pins.doom(no) {
			setIn(&hold, no, true)
		}
	}
	if hold != nil {
		return nil, hold, nil
	}
	for _, no := range sortedKeys(uses) {
		switch left := before[no] - uses[no]; {
		case left > 1:
			r.g.puts = append(r.g.puts, keyValue{recordKey(kindUsers, no), binary.AppendUvarint(nil, left)})
			setIn(&users, no, left)
		case left == 1:
			r.g.dels = append(r.g.dels, recordKey(kindUsers, no))
			setIn(&users, no, left)
		default:
			if err := r.deleteBody(v, no, before[no]); err != nil {
				return nil, nil, err
			}
		}
	}
	return users, nil, nil
}

// usersNow returns the users of a shared body after all that is queued; the token is held.
func (s *Store) usersNow(v *view, no uint64) (uint64, error) {
	if p, ok := s.seq.pending.users[no]; ok {
		return p.n, nil
	}
	return v.users(no)
}

// deleteBody deletes a shared body.
func (r *reclaiming) deleteBody(v *view, no, users uint64) error {
	b, ok := r.bodies[no]
	if !ok {
		return corrupt("shared body %d has %d users all of a sudden", no, users)
	}
	r.g.dels = append(r.g.dels, recordKey(kindShared, no))
	if users > 1 {
		r.g.dels = append(r.g.dels, recordKey(kindUsers, no))
	}
	r.report.SharedBodies++
	r.report.Bytes += int64(b.size)
	r.lessBy += b.size
	if b.content == nil {
		return nil
	}
	val, ok, err := r.contentNow(v, b.content)
	if err == nil && ok && len(val) == 8 && be.Uint64(val) == no {
		r.g.dels = append(r.g.dels, b.content)
	}
	return err
}

// contentNow returns a content row after all that is queued; the token is held.
func (r *reclaiming) contentNow(v *view, key []byte) ([]byte, bool, error) {
	if r.contents == nil {
		r.contents = map[string][]byte{}
		for _, q := range r.s.seq.queue {
			for _, p := range q.g.puts {
				if p.key[0] == kindContent {
					r.contents[string(p.key)] = p.val
				}
			}
		}
	}
	if val, ok := r.contents[string(key)]; ok {
		return val, true, nil
	}
	return v.get(key)
}

// count brings the sums of stored bytes up to date; the token is held. What goes counts as
// history, but for shared bodies. A sum may lack what a transaction replaced that read the size before
// the version was stored whole.
func (r *reclaiming) count(v *view) error {
	c := r.s.seq.counters
	c.freed += uint64(len(r.list))
	c.bytes -= min(c.bytes, r.less+r.lessBy)
	c.gone -= min(c.gone, r.less)
	for _, x := range r.raised {
		gone, err := r.replaced(v, x)
		if err != nil {
			return err
		}
		c.bytes += x.behind
		c.bytes -= min(c.bytes, x.before)
		if gone {
			c.gone += x.behind
			c.gone -= min(c.gone, x.before)
		}
	}
	r.g.counters = c
	return nil
}

// replaced reports whether a version has a newer one on its line.
func (r *reclaiming) replaced(v *view, x raised) (bool, error) {
	if _, ok := r.s.seq.pending.pods[podOnLine{r.line, x.pod}]; ok {
		return true, nil
	}
	key, _, ok, err := v.seekIn(versionKey(nil, x.pod, r.line, 1<<64-1), versionKeyLen-8)
	if err != nil || !ok {
		return false, err
	}
	_, _, newest, _ := splitVersionKey(key)
	return newest != x.number, nil
}

// failed returns the error of a group of the window that the log took back: those behind it
// are built on it. The token is held and ready was called, so all that was undone is
// finished, and what is undone from now on takes with it what is submitted then.
func (w *reclaimWindow) failed() error {
	for _, r := range w.ahead {
		select {
		case <-r.q.finished:
			if r.q.err != nil {
				return r.q.err
			}
		default:
		}
	}
	return nil
}
