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

// codecFor returns the codec of exactly t, nil if t is stored by its parts.
// Registry.codec gives the same codec with caches bound to it.
func codecFor(t reflect.Type) valueCodec {
	if t == timeType {
		return timeCodec{}
	}
	return nil
}

// codec returns codecFor(t) bound to the registry's caches.
func (r *Registry) codec(t reflect.Type) valueCodec {
	if t == timeType {
		return timeCodec{zones: r.zones}
	}
	return nil
}
