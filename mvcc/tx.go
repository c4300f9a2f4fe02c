package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Tx collects the changed pods of one commit. It is used by one goroutine.
// Pods are encoded when they are put; nothing is visible, or in the log, before
// Commit.
type Tx struct {
	s    *Store
	line *line
	base *Snapshot
	over bool

	order []*put
	puts  map[pid]*put   // order by pod, once there are many (find)
	names map[string]pid // changed ones; 0 = deleted
	types map[pod.TypeID][]byte
	// refs are the references that the base did not have, with the pod that has
	// them.
	refs   map[pod.Ref]pid
	bodies map[contentKey]*body
	shared []*body           // new ones, in order
	uses   map[uint64]uint64 // of shared bodies, by record number
	swept  []uint64          // tombstones that leave the set of the line (collectcommit.go)
	held   map[uint64]bool   // shared bodies found by content
	guard  func(pod.ID) bool
	opens  *Snapshot // of the new version; nil unless CommitOpen
	// What else must not have changed since the base (guard.go).
	guardedPods   PodSet
	guardedNames  []string
	guardedRanges []nameRange

	nextPod, endPod uint64 // ids taken in advance
	blockLen        uint64
	warm            int64 // bytes of merged pods kept for the cache
	stats           TxStats

	nonce  uint64
	inline int64   // bytes of envelopes so far, unless there is a stream
	stream *stream // of a big transaction
	// what went into the stream: that many of order and shared
	spilledPuts, spilledBodies int

	mem txMemory
}

// txMemory is what a transaction that puts one pod is made of: it comes in one
// piece with it.
type txMemory struct {
	base    Snapshot
	put     put
	order   [1]*put
	name    [1]string // of guardedNames
	request request
	last    lastRead
}

// lastRead is the tiny version that Variable of a transaction's base has read last: what it
// is that Put changes need not be read again. Nobody but the transaction uses it.
type lastRead struct {
	at found // without the envelope
	merged
}

var _ pod.BatchSink = (*Tx)(nil)

// put is one pod version to be.
type put struct {
	id       pid
	base     found // number 0 if the pod is new
	baseSize uint64
	env      []byte
	size     uint64 // of the version record (frame.size)
	exports  []pod.Slot
	few      [2]pod.Slot // what exports lies in if there are not many
	merged   *merged     // nil if too much to keep
	number   uint64      // given by the sequencer
}

const (
	firstPodBlock = 8
	maxPodBlock   = 4096
	warmMax       = 16 << 20
	maxDescriptor = 1 << 20
)

