package podder

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type limitWide struct {
	N    int
	Skip [1 << 20]byte `pod:"-"`
}

// Objects of a large type cost a pod a byte or two each; that they are made must
// be bounded before the first of them is read.
func TestLargeObjectsOfFewBytesAreBounded(t *testing.T) {
	const n = 20_000 // 20 GiB
	h := newHandStore()
	wide := reflect.TypeFor[limitWide]()
	tp := reflect.TypeFor[*limitWide]()
	slots := []pod.Data{h.box(reflect.TypeFor[[]*limitWide](), hand{}.uv(n+2, 0).to(1)), {}}
	var elems []hand
	for i := range uint64(n) {
		elems = append(elems, hand{}.to(i+2))
		slots = append(slots, h.object(wide, hand{}.zz(int64(i))))
	}
	slots[1] = h.array(tp, n, n, elems...)
	h.names["x"] = 1
	h.pod(1, nil, slots...)
	_, err := Decode(t.Context(), Config{Registry: h.reg, MaxUnstored: 4 << 20}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[[]*limitWide]()})
	if !errors.Is(err, dberr.ErrTooLarge) {
		t.Fatal(err)
	}
	h.pod(1, nil, h.box(tp, hand{}.to(1)), h.object(wide, hand{}.zz(7)))
	vs, err := Decode(t.Context(), Config{Registry: h.reg, MaxUnstored: 4 << 20}, h, []string{"x"}, []reflect.Type{tp})
	if err != nil || vs[0].Interface().(*limitWide).N != 7 {
		t.Fatalf("one of them: %v", err)
	}
}

func TestLoadsStayBelowMaxLoad(t *testing.T) {
	h := treeStore(10)
	for _, c := range []struct {
		limit int64
		fails bool
	}{{1000, true}, {50_000, true}, {1 << 20, false}, {0, false}} {
		_, err := Decode(t.Context(), Config{Registry: h.reg, MaxLoad: c.limit}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[*benchUser]()})
		if errors.Is(err, dberr.ErrTooLarge) != c.fails || err != nil && !c.fails {
			t.Errorf("limit %d: %v", c.limit, err)
		}
	}
	if _, err := NewGraph(Config{MaxLoad: -1}); !errors.Is(err, dberr.ErrInvalid) {
		t.Error(err)
	}
}

// An array may claim any number of elements that have neither size nor bytes.
func TestElementsWithoutSizeOrBytesTakeNoTime(t *testing.T) {
	type old struct{ F, G func() }
	type now struct{}
	h := newHandStore()
	if err := h.reg.Register(reflect.TypeFor[old](), "t"); err != nil {
		t.Fatal(err)
	}
	d := h.array(reflect.TypeFor[old](), 1<<45, 1<<45)
	d.Bytes = hand{}.uv(1<<45, 1<<45, 1<<45)
	d.Runs = []uint32{uint32(len(d.Bytes)), 0}
	h.names["x"] = 1
	h.pod(1, nil, h.box(reflect.TypeFor[[]old](), hand{}.uv(1<<45+2, 0).to(1)), d)
	reg := NewRegistry()
	if err := reg.Register(reflect.TypeFor[now](), "t"); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Decode(t.Context(), Config{Registry: reg}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[[]now]()})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("still at it")
	}
}

// Types made from their text stay as long as the process does.
func TestTypesMadeFromTextsAreBounded(t *testing.T) {
	l := newLoader(t.Context(), &Config{Registry: NewRegistry()}, newHandStore(), nil)
	for i := range maxMadeTypes {
		if _, err := l.resolve(fmt.Sprintf("[%d]int8", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.resolve("[5]int8"); err != nil {
		t.Errorf("one that is made already: %v", err)
	}
	if _, err := l.resolve("[60000]int8"); !errors.Is(err, dberr.ErrTooLarge) {
		t.Errorf("one more: %v", err)
	}
}
