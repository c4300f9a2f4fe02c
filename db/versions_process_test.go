package db_test

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// The tests here build programs that use packages of another module, in several
// versions, which `go build` gets from a directory, and run them one after the other
// on one file: each knows other types than the last.

// foreignModule is the other module: in each version a package thing, and one of the same name and
// with a type of the same name elsewhere.
const foreignModule = "example.com/poddb-test"

var foreignVersions = map[string]string{
	"v1.0.0": "count int; label string",
	"v1.1.0": "count int; label string", // the same fields: what they mean may be something else
	"v1.2.0": "label string; count int",
}

const thingSource = `package thing

type Thing struct { %s }

func New(n int) *Thing { return &Thing{count: n, label: "made"} }
func (t *Thing) Count() int { return t.count }
func (t *Thing) Label() string { return t.label }
`

const otherThingSource = `package thing

type Thing struct { Words []string }
`

// programSource uses both. Thing is foreign and behind a pointer, Other and Own are behind interfaces.
const programSource = `package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/poddb/poddb/db"
	"MODULE/thing"
	other "MODULE/other/thing"
)

type Own struct {
	N    int
	Next *Own
	Any  any
}

type root struct {
	Thing *thing.Thing
	Same  *thing.Thing
	Any   []any
}

func types(how string) db.TypeSet {
	set := db.Types(db.Type[Own]("prog.Own"), db.Type[other.Thing](""))
	switch how {
	case "allowed":
		set = set.With(db.AllowPackage("MODULE/thing"))
	case "registered":
		set = set.With(db.Type[thing.Thing](""))
	}
	return set
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("ok")
}

func run(what, how, file string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, file, &db.Options{Types: types(how)})
	if err != nil {
		return err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return err
	}
	if what == "save" {
		x := &root{Thing: thing.New(7)}
		x.Same = x.Thing
		own := &Own{N: 3, Any: []byte("bytes")}
		own.Next = own
		x.Any = []any{own, &other.Thing{Words: []string{"a", "b"}}, *own, x.Thing}
		values := append(x.Any[:3:3], "text") // without what no later process could know there
		if err := errors.Join(ns.Set(ctx, "x", x), ns.Set(ctx, "values", &values)); err != nil {
			return err
		}
		_, err := ns.Save(ctx)
		return err
	}
	x, err := db.Get[*root](ctx, ns, "x")
	if err != nil {
		return err
	}
	own, other := x.Any[0].(*Own), x.Any[1].(*other.Thing)
	if x.Thing != x.Same || x.Any[3] != any(x.Thing) || x.Thing.Count() != 7 || x.Thing.Label() != "made" || own.Next != own || own.N != 3 ||
		x.Any[2].(Own).Next != own || !bytes.Equal(own.Any.([]byte), []byte("bytes")) || len(other.Words) != 2 {
		return fmt.Errorf("loaded %+v", x)
	}
	if what == "moved" { // what the stranger did
		values, err := db.Get[*[]any](ctx, ns, "values")
		if err != nil {
			return err
		}
		moved, err := db.Get[map[string]any](ctx, ns, "moved")
		if err != nil {
			return err
		}
		l := *values
		if len(l) != 4 || l[0] != any("text") || l[1] != x.Any[1] || l[2].(Own).Next != own || !bytes.Equal(l[2].(Own).Any.([]byte), []byte("bytes")) || l[3] != any(own) {
			return fmt.Errorf("values %+v", l)
		}
		if moved["beside"] != l[1] || moved["inside"].(Own).Next != own || len(moved) != 3 {
			return fmt.Errorf("moved %+v", moved)
		}
	}
	v := ns.Base()
	if w, err := ns.Save(ctx); err != nil || w != v && how == "allowed" {
		return fmt.Errorf("a save after the load wrote version %d: %v", w, err)
	}
	return nil
}
`

// strangerSource knows none of these types. It has the values change places, and puts them
// elsewhere.
const strangerSource = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/poddb/poddb/db"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("ok")
}