// Begin starts a transaction on a branch that sees the version base, which is
// the branch's head, an older version on its line, or what the line forked
// from.
func (s *Store) Begin(ctx context.Context, branch string, base Version) (*Tx, error) {
	if err := s.writable(); err != nil {
		return nil, err
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	beginning := l.forkVersion()
	if o := l.origin; o != nil { // the same state, on the line
		beginning = o.copy
		if base == o.version {
			base = o.copy
		}
	}
	t := &Tx{s: s, line: l, blockLen: firstPodBlock, nonce: s.salts.next()}
	sn := &t.mem.base
	if err := s.openSnapshot(ctx, sn, base, l); err != nil {
		return nil, err
	}
	if base != beginning && (len(sn.lineage) == 0 || sn.lineage[0].line != l.id) {
		sn.Close()
		return nil, fmt.Errorf("%w: version %d is not on branch %q", dberr.ErrInvalid, base, branch)
	}
	t.base, t.order, t.guardedNames = sn, t.mem.order[:0], t.mem.name[:0]
	sn.last = &t.mem.last
	return t, nil
}

// setIn is m[k] = v for a map of a transaction, which most do without.
func setIn[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// Base returns the snapshot on which the transaction rests; it is closed when the
// transaction ends.
func (t *Tx) Base() *Snapshot { return t.base }

// Written returns what the transaction would write.
func (t *Tx) Written() TxStats {
	s := t.stats
	s.Names = len(t.names)
	return s
}

// NewPod gives out a pod id; 0, which names no pod, when the transaction is
// over.
func (t *Tx) NewPod() pod.ID {
	if t.over {
		return 0
	}
	if t.nextPod == t.endPod {
		t.endPod = t.s.next.pod.Add(t.blockLen)
		t.nextPod = t.endPod - t.blockLen
		t.blockLen = min(2*t.blockLen, maxPodBlock)
	}
	t.nextPod++
	return pod.ID(t.nextPod - 1)
}

// Type returns the catalogue id of a descriptor. Within one opening of the
// store a descriptor has one id, whoever commits it first.
func (t *Tx) Type(ctx context.Context, descriptor []byte) (pod.TypeID, error) {
	if err := t.usable(ctx); err != nil {
		return 0, err
	}
	if len(descriptor) == 0 || len(descriptor) > maxDescriptor {
		return 0, fmt.Errorf("%w: type descriptor of %d bytes", dberr.ErrInvalid, len(descriptor))
	}
	id, durable, err := t.s.types.id(t.s, descriptor)
	if err == nil && !durable {
		setIn(&t.types, id, bytes.Clone(descriptor))
	}
	return id, err
}

// Types calls fn with every type of the catalogue from an id on, in order.
func (t *Tx) Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	return t.s.Types(ctx, from, fn)
}

// SetName binds a variable to its root pod, whose slot 0 must be exported when
// the transaction commits.
func (t *Tx) SetName(ctx context.Context, name string, root pod.ID) error {
	if root == 0 {
		return fmt.Errorf("%w: variable %q without root pod", dberr.ErrInvalid, name)
	}
	return t.setName(ctx, name, root)
}

// RebindName has the commit bind a variable that exists to the root pod that it
// has: for those who depend on the name, and other writers of it, that is a
// change.
func (t *Tx) RebindName(ctx context.Context, name string) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	if _, changed := t.names[name]; changed {
		return nil
	}
	root, err := t.base.Root(ctx, name)
	if err == nil {
		setIn(&t.names, name, root)
	}
	return err
}

// DeleteName removes a variable; ErrNotFound if there is none.
func (t *Tx) DeleteName(ctx context.Context, name string) error { return t.setName(ctx, name, 0) }

func (t *Tx) setName(ctx context.Context, name string, root pid) error {
	if err := t.usable(ctx); err != nil {
		return err
	}
	if err := checkName("variable", name); err != nil {
		return err
	}
	old, err := t.base.Root(ctx, name)
	if err != nil && !errors.Is(err, dberr.ErrNotFound) && !isLost(err) {
		return err
	}
	if now, changed := t.names[name]; root == 0 && (changed && now == 0 || !changed && old == 0) {
		return fmt.Errorf("%w: variable %q", dberr.ErrNotFound, name)
	}
	if root == old {
		delete(t.names, name)
	} else {
		setIn(&t.names, name, root)
	}
	return nil
}

func (t *Tx) usable(ctx context.Context) error {
	if t.over {
		return fmt.Errorf("transaction: %w", dberr.ErrClosed)
	}
	return ctx.Err()
}

// Rollback gives up the transaction. After Commit it does nothing.
func (t *Tx) Rollback() {
	if !t.over {
		t.end()
	}
}

// returnPods gives ids taken in advance back if nobody took any since.
func (t *Tx) returnPods() {
	t.s.next.pod.CompareAndSwap(t.endPod, t.nextPod)
	t.endPod = t.nextPod
}

// end releases what the transaction holds.
func (t *Tx) end() {
	t.over = true
	t.base.Close()
	t.s.pins.release(t.held)
	t.returnPods()
	if t.stream != nil {
		t.stream.abandon()
	}
	t.puts, t.order, t.refs, t.bodies, t.shared = nil, nil, nil, nil, nil
}
