package db_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io"
	"iter"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

var errThrown = errors.New("thrown by the program")

// throws says which of the program's functions panic.
type throws struct{ store, load bool }

var throwing throws

func throwIf(is bool) {
	if is {
		panic(errThrown)
	}
}

// Types whose functions panic, one for each way to have functions run.
type (
	throwMethods struct{ N int }
	throwCodec   struct{ N int }
	throwText    struct{ N int }
	throwBinary  struct{ N int }
	throwGob     struct{ N int }
	throwHooks   struct{ N int }
)

func (v *throwMethods) MarshalPod(w *db.ValueWriter) error {
	throwIf(throwing.store)
	w.Int(int64(v.N))
	return nil
}

func (v *throwMethods) UnmarshalPod(r *db.ValueReader) error {
	throwIf(throwing.load)
	v.N = int(r.Int())
	return nil
}

func (v *throwText) MarshalText() ([]byte, error) {
	throwIf(throwing.store)
	return []byte{byte(v.N)}, nil
}

func (v *throwText) UnmarshalText(b []byte) error {
	throwIf(throwing.load)
	v.N = int(b[0])
	return nil
}

func (v *throwBinary) MarshalBinary() ([]byte, error) {
	throwIf(throwing.store)
	return []byte{byte(v.N)}, nil
}

func (v *throwBinary) UnmarshalBinary(b []byte) error {
	throwIf(throwing.load)
	v.N = int(b[0])
	return nil
}

func (v *throwGob) GobEncode() ([]byte, error) {
	throwIf(throwing.store)
	return []byte{byte(v.N)}, nil
}

func (v *throwGob) GobDecode(b []byte) error {
	throwIf(throwing.load)
	v.N = int(b[0])
	return nil
}

var _ gob.GobEncoder = (*throwGob)(nil)

func (v *throwHooks) BeforeStore() error {
	throwIf(throwing.store)
	return nil
}

func (v *throwHooks) AfterLoad() error {
	throwIf(throwing.load)
	return nil
}

func throwTypes() db.TypeSet {
	return db.Types(db.Type[throwMethods]("throw.methods"), db.Type[throwHooks]("throw.hooks"),
		db.Type[throwText]("throw.text", db.UseText()), db.Type[throwBinary]("throw.binary", db.UseBinary()), db.Type[throwGob]("throw.gob", db.UseGob()),
		db.Codec("throw.codec", 1, func(w *db.ValueWriter, v *throwCodec) error {
			throwIf(throwing.store)
			w.Int(int64(v.N))
			return nil
		}, func(r *db.ValueReader, v *throwCodec) error {
			throwIf(throwing.load)
			v.N = int(r.Int())
			return nil
		}))
}

type thrower struct {
	Name  string
	Items []any
	Typed map[string]any
}

// A function of the program that panics fails the call with the way to the value
// and what it panicked with. Nothing is written, nothing of what was saved is lost,
// and when it panics no more the next call works.
func TestFunctionsThatPanicFailTheCallAndNothingElse(t *testing.T) {
	ctx := context.Background()
	for name, value := range map[string]any{
		"MarshalPod": &throwMethods{7}, "codec": &throwCodec{7}, "codec by value": throwCodec{7}, "text": &throwText{7},
		"binary": &throwBinary{7}, "gob": &throwGob{7}, "hooks": &throwHooks{7},
	} {
		t.Run(name, func(t *testing.T) {
			throwing = throws{}
			d := must(db.OpenMemory(ctx, &db.Options{Types: throwTypes()}))(t)
			defer d.Close()
			ns := namespace(t, d)
			x := &thrower{Name: "before", Items: []any{1}}
			set(t, ns, "x", x)
			set(t, ns, "other", &gadget{1})
			v1 := save(t, ns)

			throwing.store = true
			x.Name, x.Items = "after", []any{1, value}
			for range 2 { // it stays an error
				_, err := ns.Save(ctx)
				var u *db.UnsupportedError
				if !errors.As(err, &u) || !errors.Is(err, db.ErrUnsupported) || !errors.Is(err, errThrown) || len(u.Problems) != 1 || u.Problems[0].Path != "x.Items[1]" {
					t.Fatalf("Save: %v", err)
				}
				said(t, err, errThrown, "x.Items[1]", "panicked", errThrown.Error())
			}
			if head := must(d.Head(ctx, "main"))(t); head != v1 || ns.Base() != v1 {
				t.Errorf("head %d, base %d, want %d", head, ns.Base(), v1)
			}
			throwing.store = false
			v2 := save(t, ns)
			if v2 != v1+1 || save(t, ns) != v2 {
				t.Errorf("the next save made version %d", v2)
			}

			throwing.load = true
			again := namespace(t, d)
			s := must(d.At(ctx, v2))(t)
			defer s.Close()
			_, nsErr := db.Get[*thrower](ctx, again, "x")
			_, snErr := db.Get[*thrower](ctx, s, "x")
			for _, err := range []error{nsErr, snErr} {
				said(t, err, errThrown, `variable "x"`, "pod ", "slot ", "panicked", errThrown.Error())
				said(t, err, db.ErrTypeMismatch)
			}
			if g := must(db.Get[*gadget](ctx, again, "other"))(t); g.Size != 1 {
				t.Errorf("the other variable is %+v", g)
			}
			old := must(d.At(ctx, v1))(t)
			defer old.Close()
			if y := must(db.Get[*thrower](ctx, old, "x"))(t); y.Name != "before" || len(y.Items) != 1 {
				t.Errorf("version %d is %+v", v1, y)
			}
			throwing.load = false
			y := must(db.Get[*thrower](ctx, again, "x"))(t)
			if y.Name != "after" || !reflect.DeepEqual(y.Items[1], value) {
				t.Errorf("loaded %+v, want %+v", y, x)
			}
			if v := save(t, again); v != v2 {
				t.Errorf("a save after the load made version %d", v)
			}
			verifyClean(t, d)
		})
	}
}

