package db_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
)

type client struct {
	Name   string
	Detail db.Ref[detail]
	Owner  db.Ref[client]
	Direct *detail
	Any    any
}

type detail struct {
	N    int
	Up   *client
	More db.Ref[detail]
	Any  any
}

// newAccounts commits "a" and "b", which share what their Refs lead to.
func newAccounts(t *testing.T, d *db.DB) db.Version {
	t.Helper()
	x := &detail{N: 1}
	a := &client{Name: "a", Detail: db.NewRef(x)}
	b := &client{Name: "b", Detail: db.NewRef(x), Owner: db.NewRef(a)}
	x.Up, x.More = a, db.NewRef(&detail{N: 2, Up: b})
	return putAll(t, d, map[string]any{"a": a, "b": b, "direct": &client{Direct: x}})
}

func ref[T any](t testing.TB, r db.Ref[T]) *T {
	t.Helper()
	p, err := r.Get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// All ways to one object within a reader give one object.
func TestRefsKeepIdentity(t *testing.T) {
	d := openMemory(t)
	newAccounts(t, d)
	check := func(t *testing.T, a, b, direct *client) {
		t.Helper()
		if _, ok := a.Detail.Loaded(); ok {
			t.Fatal("a Ref was loaded before anybody asked")
		}
		x := ref(t, b.Detail)
		if ref(t, a.Detail) != x || ref(t, b.Owner) != a || x.Up != a || direct.Direct != x || ref(t, x.More).Up != b {
			t.Fatal("one object is several")
		}
		if p, ok := a.Detail.Loaded(); !ok || p != x {
			t.Fatal("not loaded after Get")
		}
	}
	t.Run("transaction", func(t *testing.T) {
		tx := begin(t, d)
		defer tx.Rollback()
		a, b := get[*client](t, tx, "a"), get[*client](t, tx, "b")
		if p, ok := a.Detail.Loaded(); ok || p != nil {
			t.Fatal("a Ref was loaded before anybody asked")
		}
		check(t, a, b, &client{Direct: ref(t, b.Detail)})
		if get[*client](t, tx, "direct").Direct != ref(t, a.Detail) {
			t.Fatal("a pointer leads elsewhere than the Ref")
		}
	})
	t.Run("namespace", func(t *testing.T) {
		ns := namespace(t, d)
		direct := get[*client](t, ns, "direct")
		check(t, get[*client](t, ns, "a"), get[*client](t, ns, "b"), direct)
	})
	t.Run("one call of a snapshot", func(t *testing.T) {
		s := head(t, d)
		defer s.Close()
		var v struct{ A, B, Direct *client }
		if err := s.Load(context.Background(), &v); err != nil {
			t.Fatal(err)
		}
		check(t, v.A, v.B, v.Direct)
		if ref(t, get[*client](t, s, "a").Detail) == ref(t, v.A.Detail) {
			t.Fatal("two calls of a snapshot share objects")
		}
	})
}

// What is changed behind a Ref is found, and what a transaction writes is that alone.
func TestChangesBehindRefsAreFound(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	newAccounts(t, d)
	tx := begin(t, d)
	ref(t, get[*client](t, tx, "b").Detail).N = 10
	commit(t, tx)
	if n := tx.Stats().PodsWritten; n != 1 {
		t.Errorf("%d pods were written for one object", n)
	}
	ns := namespace(t, d)
	a := get[*client](t, ns, "a")
	if ref(t, a.Detail).N != 10 {
		t.Fatal("the change is not there")
	}
	ref(t, ref(t, a.Detail).More).N = 20
	a.Owner.Set(&client{Name: "new"})
	v := save(t, ns)
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	a = get[*client](t, s, "a")
	if ref(t, ref(t, a.Detail).More).N != 20 || ref(t, a.Owner).Name != "new" {
		t.Fatal("a change of the namespace is not there")
	}
	a.Owner.Set(nil)
	if !a.Owner.IsNil() || ref(t, a.Owner) != nil {
		t.Fatal("Set(nil) is no nil Ref")
	}
}

// Reading, and storing what was only read, writes nothing and loads nothing.
func TestRefsThatAreNotLoadedStayAsTheyAre(t *testing.T) {
	d := openMemory(t)
	v := newAccounts(t, d)
	tx := begin(t, d)
	get[*client](t, tx, "b")
	if got := commit(t, tx); got != v {
		t.Fatalf("reading made version %d", got)
	}
	tx = begin(t, d)
	b := get[*client](t, tx, "b")
	b.Name = "renamed"
	put(t, tx, "copy", &client{Name: "copy", Detail: b.Detail, Owner: b.Owner})
	commit(t, tx)
	if _, ok := b.Detail.Loaded(); ok {
		t.Fatal("Commit has loaded a Ref")
	}
	tx = begin(t, d)
	defer tx.Rollback()
	c := get[*client](t, tx, "copy")
	if ref(t, c.Detail) != ref(t, get[*client](t, tx, "b").Detail) || ref(t, c.Owner) != get[*client](t, tx, "a") {
		t.Fatal("the moved Ref leads elsewhere")
	}
}

// A stored Ref counts as a reference: it cannot be committed when its object has
// gone, and the pods it leads to are reached.
func TestRefsOfSeveralTransactions(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	newAccounts(t, d)
	// Objects around one Ref and behind it do not collide.
	one, two := begin(t, d, db.TxOptions{Isolation: db.SnapshotIsolation}), begin(t, d)
	get[*client](t, one, "b").Name = "changed"
	get[*client](t, two, "direct").Direct.N++
	commit(t, one)
	commit(t, two)
	// What was read through a Ref is guarded.
	one, two = begin(t, d), begin(t, d)
	n := ref(t, get[*client](t, one, "a").Detail).N
	put(t, one, "sum", &counter{n})
	ref(t, get[*client](t, two, "a").Detail).N = 99
	commit(t, two)
	var c *db.ConflictError
	if _, err := one.Commit(ctx); !errors.As(err, &c) || !strings.Contains(strings.Join(c.Paths, " "), "a.Detail") {
		t.Fatalf("%v, paths %q", err, c)
	}
}

// Objects of one reader stored through another take along what their Refs lead to.
func TestRefsBetweenReaders(t *testing.T) {
	ctx := context.Background()
	d, other := openMemory(t), openMemory(t)
	newAccounts(t, d)
	s := head(t, d)
	b := get[*client](t, s, "b")
	putAll(t, other, map[string]any{"b": b})
	ns := namespace(t, other)
	c := get[*client](t, ns, "b")
	if ref(t, c.Detail).N != 1 || ref(t, ref(t, c.Detail).More).N != 2 || ref(t, c.Owner) != ref(t, c.Detail).Up {
		t.Fatal("copied objects are not what they were")
	}
	// Into the same database, too: as new objects.
	b = get[*client](t, s, "b")
	putAll(t, d, map[string]any{"b2": b})
	v := begin(t, d)
	if ref(t, get[*client](t, v, "b2").Detail) == ref(t, get[*client](t, v, "b").Detail) {
		t.Fatal("a copy is the object itself")
	}
	v.Rollback()
	// If that is not possible, the path is told.
	b = get[*client](t, s, "b")
	s.Close()
	v = begin(t, d)
	put(t, v, "b3", b)
	var u *db.UnsupportedError
	if _, err := v.Commit(ctx); !errors.As(err, &u) || !errors.Is(err, db.ErrClosed) || u.Problems[0].Path != "b3.Detail" {
		t.Fatalf("%v", err)
	}
}

func TestRefsOfWhatIsOver(t *testing.T) {
	ctx := context.Background()
	wants := func(r db.Ref[detail], want error) {
		t.Helper()
		if _, err := r.Get(ctx); !errors.Is(err, want) {
			t.Errorf("%v, not %v", err, want)
		}
	}
	d := must(db.OpenMemory(ctx, nil))(t)
	newAccounts(t, d)
	tx := begin(t, d)
	a := get[*client](t, tx, "a")
	tx.Rollback()
	wants(a.Detail, db.ErrTxDone)
	tx = begin(t, d)
	loaded := get[*client](t, tx, "a").Detail
	x := ref(t, loaded)
	commit(t, tx)
	if ref(t, loaded) != x {
		t.Error("what was loaded is not kept")
	}
	s := head(t, d)
	a = get[*client](t, s, "a")
	s.Close()
	wants(a.Detail, db.ErrClosed)
	s, ns, tx := head(t, d), namespace(t, d), begin(t, d)
	all := []db.Ref[detail]{get[*client](t, s, "a").Detail, get[*client](t, ns, "a").Detail, get[*client](t, tx, "a").Detail}
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, r := range all {
		if _, err := r.Get(over); !errors.Is(err, context.Canceled) {
			t.Errorf("context: %v", err)
		}
	}
	d.Close()
	for _, r := range all {
		wants(r, db.ErrClosed)
	}
}

// Checkout loads what the Refs of the namespace lead to, in place.
func TestCheckoutFollowsRefs(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := newAccounts(t, d)
	ns := namespace(t, d)
	a := get[*client](t, ns, "a")
	x := ref(t, a.Detail)
	more := x.More
	x.N = 50
	far := begin(t, d)
	ref(t, ref(t, get[*client](t, far, "b").Detail).More).N = 60
	commit(t, far)
	save(t, ns)
	if err := ns.Checkout(ctx, v1); err != nil {
		t.Fatal(err)
	}
	if get[*client](t, ns, "a") != a || ref(t, a.Detail) != x || x.N != 1 || ref(t, x.More).N != 2 {
		t.Fatal("not what it was, where it was")
	}
	if _, err := more.Get(ctx); !errors.Is(err, db.ErrDetached) {
		t.Fatalf("a Ref from before: %v", err)
	}
	v := save(t, ns)
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	if got := ref(t, get[*client](t, s, "b").Detail); got.N != 1 || ref(t, got.More).N != 2 {
		t.Fatal("what is stored now is not what it was")
	}
}

// What a dropped object led to may be collected: its Ref says so.
func TestRefsOfDroppedObjects(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"a": &client{Detail: db.NewRef(&detail{N: 1})}, "b": &client{}})
	ns := namespace(t, d)
	a, b := get[*client](t, ns, "a"), get[*client](t, ns, "b")
	if err := ns.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	save(t, ns)
	if _, err := d.Collect(ctx, db.CollectOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Name = "changed"
	save(t, ns) // goes on behind the Collect
	if _, err := a.Detail.Get(ctx); !errors.Is(err, db.ErrDetached) {
		t.Fatalf("%v", err)
	}
}

