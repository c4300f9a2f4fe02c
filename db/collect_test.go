package db_test

import (
	"context"
	"errors"
	"testing"

	"github.com/poddb/poddb/db"
)

// leaf is an object that others share.
type leaf struct {
	Text string
	Next *leaf
}

type holder struct {
	Name string
	Leaf *leaf
	More []*leaf
}

// collected collects main and checks that nothing unreachable is left.
func collected(t *testing.T, d *db.DB) db.CollectReport {
	t.Helper()
	rep, err := d.Collect(context.Background(), db.CollectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	nothingUnreachable(t, d)
	return rep
}

func nothingUnreachable(t *testing.T, d *db.DB) {
	t.Helper()
	rep, err := d.Verify(context.Background(), db.VerifyOptions{Deep: true})
	if err != nil || len(rep.Problems) > 0 || rep.Unreachable+rep.UnreachableSlots > 0 {
		t.Fatalf("%d pods and %d slots are unreachable; %v %v", rep.Unreachable, rep.UnreachableSlots, rep.Problems, err)
	}
}

// list makes a list of n leaves, each in a pod of its own or many in one.
func leaves(n int, text string) *leaf {
	var first *leaf
	for range n {
		first = &leaf{Text: text, Next: first}
	}
	return first
}

func length(l *leaf) (n int) {
	for ; l != nil; l = l.Next {
		n++
	}
	return n
}

// collectSizes are sizes of pods: one object each, and many.
var collectSizes = map[string]int{"small pods": 64, "large pods": 0}

func TestCollectAfterDelete(t *testing.T) {
	for name, size := range collectSizes {
		t.Run(name, func(t *testing.T) {
			d := openSized(t, size)
			ns := namespace(t, d)
			x := &holder{Name: "x", Leaf: leaves(300, "kept"), More: []*leaf{leaves(300, "dropped")}}
			set(t, ns, "x", x)
			set(t, ns, "y", leaves(300, "deleted"))
			before := save(t, ns)
			if rep := collected(t, d); rep.Commits != 0 {
				t.Fatalf("collected %+v of what is all reached", rep)
			}
			x.More = nil
			if err := ns.Delete(context.Background(), "y"); err != nil {
				t.Fatal(err)
			}
			save(t, ns)
			rep := collected(t, d)
			if rep.Pods == 0 {
				t.Fatalf("collected %+v", rep)
			}
			old := at(t, d, before)
			if got, err := db.Get[*leaf](context.Background(), old, "y"); err != nil || length(got) != 300 {
				t.Fatalf("old version: %v, %d", err, length(got))
			}
			x.Name = "again"
			save(t, ns)
			now, err := db.Get[*holder](context.Background(), at(t, d, ns.Base()), "x")
			if err != nil || now.Name != "again" || length(now.Leaf) != 300 {
				t.Fatalf("reads %+v: %v", now, err)
			}
			nothingUnreachable(t, d)
		})
	}
}

// A namespace may go on with objects that it kept while they were collected, and
// with neighbours of what was collected, without knowing of the collect.
func TestNamespaceGoesOnAfterCollect(t *testing.T) {
	for name, size := range collectSizes {
		t.Run(name, func(t *testing.T) {
			d := openSized(t, size)
			ns := namespace(t, d)
			shared := leaves(50, "shared")
			x, y := &holder{Name: "x", Leaf: shared}, &holder{Name: "y", Leaf: shared}
			set(t, ns, "x", x)
			set(t, ns, "y", y)
			save(t, ns)
			x.Leaf, y.Leaf = nil, shared.Next
			save(t, ns)
			collected(t, d) // shared itself
			y.Name = "Y"
			shared.Next.Text = "changed"
			save(t, ns)
			y.Leaf = nil
			save(t, ns)
			collected(t, d)
			x.Leaf = shared // kept in memory only
			shared.Text = "back"
			save(t, ns)
			nothingUnreachable(t, d)
			got, err := db.Get[*holder](context.Background(), at(t, d, ns.Base()), "x")
			if err != nil || length(got.Leaf) != 50 || got.Leaf.Text != "back" || got.Leaf.Next.Text != "changed" {
				t.Fatalf("reads %+v: %v", got, err)
			}
		})
	}
}

// Others drop and collect what a namespace has never heard of.
func TestNamespaceIsBehindSeveralCollects(t *testing.T) {
	for name, size := range collectSizes {
		t.Run(name, func(t *testing.T) {
			d := openSized(t, size)
			ns := namespace(t, d)
			x := &holder{Name: "x", Leaf: leaves(20, "x")}
			set(t, ns, "x", x)
			save(t, ns)
			for i := range 5 {
				garbage := leaves(40, "garbage")
				x.More = []*leaf{garbage, garbage.Next}
				save(t, ns)
				x.More = x.More[1:]
				x.More[0].Text = "other"
				save(t, ns)
				if _, err := d.Update(context.Background(), func(ctx context.Context, tx *db.Tx) error { return tx.Put(ctx, "z", i) }); err != nil {
					t.Fatal(err)
				}
				collected(t, d)
				if i%2 == 0 {
					x.Leaf.Text = "again"
					save(t, ns)
				}
			}
			x.More = nil
			save(t, ns)
			collected(t, d)
			save(t, ns)
			nothingUnreachable(t, d)
		})
	}
}

// Retention folds the commit of a collect into one that others made after it, and what
// the collect wrote would look like theirs: a namespace that has not followed the collect
// yet would be in conflict with them.
func TestNamespaceIsBehindCollectAndPrune(t *testing.T) {
	for name, size := range collectSizes {
		t.Run(name, func(t *testing.T) {
			ctx, d := context.Background(), openSized(t, size)
			ns := namespace(t, d)
			shared := leaves(50, "shared")
			x, y := &holder{Name: "x", Leaf: shared}, &holder{Name: "y", Leaf: shared}
			set(t, ns, "x", x)
			set(t, ns, "y", y)
			save(t, ns)
			x.Leaf, y.Leaf = nil, shared.Next // shared stays in a pod that the namespace holds
			save(t, ns)
			other := func(text string) db.Version {
				t.Helper()
				v, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error { return tx.Put(ctx, "other", leaves(2, text)) })
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			prune := func() {
				t.Helper()
				would, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1), DryRun: true})
				if err != nil {
					t.Fatal(err)
				}
				did, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)})
				if err != nil || did.Versions != would.Versions || did.PodVersions != would.PodVersions {
					t.Fatalf("removed %+v, a dry run said %+v: %v", did, would, err)
				}
			}
			before := other("before")
			if rep := collected(t, d); rep.Slots+rep.Pods == 0 {
				t.Fatalf("collected %+v", rep)
			}
			other("between")
			prune()
			other("after")
			y.Leaf.Text = "changed"
			save(t, ns)
			prune()
			if _, err := d.At(ctx, before); !errors.Is(err, db.ErrVersionGone) {
				t.Errorf("the namespace has followed the collect, but version %d is still kept: %v", before, err)
			}
		})
	}
}

