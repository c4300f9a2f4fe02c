package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

// A merge is the base of the next one, in either direction; what is merged is not merged again,
// and a branch that has all of another is up to date.
func TestMergeAgain(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	first := namespace(t, d)
	set(t, first, "s", stock(50))
	save(t, first)
	_, b := fork(t, d)
	r := must(d.Merge(ctx, db.MergeOptions{From: "other"}))(t)
	if !r.UpToDate || r.Version != 1 {
		t.Fatalf("nothing to merge: %+v", r)
	}
	sb := shelfOf(t, b)
	sb.Name = "theirs"
	save(t, b)
	r, s := merged(t, d, db.MergeOptions{Author: "me"})
	if !r.FastForward || s.Name != "theirs" || r.Base != 1 {
		t.Fatalf("%+v", r)
	}
	if c := must(d.CommitOf(ctx, r.Version))(t); c.Author != "me" || c.Message != `merge branch "other" into "main"` {
		t.Fatalf("%+v", c)
	}
	if r := must(d.Merge(ctx, db.MergeOptions{From: "other"}))(t); !r.UpToDate {
		t.Fatalf("merged already: %+v", r)
	}
	// The same place on both sides, one after the other: no conflict.
	a := namespace(t, d)
	sa := shelfOf(t, a)
	sa.Name = "ours"
	save(t, a)
	sb.Items[3].Price = 33
	save(t, b)
	r, s = merged(t, d, db.MergeOptions{})
	if s.Name != "ours" || s.Items[3].Price != 33 || r.FastForward {
		t.Fatalf("%+v: %q", r, s.Name)
	}
	// The other way, and criss-cross.
	sb.Items[4].Price = 44
	save(t, b)
	back := must(d.Merge(ctx, db.MergeOptions{Into: "other", From: "main"}))(t)
	if back.FastForward || back.Base != r.Theirs {
		t.Fatalf("%+v", back)
	}
	a = namespace(t, d)
	shelfOf(t, a).Items[5].Price = 55
	save(t, a)
	r, s = merged(t, d, db.MergeOptions{})
	if s.Items[4].Price != 44 || s.Items[5].Price != 55 || r.Base >= back.Version {
		t.Fatalf("%+v, %v", r, s.Items[4].Price)
	}
	if r := must(d.Merge(ctx, db.MergeOptions{Into: "other", From: "main"}))(t); !r.FastForward {
		t.Fatalf("%+v", r)
	}
	if got := changes(t, d, must(d.Head(ctx, "main"))(t), must(d.Head(ctx, "other"))(t)); got != "" {
		t.Fatalf("merged both ways they differ: %s", got)
	}
	verifyDeep(t, d)
}

func TestMergeOfVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	first := namespace(t, d)
	for _, n := range []string{"kept", "deleted by both", "deleted by one", "edited and deleted", "bound anew", "shared"} {
		set(t, first, n, &article{Name: n})
	}
	save(t, first)
	a, b := fork(t, d)
	must(db.Get[*article](ctx, b, "edited and deleted"))(t).Price = 5
	for _, ns := range []*db.Namespace{a, b} {
		set(t, ns, "same", &article{Name: "same"})
		if err := ns.Delete(ctx, "deleted by both"); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"deleted by one", "edited and deleted"} {
		if err := a.Delete(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	x := must(db.Get[*article](ctx, a, "shared"))(t)
	set(t, a, "new in ours", x)
	y := must(db.Get[*article](ctx, b, "shared"))(t)
	y.Price = 8
	set(t, b, "new in theirs", y)
	set(t, a, "n", ptrTo(1))
	set(t, b, "n", ptrTo(2))
	save(t, a)
	save(t, b)
	r := must(d.Merge(ctx, db.MergeOptions{From: "other", DryRun: true}))(t)
	want := "edited and deleted: *article → ours absent, theirs *article (changed behind it)\nn: absent → ours *int, theirs *int"
	if got := conflictTexts(r.Conflicts); got != want {
		t.Fatalf("%s\nwant\n%s", got, want)
	}
	r = must(d.Merge(ctx, db.MergeOptions{From: "other", Resolve: db.TakeTheirs}))(t)
	verifyDeep(t, d)
	if names := gardenNames(t, d, "main"); !slices.Equal(names, []string{"bound anew", "edited and deleted", "kept", "n", "new in ours", "new in theirs", "same", "shared"}) {
		t.Fatal(names)
	}
	var all struct {
		Shared *article `pod:"shared"`
		Ours   *article `pod:"new in ours"`
		Theirs *article `pod:"new in theirs"`
		Edited *article `pod:"edited and deleted"`
		N      *int     `pod:"n"`
	}
	if err := must(d.At(ctx, r.Version))(t).Load(ctx, &all); err != nil {
		t.Fatal(err)
	}
	if s := all.Shared; s.Price != 8 || all.Ours != s || all.Theirs != s || all.Edited.Price != 5 || *all.N != 2 {
		t.Fatalf("%+v", all)
	}
}

func ptrTo[T any](v T) *T { return &v }

// What Merge refuses, and that nothing was done then.
func TestMergeRefuses(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	if err := d.Branch(ctx, "empty", 0); err != nil {
		t.Fatal(err)
	}
	first := namespace(t, d)
	set(t, first, "s", stock(20))
	save(t, first)
	a, b := fork(t, d)
	shelfOf(t, a).Name = "ours"
	v := save(t, a)
	shelfOf(t, b).Name = "theirs"
	save(t, b)
	e := must(d.Namespace(ctx, "empty"))(t)
	set(t, e, "s", stock(3))
	save(t, e)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		o    db.MergeOptions
		ctx  context.Context
		want error
	}{
		"no branch":         {db.MergeOptions{}, ctx, db.ErrInvalid},
		"unknown branch":    {db.MergeOptions{From: "nobody"}, ctx, db.ErrNotFound},
		"into an unknown":   {db.MergeOptions{From: "other", Into: "nobody"}, ctx, db.ErrNotFound},
		"negative attempts": {db.MergeOptions{From: "other", Attempts: -1}, ctx, db.ErrInvalid},
		"unrelated":         {db.MergeOptions{From: "empty"}, ctx, db.ErrUnrelated},
		"unrelated, dry":    {db.MergeOptions{From: "empty", DryRun: true}, ctx, db.ErrUnrelated},
		"conflicts":         {db.MergeOptions{From: "other"}, ctx, db.ErrConflict},
		"left open":         {db.MergeOptions{From: "other", Resolve: func(*db.MergeConflict) error { return nil }}, ctx, db.ErrConflict},
		"resolver fails":    {db.MergeOptions{From: "other", Resolve: func(*db.MergeConflict) error { return boom }}, ctx, boom},
		"cancelled":         {db.MergeOptions{From: "other"}, cancelled, context.Canceled},
		"a value of another type": {db.MergeOptions{From: "other", Resolve: func(c *db.MergeConflict) error {
			c.Set(5)
			return nil
		}}, ctx, db.ErrTypeMismatch},
		"no value": {db.MergeOptions{From: "other", Resolve: func(c *db.MergeConflict) error {
			c.Set(nil)
			return nil
		}}, ctx, db.ErrTypeMismatch},
	} {
		if _, err := d.Merge(c.ctx, c.o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, expected %v", name, err, c.want)
		}
	}
	func() {
		defer func() {
			if p := recover(); p != "no idea" {
				t.Errorf("a resolver that panics: %v", p)
			}
		}()
		d.Merge(ctx, db.MergeOptions{From: "other", Resolve: func(*db.MergeConflict) error { panic("no idea") }})
	}()
	if r, err := d.Merge(ctx, db.MergeOptions{From: "main"}); err != nil || !r.UpToDate {
		t.Errorf("with itself: %+v, %v", r, err)
	}
	if head := must(d.Head(ctx, "main"))(t); head != v {
		t.Fatalf("main is at version %d, was at %d", head, v)
	}
	if n := d.Stats().OpenSnapshots; n > 4 { // of the namespaces
		t.Errorf("%d snapshots are open", n)
	}
	// Somebody commits to main while the resolver thinks.
	calls := 0
	busy := func(c *db.MergeConflict) error {
		if calls++; calls == 1 {
			other := namespace(t, d)
			shelfOf(t, other).Items[2].Price += 20
			save(t, other)
		}
		return db.TakeTheirs(c)
	}
	if _, err := d.Merge(ctx, db.MergeOptions{From: "other", Resolve: busy, Attempts: 1}); !errors.Is(err, db.ErrConflict) || !db.Retryable(err) {
		t.Fatalf("others committed: %v", err)
	}
	calls = 0
	r, s := merged(t, d, db.MergeOptions{Resolve: busy})
	if s.Name != "theirs" || s.Items[2].Price != 42 || calls != 2 || len(r.Conflicts) != 1 {
		t.Fatalf("after %d calls %+v: %q", calls, r, s.Name)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Merge(ctx, db.MergeOptions{From: "other"}); !errors.Is(err, db.ErrClosed) {
		t.Fatal(err)
	}
}

type resolved struct {
	Count int
	Rate  float64
	When  time.Time
	Pair  [2]int16
	Names []string
	Nums  []int32
	Level grade
	Flat  spot
	Any   any
}

type grade uint8

// A function for each type computes what conflicts of that type become.
func TestMergeResolvesByType(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	first := namespace(t, d)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	set(t, first, "m", &resolved{Count: 10, When: at, Names: []string{"a"}, Nums: []int32{1}, Level: 1, Any: 5})
	save(t, first)
	a, b := fork(t, d)
	x := must(db.Get[*resolved](ctx, a, "m"))(t)
	*x = resolved{Count: 13, Rate: 1, When: at.Add(time.Hour), Pair: [2]int16{1, 2}, Names: []string{"a", "o"}, Nums: []int32{1, 2}, Level: 2, Flat: spot{1, 1}, Any: 6}
	save(t, a)
	y := must(db.Get[*resolved](ctx, b, "m"))(t)
	*y = resolved{Count: 15, Rate: 2, When: at.Add(2 * time.Hour), Pair: [2]int16{3, 2}, Names: []string{"a", "t"}, Nums: []int32{1, 3}, Level: 7, Flat: spot{1, 2}, Any: 8}
	save(t, b)
	union := func(base, ours, theirs []string) ([]string, error) {
		return slices.Compact(slices.Sorted(slices.Values(slices.Concat(base, ours, theirs)))), nil
	}
	r, err := d.Merge(ctx, db.MergeOptions{From: "other", Resolve: db.Resolvers(
		db.ResolveType(func(base, ours, theirs int) (int, error) { return ours + theirs - base, nil }),
		db.ResolveType(func(_, ours, theirs time.Time) (time.Time, error) {
			return map[bool]time.Time{true: ours, false: theirs}[ours.After(theirs)], nil
		}),
		db.ResolveType(func(_, ours, theirs float64) (float64, error) { return max(ours, theirs), nil }),
		db.ResolveType(func(_, ours, theirs grade) (grade, error) { return ours * theirs, nil }),
		db.ResolveType(union),
		db.ResolveType(func(base, ours, theirs []int32) ([]int32, error) { return append(ours, theirs...), nil }),
		db.TakeTheirs,
	)})
	if err != nil {
		t.Fatal(err)
	}
	verifyDeep(t, d)
	ns := namespace(t, d)
	got := must(db.Get[*resolved](ctx, ns, "m"))(t)
	want := resolved{Count: 18, Rate: 2, When: at.Add(2 * time.Hour), Pair: [2]int16{3, 2}, Names: []string{"a", "o", "t"}, Nums: []int32{1, 2, 1, 3}, Level: 14, Flat: spot{1, 3}, Any: 9}
	if fmt.Sprint(*got) != fmt.Sprint(want) {
		t.Fatalf("%+v\nwant\n%+v\nconflicts %s", *got, want, conflictTexts(r.Conflicts))
	}
	if v := save(t, ns); v != r.Version {
		t.Fatalf("a load and save wrote version %d: %s", v, changes(t, d, r.Version, v))
	}
	got.Names = append(got.Names, "more")
	got.Nums[0] = 9
	save(t, ns)
	verifyDeep(t, d)
}

// Log, Diff, History, Revert, Undo, Checkout and Prune work over a merge.
func TestHistoryOverMerges(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	first := namespace(t, d)
	set(t, first, "s", stock(100))
	v1 := save(t, first)
	a, b := fork(t, d)
	sa, sb := shelfOf(t, a), shelfOf(t, b)
	sa.Items[1].Price = 11
	save(t, a)
	sb.Items[2].Price = 22
	sb.ByName["new"] = &article{Name: "new"}
	save(t, b)
	before := must(d.Head(ctx, "main"))(t)
	r, _ := merged(t, d, db.MergeOptions{})
	if got := changes(t, d, before, r.Version); got != "s.ByName[\"new\"]: added *article\ns.Items[2].Price: 2 → 22" && got != "s.Items[2].Price: 2 → 22\ns.ByName[\"new\"]: added *article" {
		t.Fatal(got)
	}
	var log []db.Version
	for c, err := range d.Log(ctx, db.LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, c.Version)
	}
	if !slices.Equal(log, []db.Version{r.Version, before, v1}) {
		t.Fatal(log)
	}
	log = nil
	for c, err := range d.History(ctx, "s.Items[2].Price", db.LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, c.Version)
	}
	if !slices.Equal(log, []db.Version{r.Version, v1}) {
		t.Fatal(log)
	}
	// A namespace of before goes on: the merge is a commit by somebody else.
	sa.Items[50].Price = 50.5
	if v, err := a.Save(ctx); err == nil {
		t.Logf("saved as %d", v)
	} else if !errors.Is(err, db.ErrConflict) {
		t.Fatal(err)
	}
	ns := namespace(t, d)
	s := shelfOf(t, ns)
	s.Items[60].Price = 60.5
	v := save(t, ns)
	s.Items[61].Price = 61.5
	save(t, ns)
	must(ns.Undo(ctx))(t)
	if s.Items[61].Price == 61.5 || s.Items[60].Price != 60.5 {
		t.Fatal("Undo")
	}
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	sb.Items[3].Price = 33
	save(t, b)
	again, s := merged(t, d, db.MergeOptions{})
	if again.Base != r.Theirs || s.Items[3].Price != 33 || s.Items[60].Price != 60.5 || s.Items[2].Price != 22 {
		t.Fatalf("%+v after version %d", again, v)
	}
	verifyDeep(t, d)
}

// The commit that Revert takes back may be a merge.
func TestRevertOfAMerge(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	first := namespace(t, d)
	set(t, first, "s", stock(30))
	save(t, first)
	a, b := fork(t, d)
	shelfOf(t, a).Items[1].Price = 11
	before := save(t, a)
	sb := shelfOf(t, b)
	sb.Items[2].Price = 22
	save(t, b)
	r, _ := merged(t, d, db.MergeOptions{})
	v := must(d.Revert(ctx, r.Version))(t)
	if got := changes(t, d, before, v); got != "" {
		t.Fatal(got)
	}
	sb.Items[3].Price = 33
	save(t, b)
	if _, s := merged(t, d, db.MergeOptions{}); s.Items[2].Price != 2 || s.Items[3].Price != 33 {
		t.Fatalf("what was reverted came back, or the rest did not: %v", s.Items[2].Price)
	}
}
