package db_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/poddb/poddb/db"
)

type List struct{ Items []any }

// The quick start: save live objects, change them, read an old version.
func Example() {
	dir, err := os.MkdirTemp("", "poddb")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := quickStart(context.Background(), filepath.Join(dir, "app.pod")); err != nil {
		log.Fatal(err)
	}
	// Output:
	// version 3: x has 2 items, the second is y: true
	// version 1: x has 1 item
}

func quickStart(ctx context.Context, path string) error {
	d, err := db.Open(ctx, path, nil) // nil options are safe defaults
	if err != nil {
		return err
	}
	defer d.Close()

	ns, err := d.Namespace(ctx, "main") // live variables
	if err != nil {
		return err
	}
	x := &List{Items: []any{strings.Repeat("0", 1_000_000)}}
	if err := ns.Set(ctx, "x", x); err != nil {
		return err
	}
	t1, err := ns.Save(ctx) // durable when it returns
	if err != nil {
		return err
	}
	y := &List{Items: []any{strings.Repeat("1", 1_000_000)}}
	if err := ns.Set(ctx, "y", y); err != nil {
		return err
	}
	if _, err := ns.Save(ctx); err != nil {
		return err
	}
	x.Items = append(x.Items, y) // x now refers to y
	t3, err := ns.Save(ctx)      // writes a few slots, not the megabytes
	if err != nil {
		return err
	}

	s, err := d.At(ctx, t3) // read-only, for many goroutines
	if err != nil {
		return err
	}
	defer s.Close()
	var v struct{ X, Y *List } // one load keeps what they share
	if err := s.Load(ctx, &v); err != nil {
		return err
	}
	fmt.Printf("version %d: x has %d items, the second is y: %t\n", t3, len(v.X.Items), v.X.Items[1] == any(v.Y))

	old, err := d.At(ctx, t1)
	if err != nil {
		return err
	}
	defer old.Close()
	x1, err := db.Get[*List](ctx, old, "x")
	if err != nil {
		return err
	}
	fmt.Printf("version %d: x has %d item\n", t1, len(x1.Items))
	return nil
}
