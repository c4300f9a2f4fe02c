package db_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	pairIn   struct{ A, B int }
	boxedOld struct {
		V pairIn
		K int
	}
	boxedNow struct {
		V *pairIn
		K int
	}
	anyNow struct {
		V any
		K int
	}
	goneNow    struct{ K int }
	skippedNow struct {
		V pairIn `pod:"-"`
		K int
	}
	renamedNow struct {
		W pairIn
		K int
	}
	keptNow struct {
		Other string
		W     pairIn `pod:"W,was=V"`
		K     int
	}
	textNow struct {
		V string
		K int
	}
	arrayOld      struct{ Z [3]int }
	arrayShort    struct{ Z [2]int }
	arrayBoxed    struct{ Z *[3]int }
	numberOld     struct{ V int }
	numberBoxed   struct{ V *int }
	numberNarrow  struct{ V int8 }
	sliceOld      struct{ S []pairIn }
	sliceBoxed    struct{ S []*pairIn }
	reshapedNodes struct{ List []*boxedOld }
)

// reshapeCase is a type that changes, seen by a program that loads "a" of it only, and
// by one that loads "b" as well, which refers into it.
type reshapeCase struct {
	name     string
	old, now []db.TypeEntry
	set      func() (a, b any)
	getA     func(context.Context, db.Reader) (any, error)
	getB     func(context.Context, db.Reader) (any, error)
	check    func(a, b any) bool
	part     string // that the refusal names; "" if there is none
	alone    bool   // b cannot be loaded together with a
}

func getting[T any](name string) func(context.Context, db.Reader) (any, error) {
	return func(ctx context.Context, r db.Reader) (any, error) { return db.Get[T](ctx, r, name) }
}

