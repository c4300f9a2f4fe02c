package podder

import (
	"bytes"
	golist "container/list"
	"container/ring"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// loaded is one variable after a round trip that leaves nothing to write.
func loaded[T any](t *testing.T, v T) T {
	t.Helper()
	return loadedWith(t, Config{}, v)
}

func loadedWith[T any](t *testing.T, cfg Config, v T) T {
	t.Helper()
	s := newFakeStore()
	cfg.Secret = s.key
	g := mustGraph(t, cfg)
	mustSave(t, g, s, "x", v)
	mustStayQuiet(t, g, s, "x", v)
	_, vs := reload(t, s, cfg, "x", v)
	return vs[0].Interface().(T)
}

func TestListsKeepTheirElementsAndWhoOwnsThem(t *testing.T) {
	type holder struct {
		L     *golist.List
		Held  golist.List // by value: its elements point into the holder
		Mid   *golist.Element
		Loose *golist.Element // of no list
		Zero  golist.List     // not initialised
	}
	h := &holder{L: golist.New()}
	h.L.PushBack("a")
	h.Mid = h.L.PushBack(h)
	h.L.PushBack(3)
	h.Held.PushBack(h.Mid)
	h.Loose = h.L.PushFront("gone")
	h.L.Remove(h.Loose)
	got := loaded(t, h)
	if got.L.Len() != 3 || got.L.Front().Next() != got.Mid || got.Mid.Value != any(got) || got.L.Back().Value != 3 {
		t.Error("the list is another one")
	}
	got.L.MoveToFront(got.Mid) // does nothing unless the element belongs to the list
	if got.L.Front() != got.Mid || got.Held.Front().Value != any(got.Mid) {
		t.Error("elements do not belong to their lists")
	}
	got.Held.PushFront(1)
	got.Zero.PushBack(2)
	if got.Held.Len() != 2 || got.Zero.Len() != 1 || got.Loose.Next() != nil || got.Loose.Value != "gone" {
		t.Error("lists by value do not work")
	}
}

func TestRingsStayClosed(t *testing.T) {
	r := ring.New(5)
	for i := range 5 {
		r.Value = i
		r = r.Next()
	}
	got := loaded(t, []*ring.Ring{r, r.Move(2)})
	if got[0].Len() != 5 || got[0].Move(2) != got[1] || got[1].Value != 2 || got[0].Prev().Value != 4 {
		t.Error("the ring is another one")
	}
}

func TestBuffersGoOnWhereTheyWere(t *testing.T) {
	type holder struct {
		B  *bytes.Buffer
		S  strings.Builder
		P  *strings.Builder
		R  *bytes.Reader
		SR *strings.Reader
	}
	h := &holder{B: bytes.NewBufferString("hello world"), P: &strings.Builder{}, R: bytes.NewReader([]byte("xyz")), SR: strings.NewReader("äöü")}
	_, _ = h.B.ReadByte()
	h.S.WriteString("built")
	h.P.Grow(1000)
	h.P.WriteString("more")
	_, _, _ = h.SR.ReadRune()
	_, _ = h.R.ReadByte()
	got := loaded(t, h)
	if err := got.B.UnreadByte(); err != nil || got.B.String() != "hello world" {
		t.Errorf("buffer: %q, %v", got.B, err)
	}
	got.S.WriteString("!") // panics if it thinks that it was copied
	if got.S.String() != "built!" || got.P.String() != "more" || got.P.Cap() != h.P.Cap() {
		t.Errorf("builders: %q, %q of %d", got.S.String(), got.P.String(), got.P.Cap())
	}
	if err := got.SR.UnreadRune(); err != nil || got.SR.Len() != 6 || got.R.Len() != 2 {
		t.Errorf("readers: %v", err)
	}
}

// A builder does not clear the memory that it allocates, so what lies beyond its
// length is none of its contents.
func TestABuilderStoresNothingBeyondItsLength(t *testing.T) {
	s := newFakeStore()
	b := &strings.Builder{}
	b.WriteString(strings.Repeat("secret ", 10))
	b.Reset()
	b.Grow(2000)
	copy((*[100]byte)(reflect.ValueOf(b).Elem().FieldByName("buf").UnsafePointer())[:], "rubbish")
	b.WriteString("ok")
	mustSave(t, mustGraph(t, s.config()), s, "x", b)
	for _, p := range s.pods {
		for _, d := range p.Slots {
			if bytes.Contains(d.Bytes, []byte("bbish")) {
				t.Fatalf("stored %q", d.Bytes)
			}
		}
	}
}

func TestErrorsOfTheStandardLibraryKeepIdentityAndWrap(t *testing.T) {
	base := errors.New("base")
	wrap := fmt.Errorf("around: %w", base)
	two := fmt.Errorf("both %w and %w", wrap, fs.ErrExist)
	x := []error{base, wrap, two, errors.Join(two, base), fmt.Errorf("plain"), context.DeadlineExceeded, &fs.PathError{Op: "open", Path: "p", Err: base}}
	got := loaded(t, x)
	for i, e := range got {
		if e.Error() != x[i].Error() {
			t.Errorf("%d: %q, want %q", i, e, x[i])
		}
		if i < 4 && !errors.Is(e, got[0]) {
			t.Errorf("%d is no longer the base error", i)
		}
	}
	if !errors.Is(got[6], got[0]) || got[5] != context.DeadlineExceeded || errors.Unwrap(got[1]) != got[0] {
		t.Error("errors lost what they wrap")
	}
}

func TestURLsKeepUserAndSharing(t *testing.T) {
	u, err := url.Parse("https://me:secret@example.org:80/a%2Fb/c?q=1#f")
	if err != nil {
		t.Fatal(err)
	}
	got := loaded(t, []*url.URL{u, u})
	if got[0] != got[1] || got[0].String() != u.String() {
		t.Errorf("%v, want %v", got[0], u)
	}
	if p, ok := got[0].User.Password(); p != "secret" || !ok {
		t.Error("the password is gone")
	}
}

func TestRandomSourcesGoOnWhereTheyWere(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	r.Int63()
	got := loaded(t, r)
	for i := range 2000 {
		if a, b := r.Int63(), got.Int63(); a != b {
			t.Fatalf("number %d is %d, want %d", i, b, a)
		}
	}
}

func TestPlainTypesOfTheStandardLibraryNeedNoRegistration(t *testing.T) {
	x := []any{json.Number("1.50"), json.RawMessage(`{"a":1}`), time.Minute, time.May, url.Values{"a": {"b"}}, fs.FileMode(0o644), golist.New(), &bytes.Buffer{}}
	if got := loaded(t, x); !reflect.DeepEqual(got, x) {
		t.Errorf("%v, want %v", got, x)
	}
}

// Whoever builds with a Go release that lays a type out in another way is told,
// on both ways.
func TestAnotherLayoutOfAStandardTypeIsRefused(t *testing.T) {
	other := NewRegistry()
	other.layouts[reflect.TypeFor[ring.Ring]()] = "next *ring.Ring; prev *ring.Ring; Value interface {}; more int"
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = other
	g := mustGraph(t, cfg)
	_, err := g.Save(context.Background(), rootsOf("x", ring.New(1)), s.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || u.Problems[0].Path != "x" || !strings.Contains(u.Problems[0].Reason, "more int") {
		t.Errorf("saved: %v", err)
	}
	mustSave(t, mustGraph(t, s.config()), s, "x", ring.New(1))
	_, err = g.Load(context.Background(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*ring.Ring]()})
	if !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), "more int") {
		t.Errorf("loaded: %v", err)
	}
}

