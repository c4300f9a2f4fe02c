package db_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// What survives a round trip, as a list: each row is a graph and what must be
// true of it. The rows are in fidelity_*_test.go, by subject. Each is built,
// checked and saved in one process; another one loads it in every way there is
// (all variables at once, one after the other, one alone, as copies), checks
// the same, and finds nothing to write.
//
//	go test ./db -run 'TestFidelity/pointers/cycles'
//
// replays one; -args -rows.big builds the big ones in full size.

var deep = flag.Bool("db.deep", false, "all seeds of the random tests, not some of them")

var bigRows = flag.Bool("rows.big", false, "the deep and long rows in full size: 10,000,000 and 1,000,000")

// row is one case. The variables are the exported fields of a struct.
type row struct {
	name  string
	types []db.TypeEntry // what the row needs to have registered
	build func() any     // a pointer to the struct, filled
	empty func() any     // a pointer to an empty one
	check func(t *testing.T, vars any)
	steps []step
	// strange are types that the other process does not know, and now is what its
	// variables are instead: types that have changed since, nil if they have not.
	strange []db.TypeEntry
	now     func() any
	renewed []db.TypeEntry // types of the other process
	// copied is a variable that leads to a part of another one's object, which is behind
	// a pointer now: saved alone, it has a copy of the part from then on.
	copied string
}

// step changes the memory or the namespace of a row before another Save. What
// it unsets in the struct is no variable any more.
type step func(t *testing.T, ns *db.Namespace, vars any)

// after adds steps to a row.
func (r row) after(steps ...step) row {
	r.steps = steps
	return r
}

// unknown has a row with values of types that the other process does not know.
func (r row) unknown(types ...db.TypeEntry) row {
	r.strange = types
	return r
}

// copies names the variable that has a copy when it is saved alone.
func (r row) copies(name string) row {
	r.copied = name
	return r
}

// changed has the other process use variables of type V, which have other types.
func changed[V any](r row, check func(t *testing.T, v *V), types ...db.TypeEntry) row {
	first := r.check
	r.now, r.renewed = func() any { return new(V) }, types
	r.check = func(t *testing.T, vars any) {
		t.Helper()
		if v, ok := vars.(*V); ok {
			check(t, v)
		} else {
			first(t, vars)
		}
	}
	return r
}

// did is a step that changes the memory of a row of variables of type V.
func did[V any](f func(v *V)) step {
	return func(t *testing.T, ns *db.Namespace, vars any) {
		f(vars.(*V))
		bind(t, ns, vars)
	}
}

// kept makes a row of a struct type of variables.
func kept[V any](name string, build func() *V, check func(t *testing.T, v *V), types ...db.TypeEntry) row {
	return row{
		name:  name,
		types: types,
		build: func() any { return build() },
		empty: func() any { return new(V) },
		check: func(t *testing.T, vars any) { t.Helper(); check(t, vars.(*V)) },
	}
}

// is fails unless a condition of a row holds.
func is(t *testing.T, what string, ok bool) {
	t.Helper()
	if !ok {
		t.Errorf("not kept: %s", what)
	}
}

// rows lists all groups.
func rows() []struct {
	group string
	rows  []row
} {
	return []struct {
		group string
		rows  []row
	}{
		{"pointers", pointerRows()},
		{"slices", sliceRows()},
		{"maps", mapRows()},
		{"values", valueRows()},
		{"interfaces", interfaceRows()},
		{"types", typeRows()},
		{"codecs", codecRows()},
		{"forms", formRows()},
		{"changes", changeRows()},
		{"memory", memoryRows()},
		{"refs", refRows()},
		{"big", bigGraphRows()},
	}
}

const (
	envRow  = "PODDB_TEST_ROW"
	envFile = "PODDB_TEST_ROW_FILE"
)

func TestFidelity(t *testing.T) {
	for _, g := range rows() {
		t.Run(g.group, func(t *testing.T) {
			for _, r := range g.rows {
				t.Run(r.name, func(t *testing.T) { roundTrip(t, g.group+"/"+r.name, r) })
			}
		})
	}
}

