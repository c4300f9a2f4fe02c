package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
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
	d := must(db.OpenMemory(ctx, &db.Options{Types: testTypes(), VerifyEvery: 1, PodTargetBytes: 128}))(t)
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

type pair struct{ P, Q *person }

// checkout fails the test on an error.
func checkout(t *testing.T, ns *db.Namespace, v db.Version) {
	t.Helper()
	if err := ns.Checkout(context.Background(), v); err != nil {
		t.Fatal(err)
	}
}

func TestCheckoutLeavesOtherObjectsAlone(t *testing.T) {
	d := openMemory(t)
	ns := namespace(t, d)
	p, q := &person{Name: "p"}, &person{Name: "q"}
	h := &pair{P: p}
	set(t, ns, "h", h)
	v1 := save(t, ns)
	h.P = nil
	save(t, ns)
	h.P = q // in the slot that p had
	v3 := save(t, ns)
	checkout(t, ns, v1)
	if h.P == q || h.P.Name != "p" || q.Name != "q" {
		t.Fatalf("h.P == q: %v, h.P %q, q %q", h.P == q, h.P.Name, q.Name)
	}
	// What is saved now must not pass for q in the slot either.
	back := h.P
	save(t, ns)
	checkout(t, ns, v3)
	if h.P == back || h.P.Name != "q" || back.Name != "p" {
		t.Fatalf("the object of version 1 was made that of version 3: %q, %q", h.P.Name, back.Name)
	}
}

func TestForcedCheckoutsInARowLeaveOtherObjectsAlone(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	h := &pair{P: &person{Name: "p"}}
	set(t, ns, "h", h)
	v1 := save(t, ns)
	h.P = nil
	v2 := save(t, ns)
	h.P = &person{Name: "q"}
	v3 := save(t, ns)
	for _, v := range []db.Version{v1, v3, v2, v1, v3} {
		before := h.P
		var name string
		if before != nil {
			name = before.Name
		}
		if err := ns.Checkout(ctx, v, db.CheckoutOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		if before != nil && before.Name != name {
			t.Fatalf("checkout of version %d made %q into %q", v, name, before.Name)
		}
	}
}

func TestCheckoutOfAListAfterReplacement(t *testing.T) {
	d := openMemory(t)
	ns := namespace(t, d)
	list := []*person{{Name: "0"}, {Name: "1"}, {Name: "2"}}
	was := append([]*person(nil), list...)
	set(t, ns, "l", &list)
	v1 := save(t, ns)
	list = list[:2]
	copy(list, was[1:])
	save(t, ns)
	added := &person{Name: "3"}
	list = append(list[:2:2], added)
	save(t, ns)
	checkout(t, ns, v1)
	for i, p := range list {
		if want := was[i]; p.Name != want.Name || p == added || i > 0 && p != want {
			t.Errorf("element %d is %q, at the address that it had: %v", i, p.Name, p == want)
		}
	}
	if added.Name != "3" || was[0].Name != "0" {
		t.Errorf("objects outside of version 1 were written: %q, %q", added.Name, was[0].Name)
	}
}

func TestCheckoutLeavesObjectsOfOtherNamespacesAlone(t *testing.T) {
	d := openMemory(t)
	a := namespace(t, d)
	p, q := &person{Name: "p"}, &person{Name: "q"}
	h := &pair{P: p}
	set(t, a, "h", h)
	v1 := save(t, a)
	b := namespace(t, d)
	set(t, b, "mine", q)
	save(t, b)
	h.P = q
	save(t, a)
	checkout(t, a, v1)
	if q.Name != "q" || h.P.Name != "p" {
		t.Fatalf("q %q, h.P %q", q.Name, h.P.Name)
	}
}

func TestCheckoutRemembersTypesOfDeletedVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "a", &account{Balance: 7})
	set(t, ns, "p", &person{Name: "p"})
	v1 := save(t, ns)
	for _, n := range []string{"a", "p"} {
		if err := ns.Delete(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	save(t, ns)
	checkout(t, ns, v1)
	if a := must(db.Get[*account](ctx, ns, "a"))(t); a.Balance != 7 {
		t.Errorf("balance %d", a.Balance)
	}
	save(t, ns)
	checkout(t, ns, 0)
	save(t, ns)
	checkout(t, ns, v1)
	save(t, ns)
}

func TestCheckoutGivesVariablesTheTypeThatTheyHad(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "x", &account{Balance: 7})
	set(t, ns, "n", 5)
	v1 := save(t, ns)
	p := &person{Name: "p"}
	set(t, ns, "x", p)
	set(t, ns, "n", "five")
	v2 := save(t, ns)
	checkout(t, ns, v1)
	if x := must(db.Get[*account](ctx, ns, "x"))(t); x.Balance != 7 || p.Name != "p" {
		t.Errorf("balance %d", x.Balance)
	}
	if n := must(db.Get[int](ctx, ns, "n"))(t); n != 5 {
		t.Errorf("n is %d", n)
	}
	save(t, ns)
	checkout(t, ns, v2)
	if n := must(db.Get[string](ctx, ns, "n"))(t); n != "five" {
		t.Errorf("n is %q", n)
	}
	save(t, ns)
}

// TestCheckoutGivesVariablesTheTypeThatOthersKnow: from their names alone the two
// types might convert; what another variable holds says that they do not.
func TestCheckoutGivesVariablesTheTypeThatOthersKnow(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, openMemory(t))
	a := &account{Balance: 7}
	set(t, ns, "w", a)
	set(t, ns, "x", a)
	v1 := save(t, ns)
	set(t, ns, "x", &[2][]int{{1}})
	save(t, ns)
	checkout(t, ns, v1)
	if x := must(db.Get[*account](ctx, ns, "x"))(t); x != a || x.Balance != 7 {
		t.Errorf("x is %p, balance %d, want %p", x, x.Balance, a)
	}
	save(t, ns)
}

