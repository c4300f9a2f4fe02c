package podder

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a program can do to memory without a fingerprint noticing, if anything: each of
// these changes an oddity a little, in a way that keeps as many words as they were as it can.

type oddBase struct {
	Tag  string
	Flag bool
}

type oddPair struct{ A, B *int }

type oddBlank struct {
	X int8
	_ int32
	Y int64
	_ [3]byte
	Z uint16
}

type oddity struct {
	oddBase
	*oddPair
	N      [4]int
	Bytes  []byte
	Window []byte // into Bytes
	Words  []string
	Any    any
	Boxes  []any
	Map    map[string]int
	Keys   map[any]*oddity
	Wide   map[[130]byte]string
	Wide2  map[int][130]byte
	Deep   map[string]map[string]*int
	In     *int // into N of another
	Elem   *string
	Part   []int
	Next   *oddity
	Kids   []*oddity
	Zero   []struct{}
	None   [0]*int
	Empty  *struct{}
	Blank  oddBlank
	Arr    [3]*oddity
	F      float64
	C      complex64
	Count  atomic.Int64
	Ptr    atomic.Pointer[int]
	Value  atomic.Value
	Sync   sync.Map
	Mu     sync.Mutex
	Skip   *int `pod:"-"`
	Time   time.Time
	Big    *big.Int
	Buf    bytes.Buffer
	Text   strings.Builder
	Addr   netip.Addr
	URL    *url.URL
	Long   string
	Fn     fmt.Stringer
	PP     **int
	Iface  interface{ oddity() }
}

type oddI struct{ N int }
type oddP struct{ N int }

func (oddI) oddity()  {}
func (*oddP) oddity() {}

func oddRegistry(t *testing.T) *Registry {
	t.Helper()
	reg := NewRegistry()
	for _, typ := range []reflect.Type{reflect.TypeFor[oddI](), reflect.TypeFor[oddP](), reflect.TypeFor[oddity](), reflect.TypeFor[oddBase]()} {
		if err := reg.Register(typ, ""); err != nil {
			t.Fatal(err)
		}
	}
	return reg
}

type oddWorld struct {
	r    *rand.Rand
	keys bool // also such of maps that a canonical form does not tell apart
	all  []*oddity
	gone []*oddity // that were let go of, perhaps
}

func (w *oddWorld) one() *oddity { return w.all[w.r.IntN(len(w.all))] }

func (w *oddWorld) fresh() *oddity {
	h := &oddity{Map: map[string]int{"a": 1}, Bytes: make([]byte, 20, 40), Words: []string{"a", "b"}, Big: big.NewInt(int64(w.r.IntN(99)))}
	h.Window = h.Bytes[5:10]
	w.all = append(w.all, h)
	return h
}

// backing has texts that begin at one address.
var backing = strings.Repeat("0123456789", 2000)

