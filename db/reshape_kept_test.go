package db_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// References that a save writes as they were read, because it does not know what they
// lead to (Refs that are not loaded, values of unknown types), and those that lead
// through forwarders, into objects whose type has changed.

type (
	refHolder struct {
		R db.Ref[int]
		N int
	}
	refWhole struct {
		R db.Ref[boxedOld]
		N int
	}
	refWholeNow struct {
		R db.Ref[boxedNow]
		N int
	}
	anyHolder struct {
		V any
		N int
	}
	intLink  struct{ P *int }
	partLink struct{ P *pairIn }
	allLink  struct{ P *boxedOld }
)

// changedTypes is a database that was written with other types.
func changedTypes(t *testing.T, fill func(d *db.DB), old, now []db.TypeEntry) *db.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "k.pod")
	d := must(db.Open(t.Context(), path, &db.Options{Types: db.Types(old...)}))(t)
	fill(d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(t.Context(), path, &db.Options{Types: db.Types(now...), VerifyEvery: 1}))(t)
	t.Cleanup(func() { d.Close() })
	return d
}

// filled saves variables: name, value …
func filled(t *testing.T, vars ...any) func(*db.DB) {
	return func(d *db.DB) {
		t.Helper()
		ns := namespace(t, d)
		for i := 0; i < len(vars); i += 2 {
			set(t, ns, vars[i].(string), vars[i+1])
		}
		save(t, ns)
	}
}

func refusedWith(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, db.ErrTypeMismatch) || errors.Is(err, db.ErrCorrupt) {
		t.Errorf("got %v, want ErrTypeMismatch", err)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%v does not name %q", err, p)
		}
	}
}

var (
	inEntry   = db.Type[pairIn]("in")
	boxedEras = [2][]db.TypeEntry{{db.Type[boxedOld]("T"), inEntry}, {db.Type[boxedNow]("T"), inEntry}}
)

// A Ref that leads into a part which moves has to be got before the save; then it leads
// to the part where it is now.
func TestSaveKeepsWhatRefsLeadTo(t *testing.T) {
	ctx := t.Context()
	a := &boxedOld{pairIn{2, 3}, 4}
	d := changedTypes(t, filled(t, "a", a, "r", &refHolder{R: db.NewRef(&a.V.B)}, "k", &refHolder{R: db.NewRef(&a.K)}), boxedEras[0], boxedEras[1])
	ns := namespace(t, d)
	now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	r := must(db.Get[*refHolder](ctx, ns, "r"))(t)
	k := must(db.Get[*refHolder](ctx, ns, "k"))(t)
	r.N++ // so that they are written
	k.N++
	before := ns.Base()
	_, err := ns.Save(ctx)
	refusedWith(t, err, "a.V: stored as in, the program has *in", "get the Refs that lead into it before saving: r:")
	if ns.Base() != before {
		t.Fatalf("the base is %d, was %d", ns.Base(), before)
	}
	if p := must(r.R.Get(ctx))(t); p != &now.V.B || *p != 3 {
		t.Fatalf("the Ref leads to %d", *p)
	}
	save(t, ns) // the one to the part that stays is not loaded
	if p := must(k.R.Get(ctx))(t); p != &now.K || *p != 4 {
		t.Fatalf("the Ref leads to %d", *p)
	}
	must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
	ns = namespace(t, d)
	r, k = must(db.Get[*refHolder](ctx, ns, "r"))(t), must(db.Get[*refHolder](ctx, ns, "k"))(t)
	p, q := must(r.R.Get(ctx))(t), must(k.R.Get(ctx))(t)
	if now = must(db.Get[*boxedNow](ctx, ns, "a"))(t); p != &now.V.B || q != &now.K {
		t.Errorf("saved and loaded, the Refs lead to %d and %d", *p, *q)
	}
}

// A Ref to the whole object needs nothing.
func TestSaveKeepsRefsToTheWholeObject(t *testing.T) {
	ctx := t.Context()
	a := &boxedOld{pairIn{2, 3}, 4}
	d := changedTypes(t, filled(t, "a", a, "r", &refWhole{R: db.NewRef(a)}), append(boxedEras[0], db.Type[refWhole]("W")), append(boxedEras[1], db.Type[refWholeNow]("W")))
	ns := namespace(t, d)
	now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	h := must(db.Get[*refWholeNow](ctx, ns, "r"))(t)
	h.N++
	save(t, ns)
	if p := must(h.R.Get(ctx))(t); p != now || now.V.B != 3 {
		t.Errorf("the Ref leads to %v", p)
	}
}

