package trace

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/poddb/poddb/internal/binenc"
)

// readValue reads one value of a payload. old is what the slot holds now, or
// nil: if the recorded value equals it, old itself is returned, so that a slot
// which did not change keeps its very box.
func (w *World) readValue(r *binenc.Reader, old any) any {
	switch tag := r.Byte(); tag {
	case 'N':
		return nil
	case 'T':
		return true
	case 'F':
		return false
	case 'i':
		v := r.Varint()
		if o, ok := old.(int64); ok && o == v {
			return old
		}
		return v
	case 'I':
		digits := readText(r)
		if o, ok := old.(BigInt); ok && o.Digits == string(digits) {
			return old
		}
		return BigInt{string(digits)}
	case 'f':
		bits := r.U64()
		if o, ok := old.(float64); ok && math.Float64bits(o) == bits {
			return old
		}
		return math.Float64frombits(bits)
	case 's':
		text := readText(r)
		if o, ok := old.(string); ok && o == string(text) {
			return old
		}
		return w.shortString(text)
	case 'r':
		id := r.Uvarint()
		obj, ok := w.objects[id]
		if !ok {
			r.Fail("reference to unknown object %d", id)
			return nil
		}
		return obj
	default:
		r.Fail("unknown value %q", tag)
		return nil
	}
}

// readText reads a length and that many bytes, without copying them.
func readText(r *binenc.Reader) []byte { return r.Bytes(r.Uvarint()) }

// appendScalar appends a value that is no object in the recorded encoding, or
// reports that v is of no such type.
func appendScalar(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return append(dst, 'N'), true
	case bool:
		if v {
			return append(dst, 'T'), true
		}
		return append(dst, 'F'), true
	case int64:
		return binary.AppendVarint(append(dst, 'i'), v), true
	case BigInt:
		return appendText(append(dst, 'I'), v.Digits), true
	case float64:
		return binary.LittleEndian.AppendUint64(append(dst, 'f'), math.Float64bits(v)), true
	case string:
		return appendText(append(dst, 's'), v), true
	}
	return dst, false
}

func appendText[S string | []byte](dst []byte, s S) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// describeValue names a recorded value for an error message.
func describeValue(b []byte) string {
	r := binenc.NewReader(b)
	var s string
	switch tag := r.Byte(); tag {
	case 'N':
		s = "nil"
	case 'T':
		s = "true"
	case 'F':
		s = "false"
	case 'i':
		s = fmt.Sprintf("int64 %d", r.Varint())
	case 'I':
		s = fmt.Sprintf("integer %s", readText(r))
	case 'f':
		s = fmt.Sprintf("float64 %v", math.Float64frombits(r.U64()))
	case 's':
		s = fmt.Sprintf("string %q", readText(r))
	case 'r':
		s = fmt.Sprintf("object %d", r.Uvarint())
	}
	if s == "" || r.Err() != nil {
		return "nothing"
	}
	return s
}

// describeGo names a Go value for an error message.
func describeGo(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case bool:
		return fmt.Sprint(v)
	case string:
		return fmt.Sprintf("string %q", v)
	case int64, float64:
		return fmt.Sprintf("%T %v", v, v)
	case BigInt:
		return "integer " + v.Digits
	}
	return fmt.Sprintf("a %T", v)
}