func TestCheckoutAndUndoAfterCollect(t *testing.T) {
	for name, size := range collectSizes {
		t.Run(name, func(t *testing.T) {
			d := openSized(t, size)
			ns := namespace(t, d)
			x := &holder{Name: "x", Leaf: leaves(100, "x"), More: []*leaf{leaves(3, "more")}}
			y := leaves(100, "y")
			set(t, ns, "x", x)
			set(t, ns, "y", y)
			before := save(t, ns)
			x.Leaf = x.Leaf.Next.Next
			if err := ns.Delete(context.Background(), "y"); err != nil {
				t.Fatal(err)
			}
			save(t, ns)
			collected(t, d)
			if _, err := ns.Undo(context.Background()); err != nil {
				t.Fatalf("Undo: %v", err)
			}
			if got, err := db.Get[*leaf](context.Background(), ns, "y"); err != nil || length(got) != 100 || length(x.Leaf) != 100 {
				t.Fatalf("after Undo: %v, %d", err, length(got))
			}
			save(t, ns)
			if err := ns.Delete(context.Background(), "y"); err != nil {
				t.Fatal(err)
			}
			x.Leaf, x.More = nil, nil
			save(t, ns)
			collected(t, d)
			if err := ns.Checkout(context.Background(), before); err != nil {
				t.Fatalf("Checkout: %v", err)
			}
			save(t, ns)
			nothingUnreachable(t, d)
			now := at(t, d, ns.Base())
			got, err := db.Get[*holder](context.Background(), now, "x")
			if err != nil || length(got.Leaf) != 100 || len(got.More) != 1 {
				t.Fatalf("after Checkout: %+v, %v", got, err)
			}
			if got, err := db.Get[*leaf](context.Background(), now, "y"); err != nil || length(got) != 100 {
				t.Fatalf("after Checkout: %v, %d", err, length(got))
			}
			for c, err := range d.Diff(context.Background(), before, ns.Base()) {
				t.Errorf("differs from what was checked out: %v %v", c, err)
			}
		})
	}
}

func TestDiffOverCollect(t *testing.T) {
	d := openSized(t, 64)
	ns := namespace(t, d)
	x := &holder{Name: "x", Leaf: leaves(30, "x")}
	set(t, ns, "x", x)
	a := save(t, ns)
	x.Leaf = nil
	b := save(t, ns)
	rep := collected(t, d)
	changes := func(from, to db.Version) (n int) {
		for _, err := range d.Diff(context.Background(), from, to) {
			if n++; err != nil {
				t.Fatal(err)
			}
		}
		return n
	}
	if changes(b, rep.Head) != 0 || changes(rep.Head, b) != 0 {
		for c, err := range d.Diff(context.Background(), b, rep.Head) {
			t.Log(c, err)
		}
		t.Fatal("a collect shows in Diff", changes(b, rep.Head), changes(rep.Head, b))
	}
	if changes(a, b) != changes(a, rep.Head) || changes(b, a) != changes(rep.Head, a) || changes(a, b) == 0 {
		t.Fatal("Diff over a collect differs from Diff up to it")
	}
}

func TestCollectMisuse(t *testing.T) {
	d := openSized(t, 64)
	if _, err := d.Collect(context.Background(), db.CollectOptions{Branch: "nowhere"}); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("unknown branch: %v", err)
	}
	if rep, err := d.Collect(context.Background(), db.CollectOptions{}); err != nil || rep.Commits != 0 {
		t.Errorf("empty database: %+v, %v", rep, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Collect(context.Background(), db.CollectOptions{}); !errors.Is(err, db.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func openSized(t *testing.T, target int) *db.DB {
	t.Helper()
	d := must(db.OpenMemory(context.Background(), &db.Options{Types: testTypes(), VerifyEvery: 1, PodTargetBytes: target}))(t)
	t.Cleanup(func() { d.Close() })
	return d
}

func at(t *testing.T, d *db.DB, v db.Version) *db.Snapshot {
	t.Helper()
	sn := must(d.At(context.Background(), v))(t)
	t.Cleanup(func() { sn.Close() })
	return sn
}
