package mvcc

import (
	"bytes"
	"cmp"
	"context"

	"github.com/poddb/poddb/internal/pod"
)

// bulk is a snapshot for one load that reads much. Pods are read into the memory of those that were
// recycled, and beyond a part of the cache they do not go through it: a load of everything would
// wash out what is asked for often. Not safe for concurrent use.
type bulk struct {
	*Snapshot
	budget int64 // what may still go into the cache, in bytes
	idle   []*pod.Pod
	own    map[*pod.Pod]struct{} // that nobody else has
}

// bulkShare is the part of the cache that one load may fill.
const bulkShare = 3

// Bulk implements pod.BulkSource.
func (sn *Snapshot) Bulk() pod.Recycler {
	return &bulk{Snapshot: sn, budget: sn.s.budget.podBytes / bulkShare, own: map[*pod.Pod]struct{}{}}
}

// Pods is Snapshot.Pods.
func (b *bulk) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	return b.read(ctx, ids, b.pod)
}

// Recycle implements pod.Recycler.
func (b *bulk) Recycle(p *pod.Pod) {
	if _, ok := b.own[p]; ok {
		delete(b.own, p)
		b.idle = append(b.idle, p)
	}
}

// pod reads a found version: from the cache, or into memory of its own if it stands alone and the
// load has had its part of the cache.
func (b *bulk) pod(v *view, f found) (*pod.Pod, error) {
	if m, ok := v.s.pods.Get(f.number); ok {
		return m.pod, nil
	}
	if b.budget > 0 {
		m, err := v.version(f)
		if err != nil {
			return nil, err
		}
		b.budget -= m.cost()
		return m.pod, nil
	}
	if form := v.wholeForm(f); form != nil {
		var p *pod.Pod
		if last := len(b.idle) - 1; last >= 0 {
			p, b.idle = b.idle[last], b.idle[:last]
		} else {
			p = new(pod.Pod)
		}
		if p.Read(form, v.bodyAside) == nil {
			b.own[p] = struct{}{}
			return p, nil
		}
		b.idle = append(b.idle, p)
	}
	m, err := v.version(f)
	if err != nil {
		return nil, err
	}
	return m.pod, nil
}

// wholeForm returns the stored form of a version if that needs no base and can be read, in memory
// that stays. Who gets nil reads it another way, and learns what is wrong with it.
func (v *view) wholeForm(f found) []byte {
	rec, err := v.openAside(f.env)
	if err != nil {
		return nil
	}
	fr, err := decodeFrame(rec)
	if err != nil || fr.depth > 0 {
		return nil
	}
	return fr.form
}

// bodyAside returns a shared body in memory that stays.
func (v *view) bodyAside(no pod.RecordNo) ([]byte, error) {
	env, ok, err := v.get(recordKey(kindShared, uint64(no)))
	if err != nil || !ok {
		return nil, cmp.Or(err, corrupt("shared body %d is missing", no))
	}
	rec, err := v.openAside(env)
	if err != nil {
		return nil, err
	}
	fr, err := decodeFrame(rec)
	if err == nil && fr.depth != 0 {
		err = corrupt("shared body %d has a base", no)
	}
	return fr.form, err
}

// openAside is open, but what it returns is not in a page.
func (v *view) openAside(env []byte) ([]byte, error) {
	e, err := decodeEnvelope(env)
	if err != nil {
		return nil, err
	}
	rec, err := v.openDecoded(e)
	if e.how == envInline {
		rec = bytes.Clone(rec)
	}
	return rec, err
}
