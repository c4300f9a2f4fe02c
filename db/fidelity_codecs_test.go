package db_test

import (
	"bytes"
	"container/list"
	"container/ring"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	randv2 "math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
	"weak"

	"github.com/poddb/poddb/db"
)

type (
	bigs struct {
		A, Again *big.Int
		V        big.Int
		R        *big.Rat
		F        *big.Float
		M        map[string]big.Int
	}
	nets struct {
		Addr   map[netip.Addr]string
		Port   netip.AddrPort
		Prefix []netip.Prefix
		URL    *url.URL
		Same   *url.URL
	}
	buffers struct {
		B  *bytes.Buffer
		S  strings.Builder
		Re *regexp.Regexp
		Js json.RawMessage
		N  json.Number
	}
	lists struct {
		L    *list.List
		Mid  *list.Element
		Ring *ring.Ring
		Mem  list.List
	}
	clocks struct {
		T    time.Time
		Zone *time.Location
		UTC  *time.Location
	}
	concurrent struct {
		M    sync.Map
		P    *sync.Map
		Node *node
		At   atomic.Pointer[node]
		Weak weak.Pointer[node]
		Lost weak.Pointer[node]
	}
	things struct {
		Type reflect.Type
		H    unique.Handle[string]
		City unique.Handle[city]
		PCG  *randv2.PCG
		Rnd  *randv2.Rand
	}
	failures struct {
		Base, EOF, Wrap, Both, Joined error
		Path                          *fs.PathError
		Limits                        *struct{ Max int }
		Max                           *int
	}
	// friendly chooses its stored form, and has what is made from it.
	friendly struct {
		id     int
		friend *friendly
		label  string
	}
	cached struct {
		Words []string
		index map[string]int `pod:"-"`
	}
)

func (a *friendly) MarshalPod(w *db.ValueWriter) error {
	w.Int(int64(a.id))
	w.Value(a.friend)
	return nil
}

func (a *friendly) UnmarshalPod(r *db.ValueReader) error {
	a.id = int(r.Int())
	a.friend, _ = r.Value().(*friendly)
	a.label = fmt.Sprint("account ", a.id)
	return nil
}

func (c *cached) AfterLoad() error {
	c.index = map[string]int{}
	for i, w := range c.Words {
		c.index[w] = i
	}
	return nil
}

// stays keeps what only weak pointers lead to for the life of a test process.
var stays = &node{Name: "only weak"}

func codecRows() []row {
	return append(standardRows(), []row{
		kept("sentinels, errors.New and wrapped errors", func() *struct{ X *failures } {
			b := errors.New("base")
			w := fmt.Errorf("wrap: %w", b)
			return &struct{ X *failures }{&failures{b, io.EOF, w, fmt.Errorf("%w, %w", w, io.ErrUnexpectedEOF), errors.Join(b, context.Canceled),
				&fs.PathError{Op: "open", Path: "p", Err: fs.ErrNotExist}, &limits, &limits.Max}}
		}, func(t *testing.T, v *struct{ X *failures }) {
			x := v.X
			is(t, "io.EOF", x.EOF == io.EOF)
			is(t, "wrapped errors", errors.Unwrap(x.Wrap) == x.Base && errors.Is(x.Both, x.Base) && errors.Is(x.Both, io.ErrUnexpectedEOF) && x.Wrap.Error() == "wrap: base")
			is(t, "joined errors", errors.Is(x.Joined, x.Base) && errors.Is(x.Joined, context.Canceled))
			is(t, "an error of the system", errors.Is(x.Path, fs.ErrNotExist))
			is(t, "a registered singleton, and a pointer into it", x.Limits == &limits && x.Max == &limits.Max && limits.Max == 10)
		}, db.Value("limits", &limits)),
		kept("types with methods for it", func() *struct {
			A *friendly
			C *cached
			B *[]any
		} {
			a := &friendly{id: 1, label: "account 1"}
			a.friend = &friendly{id: 2, friend: a, label: "account 2"}
			c := &cached{Words: []string{"x", "y"}}
			_ = c.AfterLoad()
			return &struct {
				A *friendly
				C *cached
				B *[]any
			}{a, c, &[]any{a, *a.friend}}
		}, func(t *testing.T, v *struct {
			A *friendly
			C *cached
			B *[]any
		}) {
			for _, a := range []*friendly{v.A, nil} {
				if a == nil && v.B != nil {
					a, _ = (*v.B)[0].(*friendly)
				}
				if a != nil {
					is(t, "a friend of a friend", a.friend.friend == a && a.friend.label == "account 2" && a.label == "account 1")
				}
			}
			is(t, "what AfterLoad makes", v.C == nil || v.C.index["y"] == 1)
		}, db.Type[friendly]("friendly")),
		kept("types of others by their methods", func() *struct{ X *route } { return &struct{ X *route }{newRoute()} },
			func(t *testing.T, v *struct{ X *route }) {
				is(t, "sharing", v.X.Sum == v.X.Same && v.X.Legs[1] == any(v.X.Sum))
				is(t, "values", v.X.Sum.mm == 1500 && v.X.Legs[0] == any(meters{1}) && v.X.City == unique.Make(city{"Ulm", "DE"}))
			}, db.Type[meters]("meters", db.UseText()), db.Type[city]("city"), db.Handle[city]()),
	}...)
}

