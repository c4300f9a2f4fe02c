// Package cache keeps merged pods and raw blocks in memory, bounded in bytes.
// It is a thin layer over ristretto: entries are keyed by numbers (of pod
// versions, of blocks) that are given out once and whose contents never change,
// so nothing is ever invalidated.
//
// The bound is ristretto's: admission is decided late and in batches, so for
// short moments the cache may hold a little more than its budget, and an entry
// that was just set may not be found. A caller treats a miss as "read it".
package cache

import (
	"fmt"
	"sync"

	"github.com/dgraph-io/ristretto/v2"

	"github.com/poddb/poddb/internal/dberr"
)

// Cache maps pod version numbers to values of type V. All methods are safe for
// concurrent use; a nil Cache is an empty one that keeps nothing.
type Cache[V any] struct {
	// mu keeps Close apart from the rest: ristretto panics when it is used
	// while it closes.
	mu     sync.RWMutex
	closed bool
	c      *ristretto.Cache[uint64, V]
}

// Stats are figures since New.
type Stats struct {
	Hits, Misses uint64
	// Ratio is Hits / (Hits + Misses), 0 before the first Get.
	Ratio float64
	// Bytes is the cost of what is held now, Budget its bound.
	Bytes, Budget int64
}

// entryOverhead is what an entry costs beside its value: ristretto's own
// bookkeeping (store, policy, counters), in bytes.
const entryOverhead = 120

// counterPerBytes sizes ristretto's frequency sketch: one counter for so many
// bytes of budget, which is ten counters for each pod of 10 KiB.
const counterPerBytes = 1 << 10

// mostCounters bounds the sketch, which is made at once and whole: some 50 MB,
// reached by a budget of 16 GiB. With more, entries that are seldom used share
// counters.
const mostCounters = 1 << 24

// New returns a cache that holds values up to budget bytes. A budget of 0
// keeps nothing.
func New[V any](budget int64) (*Cache[V], error) {
	if budget < 0 {
		return nil, fmt.Errorf("%w: cache budget of %d bytes", dberr.ErrInvalid, budget)
	}
	if budget == 0 {
		return nil, nil
	}
	c, err := ristretto.NewCache(&ristretto.Config[uint64, V]{
		NumCounters:        min(max(budget/counterPerBytes, 1024), mostCounters),
		MaxCost:            budget,
		BufferItems:        64,
		Metrics:            true,
		IgnoreInternalCost: true,
	})
	if err != nil {
		return nil, fmt.Errorf("pod cache of %d bytes: %w", budget, err)
	}
	return &Cache[V]{c: c}, nil
}

// Get returns the value of a pod version number.
func (c *Cache[V]) Get(number uint64) (V, bool) {
	var zero V
	if c == nil {
		return zero, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return zero, false
	}
	return c.c.Get(number)
}

// Set offers a value that occupies cost bytes. The cache may decline it.
func (c *Cache[V]) Set(number uint64, v V, cost int64) {
	if c == nil {
		return
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.closed {
		c.c.Set(number, v, cost+entryOverhead)
	}
}

// Stats returns figures; it is cheap.
func (c *Cache[V]) Stats() Stats {
	if c == nil {
		return Stats{}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return Stats{}
	}
	m := c.c.Metrics
	s := Stats{
		Hits: m.Hits(), Misses: m.Misses(), Ratio: m.Ratio(),
		Bytes: int64(m.CostAdded() - m.CostEvicted()), Budget: c.c.MaxCost(),
	}
	return s
}

// settle waits until everything set so far has been admitted or declined.
func (c *Cache[V]) settle() { c.c.Wait() }

// Close lets go of all values and ends the cache's goroutines. The cache keeps
// nothing afterwards, and its methods may still be called.
func (c *Cache[V]) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		c.c.Close()
	}
}
