package podder

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type handNode struct {
	Name string
	Next *handNode
	any  any
}

type handPair struct {
	A, B int
	arr  [3]handNode
}

var (
	tNode    = reflect.TypeFor[handNode]()
	tNodePtr = reflect.TypeFor[*handNode]()
)

func TestCycleAcrossPodsIsOneObjectAgain(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 7
	h.pod(7, []pod.Ref{{Pod: 9, Slot: 1}},
		h.box(tNodePtr, hand{}.to(1)),
		h.object(tNode, hand{}.str("a").out(0).uv(0)))
	h.pod(9, []pod.Ref{{}, {Pod: 7, Slot: 1}},
		h.object(tNode, hand{}.str("nobody asks").uv(0, 99)), // type 99 is unknown, but nothing reaches this
		h.object(tNode, hand{}.str("b").out(1).uv(uint64(h.typ(tNodePtr))).to(1)))
	x := mustGet[*handNode](t, h, "x")
	if x.Name != "a" || x.Next.Name != "b" || x.Next.Next != x || x.Next.any != any(x.Next) {
		t.Fatalf("got %+v", x)
	}
}

func TestInteriorPointersLeadInside(t *testing.T) {
	h := newHandStore()
	type refs struct {
		whole *handPair
		b     *int
		name  *string
		elem  *handNode
		first *int
		all   *[3]handNode
		two   *[2]handNode
		tail  []handNode
	}
	tPair := reflect.TypeFor[handPair]()
	node := hand{}.str("n").uv(0, 0)
	h.names["x"] = 1
	h.pod(1, nil,
		h.box(reflect.TypeFor[*refs](), hand{}.to(1)),
		h.object(reflect.TypeFor[refs](), hand{}.to(2).
			part(2, 0, 1).
			part(2, 0, 2, 1, 0).
			part(2, 0, 2, 2).
			part(2, 0, 0).
			part(2, 0, 2).
			part(2, 0, 2, 1).
			uv(1+2, 1).part(2, 0, 2, 1)),
		h.object(tPair, append(append(append(hand{}.zz(1).zz(2), node...), node...), node...)))
	x := mustGet[*refs](t, h, "x")
	p := x.whole
	if x.b != &p.B || x.name != &p.arr[1].Name || x.elem != &p.arr[2] || x.first != &p.A || x.all != &p.arr {
		t.Fatal("pointers lead elsewhere")
	}
	if x.two != (*[2]handNode)(p.arr[1:]) || &x.tail[0] != &p.arr[1] || len(x.tail) != 1 || cap(x.tail) != 2 {
		t.Fatal("views of the array lead elsewhere")
	}
}

func TestSlicesShareTheirArrayAndKeepCapacity(t *testing.T) {
	h := newHandStore()
	type two struct{ a, b, empty, null []int }
	h.names["x"] = 1
	h.pod(1, nil,
		h.box(reflect.TypeFor[two](), hand{}.uv(3+2, 5).to(1).uv(2+2, 4).part(1, 2).uv(1).uv(0)),
		h.array(reflect.TypeFor[int](), 8, 2, hand{}.f64(1), hand{}.raw(2, 0, 0, 0, 0, 0, 0, 0), hand{}.raw(3, 0, 0, 0, 0, 0, 0, 0)))
	x := mustGet[two](t, h, "x")
	if len(x.a) != 3 || cap(x.a) != 8 || len(x.b) != 2 || cap(x.b) != 6 || &x.a[2] != &x.b[0] || x.b[0] != 3 || x.b[1] != 0 {
		t.Fatalf("%v cap %d, %v cap %d", x.a, cap(x.a), x.b, cap(x.b))
	}
	if x.empty == nil || x.null != nil || cap(x.empty) != 0 {
		t.Fatal("nil and empty are confused")
	}
	x.a = append(x.a, 4)
	if x.b[1] != 4 {
		t.Fatal("append is not seen by the other slice")
	}
}

