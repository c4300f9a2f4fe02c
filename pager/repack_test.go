package pager

import (
	"context"
	"fmt"
	"testing"
)

// Batches that change most leaves leave them full, although every leaf was split
// on the way; and nothing is lost with keys of any length.
func TestDenseBatchesLeaveFullPages(t *testing.T) {
	for _, longest := range []int{30, 300, MaxKey} {
		r := seeded(t, uint64(longest))
		p := mustOpen(t, testOptions(newFS(t), 4096))
		m := newModel()
		for range 8 {
			b, err := p.Begin()
			must(t, err)
			for range 120_000 / longest {
				k := fmt.Appendf(nil, "%03d/", r.IntN(200))
				k = append(k, randomBytes(r, 8+r.IntN(longest-12))...)
				v := randomBytes(r, r.IntN(20))
				if r.IntN(10) == 0 {
					v = randomBytes(r, r.IntN(1024))
				}
				must(t, b.Put(k, v))
				m.tree[string(k)] = v
			}
			must(t, b.Commit(context.Background(), 9, false))
			must(t, m.verify(p))
		}
		rep, err := p.Check(context.Background(), nil)
		must(t, err)
		fill := float64(rep.TreeBytes) / float64(rep.TreePages*4096)
		t.Logf("keys up to %d bytes: %d pages filled to %.2f", longest, rep.TreePages, fill)
		if longest == 30 && fill < 0.75 { // splits alone leave 0.63
			t.Errorf("keys up to %d bytes: pages are filled to %.2f", longest, fill)
		}
		must(t, p.Close(true))
	}
}
