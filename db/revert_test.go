package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/poddb/poddb/db"
)

func TestUndoTakesTheLastSaveBack(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	if _, err := ns.Undo(ctx); !errors.Is(err, db.ErrNotFound) {
		t.Fatalf("nothing to undo: %v", err)
	}
	s := stock(30)
	set(t, ns, "s", s)
	v1 := save(t, ns)
	first := s.Items[0]
	s.Items = append(s.Items, &article{Name: "new"})
	s.Items[0].Price, s.Name = 99, "other"
	set(t, ns, "more", &person{Name: "more"})
	v2 := save(t, ns)
	s.Name = "unsaved"
	if _, err := ns.Undo(ctx); !errors.Is(err, db.ErrUnsaved) {
		t.Fatalf("with unsaved changes: %v", err)
	}
	s.Name = "other"

	v3 := must(ns.Undo(ctx))(t)
	if s.Name != "shelf" || len(s.Items) != 30 || s.Items[0] != first || first.Price != 0 {
		t.Fatalf("live: %q, %d items, the first costs %v", s.Name, len(s.Items), first.Price)
	}
	if got := changes(t, d, v1, v3); got != "" {
		t.Fatalf("undone, but for %s", got)
	}
	if v := save(t, ns); v != v3 || ns.Base() != v3 {
		t.Fatalf("a save after Undo wrote version %d, base %d", v, ns.Base())
	}
	v4 := must(ns.Undo(ctx))(t) // the undoing
	if got := changes(t, d, v2, v4); got != "" || s.Name != "other" || len(s.Items) != 31 {
		t.Fatalf("redone: %q, %d items, but for %s", s.Name, len(s.Items), got)
	}
	s.Name = "goes on"
	save(t, ns)
	verifyDeep(t, d)
	if c := must(d.CommitOf(ctx, v3))(t); c.Message != "undo version 2" {
		t.Fatalf("%+v", c)
	}
}

func TestRevertOfAnOldCommit(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, path, nil))(t)
	ns := namespace(t, d)
	a, b := stock(200), stock(200)
	set(t, ns, "a", a)
	set(t, ns, "b", b)
	save(t, ns)
	a.Items[150].Price = -1
	a.Items = append(a.Items, &article{Name: "added"})
	v2 := save(t, ns)
	b.Name = "later"
	v3 := save(t, ns)
	v4 := must(d.Revert(ctx, v2, db.RevertOptions{Author: "me"}))(t)
	if got := changes(t, d, v3, v4); got != "a.Items[200]: removed *article\na.Items[150].Price: -1 → 150" {
		t.Fatal(got)
	}
	if got := changes(t, d, 1, v4); got != `b.Name: "shelf" → "later"` {
		t.Fatal(got)
	}
	if c := must(d.CommitOf(ctx, v4))(t); c.Author != "me" || c.Message != "revert version 2" {
		t.Fatalf("%+v", c)
	}
	// It is as any commit: it loads, a save after a load writes nothing, and goes on.
	again := must(d.Namespace(ctx, "main"))(t)
	x := must(db.Get[*shelf](ctx, again, "a"))(t)
	if v := save(t, again); v != v4 || len(x.Items) != 200 {
		t.Fatalf("a load and save after Revert wrote version %d", v)
	}
	x.Items[150].Price = 77
	x.Items = append(x.Items, &article{Name: "once more"})
	v5 := save(t, again)
	if _, err := d.Revert(ctx, v2); !errors.Is(err, db.ErrConflict) {
		t.Fatalf("what later commits touched: %v", err)
	}
	for v, want := range map[db.Version]error{v5 + 9: db.ErrNotFound, 0: db.ErrNotFound} {
		if _, err := d.Revert(ctx, v); !errors.Is(err, want) {
			t.Errorf("version %d: %v", v, err)
		}
	}
	if err := d.Branch(ctx, "old", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Revert(ctx, v2, db.RevertOptions{Branch: "old"}); !errors.Is(err, db.ErrInvalid) {
		t.Fatalf("a version that the branch does not have: %v", err)
	}
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	if _, err := d.Revert(ctx, v5); !errors.Is(err, db.ErrVersionGone) {
		t.Fatalf("the state before was pruned: %v", err)
	}
	verifyDeep(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A variable that is bound anew where it is loaded keeps its pod, and gets another one where it is
// not. Taking the first back after the second is a conflict, as is one of a variable that is gone.
func TestRevertOfABindingThatWasReplaced(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	bind := func(n int, load bool) db.Version {
		return must(d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			p := &person{Name: fmt.Sprint(n), Friend: &person{Name: "friend"}}
			if load {
				before, err := db.Get[*person](ctx, tx, "u")
				if err != nil {
					return err
				}
				p.Friend = before.Friend
			}
			return tx.Put(ctx, "u", p)
		}))(t)
	}
	bind(1, false)
	v2 := bind(2, true)
	v3 := bind(3, false)
	var c *db.ConflictError
	if v, err := d.Revert(ctx, v2); !errors.As(err, &c) || len(c.Names) != 1 || c.Names[0] != "u" {
		t.Fatalf("what version 2 bound was bound anew by 3: version %d, %v", v, err)
	}
	v4 := must(d.Revert(ctx, v3))(t)
	if got := changes(t, d, v2, v4); got != "" {
		t.Fatal(got)
	}
	v5 := must(d.Revert(ctx, v2))(t)
	if got := changes(t, d, 1, v5); got != "" {
		t.Fatal(got)
	}
	v6 := bind(6, true)
	must(d.Update(ctx, func(ctx context.Context, tx *db.Tx) error { return tx.Delete(ctx, "u") }))(t)
	if v, err := d.Revert(ctx, v6); !errors.As(err, &c) || len(c.Names) != 1 || c.Names[0] != "u" {
		t.Fatalf("what version %d bound is deleted: version %d, %v", v6, v, err)
	}
	verifyDeep(t, d)
}

