package db_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

// Two branches with a namespace each, in turn: each sees its own commits and nothing of
// the other, and each has its head.
func TestNamespacesOfTwoBranches(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, path, nil))(t)
	ns, p := history(t, d, 3)
	if err := d.Branch(ctx, "experiment", 2); err != nil {
		t.Fatal(err)
	}
	if err := d.Branch(ctx, "experiment", 1); !errors.Is(err, db.ErrBranchExists) {
		t.Fatalf("twice: %v", err)
	}
	if head := must(d.Head(ctx, "experiment"))(t); head != 2 {
		t.Fatalf("head %d", head)
	}
	other := must(d.Namespace(ctx, "experiment"))(t)
	q := must(db.Get[*person](ctx, other, "p"))(t)
	if q.Name != "v2" || q == p {
		t.Fatalf("the branch begins with %q", q.Name)
	}
	heads := map[string]db.Version{}
	for i := range 4 {
		p.Name, q.Name = fmt.Sprint("main ", i), fmt.Sprint("experiment ", i)
		q.Friend.Name = q.Name
		heads["main"], heads["experiment"] = save(t, ns), save(t, other)
	}
	set(t, other, "only here", &person{})
	heads["experiment"] = save(t, other)
	check := func() {
		t.Helper()
		for branch, want := range heads {
			if head := must(d.Head(ctx, branch))(t); head != want {
				t.Fatalf("head of %s is %d, expected %d", branch, head, want)
			}
			ns := must(d.Namespace(ctx, branch))(t)
			if got := must(db.Get[*person](ctx, ns, "p"))(t); got.Name != branch+" 3" || (got.Friend.Name == "friend") != (branch == "main") {
				t.Fatalf("%s has %q", branch, got.Name)
			}
			if _, err := db.Get[*person](ctx, ns, "only here"); (err == nil) != (branch == "experiment") {
				t.Fatalf("%s: %v", branch, err)
			}
		}
	}
	check()
	if got := must(d.Branches(ctx))(t); fmt.Sprint(got) != "[{experiment 12 2 5} {main 10 0 7}]" {
		t.Fatal(got)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, nil))(t)
	defer d.Close()
	check()
	verifyDeep(t, d)
	if err := d.DeleteBranch(ctx, "experiment"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Namespace(ctx, "experiment"); !errors.Is(err, db.ErrNotFound) {
		t.Fatalf("a namespace of a deleted branch: %v", err)
	}
	rep := must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepAll()}))(t)
	if rep.Versions != 4 {
		t.Fatalf("%d versions of the deleted branch pruned", rep.Versions)
	}
	verifyDeep(t, d)
}

func verifyDeep(t *testing.T, d *db.DB) {
	t.Helper()
	rep := must(d.Verify(context.Background(), db.VerifyOptions{Deep: true}))(t)
	if len(rep.Problems) > 0 {
		t.Fatal(rep.Problems)
	}
}

func TestTagsAndTimes(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	start := now
	d := must(db.OpenMemory(ctx, &db.Options{Now: func() time.Time { return now }}))(t)
	defer d.Close()
	ns := namespace(t, d)
	p := &person{}
	set(t, ns, "p", p)
	for i := range 10 {
		now = now.Add(time.Hour)
		if i == 6 {
			now = now.Add(-20 * time.Hour) // somebody put it back
		}
		p.Name = fmt.Sprint("v", i+1)
		if _, err := ns.Save(ctx, db.SaveOptions{Author: "me", Message: p.Name}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(s *db.Snapshot, err error) string {
		t.Helper()
		if err != nil {
			return err.Error()
		}
		defer s.Close()
		return must(db.Get[*person](ctx, s, "p"))(t).Name
	}
	for hours, want := range map[float64]string{1: "v1", 1.5: "v1", 5.999: "v5", 6: "v6", 6.001: "v10", 100: "v10"} {
		if got := name(d.AtTime(ctx, "main", start.Add(time.Duration(hours*float64(time.Hour))))); got != want {
			t.Errorf("after %v hours it is %s, expected %s", hours, got, want)
		}
	}
	if _, err := d.AtTime(ctx, "main", start); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("before the first commit: %v", err)
	}
	if err := d.Tag(ctx, "release", 4); err != nil {
		t.Fatal(err)
	}
	if err := d.Tag(ctx, "release", 5); !errors.Is(err, db.ErrTagExists) {
		t.Errorf("a tag twice: %v", err)
	}
	must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(2)}))(t)
	if got := name(d.AtTag(ctx, "release")); got != "v4" {
		t.Errorf("the tag shows %s", got)
	}
	if _, err := d.AtTag(ctx, "none"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("no such tag: %v", err)
	}
	var log []string
	for c, err := range d.Log(ctx, db.LogOptions{From: 2, To: 9, Reverse: true}) {
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, fmt.Sprintf("%d %s %s %d", c.Version, c.Author, c.Message, c.Pods))
	}
	if fmt.Sprint(log) != "[4 me v4 1 9 me v9 1]" {
		t.Errorf("%q", log)
	}
	if c := must(d.CommitOf(ctx, 4))(t); c.Message != "v4" {
		t.Errorf("%+v", c)
	}
	if got := must(d.Tags(ctx))(t); fmt.Sprint(got) != "[{release 4}]" {
		t.Error(got)
	}
	if err := d.DeleteTag(ctx, "release"); err != nil {
		t.Fatal(err)
	}
	verifyDeep(t, d)
}

