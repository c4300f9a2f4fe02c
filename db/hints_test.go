package db_test

import (
	"context"
	"errors"
	"testing"

	"github.com/poddb/poddb/db"
)

// liar vouches for all memory that a save asks about.
type liar struct{}

func (liar) Moment() uint64 { return 0 }

func (liar) Unchanged(list []db.MemoryRange, _, _ uint64, asked []db.MemoryRange) []db.MemoryRange {
	return append(list, asked...)
}

// A wrong hint is ErrUnsound with VerifyEvery, and nothing is committed; what a save that
// walks finds is stored.
func TestAWrongHintIsReported(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Hints: liar{}, VerifyEvery: 1}))(t)
	defer d.Close()
	ns := must(d.Namespace(ctx, "main"))(t)
	x := &struct{ A, B int }{1, 2}
	if err := ns.Set(ctx, "x", x); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		must(ns.Save(ctx))(t)
	}
	base := ns.Base()
	x.A = 7
	if v, err := ns.Save(ctx); !errors.Is(err, db.ErrUnsound) || ns.Base() != base {
		t.Fatalf("version %d, error %v", v, err)
	}
	ns.Trim()
	sn := must(d.At(ctx, must(ns.Save(ctx))(t)))(t)
	defer sn.Close()
	if got := must(db.Get[*struct{ A, B int }](ctx, sn, "x"))(t); *got != *x {
		t.Errorf("stored %v", *got)
	}
}
