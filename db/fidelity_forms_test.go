package db_test

import (
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

// What is stored in a form of its own, by the choice of the program or of its
// types.
type (
	// amount has a form of each kind, and shows which one was used.
	amount  struct{ n int64 }
	inText  struct{ amount }
	inBytes struct{ amount }
	appends struct{ amount }
	inGob   struct{ amount }

	// dial and still are stored by codecs that look behind their pointer.
	dial  struct{ at *int }
	still struct{ at *int }

	// sorted puts its words in order before they are stored.
	sorted struct {
		Words  []string
		Self   *sorted
		stored int `pod:"-"`
		loaded int `pod:"-"`
	}

	// stranger is a type that another process does not know.
	stranger struct {
		Name  string
		Next  *stranger
		Known *node
		In    any
		List  []*node
		Text  *string // into one of them
		Parts []stranger
		Elem  *stranger
	}
	strangers map[string]*stranger

	// before is what since was.
	before struct {
		Old   int `pod:"was"`
		Gone  string
		Same  []int
		Small int8
		At    *int
	}
	since struct {
		New   string
		Same  []int
		At    *int
		Small int64
		Now   int `pod:"is,was=was"`
	}

	counters struct {
		I32  atomic.Int32
		I64  atomic.Int64
		U32  atomic.Uint32
		U64  atomic.Uint64
		Ptr  atomic.Uintptr
		Bool atomic.Bool
		Val  atomic.Value
		List [3]atomic.Int64
		Node *node
	}
)

func (a amount) text(form string) ([]byte, error) { return fmt.Append(nil, form, a.n+1), nil }

func (a *amount) read(form string, b []byte) error {
	if _, err := fmt.Sscanf(string(b), form+"%d", &a.n); err != nil {
		return fmt.Errorf("%q: %w", b, err)
	}
	a.n--
	return nil
}

func (a inText) MarshalText() ([]byte, error)     { return a.text("t") }
func (a *inText) UnmarshalText(b []byte) error    { return a.read("t", b) }
func (a inBytes) MarshalBinary() ([]byte, error)  { return a.text("b") }
func (a *inBytes) UnmarshalBinary(b []byte) error { return a.read("b", b) }
func (a appends) AppendBinary(dst []byte) ([]byte, error) {
	b, err := a.text("a")
	return append(dst, b...), err
}
func (a appends) MarshalBinary() ([]byte, error)  { return nil, errors.New("it can append") }
func (a *appends) UnmarshalBinary(b []byte) error { return a.read("a", b) }
func (a *inGob) GobEncode() ([]byte, error)       { return a.text("g") }
func (a *inGob) GobDecode(b []byte) error         { return a.read("g", b) }

func (s *sorted) BeforeStore() error {
	s.stored++
	for i := 1; i < len(s.Words); i++ {
		for k := i; k > 0 && s.Words[k] < s.Words[k-1]; k-- {
			s.Words[k], s.Words[k-1] = s.Words[k-1], s.Words[k]
		}
	}
	return nil
}

func (s *sorted) AfterLoad() error { s.loaded++; return nil }

func dialCodec[T any](name string, at func(*T) **int, opts ...db.TypeOption) db.TypeEntry {
	return db.Codec(name, 1, func(w *db.ValueWriter, d *T) error {
		w.Int(int64(**at(d)))
		return nil
	}, func(r *db.ValueReader, d *T) error {
		n := int(r.Int())
		*at(d) = &n
		return nil
	}, opts...)
}

func formRows() []row {
	type methods struct {
		X *struct {
			T, T2 *inText
			B     []inBytes
			A     map[string]*appends
			G     *inGob
			Any   []any
		}
	}
	type dials struct {
		A *struct {
			live bool `pod:"-"` // not loaded
		}
		D *dial
		L *[]any
		S *[]any
	}
	type hooked struct{ S, Same *sorted }
	type numbered struct{ C *counters }
	type first struct {
		X *before
		P *int
	}
	type later struct {
		X *since
		P *int
	}
	type opaque struct {
		L *[]any
		N *node
		M *map[string]any
	}
	type files struct {
		Set *token.FileSet
		At  *token.Position
		M   *map[token.Pos]string
	}
	type universe struct {
		T    *[]types.Type
		Same *types.Basic
		Err  *error
	}
	numberOf := func(d any) int {
		switch d := d.(type) {
		case dial:
			return *d.at
		case still:
			return *d.at
		}
		return -1
	}
	return []row{
		kept("methods for text, bytes and gob, by registration", func() *methods {
			v := &methods{}
			v.X = &struct {
				T, T2 *inText
				B     []inBytes
				A     map[string]*appends
				G     *inGob
				Any   []any
			}{T: &inText{amount{1}}, B: []inBytes{{amount{2}}, {amount{3}}}, A: map[string]*appends{"a": {amount{4}}}, G: &inGob{amount{-5}}}
			v.X.T2, v.X.Any = v.X.T, []any{v.X.T, *v.X.T, v.X.B[1], v.X.A["a"], v.X.G}
			return v
		}, func(t *testing.T, v *methods) {
			x := v.X
			is(t, "values", x.T.n == 1 && x.B[0].n == 2 && x.B[1].n == 3 && x.A["a"].n == 4 && x.G.n == -5)
			is(t, "sharing", x.T == x.T2 && x.Any[0] == any(x.T) && x.Any[3] == any(x.A["a"]) && x.Any[4] == any(x.G))
			is(t, "behind interfaces", x.Any[1] == any(*x.T) && x.Any[2] == any(x.B[1]))
		}, db.Type[inText]("text", db.UseText()), db.Type[inBytes]("bytes", db.UseBinary()), db.Type[appends]("appends", db.UseBinary()), db.Type[inGob]("gob", db.UseGob())),
		kept("codecs are run at every save, pure ones when their value has changed", func() *dials {
			n, m := 1, 1
			v := &dials{D: &dial{&n}, L: new([]any), S: new([]any)}
			v.A = &struct {
				live bool `pod:"-"`
			}{true}
			for range 100 { // enough for the words of an array to be compared
				*v.L = append(*v.L, dial{&n})
				*v.S = append(*v.S, still{&m})
			}
			return v
		}, func(t *testing.T, v *dials) {
			is(t, "what is behind a pointer", *v.D.at == 2 && numberOf((*v.L)[0]) == 2 && numberOf((*v.L)[99]) == 2)
			is(t, "a pure one is not asked", v.A.live || numberOf((*v.S)[0]) == 1 && numberOf((*v.S)[98]) == 1)
		}, dialCodec("dial", func(d *dial) **int { return &d.at }), dialCodec("still", func(d *still) **int { return &d.at }, db.Pure())).after(did(func(v *dials) {
			*v.D.at = 2
			*(*v.S)[0].(still).at = 2
		})),
		kept("BeforeStore and AfterLoad", func() *hooked {
			s := &sorted{Words: []string{"c", "a", "b"}}
			s.Self = s
			return &hooked{s, s}
		}, func(t *testing.T, v *hooked) {
			s := v.S
			is(t, "calls", s.stored > 0 || s.loaded == 1)
			is(t, "what BeforeStore did", s.Words[0] == "a" && s.Words[1] == "b" && s.Words[2] == "c")
			is(t, "identity", s.Self == s && v.Same == s)
		}).after(func(*testing.T, *db.Namespace, any) {}),
		kept("numbers and values of sync/atomic", func() *numbered {
			c := &counters{Node: &node{Name: "n"}}
			c.I32.Store(-1)
			c.I64.Store(-1 << 40)
			c.U32.Store(1 << 31)
			c.U64.Store(1 << 63)
			c.Ptr.Store(99)
			c.Bool.Store(true)
			c.Val.Store(c.Node)
			c.List[2].Store(7)
			return &numbered{c}
		}, func(t *testing.T, v *numbered) {
			c := v.C
			is(t, "numbers", c.I32.Load() == -1 && c.I64.Load() == -1<<40 && c.U32.Load() == 1<<31 && c.U64.Load() == 1<<63 && c.Ptr.Load() == 99 && c.Bool.Load() && c.List[2].Load() == 7)
			is(t, "a value", c.Val.Load() == any(c.Node) && c.Node.Name == "n")
		}, db.Type[node]("node")),
		changed(kept("fields that were renamed, added, removed, reordered, widened", func() *first {
			x := &before{5, "gone", []int{1, 2}, -7, nil}
			x.At = &x.Old
			return &first{x, x.At}
		}, func(t *testing.T, v *first) {
			is(t, "what it was", v.X.Old == 5 && v.P == &v.X.Old)
		}, db.Type[before]("evolving")), func(t *testing.T, v *later) {
			is(t, "values", v.X.Now == 5 && v.X.Small == -7 && v.X.New == "" && len(v.X.Same) == 2 && v.X.Same[1] == 2)
			is(t, "pointers to a field that moved", v.X.At == &v.X.Now && v.P == &v.X.Now)
		}, db.Type[since]("evolving")),
		kept("values of types that another process does not know", func() *opaque {
			n := &node{Name: "n"}
			s := &stranger{Name: "s", Known: n, List: []*node{n, {Name: "m", Left: n}}}
			s.Next = &stranger{Name: "t", Next: s, In: io.EOF}
			s.In, s.Text = s.Next, &s.Next.Name
			parts := []stranger{{Name: "0"}, {Name: "1"}, {Name: "2"}}
			s.Parts, s.Elem = parts[1:2:3], &parts[0]
			s.Next.Parts = parts
			return &opaque{&[]any{s, n, *s, strangers{"s": s}, io.EOF}, n, &map[string]any{"s": s, "eof": io.EOF}}
		}, func(t *testing.T, v *opaque) {
			l := *v.L
			is(t, "what is known", l[1] == any(v.N) && v.N.Name == "n" && l[4] == any(io.EOF) && (*v.M)["eof"] == any(io.EOF))
			if o, ok := l[0].(*db.Opaque); ok {
				_, other := (*v.M)["s"].(*db.Opaque)
				is(t, "the name", o.TypeName() == "*a stranger" && other)
				return
			}
			s := l[0].(*stranger)
			is(t, "an object", s.Name == "s" && s.Next.Next == s && s.In == any(s.Next) && (*v.M)["s"] == any(s) && l[3].(strangers)["s"] == s)
			is(t, "what it shares", s.Known == v.N && s.List[0] == v.N && s.List[1].Left == v.N)
			is(t, "a copy", l[2].(stranger).Next == s.Next && &l[2].(stranger).List[0] == &s.List[0])
			is(t, "parts of what is not known", s.Text == &s.Next.Name && &s.Parts[0] == &s.Next.Parts[1] && cap(s.Parts) == 2 && s.Elem == &s.Next.Parts[0] && s.Parts[0].Name == "1")
			is(t, "a sentinel that only it leads to", s.Next.In == any(io.EOF))
		}, db.Type[node]("node")).unknown(db.Type[stranger]("a stranger"), db.Type[strangers]("strangers")),
		kept("private fields of a package that is vouched for", func() *files {
			v := &files{Set: token.NewFileSet(), M: &map[token.Pos]string{}}
			f := v.Set.AddFile("a.go", -1, 100)
			f.SetLines([]int{0, 10, 20})
			at := v.Set.Position(f.Pos(15))
			v.At = &at
			(*v.M)[f.Pos(15)] = "here"
			return v
		}, func(t *testing.T, v *files) {
			for p, s := range *v.M {
				is(t, "positions", s == "here" && v.Set.Position(p) == *v.At && v.At.Line == 2 && v.At.Filename == "a.go")
			}
		}, db.AllowPackage("go/token")),
		kept("objects of packages that are compared by address", func() *universe {
			return &universe{&[]types.Type{types.Typ[types.Int], types.NewPointer(types.Typ[types.Int]).Elem(), types.Typ[types.String]}, types.Typ[types.Int], new(error)}
		}, func(t *testing.T, v *universe) {
			l := *v.T
			is(t, "types.Typ", l[0] == types.Typ[types.Int] && l[1] == types.Typ[types.Int] && l[2] == types.Typ[types.String] && v.Same == types.Typ[types.Int])
		}, db.Value("int", types.Typ[types.Int]), db.Value("string", types.Typ[types.String])),
		kept("the monotonic part of a time is dropped", func() *struct{ T *time.Time } {
			now := time.Now()
			return &struct{ T *time.Time }{&now}
		}, func(t *testing.T, v *struct{ T *time.Time }) {
			is(t, "an instant", time.Since(*v.T) < time.Hour && time.Since(*v.T) > -time.Hour && v.T.Location() == time.Local)
			if s := v.T.String(); s != v.T.Round(0).String() {
				is(t, "a reading, where it was made", time.Since(*v.T) < time.Minute && v.T.Equal(v.T.Round(0)))
			}
		}),
	}
}
