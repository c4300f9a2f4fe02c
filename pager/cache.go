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

// cacheEntry is one page in the cache, always the same one. Pages above it know it (page.seats), so that readers
// need neither lock nor map: what is not in the cache any more has no page.
type cacheEntry struct {
	page atomic.Pointer[page]
	used atomic.Bool
	hits atomic.Uint64 // without the lock
	at   int           // in the ring; the lock is held
}

// take returns the page of an entry that may be nil, or have none any more: then it returns nil.
func (e *cacheEntry) take() *page {
	if e == nil {
		return nil
	}
	p := e.page.Load()
	if p != nil {
		if !e.used.Load() {
			e.used.Store(true)
		}
		e.hits.Add(1)
	}
	return p
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
	s.leave(s.ring[i])
	last := len(s.ring) - 1
	s.ring[i] = s.ring[last]
	s.ring[i].at = i
	s.ring[last] = nil
	s.ring = s.ring[:last]
}

// leave empties an entry whose place in the ring another one gets; s.mu is held.
func (s *cacheShard) leave(e *cacheEntry) {
	delete(s.byPage, e.page.Load().page)
	e.page.Store(nil)
	s.hits.Add(e.hits.Load())
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
	p, _ := c.find(r)
	return p
}

// find is get, with the page's entry.
func (c *pageCache) find(r ref) (*page, *cacheEntry) {
	s := c.shard(r.page)
	s.mu.RLock()
	e := s.byPage[r.page]
	var p *page
	if e != nil {
		p = e.page.Load()
	}
	if p == nil || p.crc != r.crc {
		s.mu.RUnlock()
		c.misses.Add(1)
		return nil, nil
	}
	if !e.used.Load() {
		e.used.Store(true)
	}
	s.mu.RUnlock()
	s.hits.Add(1)
	return p, e
}

// peek is get for a batch: it neither counts nor makes the page look used.
func (c *pageCache) peek(r ref) *page {
	s := c.shard(r.page)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.byPage[r.page]; e != nil {
		if p := e.page.Load(); p.crc == r.crc {
			return p
		}
	}
	return nil
}

func (c *pageCache) put(p *page) *cacheEntry {
	s := c.shard(p.page)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &cacheEntry{}
	e.page.Store(p)
	switch old := s.byPage[p.page]; {
	case old != nil:
		e.at = old.at
		e.used.Store(old.used.Load())
		s.leave(old)
	case len(s.ring) < s.entries:
		e.at = len(s.ring)
		s.ring = append(s.ring, nil)
	default:
		e.at = s.victim()
		s.leave(s.ring[e.at])
		s.hand = (e.at + 1) % len(s.ring)
	}
	s.ring[e.at] = e
	s.byPage[p.page] = e
	return e
}

// stats returns the bytes that the cache holds.
func (c *pageCache) stats() (hits, misses uint64, bytes int64) {
	for i := range c.shards {
		s := &c.shards[i]
		hits += s.hits.Load()
		s.mu.RLock()
		for _, e := range s.ring {
			hits += e.hits.Load()
		}
		bytes += int64(len(s.ring)) * c.pageBytes
		s.mu.RUnlock()
	}
	return hits, c.misses.Load(), bytes
}
