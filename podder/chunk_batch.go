package podder

import (
	"context"

	"github.com/poddb/poddb/internal/pod"
)

// chunkBatch is chunks on their way to the sink. Those of flat memory go
// together, so that a sink that knows pod.BatchSink works on them with more than
// one processor.
type chunkBatch struct {
	changes []pod.Change
	bytes   int
}

// chunkBatchBytes is when a batch is handed over.
const chunkBatchBytes = 1 << 20

func (b *chunkBatch) empty() bool { return len(b.changes) == 0 }

func (b *chunkBatch) add(c pod.Change) {
	b.changes = append(b.changes, c)
	b.bytes += len(c.Slots[0].Data.Bytes)
}

// put hands over what was added, and empties the batch.
func (b *chunkBatch) put(ctx context.Context, sink pod.Sink) (err error) {
	if many, ok := sink.(pod.BatchSink); ok && len(b.changes) > 1 {
		err = many.PutAll(ctx, b.changes)
	} else {
		for i := range b.changes {
			if err = sink.Put(ctx, &b.changes[i]); err != nil {
				break
			}
		}
	}
	clear(b.changes)
	b.changes, b.bytes = b.changes[:0], 0
	return err
}
