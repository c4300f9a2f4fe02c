package db_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// Arguments that cannot be right are refused at once, by name, and nothing panics.
func TestArgumentsThatCannotBeRightAreRefusedAtOnce(t *testing.T) {
	ctx := context.Background()
	path := t.TempDir() + "/a.pod"
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ns := namespace(t, d)
	x := 1
	set(t, ns, "x", &x)
	s, err := d.At(ctx, save(t, ns))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for what, err := range map[string]error{
		"Open without a path":          second(db.Open(ctx, "", nil)),
		"Inspect without a path":       second(db.Inspect(ctx, "", nil)),
		"Backup to nil":                second(d.Backup(ctx, nil)),
		"Restore from nil":             db.Restore(ctx, nil, path+"2"),
		"Restore to no path":           db.Restore(ctx, &bytes.Buffer{}, ""),
		"Salvage from no path":         second(db.Salvage(ctx, "", path+"2")),
		"Salvage to no path":           second(db.Salvage(ctx, path, "")),
		"Load into nothing":            s.Load(ctx, nil),
		"Load into a nil pointer":      s.Load(ctx, (*struct{ X *int })(nil)),
		"a name without bytes":         ns.Set(ctx, "", &x),
		"a name of 64 KiB":             ns.Set(ctx, strings.Repeat("n", 64<<10), &x),
		"a name of 1024 zero bytes":    ns.Set(ctx, strings.Repeat("\x00", 1024), &x),
		"Set of nothing":               ns.Set(ctx, "y", nil),
		"Prune without a policy":       second(d.Prune(ctx, db.PruneOptions{})),
		"Prune that keeps less than 1": second(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(-1)})),
	} {
		if !errors.Is(err, db.ErrInvalid) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 200 {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Any other bytes are a name, and nothing of the above is in the way of a save.
	for _, name := range []string{"\xff\xfe", "a\x00b", "\x00", strings.Repeat("\x00", 200), strings.Repeat("ä", 512), "\u202e", " "} {
		set(t, ns, name, &x)
	}
	x = 2
	v := save(t, ns)
	at, err := d.At(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	var all map[string]any
	if err := at.Load(ctx, &all); err != nil || len(all) != 8 {
		t.Fatalf("%d variables: %v", len(all), err)
	}
	for name, p := range all {
		if *p.(*int) != 2 {
			t.Errorf("%q is %v", name, p)
		}
	}
}

func second[T any](_ T, err error) error { return err }
