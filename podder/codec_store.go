package podder

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"unsafe"
)

// A codec that the program brings (handCodec) is run when the walk gets to the
// value. What it hands over is kept until the save is done: discovery finds what
// the values lead to, and encoding writes the same ones. Its stored form is
//
//	uv len + data, uv n + n values, uv m + m entries (key, value)
//
// with values as interfaces hold them, so that any reader can follow them. Entries
// are ordered as those of maps are.

// handCodec is a Codec of the program, or of the standard library's types that
// hold values of the program.
type handCodec struct {
	Codec
	registered bool // else a hook
	// fields says that values which were stored by their parts load as well.
	fields bool
}

func (c *handCodec) name() string    { return c.Name }
func (c *handCodec) version() uint64 { return c.Version }
func (c *handCodec) reruns() bool    { return !c.Pure }

// handed is what a codec made of one value.
type handed struct {
	ValueWriter
	entries mapEntries
	ordered bool
	err     error
}

// handedKey is a value by its place: what it lies in may have a codec and the same
// address only if it has not the same codec.
type handedKey struct {
	at    unsafe.Pointer
	codec *handCodec
}

var (
	anyType    = reflect.TypeFor[any]()
	anyMapType = reflect.TypeFor[map[any]any]()
)

// handedAt runs the codec of the value at p, once in a save.
func (w *walk) handedAt(c *handCodec, p unsafe.Pointer) *handed {
	key := handedKey{p, c}
	h := w.handed[key]
	if h != nil {
		return h
	}
	w.pin()
	h = &handed{}
	if h.err = c.store(&h.ValueWriter, reflect.NewAt(c.Type, p).Interface()); h.err != nil {
		h.ValueWriter = ValueWriter{}
	}
	if w.handed == nil {
		w.handed = map[handedKey]*handed{}
	}
	w.handed[key] = h
	return h
}

// store runs the program's function. A panic in it is an error.
func (c *handCodec) store(w *ValueWriter, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	return c.Store(w, v)
}

// hand visits what the codec of the value at p hands over.
func (w *walk) hand(o *op, p unsafe.Pointer) (extra int) {
	h := w.handedAt(o.sub.hand, p)
	if h.err != nil {
		w.failed(p, o.sub.typ, fmt.Errorf("%s: %w", o.sub.hand.what(), h.err))
		return 0
	}
	extra = len(h.data)
	for i := range h.values {
		extra += w.boxed(anyType, unsafe.Pointer(&h.values[i]))
	}
	if len(h.keys) == 0 {
		return extra
	}
	if !h.ordered {
		h.ordered = true
		pairs := make([][2]any, len(h.keys)) // a key with its element behind it
		w.maps.slots = w.maps.slots[:0]
		for i := range pairs {
			pairs[i] = [2]any{h.keys[i], h.elems[i]}
			w.maps.slots = append(w.maps.slots, mapSlot{key: unsafe.Pointer(&pairs[i])})
		}
		w.orderMap(w.eng.planOf(anyMapType), &h.entries)
	}
	for _, at := range h.entries.at {
		pair := (*[2]any)(at)
		extra += w.boxed(anyType, unsafe.Pointer(&pair[0]))
		extra += w.boxed(anyType, unsafe.Pointer(&pair[1]))
	}
	return extra
}

// what names a codec in errors.
func (c *handCodec) what() string {
	if c.registered {
		return "its codec " + c.Name
	}
	return "its method " + c.Name
}

// hand appends what a codec handed over.
func (e *encoder) hand(o *op, p unsafe.Pointer) {
	h := e.handed[handedKey{p, o.sub.hand}]
	if h == nil {
		e.fail(errChanged)
		return
	}
	box := e.eng.planOf(anyType)
	e.buf = append(binary.AppendUvarint(e.buf, uint64(len(h.data))), h.data...)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(h.values)))
	for i := range h.values {
		e.value(box, unsafe.Pointer(&h.values[i]))
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(len(h.keys)))
	start := len(e.buf)
	all := make([]entryBytes, 0, len(h.keys))
	for _, at := range h.entries.at {
		pair := (*[2]any)(at)
		x := entryBytes{from: len(e.buf) - start, at: at}
		e.value(box, unsafe.Pointer(&pair[0]))
		x.mid = len(e.buf) - start
		e.value(box, unsafe.Pointer(&pair[1]))
		x.end = len(e.buf) - start
		x.hash = e.eng.hashKey(e.buf[start+x.from : start+x.mid])
		all = append(all, x)
	}
	b := slices.Clone(e.buf[start:])
	slices.SortStableFunc(all, func(x, y entryBytes) int {
		return cmp.Or(cmp.Compare(x.hash, y.hash), bytes.Compare(b[x.from:x.mid], b[y.from:y.mid]), bytes.Compare(b[x.mid:x.end], b[y.mid:y.end]))
	})
	e.alikeKeys(anyType, all, b, 0)
	e.buf = e.buf[:start]
	for _, x := range all {
		e.buf = append(e.buf, b[x.from:x.end]...)
	}
}

// orderHanded appends what order.go compares values by.
func (w *walk) orderHanded(dst []byte, c *handCodec, p unsafe.Pointer, depth int) (_ []byte, stable bool) {
	h := w.handedAt(c, p)
	dst = append(binary.AppendUvarint(dst, uint64(len(h.data))), h.data...)
	dst = binary.AppendUvarint(dst, uint64(len(h.values)))
	box := w.eng.planOf(anyType)
	for i := range h.values {
		dst = w.orderBoxed(dst, box, unsafe.Pointer(&h.values[i]), depth)
	}
	return binary.AppendUvarint(dst, uint64(len(h.keys))), len(h.values)+len(h.keys) == 0
}
