package mvcc

import "math"

// budget divides Options.MemoryBytes. The Go heap grows to about twice of what
// is alive before it is collected, so what is kept alive is half of the number:
// pages of the index, pods and blocks in caches, and overlays (what was
// committed and is not in the page file yet). What passes through (the
// transactions under way, a checkpoint's open pages, one answer to a reader) is
// bounded on its own and comes out of the other half, and so does the index of
// names, if somebody compares versions (nameindex.go).
type budget struct {
	pageBytes    int64 // checked pages of the index, in the pager
	podBytes     int64 // merged pods
	blockBytes   int64 // raw blocks
	overlayBytes int64 // both overlays; at half of it a checkpoint begins
	batchBytes   int64 // pages that a checkpoint has open
	nameBytes    int64 // index of names
	memoryBytes  int64 // what all of it may make the process grow by
}

const (
	defaultMemoryBytes = 128 << 20
	minMemoryBytes     = 8 << 20
)

// divide returns the shares of a budget. Less than the smallest counts as
// that; negative is for tests: nothing is cached and nothing bounded.
func divide(memory int64) budget {
	switch {
	case memory < 0:
		return budget{overlayBytes: math.MaxInt64, batchBytes: minMemoryBytes, nameBytes: math.MaxInt64}
	case memory == 0:
		memory = defaultMemoryBytes
	}
	memory = max(memory, minMemoryBytes)
	part := memory / 2 / 16
	return budget{
		pageBytes: 3 * part, podBytes: 3 * part, blockBytes: 5 * part, overlayBytes: 4 * part, batchBytes: part, nameBytes: 2 * part,
		memoryBytes: memory,
	}
}