func TestSharedStringIsStoredOnce(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 1
	h.pod(1, nil,
		h.box(reflect.TypeFor[[2]string](), hand{}.uv(5<<1|1).to(1).uv(0).uv(3<<1|1).to(1).uv(2)),
		sharedString("hello"))
	x := mustGet[[2]string](t, h, "x")
	if x[0] != "hello" || x[1] != "llo" || unsafe.StringData(x[1]) != (*byte)(unsafe.Add(unsafe.Pointer(unsafe.StringData(x[0])), 2)) {
		t.Fatalf("%q", x)
	}
}

func TestMapsWithPointerKeysNaNAndThemselves(t *testing.T) {
	h := newHandStore()
	type keys struct {
		m    map[any]any
		node *handNode
	}
	tm := reflect.TypeFor[map[any]any]()
	tmID := uint64(h.typ(tm))
	nan := math.Float64frombits(0x7ff8000000000123)
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2, Slot: 0}},
		h.box(reflect.TypeFor[*keys](), hand{}.to(1)),
		h.object(reflect.TypeFor[keys](), hand{}.to(2).out(0)),
		h.mapOf(tm,
			hand{}.uv(uint64(h.typ(tNodePtr))).out(0).uv(tmID).to(2),
			hand{}.uv(14).f64(nan).uv(2).zz(1),
			hand{}.uv(14).f64(nan).uv(2).zz(2),
			hand{}.uv(17).str("s").uv(0)))
	h.pod(2, nil, h.object(tNode, hand{}.str("far").uv(0, 0)))
	x := mustGet[*keys](t, h, "x")
	self := x.m[x.node]
	if len(x.m) != 4 || reflect.ValueOf(self).Pointer() != reflect.ValueOf(x.m).Pointer() || x.node.Name != "far" {
		t.Fatalf("%d entries", len(x.m))
	}
	if v, ok := x.m["s"]; !ok || v != nil {
		t.Fatal("string key")
	}
	sum := 0
	for k, v := range x.m {
		if f, ok := k.(float64); ok {
			if math.Float64bits(f) != math.Float64bits(nan) {
				t.Fatalf("NaN payload %x", math.Float64bits(f))
			}
			sum += v.(int)
		}
	}
	if sum != 3 {
		t.Fatalf("NaN entries sum to %d", sum)
	}
}

func TestForwardersLeadOn(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2, Slot: 0}},
		h.box(reflect.TypeFor[[2]*handNode](), hand{}.to(1).out(0)),
		forwarder(hand{}.out(0)))
	h.pod(2, []pod.Ref{{Pod: 3, Slot: 0}}, forwarder(hand{}.uv(0<<2+3+2, 1, 0)))
	h.pod(3, nil, h.array(tNode, 2, 2, hand{}.str("a").uv(0, 0), hand{}.str("b").uv(0, 0)))
	x := mustGet[[2]*handNode](t, h, "x")
	if x[0] != x[1] || x[0].Name != "b" {
		t.Fatalf("%+v", x)
	}
}

func TestFieldsMatchByName(t *testing.T) {
	h := newHandStore()
	type then struct {
		Gone  any
		B     string
		Lost  []map[string]int
		A     int
		Ended [2]struct{ P *int }
	}
	type now struct {
		A   int
		New *int
		B   string
	}
	// The stored type is the one of the program under its old shape.
	n, err := parseDescriptor(mustDescribe(t, h.reg, reflect.TypeFor[then]()))
	if err != nil {
		t.Fatal(err)
	}
	n.text = h.reg.typeText(reflect.TypeFor[now]())
	old := h.desc(appendNode([]byte{descriptorVersion}, n), nil)
	h.names["x"] = 1
	h.pod(1, nil, pod.Data{Kind: pod.SlotBox, Type: old,
		Bytes: hand{}.uv(17).str("gone").str("kept").uv(5, 1).to(9).zz(-5).to(8).part(9, 0, 1)})
	x := mustGet[now](t, h, "x")
	if x.A != -5 || x.B != "kept" || x.New != nil {
		t.Fatalf("%+v", x)
	}
}

