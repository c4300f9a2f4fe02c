package mvcc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Commit makes the transaction's changes one version and returns it when it is
// durable. A transaction that changed nothing makes no commit and returns its
// base. A conflict is a *dberr.ConflictError; then, and after every other
// error, nothing was committed, except that after ErrCommitUnknown the commit
// is wholly there or wholly absent once the database is reopened. The
// transaction is over in any case.
func (t *Tx) Commit(ctx context.Context, info CommitInfo) (Version, error) {
	defer t.Rollback()
	start := t.s.o.Now()
	if err := t.usable(ctx); err != nil {
		return 0, err
	}
	t.returnPods()
	if len(t.order) == 0 && len(t.names) == 0 && info.Merged == 0 {
		t.opened(t.base.version, t.base.lineage)
		return t.base.version, nil
	}
	if err := checkText("author", info.Author); err != nil {
		return 0, err
	}
	if err := checkText("message", info.Message); err != nil {
		return 0, err
	}
	if err := t.checkReferences(ctx); err != nil {
		return 0, err
	}
	if err := t.awaitTurn(ctx); err != nil {
		return 0, err
	}
	if t.stream != nil {
		if err := t.stream.finish(ctx); err != nil {
			return 0, err
		}
	}
	waited, err := t.s.backpressure(ctx, t.overlayBytes())
	if err != nil {
		return 0, err
	}
	slices.SortFunc(t.order, func(a, b *put) int { return cmp.Compare(a.id, b.id) })
	q, err := t.s.commitTx(ctx, t, info)
	if err != nil {
		return 0, err
	}
	t.warmCache()
	if fn := t.s.o.Events.Commit; fn != nil {
		fn(CommitEvent{
			Version: q.g.row.version, Branch: t.line.branch, Pods: len(t.order), Bytes: q.g.row.bytes,
			Waited: waited, Took: t.s.o.Now().Sub(start),
		})
	}
	return q.g.row.version, nil
}

// AwaitRival waits, after a conflict, until all that the transaction was compared
// with has its outcome: whoever begins again before that collides with it again.
func (t *Tx) AwaitRival(ctx context.Context) {
	if rival := t.mem.request.rival; rival != nil {
		select {
		case <-rival:
		case <-ctx.Done():
		}
	}
}

// CommitOpen is Commit that returns an open snapshot of the version: registered
// before retention can see that version, so that nothing can take it away.
func (t *Tx) CommitOpen(ctx context.Context, info CommitInfo) (*Snapshot, error) {
	t.opens = &Snapshot{s: t.s, branch: t.base.branch, opened: t.s.o.Now()}
	if t.s.o.TraceSnapshots {
		t.opens.owner = traceOwner()
	}
	sn := t.opens
	if _, err := t.Commit(ctx, info); err != nil {
		sn.Close()
		return nil, err
	}
	return sn, nil
}

// opened registers the snapshot that CommitOpen returns; the base is open, or
// the token is held.
func (t *Tx) opened(version Version, lineage []fork) {
	if sn := t.opens; sn != nil {
		// Not the base's own memory, which is the transaction's, and so keeps what guards it.
		sn.version, sn.lineage = version, append(sn.mem[:0], lineage...)
		if version != t.base.version {
			sn.branch = t.line.branch
		}
		t.s.open.add(sn)
	}
}

// overlayBytes is about what the commit will take in the overlay.
func (t *Tx) overlayBytes() int64 {
	const row, commit = 48 + onodeOverhead, 4 << 10
	n := int64(commit + row*(len(t.order)+len(t.names)+4*len(t.shared)+len(t.uses)))
	for _, p := range t.order {
		n += int64(len(p.env))
	}
	for _, b := range t.shared {
		n += int64(len(b.env))
	}
	return n
}

