package db_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
)

type account struct {
	mu      sync.Mutex
	Balance int
	History []int
	Owner   *person
	By      map[string]*person
	cache   []byte `pod:"-"`
}

func TestCheckoutRestoresInPlace(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	owner := &person{Name: "owner"}
	a := &account{Balance: 1, History: []int{1}, Owner: owner, By: map[string]*person{"o": owner}}
	set(t, ns, "a", a)
	set(t, ns, "owner", owner)
	v1 := save(t, ns)

	a.Balance, a.History[0], a.cache = 2, 99, []byte("kept")
	a.Owner.Name = "renamed"
	a.By["new"] = &person{Name: "new"}
	set(t, ns, "later", &person{Name: "later"})
	v2 := save(t, ns)

	a.mu.Lock() // a held mutex is the program's own business
	if err := ns.Checkout(ctx, v1); err != nil {
		t.Fatal(err)
	}
	a.mu.Unlock()
	got := must(db.Get[*account](ctx, ns, "a"))(t)
	if got != a || a.Owner != owner || len(ns.Moved()) != 0 {
		t.Fatalf("checkout moved a (%p, was %p), owner or %q", got, a, ns.Moved())
	}
	if a.Balance != 1 || len(a.History) != 1 || a.History[0] != 1 || owner.Name != "owner" || len(a.By) != 1 || a.By["o"] != owner {
		t.Errorf("state is not that of version 1: %+v", got)
	}
	if string(a.cache) != "kept" {
		t.Error("a field tagged pod:\"-\" was touched")
	}
	if ns.Base() != v2 {
		t.Errorf("base is %d, want the head %d", ns.Base(), v2)
	}
	v3 := save(t, ns)
	s := must(d.At(ctx, v3))(t)
	defer s.Close()
	b := must(db.Get[*account](ctx, s, "a"))(t)
	if b.Balance != 1 || b.History[0] != 1 || b.Owner.Name != "owner" {
		t.Errorf("saved after checkout: %+v", b)
	}
	if _, err := db.Get[*person](ctx, s, "later"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("a variable that did not exist at version 1 = %v", err)
	}
	if again := save(t, ns); again != v3 {
		t.Errorf("save after save = %d, want %d", again, v3)
	}
}

func TestCheckoutRefusesToLoseUnsavedChanges(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	p := &person{Name: "one"}
	set(t, ns, "p", p)
	v1 := save(t, ns)
	p.Name = "unsaved"
	if err := ns.Checkout(ctx, v1); !errors.Is(err, db.ErrUnsaved) {
		t.Fatalf("Checkout = %v", err)
	}
	if p.Name != "unsaved" {
		t.Error("a refused checkout changed memory")
	}
	if err := ns.Checkout(ctx, v1, db.CheckoutOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if p.Name != "one" {
		t.Error("forced checkout did not restore")
	}
	if v := save(t, ns); v != v1 {
		t.Errorf("save after checkout of the head is version %d, want none", v)
	}
}

func TestCheckoutBringsBackDeletedVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "p", &person{Name: "p", Friend: &person{Name: "f"}})
	set(t, ns, "q", &person{Name: "q"})
	v1 := save(t, ns)
	if err := ns.Delete(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	save(t, ns)
	if err := ns.Checkout(ctx, v1); err != nil {
		t.Fatal(err)
	}
	p := must(db.Get[*person](ctx, ns, "p"))(t)
	if p.Friend.Name != "f" {
		t.Error("p is not what it was")
	}
	v3 := save(t, ns)
	s := must(d.At(ctx, v3))(t)
	defer s.Close()
	if got := must(db.Get[*person](ctx, s, "p"))(t); got.Friend.Name != "f" {
		t.Error("p is not in the version saved after checkout")
	}
}

// What the head exports stays exported when an older state is saved on top of
// it: pods that no name reaches any more may still refer to it.
func TestSaveAfterCheckoutKeepsWhatTheHeadExports(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Types: testTypes(), PodTargetBytes: 128}))(t)
	defer d.Close()
	ns := namespace(t, d)
	people := make([]*person, 40)
	for i := range people {
		people[i] = &person{Name: "person with a longer name"}
	}
	set(t, ns, "all", &people)
	v1 := save(t, ns)
	for i := range people {
		people[i].Friend = &person{Name: "new friend", Friend: people[(i*7+3)%len(people)]}
	}
	set(t, ns, "one", people[5].Friend)
	v2 := save(t, ns)
	for _, v := range []db.Version{v1, v2, v1} {
		if err := ns.Checkout(ctx, v); err != nil {
			t.Fatal(err)
		}
		save(t, ns)
		verifyClean(t, d)
	}
}
