package mvcc

import (
	"context"
	"errors"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
)

// Big transactions. What a transaction writes travels in the log and is packed
// by the next checkpoint: written twice, and held in memory until then. From
// streamMin bytes on a transaction writes version records and shared bodies
// into blocks of an extent instead, while it is being put together:
//
//  1. Blocks are closed at streamBlockBytes, or earlier (streamBlock.limit); another goroutine lays them out,
//     compresses and writes them. What waits for it is bounded, so the memory of
//     a transaction does not grow with its contents (only with the number of its
//     pods: their rows travel in the log).
//  2. Envelopes name the blocks; the blocks' rows are in the same group. The
//     extent is durable before the group is submitted (durability.go has the
//     weaker levels), kept before the group is visible, and given back if the
//     group is undone or never submitted. If the outcome is unknown neither
//     happens: the log may name it.
//  3. Numbers of blocks are taken in advance, like ids. A number of a transaction
//     that never landed may be given out again after a crash, and its block may
//     still lie in free space.
//  4. The number of a pod version is not known yet when its block is written. Its
//     key in the directory of an odd block therefore has the nonce of its commit
//     where the index key has the number. Pod, line and nonce lead to the row:
//     the commit's row has the nonce, and the number belongs to the pod's place in
//     the commit's list of ids.
type stream struct {
	s      *Store
	extent *pager.Extent

	open  *streamBlock
	rows  []keyValue // of blocks written; the writer's until it has ended
	gone  chan struct{}
	spare chan []byte // buffers for pieces (bigbody.go)

	mu        sync.Mutex
	changed   sync.Cond
	queue     []*streamBlock
	pending   int      // bytes that wait for the writer or are with it
	free      [][]byte // buffers for blocks (streamblock.go)
	freeBytes int
	closed    bool
	err       error
}

const (
	streamMin        = 1 << 20
	streamBlockBytes = 64 << 10
	streamPending    = 4 << 20
)

// spill moves what was put since the last call into the stream, and starts one
// when the transaction has become big.
func (t *Tx) spill() error {
	if t.stream == nil {
		if t.inline < t.s.o.streamFrom {
			return nil
		}
		if err := t.startStream(); err != nil {
			return err
		}
	}
	for _, b := range t.shared[t.spilledBodies:] {
		if err := t.stream.add(recordKey(kindShared, b.no), &b.env); err != nil {
			return err
		}
	}
	for _, p := range t.order[t.spilledPuts:] {
		if p.env[0] == envTombstone {
			continue
		}
		if err := t.stream.add(versionKey(nil, p.id, t.line.id, t.nonce), &p.env); err != nil {
			return err
		}
	}
	t.spilledBodies, t.spilledPuts = len(t.shared), len(t.order)
	return nil
}

func (t *Tx) startStream() error {
	extent, err := t.s.pager.NewExtent()
	if err != nil {
		return t.s.extentError(err)
	}
	t.stream = newStream(t.s, extent)
	return nil
}

func newStream(s *Store, extent *pager.Extent) *stream {
	w := &stream{s: s, extent: extent, gone: make(chan struct{}), spare: make(chan []byte, streamPending/bigPiece+1)}
	w.changed.L = &w.mu
	go w.write()
	return w
}

// send hands the open block over.
func (w *stream) send() error {
	b := w.open
	w.open = nil
	if b == nil {
		return nil
	}
	return w.sendBlock(b)
}

// sendBlock waits while too much is with the writer.
func (w *stream) sendBlock(b *streamBlock) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && w.pending > 0 && w.pending+b.held() > streamPending {
		w.changed.Wait()
	}
	if w.err != nil {
		return w.err
	}
	w.pending += b.held()
	w.queue = append(w.queue, b)
	w.changed.Broadcast()
	return nil
}

// write is the writer's goroutine.
func (w *stream) write() {
	defer close(w.gone)
	buf := blockBuffers{plain: w.s.o.NoCompression}
	for {
		b := w.take()
		if b == nil {
			return
		}
		err := w.writeBlock(b, &buf)
		w.mu.Lock()
		w.pending -= b.held()
		w.recycle(b)
		if err != nil {
			w.err = err
		}
		w.changed.Broadcast()
		w.mu.Unlock()
	}
}

// take returns the next block, nil after the last one or a failure.
func (w *stream) take() *streamBlock {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.queue) == 0 && !w.closed {
		w.changed.Wait()
	}
	if w.err != nil || len(w.queue) == 0 {
		return nil
	}
	b := w.queue[0]
	w.queue = w.queue[1:]
	return b
}

func (w *stream) writeBlock(b *streamBlock, buf *blockBuffers) error {
	if b.long != nil {
		return w.s.extentError(w.writePiece(b))
	}
	stored, raw := b.layOut(buf)
	pl, err := w.extent.Record(stored)
	if err != nil {
		return w.s.extentError(err)
	}
	for i, env := range b.envelopes {
		*env = packedIn(b.number, b.members[i])
	}
	w.rows = append(w.rows, keyValue{blockKey(b.number), newBlockRow(pl, raw, b.members).append(nil)})
	return nil
}

// end waits until the writer has written all, or failed.
func (w *stream) end() error {
	w.mu.Lock()
	w.closed = true
	w.changed.Broadcast()
	w.mu.Unlock()
	<-w.gone
	return w.err
}

// finish writes the last block and makes the extent as durable as a commit of
// the store's level needs it before Submit.
func (w *stream) finish(ctx context.Context) error {
	if err := w.send(); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	if w.s.o.Durability == DurabilityFull {
		return w.s.extentError(w.extent.Sync(ctx))
	}
	if err := w.extent.Flush(); err != nil {
		return w.s.extentError(err)
	}
	w.s.flushed.Store(true)
	return nil
}

// keep says that the log names the extent, for good.
func (w *stream) keep() { w.extent.Keep() }

// forget says that the log may name the extent: its pages are not used again.
func (w *stream) forget() { w.extent = nil }

// abandon ends a stream; what was not kept is given back.
func (w *stream) abandon() {
	w.mu.Lock()
	w.queue, w.open = nil, nil
	w.mu.Unlock()
	_ = w.end() // nobody is left to be told
	if w.extent != nil {
		w.extent.Release()
	}
}

// extentError is for errors of the page file before a commit was submitted: it
// is known to be absent, even if they poison.
func (s *Store) extentError(err error) error {
	if errors.Is(err, dberr.ErrPoisoned) {
		return s.poison(err)
	}
	return err
}
