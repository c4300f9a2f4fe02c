package graph

import (
	"bytes"
	"container/list"
	"container/ring"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unique"
)

// meaning is a type of the standard library that is stored as what its values
// mean, not by their parts.
type meaning struct {
	value func(r *rand.Rand) any
	// text is what the value at p, a pointer, means. Equal texts mean the same.
	text func(p any) string
	// next changes the value at p in place, and with it the memory that it refers
	// to; nil for values that are never changed.
	next func(r *rand.Rand, p any)
}

// locations are shared: two that are equal would make two keys of a map that are
// stored as one.
var locations = []*time.Location{time.UTC, time.FixedZone("odd", 60*17), time.FixedZone("", 0)}

var patterns = []string{"", "a+b|c", "(x)(y*)?", "[a-f]{2,9}$"}

var runtimeType = reflect.TypeOf(reflect.TypeFor[int]())

var meanings = map[reflect.Type]meaning{
	reflect.TypeFor[time.Time](): {
		value: func(r *rand.Rand) any {
			return time.Unix(r.Int64N(1e12)-5e11, r.Int64N(1e9)).In(locations[r.IntN(len(locations))])
		},
		text: func(p any) string {
			t := p.(*time.Time)
			return fmt.Sprint(t.Unix(), t.Nanosecond(), t.Location(), t.Format(time.RFC3339Nano))
		},
	},
	reflect.TypeFor[*time.Location](): {
		value: func(r *rand.Rand) any { return append(locations, nil)[r.IntN(len(locations)+1)] },
		text: func(p any) string {
			l := *p.(**time.Location)
			if l == nil {
				return ""
			}
			return l.String() + time.Unix(0, 0).In(l).Format(time.RFC3339)
		},
	},
	reflect.TypeFor[big.Int](): {
		value: func(r *rand.Rand) any { return *bigNumber(r) },
		text:  func(p any) string { return p.(*big.Int).String() },
		next:  func(r *rand.Rand, p any) { x := p.(*big.Int); x.Add(x, big.NewInt(1)) },
	},
	reflect.TypeFor[big.Rat](): {
		value: func(r *rand.Rand) any { return *big.NewRat(r.Int64()-1<<62, 1+r.Int64N(1e6)) },
		text:  func(p any) string { return p.(*big.Rat).String() },
		next:  func(r *rand.Rand, p any) { x := p.(*big.Rat); x.Add(x, big.NewRat(1, 3)) },
	},
	reflect.TypeFor[big.Float](): {
		value: func(r *rand.Rand) any {
			return *new(big.Float).SetPrec(1 + r.UintN(200)).SetMode(big.RoundingMode(r.IntN(6))).SetInt(bigNumber(r))
		},
		text: func(p any) string {
			x := p.(*big.Float)
			return fmt.Sprint(x.Text('p', 0), x.Prec(), x.Mode(), x.Acc())
		},
		next: func(r *rand.Rand, p any) { x := p.(*big.Float); x.Add(x, big.NewFloat(0.5)) },
	},
	reflect.TypeFor[netip.Addr](): {
		value: func(r *rand.Rand) any { return address(r) },
		text:  func(p any) string { return p.(*netip.Addr).String() },
	},
	reflect.TypeFor[netip.AddrPort](): {
		value: func(r *rand.Rand) any { return netip.AddrPortFrom(address(r), uint16(r.Uint32())) },
		text: func(p any) string {
			a := p.(*netip.AddrPort)
			return fmt.Sprint(a.Addr(), a.Port())
		},
	},
	reflect.TypeFor[netip.Prefix](): {
		value: func(r *rand.Rand) any { return netip.PrefixFrom(address(r).WithZone(""), r.IntN(33)) },
		text: func(p any) string {
			a := p.(*netip.Prefix)
			return fmt.Sprint(a.Addr(), a.Bits())
		},
	},
	reflect.TypeFor[regexp.Regexp](): {
		value: func(r *rand.Rand) any {
			x := regexp.MustCompile(patterns[r.IntN(len(patterns))])
			if r.IntN(2) == 0 {
				x.Longest()
			}
			return *x
		},
		text: func(p any) string {
			x := p.(*regexp.Regexp)
			if reflect.ValueOf(*x).IsZero() {
				return "none"
			}
			return x.String() + strconv.Itoa(x.NumSubexp()) + fmt.Sprint(reflect.ValueOf(x).Elem().FieldByName("longest"))
		},
	},
	reflect.TypeFor[rand.PCG](): {
		value: func(r *rand.Rand) any { return *rand.NewPCG(r.Uint64(), r.Uint64()) },
		text:  marshalled,
		next:  func(r *rand.Rand, p any) { p.(*rand.PCG).Uint64() },
	},
	reflect.TypeFor[unique.Handle[string]](): {
		value: func(r *rand.Rand) any { return unique.Make(strconv.Itoa(r.IntN(20))) },
		text: func(p any) string {
			if h := *p.(*unique.Handle[string]); h != (unique.Handle[string]{}) {
				return "=" + h.Value()
			}
			return ""
		},
	},
	reflect.TypeFor[unique.Handle[Place]](): {
		value: func(r *rand.Rand) any {
			return unique.Make(Place{int8(r.IntN(3)), strconv.Itoa(r.IntN(5))})
		},
		text: func(p any) string {
			if h := *p.(*unique.Handle[Place]); h != (unique.Handle[Place]{}) {
				return fmt.Sprint(h.Value())
			}
			return ""
		},
	},
	reflect.TypeFor[rand.ChaCha8](): {
		value: func(r *rand.Rand) any { return *rand.NewChaCha8([32]byte{byte(r.Uint32())}) },
		text:  marshalled,
		next:  func(r *rand.Rand, p any) { p.(*rand.ChaCha8).Uint64() },
	},
	reflect.TypeFor[strings.Builder](): {
		value: func(r *rand.Rand) any { return strings.Builder{} },
		text:  func(p any) string { return p.(*strings.Builder).String() },
		next: func(r *rand.Rand, p any) {
			b := p.(*strings.Builder)
			s := b.String()
			*b = strings.Builder{} // it may be a copy, which nobody writes to
			b.WriteString(s + strconv.Itoa(r.IntN(100)))
		},
	},
	runtimeType: {
		value: func(r *rand.Rand) any {
			return []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[Node](), reflect.TypeFor[map[string]*Leaf](), reflect.TypeFor[[]time.Time]()}[r.IntN(4)]
		},
		text: func(p any) string { return fmt.Sprint(reflect.ValueOf(p).Elem()) },
	},
}

