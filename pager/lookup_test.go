package pager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// randomLeaf makes a leaf of random keys that begin alike: a few or many, that differ early or late.
func randomLeaf(rng *rand.Rand) *node {
	n := &node{}
	most, longest, letters := 40, 12, 6
	if rng.IntN(2) == 0 {
		most, longest, letters = 250, 14, 2
	}
	prefix := bytes.Repeat([]byte("ab"), 1+rng.IntN(2)*rng.IntN(20))
	for range 1 + rng.IntN(most) {
		k := bytes.Clone(prefix)
		if letters == 2 && rng.IntN(2) == 0 {
			k = append(k, "cccccccc"...) // of these the leads are equal
		}
		for range rng.IntN(longest) {
			k = append(k, []byte{0, 1, 0, 0, 'x', 255}[rng.IntN(letters)])
		}
		n.keys = append(n.keys, k)
	}
	slices.SortFunc(n.keys, bytes.Compare)
	n.keys = slices.CompactFunc(n.keys, bytes.Equal)
	for i, k := range n.keys {
		n.vals, n.sumK = append(n.vals, fmt.Appendf(nil, "%d", i)), n.sumK+len(k)
		n.sumV += len(n.vals[i])
	}
	return n
}

// keyNear is a key of a leaf, or one that begins as one of them.
func keyNear(rng *rand.Rand, n *node) []byte {
	k := bytes.Clone(n.keys[rng.IntN(len(n.keys))])
	switch rng.IntN(4) {
	case 0:
		k = k[:rng.IntN(len(k)+1)]
	case 1:
		k = append(k[:rng.IntN(len(k)+1)], []byte{0, 1, 255}[rng.IntN(3)])
	}
	return k
}

// A leaf that is not kept is searched as one that is. Of one whose structure is wrong the search says so, or
// does not meet it; if it is right as a whole, both find the same.
func TestSearchInAPassingLeaf(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	wrong, met := 0, 0
	for range 1500 {
		n := randomLeaf(rng)
		image := n.encode(1 << 14)
		damaged := rng.IntN(2) == 0
		if damaged {
			for range 1 + rng.IntN(3) {
				image[4+rng.IntN(len(n.keys)*8)] ^= byte(1 << rng.IntN(8))
			}
		}
		pg, whole := parsePage(bytes.Clone(image))
		disordered := false
		if whole != nil {
			wrong++
		} else {
			_, err := decodeNode(pg, nil, nil)
			disordered = err != nil
		}
		l := &passingLeaf{}
		if err := l.open(image); err != nil {
			if whole == nil {
				t.Fatalf("a page that is right: %v", err)
			}
			met++
			continue
		}
		for range 20 {
			k := keyNear(rng, n)
			exact := rng.IntN(2) == 0
			found, val, ok, err := l.find(nil, k, exact)
			if whole != nil {
				if err != nil {
					met++
				}
				continue
			}
			i, eq := pg.search(k)
			if disordered {
				continue // what is found is anything
			}
			if err != nil || ok != (eq || !exact && i < pg.count) {
				t.Fatalf("%q in %q: %v, %v", k, n.keys, ok, err)
			}
			if ok && (!bytes.Equal(val, pg.value(i)) || !exact && !bytes.Equal(found, pg.appendKey(nil, i)) || exact && found != nil) {
				t.Fatalf("%q in %q: %q = %q", k, n.keys, found, val)
			}
		}
	}
	if wrong < 100 || met < 100 {
		t.Errorf("%d pages were wrong, %d times a search met it", wrong, met)
	}
}

// Readers of many more leaves than the cache holds find what is there, and what they found stays.
func TestLookupsOfLeavesThatAreNotKept(t *testing.T) {
	const keys = 60_000
	p := filled(t, keys)
	defer p.Close(false)
	p.SetCacheBytes(0)
	v := p.View()
	defer v.Close()
	var wg sync.WaitGroup
	for who := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(who), 3))
			type answer struct {
				n        int
				key, val []byte
			}
			var answers []answer
			for range 1500 {
				n := rng.IntN(keys)
				key := fmt.Appendf(nil, "key/%09d", n)
				if val, ok, err := v.Get(key); !ok || err != nil {
					t.Errorf("%s: %v, %v", key, ok, err)
				} else {
					answers = append(answers, answer{n, key, val})
				}
				if _, ok, err := v.Get(append(key, 'x')); ok || err != nil {
					t.Errorf("%sx: %v, %v", key, ok, err)
				}
				// The first above key n is key n+1, on this leaf or the next one.
				found, val, ok, err := v.Ceiling(nil, append(key, 'x'))
				if ok != (n+1 < keys) || err != nil {
					t.Errorf("above %s: %v, %v", key, ok, err)
				}
				if ok {
					answers = append(answers, answer{n + 1, found, val})
				}
			}
			for _, a := range answers {
				if string(a.key) != fmt.Sprintf("key/%09d", a.n) || string(a.val) != fmt.Sprintf("%0100d", a.n) {
					t.Errorf("key %d has become %s = %s", a.n, a.key, a.val)
				}
			}
		})
	}
	wg.Wait()
	if st := p.Stats(); st.CacheMisses < 5000 {
		t.Errorf("only %d misses: the test proves nothing", st.CacheMisses)
	}
}

