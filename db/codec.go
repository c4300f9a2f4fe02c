package db

import (
	"encoding"
	"encoding/gob"
	"fmt"
	"reflect"
	"unique"

	"github.com/poddb/poddb/podder"
)

// ValueWriter takes what a codec or MarshalPod stores of one value: data, and other
// values, which keep identity and everything else that the program's values keep.
type ValueWriter = podder.ValueWriter

// ValueReader gives back what a ValueWriter took.
type ValueReader = podder.ValueReader

// Codec has values of T stored by functions of the program instead of by their
// parts. Its name and version are stored with the type: load gets the version that
// was stored (ValueReader.Version), older ones included. What store writes must
// depend on the value alone, since it is run for every save that reaches the value.
// T is known behind interfaces, under the name of a Type entry if it has one, else
// under its own.
//
// Errors and panics of store fail the save with ErrUnsupported and the path,
// those of load, and what it leaves unread, the load with ErrTypeMismatch. For a
// type of the program's own, methods MarshalPod(*ValueWriter) error and
// UnmarshalPod(*ValueReader) error do the same without an entry.
func Codec[T any](name string, version uint64, store func(w *ValueWriter, v *T) error, load func(r *ValueReader, v *T) error, opts ...TypeOption) TypeEntry {
	e := TypeEntry{typ: reflect.TypeFor[T](), codec: &podder.Codec{
		Type: reflect.TypeFor[T](), Name: name, Version: version,
		Store: func(w *ValueWriter, v any) error { return store(w, v.(*T)) },
		Load:  func(r *ValueReader, v any) error { return load(r, v.(*T)) },
	}}
	for _, o := range opts {
		o(&e)
	}
	return e
}

// Pure says that what a codec writes changes only if the value's own memory does,
// not that behind its pointers. It means nothing without a codec.
func Pure() TypeOption {
	return func(e *TypeEntry) {
		if e.codec != nil {
			e.codec.Pure = true
		}
	}
}

// UseBinary has values of a Type stored by their methods AppendBinary or
// MarshalBinary, and UnmarshalBinary. Types that have such methods are not
// stored by them unless an entry says so.
func UseBinary() TypeOption {
	return useForm("binary", storeBinary, loadBinary, needsBinary, needs[encoding.BinaryUnmarshaler])
}

// UseGob has values of a Type stored as package encoding/gob does, with their
// methods GobEncode and GobDecode.
func UseGob() TypeOption {
	return useForm("gob", func(v any) ([]byte, error) {
		if e, ok := v.(gob.GobEncoder); ok {
			return e.GobEncode()
		}
		return nil, lacks(v, "GobEncode")
	}, func(v any, b []byte) error {
		if d, ok := v.(gob.GobDecoder); ok {
			return d.GobDecode(b)
		}
		return lacks(v, "GobDecode")
	}, needs[gob.GobEncoder], needs[gob.GobDecoder])
}

// UseText has values of a Type stored by their methods MarshalText and
// UnmarshalText.
func UseText() TypeOption {
	return useForm("text", func(v any) ([]byte, error) {
		if m, ok := v.(encoding.TextMarshaler); ok {
			return m.MarshalText()
		}
		return nil, lacks(v, "MarshalText")
	}, func(v any, b []byte) error {
		if u, ok := v.(encoding.TextUnmarshaler); ok {
			return u.UnmarshalText(b)
		}
		return lacks(v, "UnmarshalText")
	}, needs[encoding.TextMarshaler], needs[encoding.TextUnmarshaler])
}

func storeBinary(v any) ([]byte, error) {
	switch m := v.(type) {
	case encoding.BinaryAppender:
		return m.AppendBinary(nil)
	case encoding.BinaryMarshaler:
		return m.MarshalBinary()
	}
	return nil, lacks(v, "MarshalBinary")
}

func loadBinary(v any, b []byte) error {
	if u, ok := v.(encoding.BinaryUnmarshaler); ok {
		return u.UnmarshalBinary(b)
	}
	return lacks(v, "UnmarshalBinary")
}

func lacks(v any, method string) error {
	return fmt.Errorf("%T has no method %s: %w", v, method, ErrInvalid)
}

// needs reports that pointers to t lack the methods of I.
func needs[I any](t reflect.Type) error {
	if t != nil && !reflect.PointerTo(t).Implements(reflect.TypeFor[I]()) {
		return fmt.Errorf("*%v is no %v: %w", t, reflect.TypeFor[I](), ErrInvalid)
	}
	return nil
}

func needsBinary(t reflect.Type) error {
	if needs[encoding.BinaryAppender](t) == nil {
		return nil
	}
	return needs[encoding.BinaryMarshaler](t)
}

// useForm makes a codec of a type's own methods.
func useForm(form string, store func(v any) ([]byte, error), load func(v any, b []byte) error, methods ...func(reflect.Type) error) TypeOption {
	return func(e *TypeEntry) {
		for _, has := range methods {
			if err := has(e.typ); err != nil {
				e.err = err
			}
		}
		e.codec = &podder.Codec{
			Type: e.typ, Name: form, Version: 1,
			Store: func(w *ValueWriter, v any) error {
				b, err := store(v)
				w.Raw(b)
				return err
			},
			Load: func(r *ValueReader, v any) error { return load(v, r.Rest()) },
		}
	}
}

// Handle has values of unique.Handle[T] stored as what they stand for. Handles of
// strings need no entry.
func Handle[T comparable]() TypeEntry {
	return Codec("unique.Handle", 1, func(w *ValueWriter, h *unique.Handle[T]) error {
		if *h != (unique.Handle[T]{}) {
			w.Value(h.Value())
		}
		return nil
	}, func(r *ValueReader, h *unique.Handle[T]) error {
		if r.Values() == 0 {
			return nil
		}
		v, ok := r.Value().(T)
		if !ok {
			return fmt.Errorf("what is stored is no %v", reflect.TypeFor[T]())
		}
		*h = unique.Make(v)
		return nil
	})
}

// Value gives the object to which p points a name: a default value, a registered
// singleton, an error that is compared by address. A variable that refers to the
// object stores its name, and refers to the program's own object again after a
// load, in every process that has the name; the object itself is neither stored
// nor written. Those of the standard library's packages io, io/fs, os, context,
// errors, strconv, bytes and bufio need no entry.
func Value(name string, p any) TypeEntry {
	return TypeEntry{other: func(r *podder.Registry) error { return r.RegisterValue(name, p) }}
}

// AllowPackage has structs of the package at an import path stored by their parts
// although some of these are private, which is no contract: they load only where
// the package has the version (of its module, or the release of Go) and the layout
// that stored them, else it is ErrTypeMismatch with both. A codec lasts longer.
func AllowPackage(path string) TypeEntry {
	return TypeEntry{other: func(r *podder.Registry) error { return r.AllowPackage(path) }}
}

// register gives the type of an entry its name, if it has one to give.
func (e *TypeEntry) register(r *podder.Registry) error {
	if e.err != nil || e.codec != nil && e.name == "" && len(e.aliases) == 0 {
		return e.err
	}
	return r.Register(e.typ, e.name, e.aliases...)
}
