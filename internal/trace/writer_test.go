package trace

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
)

// recorder writes a small recording for the tests, with the sums that belong to it.
type recorder struct {
	out   []byte
	step  int
	kinds map[uint64]byte
	live  map[uint64][]byte
}

func newRecorder() *recorder {
	r := &recorder{kinds: map[uint64]byte{}, live: map[uint64][]byte{}}
	r.out = append(r.out, magic...)
	r.out = appendText(r.out, "synthetic")
	r.out = appendText(r.out, "{}")
	return r
}

func (r *recorder) begin(label string) {
	r.step++
	r.out = binary.AppendUvarint(append(r.out, 'S'), uint64(r.step))
	r.out = appendText(r.out, label)
}

func (r *recorder) object(id uint64, kind byte, parts ...any) {
	payload := body(parts...)
	tag := byte('O')
	if _, ok := r.live[id]; ok {
		tag = 'U'
	}
	r.live[id], r.kinds[id] = payload, kind
	r.out = append(binary.AppendUvarint(append(r.out, tag), id), kind)
	r.out = appendText(r.out, payload)
}

func (r *recorder) variable(name string, v any) {
	r.out = append(appendText(append(r.out, 'V'), name), body(v)...)
}

func (r *recorder) del(name string) { r.out = appendText(append(r.out, 'D'), name) }

func (r *recorder) drop(ids ...uint64) {
	r.out = binary.AppendUvarint(append(r.out, 'X'), uint64(len(ids)))
	for _, id := range ids {
		r.out = binary.AppendUvarint(r.out, id)
		delete(r.live, id)
	}
}

func (r *recorder) end() {
	var sum uint32
	total := 0
	for id, p := range r.live {
		total += len(p)
		sum += crc32.ChecksumIEEE(append(append(binary.AppendUvarint(nil, id), r.kinds[id]), p...))
	}
	r.out = binary.AppendUvarint(append(r.out, 'E'), uint64(len(r.live)))
	r.out = binary.AppendUvarint(r.out, uint64(total))
	r.out = binary.LittleEndian.AppendUint32(r.out, sum)
}

func (r *recorder) bytes() []byte { return append(r.out, 'Z') }

type (
	ref  uint64 // a reference
	n    uint64 // a bare number: count, dimension
	zz   int64  // a bare signed number
	text string // a bare text
)

// body encodes the parts of a payload; Go scalars become values.
func body(parts ...any) []byte {
	var out []byte
	for _, p := range parts {
		switch p := p.(type) {
		case ref:
			out = binary.AppendUvarint(append(out, 'r'), uint64(p))
		case n:
			out = binary.AppendUvarint(out, uint64(p))
		case zz:
			out = binary.AppendVarint(out, int64(p))
		case text:
			out = appendText(out, string(p))
		case int:
			out = binary.AppendVarint(append(out, 'i'), int64(p))
		default:
			var ok bool
			if out, ok = appendScalar(out, p); !ok {
				panic("not a part of a payload")
			}
		}
	}
	return out
}

func float64s(v ...float64) text {
	return text(appendElems(nil, v))
}

// synthetic records every kind, cycles, sharing, changes in place, growth,
// bindings of every value, deletions and drops.
func synthetic() []byte {
	r := newRecorder()
	r.begin("make")
	r.object(1, 'l', n(7), ref(1), ref(2), ref(2), nil, true, -5, 2.5) // holds itself
	r.object(2, 'd', n(3), "k", ref(3), ref(4), math.Inf(-1), 7, BigInt{"123456789012345678901234567890"})
	r.object(3, 's', text("a long string that keeps its identity, a long string that keeps it"))
	r.object(4, 't', n(2), ref(3), "x")
	r.object(5, 'y', text("\x00\xff"))
	r.object(6, 'Y', text("mutable"))
	r.object(7, 'c', text("prog.Node"), n(2), text("next"), ref(8), text("value"), 1)
	r.object(8, 'c', text("prog.Node"), n(2), text("next"), ref(7), text("value"), 2)
	r.object(9, 'a', text("<f8"), n(2), n(2), n(3), float64s(1, 2, 3, 4, 5, math.NaN()))
	r.object(10, 'v', text("<f8"), n(1), n(2), ref(9), zz(16), zz(24))  // last column
	r.object(11, 'v', text("<f8"), n(1), n(3), ref(9), zz(40), zz(-16)) // backwards
	r.object(12, 'a', text("<U2"), n(1), n(1), text("a\x00\x00\x00b\x00\x00\x00"))
	r.object(13, 'A', n(1), n(2), n(2), ref(3), "short")
	r.object(14, 'D', n(2), ref(15), n(2), "a", ref(13), "b", ref(9))
	r.object(15, 'c', text("RangeIndex"), n(3), text("start"), 0, text("stop"), 2, text("step"), 1)
	r.object(16, 'P', "b", ref(15), ref(9))
	r.object(17, 'o', text("function"))
	r.object(18, 'e', n(2), 1, 2)
	r.object(19, 'z', n(1), "f")
	r.object(20, 'l', n(0))
	r.object(21, 'a', text("<i4"), n(1), n(2), text("\x01\x00\x00\x00\x02\x00\x00\x00"))
	r.object(22, 'a', text("<f4"), n(0), text("\x00\x00\x80\x3f"))
	r.object(23, 'a', text("<M8[ns]"), n(1), n(1), text("12345678"))
	r.object(24, 'a', text("|b1"), n(1), n(2), text("\x00\x01"))
	r.object(25, 'v', text("<i4"), n(1), n(0), ref(21), zz(0), zz(4))
	r.object(26, 'v', text("<i4"), n(1), n(1), ref(9), zz(8), zz(4)) // other element type
	r.object(27, 'l', n(10), ref(5), ref(6), ref(7), ref(12), ref(17), ref(18), ref(19), ref(20), ref(21), ref(22))
	r.object(28, 'l', n(4), ref(23), ref(24), ref(25), ref(26))
	for name, id := range map[string]ref{"cycle": 1, "views": 10, "back": 11, "frame": 14, "series": 16, "all": 27, "more": 28} {
		r.variable(name, id)
	}
	r.variable("none", nil)
	r.variable("big", BigInt{"-99999999999999999999"})
	r.variable("num", 7)
	r.variable("text", "t")
	r.end()

	r.begin("change in place")
	r.object(1, 'l', n(3), ref(1), ref(2), math.Copysign(0, -1))
	r.object(6, 'Y', text("mut"))
	r.object(8, 'c', text("prog.Node"), n(3), text("next"), ref(7), text("value"), 2, text("extra"), ref(30))
	r.object(9, 'a', text("<f8"), n(2), n(2), n(3), float64s(1, 2, 30, 4, 5, 6))
	r.object(20, 'l', n(3), ref(29), ref(29), 1)
	r.object(29, 't', n(0))
	r.object(30, 'd', n(0))
	r.variable("num", 8)
	r.del("text")
	r.end()

	r.begin("drop, and an array that moves")
	r.object(9, 'a', text("<f8"), n(1), n(8), float64s(8, 7, 6, 5, 4, 3, 2, 1))
	r.object(28, 'l', n(4), ref(23), ref(24), ref(25), ref(26))
	r.object(14, 'D', n(2), ref(15), n(1), "b", ref(9))
	r.del("none")
	r.drop(13)
	r.end()
	return r.bytes()
}

// readAll returns all steps of a recording.
func readAll(t testing.TB, r *Reader) []*Step {
	t.Helper()
	var steps []*Step
	for {
		s, err := r.Step()
		if s == nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return steps
		}
		steps = append(steps, s)
	}
}
