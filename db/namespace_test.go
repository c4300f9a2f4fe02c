package db_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

type person struct {
	Name   string
	Friend *person
	Tags   []string
	Seen   time.Time
	secret int
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// testTypes are needed where a value is loaded as any.
func testTypes() db.TypeSet { return db.Types(db.Type[person]("test.person")) }

func openMemory(t *testing.T) *db.DB {
	t.Helper()
	d := must(db.OpenMemory(context.Background(), &db.Options{Types: testTypes(), VerifyEvery: 1}))(t)
	t.Cleanup(func() {
		verifyClean(t, d)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// verifyClean ends every test: whatever it did, the file is sound.
func verifyClean(t *testing.T, d *db.DB) {
	t.Helper()
	rep, err := d.Verify(context.Background(), db.VerifyOptions{Deep: true})
	if errors.Is(err, db.ErrClosed) {
		return
	}
	if err != nil {
		t.Error(err)
	}
	for _, p := range rep.Problems {
		t.Error("verify:", p)
	}
}

func namespace(t *testing.T, d *db.DB) *db.Namespace {
	t.Helper()
	return must(d.Namespace(context.Background(), "main"))(t)
}

func set(t *testing.T, ns *db.Namespace, name string, v any) {
	t.Helper()
	if err := ns.Set(context.Background(), name, v); err != nil {
		t.Fatal(err)
	}
}

func save(t *testing.T, ns *db.Namespace) db.Version {
	t.Helper()
	return must(ns.Save(context.Background()))(t)
}

func TestEveryVersionStaysReadable(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	p := &person{Name: "v0"}
	set(t, ns, "p", p)
	for i := range 40 {
		p.Name, p.secret = fmt.Sprint("v", i), i
		if v := save(t, ns); v != db.Version(i+1) {
			t.Fatalf("save %d is version %d", i, v)
		}
		if i%13 == 5 {
			if err := d.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 40 {
		s := must(d.At(ctx, db.Version(i+1)))(t)
		got := must(db.Get[*person](ctx, s, "p"))(t)
		if got.Name != fmt.Sprint("v", i) || got.secret != i {
			t.Errorf("version %d: %q %d", i+1, got.Name, got.secret)
		}
		_ = s.Close()
	}
}

func TestSaveWithoutChangesMakesNoCommit(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a.pod")
	d := must(db.Open(ctx, path, nil))(t)
	ns := namespace(t, d)
	p := &person{Name: "a", Tags: []string{"x"}, Seen: time.Now()}
	p.Friend = p
	set(t, ns, "p", p)
	set(t, ns, "m", map[string]*person{"p": p, "q": {Name: "q"}})
	v := save(t, ns)
	if again := save(t, ns); again != v {
		t.Errorf("second save is version %d, want %d", again, v)
	}
	for range 2 { // the next processes: load, save
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = must(db.Open(ctx, path, nil))(t)
		ns = namespace(t, d)
		m := must(db.Get[map[string]*person](ctx, ns, "m"))(t)
		if again := save(t, ns); again != v {
			t.Errorf("save after loading m is version %d, want %d", again, v)
		}
		p := must(db.Get[*person](ctx, ns, "p"))(t)
		if m["p"] != p || p.Friend != p {
			t.Error("a later load of p does not share with m")
		}
		if again := save(t, ns); again != v {
			t.Errorf("save after loading p too is version %d, want %d", again, v)
		}
	}
	verifyClean(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLoadKeepsSharingBetweenVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	shared := &person{Name: "shared"}
	set(t, ns, "a", &person{Friend: shared})
	set(t, ns, "b", &person{Friend: shared})
	s := must(d.At(ctx, save(t, ns)))(t)
	defer s.Close()
	var v struct {
		A     *person
		Other *person `pod:"b"`
		Skip  *person `pod:"-"`
	}
	if err := s.Load(ctx, &v); err != nil {
		t.Fatal(err)
	}
	if v.A.Friend != v.Other.Friend || v.A.Friend.Name != "shared" {
		t.Error("the shared object is not one object")
	}
	var m map[string]any
	if err := s.Load(ctx, &m); err != nil {
		t.Fatal(err)
	}
	if len(m) != 2 || m["a"].(*person).Friend != m["b"].(*person).Friend {
		t.Error("loaded into a map: not one object")
	}
}

func TestSetRefusesWhatLaterChangesWouldNotReach(t *testing.T) {
	ctx := context.Background()
	ns := namespace(t, openMemory(t))
	for _, c := range []struct {
		value any
		want  error
		text  string
	}{
		{[]int{1}, db.ErrInvalid, "pointer to the slice"},
		{person{}, db.ErrInvalid, "pointer"},
		{[2]int{}, db.ErrInvalid, "pointer"},
		{nil, db.ErrInvalid, "Delete"},
		{func() {}, db.ErrUnsupported, "func()"},
		{make(chan int), db.ErrUnsupported, "chan int"},
	} {
		err := ns.Set(ctx, "x", c.value)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.text) {
			t.Errorf("Set(%T) = %v, want %v with %q", c.value, err, c.want, c.text)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", 1025)} {
		if err := ns.Set(ctx, name, 1); !errors.Is(err, db.ErrInvalid) {
			t.Errorf("Set with a name of %d bytes = %v", len(name), err)
		}
	}
}

func TestScalarsAreVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "n", 42)
	set(t, ns, "s", "text")
	set(t, ns, "b", true)
	v1 := save(t, ns)
	set(t, ns, "n", 43)
	v2 := save(t, ns)
	for v, want := range map[db.Version]int{v1: 42, v2: 43} {
		s := must(d.At(ctx, v))(t)
		if got := must(db.Get[int](ctx, s, "n"))(t); got != want {
			t.Errorf("version %d: n = %d, want %d", v, got, want)
		}
		if got := must(db.Get[any](ctx, s, "s"))(t); got != any("text") {
			t.Errorf("s = %v", got)
		}
		if _, err := db.Get[string](ctx, s, "n"); !errors.Is(err, db.ErrTypeMismatch) {
			t.Errorf("Get[string] of an int = %v", err)
		}
		_ = s.Close()
	}
}

func TestDeleteRemovesTheNameAndKeepsWhatOthersShare(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	shared := &person{Name: "shared"}
	set(t, ns, "a", shared)
	set(t, ns, "b", &person{Friend: shared})
	v1 := save(t, ns)
	if err := ns.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := ns.Delete(ctx, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("second Delete = %v", err)
	}
	v2 := save(t, ns)
	if got := slices.Collect(ns.Names()); !slices.Equal(got, []string{"b"}) {
		t.Errorf("names = %q", got)
	}
	s1, s2 := must(d.At(ctx, v1))(t), must(d.At(ctx, v2))(t)
	defer s1.Close()
	defer s2.Close()
	if _, err := db.Get[*person](ctx, s1, "a"); err != nil {
		t.Error(err)
	}
	if _, err := db.Get[*person](ctx, s2, "a"); !errors.Is(err, db.ErrNotFound) {
		t.Errorf("Get of a deleted variable = %v", err)
	}
	if b := must(db.Get[*person](ctx, s2, "b"))(t); b.Friend.Name != "shared" {
		t.Error("the shared object is lost")
	}
}

func TestUnsupportedValuesAreNamedAllAtOnceAndNothingIsWritten(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	type bad struct {
		Items []any
		F     func()
	}
	set(t, ns, "x", &bad{Items: []any{1, make(chan int)}, F: func() {}})
	_, err := ns.Save(ctx)
	var u *db.UnsupportedError
	if !errors.As(err, &u) || len(u.Problems) != 2 {
		t.Fatalf("Save = %v, want two problems", err)
	}
	for i, path := range []string{"x.F", "x.Items[1]"} {
		if !slices.ContainsFunc(u.Problems, func(p db.PathProblem) bool { return p.Path == path }) {
			t.Errorf("problem %d: no path %q in %v", i, path, err)
		}
	}
	if head := must(d.Head(ctx, "main"))(t); head != 0 {
		t.Errorf("head is %d after a failed save", head)
	}
	set(t, ns, "x", &person{Name: "good"})
	if v := save(t, ns); v != 1 {
		t.Errorf("save after the failed one is version %d", v)
	}
}

func TestConflictWhenAnotherNamespaceTouchedALivePod(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	a := namespace(t, d)
	p := &person{Name: "first"}
	set(t, a, "p", p)
	save(t, a)
	b := namespace(t, d)
	q := must(db.Get[*person](ctx, b, "p"))(t)
	p.Name = "from a"
	save(t, a)
	q.Name = "from b"
	_, err := b.Save(ctx)
	if !errors.Is(err, db.ErrConflict) || !db.Retryable(err) {
		t.Fatalf("Save = %v, want a conflict", err)
	}
	set(t, a, "other", 1)
	if _, err := a.Save(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestNamespacesOnOneBranchCommitWhenTheyTouchDifferentVariables(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	a, b := namespace(t, d), namespace(t, d)
	set(t, a, "a", &person{Name: "a"})
	set(t, b, "b", &person{Name: "b"})
	save(t, a)
	v := save(t, b)
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	var all map[string]any
	if err := s.Load(ctx, &all); err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if got := slices.Collect(b.Names()); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names of b after its save = %q", got)
	}
}

func TestLogTellsTheHistoryNewestFirst(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	p := &person{}
	set(t, ns, "p", p)
	for i := range 5 {
		p.Name = fmt.Sprint(i)
		if _, err := ns.Save(ctx, db.SaveOptions{Message: fmt.Sprint("save ", i), Author: "me"}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	var last time.Time
	for c, err := range d.Log(ctx, db.LogOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !last.IsZero() && !c.Time.Before(last) {
			t.Errorf("version %d is not older than the one after it", c.Version)
		}
		last = c.Time
		got = append(got, c.Message+" "+c.Author)
	}
	want := []string{"save 4 me", "save 3 me", "save 2 me", "save 1 me", "save 0 me"}
	if !slices.Equal(got, want) {
		t.Errorf("log = %q", got)
	}
}

func TestClosedDatabaseRefusesWork(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, nil))(t)
	ns := namespace(t, d)
	set(t, ns, "p", &person{})
	save(t, ns)
	s := must(d.At(ctx, 1))(t)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	set(t, ns, "q", &person{})
	if _, err := ns.Save(ctx); !errors.Is(err, db.ErrClosed) {
		t.Errorf("Save = %v", err)
	}
	if _, err := db.Get[*person](ctx, s, "p"); !errors.Is(err, db.ErrClosed) {
		t.Errorf("Get = %v", err)
	}
	if _, err := d.At(ctx, 1); !errors.Is(err, db.ErrClosed) {
		t.Errorf("At = %v", err)
	}
}

// A variable that was loaded here and bound anew elsewhere must not be saved
// into an object that no name leads to.
func TestConflictWhenALiveVariableWasBoundOrDeletedElsewhere(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(ns *db.Namespace) error{
		"bound":   func(ns *db.Namespace) error { return ns.Set(ctx, "x", &person{Name: "new"}) },
		"deleted": func(ns *db.Namespace) error { return ns.Delete(ctx, "x") },
	} {
		t.Run(name, func(t *testing.T) {
			d := openMemory(t)
			first := namespace(t, d)
			set(t, first, "x", &person{Name: "old"})
			save(t, first)
			a, b := namespace(t, d), namespace(t, d)
			x := must(db.Get[*person](ctx, a, "x"))(t)
			if err := change(b); err != nil {
				t.Fatal(err)
			}
			save(t, b)
			x.Name = "changed in a"
			var c *db.ConflictError
			if _, err := a.Save(ctx); !errors.As(err, &c) || !slices.Equal(c.Names, []string{"x"}) {
				t.Errorf("Save = %v, want a conflict about x", err)
			}
		})
	}
}

// From the third save on a namespace looks only at what changed, and says so; Trim lets
// go of what is not reached, and the save after it looks at everything.
func TestLaterSavesDoNotWalk(t *testing.T) {
	d := must(db.OpenMemory(context.Background(), &db.Options{Types: testTypes(), VerifyEvery: 1}))(t)
	defer d.Close()
	ns := namespace(t, d)
	big := &leaf{Text: "big"}
	x := &holder{Name: "x", Leaf: big}
	set(t, ns, "x", x)
	for n, want := range []bool{true, true, false, false} {
		x.Name = fmt.Sprint("x", n)
		save(t, ns)
		if got := ns.LastSave(); got.Walked != want || got.PodsWritten != 1 || got.Objects != 3 {
			t.Errorf("save %d: %+v", n, got)
		}
	}
	x.Leaf = nil
	save(t, ns)
	gone := make(chan struct{})
	runtime.AddCleanup(big, func(int) { close(gone) }, 0)
	big = nil
	runtime.GC()
	select {
	case <-gone:
		t.Error("what saves without a walk know was let go")
	default:
	}
	ns.Trim()
	for range 100 {
		runtime.GC()
		select {
		case <-gone:
			x.Name = "after"
			save(t, ns)
			if !ns.LastSave().Walked {
				t.Error("no walk after Trim")
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Error("Trim does not let go")
}

// A namespace that the program has let go of goes, and gives back the version it
// rests on, whatever it did last: also a Save that had nothing to write.
func TestANamespaceThatIsLetGoOfGoes(t *testing.T) {
	for name, last := range map[string]func(t *testing.T, ns *db.Namespace){
		"a load": func(t *testing.T, ns *db.Namespace) { loadAll(t, ns) },
		"a load and a save that writes nothing": func(t *testing.T, ns *db.Namespace) {
			loadAll(t, ns)
			save(t, ns)
		},
		"a save": func(t *testing.T, ns *db.Namespace) {
			set(t, ns, "y", &person{Name: "y"})
			save(t, ns)
			save(t, ns)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := must(db.OpenMemory(t.Context(), &db.Options{Types: testTypes()}))(t)
			defer d.Close()
			first := namespace(t, d)
			set(t, first, "x", &person{Name: "x"})
			save(t, first)
			gone := make(chan struct{})
			func() {
				ns := namespace(t, d)
				runtime.AddCleanup(ns, func(int) { close(gone) }, 0)
				last(t, ns)
			}()
			for range 100 {
				runtime.GC()
				select {
				case <-gone:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
			t.Error("it is still held")
		})
	}
}

func loadAll(t *testing.T, ns *db.Namespace) {
	t.Helper()
	var all map[string]any
	if err := ns.Load(t.Context(), &all); err != nil || len(all) == 0 {
		t.Fatal(all, err)
	}
}