// What a Ref that is not loaded leads to may refer to the part in its turn.
func TestSaveKeepsWhatIsBehindRefs(t *testing.T) {
	ctx := t.Context()
	a := &boxedOld{pairIn{2, 3}, 4}
	type holder struct {
		R db.Ref[intLink]
		N int
	}
	d := changedTypes(t, filled(t, "a", a, "r", &holder{R: db.NewRef(&intLink{&a.V.B})}), boxedEras[0], boxedEras[1])
	ns := namespace(t, d)
	now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	h := must(db.Get[*holder](ctx, ns, "r"))(t)
	h.N++
	_, err := ns.Save(ctx)
	refusedWith(t, err, "a.V: stored as in, the program has *in", "get the Refs that lead into it before saving: r:")
	if l := must(h.R.Get(ctx))(t); l.P != &now.V.B || *l.P != 3 {
		t.Fatalf("leads to %d", *l.P)
	}
	save(t, ns)
	must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
}

// A value of an unknown type cannot be looked into: what it leads to decides, and the
// way out is to let its type be known.
func TestSaveKeepsWhatUnknownValuesLeadTo(t *testing.T) {
	for _, c := range []struct {
		name string
		link func(a *boxedOld) any
		part string
	}{
		{"a part that moves", func(a *boxedOld) any { return intLink{&a.V.B} }, "a.V: stored as in, the program has *in"},
		{"all of a part that moves", func(a *boxedOld) any { return partLink{&a.V} }, "a.V: stored as in, the program has *in"},
		{"a part that stays", func(a *boxedOld) any { return intLink{&a.K} }, ""},
		{"the whole object", func(a *boxedOld) any { return allLink{a} }, ""},
		{"through an object that is unknown, too", func(a *boxedOld) any { return &intLink{&a.V.A} }, "a.V: stored as in, the program has *in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			a := &boxedOld{pairIn{2, 3}, 4}
			links := []db.TypeEntry{db.Type[intLink]("link"), db.Type[partLink]("part"), db.Type[allLink]("all")}
			d := changedTypes(t, filled(t, "a", a, "u", &anyHolder{V: c.link(a)}), append(links, boxedEras[0]...), boxedEras[1])
			ns := namespace(t, d)
			now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
			u := must(db.Get[*anyHolder](ctx, ns, "u"))(t)
			if _, ok := u.V.(*db.Opaque); !ok {
				t.Fatalf("loaded %T", u.V)
			}
			before := ns.Base()
			u.N++
			_, err := ns.Save(ctx)
			if c.part == "" {
				if err != nil || now.V.B != 3 {
					t.Fatal(err)
				}
				return
			}
			refusedWith(t, err, c.part, "register the types of the values that lead into it, or drop them: u:")
			if strings.Contains(err.Error(), "Refs") {
				t.Errorf("%v is about Refs", err)
			}
			if ns.Base() != before {
				t.Errorf("the base is %d, was %d", ns.Base(), before)
			}
			u.V = nil
			save(t, ns)
			must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
		})
	}
}