func TestOtherTypeIsAMismatchThatNamesBoth(t *testing.T) {
	h := newHandStore()
	type stored struct{ F struct{ X int32 } }
	h.names["x"] = 1
	h.pod(1, nil, h.box(reflect.TypeFor[struct{ F struct{ X int32 } }](), hand{}.zz(1)))
	_, err := get[struct{ F struct{ X string } }](t, h, "x")
	if !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), "int32") || !strings.Contains(err.Error(), "string") || !strings.Contains(err.Error(), ".F.X") {
		t.Fatalf("%v", err)
	}
	if _, err = get[*stored](t, h, "x"); !errors.Is(err, dberr.ErrTypeMismatch) {
		t.Fatalf("%v", err)
	}
	h.pod(1, nil, h.box(reflect.TypeFor[int](), hand{}.zz(1)))
	if _, err = get[error](t, h, "x"); !errors.Is(err, dberr.ErrTypeMismatch) {
		t.Fatalf("%v", err)
	}
}

func TestUnknownDynamicTypeNamesTheCall(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 1
	h.pod(1, nil, h.box(reflect.TypeFor[[]any](), hand{}.uv(1+2, 0).to(1)),
		h.array(reflect.TypeFor[any](), 1, 1, hand{}.uv(uint64(h.typ(tNodePtr))).uv(0)))
	if o, ok := mustGet[[]any](t, h, "x")[0].(*Opaque); !ok || !strings.Contains(o.String(), "podder.handNode") {
		t.Fatalf("loaded %v", o)
	}
	h.pod(1, nil, h.box(tNodePtr, hand{}.uv(0)))
	_, err := get[any](t, h, "x")
	if !errors.Is(err, dberr.ErrUnregistered) || !strings.Contains(err.Error(), "podder.handNode") || !strings.Contains(err.Error(), "Register") {
		t.Fatalf("%v", err)
	}
	if err := h.reg.Register(tNode, ""); err != nil {
		t.Fatal(err)
	}
	if x := mustGet[any](t, h, "x"); x != any((*handNode)(nil)) {
		t.Fatalf("%#v", x)
	}
}