// Those who read without the program's types follow Refs.
func TestRefsAreSeenWithoutTheProgram(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "refs.pod")
	d := must(db.Open(ctx, file, nil))(t)
	v1 := newAccounts(t, d)
	tx := begin(t, d)
	ref(t, ref(t, get[*client](t, tx, "b").Detail).More).N = 5
	v2 := commit(t, tx)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, file, nil))(t)
	defer d.Close()
	if got := changes(t, d, v1, v2); !strings.Contains(got, ".More.N: 2 → 5") {
		t.Errorf("diff: %s", got)
	}
	s := must(d.At(ctx, v2))(t)
	defer s.Close()
	var b bytes.Buffer
	if err := s.WriteJSON(ctx, &b, "b.Detail.More.N", db.JSONOptions{}); err != nil || strings.TrimSpace(b.String()) != "5" {
		t.Errorf("JSON: %q, %v", b.String(), err)
	}
	verifyClean(t, d)
}

// A type that only the variable knows is found when a Ref is loaded later.
func TestTypesBehindRefs(t *testing.T) {
	type extra struct{ S string }
	type top struct {
		R db.Ref[detail]
		E *extra
	}
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, nil))(t)
	defer d.Close()
	putAll(t, d, map[string]any{"top": &top{R: db.NewRef(&detail{Any: &extra{"known"}})}})
	tx := begin(t, d)
	if e, ok := ref(t, get[*top](t, tx, "top").R).Any.(*extra); !ok || e.S != "known" {
		t.Fatal("the type behind the interface is not known")
	}
	tx.Rollback()
	tx = begin(t, d)
	put(t, tx, "bad", &client{Detail: db.NewRef(&detail{Any: &extra{}})})
	var u *db.UnsupportedError
	if _, err := tx.Commit(ctx); !errors.As(err, &u) || !errors.Is(err, db.ErrUnregistered) || u.Problems[0].Path != "bad.Detail.Any" {
		t.Fatalf("a type that nobody knows, behind a Ref: %v", err)
	}
	tx = begin(t, d)
	put(t, tx, "bad", &client{Detail: db.NewRef(&detail{Any: make(chan int)})})
	if _, err := tx.Commit(ctx); !errors.As(err, &u) || u.Problems[0].Path != "bad.Detail.Any" {
		t.Fatalf("a channel behind a Ref: %v", err)
	}
}

// Many goroutines share the objects of one snapshot and one namespace.
func TestRefsOfManyReaders(t *testing.T) {
	d := openMemory(t)
	newAccounts(t, d)
	s, ns := head(t, d), namespace(t, d)
	defer s.Close()
	for _, b := range []*client{get[*client](t, s, "b"), get[*client](t, ns, "b")} {
		var wg sync.WaitGroup
		seen := make([]*detail, 8)
		for g := range seen {
			wg.Go(func() { seen[g] = ref(t, ref(t, b.Detail).More) })
		}
		wg.Wait()
		for _, x := range seen {
			if x != seen[0] || x.N != 2 || x.Up != b {
				t.Fatal("goroutines see different objects")
			}
		}
	}
}