// While the clock stands far ahead, or after it did, KeepFor and Tiers delete nothing
// that is young.
func TestPruneWithAWrongClock(t *testing.T) {
	ctx := context.Background()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := must(db.OpenMemory(ctx, &db.Options{Now: func() time.Time { return now }}))(t)
	defer d.Close()
	ns := namespace(t, d)
	p := &person{}
	set(t, ns, "p", p)
	commit := func(n int) {
		for range n {
			now = now.Add(time.Minute)
			p.Name += "x"
			save(t, ns)
		}
	}
	commit(60)
	prune := func() uint64 {
		t.Helper()
		day := db.Tiers(db.Tier{For: 24 * time.Hour}, db.Tier{Every: time.Hour, For: 7 * 24 * time.Hour}, db.Tier{Every: 24 * time.Hour})
		return must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepFor(2 * time.Hour).Or(day)}))(t).Versions
	}
	now = now.AddDate(10, 0, 0) // the prune comes first
	if n := prune(); n != 0 {
		t.Fatalf("a clock ahead of all commits: %d versions pruned", n)
	}
	commit(5) // some commits have such times
	now = now.AddDate(-10, 0, 0)
	commit(20)
	if n := prune(); n != 0 {
		t.Fatalf("a clock that was ahead: %d versions pruned", n)
	}
	now = now.AddDate(-10, 0, 0)
	commit(20)
	if n := prune(); n != 0 {
		t.Fatalf("a clock that went back: %d versions pruned", n)
	}
}

// Retention that thins out the past: everything of the last day, one version an hour
// for a week, and one a day for ever, but never fewer than ten.
func ExampleTiers() {
	policy := db.Tiers(
		db.Tier{For: 24 * time.Hour},
		db.Tier{Every: time.Hour, For: 7 * 24 * time.Hour},
		db.Tier{Every: 24 * time.Hour},
	).Or(db.KeepLast(10))

	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	rep, err := d.Prune(ctx, db.PruneOptions{Policy: policy, DryRun: true})
	fmt.Println("would free", rep.Bytes, "bytes in", rep.Versions, "versions:", err)
	// Output:
	// would free 0 bytes in 0 versions: <nil>
}

// A branch is a line of versions of its own, a tag keeps a version for good.
func ExampleDB_Branch() {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	main, _ := d.Namespace(ctx, "main")
	price := map[string]int{"tea": 3}
	_ = main.Set(ctx, "price", price)
	v1, _ := main.Save(ctx, db.SaveOptions{Author: "ann", Message: "opening"})
	_ = d.Tag(ctx, "opening", v1)

	_ = d.Branch(ctx, "experiment", v1)
	experiment, _ := d.Namespace(ctx, "experiment")
	theirs, _ := db.Get[map[string]int](ctx, experiment, "price")
	theirs["tea"] = 4
	_, _ = experiment.Save(ctx, db.SaveOptions{Author: "bob", Message: "dearer"})

	fmt.Println("main has", price, "and the experiment", theirs)
	for c := range d.Log(ctx, db.LogOptions{Branch: "experiment"}) {
		fmt.Println(c.Version, c.Branch, c.Author, c.Message)
	}
	s, _ := d.AtTag(ctx, "opening")
	defer s.Close()
	fmt.Println("opening is version", s.Version())
	// Output:
	// main has map[tea:3] and the experiment map[tea:4]
	// 2 experiment bob dearer
	// 1 main ann opening
	// opening is version 1
}

// What differs between two versions, by path, without the program's types.
func ExampleDB_Diff() {
	type item struct {
		Name  string
		Price int
	}
	type cart struct{ Items []*item }
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	ns, _ := d.Namespace(ctx, "main")
	c := &cart{Items: []*item{{"pen", 4}, {"ink", 9}, {"pad", 2}}}
	_ = ns.Set(ctx, "x", c)
	v1, _ := ns.Save(ctx)

	c.Items[2].Price = 3
	c.Items = append([]*item{{"cup", 5}}, c.Items...)
	v2, _ := ns.Save(ctx)

	for change, err := range d.Diff(ctx, v1, v2) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(change)
	}
	// Output:
	// x.Items[0]: added *github.com/poddb/poddb/db_test.item
	// x.Items[3].Price: 2 → 3
}
