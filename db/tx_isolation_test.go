package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// overlap runs two transactions over each other: a begins and works, b begins, works
// and commits, a commits. It returns what a's Commit said.
func overlap(t *testing.T, d *db.DB, iso db.Isolation, a, b func(tx *db.Tx)) error {
	t.Helper()
	ta := begin(t, d, db.TxOptions{Isolation: iso})
	a(ta)
	tb := begin(t, d, db.TxOptions{Isolation: iso})
	b(tb)
	commit(t, tb)
	_, err := ta.Commit(context.Background())
	if err != nil && !errors.Is(err, db.ErrConflict) {
		t.Fatal(err)
	}
	return err
}

// What makes a commit a conflict, at which isolation. a is committed after b, in
// each case; both begin on the same version.
func TestIsolation(t *testing.T) {
	ctx := context.Background()
	has := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { must(tx.Has(ctx, name))(t) }
	}
	read := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { readOnly[any](t, tx, name) }
	}
	change := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { get[*person](t, tx, name).Name += "+" }
	}
	looked := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { get[*person](t, tx, name) }
	}
	bind := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { put(t, tx, name, &person{Name: "new"}) }
	}
	replace := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) {
			get[*person](t, tx, name)
			put(t, tx, name, &person{Name: "new"})
		}
	}
	again := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) {
			p := get[*person](t, tx, name)
			p.Name += "+"
			put(t, tx, name, p)
		}
	}
	drop := func(name string) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) { remove(t, tx, name) }
	}
	walk := func(prefix string, most int, backward bool) func(t *testing.T, tx *db.Tx) {
		return func(t *testing.T, tx *db.Tx) {
			seq := tx.Names(ctx, prefix)
			if backward {
				seq = tx.NamesBackward(ctx, prefix)
			}
			n := 0
			for _, err := range seq {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n == most {
					break
				}
			}
		}
	}
	absent := func(t *testing.T, tx *db.Tx) {
		if _, err := db.Get[*person](ctx, tx, "none"); !errors.Is(err, db.ErrNotFound) {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("x", 60)       // with small pods one each
	const never, serial, always = 0, 1, 2 // a conflict: at no isolation, when serializable, at both
	for _, c := range []struct {
		name     string
		a, b     func(t *testing.T, tx *db.Tx)
		conflict int
	}{
		{"the same object written", change("x"), change("x"), always},
		{"another object written", change("x"), change("y"), never},
		{"an object read with Read, and written", read("y"), change("y"), serial},
		{"an object read with Get, and written", looked("y"), change("y"), serial},
		{"another object read", read("x"), change("y"), never},
		{"an object behind a variable read, and written through another", read("share/1"), change("share/0"), serial},
		{"a variable read, and bound", read("y"), bind("y"), serial},
		{"a variable got, and bound", change("y"), bind("y"), always},
		{"a variable read, and deleted", read("y"), drop("y"), serial},
		{"a variable written, and deleted", change("y"), drop("y"), always},
		{"a variable deleted without looking, and written", drop("y"), change("y"), never},
		{"a variable got and bound, and written", replace("y"), change("y"), always},
		{"a variable written, and got and bound", change("y"), replace("y"), always},
		{"a variable got and bound to what it is, and asked for", has("y"), again("y"), never},
		{"a variable read and bound, and written", func(t *testing.T, tx *db.Tx) { read("y")(t, tx); bind("y")(t, tx) }, change("y"), always},
		{"a variable got and deleted, and written", func(t *testing.T, tx *db.Tx) { looked("y")(t, tx); drop("y")(t, tx) }, change("y"), always},
		{"a variable bound twice", bind("z"), bind("z"), always},
		{"an old variable bound twice", bind("y"), bind("y"), always},
		{"a variable deleted twice", drop("y"), drop("y"), always},
		{"a variable bound without looking, and written", bind("y"), change("y"), never},
		{"a name read as absent, and bound", absent, bind("none"), serial},
		{"a name asked for, and bound", has("none"), bind("none"), serial},
		{"a name asked for, and deleted", has("y"), drop("y"), serial},
		{"a name asked for, and its object written", has("y"), change("y"), never},
		{"all names of a prefix, and one more", walk("u/", 0, false), bind("u/15"), serial},
		{"all names of a prefix, and one less", walk("u/", 0, false), drop("u/2"), serial},
		{"all names of a prefix, and one bound anew", walk("u/", 0, false), bind("u/2"), serial},
		{"all names of a prefix, and an object written", walk("u/", 0, false), change("u/2"), never},
		{"all names of a prefix, and one elsewhere", walk("u/", 0, false), bind("v/1"), never},
		{"the first names of a prefix, and one before", walk("u/", 2, false), bind("u/15"), serial},
		{"the first names of a prefix, and one behind", walk("u/", 2, false), bind("u/25"), never},
		{"the last names of a prefix, and one behind", walk("u/", 2, true), bind("u/25"), serial},
		{"the last names of a prefix, and one before", walk("u/", 2, true), bind("u/15"), never},
		{"an empty prefix walked, and one name", walk("w", 0, false), bind("w"), serial},
		{"an empty prefix walked backward, and one name", walk("w", 0, true), bind("w"), serial},
	} {
		for i := range 4 {
			iso, target := []db.Isolation{db.Serializable, db.SnapshotIsolation}[i%2], []int{64, 8 << 10}[i/2]
			t.Run(fmt.Sprintf("%s/%d/%d", c.name, iso, target), func(t *testing.T) {
				d := must(db.OpenMemory(ctx, &db.Options{PodTargetBytes: target, Types: testTypes()}))(t)
				defer d.Close()
				defer verifyClean(t, d)
				o := &person{Name: "shared"}
				putAll(t, d, map[string]any{
					"x": &person{Name: long}, "y": &person{Name: long}, "share/0": o, "share/1": &person{Name: long, Friend: o},
					"u/1": &person{}, "u/2": &person{}, "u/3": &person{},
				})
				err := overlap(t, d, iso, func(tx *db.Tx) {
					c.a(t, tx)
					put(t, tx, "a was here", 1)
				}, func(tx *db.Tx) {
					c.b(t, tx)
					put(t, tx, "b was here", 1)
				})
				want := c.conflict == always || c.conflict == serial && iso == db.Serializable
				if want != (err != nil) {
					t.Fatal(err)
				}
				ok, err := d.Head(ctx, "main")
				if err != nil {
					t.Fatal(err)
				}
				if wantHead := db.Version(3); want != (ok != wantHead) {
					t.Fatalf("head is %d", ok)
				}
			})
		}
	}
}

// Two doctors on call, each goes home if the other one stays: possible with
// snapshot isolation, impossible without.
func TestWriteSkew(t *testing.T) {
	type doctor struct{ OnCall bool }
	for iso, skew := range map[db.Isolation]bool{db.Serializable: false, db.SnapshotIsolation: true} {
		d := openMemory(t)
		putAll(t, d, map[string]any{"ann": &doctor{true}, "bob": &doctor{true}})
		goHome := func(me, other string) func(tx *db.Tx) {
			return func(tx *db.Tx) {
				if readOnly[*doctor](t, tx, other).OnCall {
					get[*doctor](t, tx, me).OnCall = false
				}
			}
		}
		err := overlap(t, d, iso, goHome("ann", "bob"), goHome("bob", "ann"))
		s := head(t, d)
		nobody := !get[*doctor](t, s, "ann").OnCall && !get[*doctor](t, s, "bob").OnCall
		if nobody != skew || (err == nil) != skew {
			t.Errorf("isolation %d: nobody on call: %v, %v", iso, nobody, err)
		}
	}
}

// A transaction that only reads sees one version, whatever others commit, and
// never fails because of them.
func TestReadersNeverConflict(t *testing.T) {
	d := openMemory(t)
	putAll(t, d, map[string]any{"x": &person{Name: "1"}, "y": &person{Name: "1"}, "n/1": 1})
	tx := begin(t, d)
	if get[*person](t, tx, "x").Name != "1" || len(namesOf(t, tx, "n/")) != 1 {
		t.Fatal()
	}
	putAll(t, d, map[string]any{"x": 2, "y": 2, "n/2": 2})
	if get[*person](t, tx, "y").Name != "1" || len(namesOf(t, tx, "n/")) != 1 {
		t.Fatal("it saw a later version")
	}
	if v := commit(t, tx); v != tx.Base() {
		t.Fatal(v)
	}
}

// A conflict names the variables and the paths to what collided.
func TestConflictNamesVariablesAndPaths(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{PodTargetBytes: 64}))(t) // pods of one object
	defer d.Close()
	long := strings.Repeat("o", 60)
	o := &person{Name: long}
	v1 := putAll(t, d, map[string]any{"a": &person{Name: long, Friend: &person{Name: long, Friend: o}}, "b": &holding{Owner: o}, "c": &person{}})
	a := begin(t, d)
	get[*person](t, a, "a").Friend.Friend.Name = "by a"
	get[*holding](t, a, "b")
	get[*person](t, a, "c").Name = "c"
	b := begin(t, d)
	get[*holding](t, b, "b").Owner.Name = "by b"
	v2 := commit(t, b)
	_, err := a.Commit(ctx)
	var c *db.ConflictError
	if !errors.As(err, &c) {
		t.Fatal(err)
	}
	if !slices.Equal(c.Names, []string{"a", "b"}) || !slices.Equal(c.Paths, []string{"a.Friend.Friend"}) || c.Base != v1 || c.With != v2 {
		t.Fatalf("%+v", c)
	}
	// Names alone.
	tx := begin(t, d)
	put(t, tx, "c", 1)
	putAll(t, d, map[string]any{"c": 2})
	if _, err := tx.Commit(ctx); !errors.As(err, &c) || !slices.Equal(c.Names, []string{"c"}) || len(c.Paths) != 0 {
		t.Fatalf("%v", err)
	}
}
