package mvcc

import (
	"cmp"
	"context"
	"encoding/binary"
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
	if err := t.usable(ctx); err != nil {
		return 0, err
	}
	t.returnPods()
	if len(t.order) == 0 && len(t.names) == 0 {
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
	if err := t.s.backpressure(ctx); err != nil {
		return 0, err
	}
	slices.SortFunc(t.order, func(a, b *put) int { return cmp.Compare(a.id, b.id) })
	q, err := t.s.sequence(ctx, t, info)
	if err != nil {
		return 0, err
	}
	<-q.finished
	t.s.tidy()
	if q.err != nil {
		return 0, q.err
	}
	return q.g.row.version, nil
}

// sequence does the sequencer's part up to Submit.
func (s *Store) sequence(ctx context.Context, t *Tx, info CommitInfo) (*queued, error) {
	if err := s.seq.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.seq.release()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	defer v.close()
	h := s.sequencedHead(t.line)
	if h.version != t.base.version {
		if err := s.validate(v, t, h); err != nil {
			return nil, err
		}
	}
	users, err := s.users(v, t)
	if err != nil {
		return nil, err
	}
	g, err := s.commitGroup(v, t, h, info, users)
	if err != nil {
		return nil, err
	}
	q := &queued{
		g: g, line: t.line, head: head{g.row.version, g.row.last, h.commits + 1},
		what: written{t.order, t.names, t.types, users},
	}
	if err := s.submit(q); err != nil {
		return nil, err
	}
	s.remember(q)
	return q, nil
}

// remember makes what a queued commit wrote known to later ones.
func (s *Store) remember(q *queued) {
	p := &s.seq.pending
	for _, x := range q.what.puts {
		p.pods[podOnLine{q.line.id, x.id}] = &pendingPod{x, q}
	}
	for name := range q.what.names {
		p.names[nameOnLine{q.line.id, name}] = q.g.row.version
	}
	for no, n := range q.what.users {
		p.users[no] = pendingUsers{n, q}
	}
	s.seq.lastTime = q.g.row.time
}

// commitGroup numbers the transaction and builds everything it does.
func (s *Store) commitGroup(v *view, t *Tx, h head, info CommitInfo, users map[uint64]uint64) (*group, error) {
	c := s.seq.counters
	row := &commitRow{
		version: c.version + 1, kind: info.Kind, line: t.line.id, pos: h.commits,
		time: max(s.seq.lastTime+1, s.o.Now().UnixNano()), author: info.Author, message: info.Message,
		last: c.number + uint64(len(t.order)), added: uint64(len(t.order)),
		names: uint64(len(t.names)), removed: &Set{}, ids: make([]pod.ID, len(t.order)),
	}
	if h.version != 0 {
		row.parents = []Version{h.version}
	}
	g := &group{db: s.logID, row: row, versions: make([]podVersion, len(t.order))}
	for i, p := range t.order {
		p.number = c.number + 1 + uint64(i)
		row.ids[i] = p.id
		g.versions[i] = podVersion{p.id, p.env}
		row.bytes += uint64(len(p.env) - 1)
		if p.base.number != 0 {
			row.removed.Add(p.base.number)
			row.goneByte += p.baseSize
		}
	}
	t.otherRows(g)
	for _, no := range sortedKeys(users) {
		if n := users[no]; n > 1 { // one is not stored
			g.puts = append(g.puts, keyValue{recordKey(kindUsers, no), binary.AppendUvarint(nil, n)})
		}
	}
	aggregates, err := s.aggregateRows(v, row)
	if err != nil {
		return nil, err
	}
	g.puts = append(g.puts, aggregates...)
	g.counters = counters{
		version: row.version, number: row.last, pod: s.next.pod.Load(), typ: s.next.typ.Load(), record: s.next.record.Load(),
		line: c.line, bytes: c.bytes + row.bytes, gone: c.gone + row.goneByte,
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
	for _, b := range t.shared {
		g.row.bytes += uint64(len(b.env) - 1)
		g.puts = append(g.puts,
			keyValue{recordKey(kindShared, b.no), b.env},
			keyValue{hashKey(kindContent, b.key), be.AppendUint64(nil, b.no)})
	}
}

// users counts the users that shared bodies will have.
func (s *Store) users(v *view, t *Tx) (map[uint64]uint64, error) {
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
	for _, p := range q.what.puts {
		if p.merged != nil {
			s.pods.Set(p.number, p.merged, p.merged.cost())
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
	p := t.puts[r.Pod]
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