// sequence does the sequencer's part up to Submit; the token is held.
func (s *Store) sequence(r *request, submitted *bool) error {
	t := r.t
	if err := s.ready(r.ctx); err != nil {
		return err
	}
	if t.line.deleted.Load() {
		return fmt.Errorf("%w: branch %q was deleted", dberr.ErrNotFound, t.line.branch)
	}
	v, err := s.view()
	if err != nil {
		return err
	}
	defer v.close()
	h := s.sequencedHead(t.line)
	if h.version != t.base.version {
		if err := s.validate(v, t, h); err != nil {
			if n := len(s.seq.queue); n > 0 && errors.Is(err, dberr.ErrConflict) {
				r.rival = s.seq.queue[n-1].finished
			}
			return err
		}
	}
	users, err := s.users(v, t)
	if err != nil {
		return err
	}
	g, err := s.commitGroup(v, r, h, users)
	if err != nil {
		return err
	}
	q := &r.queued
	q.g, q.line, q.head = g, t.line, head{g.row.version, g.row.last, h.commits + 1}
	q.what, q.stream = written{t.order, t.names, t.types, users}, t.stream
	if t.opens != nil {
		t.opened(q.head.version, append([]fork{{t.line.id, q.head.version, q.head.number}}, t.line.lineage...))
	}
	s.seq.watch(t) // now: behind submit the transaction is its committer's again
	if err := s.submit(q); err != nil {
		return err
	}
	*submitted = true
	s.remember(q)
	return nil
}

// remember makes what a queued commit wrote known to later ones.
func (s *Store) remember(q *queued) {
	p := &s.seq.pending
	for _, x := range q.what.puts {
		p.pods[podOnLine{q.line.id, x.id}] = pendingPod{x, q}
	}
	for name := range q.what.names {
		p.names[nameOnLine{q.line.id, name}] = q.g.row.version
	}
	for no, n := range q.what.users {
		p.users[no] = pendingUsers{n, q}
	}
	s.seq.renamings.add(q.line.id, q.g.row.version, q.what.names)
	s.seq.lastTime = q.g.row.time
}

// draft is the memory for the group of a small commit.
type draft struct {
	row     commitRow
	group   group
	removed Set
	parent  [1]Version
	id      [1]pod.ID
	version [1]podVersion
	gone    [1]uint64
}

// commitGroup numbers the transaction and builds everything it does.
func (s *Store) commitGroup(v *view, r *request, h head, users map[uint64]uint64) (*group, error) {
	c, t, info, m := s.seq.counters, r.t, r.info, &r.draft
	n := len(t.order)
	row, g := &m.row, &m.group
	ids, versions, gone := m.id[:0], m.version[:0], m.gone[:0]
	if n > 1 {
		ids, versions, gone = make([]pod.ID, 0, n), make([]podVersion, 0, n), make([]uint64, 0, n)
	}
	*row = commitRow{
		version: c.version + 1, kind: info.Kind, line: t.line.id, pos: h.commits,
		time: max(s.seq.lastTime+1, s.o.Now().UnixNano()), nonce: t.nonce, author: info.Author, message: info.Message,
		last: c.number + uint64(n), added: uint64(n),
		names: uint64(len(t.names)),
	}
	if h.version != 0 {
		m.parent[0] = h.version
		row.parents = m.parent[:]
	}
	if info.Merged != 0 {
		row.parents = []Version{h.version, info.Merged}
		s.merges.add(info.Merged, row.version)
	}
	for i, p := range t.order {
		p.number = c.number + 1 + uint64(i)
		ids = append(ids, p.id)
		versions = append(versions, podVersion{p.id, p.env})
		row.bytes += p.size
		if p.base.number != 0 {
			gone = append(gone, p.base.number)
			row.goneByte += p.baseSize
		}
	}
	gone = append(gone, t.swept...)
	m.removed.fill(gone)
	row.ids, row.removed = ids, &m.removed
	*g = group{db: s.logID, kind: groupCommit, row: row, versions: versions}
	t.otherRows(g)
	for _, no := range sortedKeys(users) {
		if u := users[no]; u > 1 { // one is not stored
			g.puts = append(g.puts, keyValue{recordKey(kindUsers, no), binary.AppendUvarint(nil, u)})
		}
	}
	aggregates, err := s.aggregateRows(v, row)
	if err != nil {
		return nil, err
	}
	g.puts = append(g.puts, aggregates...)
	g.counters = counters{
		version: row.version, number: row.last, pod: s.next.pod.Load(), typ: s.next.typ.Load(), record: s.next.record.Load(),
		line: c.line, bytes: c.bytes + row.bytes, gone: c.gone + row.goneByte, block: s.next.block.Load(), freed: c.freed,
	}
	return g, nil
}

