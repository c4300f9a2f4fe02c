package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/poddb/poddb/db"
)

// What only a deleted branch holds can be given back: brought back to where it began,
// collected, and ended with a commit that retention keeps in place of the others.
func TestSpaceOfADeletedBranchComesBack(t *testing.T) {
	ctx := context.Background()
	sizes := map[bool]int64{}
	for _, emptied := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), sampleName)
		d := must(db.Open(ctx, path, nil))(t)
		defer d.Close()
		start := putAll(t, d, map[string]any{"p": &person{Name: "Ann"}})
		if err := d.Branch(ctx, "try", start); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range 5 {
			tx := begin(t, d, db.TxOptions{Branch: "try"})
			for k := range 100 {
				raw := make([]byte, 5000)
				for j := range raw {
					raw[j] = byte(rng.Uint32())
				}
				put(t, tx, fmt.Sprint("x", i, "/", k), &shelf{Raw: raw})
			}
			get[*person](t, tx, "p").Name = fmt.Sprint("changed ", i)
			commit(t, tx)
		}
		if emptied {
			must(d.RevertTo(ctx, start, db.RevertOptions{Branch: "try"}))(t)
			must(d.Collect(ctx, db.CollectOptions{Branch: "try"}))(t)
			tx := begin(t, d, db.TxOptions{Branch: "try"}) // retention keeps the newest commit that is no Collect
			put(t, tx, "end", true)
			commit(t, tx)
		}
		if err := d.DeleteBranch(ctx, "try"); err != nil {
			t.Fatal(err)
		}
		must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepAll()}))(t)
		for range 3 { // space comes back with the checkpoints behind it
			if err := d.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
			putAll(t, d, map[string]any{"n": rng.Int()})
		}
		must(d.Compact(ctx))(t)
		verifyDeep(t, d)
		if s := get[*person](t, head(t, d), "p"); s.Name != "Ann" {
			t.Fatal(s.Name)
		}
		sizes[emptied] = d.Stats().FileBytes
	}
	t.Logf("file: %d bytes, emptied before %d", sizes[false], sizes[true])
	if sizes[false] < 2_500_000 || sizes[true] > sizes[false]/3 {
		t.Fatalf("file: %d bytes, emptied before %d", sizes[false], sizes[true])
	}
}
