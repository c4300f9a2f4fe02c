package pager

import (
	"slices"
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
//
// Searches for one key put a leaf here that wants says yes to; whoever walks puts every page here.
//
// A batch that reads leaves does not put them here, and of the leaves that it
// writes it puts those whose forerunner was here: a checkpoint of the whole tree
// leaves the readers' pages alone.
type pageCache struct {
	shards    []cacheShard
	pageBytes int64 // what a page costs here
	misses    atomic.Uint64
}

const (
	cacheShards = 16
	// entryBytes is what an entry costs beside its page: the page's fields, the
	// entry, its places in ring and map. (A page in use stays in memory a little
	// longer than in here.)
	entryBytes = 256
	// leadShare: the leads of a page's keys take about such a part of what it does.
	leadShare = 5
)

type cacheShard struct {
	mu      sync.RWMutex
	byPage  map[uint64]*cacheEntry
	ring    []*cacheEntry
	hand    int
	entries int      // most entries of this shard
	met     []uint64 // leaves that wants has refused, each in the place that its number gives it
	hits    atomic.Uint64
	_       [32]byte
}

type cacheEntry struct {
	page *page
	used atomic.Bool
}

// newPageCache holds up to bytes, and at least a few pages.
func newPageCache(bytes int64, pageSize int) *pageCache {
	c := &pageCache{shards: make([]cacheShard, cacheShards), pageBytes: int64(pageSize + pageSize/leadShare + entryBytes)}
	for i := range c.shards {
		c.shards[i].byPage = make(map[uint64]*cacheEntry)
	}
	c.resize(bytes)
	return c
}

// resize sets how much the cache holds, and drops what is too much.
func (c *pageCache) resize(bytes int64) {
	n := max(int(bytes/c.pageBytes)/cacheShards, 2)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.entries, s.met = n, make([]uint64, n)
		for len(s.ring) > n {
			s.drop(s.victim())
		}
		if len(s.ring) < cap(s.ring)/4 {
			s.ring = slices.Clone(s.ring)
		}
		s.mu.Unlock()
	}
}

// victim returns the place in the ring of the page to drop next; s.mu is held.
func (s *cacheShard) victim() int {
	for s.hand %= len(s.ring); s.ring[s.hand].used.Swap(false); {
		s.hand = (s.hand + 1) % len(s.ring)
	}
	return s.hand
}

// drop removes an entry; s.mu is held.
func (s *cacheShard) drop(i int) {
	last := len(s.ring) - 1
	delete(s.byPage, s.ring[i].page.page)
	s.ring[i] = s.ring[last]
	s.ring[last] = nil
	s.ring = s.ring[:last]
}

func (c *pageCache) shard(no uint64) *cacheShard {
	return &c.shards[spread(no)>>60&(cacheShards-1)]
}

func spread(no uint64) uint64 { return no * 0x9E3779B97F4A7C15 }

// wants reports whether a leaf that was not here is worth the place of another one: there is room, or
// somebody has asked for it not long ago. Of many more leaves than fit, each of which is asked for as seldom,
// keeping one is more work than reading it once more.
func (c *pageCache) wants(no uint64) bool {
	s := c.shard(no)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ring) < s.entries {
		return true
	}
	at := &s.met[spread(no)>>16%uint64(len(s.met))]
	if *at == no {
		return true
	}
	*at = no
	return false
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

// peek is get for a batch: it neither counts nor makes the page look used.
func (c *pageCache) peek(r ref) *page {
	s := c.shard(r.page)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.byPage[r.page]; e != nil && e.page.crc == r.crc {
		return e.page
	}
	return nil
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
	i := s.victim()
	delete(s.byPage, s.ring[i].page.page)
	s.ring[i] = e
	s.byPage[p.page] = e
	s.hand = (i + 1) % len(s.ring)
}

// stats returns the bytes that the cache holds.
func (c *pageCache) stats() (hits, misses uint64, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		hits += s.hits.Load()
		s.mu.RLock()
		bytes += int64(len(s.ring)) * c.pageBytes
		s.mu.RUnlock()
	}
	return hits, c.misses.Load(), bytes
}
