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
	pairKey  struct{ A, B int }
	shortKey struct{ A int }
	funcKey  struct {
		A, B int
		F    func()
	}
)

// Keys that the program's types cannot tell apart, or not compare, are a type that does
// not fit. The file is sound.
func TestKeysOfAChangedTypeAreNoDamage(t *testing.T) {
	collide := map[pairKey]string{{1, 1}: "a", {1, 2}: "b"}
	behind := map[any]string{pairKey{1, 1}: "a", pairKey{1, 2}: "b"}
	inStruct := map[struct{ K any }]string{{pairKey{1, 1}}: "a", {pairKey{1, 2}}: "b"}
	short, long := db.Types(db.Type[shortKey]("key")), db.Types(db.Type[funcKey]("key"))
	for _, c := range []struct {
		what  string
		value any
		types db.TypeSet
		get   func(context.Context, db.Reader) error
	}{
		{"collide", collide, short, getAs[map[shortKey]string]},
		{"behind any", behind, short, getAs[map[any]string]},
		{"in a struct", inStruct, short, getAs[map[struct{ K any }]string]},
		{"not comparable", behind, long, getAs[map[any]string]},
	} {
		ctx := t.Context()
		file := filepath.Join(t.TempDir(), "keys.pod")
		d := must(db.Open(ctx, file, &db.Options{Types: db.Types(db.Type[pairKey]("key"))}))(t)
		ns := namespace(t, d)
		set(t, ns, "m", c.value)
		save(t, ns)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = must(db.Open(ctx, file, &db.Options{Types: c.types}))(t)
		err := c.get(ctx, namespace(t, d))
		if !errors.Is(err, db.ErrTypeMismatch) || errors.Is(err, db.ErrCorrupt) {
			t.Errorf("%s: %v", c.what, err)
		} else if !strings.Contains(err.Error(), `"m"`) || !strings.Contains(err.Error(), "keep what tells keys apart") {
			t.Errorf("%s: no path or advice: %v", c.what, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func getAs[T any](ctx context.Context, r db.Reader) error {
	_, err := db.Get[T](ctx, r, "m")
	return err
}