func (w *oddWorld) step() {
	r, h, o := w.r, w.one(), w.one()
	n := r.IntN(1000)
	switch r.IntN(62) {
	case 0:
		h.Tag = backing[:r.IntN(20)] // the same pointer, another length
	case 1:
		h.Tag = backing[r.IntN(10):15] // another pointer, or equal text elsewhere
	case 2:
		h.Tag = strings.Clone(h.Tag) // equal, elsewhere
	case 3:
		h.Long = backing[n : 9000+n]
	case 4:
		h.Flag = !h.Flag
	case 5:
		h.N[r.IntN(4)] ^= 1 << r.IntN(63)
	case 6:
		h.N[0], h.N[1] = h.N[1], h.N[0]
	case 7:
		h.Window = h.Bytes[r.IntN(5):][:r.IntN(15)] // in place
	case 8:
		h.Window = h.Window[:min(len(h.Window)+1, cap(h.Window))]
	case 9:
		h.Bytes = h.Bytes[:r.IntN(cap(h.Bytes)+1)]
	case 10:
		h.Bytes = append(h.Bytes, byte(n)) // in place, or moves away from its window
	case 11:
		if len(h.Window) > 0 {
			h.Window[r.IntN(len(h.Window))]++
		}
	case 12:
		h.Words = append(h.Words, backing[:n%9])
	case 13:
		if len(h.Words) > 0 {
			h.Words[r.IntN(len(h.Words))] = fmt.Sprint(n % 7)
		}
	case 14:
		h.Any = n // boxed anew, perhaps equal
	case 15:
		h.Any = []any{int8(n), int16(n), uint8(n), float32(n), "x", true, nil, struct{}{}}[r.IntN(8)]
	case 16:
		h.Boxes = append([]any(nil), h.Boxes...) // equal, elsewhere
	case 17:
		h.Any = [2]any{n, &o.N[1]}
	case 18:
		h.Any = o
	case 19:
		h.Any = &o.Any
	case 20:
		h.Any = oddBase{backing[:n%5], n%2 == 0}
	case 21:
		h.Boxes = append(h.Boxes, h.Any, n, &o.F)
	case 22:
		if len(h.Boxes) > 0 {
			h.Boxes[r.IntN(len(h.Boxes))] = [3]int{n, n, n}
		}
	case 23:
		h.Boxes = h.Boxes[:len(h.Boxes)/2]
	case 24:
		m := map[string]int{}
		for k, v := range h.Map {
			m[k] = v
		}
		h.Map = m // an equal one
	case 25:
		h.Map[fmt.Sprint(n%20)] = n
	case 26:
		for k := range h.Map { // there and back: the slots move
			v := h.Map[k]
			delete(h.Map, k)
			h.Map[k] = v
			break
		}
	case 27:
		clear(h.Map)
	case 28:
		for k := range h.Map { // keys trade values
			h.Map[k]++
			break
		}
	case 29:
		if h.Keys == nil {
			h.Keys = map[any]*oddity{}
		}
		keys := []any{n % 5, fmt.Sprint(n % 5), [2]string{"k", fmt.Sprint(n % 3)}}
		if w.keys {
			keys = append(keys, o, &o.N[2], math.NaN())
		}
		h.Keys[keys[r.IntN(len(keys))]] = w.one()
	case 30:
		for k := range h.Keys {
			h.Keys[k] = o
			break
		}
	case 31:
		if h.Wide == nil {
			h.Wide, h.Wide2 = map[[130]byte]string{}, map[int][130]byte{}
		}
		h.Wide[[130]byte{byte(n % 3)}] = fmt.Sprint(n)
		h.Wide2[n%3] = [130]byte{129: byte(n)}
	case 32:
		if h.Deep == nil {
			h.Deep = map[string]map[string]*int{}
		}
		if h.Deep["d"] == nil {
			h.Deep["d"] = map[string]*int{}
		}
		h.Deep["d"][fmt.Sprint(n%4)] = &o.N[n%4]
	case 33:
		h.In = &o.N[r.IntN(4)]
	case 34:
		if h.In != nil {
			*h.In = n
		}
	case 35:
		if len(o.Words) > 0 {
			h.Elem = &o.Words[r.IntN(len(o.Words))]
		}
	case 36:
		if h.Elem != nil {
			*h.Elem = fmt.Sprint("elem ", n%4)
		}
	case 37:
		h.Part = o.N[n%3:] // a slice of an array in an object
	case 38:
		if len(h.Part) > 0 {
			h.Part[0] = n
		}
	case 39:
		h.Next = o
	case 40:
		h.Next, o.Next = o.Next, h.Next
	case 41:
		h.Next = w.fresh()
	case 42:
		h.Kids = append(h.Kids, o)
	case 43:
		if len(h.Kids) > 0 {
			w.gone = append(w.gone, h.Kids[len(h.Kids)-1])
			h.Kids = h.Kids[:len(h.Kids)-1] // the element behind the end stays
		}
	case 44:
		clear(h.Kids[min(1, len(h.Kids)):])
	case 45:
		if len(w.gone) > 0 {
			g := w.gone[r.IntN(len(w.gone))]
			g.N[3]++
			h.Arr[r.IntN(3)] = g // back
		}
	case 46:
		h.Zero, h.Empty = make([]struct{}, n), &struct{}{}
	case 47:
		h.Blank = oddBlank{X: int8(n), Y: int64(n), Z: uint16(n)}
	case 48:
		h.Blank.X, h.Blank.Z = int8(n), uint16(n)
	case 49:
		h.F = math.Copysign(0, float64(n%2)-0.5) // zeros of both signs
	case 50:
		h.F, h.C = math.Float64frombits(0x7FF8000000000000|uint64(n)), complex(float32(n), 1)
	case 51:
		h.Count.Add(1)
	case 52:
		h.Ptr.Store([]*int{nil, &o.N[0], new(int)}[r.IntN(3)])
	case 53:
		h.Value.Store(fmt.Sprint(n))
	case 54:
		h.Sync.Store(n%6, fmt.Sprint(n))
		h.Sync.Delete(n % 5)
	case 55:
		h.Mu.Lock()
		h.Mu.Unlock()
		h.Skip = new(int)
	case 56:
		h.Time = []time.Time{{}, time.Unix(int64(n), 0), time.Unix(int64(n), 0).UTC(), h.Time.Add(1)}[r.IntN(4)]
	case 57:
		h.Big.Add(h.Big, big.NewInt(1)) // in memory of its own, which no word tells
	case 58:
		h.Buf.WriteByte(byte(n))
		if n%3 == 0 {
			_, _ = h.Buf.ReadByte()
		}
	case 59:
		h.Text.WriteString("t")
		h.Addr = netip.AddrFrom4([4]byte{1, 2, 3, byte(n)})
		h.URL = &url.URL{Scheme: "http", Host: fmt.Sprint(n % 3), User: url.User("u")}
	case 60:
		if h.oddPair == nil {
			h.oddPair = &oddPair{&o.N[0], new(int)}
		} else {
			h.A, h.B = h.B, h.A
			h.PP = &h.A
		}
	case 61:
		h.Iface = []interface{ oddity() }{oddI{n % 3}, &oddP{n}, nil}[r.IntN(3)]
		h.Fn = []fmt.Stringer{nil, time.Duration(n), &h.Text}[r.IntN(3)]
	}
}