// Each of these pods is damaged in one place and must be refused with the
// place, without allocating what a length claims.
func TestDamagedPodsAreErrors(t *testing.T) {
	tInt := reflect.TypeFor[int]()
	tInts := reflect.TypeFor[[]int]()
	tString := reflect.TypeFor[string]()
	tStringPtr := reflect.TypeFor[*string]()
	cases := map[string]func(h *handStore) (want reflect.Type, slots []pod.Data){
		"pointer to a slot of another type": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(1)), h.object(tInt, hand{}.zz(1))}
		},
		"pointer to no slot": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(5))}
		},
		"pointer to a free slot": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(1)), {}}
		},
		"pointer to a box": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(0))}
		},
		"reference that is not in the table": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.out(0))}
		},
		"interior path of another type": func(h *handStore) (reflect.Type, []pod.Data) {
			if err := h.reg.Register(reflect.TypeFor[handPair](), ""); err != nil {
				panic(err)
			}
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.part(1, 0, 0)), h.object(reflect.TypeFor[handPair](), nil)}
		},
		"interior path with too many steps": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.part(1, 0, 0)), h.object(tString, hand{}.str(""))}
		},
		"element beyond the array": func(h *handStore) (reflect.Type, []pod.Data) {
			return tInts, []pod.Data{h.box(tInts, hand{}.uv(1+2, 0).part(1, 1)), h.array(tInt, 1, 1, hand{}.f64(0))}
		},
		"slice beyond the array": func(h *handStore) (reflect.Type, []pod.Data) {
			return tInts, []pod.Data{h.box(tInts, hand{}.uv(1+2, 1).to(1)), h.array(tInt, 1, 1, hand{}.f64(0))}
		},
		"string longer than its bytes": func(h *handStore) (reflect.Type, []pod.Data) {
			return tString, []pod.Data{h.box(tString, hand{}.uv(1<<40))}
		},
		"bytes left over": func(h *handStore) (reflect.Type, []pod.Data) {
			return tString, []pod.Data{h.box(tString, hand{}.str("a").uv(0))}
		},
		"huge array": func(h *handStore) (reflect.Type, []pod.Data) {
			d := h.array(tInt, 1<<45, 1<<45)
			d.Bytes = hand{}.uv(1<<45, 1<<45, 1<<45)
			d.Runs = []uint32{uint32(len(d.Bytes)), 0}
			return tInts, []pod.Data{h.box(tInts, hand{}.uv(1+2, 0).to(1)), d}
		},
		"cycle of forwarders": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(1)), forwarder(hand{}.to(2)), forwarder(hand{}.to(1))}
		},
		"forwarder to nothing": func(h *handStore) (reflect.Type, []pod.Data) {
			return tStringPtr, []pod.Data{h.box(tStringPtr, hand{}.to(1)), forwarder(hand{}.uv(0))}
		},
		"map key that cannot be compared": func(h *handStore) (reflect.Type, []pod.Data) {
			tm := reflect.TypeFor[map[any]int]()
			return tm, []pod.Data{h.box(tm, hand{}.to(1)), h.mapOf(tm, hand{}.uv(19).uv(0).zz(1))}
		},
		"one key twice": func(h *handStore) (reflect.Type, []pod.Data) {
			tm := reflect.TypeFor[map[int]int]()
			return tm, []pod.Data{h.box(tm, hand{}.to(1)), h.mapOf(tm, hand{}.zz(1).zz(1), hand{}.zz(1).zz(2))}
		},
		"bool of value 2": func(h *handStore) (reflect.Type, []pod.Data) {
			return reflect.TypeFor[bool](), []pod.Data{h.box(reflect.TypeFor[bool](), hand{}.raw(2))}
		},
		"number beyond its kind": func(h *handStore) (reflect.Type, []pod.Data) {
			return reflect.TypeFor[int16](), []pod.Data{h.box(reflect.TypeFor[int16](), hand{}.zz(40000))}
		},
		"unknown catalogue type": func(h *handStore) (reflect.Type, []pod.Data) {
			return reflect.TypeFor[any](), []pod.Data{{Kind: pod.SlotBox, Type: 4000, Bytes: hand{}.uv(0)}}
		},
		"no box": func(h *handStore) (reflect.Type, []pod.Data) {
			return tString, []pod.Data{h.object(tString, hand{}.str(""))}
		},
	}
	for name, make := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHandStore()
			want, slots := make(h)
			h.names["x"] = 3
			h.pod(3, nil, slots...)
			_, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{"x"}, []reflect.Type{want})
			if name == "huge array" {
				if !errors.Is(err, dberr.ErrTooLarge) && !errors.Is(err, dberr.ErrCorrupt) {
					t.Fatalf("%v", err)
				}
				return
			}
			var c *dberr.CorruptError
			if !errors.As(err, &c) || !strings.Contains(err.Error(), "pod 3") || !strings.Contains(err.Error(), "slot") {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestReferenceToAnUnexportedSlotIsCorrupt(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2, Slot: 1}}, h.box(tNodePtr, hand{}.out(0)))
	node := h.object(tNode, hand{}.str("").uv(0, 0))
	h.pod(2, nil, node, node)
	h.pods[2].Exports = h.pods[2].Exports[:1]
	if _, err := get[*handNode](t, h, "x"); !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("%v", err)
	}
	delete(h.pods, 2)
	if _, err := get[*handNode](t, h, "x"); !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("dangling: %v", err)
	}
	if _, err := get[*handNode](t, h, "y"); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("no variable: %v", err)
	}
}

func TestDeepInterfaceNestingIsAnError(t *testing.T) {
	h := newHandStore()
	type shell struct{ In any }
	if err := h.reg.Register(reflect.TypeFor[shell](), ""); err != nil {
		t.Fatal(err)
	}
	id := uint64(h.typ(reflect.TypeFor[shell]()))
	deep := func(n int) hand {
		var b hand
		for range n {
			b = b.uv(id)
		}
		return b.uv(0)
	}
	h.names["x"] = 1
	h.pod(1, nil, h.box(reflect.TypeFor[any](), nil))
	h.pods[1].Slots[0] = h.box(reflect.TypeFor[shell](), deep(maxValueDepth))
	v := mustGet[shell](t, h, "x")
	n := 0
	for in := v.In; in != nil; in = in.(shell).In {
		n++
	}
	if n != maxValueDepth {
		t.Fatalf("depth %d", n)
	}
	h.pods[1].Slots[0] = h.box(reflect.TypeFor[shell](), deep(maxValueDepth+1))
	if _, err := get[shell](t, h, "x"); !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("%v", err)
	}
}

