package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"strings"
	"testing"
	"unique"

	"github.com/poddb/poddb/db"
)

// meters is as if it came from another package: its methods say what it is.
type meters struct{ mm int64 }

func (m meters) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%dmm", m.mm), nil }
func (m *meters) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%dmm", &m.mm)
	return err
}
func (m meters) MarshalBinary() ([]byte, error) { return fmt.Appendf(nil, "b%d", m.mm), nil }
func (m *meters) UnmarshalBinary(b []byte) error {
	_, err := fmt.Sscanf(string(b), "b%d", &m.mm)
	return err
}
func (m *meters) GobEncode() ([]byte, error) { return fmt.Appendf(nil, "g%d", m.mm), nil }
func (m *meters) GobDecode(b []byte) error {
	_, err := fmt.Sscanf(string(b), "g%d", &m.mm)
	return err
}

type route struct {
	Legs []any
	Sum  *meters
	Same *meters
	City unique.Handle[city]
}

type city struct{ Name, Land string }

func newRoute() *route {
	m := &meters{1500}
	return &route{Legs: []any{meters{1}, m}, Sum: m, Same: m, City: unique.Make(city{"Ulm", "DE"})}
}

func TestMarshalersAreUsedByRegistrationOnly(t *testing.T) {
	ctx := context.Background()
	for form, opt := range map[string]db.TypeOption{"text": db.UseText(), "binary": db.UseBinary(), "gob": db.UseGob(), "": nil} {
		entry := db.Type[meters]("meters")
		if opt != nil {
			entry = db.Type[meters]("meters", opt)
		}
		d := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(entry, db.Type[city]("city"), db.Handle[city]())}))(t)
		ns := must(d.Namespace(ctx, "main"))(t)
		set(t, ns, "x", newRoute())
		v := save(t, ns)
		s := must(d.At(ctx, v))(t)
		var b bytes.Buffer
		if err := s.WriteJSON(ctx, &b, "x.Sum", db.JSONOptions{}); err != nil {
			t.Fatal(err)
		}
		if form == "" != !strings.Contains(b.String(), `"$codec":"`+form) {
			t.Errorf("form %q: stored as %s", form, b.String())
		}
		x := must(db.Get[*route](ctx, s, "x"))(t)
		if x.Sum != x.Same || x.Legs[1] != any(x.Sum) || x.Sum.mm != 1500 || x.Legs[0] != any(meters{1}) || x.City != unique.Make(city{"Ulm", "DE"}) {
			t.Errorf("form %q: %+v", form, x)
		}
		if again := save(t, ns); again != v {
			t.Errorf("form %q: a second save made version %v", form, again)
		}
		s.Close()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFormWithoutItsMethodsIsRefusedByOpen(t *testing.T) {
	ctx := context.Background()
	for _, entry := range []db.TypeEntry{db.Type[city]("city", db.UseText()), db.Type[city]("city", db.UseBinary()), db.Type[city]("city", db.UseGob())} {
		if _, err := db.OpenMemory(ctx, &db.Options{Types: db.Types(entry)}); !errors.Is(err, db.ErrInvalid) || !strings.Contains(err.Error(), "city") {
			t.Errorf("%v", err)
		}
	}
}

func TestACodecHasTheNameOfItsTypeEntry(t *testing.T) {
	ctx := context.Background()
	codec := db.Codec("town", 1, func(w *db.ValueWriter, c *city) error {
		w.String(c.Name)
		return nil
	}, func(r *db.ValueReader, c *city) error {
		c.Name = r.String()
		return nil
	})
	for _, types := range []db.TypeSet{db.Types(db.Type[city]("city"), codec), db.Types(codec, db.Type[city]("city")), db.Types(codec)} {
		d := must(db.OpenMemory(ctx, &db.Options{Types: types}))(t)
		ns := must(d.Namespace(ctx, "main"))(t)
		set(t, ns, "x", &[]any{city{"Ulm", "DE"}})
		s := must(d.At(ctx, save(t, ns)))(t)
		if x := must(db.Get[*[]any](ctx, s, "x"))(t); (*x)[0] != any(city{Name: "Ulm"}) {
			t.Errorf("%v", *x)
		}
		list := must(d.Schema(ctx))(t)
		found := false
		for _, st := range list {
			found = found || strings.HasSuffix(st.Name, "city") && st.Codec == "town 1"
		}
		if !found {
			t.Errorf("schema: %+v", list)
		}
		s.Close()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// limits is a singleton of the program.
var limits = struct{ Max int }{10}

func TestValuesAndAllowedPackagesAreOptions(t *testing.T) {
	ctx := context.Background()
	type holder struct {
		L *struct{ Max int }
		E error
		Z *rand.Zipf
	}
	opts := &db.Options{Types: db.Types(db.Value("limits", &limits), db.AllowPackage("math/rand"))}
	d := must(db.OpenMemory(ctx, opts))(t)
	defer func() { _ = d.Close() }()
	ns := must(d.Namespace(ctx, "main"))(t)
	set(t, ns, "x", &holder{&limits, io.EOF, rand.NewZipf(rand.New(rand.NewSource(1)), 2, 3, 9)})
	s := must(d.At(ctx, save(t, ns)))(t)
	defer s.Close()
	if x := must(db.Get[*holder](ctx, s, "x"))(t); x.L != &limits || x.E != io.EOF || x.Z.Uint64() > 9 {
		t.Errorf("%+v", x)
	}
	for _, bad := range []db.TypeEntry{db.Value("limits", limits), db.Value("", &limits), db.AllowPackage("")} {
		if _, err := db.OpenMemory(ctx, &db.Options{Types: opts.Types.With(bad)}); !errors.Is(err, db.ErrInvalid) {
			t.Errorf("%v", err)
		}
	}
}

// gauge is a value whose codec stores what its pointer leads to.
type gauge struct {
	N    *int
	Unit string
}

// A codec is run at every save, since what it reads behind pointers may change in
// silence; a pure one only if the memory of its value changed.
func TestAPureCodecIsNotRunForAnUnchangedValue(t *testing.T) {
	ctx := context.Background()
	for _, pure := range []bool{false, true} {
		var opts []db.TypeOption
		if pure {
			opts = append(opts, db.Pure())
		}
		codec := db.Codec("gauge", 1, func(w *db.ValueWriter, g *gauge) error {
			w.Int(int64(*g.N))
			return nil
		}, func(r *db.ValueReader, g *gauge) error {
			n := int(r.Int())
			g.N = &n
			return nil
		}, opts...)
		d := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(codec)}))(t)
		defer d.Close()
		ns := must(d.Namespace(ctx, "main"))(t)
		n := 1
		list := make([]any, 1000) // enough for an array to be compared by its words
		for i := range list {
			list[i] = gauge{N: &n}
		}
		if err := ns.Set(ctx, "list", &list); err != nil {
			t.Fatal(err)
		}
		must(ns.Save(ctx))(t)
		n = 2
		sn := must(d.At(ctx, must(ns.Save(ctx))(t)))(t)
		defer sn.Close()
		var got struct {
			List *[]any `pod:"list"`
		}
		if err := sn.Load(ctx, &got); err != nil {
			t.Fatal(err)
		}
		if n := *(*got.List)[0].(gauge).N; (n == 1) != pure {
			t.Errorf("pure=%v: %d was stored", pure, n)
		}
	}
}