func reshapeCases() []reshapeCase {
	boxed := func() *boxedOld { return &boxedOld{pairIn{2, 3}, 4} }
	in := db.Type[pairIn]("in")
	intoV := func() (any, any) { a := boxed(); return a, &a.V.B }
	asInt := getting[*int]("b")
	types := func(e ...db.TypeEntry) []db.TypeEntry { return e }
	return []reshapeCase{
		{"a field becomes a pointer", types(db.Type[boxedOld]("T"), in), types(db.Type[boxedNow]("T"), in), intoV, getting[*boxedNow]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*boxedNow).V.B && *b.(*int) == 3 }, "a.V: stored as in, the program has *in", false},
		{"a field becomes a pointer, all of it", types(db.Type[boxedOld]("T"), in), types(db.Type[boxedNow]("T"), in), func() (any, any) { a := boxed(); return a, &a.V }, getting[*boxedNow]("a"), getting[*pairIn]("b"),
			func(a, b any) bool { return b.(*pairIn) == a.(*boxedNow).V && b.(*pairIn).B == 3 }, "a.V: stored as in, the program has *in", false},
		{"another field stays", types(db.Type[boxedOld]("T"), in), types(db.Type[boxedNow]("T"), in), func() (any, any) { a := boxed(); return a, &a.K }, getting[*boxedNow]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*boxedNow).K && *b.(*int) == 4 }, "", false},
		{"the whole object", types(db.Type[boxedOld]("T"), in), types(db.Type[boxedNow]("T"), in), func() (any, any) { a := boxed(); return a, a }, getting[*boxedNow]("a"), getting[*boxedNow]("b"),
			func(a, b any) bool { return a == b && a.(*boxedNow).V.B == 3 }, "", false},
		{"an int becomes a pointer", types(db.Type[numberOld]("T")), types(db.Type[numberBoxed]("T")), func() (any, any) { a := &numberOld{5}; return a, &a.V }, getting[*numberBoxed]("a"), asInt,
			func(a, b any) bool { return b.(*int) == a.(*numberBoxed).V && *b.(*int) == 5 }, "a.V: stored as int, the program has *int", false},
		{"elements become pointers", types(db.Type[sliceOld]("T"), in), types(db.Type[sliceBoxed]("T"), in), func() (any, any) { a := &sliceOld{[]pairIn{{1, 2}, {3, 4}}}; return a, &a.S[1].B }, getting[*sliceBoxed]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*sliceBoxed).S[1].B && *b.(*int) == 4 }, "a.S[1]: stored as in, the program has *in", false},
		{"elements become pointers, the first", types(db.Type[sliceOld]("T"), in), types(db.Type[sliceBoxed]("T"), in), func() (any, any) { a := &sliceOld{[]pairIn{{1, 2}, {3, 4}}}; return a, &a.S[0] }, getting[*sliceBoxed]("a"), getting[*pairIn]("b"),
			func(a, b any) bool { return b.(*pairIn) == a.(*sliceBoxed).S[0] && b.(*pairIn).B == 2 }, "a.S[0]: stored as in, the program has *in", false},
		{"elements in chunks become pointers", types(db.Type[sliceOld]("T"), in), types(db.Type[sliceBoxed]("T"), in), func() (any, any) {
			a := &sliceOld{make([]pairIn, 20_000)}
			a.S[15_000].B = 4
			return a, &a.S[15_000]
		}, getting[*sliceBoxed]("a"), getting[*pairIn]("b"),
			func(a, b any) bool { return b.(*pairIn) == a.(*sliceBoxed).S[15_000] && b.(*pairIn).B == 4 }, "a.S[15000]: stored as in, the program has *in", false},
		{"elements become pointers, a slice of them", types(db.Type[sliceOld]("T"), in), types(db.Type[sliceBoxed]("T"), in), func() (any, any) { a := &sliceOld{[]pairIn{{1, 2}, {3, 4}}}; b := a.S[1:]; return a, &b }, getting[*sliceBoxed]("a"), getting[*[]*pairIn]("b"),
			func(a, b any) bool {
				return &(*b.(*[]*pairIn))[0] == &a.(*sliceBoxed).S[1] && (*b.(*[]*pairIn))[0].B == 4
			}, "", false},
		{"an array becomes a pointer", types(db.Type[arrayOld]("T")), types(db.Type[arrayBoxed]("T")), func() (any, any) { a := &arrayOld{[3]int{1, 2, 3}}; b := a.Z[1:]; return a, &b }, getting[*arrayBoxed]("a"), getting[*[]int]("b"),
			func(a, b any) bool { return &a.(*arrayBoxed).Z[1] == &(*b.(*[]int))[0] }, "a.Z: stored as [3]int, the program has *[3]int", false},
		{"a struct becomes an interface", types(db.Type[boxedOld]("T"), in), types(db.Type[anyNow]("T"), in), intoV, getting[*anyNow]("a"), asInt, nil, "a.V: stored as in, the program has any", true},
		{"an array becomes shorter", types(db.Type[arrayOld]("T")), types(db.Type[arrayShort]("T")), func() (any, any) { a := &arrayOld{}; return a, &a.Z[2] }, getting[*arrayShort]("a"), asInt,
			func(a, b any) bool { return *b.(*int) == 0 }, "a.Z: stored as [3]int, the program has [2]int", false},
		{"an array becomes shorter, what stays", types(db.Type[arrayOld]("T")), types(db.Type[arrayShort]("T")), func() (any, any) { a := &arrayOld{}; return a, &a.Z[1] }, getting[*arrayShort]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*arrayShort).Z[1] }, "", false},
		{"an array becomes shorter, a slice over the end", types(db.Type[arrayOld]("T")), types(db.Type[arrayShort]("T")), func() (any, any) { a := &arrayOld{}; b := a.Z[1:2]; return a, &b }, getting[*arrayShort]("a"), getting[*[]int]("b"),
			nil, "a.Z: stored as [3]int, the program has [2]int", true},
		{"a value that a migration makes", types(db.Type[boxedOld]("T"), in), types(db.Type[textNow]("T"), in, db.Migrate("in", func(*pairIn) (string, error) { return "text", nil })), intoV, getting[*textNow]("a"), asInt, nil, "a.V: stored as in", true},
		{"a removed field", types(db.Type[boxedOld]("T"), in), types(db.Type[goneNow]("T"), in), intoV, getting[*goneNow]("a"), asInt,
			func(_, b any) bool { return *b.(*int) == 3 }, "a.V: stored as in, a field that the program no longer has", false},
		{"a removed field, another one", types(db.Type[boxedOld]("T"), in), types(db.Type[goneNow]("T"), in), func() (any, any) { a := boxed(); return a, &a.K }, getting[*goneNow]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*goneNow).K && *b.(*int) == 4 }, "", false},
		{"a removed field, the whole object", types(db.Type[boxedOld]("T"), in), types(db.Type[goneNow]("T"), in), func() (any, any) { a := boxed(); return a, &reshapedNodes{[]*boxedOld{a}} }, getting[*goneNow]("a"), getting[*struct{ List []*goneNow }]("b"),
			func(a, b any) bool { return b.(*struct{ List []*goneNow }).List[0] == a }, "", false},
		{"a field that is not stored any more", types(db.Type[boxedOld]("T"), in), types(db.Type[skippedNow]("T"), in), intoV, getting[*skippedNow]("a"), asInt,
			func(_, b any) bool { return *b.(*int) == 3 }, "a.V: stored as in, a field that the program no longer has", false},
		{"a renamed field without its old name", types(db.Type[boxedOld]("T"), in), types(db.Type[renamedNow]("T"), in), intoV, getting[*renamedNow]("a"), asInt,
			func(_, b any) bool { return *b.(*int) == 3 }, "a.V: stored as in, a field that the program no longer has", false},
		{"a renamed field", types(db.Type[boxedOld]("T"), in), types(db.Type[keptNow]("T"), in), intoV, getting[*keptNow]("a"), asInt,
			func(a, b any) bool { return b.(*int) == &a.(*keptNow).W.B && *b.(*int) == 3 }, "", false},
		{"a narrowed number", types(db.Type[numberOld]("T")), types(db.Type[numberNarrow]("T")), func() (any, any) { a := &numberOld{5}; return a, &a.V }, getting[*numberNarrow]("a"), getting[*int8]("b"),
			func(a, b any) bool { return b.(*int8) == &a.(*numberNarrow).V && *b.(*int8) == 5 }, "", false},
	}
}

