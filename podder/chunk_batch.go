package podder

import (
	"context"

	"github.com/poddb/poddb/internal/pod"
)

// chunkBatches are chunks on their way to the sink. Those of flat memory go
// together, so that a sink that knows pod.BatchSink can work on them while the
// next ones are cut and copied.
type chunkBatches struct {
	changes []pod.Change // of the batch at hand
	bytes   int
	copied  []byte // what they refer to
	runs    []uint32

	put func(context.Context) error // of the batch before, which the sink has
	// of that batch, to be used again
	putChanges []pod.Change
	putCopied  []byte
	putRuns    []uint32
}

// chunkBatchBytes is when a batch is handed over.
const chunkBatchBytes = 1 << 20

// add hands the batch over when it has become large.
func (b *chunkBatches) add(ctx context.Context, sink pod.Sink, c pod.Change) error {
	b.changes = append(b.changes, c)
	if b.bytes += len(c.Slots[0].Data.Bytes); b.bytes < chunkBatchBytes {
		return nil
	}
	return b.hand(ctx, sink)
}

// finish has the sink put everything.
func (b *chunkBatches) finish(ctx context.Context, sink pod.Sink) error {
	if len(b.changes) > 0 {
		if err := b.hand(ctx, sink); err != nil {
			return err
		}
	}
	return b.settle(ctx)
}

// hand gives the sink what was added, and has it put what it was given before.
func (b *chunkBatches) hand(ctx context.Context, sink pod.Sink) error {
	changes := b.changes
	put := func(ctx context.Context) error {
		for i := range changes {
			if err := sink.Put(ctx, &changes[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if ahead, ok := sink.(pod.BatchSink); ok {
		put = ahead.Prepare(changes)
	}
	if err := b.settle(ctx); err != nil {
		return err
	}
	b.put = put
	b.changes, b.putChanges = b.putChanges, b.changes
	b.copied, b.putCopied = b.putCopied, b.copied
	b.runs, b.putRuns = b.putRuns, b.runs
	b.bytes = 0
	return nil
}

// settle has the sink put what it was given.
func (b *chunkBatches) settle(ctx context.Context) error {
	put := b.put
	if b.put = nil; put == nil {
		return nil
	}
	err := put(ctx)
	clear(b.putChanges)
	b.putChanges, b.putCopied, b.putRuns = b.putChanges[:0], b.putCopied[:0], b.putRuns[:0]
	return err
}
