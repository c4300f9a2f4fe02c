package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/binenc"
)

// memory is what Array and View of every element type have in common.
type memory interface {
	fill(w *World, r *binenc.Reader)
	check(c *checker)
	kind() byte
}

// arrayShell chooses the element type of an array or a view by its dtype.
func arrayShell(kind byte, dtype string) any {
	switch {
	case dtype == "<f8":
		return arrayOf[float64](kind)
	case dtype == "<f4":
		return arrayOf[float32](kind)
	case dtype == "<i8", strings.HasPrefix(dtype, "<M8"), strings.HasPrefix(dtype, "<m8"):
		return arrayOf[int64](kind)
	case dtype == "<i4":
		return arrayOf[int32](kind)
	}
	return arrayOf[byte](kind)
}

func arrayOf[T Elem](kind byte) any {
	if kind == 'v' {
		return new(View[T])
	}
	return new(Array[T])
}

func (*Array[T]) kind() byte { return 'a' }
func (*View[T]) kind() byte  { return 'v' }

// fill reads the payload of an array. Memory of the same size is written in
// place, so that views of it see the change.
func (a *Array[T]) fill(_ *World, r *binenc.Reader) {
	dtype := string(readText(r))
	if _, same := arrayShell('a', dtype).(*Array[T]); !same {
		r.Fail("dtype changes from %s to %s", a.DType, dtype)
		return
	}
	a.DType, a.Dims = dtype, readDims(r)
	raw := readText(r)
	size := elemSize[T]()
	switch {
	case r.Err() != nil:
		return
	case len(raw)%size != 0:
		r.Fail("%d bytes are no whole elements of %s", len(raw), dtype)
		return
	case size > 1 && !fills(a.Dims, len(raw)/size):
		r.Fail("%d elements do not fill the dimensions %v", len(raw)/size, a.Dims)
		return
	}
	if n := len(raw) / size; n != len(a.Data) {
		a.Data = make([]T, n)
	}
	decodeElems(a.Data, raw)
}

// fills reports that n elements have just the given dimensions.
func fills(dims []int, n int) bool {
	if slices.Contains(dims, 0) {
		return n == 0
	}
	product := 1
	for _, d := range dims {
		if d > n/product {
			return false
		}
		product *= d
	}
	return product == n
}

// fill reads the payload of a view; its memory is shared when all is read.
func (v *View[T]) fill(w *World, r *binenc.Reader) {
	dtype := string(readText(r))
	if _, same := arrayShell('v', dtype).(*View[T]); !same {
		r.Fail("dtype changes from %s to %s", v.DType, dtype)
		return
	}
	v.DType, v.Dims = dtype, readDims(r)
	v.Owner = w.readValue(r, v.Owner)
	v.Offset = r.Varint()
	v.Strides = make([]int64, len(v.Dims))
	for i := range v.Strides {
		v.Strides[i] = r.Varint()
	}
}

// shareMemory makes the Data of a view the part of its owner's memory that it
// reaches.
func shareMemory(view any) (err error) {
	switch v := view.(type) {
	case *View[float64]:
		v.Data, err = v.part()
	case *View[float32]:
		v.Data, err = v.part()
	case *View[int64]:
		v.Data, err = v.part()
	case *View[int32]:
		v.Data, err = v.part()
	case *View[byte]:
		v.Data, err = v.part()
	}
	return err
}

var errOutside = errors.New("view reaches outside the memory of its owner")

// part returns the elements of the owner between the lowest and the highest that
// the view reaches; nil when the owner's memory has another element type or the
// view is not aligned to elements.
func (v *View[T]) part() ([]T, error) {
	owner, ok := memoryOf[T](v.Owner)
	if !ok {
		return nil, nil
	}
	size := int64(elemSize[T]())
	end := int64(len(owner)) * size
	low, high := v.Offset, v.Offset
	aligned := low%size == 0
	for i, d := range v.Dims {
		stride := v.Strides[i]
		switch {
		case d == 0:
			return nil, nil
		case stride == 0 || d == 1:
			continue
		case stride == math.MinInt64 || int64(d-1) > end/max(stride, -stride):
			return nil, errOutside
		}
		span := int64(d-1) * stride
		low, high = low+min(span, 0), high+max(span, 0)
		aligned = aligned && stride%size == 0
		if low < -end || high > 2*end {
			return nil, errOutside
		}
	}
	if low < 0 || high < low || high > end-itemSize(v.DType, size) {
		return nil, errOutside
	}
	if !aligned {
		return nil, nil
	}
	return owner[low/size : (high+itemSize(v.DType, size))/size], nil
}

// itemSize is the number of bytes of one item of a dtype. Items of the dtypes that
// are kept as bytes may be longer than their element; their size ends the dtype.
func itemSize(dtype string, elem int64) int64 {
	if elem > 1 {
		return elem
	}
	n, factor := int64(0), int64(1)
	for _, c := range strings.TrimLeft(dtype, "<>|=") {
		switch {
		case c == 'U' && n == 0:
			factor = 4
		case c >= '0' && c <= '9' && n < 1<<30:
			n = n*10 + int64(c-'0')
		case c == '[':
			return max(n*factor, 1)
		}
	}
	return max(n*factor, 1)
}

// memoryOf returns the elements of the array that owns a view's memory; the owner
// may be an instance of a subclass that holds the array as its content.
func memoryOf[T Elem](owner any) ([]T, bool) {
	if o, ok := owner.(*Object); ok && o.Class != nil {
		if i := slices.Index(o.Class.Attrs, "*"); i >= 0 && i < len(o.Values) {
			owner = o.Values[i]
		}
	}
	if a, ok := owner.(*Array[T]); ok {
		return a.Data, true
	}
	return nil, false
}

func elemSize[T Elem]() int {
	var e T
	return binary.Size(e)
}

// decodeElems reads little-endian elements; raw has just as many.
func decodeElems[T Elem](dst []T, raw []byte) {
	le := binary.LittleEndian
	switch dst := any(dst).(type) {
	case []float64:
		for i := range dst {
			dst[i] = math.Float64frombits(le.Uint64(raw[8*i:]))
		}
	case []float32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(raw[4*i:]))
		}
	case []int64:
		for i := range dst {
			dst[i] = int64(le.Uint64(raw[8*i:]))
		}
	case []int32:
		for i := range dst {
			dst[i] = int32(le.Uint32(raw[4*i:]))
		}
	case []byte:
		copy(dst, raw)
	default:
		panic(fmt.Sprintf("trace: elements of type %T", dst))
	}
}

// appendElems appends elements in little-endian order.
func appendElems[T Elem](dst []byte, elems []T) []byte {
	le := binary.LittleEndian
	dst = slices.Grow(dst, len(elems)*elemSize[T]())
	switch elems := any(elems).(type) {
	case []float64:
		for _, e := range elems {
			dst = le.AppendUint64(dst, math.Float64bits(e))
		}
	case []float32:
		for _, e := range elems {
			dst = le.AppendUint32(dst, math.Float32bits(e))
		}
	case []int64:
		for _, e := range elems {
			dst = le.AppendUint64(dst, uint64(e))
		}
	case []int32:
		for _, e := range elems {
			dst = le.AppendUint32(dst, uint32(e))
		}
	case []byte:
		dst = append(dst, elems...)
	default:
		panic(fmt.Sprintf("trace: elements of type %T", elems))
	}
	return dst
}