// reshaped is a database whose types have changed since it was written.
func reshaped(t *testing.T, c *reshapeCase) (path string, d *db.DB) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "r.pod")
	d = must(db.Open(t.Context(), path, &db.Options{Types: db.Types(c.old...)}))(t)
	ns := namespace(t, d)
	a, b := c.set()
	set(t, ns, "a", a)
	set(t, ns, "b", b)
	set(t, ns, "c", &[]int{1})
	save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path, must(db.Open(t.Context(), path, &db.Options{Types: db.Types(c.now...), VerifyEvery: 1}))(t)
}

func wantReshapeRefused(t *testing.T, err error, part string) {
	t.Helper()
	if !errors.Is(err, db.ErrTypeMismatch) || errors.Is(err, db.ErrCorrupt) || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "load the variables that refer into it before saving: b:") {
		t.Errorf("got %v, want a refusal that names %q and b", err, part)
	}
}

// A save that takes away what a variable that is not loaded refers to is refused, and
// changes nothing; with that variable loaded it works, and both stay what they were.
func TestSaveKeepsWhatOthersReferTo(t *testing.T) {
	for _, c := range reshapeCases() {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			path, d := reshaped(t, &c)
			ns := namespace(t, d)
			a := must(c.getA(ctx, ns))(t)
			before := ns.Base()
			v, err := ns.Save(ctx)
			if c.part == "" {
				if err != nil || v == before {
					t.Fatalf("saved as %d after %d: %v", v, before, err)
				}
			} else {
				wantReshapeRefused(t, err, c.part)
				if _, err := ns.Save(ctx); err == nil || ns.Base() != before {
					t.Fatalf("the second Save: %v, the base is %d, was %d", err, ns.Base(), before)
				}
			}
			b, err := c.getB(ctx, ns)
			if c.alone {
				if !errors.Is(err, db.ErrTypeMismatch) {
					t.Fatalf("loading b beside a: %v", err)
				}
				if err := ns.Delete(ctx, "b"); err != nil {
					t.Fatal(err)
				}
				save(t, ns) // nobody refers into it
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err != nil || !c.check(a, b) {
				t.Fatalf("loaded %v, %v", b, err)
			}
			v = save(t, ns)
			if again := save(t, ns); again != v {
				t.Errorf("versions %d, %d", v, again)
			}
			must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = must(db.Open(ctx, path, &db.Options{Types: db.Types(c.now...)}))(t)
			defer d.Close()
			ns = namespace(t, d)
			b = must(c.getB(ctx, ns))(t) // the other way round
			if a = must(c.getA(ctx, ns))(t); !c.check(a, b) {
				t.Errorf("loaded again %v, %v", a, b)
			}
			if again := save(t, ns); again != v {
				t.Errorf("saved again as %d after %d", again, v)
			}
		})
	}
}

// Transactions refuse the same, and only when they write the object.
func TestTransactionsKeepWhatOthersReferTo(t *testing.T) {
	for _, c := range reshapeCases() {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			_, d := reshaped(t, &c)
			defer d.Close()
			before := must(d.Head(ctx, "main"))(t)
			update := func(names ...func(context.Context, db.Reader) (any, error)) error {
				_, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
					for _, get := range names {
						if _, err := get(ctx, tx); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			}
			err := update(c.getA)
			if c.part == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else {
				wantReshapeRefused(t, err, c.part)
				if now := must(d.Head(ctx, "main"))(t); now != before {
					t.Errorf("the head is %v, was %v", now, before)
				}
			}
			if err := update(getting[*[]int]("c")); err != nil {
				t.Errorf("a transaction about something else: %v", err)
			}
			if c.alone {
				return
			}
			if err := update(c.getA, c.getB); err != nil {
				t.Fatal(err)
			}
			if err := update(c.getB, c.getA); err != nil {
				t.Error(err)
			}
		})
	}
}
