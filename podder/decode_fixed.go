package podder

import (
	"encoding/binary"
	"reflect"
	"unsafe"
)

// fixedElem is an element of a SlotArray made of count scalars of one numeric
// kind. Such elements are stored with fixed width, little-endian.
type fixedElem struct {
	kind  reflect.Kind
	count int
}

// width returns the stored bytes of one scalar.
func (f *fixedElem) width() int {
	switch f.kind {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return 1
	case reflect.Int16, reflect.Uint16:
		return 2
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return 4
	case reflect.Complex128:
		return 16
	}
	return 8
}

// sameAsMemory reports whether stored bytes equal memory on this machine.
func (f *fixedElem) sameAsMemory() bool {
	if f.width() > 1 && !littleEndian() {
		return false
	}
	switch f.kind {
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		return unsafe.Sizeof(uintptr(0)) == 8
	}
	return f.kind != reflect.Bool
}

func littleEndian() bool {
	return binary.NativeEndian.Uint16([]byte{1, 0}) == 1
}

// decode fills scalars from b, whose length is a multiple of the width, and
// reports whether every value fits. The memory at p holds no pointers.
func (f *fixedElem) decode(b []byte, p unsafe.Pointer) bool {
	if f.sameAsMemory() {
		// Numbers only: a plain copy needs no write barrier.
		copy(unsafe.Slice((*byte)(p), len(b)), b)
		return true
	}
	switch f.kind {
	case reflect.Bool:
		return decodeBools(b, unsafe.Slice((*bool)(p), len(b)))
	case reflect.Int16, reflect.Uint16:
		for i, d := 0, unsafe.Slice((*uint16)(p), len(b)/2); i < len(d); i++ {
			d[i] = binary.LittleEndian.Uint16(b[2*i:])
		}
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		decode4(b, p)
	case reflect.Complex64:
		decode4(b, p) // two floats each
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		return decodeWords(b, p, f.kind == reflect.Int)
	default:
		for i, d := 0, unsafe.Slice((*uint64)(p), len(b)/8); i < len(d); i++ {
			d[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
	return true
}

// decode4 fills len(b)/4 numbers at p, for which the caller has made room in one
// allocation of that element type.
func decode4(b []byte, p unsafe.Pointer) {
	for i, d := 0, unsafe.Slice((*uint32)(p), len(b)/4); i < len(d); i++ {
		d[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
}

// decodeBools refuses bytes other than 0 and 1, which no Go bool may hold.
func decodeBools(b []byte, d []bool) bool {
	for i, v := range b {
		if v > 1 {
			return false
		}
		d[i] = v == 1
	}
	return true
}

// decodeWords fills int, uint or uintptr where they are not eight bytes.
func decodeWords(b []byte, p unsafe.Pointer, signed bool) bool {
	d := unsafe.Slice((*uint)(p), len(b)/8)
	for i := range d {
		v := binary.LittleEndian.Uint64(b[8*i:])
		d[i] = uint(v)
		if signed && int64(int(d[i])) != int64(v) || !signed && uint64(d[i]) != v {
			return false
		}
	}
	return true
}

// varied appends scalars of fixed width as values are stored outside arrays.
func (f *fixedElem) varied(dst, b []byte) []byte {
	width := f.width()
	if f.kind == reflect.Float32 || f.kind == reflect.Float64 || f.kind == reflect.Complex64 || f.kind == reflect.Complex128 || width == 1 {
		return append(dst, b...)
	}
	signed := f.kind >= reflect.Int && f.kind <= reflect.Int64
	for ; len(b) >= width; b = b[width:] {
		var u uint64
		var i int64
		switch width {
		case 2:
			x := binary.LittleEndian.Uint16(b)
			u, i = uint64(x), int64(int16(x))
		case 4:
			x := binary.LittleEndian.Uint32(b)
			u, i = uint64(x), int64(int32(x))
		default:
			u = binary.LittleEndian.Uint64(b)
			i = int64(u)
		}
		if signed {
			dst = binary.AppendVarint(dst, i)
		} else {
			dst = binary.AppendUvarint(dst, u)
		}
	}
	return dst
}