func TestWantedAnyGivesTheStoredType(t *testing.T) {
	h := newHandStore()
	h.names["x"] = 1
	h.names["n"] = 2
	h.pod(1, nil, h.box(reflect.TypeFor[map[string]any](), hand{}.to(1)), h.mapOf(reflect.TypeFor[map[string]any](), hand{}.str("k").uv(2).zz(3)))
	h.pod(2, nil, h.box(reflect.TypeFor[uint16](), hand{}.uv(65535)))
	vs, err := Decode(t.Context(), Config{}, h, []string{"x", "n"}, []reflect.Type{nil, reflect.TypeFor[any]()})
	if err != nil {
		t.Fatal(err)
	}
	if m := vs[0].Interface().(map[string]any); m["k"] != 3 || vs[1].Interface() != uint16(65535) {
		t.Fatalf("%v", vs)
	}
}

func TestPartialLoadsShareAndKeepWhatLives(t *testing.T) {
	h := newHandStore()
	h.names["x"], h.names["y"] = 1, 2
	h.pod(1, []pod.Ref{{Pod: 3, Slot: 0}}, h.box(tNodePtr, hand{}.to(1)), h.object(tNode, hand{}.str("x").out(0).uv(0)))
	h.pod(2, []pod.Ref{{Pod: 3, Slot: 0}, {Pod: 4, Slot: 0}}, h.box(tNodePtr, hand{}.to(1)), h.object(tNode, hand{}.str("y").out(0).uv(uint64(h.typ(tNodePtr))).out(1)))
	h.pod(3, nil, h.object(tNode, hand{}.str("shared").uv(0, 0)))
	h.pod(4, nil, h.object(tNode, hand{}.str("only y").uv(0, 0)))
	g, err := NewGraph(Config{Registry: h.reg})
	if err != nil {
		t.Fatal(err)
	}
	load := func(name string) *handNode {
		vs, err := g.Load(t.Context(), h, []string{name}, []reflect.Type{tNodePtr})
		if err != nil {
			t.Fatal(err)
		}
		return vs[0].Interface().(*handNode)
	}
	x := load("x")
	if h.asked[2]+h.asked[4] != 0 {
		t.Fatal("loading x read pods of y")
	}
	x.Next.Name = "changed"
	y := load("y")
	if y.Next != x.Next || x.Next.Name != "changed" || y.any.(*handNode).Name != "only y" {
		t.Fatalf("%+v %+v", x.Next, y.Next)
	}
	if load("x") != x {
		t.Fatal("x is another object after a second load")
	}
}

func TestMismatchNamesVariableAndKinds(t *testing.T) {
	type stored struct{ A int }
	type now []int
	type holdStored struct{ P *stored }
	type holdNow struct{ P *now }
	h := newHandStore()
	reg := NewRegistry()
	for typ, r := range map[reflect.Type]*Registry{reflect.TypeFor[stored](): h.reg, reflect.TypeFor[now](): reg} {
		if err := r.Register(typ, "app.R"); err != nil {
			t.Fatal(err)
		}
	}
	for typ, r := range map[reflect.Type]*Registry{reflect.TypeFor[holdStored](): h.reg, reflect.TypeFor[holdNow](): reg} {
		if err := r.Register(typ, "app.Hold"); err != nil {
			t.Fatal(err)
		}
	}
	h.names["fine"], h.names["bad"] = 1, 2
	h.pod(1, nil, h.box(reflect.TypeFor[int](), hand{}.zz(5)))
	h.pod(2, nil, h.box(reflect.TypeFor[*holdStored](), hand{}.to(1)),
		h.object(reflect.TypeFor[holdStored](), hand{}.to(2)), h.object(reflect.TypeFor[stored](), hand{}.zz(5)))
	for _, names := range [][]string{{"bad"}, {"fine", "bad"}} {
		want := []reflect.Type{reflect.TypeFor[int](), reflect.TypeFor[*holdNow]()}[2-len(names):]
		_, err := Decode(t.Context(), Config{Registry: reg}, h, names, want)
		if !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), `variable "bad"`) ||
			!strings.Contains(err.Error(), "stored as app.R (struct), the program has app.R (slice)") {
			t.Errorf("%v: %v", names, err)
		}
	}
}
