package mvcc

import (
	"sync/atomic"

	"github.com/poddb/poddb/internal/pod"
)

// refWatch notes what the commits on a line write and refer to while a collect
// runs there. The sequencer's token is held by whoever uses it.
type refWatch struct {
	written map[pid]struct{}
	refs    map[pod.Ref]struct{}
	over    atomic.Bool // the collect has ended
	full    atomic.Bool // too much was noted: the collect has to begin again
}

// maxWatched bounds what is noted: a collect that rests for long need not be
// finished.
const maxWatched = 1 << 22

func newRefWatch() *refWatch {
	return &refWatch{written: map[pid]struct{}{}, refs: map[pod.Ref]struct{}{}}
}

// watch notes a transaction that was sequenced.
func (q *sequencer) watch(t *Tx) {
	w := q.watches[t.line.id]
	if w == nil {
		return
	}
	if w.over.Load() {
		delete(q.watches, t.line.id)
		return
	}
	for _, p := range t.order {
		w.written[p.id] = struct{}{}
	}
	for r := range t.refs {
		w.refs[r] = struct{}{}
	}
	for _, root := range t.names {
		if root != 0 {
			w.refs[pod.Ref{Pod: root}] = struct{}{}
		}
	}
	if len(w.written)+len(w.refs) > maxWatched {
		w.full.Store(true)
		w.over.Store(true)
		delete(q.watches, t.line.id)
	}
}

// take returns what was noted since the last time.
func (w *refWatch) take() (written map[pid]struct{}, refs map[pod.Ref]struct{}) {
	written, refs = w.written, w.refs
	w.written, w.refs = map[pid]struct{}{}, map[pod.Ref]struct{}{}
	return written, refs
}
