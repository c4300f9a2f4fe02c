package binenc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

func TestReadsWhatWasWritten(t *testing.T) {
	numbers := []uint64{0, 1, 127, 128, 300, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64, math.MaxUint64}
	var b []byte
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
		b = binary.AppendVarint(b, int64(n))
		b = binary.AppendVarint(b, -int64(n))
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		b = binary.LittleEndian.AppendUint64(b, n)
		b = append(b, byte(n))
	}
	r := NewReader(b)
	for _, n := range numbers {
		if got := r.Uvarint(); got != n {
			t.Errorf("Uvarint %d, want %d", got, n)
		}
		if got := r.Varint(); got != int64(n) {
			t.Errorf("Varint %d, want %d", got, int64(n))
		}
		if got := r.Varint(); got != -int64(n) {
			t.Errorf("Varint %d, want %d", got, -int64(n))
		}
		if got := r.U32(); got != uint32(n) {
			t.Errorf("U32 %d, want %d", got, uint32(n))
		}
		if got := r.U64(); got != n {
			t.Errorf("U64 %d, want %d", got, n)
		}
		if got := r.Byte(); got != byte(n) {
			t.Errorf("Byte %d, want %d", got, byte(n))
		}
	}
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
}

func TestBadBytesAreErrorsThatStick(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		read func(r *Reader)
		want string
	}{
		{"empty number", nil, func(r *Reader) { r.Uvarint() }, "cut off"},
		{"cut number", []byte{0x80}, func(r *Reader) { r.Uvarint() }, "cut off"},
		{"long number", bytes.Repeat([]byte{0xff}, 11), func(r *Reader) { r.Uvarint() }, "64 bits"},
		{"padded number", []byte{0x81, 0x00}, func(r *Reader) { r.Uvarint() }, "shortest"},
		{"padded zero", []byte{0x80, 0x00}, func(r *Reader) { r.Varint() }, "shortest"},
		{"wide number", []byte{0x80, 0x80, 0x80, 0x80, 0x10}, func(r *Reader) { r.Uvarint32() }, "32 bits"},
		{"no byte", nil, func(r *Reader) { r.Byte() }, "one more"},
		{"short bytes", []byte{1, 2}, func(r *Reader) { r.Bytes(3) }, "3 bytes expected, 2 left"},
		{"huge bytes", []byte{1, 2}, func(r *Reader) { r.Bytes(math.MaxUint64) }, "bytes expected"},
		{"short U32", []byte{1, 2, 3}, func(r *Reader) { r.U32() }, "4 bytes"},
		{"short U64", []byte{1, 2, 3}, func(r *Reader) { r.U64() }, "8 bytes"},
		{"count", []byte{3, 0, 0}, func(r *Reader) { r.Count(1) }, "count 3, but at most 2"},
		{"count of pairs", []byte{2, 0, 0, 0}, func(r *Reader) { r.Count(2) }, "count 2, but at most 1"},
		{"count of nothing", []byte{2, 0}, func(r *Reader) { r.Count(0) }, "count 2, but at most 1"},
		{"left over", []byte{0}, func(r *Reader) { _ = r.End() }, "1 bytes left over"},
		{"caller", []byte{0}, func(r *Reader) { r.Fail("no %s", "good") }, "no good"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(c.in)
			c.read(r)
			err := r.Err()
			if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want ErrCorrupt with %q", err, c.want)
			}
			off := r.Off()
			if r.Uvarint() != 0 || r.Uvarint32() != 0 || r.Varint() != 0 || r.Byte() != 0 || r.Bytes(0) != nil ||
				r.U32() != 0 || r.U64() != 0 || r.Count(1) != 0 {
				t.Error("a value after an error")
			}
			r.Fail("later")
			if r.Off() != off || r.Err() != err || r.End() != err {
				t.Errorf("the first error did not stick: %v", r.Err())
			}
		})
	}
}

func TestBytesDoNotReachWhatFollows(t *testing.T) {
	in := []byte{1, 2, 3}
	r := NewReader(in)
	got := append(r.Bytes(2), 9)
	if in[2] != 3 || len(got) != 3 || r.Len() != 1 || r.Off() != 2 {
		t.Fatalf("append wrote into the input: %v", in)
	}
}

// FuzzReader drives a Reader by a script of reads. Whatever the bytes, nothing
// panics, the position stays inside, and a number that is accepted encodes to
// the bytes it was read from.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7}, []byte{1, 0x80, 1, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0}, []byte{0x80, 0})
	f.Fuzz(func(t *testing.T, script, data []byte) {
		r := NewReader(data)
		for _, op := range script {
			before := r.Off()
			var again []byte
			switch op % 8 {
			case 0:
				again = binary.AppendUvarint(nil, r.Uvarint())
			case 1:
				again = binary.AppendVarint(nil, r.Varint())
			case 2:
				again = binary.AppendUvarint(nil, uint64(r.Uvarint32()))
			case 3:
				again = append(again, r.Byte())
			case 4:
				again = r.Bytes(uint64(op) << 2)
			case 5:
				again = binary.LittleEndian.AppendUint32(nil, r.U32())
			case 6:
				again = binary.LittleEndian.AppendUint64(nil, r.U64())
			case 7:
				each := int(op >> 3)
				n := r.Count(each)
				if n*max(each, 1) > r.Len() {
					t.Fatalf("count %d of %d bytes, %d left", n, each, r.Len())
				}
				again = binary.AppendUvarint(nil, uint64(n))
			}
			if r.Off() < 0 || r.Off() > len(data) || r.Off()+r.Len() != len(data) {
				t.Fatalf("position %d of %d", r.Off(), len(data))
			}
			if r.Err() == nil && !bytes.Equal(again, data[before:r.Off()]) {
				t.Fatalf("op %d read %x as %x", op%8, data[before:r.Off()], again)
			}
		}
	})
}

func BenchmarkUvarint(b *testing.B) {
	var in []byte
	for i := range 1 << 12 {
		in = binary.AppendUvarint(in, uint64(i%200))
	}
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		r := Reader{b: in}
		for r.Len() > 0 {
			r.Uvarint()
		}
	}
}