func (r *row) options(more ...db.TypeEntry) *db.Options {
	return &db.Options{Types: db.Types(append(slices.Clone(r.types), more...)...), VerifyEvery: 1}
}

// bind makes the variables of a namespace those of a struct; nil is none.
func bind(t *testing.T, ns *db.Namespace, vars any) {
	t.Helper()
	s := reflect.ValueOf(vars).Elem()
	for i := range s.NumField() {
		name, v := s.Type().Field(i).Name, s.Field(i)
		switch {
		case !s.Type().Field(i).IsExported():
		case v.Kind() != reflect.Pointer && v.Kind() != reflect.Map || !v.IsNil():
			set(t, ns, name, v.Interface())
		case slices.Contains(slices.Collect(ns.Names()), name):
			if err := ns.Delete(context.Background(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func roundTrip(t *testing.T, name string, r row) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "row.pod")
	vars := r.build()
	if len(r.steps) == 0 {
		if r.check(t, vars); t.Failed() {
			t.Fatal("the check does not hold for what was built")
		}
	}
	d := must(db.Open(ctx, file, r.options(r.strange...)))(t)
	ns := namespace(t, d)
	bind(t, ns, vars)
	saved := save(t, ns)
	for _, step := range r.steps {
		step(t, ns, vars)
		saved = save(t, ns)
	}
	r.check(t, vars)
	if again := save(t, ns); again != saved {
		t.Errorf("a second Save of the same memory made version %d of %d", again, saved)
	}
	runtime.KeepAlive(vars)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(must(os.Executable())(t), "-test.run=^TestFidelityElsewhere$", "-test.v=false", fmt.Sprintf("-rows.big=%v", *bigRows))
	c.Env = append(os.Environ(), envRow+"="+name, envFile+"="+file)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("in another process: %v\n%s", err, out)
	}
	if r.strange == nil {
		return
	}
	// What the other one did not know is what it was.
	if r.now != nil {
		r.empty, r.types = r.now, r.renewed
	}
	d = must(db.Open(ctx, file, r.options(r.strange...)))(t)
	defer d.Close()
	vars, ns = r.empty(), namespace(t, d)
	loadFields(t, ns, vars, slices.DeleteFunc(slices.Collect(ns.Names()), func(n string) bool { return n == "aside" })...)
	r.check(t, vars)
}

// TestFidelityElsewhere is the other process; run by itself it has nothing to do.
func TestFidelityElsewhere(t *testing.T) {
	name := os.Getenv(envRow)
	if name == "" {
		return
	}
	for _, g := range rows() {
		for _, r := range g.rows {
			if g.group+"/"+r.name == name {
				elsewhere(t, r, os.Getenv(envFile))
				return
			}
		}
	}
	t.Fatalf("no row %q", name)
}

func elsewhere(t *testing.T, r row, file string) {
	ctx := context.Background()
	if r.now != nil {
		r.empty, r.types = r.now, r.renewed
		oneFirst(t, r, file)
	}
	d := must(db.Open(ctx, file, r.options()))(t)
	defer d.Close()
	if r.now != nil {
		rewrite(t, d, r.empty())
		s := must(d.At(ctx, 1))(t)
		defer s.Close()
		old := r.empty()
		loadFields(t, s, old, fieldNames(old)...)
		if r.check(t, old); t.Failed() {
			t.Fatal("the old version")
		}
	}
	head := must(d.Head(ctx, "main"))(t)

	together := r.empty()
	ns := namespace(t, d)
	names := slices.Collect(ns.Names())
	loadFields(t, ns, together, names...)
	check := func(how string, vars any) {
		t.Helper()
		runtime.GC() // what is not held properly is gone now
		if r.check(t, vars); t.Failed() {
			t.Fatal(how)
		}
	}
	check("loaded together", together)
	quiet := func(how string, ns *db.Namespace) {
		t.Helper()
		if v := save(t, ns); v != ns.Base() || v != head {
			t.Fatalf("%s: Save made version %d of %d: %+v", how, v, head, ns.LastSave())
		}
	}
	quiet("loaded together", ns)
	check("after Save", together)

	single := r.empty()
	ns = namespace(t, d)
	for _, n := range slices.Backward(names) {
		loadFields(t, ns, single, n)
		quiet("loaded down to "+n, ns)
	}
	check("loaded one after the other", single)
	for _, n := range names {
		ns := namespace(t, d)
		loadFields(t, ns, r.empty(), n)
		quiet("loaded alone: "+n, ns)
	}

	s := must(d.At(ctx, head))(t)
	defer s.Close()
	copies := r.empty()
	loadFields(t, s, copies, names...)
	check("copies", copies)
	aside(t, ns, head)
	check("after another variable was saved", single)
	verifyClean(t, d)
}

// rewrite saves what is loaded as other types than it was stored as: once.
func rewrite(t *testing.T, d *db.DB, vars any) {
	t.Helper()
	ns := namespace(t, d)
	loadFields(t, ns, vars, slices.Collect(ns.Names())...)
	if v := save(t, ns); v != 2 {
		t.Fatalf("types that changed are version %d", v)
	}
}

// oneFirst loads each variable alone, in a copy of the file, and saves it as its new type.
// That works, or is refused since another one refers into what would be lost; with all
// of them loaded it works.
func oneFirst(t *testing.T, r row, file string) {
	ctx := context.Background()
	names := fieldNames(r.empty())
	for _, first := range names {
		copied := filepath.Join(t.TempDir(), "copy.pod")
		if err := os.WriteFile(copied, must(os.ReadFile(file))(t), 0o600); err != nil {
			t.Fatal(err)
		}
		d := must(db.Open(ctx, copied, r.options()))(t)
		ns, vars := namespace(t, d), r.empty()
		loadFields(t, ns, vars, first)
		if _, err := ns.Save(ctx); err != nil && !(errors.Is(err, db.ErrTypeMismatch) && strings.Contains(err.Error(), "load the variables that refer into it before saving: ")) {
			t.Fatalf("%s alone: %v", first, err)
		}
		for _, n := range names {
			loadFields(t, ns, vars, n)
		}
		save(t, ns)
		verifyClean(t, d)
		if first == r.copied {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if r.check(t, vars); t.Failed() {
			t.Fatalf("%s loaded and saved first", first)
		}
		head := must(d.Head(ctx, "main"))(t)
		ns, vars = namespace(t, d), r.empty()
		loadFields(t, ns, vars, names...)
		if r.check(t, vars); t.Failed() {
			t.Fatalf("%s loaded and saved first, loaded again", first)
		}
		if v := save(t, ns); v != head {
			t.Fatalf("%s loaded and saved first: Save made version %d of %d", first, v, head)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// fieldNames lists the variables of a row.
func fieldNames(vars any) (names []string) {
	for t, i := reflect.TypeOf(vars).Elem(), 0; i < t.NumField(); i++ {
		names = append(names, t.Field(i).Name)
	}
	return names
}

// loadFields reads the variables of some fields of vars in one call.
func loadFields(t *testing.T, from interface {
	Load(context.Context, any) error
}, vars any, names ...string) {
	t.Helper()
	all := reflect.ValueOf(vars).Elem()
	var some []reflect.StructField
	for _, n := range names {
		some = append(some, reflect.StructField{Name: n, Type: all.FieldByName(n).Type()})
	}
	p := reflect.New(reflect.StructOf(some))
	if err := from.Load(context.Background(), p.Interface()); err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		all.FieldByName(n).Set(p.Elem().Field(i))
	}
}

// aside saves a variable that has nothing to do with the others: they are not
// written.
func aside(t *testing.T, ns *db.Namespace, head db.Version) {
	t.Helper()
	set(t, ns, "aside", 1)
	if v := save(t, ns); v != head+1 || ns.LastSave().PodsWritten != 1 {
		t.Fatalf("a variable beside the row: version %d, %+v", v, ns.LastSave())
	}
}
