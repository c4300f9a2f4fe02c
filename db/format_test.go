package db_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// testdata/first is a database in the first format, as it was closed, and
// testdata/first-crashed the same with more versions in its log. Every later
// version of this package must open both and read every version. A change of
// the format adds a directory; these files never change again.
//
//	go test ./db -run '^TestFirstFormat' -args -write-format
//
// made them, and makes such files for a new format.
var writeFormat = flag.Bool("write-format", false, "write testdata/first and testdata/first-crashed again")

type formatNode struct {
	Name  string
	Score float64
	Tags  []string
	Next  *formatNode
	Any   any
	small [3]uint16
}

type formatWorld struct {
	Nodes []*formatNode
	Index map[string]*formatNode
	Flat  []int32
	Text  string
}

const (
	formatVersions = 12 // in the closed file
	formatInLog    = 3  // more of them in the log of the crashed one
	formatPruned   = 4  // the first ones, gone
)

func formatTypes() db.TypeSet { return db.Types(db.Type[formatNode]("format.node")) }

// formatState builds the world from nothing as it is at a version, so that
// what is compared with does not come from the file.
func formatState(version int) *formatWorld {
	w := &formatWorld{Index: map[string]*formatNode{}}
	for v := 1; v <= version; v++ {
		formatStep(w, v)
	}
	return w
}

func formatStep(w *formatWorld, v int) {
	for i := range 20 {
		n := &formatNode{Name: fmt.Sprintf("node %d of %d", i, v), Score: float64(v) / float64(i+1), small: [3]uint16{uint16(v), uint16(i)}}
		if len(w.Nodes) > 0 {
			n.Next = w.Nodes[(i*7+v)%len(w.Nodes)]
			n.Any = []any{v, n.Next, *n.Next.self()}
		}
		w.Nodes = append(w.Nodes, n)
		if i%3 == 0 {
			w.Index[n.Name] = n
		}
	}
	w.Nodes[v].Tags = append(w.Nodes[v].Tags, fmt.Sprint("tag", v), strings.Repeat("long ", 20*v))
	w.Nodes[0].Next = w.Nodes[len(w.Nodes)-1] // a cycle
	for i := range 400 {
		w.Flat = append(w.Flat, int32(v*i*i))
	}
	w.Flat[v] = -int32(v)
	w.Text = strings.Repeat(fmt.Sprint("text of version ", v, "; "), 40)
}

// self is a copy by value, as it may stand in an interface.
func (n *formatNode) self() *formatNode {
	return &formatNode{Name: n.Name, Score: n.Score, small: n.small}
}

func formatOptions() *db.Options { return &db.Options{Types: formatTypes(), CheckpointBytes: -1} }

// buildFormat saves versions from to to and calls between before each.
func buildFormat(t *testing.T, d *db.DB, w *formatWorld, from, to int) {
	t.Helper()
	ctx := context.Background()
	ns := must(d.Namespace(ctx, "main"))(t)
	set(t, ns, "world", w)
	for v := from; v <= to; v++ {
		formatStep(w, v)
		set(t, ns, "version", v)
		if got := save(t, ns); got != db.Version(v) {
			t.Fatalf("version %d, want %d", got, v)
		}
		if v%3 == 0 {
			if err := d.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func checkFormat(t *testing.T, dir string, newest int) {
	t.Helper()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "first.pod")
	if err := os.CopyFS(filepath.Dir(path), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*db.Options{{Types: formatTypes(), ReadOnly: true}, formatOptions()} {
		d, err := db.Open(ctx, path, o)
		if err != nil {
			t.Fatalf("a database in the first format: %v", err)
		}
		if head := must(d.Head(ctx, "main"))(t); head != db.Version(newest) {
			t.Fatalf("newest version %d, want %d", head, newest)
		}
		for v := 1; v <= newest; v++ {
			s, err := d.At(ctx, db.Version(v))
			if v <= formatPruned {
				if !errors.Is(err, db.ErrVersionGone) {
					t.Fatalf("version %d: %v, want %v", v, err, db.ErrVersionGone)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got := must(db.Get[*formatWorld](ctx, s, "world"))(t)
			if want := formatState(v); !reflect.DeepEqual(got, want) {
				t.Fatalf("version %d has another world", v)
			}
			if got.Index[got.Nodes[0].Name] != got.Nodes[0] || got.Nodes[0].Next != got.Nodes[len(got.Nodes)-1] {
				t.Fatalf("version %d lost what its objects share", v)
			}
			s.Close()
		}
		rep := must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
		if len(rep.Problems) > 0 {
			t.Fatalf("Verify: %q", rep.Problems)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	d := must(db.Open(ctx, path, formatOptions()))(t) // and it goes on
	defer d.Close()
	buildFormat(t, d, formatState(newest), newest+1, newest+1)
}

func TestFirstFormatAsItWasClosed(t *testing.T) {
	if *writeFormat {
		writeFirstFormat(t)
	}
	checkFormat(t, "testdata/first", formatVersions)
}

func TestFirstFormatAsACrashLeftIt(t *testing.T) {
	checkFormat(t, "testdata/first-crashed", formatVersions+formatInLog)
}

// writeFirstFormat makes the files.
func writeFirstFormat(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "first.pod")
	d := must(db.Open(ctx, path, formatOptions()))(t)
	w := &formatWorld{Index: map[string]*formatNode{}}
	buildFormat(t, d, w, 1, formatVersions)
	if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(formatVersions - formatPruned)}); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	keep := func(dir string) {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"first.pod", "first.pod.wal"} {
			from := filepath.Join(filepath.Dir(path), name)
			info, err := os.Stat(from)
			if err != nil {
				continue
			}
			if info.IsDir() {
				err = os.CopyFS(filepath.Join(dir, name), os.DirFS(from))
			} else {
				err = os.MkdirAll(dir, 0o777)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, name), must(os.ReadFile(from))(t), 0o666)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	keep("testdata/first")
	d = must(db.Open(ctx, path, formatOptions()))(t)
	ns := must(d.Namespace(ctx, "main"))(t)
	world := must(db.Get[*formatWorld](ctx, ns, "world"))(t)
	buildFormat(t, d, world, formatVersions+1, formatVersions+formatInLog)
	keep("testdata/first-crashed")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
