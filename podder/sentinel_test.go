package podder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

type tConfig struct {
	Name  string
	Part  struct{ A, B int }
	List  [4]int
	Other *tConfig
	fn    func() // so that it could not be stored
}

var (
	tDefault = tConfig{Name: "default", fn: func() {}}
	tNumber  = 42
)

func withValues(t *testing.T, pairs ...any) *Registry {
	t.Helper()
	r := NewRegistry()
	for i := 0; i < len(pairs); i += 2 {
		if err := r.RegisterValue(pairs[i].(string), pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

type tSettings struct {
	Cfg  *tConfig
	Mine *tConfig
	Any  any
	Part *struct{ A, B int }
	Elem *int
	List []int
	Num  *int
	Err  error
	Errs []error
}

func newSettings() *tSettings {
	d := &tDefault
	return &tSettings{
		Cfg: d, Mine: &tConfig{Name: "mine", Other: d}, Any: d, Part: &d.Part, Elem: &d.List[2], List: d.List[1:3], Num: &tNumber,
		Err: io.EOF, Errs: []error{fs.ErrNotExist, fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), context.Canceled, context.DeadlineExceeded, errors.New("EOF")},
	}
}

func checkSettings(t *testing.T, got *tSettings) {
	t.Helper()
	d := &tDefault
	if got.Cfg != d || got.Mine.Other != d || got.Mine == d || got.Any != any(d) || got.Num != &tNumber {
		t.Error("pointers to registered objects lead elsewhere")
	}
	if got.Part != &d.Part || got.Elem != &d.List[2] || &got.List[0] != &d.List[1] || cap(got.List) != 3 {
		t.Error("pointers into a registered object lead elsewhere")
	}
	if got.Err != io.EOF || got.Errs[0] != fs.ErrNotExist || !errors.Is(got.Errs[1], io.ErrUnexpectedEOF) || got.Errs[2] != context.Canceled || got.Errs[3] != context.DeadlineExceeded {
		t.Error("errors of the standard library are other ones")
	}
	if got.Errs[4] == io.EOF || got.Errs[4].Error() != "EOF" {
		t.Error("an error of the program became io.EOF")
	}
	if d.Name != "default" || tNumber != 42 {
		t.Error("the program's own object was written")
	}
}

func TestSentinelsAreTheSameObjectsAfterALoad(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = withValues(t, "default", &tDefault, "number", &tNumber)
	x := newSettings()
	g := mustGraph(t, cfg)
	mustSave(t, g, s, "x", x, "part", x.Part)
	mustStayQuiet(t, g, s, "x", x, "part", x.Part)
	cfg.Registry = withValues(t, "number", &tNumber, "default", &tDefault)
	_, vs := reload(t, s, cfg, "x", x, "part", x.Part)
	checkSettings(t, vs[0].Interface().(*tSettings))
	if vs[1].Interface().(*struct{ A, B int }) != &tDefault.Part {
		t.Error("a variable that leads into a registered object leads elsewhere")
	}
	_, vs = reload(t, s, cfg, "part", x.Part) // alone
	if vs[0].Interface().(*struct{ A, B int }) != &tDefault.Part {
		t.Error("a variable that leads into a registered object leads elsewhere")
	}
	// In place: what the program's object holds now stays.
	tDefault.Part.A = 7
	defer func() { tDefault.Part.A = 0 }()
	x.Cfg, x.Err, x.Num = nil, nil, new(int)
	if _, err := g.Restore(ctx, s, []string{"x", "part"}, History{}); err != nil {
		t.Fatal(err)
	}
	if checkSettings(t, x); tDefault.Part.A != 7 {
		t.Error("a restore wrote the program's object")
	}
	mustStayQuiet(t, g, s, "x", x, "part", x.Part)
}

// A graph that has not loaded the slot of a sentinel makes another one for it.
func TestASentinelWithSeveralSlotsIsNotWrittenAgain(t *testing.T) {
	type holder struct {
		Cfg  *tConfig
		Part *int
		Name string
		Own  *tConfig
	}
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 200
	cfg.Registry = withValues(t, "default", &tDefault)
	d := &tDefault
	list := make([]*tConfig, 3000) // stored in chunks
	for i := range list {
		if i%2 == 0 {
			list[i] = d
		}
	}
	all := []any{"box", d, "list", list, "map", map[string]*tConfig{"a": d, "b": nil}, "x", &holder{}, "y", &holder{}}
	mustSave(t, mustGraph(t, cfg), s, all...)
	for k := 6; k < len(all); k += 2 {
		g, vs := reload(t, s, cfg, all[k:k+2]...)
		h := vs[0].Interface().(*holder)
		h.Cfg, h.Part, h.Own = d, &d.List[2], &tConfig{Other: d}
		mustSave(t, g, s, all[k], h)
		mustStayQuiet(t, g, s, all[k], h)
	}
	var back []any
	for k := len(all) - 2; k >= 0; k -= 2 {
		back = append(back, all[k], all[k+1])
	}
	reload(t, s, cfg, back...)
	g, vs := reload(t, s, cfg, all...)
	x, y := vs[3].Interface().(*holder), vs[4].Interface().(*holder)
	if x.Cfg != d || y.Part != &d.List[2] || y.Own.Other != d || vs[0].Interface() != any(d) || vs[1].Interface().([]*tConfig)[2] != d {
		t.Error("pointers to a registered object lead elsewhere")
	}
	var names []string
	var live []any
	for k := range vs {
		names = append(names, all[2*k].(string))
		live = append(live, all[2*k], vs[k].Interface())
	}
	// One of them changes, then does not refer to it at all; the others stay what they are.
	y.Name = "changed"
	if tx := mustSave(t, g, s, live...); len(tx.changes) != 1 {
		t.Errorf("one change put pods %v", tx.changes)
	}
	y.Cfg, y.Part, y.Own.Other = nil, nil, nil
	mustSave(t, g, s, live...)
	mustStayQuiet(t, g, s, live...)
	reload(t, s, cfg, all...)
	if _, err := g.Restore(context.Background(), s, names, History{}); err != nil {
		t.Fatal(err)
	}
	mustStayQuiet(t, g, s, live...)
	// One after the other into one graph.
	g = mustGraph(t, cfg)
	live = live[:0]
	for k := len(all) - 2; k >= 0; k -= 2 {
		v, err := g.Load(context.Background(), s, []string{all[k].(string)}, []reflect.Type{reflect.TypeOf(all[k+1])})
		if err != nil {
			t.Fatal(err)
		}
		live = append(live, all[k], v[0].Interface())
		mustStayQuiet(t, g, s, live...)
	}
}

func TestASentinelThatTheProgramLacksIsAnErrorThatNamesIt(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = withValues(t, "default", &tDefault)
	type holder struct{ C *tConfig }
	mustSave(t, mustGraph(t, cfg), s, "x", &holder{&tDefault})
	want := []reflect.Type{reflect.TypeFor[*holder]()}
	_, err := Decode(context.Background(), s.config(), s, []string{"x"}, want)
	if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), `db.Value("default"`) || !strings.Contains(err.Error(), `"x"`) {
		t.Error(err)
	}
	cfg.Registry = withValues(t, "default", &tNumber)
	if _, err = Decode(context.Background(), cfg, s, []string{"x"}, want); !errors.Is(err, dberr.ErrTypeMismatch) {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := WriteJSON(context.Background(), s, &b, "x", JSONOptions{}); err != nil || b.String() != `{"C":{"$value":"default"}}` {
		t.Errorf("%s, %v", b.String(), err)
	}
}

func TestSentinelsThatCannotBeAreRefused(t *testing.T) {
	r := withValues(t, "default", &tDefault, "default", &tDefault)
	for name, v := range map[string]any{
		"": &tNumber, "default": &tNumber, "again": &tDefault, "part": &tDefault.Part, "whole": 3, "nil": (*int)(nil), "empty": &struct{}{}, "eof": io.EOF,
	} {
		if err := r.RegisterValue(name, v); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEverySentinelOfTheStandardLibraryIsOne(t *testing.T) {
	r := NewRegistry()
	if len(r.lost) > 0 || len(r.sentinels) != len(stdValues()) {
		t.Errorf("%d of %d: %q", len(r.sentinels), len(stdValues()), r.lost)
	}
}

// What leads into a registered object, and is the first to do so in a first save, is
// not taken for what leads to all of it.
func TestFirstPointersIntoSentinels(t *testing.T) {
	type parts struct {
		Part *struct{ A, B int }
		Elem *int
	}
	type window struct{ List []int }
	for k, v := range []any{&parts{Part: &tDefault.Part}, &parts{Elem: &tDefault.Part.A}, &window{tDefault.List[:2]}, map[string]*int{"a": &tDefault.List[0]}} {
		s := newFakeStore()
		cfg := s.config()
		cfg.Registry = withValues(t, "default", &tDefault)
		mustSave(t, mustGraph(t, cfg), s, "x", v)
		_, vs := reload(t, s, cfg, "x", v)
		switch got := vs[0].Interface().(type) {
		case *parts:
			if k == 0 && got.Part != &tDefault.Part || k == 1 && got.Elem != &tDefault.Part.A {
				t.Errorf("case %d leads elsewhere", k)
			}
		case *window:
			if &got.List[0] != &tDefault.List[0] || cap(got.List) != 4 {
				t.Errorf("case %d leads elsewhere", k)
			}
		case map[string]*int:
			if got["a"] != &tDefault.List[0] {
				t.Errorf("case %d leads elsewhere", k)
			}
		}
	}
}
