package pod

import (
	"bytes"
	"math"
	"reflect"
	"testing"

	"github.com/poddb/poddb/internal/binenc"
)

func TestPointersReadBack(t *testing.T) {
	for _, c := range []struct {
		p    Pointer
		want []byte
	}{
		{Pointer{}, []byte{0}},
		{Pointer{To: ToZeroSize}, []byte{1}},
		{Pointer{To: ToLocal}, []byte{2}},
		{Pointer{To: ToExternal}, []byte{3}},
		{Pointer{To: ToLocal, Number: 3}, []byte{14}},
		{Pointer{To: ToExternal, Number: 3}, []byte{15}},
		{Pointer{To: ToLocal, Number: 3, Index: 200}, []byte{16, 0xc8, 1, 0}},
		{Pointer{To: ToExternal, Number: 3, Steps: []uint64{0}}, []byte{17, 0, 1, 0}},
		{Pointer{To: ToLocal, Number: 40, Index: 1, Steps: []uint64{2, 300}}, []byte{0xa4, 1, 1, 2, 2, 0xac, 2}},
		{Pointer{To: ToExternal, Number: math.MaxUint32, Index: math.MaxUint64, Steps: []uint64{math.MaxUint64}},
			[]byte{0x81, 0x80, 0x80, 0x80, 0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}},
	} {
		got := AppendPointer([]byte{7}, c.p)
		if !bytes.Equal(got[1:], c.want) {
			t.Errorf("%+v is % x, want % x", c.p, got[1:], c.want)
		}
		r := binenc.NewReader(c.want)
		if p := ReadPointer(r); r.End() != nil || !reflect.DeepEqual(p, c.p) {
			t.Errorf("% x reads as %+v, want %+v, %v", c.want, p, c.p, r.Err())
		}
	}
	for _, bad := range [][]byte{
		nil,
		{4, 0, 0},                         // interior, but not
		{4, 1},                            // no steps
		{4, 1, 9, 1},                      // more steps than bytes
		{0x82, 0x80, 0x80, 0x80, 0x80, 1}, // number beyond 32 bits
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, // longer than needed
	} {
		r := binenc.NewReader(bad)
		if p := ReadPointer(r); r.Err() == nil || !reflect.DeepEqual(p, Pointer{}) {
			t.Errorf("% x reads as %+v", bad, p)
		}
	}
}

func FuzzPointer(f *testing.F) {
	f.Add([]byte{17, 3, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := binenc.NewReader(b)
		p := ReadPointer(r)
		if r.Err() == nil && !bytes.Equal(AppendPointer(nil, p), b[:r.Off()]) {
			t.Fatalf("% x reads as %+v, which is % x", b, p, AppendPointer(nil, p))
		}
	})
}
