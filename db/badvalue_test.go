//go:build unix

package db_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poddb/poddb/db"
)

type (
	gadget   struct{ Size int }
	gizmo    struct{ Size int } // gadget under its later name
	drawer   struct{ Things []any }
	cupboard struct {
		Name string
		Best *gadget
		Raw  *struct{ Data []byte }
	}
	cupboardNow struct {
		Name string
		Best *gizmo
	}
)

// said fails unless an error is of a kind and names all parts.
func said(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%v is no %v", err, kind)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%v does not say %q", err, p)
		}
	}
}

// A value whose type this program does not know stays as it is while nobody asks
// for it; asked for by type it is an error that names the type and the call.
func TestAnUnknownTypeIsLeftAloneOrAnErrorByName(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "u.pod")
	open := func(types ...db.TypeEntry) (*db.DB, *db.Namespace) {
		d := must(db.Open(ctx, path, &db.Options{Types: db.Types(types...)}))(t)
		return d, namespace(t, d)
	}
	d, ns := open(db.Type[gadget]("shop.gadget"))
	set(t, ns, "drawer", &drawer{[]any{&gadget{3}, 5}})
	set(t, ns, "best", &gadget{4})
	v := save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, ns = open()
	x := must(db.Get[*drawer](ctx, ns, "drawer"))(t)
	if o, ok := x.Things[0].(*db.Opaque); !ok || !strings.Contains(o.String(), "shop.gadget") || x.Things[1] != 5 {
		t.Errorf("loaded %v", x.Things)
	}
	if again := save(t, ns); again != v {
		t.Errorf("a save after the load made version %d", again)
	}
	_, err := ns.Get(ctx, "best")
	said(t, err, db.ErrUnregistered, `variable "best"`, "shop.gadget", `db.Register[T]("shop.gadget")`, `db.Alias("shop.gadget")`)
	_, err = db.Get[*gizmo](ctx, ns, "best")
	said(t, err, db.ErrTypeMismatch, `variable "best"`, "shop.gadget", "gizmo", `db.Alias("shop.gadget")`)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, ns = open(db.Type[gizmo]("shop.gizmo", db.Alias("shop.gadget"))) // what the error asks for
	defer d.Close()
	if g := must(db.Get[*gizmo](ctx, ns, "best"))(t); g.Size != 4 {
		t.Errorf("under its later name: %+v", g)
	}
}

// A type that was renamed without an alias is an error with the way to the field
// and what to do.
func TestARenamedTypeWithoutAnAliasIsAnErrorByName(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "c", &cupboard{Name: "c", Best: &gadget{1}})
	v := save(t, ns)
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	var out struct{ C *struct{ Best *gizmo } }
	said(t, s.Load(ctx, &out), db.ErrTypeMismatch, `variable "c"`, "gadget", "gizmo", "db.Alias")
	_, err := db.Get[*cupboardNow](ctx, s, "c")
	said(t, err, db.ErrTypeMismatch, `variable "c"`, "cupboard", "cupboardNow", "db.Alias")
}

// Nor may it hide in the key or the element of a map, or in an array.
func TestTheHintForARenamedTypeLooksIntoMapsAndArrays(t *testing.T) {
	ctx := context.Background()
	type was struct {
		ByKey  map[gadget]int
		Elems  map[string][]*gadget
		Both   map[gadget]*gadget
		Deeper map[string]map[gadget][2]gadget
		Others map[gadget]string
	}
	d := openMemory(t)
	ns := namespace(t, d)
	one := gadget{1}
	set(t, ns, "c", &was{map[gadget]int{one: 1}, map[string][]*gadget{"a": {&one}}, map[gadget]*gadget{one: &one},
		map[string]map[gadget][2]gadget{"a": {one: {one}}}, map[gadget]string{one: "a"}})
	s := must(d.At(ctx, save(t, ns)))(t)
	defer s.Close()
	for name, out := range map[string]any{
		"key": &struct {
			C *struct{ ByKey map[gizmo]int }
		}{},
		"element": &struct {
			C *struct{ Elems map[string][]*gizmo }
		}{},
		"both": &struct {
			C *struct{ Both map[gizmo]*gizmo }
		}{},
		"deeper": &struct {
			C *struct{ Deeper map[string]map[gizmo][2]gizmo }
		}{},
	} {
		err := s.Load(ctx, out)
		said(t, err, db.ErrTypeMismatch, `variable "c"`, "gadget", "gizmo", "db.Alias")
		if n := strings.Count(err.Error(), "db.Alias"); n != 1 {
			t.Errorf("%s: said %d times: %v", name, n, err)
		}
	}
	// What no alias would help is not told to be a rename.
	var no struct {
		C *struct{ Others map[gizmo][]int }
	}
	err := s.Load(ctx, &no)
	said(t, err, db.ErrTypeMismatch, `variable "c"`, "gadget")
	if strings.Contains(err.Error(), "db.Alias") {
		t.Errorf("a hint that does not help: %v", err)
	}
}