// During a Checkout a method that panics too early leaves the live objects as they
// were; AfterLoad is called when they have their contents, so it is a warning.
func TestFunctionsThatPanicDuringACheckout(t *testing.T) {
	ctx := context.Background()
	throwing = throws{}
	var log bytes.Buffer
	d := must(db.OpenMemory(ctx, &db.Options{Types: throwTypes(), Logger: slog.New(slog.NewTextHandler(&log, nil))}))(t)
	defer d.Close()
	ns := namespace(t, d)
	m, h := &throwMethods{1}, &throwHooks{1}
	set(t, ns, "m", &[]any{m})
	set(t, ns, "h", &[]any{h})
	v1 := save(t, ns)
	m.N, h.N = 2, 2
	save(t, ns)
	throwing.load = true
	err := ns.Checkout(ctx, v1)
	said(t, err, errThrown, `"m"`, "panicked")
	if m.N != 2 || h.N != 2 {
		t.Errorf("after a failed checkout: %+v, %+v", m, h)
	}
	throwing.load = false
	if err := ns.Checkout(ctx, v1); err != nil || m.N != 1 || h.N != 1 {
		t.Errorf("the next checkout: %v, %+v, %+v", err, m, h)
	}
	if err := ns.Delete(ctx, "m"); err != nil {
		t.Fatal(err)
	}
	v3 := save(t, ns)
	h.N = 5
	save(t, ns)
	throwing.load = true
	if err := ns.Checkout(ctx, v3); err != nil || h.N != 1 || !strings.Contains(log.String(), errThrown.Error()) {
		t.Errorf("AfterLoad in a checkout: %v, %+v, log %s", err, h, log.String())
	}
	throwing.load = false
}

// Every method of what a closed database has given out, with an error to return,
// returns ErrClosed.
func TestEveryMethodOfAClosedDatabaseSaysSo(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, nil))(t)
	ns := namespace(t, d)
	set(t, ns, "g", &gadget{1})
	s := must(d.At(ctx, save(t, ns)))(t)
	ns = namespace(t, d) // that has not loaded g
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// These have nothing to do with the file.
	free := map[string]bool{"DB.Close": true, "Snapshot.Close": true, "Namespace.Set": true, "Namespace.Delete": true}
	// Tokens come from errors alone.
	free["DB.Lookup"] = true
	called := 0
	for _, holder := range []any{d, ns, s} {
		v := reflect.ValueOf(holder)
		for i := range v.NumMethod() {
			name := v.Type().Elem().Name() + "." + v.Type().Method(i).Name
			m := v.Method(i)
			outs := m.Type().NumOut()
			if free[name] || outs == 0 || !failing(m.Type().Out(outs-1)) {
				continue
			}
			called++
			var args []reflect.Value
			for k := range m.Type().NumIn() {
				if m.Type().IsVariadic() && k == m.Type().NumIn()-1 {
					break
				}
				args = append(args, argument(m.Type().In(k)))
			}
			if err := lastError(m.Call(args)[outs-1]); !errors.Is(err, db.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if called < 20 {
		t.Errorf("only %d methods were called", called)
	}
}

var errorType = reflect.TypeFor[error]()

// failing reports whether a result is an error, or a sequence with errors.
func failing(t reflect.Type) bool {
	return t == errorType || t.Kind() == reflect.Func && strings.HasPrefix(t.String(), "iter.Seq2") && t.In(0).In(1) == errorType
}

func lastError(v reflect.Value) error {
	if v.Type() == errorType {
		err, _ := v.Interface().(error)
		return err
	}
	var err error
	for _, last := range reflect.Value(v).Seq2() {
		err, _ = last.Interface().(error)
	}
	return err
}

// argument makes a value that a method can be called with.
func argument(t reflect.Type) reflect.Value {
	switch {
	case t == reflect.TypeFor[context.Context]():
		return reflect.ValueOf(context.Background())
	case t == reflect.TypeFor[db.PruneOptions]():
		return reflect.ValueOf(db.PruneOptions{Policy: db.KeepLast(1)})
	case t == reflect.TypeFor[db.MergeOptions]():
		return reflect.ValueOf(db.MergeOptions{From: "g"})
	case t == reflect.TypeFor[io.Writer]():
		return reflect.ValueOf(io.Discard)
	case t.Kind() == reflect.String:
		return reflect.ValueOf("g").Convert(t)
	case t.Kind() == reflect.Interface: // where a Load puts values
		return reflect.ValueOf(&struct{ G *gadget }{})
	case t.Kind() == reflect.Uint64:
		return reflect.ValueOf(uint64(1)).Convert(t)
	}
	return reflect.New(t).Elem()
}

var _ iter.Seq2[int, error] // what failing looks for