// TestCheckoutGivesSharedObjectsTheTypeThatTheyHad: a variable that has another type now is
// the first to reach an object, to which another one refers as what it is.
func TestCheckoutGivesSharedObjectsTheTypeThatTheyHad(t *testing.T) {
	type box struct{ Any any }
	ctx := context.Background()
	ns := namespace(t, openMemory(t))
	shared := &box{Any: 7}
	set(t, ns, "a", shared)
	b := &box{Any: shared}
	set(t, ns, "b", b)
	v1 := save(t, ns)
	b.Any = nil
	set(t, ns, "a", &struct{ Other int }{1}) // into which any struct converts
	save(t, ns)
	checkout(t, ns, v1)
	a := must(db.Get[*box](ctx, ns, "a"))(t)
	if b.Any != any(a) || a.Any != any(7) {
		t.Errorf("b refers to %v, want %p; that is %v", b.Any, a, *a)
	}
	save(t, ns)
}

func TestCheckoutOfUnknownTypesNamesTheVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "one", &account{})
	set(t, ns, "two", &account{})
	v1 := save(t, ns)
	fresh := namespace(t, d)
	err := fresh.Checkout(ctx, v1)
	if !errors.Is(err, db.ErrUnregistered) || !strings.Contains(err.Error(), `"one", "two"`) || !strings.Contains(err.Error(), "load them first") {
		t.Fatalf("Checkout = %v", err)
	}
	must(db.Get[*account](ctx, fresh, "one"))(t)
	checkout(t, fresh, v1)
}

// ident is an object whose ID never changes while it lives.
type ident struct {
	ID   int
	N    int
	Next *ident
	Kids []*ident
}

// describe writes down what a list of objects reaches: IDs, numbers, edges.
func describe(roots []*ident) string {
	var b strings.Builder
	seen := map[*ident]bool{}
	var visit func(p *ident)
	visit = func(p *ident) {
		if p == nil {
			b.WriteString("-")
			return
		}
		fmt.Fprintf(&b, "(%d", p.ID)
		if !seen[p] {
			seen[p] = true
			fmt.Fprintf(&b, "=%d ", p.N)
			visit(p.Next)
			for _, k := range p.Kids {
				visit(k)
			}
		}
		b.WriteString(")")
	}
	for _, p := range roots {
		visit(p)
	}
	return b.String()
}

// Whatever is edited, saved and checked out, in whatever order: an object stays
// the object that it is, and what comes back is what was saved.
func TestRandomCheckoutsKeepIdentity(t *testing.T) {
	for seed := range uint64(150) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomCheckouts(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

func randomCheckouts(t *testing.T, r *rand.Rand) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Types: testTypes(), VerifyEvery: 1, PodTargetBytes: []int{64, 200, 0}[r.IntN(3)]}))(t)
	defer d.Close()
	ns := namespace(t, d)
	var list []*ident
	ids := map[*ident]int{}
	note := func(p *ident) {
		if was, ok := ids[p]; ok && was != p.ID {
			t.Fatalf("object %d has become %d", was, p.ID)
		}
		ids[p] = p.ID
	}
	noteAll := func() {
		for p := range ids {
			note(p)
		}
		seen := map[*ident]bool{nil: true}
		for todo := slices.Clone(list); len(todo) > 0; todo = todo[1:] {
			if p := todo[0]; !seen[p] {
				seen[p] = true
				note(p)
				todo = append(append(todo, p.Next), p.Kids...)
			}
		}
	}
	next := 0
	pick := func() *ident {
		if len(list) == 0 || r.IntN(3) == 0 {
			next++
			return &ident{ID: next, N: next}
		}
		return list[r.IntN(len(list))]
	}
	set(t, ns, "l", &list)
	stored := map[db.Version]string{}
	var versions []db.Version
	for range 40 {
		for range r.IntN(4) {
			switch r.IntN(6) {
			case 0:
				list = append(list, pick())
			case 1, 2:
				if len(list) > 0 {
					i := r.IntN(len(list))
					list = slices.Delete(slices.Clone(list), i, i+1)
				}
			case 3:
				pick().N++
			case 4:
				if len(list) > 0 {
					list[r.IntN(len(list))] = pick()
				}
			default:
				if len(list) > 0 {
					p := pick()
					p.Next = pick()
					p.Kids = append(p.Kids[:len(p.Kids)/2:len(p.Kids)/2], pick())
				}
			}
		}
		noteAll()
		if r.IntN(3) > 0 {
			v := save(t, ns)
			if _, ok := stored[v]; !ok {
				versions = append(versions, v)
			}
			stored[v] = describe(list)
		}
		if len(versions) > 0 && r.IntN(3) == 0 {
			v := versions[r.IntN(len(versions))]
			if err := ns.Checkout(ctx, v, db.CheckoutOptions{Force: true}); err != nil {
				t.Fatal(err)
			}
			if got := must(db.Get[*[]*ident](ctx, ns, "l"))(t); got != &list {
				t.Fatal("the variable has moved")
			}
			if got := describe(list); got != stored[v] {
				t.Fatalf("version %d came back as\n%s\nand was\n%s", v, got, stored[v])
			}
			noteAll()
		}
	}
	verifyClean(t, d)
}
