package cache

import (
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

func newCache(t *testing.T, budget int64) *Cache[string] {
	t.Helper()
	c, err := New[string](budget)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestGetReturnsWhatWasSet(t *testing.T) {
	c := newCache(t, 1<<20)
	c.Set(1, "one", 10)
	c.Set(2, "two", 10)
	c.settle()
	if v, ok := c.Get(1); !ok || v != "one" {
		t.Fatalf("1 is %q, %v", v, ok)
	}
	if _, ok := c.Get(3); ok {
		t.Fatal("3 was never set")
	}
	s := c.Stats()
	if s.Hits != 1 || s.Misses != 1 || s.Ratio != 0.5 || s.Budget != 1<<20 || s.Bytes != 20+2*entryOverhead {
		t.Fatalf("stats %+v", s)
	}
}

// What a cache takes before anything is in it does not grow with the budget: one
// that no machine has is a way to say "as much as you like".
func TestABudgetBeyondAllMemoryCostsLittle(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := newCache(t, 1<<60)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 100<<20 {
		t.Errorf("an empty cache took %d bytes", n)
	}
	c.Set(1, "one", 10)
	c.settle()
	if v, ok := c.Get(1); !ok || v != "one" {
		t.Fatalf("1 is %q, %v", v, ok)
	}
}

func TestHeldBytesStayWithinTheBudget(t *testing.T) {
	const budget = 100_000
	c := newCache(t, budget)
	for i := range uint64(2000) {
		c.Set(i, "x", 1000)
	}
	c.settle()
	if b := c.Stats().Bytes; b <= 0 || b > budget {
		t.Fatalf("%d bytes are held, the budget is %d", b, budget)
	}
	c.Set(9999, "too large for all of it", 2*budget)
	c.settle()
	if _, ok := c.Get(9999); ok {
		t.Fatal("a value larger than the budget was kept")
	}
}

func TestNoBudgetKeepsNothing(t *testing.T) {
	c := newCache(t, 0)
	c.Set(1, "one", 1)
	if _, ok := c.Get(1); ok {
		t.Fatal("a cache without budget kept something")
	}
	if s := c.Stats(); s != (Stats{}) {
		t.Fatalf("stats %+v", s)
	}
	if _, err := New[string](-1); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("a negative budget gave %v", err)
	}
}

func TestUseDuringAndAfterClose(t *testing.T) {
	c := newCache(t, 1<<20)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range uint64(2000) {
				c.Set(g<<32|i, "x", 10)
				c.Get(i)
			}
		}()
	}
	c.Close()
	wg.Wait()
	c.Close()
	if _, ok := c.Get(1); ok {
		t.Fatal("a closed cache kept something")
	}
}
