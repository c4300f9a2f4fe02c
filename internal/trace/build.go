package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
)

// shell returns an empty Go object of a recorded kind, nil for an unknown one.
// Arrays need their payload, because their dtype decides their Go type.
func shell(kind byte, payload []byte) any {
	switch kind {
	case 's':
		return new(Str)
	case 'y':
		return new(Bytes)
	case 'Y':
		return new(ByteArray)
	case 'l':
		return new(List)
	case 't':
		return new(Tuple)
	case 'd':
		return new(Dict)
	case 'e':
		return new(Set)
	case 'z':
		return new(FrozenSet)
	case 'c':
		return new(Object)
	case 'A':
		return new(ObjArray)
	case 'D':
		return new(Frame)
	case 'P':
		return new(Series)
	case 'o':
		return new(Opaque)
	case 'a', 'v':
		return arrayShell(kind, string(readText(binenc.NewReader(payload))))
	}
	return nil
}

// fill reads a payload into an object, in place.
func (w *World) fill(obj any, r *binenc.Reader) {
	switch o := obj.(type) {
	case *Str:
		o.S = string(readText(r))
	case *Bytes:
		o.S = string(readText(r))
	case *ByteArray:
		b := readText(r)
		o.B = resize(o.B, len(b))
		copy(o.B, b)
	case *Opaque:
		o.Type = string(readText(r))
	case *List:
		w.fillItems(&o.Items, r)
	case *Tuple:
		w.fillItems(&o.Items, r)
	case *Set:
		w.fillItems(&o.Items, r)
	case *FrozenSet:
		w.fillItems(&o.Items, r)
	case *ObjArray:
		o.Dims = readDims(r)
		w.fillItems(&o.Items, r)
	case *Dict:
		o.Entries = resize(o.Entries, r.Count(2))
		for i := range o.Entries {
			e := &o.Entries[i]
			e.Key = w.readValue(r, e.Key)
			e.Val = w.readValue(r, e.Val)
		}
	case *Object:
		w.fillObject(o, r)
	case *Frame:
		o.Rows = readInt(r)
		o.Index = w.readValue(r, o.Index)
		o.Columns = resize(o.Columns, r.Count(2))
		for i := range o.Columns {
			c := &o.Columns[i]
			c.Name = w.readValue(r, c.Name)
			c.Data = w.readValue(r, c.Data)
		}
	case *Series:
		o.Name = w.readValue(r, o.Name)
		o.Index = w.readValue(r, o.Index)
		o.Data = w.readValue(r, o.Data)
	case memory:
		o.fill(w, r)
	default:
		panic(fmt.Sprintf("trace: object of type %T was never made", obj))
	}
}

func (w *World) fillItems(items *[]any, r *binenc.Reader) {
	*items = resize(*items, r.Count(1))
	for i, old := range *items {
		(*items)[i] = w.readValue(r, old)
	}
}

// fillObject reads the attributes and finds the Class that has just these.
func (w *World) fillObject(o *Object, r *binenc.Reader) {
	w.key = appendText(w.key[:0], readText(r))
	n := r.Count(2)
	w.key = binary.AppendUvarint(w.key, uint64(n))
	o.Values = resize(o.Values, n)
	for i, old := range o.Values {
		w.key = appendText(w.key, readText(r))
		o.Values[i] = w.readValue(r, old)
	}
	class, ok := w.classes[string(w.key)]
	if !ok {
		k := binenc.NewReader(w.key)
		class = &Class{Name: string(readText(k)), Attrs: make([]string, k.Count(1))}
		for i := range class.Attrs {
			class.Attrs[i] = string(readText(k))
		}
		w.classes[string(w.key)] = class
	}
	if o.Class != class {
		o.Class = class
	}
}

// resize gives a slice another length. Memory is kept while its capacity lasts and
// then grows as append grows it; elements that fall off are cleared.
func resize[E any](s []E, n int) []E {
	switch {
	case s == nil && n > 0:
		return make([]E, n)
	case n <= len(s):
		clear(s[n:])
		return s[:n]
	default:
		return slices.Grow(s, n-len(s))[:n]
	}
}

func readInt(r *binenc.Reader) int {
	n := r.Uvarint()
	if n > math.MaxInt {
		r.Fail("number %d is too large", n)
		return 0
	}
	return int(n)
}

func readDims(r *binenc.Reader) []int {
	dims := make([]int, r.Count(1))
	for i := range dims {
		dims[i] = readInt(r)
	}
	return dims
}
