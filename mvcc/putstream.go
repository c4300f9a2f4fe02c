package mvcc

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/zeebo/blake3"

	"github.com/poddb/poddb/internal/pod"
)

// putStreamed puts a new pod of a transaction that has a stream, if its body is
// worth sharing: the body goes from the memory of the change into an open block,
// without being copied in between. It does nothing and returns false for every
// other change.
func (t *Tx) putStreamed(v *view, c *pod.Change, hash *[32]byte) (done bool, err error) {
	size := bodySize(c)
	if t.stream == nil || size < shareMin || size > maxForm {
		return false, nil
	}
	next, err := pod.Borrow(nil, c)
	if err != nil || next.BodyLen() != size { // slots written in runs, or twice
		return false, err
	}
	if hash == nil {
		hash = new([32]byte(bodyHash(next)))
	}
	full := *hash
	key := t.s.contentKey(full)
	no, found, err := t.equalBody(v, key, full, next)
	if err != nil {
		return false, err
	}
	if !found {
		if no, err = t.streamBody(key, full, next, size); err != nil {
			return false, err
		}
	}
	f := frame{form: pod.AppendWholeShared(nil, next, pod.RecordNo(no))}
	p := &put{id: c.ID, env: t.envelope(f), size: f.size()}
	p.exports = exportedSlots(p.few[:0], next)
	setIn(&t.uses, no, t.uses[no]+1)
	t.stats.Shared++
	t.note(p, nil, next, len(c.Slots)+len(c.Drop))
	return true, t.spill()
}

// bodySize is the length of the slots that a change writes whole.
func bodySize(c *pod.Change) int {
	n := 0
	for i := range c.Slots {
		n += len(c.Slots[i].Data.Bytes)
	}
	return n
}

// bodyHash is the BLAKE3 of a pod's body.
func bodyHash(p *pod.Pod) [32]byte {
	if len(p.Slots) == 1 {
		return blake3.Sum256(p.Slots[0].Bytes)
	}
	hash := blake3.New()
	for i := range p.Slots {
		hash.Write(p.Slots[i].Bytes)
	}
	return [32]byte(hash.Sum(nil))
}

// streamBody moves a body into the stream and returns its record number.
func (t *Tx) streamBody(key contentKey, full [32]byte, next *pod.Pod, size int) (uint64, error) {
	if err := t.spill(); err != nil { // so that what is shared stays in order
		return 0, err
	}
	n := &body{no: t.s.next.record.Add(1) - 1, key: key, full: full, size: uint64(size) + 1}
	setIn(&t.bodies, key, n)
	t.shared = append(t.shared, n)
	t.spilledBodies++
	t.stats.Bytes += n.size
	t.stream.begin(recordKey(kindShared, n.no), &n.env)
	t.stream.part(appendFrameHead(nil, frame{}))
	for i := range next.Slots {
		t.stream.part(next.Slots[i].Bytes)
	}
	return n.no, t.stream.complete()
}

// Prepare begins to hash the bodies that a transaction with a stream is to share,
// while the caller goes on.
func (t *Tx) Prepare(changes []pod.Change) (put func(ctx context.Context) error) {
	var ahead *hashAhead
	if t.stream != nil {
		ahead = startHashing(changes)
	}
	return func(ctx context.Context) error {
		if ahead != nil {
			ahead.finish()
		}
		for i := range changes {
			var hash *[32]byte
			if ahead != nil && hashable(&changes[i]) {
				hash = &ahead.hashes[i]
			}
			if err := t.put(ctx, &changes[i], hash); err != nil {
				return err
			}
		}
		return nil
	}
}

// hashable reports whether a change holds its pod's body as it will be.
func hashable(c *pod.Change) bool {
	return c.New && len(c.Slots) == 1 && c.Slots[0].Runs == nil && bodySize(c) >= shareMin
}

// hashAhead hashes bodies of changes with processors that are idle.
type hashAhead struct {
	changes []pod.Change
	hashes  [][32]byte
	next    atomic.Int64
	others  sync.WaitGroup
}

// bodiesEach is how many bodies are worth a goroutine.
const bodiesEach = 4

func startHashing(changes []pod.Change) *hashAhead {
	h := &hashAhead{changes: changes, hashes: make([][32]byte, len(changes))}
	for range min(runtime.GOMAXPROCS(0)-1, len(changes)/bodiesEach) {
		h.others.Go(h.work)
	}
	return h
}

// work hashes what nobody else has begun with.
func (h *hashAhead) work() {
	for i := h.next.Add(1) - 1; i < int64(len(h.changes)); i = h.next.Add(1) - 1 {
		if c := &h.changes[i]; hashable(c) {
			h.hashes[i] = blake3.Sum256(c.Slots[0].Data.Bytes)
		}
	}
}

// finish does what is left.
func (h *hashAhead) finish() {
	h.work()
	h.others.Wait()
}
