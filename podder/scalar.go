package podder

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"unsafe"
)

// appendScalar appends the stored form of a number.
func appendScalar(dst []byte, o *op, p unsafe.Pointer) []byte {
	switch o.code {
	case opRaw:
		return appendRaw(dst, p, o.n)
	case opInt16:
		return binary.AppendVarint(dst, int64(*(*int16)(p)))
	case opInt32:
		return binary.AppendVarint(dst, int64(*(*int32)(p)))
	case opInt64:
		return binary.AppendVarint(dst, *(*int64)(p))
	case opUint16:
		return binary.AppendUvarint(dst, uint64(*(*uint16)(p)))
	case opUint32:
		return binary.AppendUvarint(dst, uint64(*(*uint32)(p)))
	case opUint64:
		return binary.AppendUvarint(dst, *(*uint64)(p))
	case opAtomic32:
		return binary.AppendVarint(dst, int64(atomic.LoadInt32((*int32)(p))))
	case opAtomic64:
		return binary.AppendVarint(dst, atomic.LoadInt64((*int64)(p)))
	case opAtomicU32:
		return binary.AppendUvarint(dst, uint64(atomic.LoadUint32((*uint32)(p))))
	case opAtomicU64:
		return binary.AppendUvarint(dst, atomic.LoadUint64((*uint64)(p)))
	case opFloat32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(*(*float32)(p)))
	case opFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(*(*float64)(p)))
	}
	panic("podder: operation is not a number")
}

// appendRaw appends n bytes of memory as they lie. The bytes may belong to
// several numbers side by side, never to padding.
func appendRaw(dst []byte, p unsafe.Pointer, n int) []byte {
	switch n {
	case 1:
		return append(dst, *(*byte)(p))
	case 8:
		return append(dst, (*[8]byte)(p)[:]...)
	}
	return append(dst, unsafe.Slice((*byte)(p), n)...)
}

// appendCodec appends what a codec makes of the value at p, with its length in
// front.
func appendCodec(dst []byte, c valueCodec, p unsafe.Pointer) ([]byte, error) {
	start := len(dst)
	dst, err := c.append(append(dst, 0), p)
	if err != nil {
		return dst[:start], err
	}
	n := len(dst) - start - 1
	if n < 0x80 {
		dst[start] = byte(n)
		return dst, nil
	}
	var head [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(head[:], uint64(n))
	dst = append(dst, head[1:k]...)
	copy(dst[start+k:], dst[start+1:start+1+n])
	copy(dst[start:], head[:k])
	return dst, nil
}