func marshalled(p any) string {
	b, err := p.(interface{ MarshalBinary() ([]byte, error) }).MarshalBinary()
	return fmt.Sprintf("%x %v", b, err)
}

func bigNumber(r *rand.Rand) *big.Int {
	x := big.NewInt(r.Int64() - 1<<62)
	return x.Lsh(x, r.UintN(200))
}

func address(r *rand.Rand) netip.Addr {
	switch r.IntN(4) {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom4([4]byte{1, 2, 3, byte(r.Uint32())})
	case 2:
		return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(r.Uint32())}).WithZone("eth0")
	}
	return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 1, 15: byte(r.Uint32())})
}

// Standard holds what is stored as what it means, as values, behind pointers that
// share and in interfaces.
type Standard struct {
	Int   big.Int
	PInt  *big.Int
	Ints  []*big.Int
	Rat   *big.Rat
	Float big.Float
	Addr  netip.Addr
	Port  *netip.AddrPort
	Nets  []netip.Prefix
	At    map[netip.Addr]*big.Int
	Re    *regexp.Regexp
	Zone  *time.Location
	When  map[time.Time]any
	Once  []time.Time
	PCG   rand.PCG
	Name  unique.Handle[string]
	Type  reflect.Type
	By    map[reflect.Type]int
	Err   error
	Any   any
}

// Library holds more of the standard library, by value and behind pointers.
type Library struct {
	Builder strings.Builder
	Built   *strings.Builder
	Text    strings.Reader
	Raw     *bytes.Reader
	Src     rand.Source
	Rand    *rand.Rand
	Cha     *rand.ChaCha8
	Num     json.Number
	Took    time.Duration
	User    *url.Userinfo
	Mode    fs.FileMode
	Elem    *list.Element
	Elems   map[*list.Element]*ring.Ring
	When    atomic.Pointer[int]
	Any     any
}

// Values are the objects that a database is told of by address.
func Values() map[string]any { return map[string]any{"graph.Default": defaultLeaf} }

// defaultLeaf is an object that everybody shares, and nobody changes.
var defaultLeaf = &Leaf{A: 1, B: 2}

// shared are pointers to, and into, objects that are the same in each graph.
var shared = []reflect.Value{
	reflect.ValueOf(defaultLeaf), reflect.ValueOf(&defaultLeaf.B), reflect.ValueOf((*Alike)(defaultLeaf)),
	reflect.ValueOf(io.EOF), reflect.ValueOf(errors.ErrUnsupported),
}

// sharedMemory is where these lie.
var sharedMemory = func() []piece {
	var list []piece
	for _, v := range shared {
		if e := v.Type().Elem(); e.Kind() == reflect.Struct {
			list = append(list, piece{v.Pointer(), v.Pointer() + e.Size()})
		}
	}
	return list
}()

// isShared reports whether an address lies in one of these.
func isShared(p uintptr) bool {
	for _, m := range sharedMemory {
		if m.lo <= p && p < m.hi {
			return true
		}
	}
	return false
}
