package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// contents is all of a version as JSON, with every reference that is shared.
func contents(t *testing.T, d *db.DB, v db.Version) string {
	t.Helper()
	ctx := context.Background()
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	var b strings.Builder
	for n, err := range s.Names(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: ", n)
		if err := s.WriteJSON(ctx, &b, n, db.JSONOptions{}); err != nil {
			t.Fatalf("version %d, %s: %v", v, n, err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// shelvesAt loads variables s0, s1 … and what they share.
func shelvesAt(t *testing.T, r db.Reader, names []string) map[string]*shelf {
	t.Helper()
	got := map[string]*shelf{}
	for _, n := range names {
		got[n] = get[*shelf](t, r, n)
	}
	return got
}

// Random histories with edits that share, move, drop and make objects; again and again back to a
// random version, a few commits between. What is there then is that version, by Diff, as JSON, and
// loaded; it verifies, a load and a save write nothing, and saves go on. Live variables that were there
// before come along with Checkout.
func TestRevertToOfRandomHistories(t *testing.T) {
	ctx := context.Background()
	back := 0
	for seed := range uint64(rounds(4)) * 4 {
		rng := rand.New(rand.NewPCG(seed, 21))
		d := must(db.OpenMemory(ctx, &db.Options{PodTargetBytes: 64 << rng.IntN(8), Types: db.Types(db.Type[shelf]("db_test.shelf"))}))(t)
		ns := namespace(t, d)
		shelves := map[string]*shelf{}
		for i := range 4 {
			n := fmt.Sprint("s", i)
			shelves[n] = stock(3 + rng.IntN(20))
			set(t, ns, n, shelves[n])
		}
		versions := []db.Version{0, save(t, ns)}
		for range 30 {
			if rng.IntN(4) > 0 {
				editShelves(t, ns, shelves, rng)
				versions = append(versions, save(t, ns))
				continue
			}
			to := versions[rng.IntN(len(versions))]
			if rng.IntN(3) == 0 {
				must(d.Collect(ctx, db.CollectOptions{}))(t) // what that version needs may be taken away
			}
			watcher := namespace(t, d)
			var names []string
			for n := range shelves {
				names = append(names, n)
			}
			shelvesAt(t, watcher, names)
			head := must(d.Head(ctx, "main"))(t)
			v := must(d.RevertTo(ctx, to))(t)
			if got := changes(t, d, to, v); got != "" {
				t.Fatalf("seed %d: version %d is %d but for %s", seed, v, to, got)
			}
			if got, want := contents(t, d, v), contents(t, d, to); got != want {
				t.Fatalf("seed %d: version %d has\n%s\nversion %d\n%s", seed, v, got, to, want)
			}
			if again := must(d.RevertTo(ctx, to))(t); again != v {
				t.Fatalf("seed %d: going to %d twice made version %d after %d", seed, to, again, v)
			}
			if v != head {
				back++
				versions = append(versions, v)
			}
			if err := watcher.Checkout(ctx, v); err != nil {
				t.Fatalf("seed %d: Checkout of what was live: %v", seed, err)
			}
			if got := save(t, watcher); got != v {
				t.Fatalf("seed %d: a save after Checkout writes version %d: %s", seed, got, changes(t, d, v, got))
			}
			verifyDeep(t, d)
			ns = namespace(t, d)
			clear(shelves)
			for n := range ns.Names() {
				shelves[n] = get[*shelf](t, ns, n)
			}
			if got := save(t, ns); got != v {
				t.Fatalf("seed %d: a load and a save write version %d: %s", seed, got, changes(t, d, v, got))
			}
			if rng.IntN(4) == 0 {
				must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(6)}))(t)
				versions = versions[max(0, len(versions)-6):]
			}
		}
		verifyDeep(t, d)
	}
	if back < 20 {
		t.Errorf("went back %d times: the test proves little", back)
	}
}

// editShelves does a few things to live variables.
func editShelves(t *testing.T, ns *db.Namespace, shelves map[string]*shelf, rng *rand.Rand) {
	t.Helper()
	any := func() *shelf {
		k := rng.IntN(max(1, len(shelves)))
		for _, n := range []string{"s0", "s1", "s2", "s3", "s4", "s5"} {
			if s := shelves[n]; s != nil {
				if k--; k < 0 {
					return s
				}
			}
		}
		return stock(2)
	}
	for range 1 + rng.IntN(3) {
		s, other := any(), any()
		n := fmt.Sprint("s", rng.IntN(6))
		switch rng.IntN(9) {
		case 0:
			s.Items = append(s.Items, &article{Name: "new", Like: other.Best})
		case 1:
			s.Items = s.Items[:1+rng.IntN(len(s.Items))]
		case 2:
			s.Any = other.Items[rng.IntN(len(other.Items))]
		case 3:
			s.Prices[fmt.Sprint(rng.IntN(100))] = rng.Float64()
		case 4:
			s.Items[rng.IntN(len(s.Items))].Tags = make([]string, rng.IntN(300))
		case 5:
			s.Next = stock(2)
		case 6:
			s.Best = &article{Name: "best", Like: s.Items[0]}
		case 7:
			shelves[n] = stock(2 + rng.IntN(9))
			set(t, ns, n, shelves[n])
		case 8:
			if shelves[n] != nil && len(shelves) > 1 {
				delete(shelves, n)
				if err := ns.Delete(context.Background(), n); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func TestRevertToIsRefused(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	for i := range 5 {
		putAll(t, d, map[string]any{"n": i})
	}
	if err := d.Branch(ctx, "b", 2); err != nil {
		t.Fatal(err)
	}
	on := db.RevertOptions{Branch: "b", Message: "m", Author: "a"}
	for _, bad := range []struct {
		v    db.Version
		o    db.RevertOptions
		want error
	}{{9, db.RevertOptions{}, db.ErrNotFound}, {1, db.RevertOptions{Branch: "x"}, db.ErrNotFound}, {4, on, db.ErrInvalid}} {
		if _, err := d.RevertTo(ctx, bad.v, bad.o); !errors.Is(err, bad.want) {
			t.Errorf("%d %+v: %v", bad.v, bad.o, err)
		}
	}
	v := must(d.RevertTo(ctx, 1, on))(t) // of the branch that it began on
	if c := must(d.CommitOf(ctx, v))(t); c.Branch != "b" || c.Message != "m" || c.Author != "a" || changes(t, d, 1, v) != "" {
		t.Fatalf("%+v", c)
	}
	v = must(d.RevertTo(ctx, 0))(t)
	if c := must(d.CommitOf(ctx, v))(t); c.Message != "back to version 0" || changes(t, d, 5, v) != "n: removed 4" {
		t.Fatalf("%+v: %s", c, changes(t, d, 5, v))
	}
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	if _, err := d.RevertTo(ctx, 4); !errors.Is(err, db.ErrVersionGone) {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := d.RevertTo(canceled, 2); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	verifyDeep(t, d)
}
