package db_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/db"
)

// smallTxVariables is how many variables the database of BenchmarkSmallTx has.
const smallTxVariables = 100_000

// BenchmarkSmallTx reads and changes one small variable of many in each
// transaction, each writer its own ones.
func BenchmarkSmallTx(b *testing.B) {
	ctx := context.Background()
	for _, where := range []string{"memory", "file"} {
		b.Run(where, func(b *testing.B) {
			var d *db.DB
			var err error
			if where == "memory" {
				d, err = db.OpenMemory(ctx, nil)
			} else {
				d, err = db.Open(ctx, b.TempDir()+"/b.pod", nil)
			}
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			fillSmall(b, d)
			for _, writers := range []int{1, 16} {
				b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) { smallTxs(b, d, writers) })
			}
		})
	}
}

func fillSmall(b *testing.B, d *db.DB) {
	ctx := context.Background()
	for from := 0; from < smallTxVariables; from += 10_000 {
		if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			for i := from; i < from+10_000; i++ {
				if err := tx.Put(ctx, fmt.Sprintf("user/%06d", i), &holding{Owner: &person{Name: "somebody"}, Balance: i}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	if err := d.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
}

// raise is a small transaction.
func raise(ctx context.Context, d *db.DB, name string) error {
	_, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		a, err := db.Get[*holding](ctx, tx, name)
		if err == nil {
			a.Balance++
		}
		return err
	})
	return err
}

func smallTxs(b *testing.B, d *db.DB, writers int) {
	ctx := context.Background()
	b.ReportAllocs()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				name := fmt.Sprintf("user/%06d", (int(i)*7919/writers*writers+w)%smallTxVariables)
				if err := raise(ctx, d, name); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
}

// BenchmarkSmallRead reads one small variable of many in each View.
func BenchmarkSmallRead(b *testing.B) {
	ctx := context.Background()
	d, err := db.Open(ctx, b.TempDir()+"/b.pod", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	fillSmall(b, d)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		name := fmt.Sprintf("user/%06d", i*7919%smallTxVariables)
		if err := d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
			_, err := db.Get[*holding](ctx, s, name)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
