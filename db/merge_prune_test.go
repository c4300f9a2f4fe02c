package db_test

import (
	"context"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
)

// A Prune beside them is nothing that merges see.
func TestMergeBesidePrune(t *testing.T) {
	ctx := context.Background()
	x := openTrays(t)
	x.fresh("main", "a", 0)
	x.fresh("main", "b", 0)
	x.fork("other")
	rounds := 1500
	if testing.Short() {
		rounds = 100
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := x.d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil {
				t.Errorf("prune: %v", err)
				return
			}
		}
	})
	for i := range rounds {
		x.edit("main", "a", func(a *tray) { a.N++ })
		x.edit("other", "b", func(b *tray) { b.N++ })
		into, from := "main", "other"
		if i%2 == 1 {
			into, from = from, into
		}
		if _, err := x.d.Merge(ctx, db.MergeOptions{Into: into, From: from}); err != nil {
			t.Errorf("merge %d: %v", i, err)
			break
		}
	}
	close(stop)
	wg.Wait()
	verifyDeep(t, x.d)
}
