package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/poddb/poddb/db"
)

// list is the type of the quick start.
type list struct{ Items []any }

// quickStart does what the README shows, and says what it cost.
func quickStart(ctx context.Context, e *env, path string) error {
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return err
	}
	t := table{head: []string{"-step", "version", "pods written", "bytes stored"}}
	save := func(step string) error {
		v, err := ns.Save(ctx)
		if err != nil {
			return err
		}
		st := ns.LastSave()
		t.add(step, fmt.Sprint(v), fmt.Sprint(st.PodsWritten), bytesText(st.Bytes))
		return nil
	}
	x := &list{Items: []any{strings.Repeat("0", 1_000_000)}}
	if err := ns.Set(ctx, "x", x); err != nil {
		return err
	}
	if err := save("x := a list with a million zeros"); err != nil {
		return err
	}
	y := &list{Items: []any{strings.Repeat("1", 1_000_000)}}
	if err := ns.Set(ctx, "y", y); err != nil {
		return err
	}
	if err := save("y := a list with a million ones"); err != nil {
		return err
	}
	x.Items = append(x.Items, y)
	if err := save("x.Items = append(x.Items, y)"); err != nil {
		return err
	}
	t.print(e.out)
	return quickRead(ctx, e, d, ns.Base())
}

// quickRead reads the newest version and checks that y is one object.
func quickRead(ctx context.Context, e *env, d *db.DB, v db.Version) error {
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	var got struct{ X, Y *list }
	if err := s.Load(ctx, &got); err != nil {
		return err
	}
	if len(got.X.Items) != 2 || got.X.Items[1] != any(got.Y) {
		return fmt.Errorf("version %d: x.Items[1] and y are not one object", v)
	}
	fmt.Fprintf(e.out, "read version %d back: x.Items[1] and y are one object\n\n", v)
	return nil
}
