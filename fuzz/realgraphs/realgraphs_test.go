package realgraphs

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

var (
	typesOf = flag.String("types-of", "container/heap", "the package that is type-checked with everything it imports")
	ssaOf   = flag.String("ssa-of", "container/heap", "the package that is built in SSA form with everything it imports")
)

// A graph is built in one process and loaded in another; both write down what
// it answers to questions about it, and the texts must be equal.
type graph struct {
	options func(t *testing.T) *db.Options
	build   func(t *testing.T) any // a pointer to a struct of variables
	empty   func() any
	answers func(t *testing.T, vars any, out *strings.Builder)
}

// of makes a graph of a struct type of variables.
func of[V any](options func(*testing.T) *db.Options, build func(*testing.T) *V, answers func(t *testing.T, v *V, out *strings.Builder)) graph {
	return graph{
		options: options,
		build:   func(t *testing.T) any { return build(t) },
		empty:   func() any { return new(V) },
		answers: func(t *testing.T, vars any, out *strings.Builder) { answers(t, vars.(*V), out) },
	}
}

const (
	envTest = "PODDB_REALGRAPH_TEST"
	envFile = "PODDB_REALGRAPH_FILE"
)

// survives runs the test that calls it once more, in another process, on what
// this one saved.
func survives(t *testing.T, g graph) {
	t.Helper()
	if file := os.Getenv(envFile); file != "" && os.Getenv(envTest) == t.Name() {
		elsewhere(t, g, file)
		return
	}
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "graph.pod")
	vars := g.build(t)
	want := ask(t, g, vars)
	if err := os.WriteFile(file+".answers", []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := db.Open(ctx, file, g.options(t))
	if err != nil {
		t.Fatal(err)
	}
	ns := must(d.Namespace(ctx, "main"))(t)
	s := reflect.ValueOf(vars).Elem()
	for i := range s.NumField() {
		if err := ns.Set(ctx, s.Type().Field(i).Name, s.Field(i).Interface()); err != nil {
			t.Fatal(err)
		}
	}
	v := must(ns.Save(ctx))(t)
	st := ns.LastSave()
	if again := must(ns.Save(ctx))(t); again != v {
		t.Errorf("a second Save made version %d: %+v", again, ns.LastSave())
	}
	runtime.KeepAlive(vars)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(must(os.Executable())(t), "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v=false",
		"-types-of="+*typesOf, "-ssa-of="+*ssaOf)
	c.Env = append(os.Environ(), envTest+"="+t.Name(), envFile+"="+file)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("in another process: %v\n%s", err, out)
	}
	t.Logf("%d objects in %d pods, %d bytes, %d lines of answers", st.Objects, st.Pods, st.Bytes, strings.Count(want, "\n"))
}

func elsewhere(t *testing.T, g graph, file string) {
	ctx := context.Background()
	want := string(must(os.ReadFile(file + ".answers"))(t))
	d, err := db.Open(ctx, file, g.options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ns := must(d.Namespace(ctx, "main"))(t)
	vars := g.empty()
	if err := ns.Load(ctx, vars); err != nil {
		t.Fatal(err)
	}
	if v := must(ns.Save(ctx))(t); v != 1 {
		t.Errorf("a load followed by a save made version %d: %+v", v, ns.LastSave())
	}
	if got := ask(t, g, vars); got != want {
		t.Errorf("other answers: %s", differ(want, got))
	}
	rep := must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
	for _, p := range rep.Problems {
		t.Error("verify:", p)
	}
}

func ask(t *testing.T, g graph, vars any) string {
	var b strings.Builder
	g.answers(t, vars, &b)
	if b.Len() == 0 {
		t.Fatal("no questions were asked")
	}
	return b.String()
}

// differ shows the first lines that differ.
func differ(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			other := "nothing"
			if i < len(g) {
				other = g[i]
			}
			return fmt.Sprintf("line %d of %d, %d: %q became %q", i+1, len(w), len(g), w[i], other)
		}
	}
	return fmt.Sprintf("%d lines became %d", len(w), len(g))
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
