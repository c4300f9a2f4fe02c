package db

import (
	"context"
	"slices"
	"testing"
)

// Branches do not collide with each other.
func TestTxOnABranch(t *testing.T) {
	ctx := context.Background()
	d, err := OpenMemory(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	type point struct{ X int }
	update := func(branch string, fn func(tx *Tx) error) Version {
		t.Helper()
		v, err := d.Update(ctx, func(_ context.Context, tx *Tx) error { return fn(tx) }, TxOptions{Branch: branch})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v1 := update("", func(tx *Tx) error { return tx.Put(ctx, "x", &point{1}) })
	if err := d.store.CreateBranch(ctx, "side", v1); err != nil {
		t.Fatal(err)
	}
	move := func(to int) func(tx *Tx) error {
		return func(tx *Tx) error {
			p, err := Get[*point](ctx, tx, "x")
			if err == nil {
				p.X = to
			}
			return err
		}
	}
	side, err := d.Begin(ctx, TxOptions{Branch: "side"})
	if err != nil {
		t.Fatal(err)
	}
	if err := move(2)(side); err != nil {
		t.Fatal(err)
	}
	names := func(tx *Tx) (list []string) {
		for n, err := range tx.Names(ctx, "") {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, n)
		}
		return list
	}
	names(side)
	update("main", func(tx *Tx) error {
		if err := tx.Put(ctx, "y", 1); err != nil {
			return err
		}
		return move(3)(tx)
	})
	v, err := side.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for branch, want := range map[string]int{"side": 2, "main": 3} {
		err := d.View(ctx, func(ctx context.Context, s *Snapshot) error {
			p, err := Get[*point](ctx, s, "x")
			if err == nil && p.X != want {
				t.Errorf("%s: %d", branch, p.X)
			}
			if branch == "side" && s.Version() != v {
				t.Errorf("View of a branch shows version %d", s.Version())
			}
			return err
		}, ViewOptions{Branch: branch})
		if err != nil {
			t.Error(err)
		}
	}
	update("side", func(tx *Tx) error {
		if n := names(tx); !slices.Equal(n, []string{"x"}) {
			t.Errorf("names of the branch: %q", n)
		}
		return nil
	})
}
