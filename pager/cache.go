package pager

import (
	"sync"
	"sync/atomic"
)

// pageCache keeps checked pages by number, bounded in bytes. Each shard is a
// CLOCK: a hit sets a bit under the read lock, the hand clears bits and drops
// the first page it finds without one.
//
// A page number comes back with other contents after its page was freed. The
// caller therefore always says which checksum it expects (its parent's), and a
// page with another one is a miss.
type pageCache struct {
	shards []cacheShard
	misses atomic.Uint64
}

const cacheShards = 16

type cacheShard struct {
	mu      sync.RWMutex
	byPage  map[uint64]*cacheEntry
	ring    []*cacheEntry
	hand    int
	entries int // most entries of this shard
	hits    atomic.Uint64
	_       [32]byte
}

type cacheEntry struct {
	page *page
	used atomic.Bool
}

// newPageCache holds up to bytes, and at least a few pages.
func newPageCache(bytes int64, pageSize int) *pageCache {
	const overhead = 256
	n := max(int(bytes/int64(pageSize+overhead))/cacheShards, 2)
	c := &pageCache{shards: make([]cacheShard, cacheShards)}
	for i := range c.shards {
		c.shards[i].entries = n
		c.shards[i].byPage = make(map[uint64]*cacheEntry)
	}
	return c
}

func (c *pageCache) shard(no uint64) *cacheShard {
	return &c.shards[(no*0x9E3779B97F4A7C15)>>60&(cacheShards-1)]
}

func (c *pageCache) get(r ref) *page {
	s := c.shard(r.page)
	s.mu.RLock()
	e := s.byPage[r.page]
	if e == nil || e.page.crc != r.crc {
		s.mu.RUnlock()
		c.misses.Add(1)
		return nil
	}
	p := e.page
	if !e.used.Load() {
		e.used.Store(true)
	}
	s.mu.RUnlock()
	s.hits.Add(1)
	return p
}

func (c *pageCache) put(p *page) {
	s := c.shard(p.page)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byPage[p.page]; e != nil {
		e.page = p
		return
	}
	e := &cacheEntry{page: p}
	if len(s.ring) < s.entries {
		s.ring = append(s.ring, e)
		s.byPage[p.page] = e
		return
	}
	for s.ring[s.hand].used.Swap(false) {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	delete(s.byPage, s.ring[s.hand].page.page)
	s.ring[s.hand] = e
	s.byPage[p.page] = e
	s.hand = (s.hand + 1) % len(s.ring)
}

func (c *pageCache) stats() (hits, misses uint64, pages int) {
	for i := range c.shards {
		s := &c.shards[i]
		hits += s.hits.Load()
		s.mu.RLock()
		pages += len(s.ring)
		s.mu.RUnlock()
	}
	return hits, c.misses.Load(), pages
}
