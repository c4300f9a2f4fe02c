package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// A reflect.Type is stored as the text of the type, and is the same type again
// in every process that knows it.

// runtimeType is the type of what reflect.TypeOf returns.
var runtimeType = reflect.TypeOf(reflect.TypeFor[int]())

func reflectCodec(r *Registry) valueCodec {
	c := typeCodec{r}
	return checkedCodec{c, c.bounded}
}

type typeCodec struct{ reg *Registry }

func (typeCodec) name() string    { return "reflect.Type" }
func (typeCodec) version() uint64 { return 1 }

func (c typeCodec) append(dst []byte, p unsafe.Pointer) ([]byte, error) {
	t, ok := reflect.NewAt(runtimeType, p).Elem().Interface().(reflect.Type)
	if !ok || *(*unsafe.Pointer)(p) == nil {
		return dst, nil
	}
	if part := c.reg.unmakable(t, nil); part != nil {
		return dst, fmt.Errorf("a later process could not know the type %v: %s", t, c.reg.unknownHint(part, false))
	}
	text, err := nodeText(c.reg, t)
	return append(dst, text...), err
}

func (c typeCodec) decode(b []byte, p unsafe.Pointer) error { return c.bounded(&loader{}, b, p) }

// bounded counts types that are made from their text among those of the load.
func (c typeCodec) bounded(of *loader, b []byte, p unsafe.Pointer) error {
	if len(b) == 0 {
		*(*unsafe.Pointer)(p) = nil
		return nil
	}
	if len(b) > maxTypeText {
		return fmt.Errorf("type text of %d bytes: %w", len(b), dberr.ErrTooLarge)
	}
	l := loader{reg: c.reg, made: of.made} // without the types that this load wants
	t, err := l.resolve(string(b))
	of.made = l.made
	if err != nil {
		return err
	}
	reflect.NewAt(runtimeType, p).Elem().Set(reflect.ValueOf(t))
	return nil
}
