package podder

import (
	"fmt"
	"unsafe"
)

// typedCodec is a codec of the standard library's T from two functions. What
// get is given may be anything; if code of the standard library panics over it,
// that is damage, too.
type typedCodec[T any] struct {
	id  string
	ver uint64
	put func(dst []byte, v *T) ([]byte, error)
	get func(b []byte, v *T) error
	// indirect says that a T refers to memory which may change while the T does not.
	indirect bool
}

func (c typedCodec[T]) reruns() bool { return c.indirect }

func (c typedCodec[T]) name() string    { return c.id }
func (c typedCodec[T]) version() uint64 { return c.ver }

func (c typedCodec[T]) append(dst []byte, p unsafe.Pointer) ([]byte, error) {
	return c.put(dst, (*T)(p))
}

func (c typedCodec[T]) decode(b []byte, p unsafe.Pointer) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	var zero T
	*(*T)(p) = zero // a slot may be decoded twice, and scratch memory serves many
	return c.get(b, (*T)(p))
}

// checkedCodec is a codec that some values have no stored form in: they are
// asked for it while the walk knows the path to them.
type checkedCodec struct {
	valueCodec
	// bounded is decode where a few bytes may ask for much memory, which it accounts
	// for; nil if that cannot be.
	bounded func(l *loader, b []byte, p unsafe.Pointer) error
}

// costing is the codec of values that take about size bytes of memory.
func (c typedCodec[T]) costing(size func(b []byte) uint64) checkedCodec {
	return checkedCodec{c, func(l *loader, b []byte, p unsafe.Pointer) error {
		if !l.charge(1, size(b), len(b)) {
			return nil
		}
		return c.decode(b, p)
	}}
}
