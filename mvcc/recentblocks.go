package mvcc

import "sync"

// recentBlocks are the blocks that were read last, by whoever. A load goes over many pods that
// are neighbours, but not straight from one to the next: it comes back to a block as long as
// something refers to its pods. The cache beside it keeps what is asked for often, so it declines
// most of what a load reads once.
type recentBlocks struct {
	budget int64

	mu    sync.Mutex
	bytes int64
	list  []rawBlock // the one that was used last is the last
}

// mostRecent bounds the blocks: all are looked at.
const mostRecent = 128

// get returns the raw bytes of a block, which must not be changed.
func (r *recentBlocks) get(number uint64) ([]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.list) - 1; i >= 0; i-- {
		if b := r.list[i]; b.number == number {
			copy(r.list[i:], r.list[i+1:])
			r.list[len(r.list)-1] = b
			return b.raw, true
		}
	}
	return nil, false
}

// put keeps a block, unless it is long, in place of those that were not used for longest.
func (r *recentBlocks) put(number uint64, raw []byte) {
	if int64(len(raw)) > r.budget/8 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].number == number { // two have read it at once
			return
		}
	}
	first := 0
	for r.bytes += int64(len(raw)); r.bytes > r.budget || len(r.list)-first >= mostRecent; first++ {
		r.bytes -= int64(len(r.list[first].raw))
	}
	n := copy(r.list, r.list[first:])
	clear(r.list[n:])
	r.list = append(r.list[:n], rawBlock{number, raw})
}

// drop lets go of all.
func (r *recentBlocks) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes, r.list = 0, nil
}
