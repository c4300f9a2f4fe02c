package db_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/db"
)

type runtimeBound struct {
	Name string
	Fn   func() int
	Ch   chan int
	Ptr  unsafe.Pointer
	Any  any
	On   map[string]func()
	List []any
	Sub  *runtimeBound
	hook named
}

type named func() string

func (n named) String() string { return n() }

func (b *runtimeBound) Method() int { return 7 }

func bound() *runtimeBound {
	x := &runtimeBound{Name: "x", Ch: make(chan int), Ptr: unsafe.Pointer(new(int)), On: map[string]func(){"close": func() {}, "nil": nil}}
	x.Fn = x.Method // a method value
	x.Any = func() {}
	x.List = []any{1, make(<-chan bool), named(func() string { return "" }), &x.Name}
	x.Sub = &runtimeBound{Name: "sub", hook: x.Name2}
	return x
}

func (b *runtimeBound) Name2() string { return b.Name }

// Funcs (method values among them), channels and unsafe pointers are refused,
// all at once, by path, and nothing is written.
func TestFuncsChannelsAndUnsafePointersAreRefusedAllAtOnce(t *testing.T) {
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "x", bound())
	_, err := ns.Save(context.Background())
	var all *db.UnsupportedError
	if !errors.Is(err, db.ErrUnsupported) || !errors.As(err, &all) {
		t.Fatal(err)
	}
	want := map[string]string{
		"x.Fn": "func() int", "x.Ch": "chan int", "x.Ptr": "unsafe.Pointer", "x.Any": "func()", `x.On["close"]`: "func()",
		"x.List[1]": "<-chan bool", "x.List[2]": "db_test.named", "x.Sub.hook": "db_test.named",
	}
	for _, p := range all.Problems {
		if want[p.Path] != p.Type {
			t.Errorf("unexpected: %+v", p)
		}
		if !strings.Contains(p.Reason, " to nil, or skip the field with the tag") {
			t.Errorf("%s: %q does not say what to do", p.Path, p.Reason)
		}
		delete(want, p.Path)
	}
	if len(want) > 0 {
		t.Errorf("not named: %v", want)
	}
	if head, err := d.Head(context.Background(), "main"); err == nil && head != 0 {
		t.Errorf("version %d was written", head)
	}
}

// With ZeroUnsupported they are stored as nil, the logger hears where, and a
// later process finds nil and nothing to write.
func TestUnsupportedValuesAreStoredAsNilOnRequest(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/z.pod"
	var log bytes.Buffer
	open := func() *db.DB {
		return must(db.Open(ctx, path, &db.Options{OnUnsupported: db.ZeroUnsupported, Logger: slog.New(slog.NewTextHandler(&log, nil))}))(t)
	}
	d := open()
	ns := namespace(t, d)
	x := bound()
	set(t, ns, "x", x)
	v := save(t, ns)
	for _, part := range []string{"8 values", "x.Fn (func() int)", "x.Sub.hook (db_test.named)", "x.List[2] (db_test.named)"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log does not say %q: %s", part, log.String())
		}
	}
	log.Reset()
	if again := save(t, ns); again != v || strings.Contains(log.String(), "stored as nil") {
		t.Errorf("a second save made version %d of %d, log: %s", again, v, log.String())
	}
	if x.Fn() != 7 || x.Any == nil {
		t.Error("memory was changed")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open()
	defer d.Close()
	ns = namespace(t, d)
	y := must(db.Get[*runtimeBound](ctx, ns, "x"))(t)
	if y.Fn != nil || y.Ch != nil || y.Ptr != nil || y.Any != nil || y.On["close"] != nil || len(y.On) != 2 || y.List[1] != nil || y.List[2] != nil || y.Sub.hook != nil {
		t.Errorf("loaded %+v", y)
	}
	if y.List[0] != 1 || y.List[3] != any(&y.Name) || y.Sub.Name != "sub" {
		t.Errorf("the rest: %+v", y)
	}
	if again := save(t, ns); again != v {
		t.Errorf("a save after the load made version %d of %d", again, v)
	}
	if _, err := db.Open(ctx, path+"2", &db.Options{OnUnsupported: 7}); !errors.Is(err, db.ErrInvalid) {
		t.Errorf("an unknown choice: %v", err)
	}
}

// As keys of a map they would become equal, so they are refused in any case.
func TestUnsupportedMapKeysAreRefusedInAnyCase(t *testing.T) {
	d := must(db.OpenMemory(context.Background(), &db.Options{OnUnsupported: db.ZeroUnsupported}))(t)
	defer d.Close()
	ns := namespace(t, d)
	set(t, ns, "m", map[chan int]int{make(chan int): 1, nil: 2})
	set(t, ns, "n", map[any]int{make(chan int): 1, 5: 2})
	_, err := ns.Save(context.Background())
	var all *db.UnsupportedError
	if !errors.As(err, &all) || len(all.Problems) != 2 || !strings.HasPrefix(all.Problems[0].Path, "m[") || !strings.HasPrefix(all.Problems[1].Path, "n[") {
		t.Errorf("%v", err)
	}
}