// After each few steps a save, with a walk behind it that must find nothing, and what is
// stored is loaded and compared.
func TestOddChangesAreFound(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 30
	}
	resaves, saves := 0, 0
	for seed := range sample(40, 12, 4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := &oddWorld{r: rand.New(rand.NewPCG(seed, 11)), keys: seed%2 == 1}
			for range 3 + w.r.IntN(20) {
				w.fresh()
			}
			top := &struct{ All []*oddity }{w.all[:2:2]}
			s := newFakeStore()
			cfg := indexed(s)
			cfg.Registry, cfg.TargetBytes = oddRegistry(t), 100+w.r.IntN(4000)
			g := mustGraph(t, cfg)
			for round := range rounds {
				for range w.r.IntN(6) {
					w.step()
				}
				if w.r.IntN(8) == 0 {
					runtime.GC()
				}
				tx := s.begin()
				saved, err := g.Save(t.Context(), rootsOf("second", w.all[2], "top", top), tx)
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if w.r.IntN(6) == 0 {
					saved.Abort()
					continue
				}
				if saves++; !saved.Walked {
					resaves++
				}
				if err := tx.commit(); err != nil {
					t.Fatal(err)
				}
				saved.Commit()
				checkOdd(t, s, cfg, round, w.keys, top, w.all[2])
			}
		})
	}
	if t.Logf("%d of %d saves did without a walk", resaves, saves); resaves < saves/4 {
		t.Errorf("%d of %d saves did without a walk: the test says little", resaves, saves)
	}
}

// checkOdd loads what is stored and compares its canonical form with that of memory.
func checkOdd(t *testing.T, s *fakeStore, cfg Config, round int, keys bool, top any, second *oddity) {
	t.Helper()
	types := []reflect.Type{reflect.TypeOf(second), reflect.TypeOf(top)}
	got, err := Decode(t.Context(), plainConfig(cfg), s, []string{"second", "top"}, types)
	if err != nil {
		t.Fatalf("round %d: %v", round, err)
	}
	fresh := plainConfig(cfg)
	a, err := Canonical(fresh, rootsOf("second", second, "top", top))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Canonical(fresh, rootsOf("second", got[0].Interface(), "top", got[1].Interface()))
	if err != nil {
		t.Fatal(err)
	}
	if !keys && !bytes.Equal(a, b) {
		t.Fatalf("round %d: what is stored is not what there is", round)
	}
}
