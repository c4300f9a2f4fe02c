package db_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

type holding struct {
	Owner   *person
	Balance int
}

func begin(t testing.TB, d *db.DB, opts ...db.TxOptions) *db.Tx {
	t.Helper()
	var o db.TxOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	tx, err := d.Begin(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func get[T any](t testing.TB, r db.Reader, name string) T {
	t.Helper()
	v, err := db.Get[T](context.Background(), r, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readOnly[T any](t testing.TB, tx *db.Tx, name string) T {
	t.Helper()
	v, err := db.Read[T](context.Background(), tx, name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t testing.TB, tx *db.Tx, name string, v any) {
	t.Helper()
	if err := tx.Put(context.Background(), name, v); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, tx *db.Tx, name string) {
	t.Helper()
	if err := tx.Delete(context.Background(), name); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, tx *db.Tx) db.Version {
	t.Helper()
	v, err := tx.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// putAll commits variables.
func putAll(t testing.TB, d *db.DB, vars map[string]any) db.Version {
	t.Helper()
	tx := begin(t, d)
	for n, v := range vars {
		put(t, tx, n, v)
	}
	return commit(t, tx)
}

// head opens the newest version of main.
func head(t testing.TB, d *db.DB) *db.Snapshot {
	t.Helper()
	ctx := context.Background()
	v, err := d.Head(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.At(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func namesOf(t testing.TB, tx *db.Tx, prefix string) []string {
	t.Helper()
	var forward, backward []string
	for n, err := range tx.Names(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		forward = append(forward, n)
	}
	for n, err := range tx.NamesBackward(context.Background(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		backward = append(backward, n)
	}
	slices.Reverse(backward)
	if !slices.Equal(forward, backward) {
		t.Fatalf("forward %q, backward %q", forward, backward)
	}
	return forward
}

func TestTxChangesAreFoundAtCommit(t *testing.T) {
	d := openMemory(t)
	p := &person{Name: "Ann", Tags: []string{"a"}, secret: 7}
	v1 := putAll(t, d, map[string]any{"p": p, "n": 1})

	tx := begin(t, d)
	if tx.Base() != v1 {
		t.Fatalf("base %d, head %d", tx.Base(), v1)
	}
	q := get[*person](t, tx, "p")
	if q == p || q.Name != "Ann" || q.secret != 7 || get[*person](t, tx, "p") != q {
		t.Fatal("Get gives no private copy, or not the same twice")
	}
	q.Tags = append(q.Tags, "b")
	q.Friend = &person{Name: "Bob"}
	if s := get[*person](t, head(t, d), "p"); len(s.Tags) != 1 {
		t.Fatal("a change is visible before Commit")
	}
	v2 := commit(t, tx)
	if s := get[*person](t, head(t, d), "p"); len(s.Tags) != 2 || s.Friend.Name != "Bob" || s.secret != 7 {
		t.Fatalf("stored %+v", s)
	}
	if st := tx.Stats(); st.PodsWritten == 0 || st.Bytes == 0 {
		t.Fatalf("%+v", st)
	}

	idle := begin(t, d) // reads, changes nothing
	get[*person](t, idle, "p")
	if v := commit(t, idle); v != v2 {
		t.Fatalf("a transaction that changed nothing made version %d", v)
	}

	gone := begin(t, d)
	get[*person](t, gone, "p").Name = "Eve"
	put(t, gone, "n", 2)
	if err := gone.Rollback(); err != nil {
		t.Fatal(err)
	}
	if s := head(t, d); get[*person](t, s, "p").Name != "Ann" || get[int](t, s, "n") != 1 {
		t.Fatal("what was rolled back is there")
	}
}

func TestTxPutAndDelete(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"a": &person{Name: "a"}, "b": &person{Name: "b"}, "c": 3})
	tx := begin(t, d)
	if err := tx.Delete(ctx, "x"); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	remove(t, tx, "a")
	if _, err := db.Get[*person](ctx, tx, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	if err := tx.Delete(ctx, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
	b := get[*person](t, tx, "b")
	remove(t, tx, "b")
	put(t, tx, "b", &holding{Owner: b}) // of another type, around the object that was loaded
	put(t, tx, "new", b)
	put(t, tx, "brief", 1)
	remove(t, tx, "brief")
	put(t, tx, "c", 4)
	if get[int](t, tx, "c") != 4 {
		t.Fatal("Put is not seen by Get")
	}
	if got := namesOf(t, tx, ""); !slices.Equal(got, []string{"b", "c", "new"}) {
		t.Fatalf("%q", got)
	}
	for _, bad := range []any{nil, []int{1}, person{}} {
		if err := tx.Put(ctx, "bad", bad); !errors.Is(err, db.ErrInvalid) {
			t.Fatalf("%v: %v", bad, err)
		}
	}
	if err := tx.Put(ctx, "", 1); !errors.Is(err, db.ErrInvalid) {
		t.Fatal(err)
	}
	commit(t, tx)
	s := head(t, d)
	var v struct {
		B   *holding
		New *person
		C   int
	}
	if err := s.Load(ctx, &v); err != nil {
		t.Fatal(err)
	}
	if v.B.Owner != v.New || v.New.Name != "b" || v.C != 4 {
		t.Fatalf("%+v", v)
	}
	if _, err := db.Get[*person](ctx, s, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
}

// Names merges what the transaction did, in both directions, for every prefix,
// and its loop may use the transaction.
func TestTxNames(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	vars := map[string]any{}
	for i := range 300 {
		vars[fmt.Sprintf("u/%03d", i)] = i
	}
	vars["t"], vars["v"] = 1, 2
	putAll(t, d, vars)
	tx := begin(t, d)
	var want []string
	for i := range 300 {
		n := fmt.Sprintf("u/%03d", i)
		switch i % 5 {
		case 0:
			remove(t, tx, n)
		case 1:
			put(t, tx, n, "new")
			put(t, tx, n+"x", "new")
			want = append(want, n, n+"x")
		default:
			want = append(want, n)
		}
	}
	put(t, tx, "u", 1)
	put(t, tx, "u/", 1)
	put(t, tx, "v/1", 1)
	if got := namesOf(t, tx, "u/"); !slices.Equal(got, append([]string{"u/"}, want...)) {
		t.Fatalf("%q", got)
	}
	all := append(append([]string{"t", "u", "u/"}, want...), "v", "v/1")
	if got := namesOf(t, tx, ""); !slices.Equal(got, all) {
		t.Fatalf("%q", got)
	}
	n := 0
	for name, err := range tx.Names(ctx, "u/") { // what the loop does is not met by it
		if err != nil {
			t.Fatal(err)
		}
		n++
		put(t, tx, name+"~", 1)
		if ok, err := tx.Has(ctx, name); !ok || err != nil {
			t.Fatal(name, ok, err)
		}
		if n%2 == 0 {
			remove(t, tx, name)
		}
	}
	if n != len(want)+1 {
		t.Fatalf("%d names", n)
	}
	for range tx.Names(ctx, "") {
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		break
	}
	for _, err := range tx.Names(ctx, "") {
		if !errors.Is(err, db.ErrTxDone) {
			t.Fatal(err)
		}
	}
	var last error
	tx = begin(t, d)
	for _, last = range tx.Names(ctx, "") { // over in the midst of it
		tx.Rollback()
	}
	if !errors.Is(last, db.ErrTxDone) {
		t.Fatal(last)
	}
}

// What two Gets share is one object, whichever was first, and Load too.
func TestTxGetsShare(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	o := &person{Name: "o"}
	putAll(t, d, map[string]any{"x": &holding{Owner: o}, "y": &holding{Owner: o}, "z": &person{Friend: o}})
	tx := begin(t, d)
	x, y := get[*holding](t, tx, "x"), get[*holding](t, tx, "y")
	var v struct {
		X *holding
		Z *person
	}
	if err := tx.Load(ctx, &v); err != nil {
		t.Fatal(err)
	}
	if x.Owner != y.Owner || v.X != x || v.Z.Friend != x.Owner || readOnly[*person](t, tx, "z") != v.Z {
		t.Fatal("two gets of one object are two objects")
	}
	tx.Rollback()
}

// An object that was only Read is never written, and changing it is an error that
// names the variable.
func TestTxReadIsNotWritten(t *testing.T) {
	ctx := context.Background()
	for _, trust := range []bool{false, true} {
		d := openMemory(t)
		big := make([]byte, 1<<20) // in chunks
		shared := &person{Name: "shared"}
		putAll(t, d, map[string]any{
			"limits": &person{Name: "limits", Friend: &person{Name: "deep"}}, "other": &person{Name: "other"},
			"a": &holding{Owner: shared}, "r": &person{Name: "r", Friend: shared}, "big": &big, "m": map[string]int{"a": 1},
		})
		o := db.TxOptions{TrustReads: trust}
		for what, change := range map[string]func(tx *db.Tx) string{
			"deep": func(tx *db.Tx) string {
				readOnly[*person](t, tx, "limits").Friend.Name = "changed"
				return "limits"
			},
			"new object": func(tx *db.Tx) string {
				readOnly[*person](t, tx, "limits").Friend.Friend = &person{}
				return "limits"
			},
			"map":   func(tx *db.Tx) string { readOnly[map[string]int](t, tx, "m")["b"] = 2; return "m" },
			"chunk": func(tx *db.Tx) string { (*readOnly[*[]byte](t, tx, "big"))[5e5]++; return "big" },
			"beside one that Get changed": func(tx *db.Tx) string {
				readOnly[*person](t, tx, "r").Name = "changed"
				get[*holding](t, tx, "a").Owner.Name = "changed, too"
				return "r"
			},
		} {
			tx := begin(t, d, o)
			get[*person](t, tx, "other")
			put(t, tx, "new", 1)
			name := change(tx)
			_, err := tx.Commit(ctx)
			if trust {
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
				continue
			}
			if !errors.Is(err, db.ErrReadChanged) || !strings.Contains(err.Error(), fmt.Sprintf("[%q]", name)) {
				t.Errorf("%s: %v", what, err)
			}
		}
		s := head(t, d)
		if p := get[*person](t, s, "limits"); p.Friend.Name != "deep" || p.Friend.Friend != nil {
			t.Fatalf("a Read object was written: %+v", p.Friend)
		}
		if r := get[*person](t, s, "r"); r.Name != "r" || len(get[map[string]int](t, s, "m")) != 1 || (*get[*[]byte](t, s, "big"))[5e5] != 0 {
			t.Fatalf("a Read object was written: %+v", r)
		}
	}
}

// What Read and Get share may be changed through Get, and a reference to a Read
// object may be stored.
func TestTxReadSharesWithGet(t *testing.T) {
	d := openMemory(t)
	o := &person{Name: "o"}
	putAll(t, d, map[string]any{"r": &holding{Owner: o}, "g": &holding{Owner: o}, "l": &person{Name: "l"}})
	tx := begin(t, d)
	r, g := readOnly[*holding](t, tx, "r"), get[*holding](t, tx, "g")
	if r.Owner != g.Owner {
		t.Fatal("two objects")
	}
	g.Owner.Name = "changed"
	g.Owner.Friend = readOnly[*person](t, tx, "l")
	g.Owner.Tags = []string{"new"}
	commit(t, tx)
	tx = begin(t, d)
	r, l := get[*holding](t, tx, "r"), get[*person](t, tx, "l")
	if r.Owner.Name != "changed" || r.Owner.Friend != l || len(r.Owner.Tags) != 1 {
		t.Fatalf("%+v", r.Owner)
	}
	// A Get after a Read makes it writable.
	readOnly[*person](t, tx, "l").Name = "2"
	get[*person](t, tx, "l")
	commit(t, tx)
	if get[*person](t, head(t, d), "l").Name != "2" {
		t.Fatal("not written")
	}
}

func TestTxIsOverOnce(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"x": 1})
	done := begin(t, d)
	put(t, done, "x", 2)
	commit(t, done)
	back := begin(t, d)
	back.Rollback()
	failed := begin(t, d)
	put(t, failed, "f", &struct{ F func() }{func() {}})
	if _, err := failed.Commit(ctx); !errors.Is(err, db.ErrUnsupported) || !strings.Contains(err.Error(), "f.F") {
		t.Fatal(err)
	}
	for _, tx := range []*db.Tx{done, back, failed} {
		for what, err := range map[string]error{
			"Get": second(tx.Get(ctx, "x")), "Put": tx.Put(ctx, "x", 1), "Delete": tx.Delete(ctx, "x"), "Has": second(tx.Has(ctx, "x")),
			"Commit": second(tx.Commit(ctx)), "Read": second(db.Read[int](ctx, tx, "x")), "Load": tx.Load(ctx, &struct{ X int }{}),
		} {
			if !errors.Is(err, db.ErrTxDone) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	tx := begin(t, d)
	put(t, tx, "x", 3)
	cancel()
	if _, err := tx.Commit(canceled); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := d.Begin(canceled, db.TxOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if get[int](t, head(t, d), "x") != 2 {
		t.Fatal("a canceled commit happened")
	}
	for what, o := range map[string]db.TxOptions{"isolation": {Isolation: 7}, "attempts": {Attempts: -1}} {
		if _, err := d.Begin(ctx, o); !errors.Is(err, db.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.Begin(ctx, db.TxOptions{Branch: "nowhere"}); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
}

func TestTxAfterClose(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"x": &person{}, "y": 1})
	tx, idle := begin(t, d), begin(t, d)
	get[*person](t, tx, "x").Name = "new"
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"Get": second(tx.Get(ctx, "y")), "Commit": second(tx.Commit(ctx)), "Begin": second(d.Begin(ctx, db.TxOptions{})),
		"Update": second(d.Update(ctx, func(context.Context, *db.Tx) error { return nil })),
		"View":   d.View(ctx, func(context.Context, *db.Snapshot) error { return nil }),
	} {
		if !errors.Is(err, db.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := idle.Rollback(); err != nil {
		t.Fatal(err)
	}
}

// A call that comes while another one runs is refused, and does no harm.
func TestTxOfTwoGoroutines(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"x": &slowMarker{}})
	tx := begin(t, d)
	slow := get[*slowMarker](t, tx, "x")
	slow.N = 1
	slow.entered, slow.leave = make(chan struct{}), make(chan struct{})
	result := make(chan error)
	go func() {
		_, err := tx.Commit(ctx)
		result <- err
	}()
	<-slow.entered
	for what, err := range map[string]error{
		"Get": second(tx.Get(ctx, "x")), "Put": tx.Put(ctx, "x", 1), "Delete": tx.Delete(ctx, "x"),
		"Commit": second(tx.Commit(ctx)), "Rollback": tx.Rollback(), "Load": tx.Load(ctx, &struct{ X *slowMarker }{}),
	} {
		if !errors.Is(err, db.ErrTxBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, err := range tx.Names(ctx, "") {
		if !errors.Is(err, db.ErrTxBusy) {
			t.Error(err)
		}
	}
	close(slow.leave)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if get[*slowMarker](t, head(t, d), "x").N != 1 {
		t.Fatal("not committed")
	}
}

// slowMarker waits while it is saved.
type slowMarker struct {
	N              int
	entered, leave chan struct{} `pod:"-"`
}

func (m *slowMarker) BeforeStore() error {
	if m.entered != nil {
		close(m.entered)
		<-m.leave
		m.entered = nil
	}
	return nil
}

// A transaction keeps its base from being pruned, also when the program has let go
// of others; one on a version that was pruned says so.
func TestTxAndPrune(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := putAll(t, d, map[string]any{"x": &person{Name: "1"}, "y": &person{}})
	leaked := begin(t, d)
	tx := begin(t, d)
	for i := range 10 {
		putAll(t, d, map[string]any{"y": i})
	}
	if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil {
		t.Fatal(err)
	}
	get[*person](t, tx, "x").Name = "2" // nobody has touched it
	commit(t, tx)
	if get[*person](t, head(t, d), "x").Name != "2" {
		t.Fatal("not written")
	}
	if leaked.Base() != v1 {
		t.Fatal("moved")
	}
	leaked = nil
	for i := 0; ; i++ { // the collector ends it
		runtime.GC()
		if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil {
			t.Fatal(err)
		}
		_, err := d.Begin(ctx, db.TxOptions{Base: v1})
		if errors.Is(err, db.ErrVersionGone) && strings.Contains(err.Error(), fmt.Sprint(v1)) {
			break
		}
		if err != nil || i > 1000 {
			t.Fatalf("after %d collections: %v", i, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// A transaction knows nothing of those before it, whose tables it may have.
func TestTxForgetsTheOneBefore(t *testing.T) {
	d := openMemory(t)
	putAll(t, d, map[string]any{"x": &person{Name: "1"}, "y": &person{Name: "1"}})
	for range 20 {
		before := begin(t, d)
		get[*person](t, before, "x").Name = "lost"
		if err := before.Rollback(); err != nil {
			t.Fatal(err)
		}
		tx := begin(t, d)
		get[*person](t, tx, "y").Name += "."
		putAll(t, d, map[string]any{"x": &person{Name: "2"}})
		commit(t, tx)
	}
	if name := get[*person](t, head(t, d), "x").Name; name != "2" {
		t.Fatal(name)
	}
	if name := get[*person](t, head(t, d), "y").Name; name != "1...................." {
		t.Fatal(name)
	}
}

// A transaction on an older version collides with what came since, and only with
// that.
func TestTxOnAnOlderBase(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	v1 := putAll(t, d, map[string]any{"x": &person{Name: "1"}, "y": &person{Name: "1"}})
	tx := begin(t, d)
	get[*person](t, tx, "x").Name = "2"
	commit(t, tx)
	old := begin(t, d, db.TxOptions{Base: v1})
	if x := get[*person](t, old, "x"); x.Name != "1" {
		t.Fatal(x.Name)
	}
	get[*person](t, old, "y").Name = "2"
	if _, err := old.Commit(ctx); !errors.Is(err, db.ErrConflict) {
		t.Fatal(err)
	}
	old = begin(t, d, db.TxOptions{Base: v1})
	get[*person](t, old, "y").Name = "2"
	commit(t, old)
	if _, err := d.Begin(ctx, db.TxOptions{Base: 99}); !errors.Is(err, db.ErrNotFound) {
		t.Fatal(err)
	}
}
