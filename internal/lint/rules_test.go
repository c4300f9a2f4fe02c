package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// snippet makes a tree of files given as "path: source"; a Go source
// without a package clause stands in package p.
func snippet(t *testing.T, files ...string) *Tree {
	t.Helper()
	fsys := fstest.MapFS{}
	for _, f := range files {
		name, source, ok := strings.Cut(f, ": ")
		if !ok {
			t.Fatalf("no path in %q", f)
		}
		if strings.HasSuffix(name, ".go") && !strings.Contains(source, "package ") {
			source = "package p\n" + source
		}
		fsys[name] = &fstest.MapFile{Data: []byte(source)}
	}
	tree, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestEveryRuleCanFail shows each rule a tree that breaks it and one that just
// does not.
func TestEveryRuleCanFail(t *testing.T) {
	imports := func(p string) string { return fmt.Sprintf("import _ %q", p) }
	ours := func(p string) string { return imports(Module + "/" + p) }
	for _, c := range []struct {
		rule  string
		check func(*Tree) []Finding
		bad   []string
		good  []string
	}{
		{"layers", Layers,
			[]string{
				"wal/a.go: " + ours("pager"), "wal/a.go: " + ours("mvcc"), "podder/a.go: " + ours("internal/vfs"),
				"podder/a_test.go: " + ours("mvcc"), "mvcc/a.go: " + ours("podder"), "internal/vfs/a.go: " + ours("wal"),
				"db/a.go: " + ours("tools/poddb"), "cache/a.go: " + ours("db"), "mvcc/deep/a.go: " + ours("podder"),
				"pager/a.go: " + imports("github.com/stranger/lib"), "mvcc/a.go: " + imports("pgregory.net/rapid"),
				"podder/a.go: " + imports("github.com/klauspost/compress/s2"), "novel/a.go: ", "db/a.go: import _ \"" + Module + "\"",
			},
			[]string{
				"wal/a.go: " + ours("internal/vfs"), "podder/a.go: " + ours("internal/binenc"), "db/a.go: " + ours("podder"),
				"mvcc/a.go: " + ours("cache"), "tools/x/a.go: " + ours("db"), "fuzz/a_test.go: " + ours("mvcc"),
				"mvcc/a_test.go: " + imports("pgregory.net/rapid"), "mvcc/a.go: " + imports("github.com/RoaringBitmap/roaring/v2/roaring64"),
				"wal/a.go: " + imports("os"), "podder/a.go: " + ours("podder/inner"), "podder/a.go: " + imports("golang.org/x/sys/unix"),
			}},
		{"files", Files,
			[]string{
				`wal/a.go: import "os"; func f() { os.ReadFile("x") }`, `db/a.go: import "os"; var open = os.Open`,
				`db/a.go: import o "os"; func f() { o.Remove("x") }`, `pager/a.go: import "syscall"; func f() { syscall.Open("x", 0, 0) }`,
				`db/a.go: import "io/ioutil"; func f() { ioutil.ReadAll(nil) }`, `db/a.go: import "path/filepath"; func f() { filepath.Glob("x") }`,
				`pager/a.go: import "golang.org/x/sys/unix"; func f() { unix.Fdatasync(1) }`,
			},
			[]string{
				`internal/vfs/a.go: import "os"; func f() { os.ReadFile("x") }`, `wal/a_test.go: import "os"; func f() { os.ReadFile("x") }`,
				`tools/poddb/a.go: import "os"; func f() { os.ReadFile("x") }`, `db/a.go: import "os"; var e = os.ErrNotExist; var p = os.Getpid()`,
				`db/a.go: import "syscall"; var e = syscall.ENOSPC`, `db/a.go: type T struct{}; func (os T) Open() {}; func f(os T) { os.Open() }`,
			}},
		{"panics", Panics([]string{"wal.readSafely"}),
			[]string{
				`wal/a.go: func DecodeHead() { panic("p: bad") }`, `wal/a.go: func readAll() { panic("p: bad") }`,
				`wal/recover.go: func f() { panic("p: bad") }`, `wal/a.go: func parse() { part() }; func part() { func() { panic("p: bad") }() }`,
				`wal/a.go: type r struct{}; func (r) Read() { panic("p: bad") }`, `wal/a.go: func f() { panic("bad") }`,
				`wal/a.go: func f(err error) { panic(err) }`, "wal/a.go: // invariant: elsewhere\n\n\n\n\nvar x = 1\nfunc f() {\n\n\n\npanic(1) }",
				"pod/a.go: // invariant: x\nfunc Merge() { panic(1) }",
			},
			[]string{
				`wal/a.go: func f() { panic("p: two writers") }`, `wal/a.go: import "fmt"; func f() { panic(fmt.Sprintf("p: %d", 1)) }`,
				"wal/a.go: func f(n int) {\n// invariant: n was checked above\npanic(n) }", `wal/a_test.go: func readAll() { panic(1) }`,
				`wal/a.go: func readSafely() { panic("p: x") }`, `wal/a.go: func readjust() { panic("p: x") }`,
				`wal/a.go: func f() { v := recover(); if v != nil { panic(v) } }`, `tools/a.go: func read() { panic(1) }`,
			}},
		{"unsafe", Unsafe([]string{"podder/walk.go"}),
			[]string{
				`wal/a.go: import "unsafe"; var n = unsafe.Sizeof(1)`, "podder/other.go: import _ \"unsafe\"",
				"podder/walk.go: import \"unsafe\"\nfunc f(x *int) *byte { return (*byte)(unsafe.Pointer(x)) }",
				"podder/walk.go: import \"unsafe\"\n// far away\n\n\n\n\n\nfunc f(x *int) *byte {\n return (*byte)(unsafe.Pointer(x)) }",
			},
			[]string{
				"podder/walk.go: import \"unsafe\"\nfunc f(x *int) *byte {\n// x has at least one byte\nreturn (*byte)(unsafe.Pointer(x)) }",
				"podder/walk.go: import \"unsafe\"\n// f takes the first byte.\nfunc f(x *int) *byte { return (*byte)(unsafe.Pointer(x)) }",
				"podder/walk.go: import \"unsafe\"\nconst n = unsafe.Sizeof(1)\ntype t struct{ p unsafe.Pointer }",
				"podder/a_test.go: import \"unsafe\"\nvar n = unsafe.Pointer(nil)",
			}},
		{"ambient", Ambient([]string{"wal/clock.go"}),
			[]string{
				`wal/a.go: import "time"; func f() { time.Now() }`, `wal/a.go: import "time"; func f() { time.Sleep(1) }`,
				`db/a.go: import "math/rand/v2"; func f() { rand.IntN(3) }`, `db/a.go: import "math/rand"; func f() { rand.Int63() }`,
				`db/a.go: import "crypto/rand"; func f() { rand.Read(nil) }`, `db/a.go: import "time"; func f(t time.Time) { time.Since(t) }`,
			},
			[]string{
				`wal/clock.go: import "time"; func f() { time.Now() }`, `wal/a.go: import "time"; func f(o struct{ Now func() time.Time }) { o.Now = time.Now }`,
				`db/a.go: import "math/rand/v2"; func f() { rand.New(rand.NewPCG(1, 2)) }`, `wal/a_test.go: import "time"; func f() { time.Now() }`,
				`wal/a.go: import "time"; func f(t time.Time) { t.Sub(time.Unix(0, 0)) }`, `fuzz/a.go: import "time"; func f() { time.Now() }`,
			}},
		{"state", State([]string{"db.registered"}),
			[]string{
				`wal/a.go: func init() {}`, `wal/a.go: var n int`, `wal/a.go: var n = 1; func f() { n = 2 }`, `wal/a.go: var n = 1; func f() { n++ }`,
				`wal/a.go: var m = map[int]int{}; func f() { m[1] = 2 }`, `wal/a.go: var m = map[int]int{}; func f() { delete(m, 1) }`,
				`wal/a.go: var m = make(map[int]int)`, `wal/a.go: import "sync"; var p = sync.Pool{}`, `wal/a.go: import "sync"; var p = &sync.Mutex{}`,
				`wal/a.go: import "sync/atomic"; var n = atomic.Int64{}`, `wal/a.go: var n = 1; func f() *int { return &n }`,
				`wal/a.go: var s = struct{ n int }{1}; func f() { s.n = 2 }`, `db/a.go: var other []int`,
			},
			[]string{
				`wal/a.go: import "errors"; var ErrX = errors.New("x")`, `wal/a.go: import "hash/crc32"; var table = crc32.MakeTable(1)`,
				`wal/a.go: var names = []string{"a"}; func f() string { return names[0] }`, `db/a.go: var registered []int; func f() { registered = nil }`,
				"wal/a.go: import _ \"embed\"\n//go:embed x\nvar text string", `wal/a.go: var _ error = nil`, `wal/a_test.go: var n int`,
				`wal/a.go: type t struct{}; func (t) init() {}`, `tools/a.go: var n int`,
			}},
		{"documents", Documents,
			[]string{
				"wal/a.go: package wal", "wal/a.go: // Package wal is a log.\npackage wal\nfunc F() {}", "wal/a.go: // Package wal is a log.\npackage wal\ntype T int",
				"wal/a.go: // Package wal is a log.\npackage wal\nvar E = 1", "wal/a.go: // Package wal is a log.\npackage wal\n// T is.\ntype T int\nfunc (t *T) M() {}",
			},
			[]string{
				"wal/a.go: // Package wal is a log.\npackage wal\n// F does.\nfunc F() {}\nfunc g() {}\ntype t int\nfunc (t) M() {}",
				"wal/a.go: // Package wal is a log.\npackage wal\n// Kinds.\nconst (\nA = 1\nB = 2\n)", "wal/a.go: // Package wal is a log.\npackage wal\n// T is.\ntype T int\nfunc (T) String() string { return \"\" }",
				"tools/a.go: package main\nfunc F() {}",
			}},
		{"words", Words,
			[]string{
				"wal/a.go: // TO" + "DO: more", "README.md: this is not " + "implemented", "docs/a.md: a place" + "holder", "wal/a_test.go: func f(t interface{ Skip(...any) }) { t.Skip" + "(1) }",
				".ci/run: # for " + "now", "docs/a.md: see /wo" + "rk/main", "docs/a.md: FIX" + "ME",
			},
			[]string{"wal/a.go: // what there is to do", "docs/a.md: for nowhere, a workaround, skipped pages", "testdata/a.md: TO" + "DO", "other/go.mod: module x", "docs/a.txt: TO" + "DO"}},
		{"length", Length,
			[]string{
				"wal/a.go: " + strings.Repeat("\n", LongFile+1), "wal/a.go: func f() {" + strings.Repeat("\n", LongFunction) + "}",
			},
			[]string{"wal/a.go: " + strings.Repeat("\n", LongFile-1), "wal/a.go: func f() {" + strings.Repeat("\n", LongFunction-1) + "}"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			for _, s := range c.bad {
				if found := c.check(snippet(t, s)); len(found) == 0 {
					t.Errorf("passes:\n%s", s)
				}
			}
			for _, s := range c.good {
				if found := c.check(snippet(t, s)); len(found) > 0 {
					t.Errorf("%v:\n%s", found, s)
				}
			}
		})
	}
}

func TestNestedModulesAreNotPartOfTheTree(t *testing.T) {
	tree := snippet(t, "go.mod: module x", "a.go: ", "tools/bench/go.mod: module y", "tools/bench/a.go: ", "tools/bench/deep/a.go: ",
		"wal/testdata/a.go: ", ".git/a.go: ", ".ci/run: x", "_old/a.go: ", "wal/a.go: ")
	var got []string
	for _, f := range tree.Texts {
		got = append(got, f.Path)
	}
	if want := []string{".ci/run", "a.go", "go.mod", "wal/a.go"}; !slices.Equal(got, want) {
		t.Errorf("tree holds %v, want %v", got, want)
	}
}

func TestAllowListsHoldNothingThatIsGone(t *testing.T) {
	tree := loadTree(t)
	at := map[string]*File{}
	declared := map[string]bool{}
	for _, f := range tree.Files {
		at[f.Path] = f
		for _, fn := range f.functions() {
			declared[f.Dir+"."+fn.Name.Name] = true
		}
		eachVar(f, func(id *ast.Ident, _ *ast.ValueSpec) { declared[f.Dir+"."+id.Name] = true })
	}
	for _, p := range mayUseUnsafe {
		if at[p] == nil || at[p].imported("unsafe") == "" {
			t.Errorf("%s may use unsafe and does not", p)
		}
	}
	for _, p := range mayUseClock {
		if at[p] == nil || len(Ambient(nil)(&Tree{Fset: tree.Fset, Files: []*File{at[p]}})) == 0 {
			t.Errorf("%s may use the clock and does not", p)
		}
	}
	for _, name := range append(slices.Clone(mayKeepState), mayPanic...) {
		if !declared[name] {
			t.Errorf("%s is allowed something and is not there", name)
		}
	}
}