func TestEveryStandardTypeHasTheLayoutWrittenDown(t *testing.T) {
	r := NewRegistry()
	for _, s := range stdTypes {
		if why := r.otherLayout(s.typ); why != "" {
			t.Error(why)
		}
		if s.typ.Kind() == reflect.Struct && s.fields == "" {
			for i := range s.typ.NumField() {
				if f := s.typ.Field(i); f.PkgPath != "" {
					t.Errorf("%v has a private field %s and nothing to check it", s.typ, f.Name)
				}
			}
		}
	}
}

// A variable is asked for by its type; of one that is private to its package nobody
// can name the type.
func TestVariablesOfTypesThatNobodyCanNameAreRefused(t *testing.T) {
	type holder struct{ B *bytes.Buffer }
	var b bytes.Buffer
	b.WriteString("text")
	_, _ = b.ReadByte()
	at := reflect.ValueOf(&b).Elem().FieldByName("lastRead")
	p := reflect.NewAt(at.Type(), at.Addr().UnsafePointer())
	list := reflect.MakeSlice(reflect.SliceOf(at.Type()), 1, 1)
	for _, v := range []any{
		p.Interface(), list.Interface(), reflect.MakeMap(reflect.MapOf(reflect.TypeFor[string](), p.Type())).Interface(), p.Elem().Int(),
		reflect.New(reflect.StructOf([]reflect.StructField{{Name: "X", Type: at.Type()}})).Interface(),
	} {
		s := newFakeStore()
		g := mustGraph(t, s.config())
		_, err := g.Save(context.Background(), rootsOf("h", &holder{&b}, "v", v), s.begin())
		var u *dberr.UnsupportedError
		if _, number := v.(int64); number {
			if err != nil {
				t.Error(err)
			}
		} else if !errors.As(err, &u) || u.Problems[0].Path != "v" || !strings.Contains(u.Problems[0].Reason, "bytes.readOp is private to package bytes") || len(s.pods) > 0 {
			t.Errorf("%T: %v, %d pods", v, err, len(s.pods))
		}
	}
	// Those that are known by themselves need no name.
	s := newFakeStore()
	typ := reflect.New(runtimeType).Interface() // **reflect.rtype
	mustSave(t, mustGraph(t, s.config()), s, "e", errors.New("e"), "r", rand.NewSource(1), "t", typ)
	reload(t, s, s.config(), "e", errors.New(""), "r", rand.NewSource(1), "t", typ)
}