// Random edits of several variables that share objects, each save reverted at once, or
// later if nothing stands in its way: what is left is the state without it, and
// everything goes on loading, saving nothing, and verifying.
func TestRevertOfRandomSaves(t *testing.T) {
	ctx := context.Background()
	reverted, refused := 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 8))
		d := openMemory(t)
		ns := namespace(t, d)
		var shelves []*shelf
		for i := range 5 {
			shelves = append(shelves, stock(3+rng.IntN(60)))
			set(t, ns, fmt.Sprint("s", i), shelves[i])
		}
		save(t, ns)
		for range 12 {
			s, other := shelves[rng.IntN(5)], shelves[rng.IntN(5)]
			before := ns.Base()
			switch rng.IntN(6) {
			case 0:
				s.Items = append(s.Items, &article{Name: "new", Like: other.Items[0]})
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
			}
			v := save(t, ns)
			if v == before {
				continue
			}
			if rng.IntN(2) == 0 {
				undone := must(ns.Undo(ctx))(t)
				if got := changes(t, d, before, undone); got != "" {
					t.Fatalf("seed %d: undone, but for %s", seed, got)
				}
				if got := save(t, ns); got != undone {
					t.Fatalf("seed %d: a save after Undo writes version %d: %s", seed, got, changes(t, d, undone, got))
				}
				reverted++
				continue
			}
			// Somebody else commits to another variable meanwhile.
			theirs := namespace(t, d)
			name := fmt.Sprint("s", rng.IntN(5))
			x := must(db.Get[*shelf](ctx, theirs, name))(t)
			x.Raw = append(x.Raw, byte(rng.Uint32()))
			head := save(t, theirs)
			now, err := d.Revert(ctx, v)
			switch {
			case errors.Is(err, db.ErrConflict):
				refused++
				now = head
			case err != nil:
				t.Fatal(err)
			default:
				reverted++
			}
			ns = namespace(t, d)
			for i := range shelves {
				shelves[i] = must(db.Get[*shelf](ctx, ns, fmt.Sprint("s", i)))(t)
			}
			if got := save(t, ns); got != now {
				t.Fatalf("seed %d: a load and save after Revert writes version %d", seed, got)
			}
			if err == nil {
				one, two := changes(t, d, before, now), changes(t, d, v, head)
				if one != two {
					t.Fatalf("seed %d: without the save it is\n%s\nexpected\n%s", seed, one, two)
				}
			}
		}
		verifyDeep(t, d)
	}
	t.Logf("%d reverted, %d refused", reverted, refused)
	if reverted < 20 || refused == 0 {
		t.Errorf("%d reverted, %d refused: the test proves little", reverted, refused)
	}
}

// What a commit added and something later refers to is not taken from it: taking the
// commit back is a conflict, though nobody touched the pods that it wrote.
func TestRevertOfWhatIsReferredToSince(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	var shelves [3]*shelf
	for i := range shelves {
		shelves[i] = stock(200)
		set(t, ns, fmt.Sprint("s", i), shelves[i])
	}
	save(t, ns)
	shared := &article{Name: "shared"}
	shelves[0].Any, shelves[1].Any = shared, shared
	v2 := save(t, ns)
	shelves[2].Any = shared
	v3 := save(t, ns)
	if _, err := d.Revert(ctx, v2); !errors.Is(err, db.ErrConflict) {
		t.Fatalf("something refers to what it added: %v", err)
	}
	v4 := must(d.Revert(ctx, v3))(t)
	v5 := must(d.Revert(ctx, v2))(t) // nothing does any more
	if got := changes(t, d, 1, v5); got != "" || v4 >= v5 {
		t.Fatal(got)
	}
	verifyDeep(t, d)
}
