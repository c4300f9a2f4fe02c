package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/db"
)

// BenchmarkTxBehindHistory changes one of 1,000 small variables in each transaction, in a
// database in memory with and without 100,000 versions before.
func BenchmarkTxBehindHistory(b *testing.B) {
	for _, versions := range []int{0, 100_000} {
		b.Run(fmt.Sprint("versions=", versions), func(b *testing.B) { txsBehind(b, versions) })
	}
}

func txsBehind(b *testing.B, versions int) {
	const variables = 1000
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, &db.Options{MemoryBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		for i := range variables {
			if err := tx.Put(ctx, fmt.Sprint("user/", i), &holding{Owner: &person{Name: "somebody"}, Balance: i}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	change := func() {
		if err := raise(ctx, d, fmt.Sprint("user/", rng.IntN(variables))); err != nil {
			b.Fatal(err)
		}
	}
	for range versions {
		change()
	}
	if err := d.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	measureTxs(b, change)
}

// measureTxs is apart from what came before, for profiles.
func measureTxs(b *testing.B, change func()) {
	b.ReportAllocs()
	for b.Loop() {
		change()
	}
}