// Leaves that are asked for seldom do not take the place of one that is asked for often, and that one comes
// into a full cache.
func TestSeldomLookupsLeaveTheCacheAlone(t *testing.T) {
	const keys = 60_000
	p := filled(t, keys)
	defer p.Close(false)
	p.SetCacheBytes(0)
	p.SetCacheBytes(600_000)
	v := p.View()
	defer v.Close()
	get := func(n int) {
		t.Helper()
		if _, ok, err := v.Get(fmt.Appendf(nil, "key/%09d", n)); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	rng := rand.New(rand.NewPCG(5, 5))
	hot := func(i int) int { return i * keys / 20 }
	misses := func() uint64 {
		before := p.Stats().CacheMisses
		for i := range 20 {
			get(hot(i))
		}
		return p.Stats().CacheMisses - before
	}
	for range 2000 { // the cache is full of others
		get(rng.IntN(keys))
	}
	misses()
	misses()
	missed := uint64(0)
	for range 50 {
		for range 300 {
			get(rng.IntN(keys))
		}
		missed += misses()
	}
	if missed > 50 {
		t.Errorf("leaves that are asked for often were missed %d times of 1000", missed)
	}
	before := p.Stats()
	for range 1000 {
		get(rng.IntN(keys))
	}
	if n := p.Stats().CacheMisses - before.CacheMisses; n < 800 {
		t.Errorf("%d misses of 1000: the test proves nothing", n)
	}
}

// A flipped bit in a leaf that is not kept is found.
func TestADamagedPassingLeafIsFound(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	p := fillFile(t, o, 60_000)
	defer p.Close(false)
	p.SetCacheBytes(0)
	v := p.View()
	defer v.Close()
	rng := rand.New(rand.NewPCG(6, 6))
	f, err := mem.Open(testPath, vfs.ReadWrite)
	must(t, err)
	defer f.Close()
	passing := 0
	for range 300 {
		key := fmt.Appendf(nil, "key/%09d", rng.IntN(60_000))
		up, i, err := v.aboveLeaf(key)
		must(t, err)
		r := up.child(i)
		if p.cache.peek(r) != nil {
			continue
		}
		at := p.pageOffset(r.page) + rng.Int64N(4096)
		bit := rng.IntN(8)
		flip(t, f, at, bit)
		if _, _, err := v.Get(key); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("byte %d: %v", at, err)
		}
		flip(t, f, at, bit)
		if _, ok, err := v.Get(key); !ok || err != nil {
			t.Fatal(ok, err)
		}
		passing++
	}
	if passing < 200 {
		t.Errorf("only %d leaves were not in the cache", passing)
	}
}

// Whoever knows the entry of a page learns that the page left the cache, or that another page with its number came.
func TestEntriesOfPagesThatLeftTheCache(t *testing.T) {
	c := newPageCache(0, 4096)
	c.resize(4 * cacheShards * c.pageBytes)
	entries := map[*page]*cacheEntry{}
	rng := rand.New(rand.NewPCG(7, 7))
	for range 2000 {
		pg := &page{ref: ref{page: uint64(rng.IntN(100)), crc: rng.Uint32N(3)}}
		entries[pg] = c.put(pg)
		if got, e := c.find(pg.ref); got != pg || e != entries[pg] {
			t.Fatalf("page %v is %v after it was put", pg.ref, got)
		}
	}
	here := uint64(0)
	for pg, e := range entries {
		switch found := c.peek(pg.ref); e.take() {
		case pg:
			if here++; found != pg {
				t.Errorf("page %v has an entry that is not in the cache", pg.ref)
			}
		case nil:
			if found == pg {
				t.Errorf("page %v is in the cache, its entry is empty", pg.ref)
			}
		default:
			t.Errorf("the entry of page %v has another page", pg.ref)
		}
	}
	if here < 3*cacheShards {
		t.Errorf("%d pages are in the cache", here)
	}
	if hits, _, _ := c.stats(); hits != 2000+here {
		t.Errorf("%d hits are counted of %d", hits, 2000+here)
	}
	c.resize(0)
	for i := range c.shards {
		for at, e := range c.shards[i].ring {
			if e.at != at {
				t.Errorf("an entry at %d says that it is at %d", at, e.at)
			}
		}
	}
}

// Lookups go through what pages above leaves know of the cache, and are right when checkpoints rewrite the leaves and the cache
// becomes small or large again.
func TestLookupsWhileLeavesChange(t *testing.T) {
	const keys = 20_000
	p := filled(t, keys)
	defer p.Close(false)
	old := p.View()
	defer old.Close()
	rng := rand.New(rand.NewPCG(8, 8))
	get := func(v *View, n int, want string) {
		t.Helper()
		val, ok, err := v.Get(fmt.Appendf(nil, "key/%09d", n))
		if !ok || err != nil || string(val) != want {
			t.Fatalf("key %d is %q, not %q (%v, %v)", n, val, want, ok, err)
		}
	}
	for round := range 6 {
		b, err := p.Begin()
		must(t, err)
		for i := range keys {
			must(t, b.Put(fmt.Appendf(nil, "key/%09d", i), fmt.Appendf(nil, "%d in %d %080d", i, round, 0)))
		}
		must(t, b.Commit(context.Background(), 9, false))
		v := p.View()
		for i := range 2000 {
			n := rng.IntN(keys)
			get(v, n, fmt.Sprintf("%d in %d %080d", n, round, 0))
			get(old, n, fmt.Sprintf("%0100d", n))
			if i%500 == 499 {
				p.SetCacheBytes(rng.Int64N(8 << 20))
			}
		}
		v.Close()
	}
}
