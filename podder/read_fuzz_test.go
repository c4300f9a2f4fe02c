package podder

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// fuzzAll has a field of every stored shape.
type fuzzAll struct {
	B    bool
	I    int
	I8   int8
	I16  int16
	U32  uint32
	Up   uintptr
	F32  float32
	C    complex64
	C2   complex128
	S, L string
	P    *fuzzAll
	In   *int
	Str  *string
	Sl   []fuzzAll
	Arr  [3]*fuzzAll
	Big  [40]string
	Fl   []float64
	Bl   []bool
	I3   [][3]int16
	Em   []struct{}
	M    map[string]*fuzzAll
	MK   map[any]any
	MP   map[*fuzzAll][2]string
	A    any
	Er   error
	T    time.Time
	Fn   func()
	Emp  *struct{}
	MM   *map[string]*fuzzAll
}

type fuzzErr struct{ Text string }

func (e *fuzzErr) Error() string { return e.Text }

// fuzzStore is a valid store that uses every slot kind and value code.
func fuzzStore() *handStore {
	h := newHandStore()
	for _, t := range []reflect.Type{reflect.TypeFor[fuzzErr](), reflect.TypeFor[fuzzAll](), tNode} {
		if err := h.reg.Register(t, ""); err != nil {
			panic(err)
		}
	}
	tAll := reflect.TypeFor[fuzzAll]()
	id := func(t reflect.Type) uint64 { return uint64(h.typ(t)) }
	zeroBig := hand{}.uv(make([]uint64, 40)...)
	all := func(name string) hand {
		b := hand{}.raw(1).zz(-5).raw(7).zz(-300).uv(70000, 8).raw(0, 0, 0x80, 0x3f).f64(1).f64(2).f64(3)
		b = b.str(name).uv(5<<1 | 1).to(2).uv(1)                 // S, L
		b = b.to(1).part(1, 0, 1).part(3, 1, 9)                  // P, In, Str
		b = b.uv(1+2, 1).part(3, 0)                              // Sl
		b = b.to(1).part(3, 1).out(0)                            // Arr
		b = append(b, zeroBig...)                                // Big
		b = b.uv(2+2, 0).to(4).uv(1+2, 1).to(5).uv(1+2, 0).to(6) // Fl, Bl, I3
		b = b.uv(9+2, 3, 1)                                      // Em
		b = b.to(7).to(8).to(9)                                  // M, MK, MP
		b = b.uv(id(reflect.TypeFor[[2]*int]())).part(1, 0, 1).uv(0)
		b = b.uv(id(reflect.TypeFor[*fuzzErr]())).out(1)
		tb, err := h.reg.codec(timeType).(valueCodec).append(nil, reflect.ValueOf(ptrTo(time.Unix(5, 6).In(time.FixedZone("z", 60)))).UnsafePointer())
		if err != nil {
			panic(err)
		}
		b = append(b.uv(uint64(len(tb))), tb...)
		return b.uv(1).to(10)
	}
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2, Slot: 0}, {Pod: 2, Slot: 1}, {Pod: 3, Slot: 1}},
		h.box(reflect.TypeFor[*fuzzAll](), hand{}.to(1)),
		h.object(tAll, all("one")),
		sharedString("a long string"),
		h.array(tAll, 3, 1, all("e0"), all("e1")),
		h.array(reflect.TypeFor[float64](), 2, 2, hand{}.f64(1), hand{}.f64(2)),
		h.array(reflect.TypeFor[bool](), 2, 2, hand{}.raw(1), hand{}.raw(0)),
		h.array(reflect.TypeFor[[3]int16](), 1, 1, hand{}.raw(1, 0, 2, 0, 3, 0)),
		h.mapOf(reflect.TypeFor[map[string]*fuzzAll](), hand{}.str("k").to(1), hand{}.str("far").out(0)),
		h.mapOf(reflect.TypeFor[map[any]any](), hand{}.uv(17).str("k").uv(18+1).uv(0), hand{}.uv(id(tNodePtr)).out(2).uv(2).zz(1), hand{}.uv(14).f64(1).uv(0)),
		h.mapOf(reflect.TypeFor[map[*fuzzAll][2]string](), hand{}.part(3, 1).str("a").str("b")),
		h.object(reflect.TypeFor[map[string]*fuzzAll](), hand{}.to(7)))
	h.pod(2, []pod.Ref{{Pod: 1, Slot: 1}},
		forwarder(hand{}.out(0)),
		h.object(reflect.TypeFor[fuzzErr](), hand{}.str("bad")))
	h.pod(3, nil, h.object(tNode, hand{}.str("").uv(0, 0)), h.object(tNode, hand{}.str("n").to(0).uv(0)))
	return h
}

