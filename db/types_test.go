package db_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	shapeBefore struct{ Side int }
	shapeNow    struct{ Side int }
	global      struct{ N int }
)

// A value stored under an older name loads as the type that has it as alias.
func TestAliasLoadsValuesOfAnOlderName(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a.pod")
	with := func(e db.TypeEntry) *db.DB {
		return must(db.Open(ctx, path, &db.Options{Types: db.Types(e)}))(t)
	}
	d := with(db.Type[shapeBefore]("old.shape"))
	ns := namespace(t, d)
	set(t, ns, "x", &[]any{&shapeBefore{3}})
	v := save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = with(db.Type[shapeNow]("new.shape", db.Alias("old.shape")))
	defer d.Close()
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	x := must(db.Get[*[]any](ctx, s, "x"))(t)
	if got, ok := (*x)[0].(*shapeNow); !ok || got.Side != 3 {
		t.Errorf("loaded %#v", (*x)[0])
	}
}

// Register is known to every database opened afterwards.
func TestRegisterServesDatabasesOpenedAfterwards(t *testing.T) {
	ctx := context.Background()
	db.Register[global]("test.global")
	d := openMemory(t)
	ns := namespace(t, d)
	set(t, ns, "x", &[]any{global{7}})
	s := must(d.At(ctx, save(t, ns)))(t)
	defer s.Close()
	x := must(db.Get[*[]any](ctx, s, "x"))(t)
	if (*x)[0] != any(global{7}) {
		t.Errorf("loaded %#v", (*x)[0])
	}
}

// A conflicting pair is an error from Open that names the stable name.
func TestConflictingTypesAreAnErrorFromOpen(t *testing.T) {
	for _, types := range []db.TypeSet{
		db.Types(db.Type[shapeBefore]("test.one"), db.Type[shapeNow]("test.one")),
		db.Types(db.Type[shapeBefore]("test.one"), db.Type[shapeBefore]("test.two")),
	} {
		d, err := db.OpenMemory(context.Background(), &db.Options{Types: types})
		if err == nil {
			_ = d.Close()
			t.Error("a conflicting pair was accepted")
		} else if !strings.Contains(err.Error(), "test.") {
			t.Errorf("%v does not name the pair", err)
		}
	}
}
