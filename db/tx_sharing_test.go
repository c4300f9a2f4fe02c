package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
)

// sizes of pods: everything in one, every object in its own.
func sharingDatabases(t *testing.T, test func(t *testing.T, d *db.DB)) {
	for _, target := range []int{64, 1 << 20} {
		t.Run(fmt.Sprint("target=", target), func(t *testing.T) {
			d := must(db.OpenMemory(context.Background(), &db.Options{PodTargetBytes: target, Types: testTypes()}))(t)
			defer d.Close()
			test(t, d)
			verifyClean(t, d)
		})
	}
}

// An object that two variables share stays one object when only one of them was
// read and changed; both see the change, and what hangs on it.
func TestSharedObjectsStayShared(t *testing.T) {
	ctx := context.Background()
	sharingDatabases(t, func(t *testing.T, d *db.DB) {
		o := &person{Name: "o", Friend: &person{Name: "behind"}}
		putAll(t, d, map[string]any{"x": &holding{Owner: o}, "y": &holding{Owner: o}})
		for i := range 5 {
			name := []string{"x", "y"}[i%2]
			tx := begin(t, d)
			p := get[*holding](t, tx, name).Owner
			p.Name = fmt.Sprint(i)
			p.Tags = append(p.Tags, p.Name)
			switch i {
			case 2:
				p.Friend = &person{Name: "new", Friend: p.Friend}
			case 3:
				p.Friend = p.Friend.Friend
			}
			commit(t, tx)
			var v struct{ X, Y *holding }
			if err := head(t, d).Load(ctx, &v); err != nil {
				t.Fatal(err)
			}
			if v.X.Owner != v.Y.Owner || v.X.Owner.Name != fmt.Sprint(i) || len(v.X.Owner.Tags) != i+1 {
				t.Fatalf("step %d: %+v, %+v", i, v.X.Owner, v.Y.Owner)
			}
			f := v.X.Owner.Friend
			if i == 2 {
				f = f.Friend
			}
			if f == nil || f.Name != "behind" {
				t.Fatalf("step %d: %+v", i, v.X.Owner.Friend)
			}
		}
	})
}

// A transaction that lets go of a shared object, or deletes or rebinds the variable that it had
// it from, leaves it to the others, with all that hangs on it.
func TestSharedObjectsOutliveTheirVariables(t *testing.T) {
	ctx := context.Background()
	for what, drop := range map[string]func(tx *db.Tx){
		"let go":  func(tx *db.Tx) { get[*holding](t, tx, "x").Owner = nil },
		"deleted": func(tx *db.Tx) { remove(t, tx, "x") },
		"read and deleted": func(tx *db.Tx) {
			get[*holding](t, tx, "x").Owner.Friend = nil // of an object that is not written then
			remove(t, tx, "x")
		},
		"bound anew":          func(tx *db.Tx) { put(t, tx, "x", &holding{}) },
		"read and bound anew": func(tx *db.Tx) { get[*holding](t, tx, "x"); put(t, tx, "x", &holding{}) },
	} {
		t.Run(what, func(t *testing.T) {
			sharingDatabases(t, func(t *testing.T, d *db.DB) {
				o := &person{Name: "o", Friend: &person{Name: "behind"}}
				putAll(t, d, map[string]any{"x": &holding{Owner: o}, "y": &holding{Owner: o}})
				tx := begin(t, d)
				drop(tx)
				commit(t, tx)
				y := get[*holding](t, head(t, d), "y")
				if y.Owner == nil || y.Owner.Name != "o" || y.Owner.Friend == nil || y.Owner.Friend.Name != "behind" {
					t.Fatalf("%+v", y.Owner)
				}
				tx = begin(t, d) // and it goes on living
				get[*holding](t, tx, "y").Owner.Friend.Name = "changed"
				put(t, tx, "z", get[*holding](t, tx, "y").Owner.Friend)
				commit(t, tx)
				var v struct {
					Y *holding
					Z *person
				}
				if err := head(t, d).Load(ctx, &v); err != nil {
					t.Fatal(err)
				}
				if v.Y.Owner.Friend != v.Z || v.Z.Name != "changed" {
					t.Fatalf("%+v", v.Y.Owner.Friend)
				}
			})
		})
	}
}

// Conflicts follow the object, not the name.
func TestConflictsFollowTheObject(t *testing.T) {
	sharingDatabases(t, func(t *testing.T, d *db.DB) {
		o := &person{Name: "o"}
		putAll(t, d, map[string]any{"x": &holding{Owner: o}, "y": &holding{Owner: o}})
		for _, iso := range []db.Isolation{db.Serializable, db.SnapshotIsolation} {
			if err := overlap(t, d, iso,
				func(tx *db.Tx) { get[*holding](t, tx, "x").Owner.Name += "x" },
				func(tx *db.Tx) { get[*holding](t, tx, "y").Owner.Name += "y" },
			); err == nil {
				t.Fatal("two transactions changed one object through two names")
			}
		}
	})
}

// Objects move between variables and are shared by several transactions, one after
// the other, and are never copied.
func TestObjectsMoveBetweenVariables(t *testing.T) {
	ctx := context.Background()
	sharingDatabases(t, func(t *testing.T, d *db.DB) {
		putAll(t, d, map[string]any{"a": &[]*person{{Name: "0"}, {Name: "1"}, {Name: "2"}}, "b": &[]*person{}, "m": map[string]*person{}})
		for step := range 12 {
			tx := begin(t, d)
			a, b := get[*[]*person](t, tx, "a"), get[*[]*person](t, tx, "b")
			if step%3 == 2 {
				a, b = b, a
			}
			if len(*a) > 0 {
				p := (*a)[0]
				*a = slices.Delete(*a, 0, 1)
				*b = append(*b, p)
				get[map[string]*person](t, tx, "m")[p.Name] = p
				p.Tags = append(p.Tags, "moved")
			}
			commit(t, tx)
			var v struct {
				A, B *[]*person
				M    map[string]*person
			}
			if err := head(t, d).Load(ctx, &v); err != nil {
				t.Fatal(err)
			}
			all := append(slices.Clone(*v.A), *v.B...)
			if len(all) != 3 {
				t.Fatalf("step %d: %d people", step, len(all))
			}
			for _, p := range all {
				if m, ok := v.M[p.Name]; ok && m != p || !ok && len(p.Tags) > 0 {
					t.Fatalf("step %d: %s is two objects", step, p.Name)
				}
			}
		}
	})
}

// A reference to an object is never stored if another transaction took the object's
// variable away meanwhile in a way that would leave it dangling.
func TestReferencesAreAlwaysValid(t *testing.T) {
	sharingDatabases(t, func(t *testing.T, d *db.DB) {
		for i, iso := range []db.Isolation{db.Serializable, db.SnapshotIsolation} {
			name := fmt.Sprint("x", i)
			putAll(t, d, map[string]any{name: &person{Name: "x", Friend: &person{Name: "f"}}, "keep": &holding{}})
			err := overlap(t, d, iso,
				func(tx *db.Tx) { get[*holding](t, tx, "keep").Owner = readOnly[*person](t, tx, name).Friend },
				func(tx *db.Tx) { remove(t, tx, name) })
			if iso == db.Serializable && !errors.Is(err, db.ErrConflict) {
				t.Fatal(err)
			}
			k := get[*holding](t, head(t, d), "keep")
			if err == nil && (k.Owner == nil || k.Owner.Name != "f") {
				t.Fatalf("%+v", k.Owner)
			}
		}
	})
}
