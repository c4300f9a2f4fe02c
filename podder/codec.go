package podder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
)

// Codec stores values of one type in a form that the program chooses, instead of
// by their parts: because the type belongs to another package and its private
// fields are no contract, or because they say less than a method knows.
//
// What Store writes must depend on the value alone. It is run for every save that
// reaches the value, on the goroutine of the save, and must not change what the
// variables reach; Load may run for every load, on any goroutine. Values are
// read and made one at a time within one load or save.
type Codec struct {
	Type reflect.Type
	// Name is stored with the type and must stay the same for the life of the data.
	Name string
	// Version of what Store writes. Load gets the version that was stored, and
	// those that are newer than this one are ErrTypeMismatch.
	Version uint64
	// Pure says that what Store writes changes only if the value's own memory does,
	// not that behind its pointers.
	Pure bool
	// Store writes the value to which v, a pointer to Type, points.
	Store func(w *ValueWriter, v any) error
	// Load makes the zero value to which v, a pointer to Type, points what was
	// stored. The value may be copied afterwards: in a checkout, over the live one.
	Load func(r *ValueReader, v any) error
}

// ValueWriter takes what a Codec or MarshalPod stores of one value: data, and
// other values, which keep everything that values of the program keep: what is
// reached through them is the same object wherever else it is reached.
type ValueWriter struct {
	data        []byte
	values      []any
	keys, elems []any
}

// Bytes adds bytes with their length.
func (w *ValueWriter) Bytes(b []byte) {
	w.data = append(binary.AppendUvarint(w.data, uint64(len(b))), b...)
}

// String adds a string.
func (w *ValueWriter) String(s string) { w.data = appendText(w.data, s) }

// Uint adds an unsigned number.
func (w *ValueWriter) Uint(n uint64) { w.data = binary.AppendUvarint(w.data, n) }

// Int adds a signed number.
func (w *ValueWriter) Int(n int64) { w.data = binary.AppendVarint(w.data, n) }

// Bool adds true or false.
func (w *ValueWriter) Bool(b bool) {
	if b {
		w.data = append(w.data, 1)
	} else {
		w.data = append(w.data, 0)
	}
}

// Float adds a float bit for bit.
func (w *ValueWriter) Float(f float64) {
	w.data = binary.LittleEndian.AppendUint64(w.data, math.Float64bits(f))
}

// Raw adds bytes without their length; a reader takes them with Rest.
func (w *ValueWriter) Raw(b []byte) { w.data = append(w.data, b...) }

// Value hands over a value as an interface would hold it, so its type must be one
// that a later process can know. What it refers to should be part of the value
// that is stored: an object that is made anew for every save is stored anew.
func (w *ValueWriter) Value(v any) { w.values = append(w.values, v) }

// Entry hands over a key and an element that have no place among the others, as
// in a map. They are read by Entries, in an order that depends on the keys alone.
func (w *ValueWriter) Entry(key, elem any) {
	w.keys = append(w.keys, key)
	w.elems = append(w.elems, elem)
}

// ValueReader gives back what a ValueWriter took, in the same order: data, values
// and entries each in their own. Reading what is not there gives zero values and
// an error from Err; it need not be asked for, since a load checks that all was
// read.
type ValueReader struct {
	version     uint64
	data        cursor
	values      []any
	missing     bool
	keys, elems []any
}

// Version is that of the codec which stored the value.
func (r *ValueReader) Version() uint64 { return r.version }

// Bytes returns bytes that Bytes took. They belong to the caller.
func (r *ValueReader) Bytes() []byte { return append([]byte(nil), r.data.bytes(r.data.uvarint())...) }

// String returns a string.
func (r *ValueReader) String() string { return string(r.data.bytes(r.data.uvarint())) }

// Uint returns an unsigned number.
func (r *ValueReader) Uint() uint64 { return r.data.uvarint() }

// Int returns a signed number.
func (r *ValueReader) Int() int64 { return r.data.varint() }

// Bool returns true or false.
func (r *ValueReader) Bool() bool {
	b := r.data.byte()
	if b > 1 {
		r.data.fail()
	}
	return b == 1
}

// Float returns a float.
func (r *ValueReader) Float() float64 { return math.Float64frombits(r.data.uint64()) }

// Rest returns all data that is left. It belongs to the caller.
func (r *ValueReader) Rest() []byte {
	return append([]byte(nil), r.data.bytes(uint64(r.data.left()))...)
}

// Values returns how many values are left.
func (r *ValueReader) Values() int { return len(r.values) }

// Value returns the next value that was handed over, nil if there is none. A
// pointer leads to an object that is filled; one whose own type has a codec or
// AfterLoad may not be ready yet if the two refer to each other.
func (r *ValueReader) Value() any {
	if len(r.values) == 0 {
		r.missing = true
		return nil
	}
	v := r.values[0]
	r.values = r.values[1:]
	return v
}

// Entries returns the entries that were handed over.
func (r *ValueReader) Entries() iter.Seq2[any, any] {
	keys, elems := r.keys, r.elems
	r.keys, r.elems = nil, nil
	return func(yield func(any, any) bool) {
		for i := range keys {
			if !yield(keys[i], elems[i]) {
				return
			}
		}
	}
}

// Err reports whether something was read that is not there.
func (r *ValueReader) Err() error {
	switch {
	case r.data.bad:
		return errors.New("its data ends early")
	case r.missing:
		return errors.New("it has fewer values")
	}
	return nil
}

// done reports what was not read.
func (r *ValueReader) done() error {
	if err := r.Err(); err != nil {
		return err
	}
	if n := r.data.left(); n > 0 || len(r.values) > 0 || len(r.keys) > 0 {
		return fmt.Errorf("%d bytes, %d values and %d entries were not read", n, len(r.values), len(r.keys))
	}
	return nil
}

// RegisterCodec has values of a type stored by a codec. The type is known behind
// interfaces from then on, under the name that Register gave it, else its own.
// It is an error (ErrInvalid) if the type has another codec, or cannot have one:
// a type without a name, an interface.
func (r *Registry) RegisterCodec(c Codec) error {
	switch {
	case c.Type == nil || c.Store == nil || c.Load == nil:
		return fmt.Errorf("codec %q without a type or function: %w", c.Name, dberr.ErrInvalid)
	case c.Name == "" || len(c.Name) > maxTypeText:
		return fmt.Errorf("codec of %v: name of %d bytes: %w", c.Type, len(c.Name), dberr.ErrInvalid)
	case c.Type.Name() == "" || c.Type.Kind() == reflect.Interface || c.Type.PkgPath() == "":
		return fmt.Errorf("codec %q: %v is no named type of a package: %w", c.Name, c.Type, dberr.ErrInvalid)
	case r.std[c.Type]:
		return fmt.Errorf("codec %q: %v has a stored form of its own: %w", c.Name, c.Type, dberr.ErrInvalid)
	}
	r.mu.Lock()
	old := r.codecs[c.Type]
	r.mu.Unlock()
	if h, ok := old.(*handCodec); ok && h.registered {
		return fmt.Errorf("codec %q: %v has codec %q already: %w", c.Name, c.Type, h.Name, dberr.ErrInvalid)
	}
	if !r.isRegistered(c.Type) {
		if err := r.Register(c.Type, ""); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codecs[c.Type] = &handCodec{Codec: c, registered: true}
	r.changes.Add(1)
	clear(r.closure)
	clear(r.indexes)
	clear(r.plans)
	return nil
}