// forwarded saves a part of an object as "b", then, as another program would, something
// that refers to that part, then the whole object: the slot of the part is a forwarder.
func forwarded[P any](t *testing.T, part *P, exports any, link func(*P) any, whole any) func(*db.DB) {
	return func(d *db.DB) {
		t.Helper()
		ctx := context.Background()
		ns := namespace(t, d)
		set(t, ns, "b", part)
		set(t, ns, "exports", exports) // the slot has to be so already when the other one refers to it
		save(t, ns)
		other := namespace(t, d)
		set(t, other, "c", link(must(db.Get[*P](ctx, other, "b"))(t)))
		save(t, other)
		set(t, ns, "a", whole)
		save(t, ns)
		for _, name := range []string{"b", "exports"} {
			if err := ns.Delete(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		save(t, ns)
	}
}

// References that lead through a forwarder lead into parts of what it leads to.
func TestSaveKeepsWhatForwardersLeadTo(t *testing.T) {
	t.Run("a field", func(t *testing.T) {
		ctx := t.Context()
		a := &boxedOld{pairIn{2, 3}, 4}
		d := changedTypes(t, forwarded(t, &a.V, &partLink{&a.V}, func(p *pairIn) any { return &intLink{&p.B} }, a), boxedEras[0], boxedEras[1])
		ns := namespace(t, d)
		now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
		_, err := ns.Save(ctx)
		refusedWith(t, err, "a.V: stored as in, the program has *in", "load the variables that refer into it before saving: c:")
		c := must(db.Get[*intLink](ctx, ns, "c"))(t)
		if c.P != &now.V.B || *c.P != 3 {
			t.Fatalf("c leads to %d", *c.P)
		}
		save(t, ns)
		must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
	})
	t.Run("another field", func(t *testing.T) {
		ctx := t.Context()
		a := &boxedOld{pairIn{2, 3}, 4}
		d := changedTypes(t, forwarded(t, &a.K, &intLink{&a.K}, func(p *int) any { return &intLink{p} }, a), boxedEras[0], boxedEras[1])
		ns := namespace(t, d)
		now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
		save(t, ns)
		if c := must(db.Get[*intLink](ctx, ns, "c"))(t); c.P != &now.K || *c.P != 4 {
			t.Errorf("c leads to %d", *c.P)
		}
	})
	t.Run("an element", func(t *testing.T) {
		ctx := t.Context()
		a := &sliceOld{[]pairIn{{1, 2}, {3, 4}, {5, 6}, {7, 8}}}
		window := a.S[1:3:3]
		d := changedTypes(t, forwarded(t, &window, &partLink{&window[0]}, func(p *[]pairIn) any { return &partLink{&(*p)[1]} }, a), []db.TypeEntry{db.Type[sliceOld]("T"), inEntry}, []db.TypeEntry{db.Type[sliceBoxed]("T"), inEntry})
		ns := namespace(t, d)
		now := must(db.Get[*sliceBoxed](ctx, ns, "a"))(t)
		_, err := ns.Save(ctx)
		refusedWith(t, err, "a.S[2]: stored as in, the program has *in", "load the variables that refer into it before saving: c:")
		c := must(db.Get[*partLink](ctx, ns, "c"))(t)
		if c.P != now.S[2] || c.P.B != 6 {
			t.Fatalf("c leads to %v", *c.P)
		}
		save(t, ns)
		must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
	})
}

// A variable that leads to a part which is behind a pointer now has the part alone when it is
// saved without who holds the object: then that one, loaded later, has a copy.
func TestAPartThatIsSavedAloneIsACopy(t *testing.T) {
	ctx := t.Context()
	a := &boxedOld{pairIn{2, 3}, 4}
	d := changedTypes(t, filled(t, "a", a, "b", &a.V), boxedEras[0], boxedEras[1])
	ns := namespace(t, d)
	b := must(db.Get[*pairIn](ctx, ns, "b"))(t)
	b.B = 5
	save(t, ns)
	now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	if *b != (pairIn{2, 5}) || *now.V != (pairIn{2, 3}) {
		t.Errorf("b is %v, a holds %v", *b, *now.V)
	}
	save(t, ns)
	must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
}

// Undo of the save that wrote an object in its new shape brings back what was stored in the
// old one: a value that is behind a pointer now needs memory that its object does not have,
// so the object moves, and Moved says so. What the program still holds is left alone, and
// what is written to it is not stored.
func TestUndoAcrossAChangeOfTypesMovesTheObject(t *testing.T) {
	ctx := t.Context()
	a := &boxedOld{pairIn{2, 3}, 4}
	d := changedTypes(t, filled(t, "a", a, "n", &numberOld{5}), append(boxedEras[0], db.Type[numberOld]("N")), append(boxedEras[1], db.Type[numberOld]("N")))
	ns := namespace(t, d)
	was := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	n := must(db.Get[*numberOld](ctx, ns, "n"))(t)
	was.V.B, was.K, n.V = 30, 40, 50
	v := save(t, ns)
	undone := must(ns.Undo(ctx))(t)
	if moved := ns.Moved(); undone != v+1 || len(moved) != 1 || moved[0] != "a" {
		t.Fatalf("version %d after %d, moved %v", undone, v, moved)
	}
	now := must(db.Get[*boxedNow](ctx, ns, "a"))(t)
	if now == was || *now.V != (pairIn{2, 3}) || now.K != 4 || n.V != 5 {
		t.Errorf("undone: %v %d, %d", *now.V, now.K, n.V)
	}
	if *was.V != (pairIn{2, 30}) || was.K != 40 {
		t.Errorf("what moved was written: %v %d", *was.V, was.K)
	}
	was.K, now.V.A = 41, 20
	saved := save(t, ns)
	s := must(d.At(ctx, saved))(t)
	defer s.Close()
	if c := must(db.Get[*boxedNow](ctx, s, "a"))(t); *c.V != (pairIn{20, 3}) || c.K != 4 {
		t.Errorf("saved: %v %d", *c.V, c.K)
	}
	must(d.Verify(ctx, db.VerifyOptions{Deep: true}))(t)
}