func run(file string) error {
	ctx := context.Background()
	d, err := db.Open(ctx, file, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return err
	}
	values, err := db.Get[*[]any](ctx, ns, "values")
	if err != nil {
		return err
	}
	l := *values
	for i, v := range l[:3] {
		if _, ok := v.(*db.Opaque); !ok {
			return fmt.Errorf("value %d is a %T", i, v)
		}
	}
	l[0], l[3] = l[3], l[0]
	if err := ns.Set(ctx, "moved", map[string]any{"beside": l[1], "inside": l[2], "note": "moved"}); err != nil {
		return err
	}
	_, err = ns.Save(ctx)
	return err
}
`

// versionsWorld is where the programs are built.
type versionsWorld struct {
	dir, root, module string
}

func newVersionsWorld(t *testing.T) *versionsWorld {
	t.Helper()
	w := &versionsWorld{dir: t.TempDir(), root: must(filepath.Abs(".."))(t), module: fmt.Sprint(foreignModule, os.Getpid())}
	for version, fields := range foreignVersions {
		w.publish(t, version, map[string]string{
			"go.mod":               "module " + w.module + "\n\ngo 1.26\n",
			"thing/thing.go":       fmt.Sprintf(thingSource, fields),
			"other/thing/thing.go": otherThingSource,
		})
	}
	// The go command keeps what it gets among the user's modules.
	cache := strings.TrimSpace(string(must(exec.Command("go", "env", "GOMODCACHE").Output())(t)))
	t.Cleanup(func() {
		for _, p := range []string{"example.com", "cache/download/example.com"} {
			dir := filepath.Join(cache, filepath.FromSlash(p))
			left := must(filepath.Glob(filepath.Join(dir, strings.TrimPrefix(w.module, "example.com/")+"*")))(t)
			for _, l := range left {
				if err := os.RemoveAll(l); err != nil {
					t.Error(err)
				}
			}
			_ = os.Remove(dir) // if nothing else is in it
		}
	})
	return w
}

func (w *versionsWorld) write(t *testing.T, name, text string) string {
	t.Helper()
	p := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return p
}

// publish puts a version of the module where the go command looks for it.
func (w *versionsWorld) publish(t *testing.T, version string, files map[string]string) {
	t.Helper()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	for name, text := range files {
		f := must(z.Create(w.module + "@" + version + "/" + name))(t)
		_ = must(f.Write([]byte(text)))(t)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	at := "proxy/" + w.module + "/@v/" + version
	w.write(t, at+".info", fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version))
	w.write(t, at+".mod", files["go.mod"])
	w.write(t, at+".zip", packed.String())
}

// build makes a program of this module that requires a version of the other, and returns its file.
func (w *versionsWorld) build(t *testing.T, name, version, source string) string {
	t.Helper()
	source = strings.ReplaceAll(source, "MODULE", w.module)
	formatted, err := format.Source([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	main := w.write(t, name+"/main.go", string(formatted))
	mod := string(must(os.ReadFile(filepath.Join(w.root, "go.mod")))(t))
	if version != "" {
		mod += fmt.Sprintf("\nrequire %s %s\n", w.module, version)
	}
	modfile := w.write(t, name+"/go.mod", mod)
	w.write(t, name+"/go.sum", string(must(os.ReadFile(filepath.Join(w.root, "go.sum")))(t)))
	// In this module, whose packages are compiled already: an overlay puts it there.
	place := filepath.Join(w.root, "db", "internal", "program-"+name, "main.go")
	overlay := w.write(t, name+"/overlay.json", fmt.Sprintf(`{"Replace":{%q:%q}}`, place, main))
	out := filepath.Join(w.dir, name+".exe")
	c := exec.Command("go", "build", "-mod=mod", "-modcacherw", "-modfile", modfile, "-overlay", overlay, "-o", out, "./db/internal/program-"+name)
	c.Dir = w.root
	c.Env = append(os.Environ(), "GOPROXY=file://"+filepath.ToSlash(filepath.Join(w.dir, "proxy")), "GOSUMDB=off", "GONOPROXY=none", "GOFLAGS=", "GOWORK=off")
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	return out
}

// run returns what a program says.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	said, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v:\n%s", filepath.Base(program), args, err, said)
	}
	return strings.TrimSpace(string(said))
}

// What a program stored by the private fields of another module's package is read by
// programs that vouch for that package and have that version of it, and the layout; others are told both.
// A program that registers the type vouches for the names of the fields instead. Two packages of one
// name with types of one name are two types to every program.
func TestVersionsOfAnAllowedPackage(t *testing.T) {
	w := newVersionsWorld(t)
	first, same, other := w.build(t, "first", "v1.0.0", programSource), w.build(t, "same", "v1.1.0", programSource), w.build(t, "other", "v1.2.0", programSource)
	file := filepath.Join(t.TempDir(), "versions.pod")
	if said := run(t, first, "save", "none", file); !strings.Contains(said, "db.AllowPackage(\""+w.module+"/thing\")") || !strings.Contains(said, "x.Thing") {
		t.Errorf("nobody vouches for the package: %s", said)
	}
	if said := run(t, first, "save", "allowed", file); said != "ok" {
		t.Fatal(said)
	}
	for _, c := range []struct {
		name, program, how string
		says               []string // an error with all of these; none if it loads
	}{
		{"the same program", first, "allowed", nil},
		{"not allowed", first, "none", []string{"x", w.module + "/thing.Thing", w.module + " v1.0.0", "db.AllowPackage"}},
		{"another version", same, "allowed", []string{"x", w.module + " v1.0.0", w.module + " v1.1.0", "codec"}},
		{"another layout", other, "allowed", []string{"x", w.module + " v1.0.0", w.module + " v1.2.0", "codec"}},
		{"another version, registered", same, "registered", nil},
		{"another layout, registered", other, "registered", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := run(t, c.program, "load", c.how, copied(t, file))
			if len(c.says) == 0 && said != "ok" {
				t.Error(said)
			}
			for _, s := range c.says {
				if !strings.HasPrefix(said, "error: ") || !strings.Contains(said, s) {
					t.Errorf("%s does not say %s", said, s)
				}
			}
		})
	}
	t.Run("a program that knows none of it", func(t *testing.T) {
		before := shown(t, file)
		if said := run(t, w.build(t, "stranger", "", strangerSource), file); said != "ok" {
			t.Fatal(said)
		}
		after := shown(t, file)
		if after["x"] != before["x"] || len(before["x"]) < 100 {
			t.Errorf("x was\n%s\nand is\n%s", before["x"], after["x"])
		}
		if said := run(t, first, "moved", "allowed", file); said != "ok" {
			t.Error(said)
		}
	})
}

// copied returns a copy of a closed database.
func copied(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(file))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, filepath.Base(file))
}

// shown returns the variables of a file as JSON, which needs none of the types.
func shown(t *testing.T, file string) map[string]string {
	t.Helper()
	d := must(db.Open(t.Context(), file, &db.Options{ReadOnly: true}))(t)
	defer d.Close()
	ns := namespace(t, d)
	s := must(d.At(t.Context(), ns.Base()))(t)
	defer s.Close()
	all := map[string]string{}
	for name := range ns.Names() {
		var b strings.Builder
		if err := s.WriteJSON(t.Context(), &b, name, db.JSONOptions{}); err != nil {
			t.Error(err)
		}
		all[name] = b.String()
	}
	return all
}
