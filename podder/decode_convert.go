package podder

import (
	"fmt"
	"math"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Numbers whose kind has changed are converted value by value: any integer to
// any other, integers to floats and back, floats and complex numbers to the other
// width. A value that the new kind does not hold exactly is ErrTypeMismatch with
// its place and the value. NaN stays NaN, without its payload.

// number is a stored number, whatever its kind.
type number struct {
	kind reflect.Kind // Int64, Uint64, Float64 or Complex128
	i    int64
	u    uint64
	c    complex128 // the float is its real part
}

// convertible reports whether some values of a stored kind may be read as to.
func convertible(from pod.TypeID, to reflect.Kind) bool {
	a, b := wide(basicKind(from)), wide(to)
	return a != reflect.Invalid && b != reflect.Invalid && (a == reflect.Complex128) == (b == reflect.Complex128)
}

// wide returns the kind that stands for all of one sort of number.
func wide(k reflect.Kind) reflect.Kind {
	switch {
	case k >= reflect.Int && k <= reflect.Int64:
		return reflect.Int64
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return reflect.Uint64
	case k == reflect.Float32 || k == reflect.Float64:
		return reflect.Float64
	case k == reflect.Complex64 || k == reflect.Complex128:
		return reflect.Complex128
	}
	return reflect.Invalid
}

// convert decodes a number of one kind to memory of another.
func (l *loader) convert(c *cursor, m *decodeMove, at unsafe.Pointer) {
	n := readNumber(c, m.from)
	if !c.bad && !n.store(m.to, at) {
		l.fail(fmt.Errorf("pod %d slot %d: %s: %s, stored as %v, is no %v: %w",
			l.at.pod.id, l.at.slot, m.path, n, basicKind(m.from), m.to, dberr.ErrTypeMismatch))
	}
}

func readNumber(c *cursor, from pod.TypeID) number {
	n := number{kind: wide(basicKind(from))}
	switch from {
	case typeInt8:
		n.i = int64(int8(c.byte()))
	case typeUint8:
		n.u = uint64(c.byte())
	case typeFloat32:
		n.c = complex(float64(math.Float32frombits(c.uint32())), 0)
	case typeFloat64:
		n.c = complex(math.Float64frombits(c.uint64()), 0)
	case typeComplex64:
		re := math.Float32frombits(c.uint32())
		n.c = complex(float64(re), float64(math.Float32frombits(c.uint32())))
	case typeComplex128:
		re := math.Float64frombits(c.uint64())
		n.c = complex(re, math.Float64frombits(c.uint64()))
	default:
		if n.kind == reflect.Int64 {
			n.i = c.varint()
		} else {
			n.u = c.uvarint()
		}
	}
	return n
}

func (n number) String() string {
	switch n.kind {
	case reflect.Int64:
		return fmt.Sprint(n.i)
	case reflect.Uint64:
		return fmt.Sprint(n.u)
	case reflect.Float64:
		return fmt.Sprint(real(n.c))
	}
	return fmt.Sprint(n.c)
}

// store writes n as a number of kind k, and reports whether it is one.
func (n number) store(k reflect.Kind, at unsafe.Pointer) bool {
	switch wide(k) {
	case reflect.Int64:
		i, ok := n.signed()
		return ok && storeSigned(i, k, at)
	case reflect.Uint64:
		u, ok := n.unsigned()
		return ok && storeUnsigned(u, k, at)
	case reflect.Float64:
		f, ok := n.float()
		if k == reflect.Float64 {
			*(*float64)(at) = f
			return ok
		}
		*(*float32)(at) = float32(f)
		return ok && narrows(f)
	}
	if k == reflect.Complex128 {
		*(*complex128)(at) = n.c
		return true
	}
	*(*complex64)(at) = complex64(n.c)
	return narrows(real(n.c)) && narrows(imag(n.c))
}

// narrows reports whether f is a float32.
func narrows(f float64) bool { return f != f || float64(float32(f)) == f }

const (
	two63 = 1 << 63
	two64 = 1 << 64
)

func (n number) signed() (int64, bool) {
	switch n.kind {
	case reflect.Uint64:
		return int64(n.u), n.u <= math.MaxInt64
	case reflect.Float64:
		f := real(n.c)
		if !(f >= -two63 && f < two63) {
			return 0, false
		}
		return int64(f), math.Trunc(f) == f
	}
	return n.i, true
}

func (n number) unsigned() (uint64, bool) {
	switch n.kind {
	case reflect.Int64:
		return uint64(n.i), n.i >= 0
	case reflect.Float64:
		f := real(n.c)
		if !(f >= 0 && f < two64) {
			return 0, false
		}
		return uint64(f), math.Trunc(f) == f
	}
	return n.u, true
}

func (n number) float() (float64, bool) {
	switch n.kind {
	case reflect.Int64:
		f := float64(n.i)
		return f, f < two63 && int64(f) == n.i
	case reflect.Uint64:
		f := float64(n.u)
		return f, f < two64 && uint64(f) == n.u
	}
	return real(n.c), true
}

func storeSigned(v int64, k reflect.Kind, at unsafe.Pointer) bool {
	switch k {
	case reflect.Int8:
		*(*int8)(at) = int8(v)
		return int64(int8(v)) == v
	case reflect.Int16:
		*(*int16)(at) = int16(v)
		return int64(int16(v)) == v
	case reflect.Int32:
		*(*int32)(at) = int32(v)
		return int64(int32(v)) == v
	case reflect.Int64:
		*(*int64)(at) = v
		return true
	}
	*(*int)(at) = int(v)
	return int64(int(v)) == v
}

func storeUnsigned(v uint64, k reflect.Kind, at unsafe.Pointer) bool {
	switch k {
	case reflect.Uint8:
		*(*uint8)(at) = uint8(v)
		return uint64(uint8(v)) == v
	case reflect.Uint16:
		*(*uint16)(at) = uint16(v)
		return uint64(uint16(v)) == v
	case reflect.Uint32:
		*(*uint32)(at) = uint32(v)
		return uint64(uint32(v)) == v
	case reflect.Uint64:
		*(*uint64)(at) = v
		return true
	case reflect.Uintptr:
		*(*uintptr)(at) = uintptr(v)
		return uint64(uintptr(v)) == v
	}
	*(*uint)(at) = uint(v)
	return uint64(uint(v)) == v
}
