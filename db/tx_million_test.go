package db_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
)

// flagVariables is how many variables TestAMillionVariables makes.
var flagVariables = flag.Int("db.variables", 0, "variables of TestAMillionVariables; 0 is 200,000, and 20,000 with -short")

func manyName(i int) string { return fmt.Sprintf("user/%06d", i) }

// fillMany loads variables in bulk: some thousand in each transaction.
func fillMany(t testing.TB, d *db.DB, n int) {
	t.Helper()
	ctx := context.Background()
	for from := 0; from < n; from += 10_000 {
		if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			for i := from; i < min(n, from+10_000); i++ {
				if err := tx.Put(ctx, manyName(i), &holding{Owner: &person{Name: "somebody"}, Balance: i}); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

// Very many variables: get, put and delete among them, walks of a prefix in both
// directions, from the beginning and broken off, and commits that write what they
// change and nothing else.
func TestAMillionVariables(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	if *flagVariables > 0 {
		n = *flagVariables
	}
	ctx := context.Background()
	d := openMemory(t)
	fillMany(t, d, n)
	if err := d.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}

	gone, added := n/2, manyName(n/3)+"/x"
	for i := 7; i < n; i += n / 10 {
		tx := begin(t, d)
		get[*holding](t, tx, manyName(i)).Balance = -i
		commit(t, tx)
		if st := tx.Stats(); st.PodsWritten != 1 || st.Objects > 4 || st.Bytes > 300 {
			t.Fatalf("a commit that changed one of %d variables: %+v", n, st)
		}
	}
	tx := begin(t, d)
	remove(t, tx, manyName(gone))
	put(t, tx, added, &holding{Balance: 1})
	commit(t, tx)

	s := head(t, d)
	for i := 7; i < n; i += n / 10 {
		if got := get[*holding](t, s, manyName(i)); got.Balance != -i || get[*holding](t, s, manyName(i+1)).Balance != i+1 {
			t.Fatalf("variable %d is %d", i, got.Balance)
		}
	}
	if _, err := db.Get[*holding](ctx, s, manyName(gone)); !errors.Is(err, db.ErrNotFound) {
		t.Fatalf("a deleted one of many: %v", err)
	}
	var want []string
	for i := range n {
		if i != gone {
			want = append(want, manyName(i))
		}
	}
	at, _ := slices.BinarySearch(want, added)
	want = slices.Insert(want, at, added)
	checkWalks(t, s, want)
}

// checkWalks walks all names, and those of narrower prefixes, in both directions.
func checkWalks(t *testing.T, s *db.Snapshot, want []string) {
	t.Helper()
	ctx := context.Background()
	for _, prefix := range []string{"", "user/", want[len(want)/2][:8], added(want), "user/x", "v"} {
		var in []string
		for _, n := range want {
			if len(n) >= len(prefix) && n[:len(prefix)] == prefix {
				in = append(in, n)
			}
		}
		var got []string
		for n, err := range s.Names(ctx, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		var back []string
		for n, err := range s.NamesBackward(ctx, prefix) {
			if err != nil {
				t.Fatal(err)
			}
			back = append(back, n)
		}
		slices.Reverse(back)
		if !slices.Equal(got, in) || !slices.Equal(back, in) {
			t.Fatalf("prefix %q has %d names; %d forward, %d backward", prefix, len(in), len(got), len(back))
		}
	}
}

// added is a name whose variable lies between others that begin as it does.
func added(names []string) string { return names[len(names)/3] }

// BenchmarkManyVariables is bulk load, and then one of each operation among many.
func BenchmarkManyVariables(b *testing.B) {
	ctx := context.Background()
	open := func() *db.DB {
		d, err := db.OpenMemory(ctx, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Close() })
		return d
	}
	d := open()
	const n = 100_000
	fillMany(b, d, n)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			fillMany(b, open(), n)
		}
		b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "variables/s")
	})
	if err := d.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	i := 0
	next := func() string { i += 7919; return manyName(i % n) }
	b.Run("get", func(b *testing.B) {
		s := head(b, d)
		for b.Loop() {
			get[*holding](b, s, next())
		}
	})
	b.Run("change", func(b *testing.B) {
		for b.Loop() {
			if err := raise(ctx, d, next()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("walk-100", func(b *testing.B) {
		s := head(b, d)
		for b.Loop() {
			count := 0
			for _, err := range s.Names(ctx, next()[:9]) {
				if err != nil {
					b.Fatal(err)
				}
				count++
			}
			if count != 100 {
				b.Fatalf("%d names", count)
			}
		}
	})
}
