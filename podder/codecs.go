package podder

import (
	"reflect"
	"unsafe"
)

// valueCodec stores values of one type as bytes of its own making, because
// the type's memory is no contract (it belongs to another package) or holds
// what must not be stored.
//
// append reads the value at p and appends its bytes; decode writes the value
// for b to p, which points at a zero value. decode accepts any bytes and
// never panics. Equal values must give equal bytes.
type valueCodec interface {
	name() string
	version() uint64
	append(dst []byte, p unsafe.Pointer) ([]byte, error)
	decode(b []byte, p unsafe.Pointer) error
}

// codecTable has every type that has a codec. Codecs that remember something do
// it in the zones. All types in it are known to every process.
var codecTable = [...]struct {
	typ  reflect.Type
	make func(*zones) valueCodec
}{
	{timeType, func(z *zones) valueCodec { return timeCodec{zones: z} }},
}

// codecOf returns the codec of exactly t, nil if t is stored by its parts.
func codecOf(t reflect.Type, z *zones) valueCodec {
	for i := range codecTable {
		if codecTable[i].typ == t {
			return codecTable[i].make(z)
		}
	}
	return nil
}

// codecType returns the type with a codec that text stands for, nil if none.
func (r *Registry) codecType(text string) reflect.Type {
	for i := range codecTable {
		if t := codecTable[i].typ; r.typeText(t) == text {
			return t
		}
	}
	return nil
}

// codecFor returns the codec of t without caches, for its name and version.
func codecFor(t reflect.Type) valueCodec { return codecOf(t, nil) }

// codec returns the codec of t bound to the registry's caches.
func (r *Registry) codec(t reflect.Type) valueCodec { return codecOf(t, r.zones) }