// Memory that cannot be read is an error with the way there; the next Save, with
// that memory gone from the graph, works.
func TestUnmappedMemoryIsAnErrorAndTheNextSaveWorks(t *testing.T) {
	page := must(unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))(t)
	d := openMemory(t)
	ns := namespace(t, d)
	c := &cupboard{Name: "c", Raw: &struct{ Data []byte }{page}}
	set(t, ns, "c", c)
	v := save(t, ns)
	if err := unix.Mprotect(page, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	c.Name = "changed"
	_, err := ns.Save(context.Background())
	said(t, err, db.ErrMemoryFault, "c.Raw.Data")
	if ns.Base() != v {
		t.Errorf("base is %d after a failed save", ns.Base())
	}
	c.Raw.Data = nil
	c.Best = (*gadget)(unsafe.Pointer(&page[8]))
	_, err = ns.Save(context.Background())
	said(t, err, db.ErrMemoryFault, "c.Best")
	c.Best = nil
	if got := save(t, ns); got != v+1 {
		t.Errorf("the next save made version %d", got)
	}
}

// A closed database says so to whoever still holds its namespaces and snapshots.
func TestAClosedDatabaseIsSaidToEveryHolder(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, nil))(t)
	ns := namespace(t, d)
	set(t, ns, "g", &gadget{1})
	v := save(t, ns)
	s := must(d.At(ctx, v))(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	set(t, ns, "h", &gadget{2})
	_, err := ns.Save(ctx)
	said(t, err, db.ErrClosed)
	_, err = d.Namespace(ctx, "main")
	said(t, err, db.ErrClosed)
	_, err = db.Get[*gadget](ctx, s, "g")
	said(t, err, db.ErrClosed)
	_, err = d.At(ctx, v)
	said(t, err, db.ErrClosed)
}

// Objects that belong to the program, by their addresses.
var (
	defaultGadget = gadget{Size: 7}
	otherGadget   = gadget{Size: 8}
	primes        = [...]int{2, 3, 5}
)

// Objects of a package are objects of their own after a load, unless they are
// registered. The save that first meets one says which they are, and what to do.
func TestObjectsOfAPackageAreAWarning(t *testing.T) {
	ctx := context.Background()
	var log bytes.Buffer
	d := must(db.OpenMemory(ctx, &db.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Types: db.Types(db.Value("gadget.other", &otherGadget), db.Type[gadget]("gadget"))}))(t)
	defer d.Close()
	ns := namespace(t, d)
	type holder struct {
		Name   string
		Best   *gadget
		Things map[string]any
		Of     *int
		List   []int
		Text   string
		Own    *gadget
		None   []int
		Empty  *struct{}
	}
	h := &holder{Name: "a", Things: map[string]any{"b": &otherGadget, "c": 1}, Own: new(gadget), None: []int{}, Empty: &struct{}{}, Text: strings.Repeat("constant", 10)}
	warned := func() string {
		log.Reset()
		save(t, ns)
		return log.String()
	}
	set(t, ns, "h", h)
	if w := warned(); w != "" {
		t.Errorf("without such objects: %s", w)
	}
	h.Best, h.Of, h.List, h.Things["d"] = &defaultGadget, &primes[1], primes[1:], &defaultGadget
	w := warned()
	for _, part := range []string{"2 objects", "h.Best (db_test.gadget)", "h.Of (int)", "db.Value("} {
		if !strings.Contains(w, part) {
			t.Errorf("no %q in %s", part, w)
		}
	}
	h.Name = "b"
	if w := warned(); w != "" {
		t.Errorf("again: %s", w)
	}
	s := must(d.At(ctx, ns.Base()))(t)
	defer s.Close()
	g := must(db.Get[*holder](ctx, s, "h"))(t)
	if g.Things["b"] != any(&otherGadget) || g.Best == &defaultGadget || *g.Best != defaultGadget {
		t.Errorf("loaded %+v", g)
	}
}