// otherRows adds names, types and shared bodies.
func (t *Tx) otherRows(g *group) {
	for _, name := range sortedKeys(t.names) {
		g.puts = append(g.puts, keyValue{nameVersionKey(nameKey(name), t.line.id, g.row.version), rootValue(t.names[name])})
	}
	for _, id := range sortedKeys(t.types) {
		d := t.types[id]
		g.puts = append(g.puts,
			keyValue{typeKey(id), inline(d)},
			keyValue{hashKey(kindTypeHash, blake(d)), be.AppendUint32(nil, uint32(id))})
	}
	if t.stream != nil {
		g.puts = append(g.puts, t.stream.rows...)
	}
	for _, b := range t.shared {
		g.row.bytes += b.size
		g.puts = append(g.puts,
			keyValue{recordKey(kindShared, b.no), b.env},
			keyValue{hashKey(kindContent, b.key), be.AppendUint64(nil, b.no)})
	}
}

// users counts the users that shared bodies will have.
func (s *Store) users(v *view, t *Tx) (map[uint64]uint64, error) {
	if len(t.uses) == 0 {
		return nil, nil
	}
	users := make(map[uint64]uint64, len(t.uses))
	for no, n := range t.uses {
		users[no] = n
	}
	for _, b := range t.shared {
		delete(users, b.no)
	}
	for no := range users {
		before, ok := s.seq.pending.users[no]
		if !ok {
			var err error
			if before.n, err = v.users(no); err != nil {
				return nil, err
			}
		}
		users[no] += before.n
	}
	for _, b := range t.shared {
		users[b.no] = t.uses[b.no]
	}
	return users, nil
}

// users returns the number of users of a durable shared body.
func (v *view) users(no uint64) (uint64, error) {
	b, ok, err := v.get(recordKey(kindUsers, no))
	if err != nil || !ok {
		return 1, err
	}
	n, k := binary.Uvarint(b)
	if k <= 0 || k != len(b) {
		return 0, corrupt("users row of shared body %d: %x", no, b)
	}
	return n, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	if len(m) == 0 {
		return nil
	}
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// settled is called when a group is durable and visible.
func (s *Store) settled(q *queued) {
	if q.g.row == nil {
		return
	}
	s.commits.Add(1)
	s.types.settled(q.what.types)
}

// warmCache puts what was committed into the cache.
func (t *Tx) warmCache() {
	for _, p := range t.order {
		if p.merged != nil {
			t.s.pods.Set(p.number, p.merged, p.merged.cost())
		}
	}
}

func (t *Tx) checkReferences(ctx context.Context) error {
	for name, root := range t.names {
		if root != 0 {
			if err := t.checkReference(ctx, pod.Ref{Pod: root}, func() string { return fmt.Sprintf("variable %q", name) }); err != nil {
				return err
			}
		}
	}
	for r, from := range t.refs {
		if err := t.checkReference(ctx, r, func() string { return fmt.Sprintf("pod %d", from) }); err != nil {
			return err
		}
	}
	return nil
}

// checkReference refuses a reference to what the base and this transaction do
// not have. Whether the head still has it is checked by validate.
func (t *Tx) checkReference(ctx context.Context, r pod.Ref, from func() string) error {
	p := t.find(r.Pod)
	ok := p != nil && p.exported(r.Slot)
	if p == nil {
		v, err := t.base.view(ctx)
		if err != nil {
			return err
		}
		defer v.close()
		m, _, err := v.pod(t.base.lineage, r.Pod)
		if err != nil {
			return err
		}
		ok = m != nil && m.pod.Exported(r.Slot)
	}
	if !ok {
		return fmt.Errorf("%w: %s refers to pod %d, slot %d, which is not exported", dberr.ErrInvalid, from(), r.Pod, r.Slot)
	}
	return nil
}
