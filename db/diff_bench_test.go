package db_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/poddb/poddb/db"
)

// BenchmarkDiff compares versions of 100,000 small variables, 100 commits apart, each of
// which changed one.
func BenchmarkDiff(b *testing.B) {
	ctx := context.Background()
	d, err := db.Open(ctx, b.TempDir()+"/b.pod", &db.Options{Durability: db.DurabilityNone, MemoryBytes: 512 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	fillSmall(b, d)
	first, err := d.Head(ctx, "main")
	if err != nil {
		b.Fatal(err)
	}
	const commits, apart = 5000, 100
	for i := range commits {
		if err := raise(ctx, d, fmt.Sprintf("user/%06d", i*7919%smallTxVariables)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v := first + db.Version(i*3571%(commits-apart))
		n := 0
		for _, err := range d.Diff(ctx, v, v+apart) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != apart {
			b.Fatalf("%d differences", n)
		}
	}
}