func standardRows() []row {
	return []row{
		kept("big.Int, big.Rat and big.Float", func() *struct{ X *bigs } {
			n := new(big.Int).Lsh(big.NewInt(-5), 300)
			return &struct{ X *bigs }{&bigs{n, n, *big.NewInt(7), big.NewRat(1, 3), big.NewFloat(0.1).SetPrec(200), map[string]big.Int{"a": *big.NewInt(1), "b": *big.NewInt(2)}}}
		}, func(t *testing.T, v *struct{ X *bigs }) {
			a, b := v.X.M["a"], v.X.M["b"]
			is(t, "a big.Int used twice", v.X.A == v.X.Again && v.X.A.Cmp(new(big.Int).Lsh(big.NewInt(-5), 300)) == 0)
			is(t, "values", v.X.V.Int64() == 7 && v.X.R.Cmp(big.NewRat(1, 3)) == 0 && v.X.F.Prec() == 200 && a.Int64() == 1 && b.Int64() == 2)
		}),
		kept("netip and url.URL", func() *struct{ X *nets } {
			u, _ := url.Parse("https://me:pw@example.org/a%2Fb?q#f")
			a := netip.MustParseAddr("fe80::1%eth0")
			return &struct{ X *nets }{&nets{map[netip.Addr]string{a: "a", {}: "none"}, netip.AddrPortFrom(a, 9), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}}, u, u}}
		}, func(t *testing.T, v *struct{ X *nets }) {
			a := netip.MustParseAddr("fe80::1%eth0")
			is(t, "addresses", v.X.Addr[a] == "a" && v.X.Addr[netip.Addr{}] == "none" && v.X.Port == netip.AddrPortFrom(a, 9) && v.X.Prefix[0] == netip.MustParsePrefix("10.0.0.0/8"))
			is(t, "the URL", v.X.URL == v.X.Same && v.X.URL.String() == "https://me:pw@example.org/a%2Fb?q#f")
		}),
		kept("bytes.Buffer, strings.Builder, regexp.Regexp and json", func() *struct{ X *buffers } {
			x := &buffers{B: bytes.NewBufferString("hello"), Re: regexp.MustCompile("(a+)b"), Js: json.RawMessage(`{}`), N: "1.0"}
			_, _ = x.B.ReadByte()
			x.S.WriteString("built")
			return &struct{ X *buffers }{x}
		}, func(t *testing.T, v *struct{ X *buffers }) {
			is(t, "what is left in a buffer", v.X.B.String() == "ello" && v.X.S.String() == "built")
			is(t, "what matches", v.X.Re.FindString("xaab") == "aab" && string(v.X.Js) == "{}" && v.X.N == "1.0")
		}),
		kept("list.List and ring.Ring", func() *struct{ X *lists } {
			x := &lists{L: list.New(), Ring: ring.New(3)}
			x.L.PushBack(1)
			x.Mid = x.L.PushBack(x.L)
			x.L.PushBack("end")
			x.Mem.PushBack(x.Mid)
			x.Ring.Next().Value = x.Ring
			return &struct{ X *lists }{x}
		}, func(t *testing.T, v *struct{ X *lists }) {
			x := v.X
			is(t, "elements and order", x.L.Len() == 3 && x.L.Front().Next() == x.Mid && x.Mid.Value == any(x.L) && x.L.Back().Value == "end")
			x.L.MoveToFront(x.Mid) // only if it belongs to the list
			is(t, "whose element it is", x.L.Front() == x.Mid && x.Mem.Front().Value == any(x.Mid))
			x.L.MoveAfter(x.Mid, x.Mid.Next())
			is(t, "the ring", x.Ring.Len() == 3 && x.Ring.Next().Value == any(x.Ring))
		}),
		kept("time.Time and locations", func() *struct{ X *clocks } {
			z := time.FixedZone("here", 3600)
			return &struct{ X *clocks }{&clocks{time.Unix(1e9, 5).In(z), z, time.UTC}}
		}, func(t *testing.T, v *struct{ X *clocks }) {
			is(t, "instant and zone", v.X.T.Equal(time.Unix(1e9, 5)) && v.X.T.Format("MST -0700") == "here +0100")
			is(t, "locations", v.X.UTC == time.UTC && v.X.Zone.String() == "here")
		}),
		kept("sync.Map, atomic.Pointer and weak.Pointer", func() *struct{ X *concurrent } {
			x := &concurrent{P: &sync.Map{}, Node: &node{Name: "n"}}
			for i := range 100 {
				x.M.Store(i, x.Node)
			}
			x.P.Store(x.Node, &x.M)
			x.At.Store(x.Node)
			x.Weak, x.Lost = weak.Make(x.Node), weak.Make(stays)
			return &struct{ X *concurrent }{x}
		}, func(t *testing.T, v *struct{ X *concurrent }) {
			x := v.X
			e, _ := x.P.Load(x.Node)
			is(t, "a map by its address, and a key by its own", e == any(&x.M))
			n := 0
			x.M.Range(func(_, e any) bool { n++; return e == any(x.Node) })
			is(t, "entries", n == 100)
			is(t, "pointers", x.At.Load() == x.Node && x.Weak.Value() == x.Node)
			is(t, "nothing behind a weak pointer alone", x.Lost.Value() == nil || x.Lost.Value() == stays)
		}),
		kept("reflect.Type, unique.Handle and generators", func() *struct{ X *things } {
			p := randv2.NewPCG(1, 2)
			return &struct{ X *things }{&things{reflect.TypeFor[map[string][]error](), unique.Make("h"), unique.Make(city{"Ulm", "DE"}), p, randv2.New(p)}}
		}, func(t *testing.T, v *struct{ X *things }) {
			is(t, "the type", v.X.Type == reflect.TypeFor[map[string][]error]())
			is(t, "handles", v.X.H == unique.Make("h") && v.X.City == unique.Make(city{"Ulm", "DE"}))
			was, _ := v.X.PCG.MarshalBinary()
			want := randv2.New(randv2.NewPCG(1, 2)).Uint64()
			is(t, "a generator, and who shares it", v.X.Rnd.Uint64() == want)
			_ = v.X.PCG.UnmarshalBinary(was)
		}, db.Handle[city](), db.Type[city]("city")),
	}
}
