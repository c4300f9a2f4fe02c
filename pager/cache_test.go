package pager

import (
	"context"
	"fmt"
	"testing"
)

// filled is a file of many leaves: the value of a key is its number.
func filled(t testing.TB, keys int) *Pager {
	return fillFile(t, testOptions(newFS(t), 4096), keys)
}

func fillFile(t testing.TB, o Options, keys int) *Pager {
	o.CacheBytes = 64 << 20
	p := mustOpen(t, o)
	b, err := p.Begin()
	must(t, err)
	for i := range keys {
		must(t, b.Put(fmt.Appendf(nil, "key/%09d", i), fmt.Appendf(nil, "%0100d", i)))
	}
	must(t, b.Commit(context.Background(), 9, false))
	return p
}

func readAll(t testing.TB, p *Pager) {
	t.Helper()
	v := p.View()
	defer v.Close()
	c := v.Seek(nil)
	for c.Valid() {
		c.Next()
	}
	must(t, c.Err())
}

func TestTheCacheTakesWhatItIsGiven(t *testing.T) {
	p := filled(t, 30000)
	defer p.Close(false)
	readAll(t, p)
	most := p.Stats().CacheBytes
	if most < 3_000_000 {
		t.Fatalf("only %d bytes are cached", most)
	}
	for _, bytes := range []int64{2 << 20, 500_000, 0, 1 << 20, 64 << 20} {
		p.SetCacheBytes(bytes)
		readAll(t, p)
		got := int64(p.Stats().CacheBytes)
		least := cacheShards * 2 * p.cache.pageBytes
		if got > max(bytes, least) {
			t.Errorf("%d bytes cached of %d allowed", got, bytes)
		}
		if got < min(bytes, int64(most))/2 {
			t.Errorf("only %d bytes cached of %d allowed", got, bytes)
		}
		for i := range p.cache.shards {
			if s := &p.cache.shards[i]; len(s.ring) != len(s.byPage) {
				t.Fatalf("shard %d: %d in the ring, %d in the map", i, len(s.ring), len(s.byPage))
			}
		}
	}
	must(t, p.Close(false))
}

// A checkpoint that rewrites everything leaves the readers' cache alone: what
// was in it is in it, in its new form, and nothing else came in.
func TestACheckpointLeavesTheCacheToReaders(t *testing.T) {
	p := filled(t, 30000)
	defer p.Close(false)
	p.SetCacheBytes(0)
	p.SetCacheBytes(1 << 20)
	read := func() {
		t.Helper()
		v := p.View()
		defer v.Close()
		for range 3 {
			for i := range 50 {
				if _, ok, err := v.Get(fmt.Appendf(nil, "key/%09d", i*20)); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
		}
	}
	read()
	for round := range 3 {
		b, err := p.Begin()
		must(t, err)
		for i := range 30000 {
			must(t, b.Put(fmt.Appendf(nil, "key/%09d", i), fmt.Appendf(nil, "%099d", round)))
		}
		must(t, b.Commit(context.Background(), 9, false))
		before := p.Stats().CacheMisses
		read()
		if n := p.Stats().CacheMisses - before; n > 3 {
			t.Errorf("round %d: %d misses after a checkpoint", round, n)
		}
	}
}