// clone copies a store so that it can be damaged.
func (h *handStore) clone() *handStore {
	c := &handStore{reg: h.reg, pods: map[pod.ID]*pod.Pod{}, names: h.names, asked: map[pod.ID]int{}}
	for id, p := range h.pods {
		q := &pod.Pod{Refs: slices.Clone(p.Refs), Slots: slices.Clone(p.Slots), Exports: p.Exports}
		for i := range q.Slots {
			q.Slots[i].Bytes = slices.Clone(q.Slots[i].Bytes)
			q.Slots[i].Runs = slices.Clone(q.Slots[i].Runs)
		}
		c.pods[id] = q
	}
	for _, d := range h.descs {
		c.descs = append(c.descs, slices.Clone(d))
	}
	return c
}

func ptrTo[T any](v T) *T { return &v }

// decodeMutant decodes a store that may be damaged and returns an error that
// is not one of those that a reader may give.
func decodeMutant(h *handStore) error {
	l := newLoader(contextWithoutCancel, &Config{Registry: h.reg, MaxUnstored: 1 << 20, MaxLoad: 64 << 20}, h, []reflect.Type{reflect.TypeFor[*fuzzAll]()})
	_, err := l.load([]string{"x"}, l.wanted)
	switch {
	case err == nil, errors.Is(err, dberr.ErrCorrupt), errors.Is(err, dberr.ErrTooLarge), errors.Is(err, dberr.ErrTypeMismatch), errors.Is(err, dberr.ErrUnregistered):
		return nil
	}
	return err
}

// mutate changes a store by a script: each step is slot choice, position,
// kind of change and value.
func mutate(h *handStore, script []byte) {
	for ; len(script) >= 6; script = script[6:] {
		id := pod.ID(script[0]%3) + 1
		p := h.pods[id]
		d := &p.Slots[int(script[1])%len(p.Slots)]
		at := int(binary.LittleEndian.Uint16(script[2:]))
		if script[4] >= 200 { // descriptors
			desc := h.descs[int(script[1])%len(h.descs)]
			desc[at%len(desc)] = script[5]
			continue
		}
		if len(d.Bytes) == 0 {
			continue
		}
		at %= len(d.Bytes)
		switch script[4] % 8 {
		case 0:
			d.Bytes[at] = script[5]
		case 1:
			d.Bytes[at] ^= 1 << (script[5] % 8)
		case 2:
			d.Bytes = d.Bytes[:at]
		case 3:
			d.Bytes = append(d.Bytes[:at:at], append([]byte{script[5]}, d.Bytes[at:]...)...)
			if d.Runs != nil {
				d.Runs[len(d.Runs)-1]++
			}
		case 4:
			d.Kind = pod.Kind(script[5] % 10)
		case 5:
			d.Type = pod.TypeID(script[5])
		case 6:
			if len(d.Runs) > 0 {
				d.Runs[at%len(d.Runs)] += uint32(int8(script[5]))
			}
		case 7:
			if len(p.Refs) > 0 {
				p.Refs[at%len(p.Refs)] = pod.Ref{Pod: pod.ID(script[5] % 4), Slot: pod.Slot(script[5] / 16)}
			}
		}
	}
}

func TestFuzzStoreIsValid(t *testing.T) {
	h := fuzzStore()
	x := mustGet[*fuzzAll](t, h, "x")
	if x.P != x || x.In != &x.I || x.Arr[2] != x || *x.Str != "e1" || x.L != " long" || x.Er.Error() != "bad" || x.A.([2]*int)[0] != &x.I || (*x.MM)["k"] != x || len(x.MP) != 1 || len(x.MK) != 3 || len(x.Em) != 9 || cap(x.Em) != 12 {
		t.Fatalf("%+v", x)
	}
	if err := isomorphic(reflect.ValueOf(x), reflect.ValueOf(mustGet[*fuzzAll](t, h, "x"))); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 9})
	f.Add([]byte{0, 3, 0, 0, 6, 1})
	valid := fuzzStore()
	f.Fuzz(func(t *testing.T, script []byte) {
		h := valid.clone()
		mutate(h, script)
		if err := decodeMutant(h); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMutatedPodsNeverPanic runs seeded scripts of the fuzz target. Replay one with
// go test -run 'FuzzDecode' after adding its bytes as a seed.
func TestMutatedPodsNeverPanic(t *testing.T) {
	valid := fuzzStore()
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 1))
		script := make([]byte, 6*(1+r.IntN(4)))
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		if r.IntN(2) == 0 {
			script[4] = byte(r.IntN(8))
		}
		h := valid.clone()
		mutate(h, script)
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("seed %d, script %v: panic: %v", seed, script, p)
				}
			}()
			if err := decodeMutant(h); err != nil {
				t.Fatalf("seed %d, script %v: %v", seed, script, err)
			}
		}()
	}
}
