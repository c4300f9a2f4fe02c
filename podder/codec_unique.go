package podder

import (
	"errors"
	"reflect"
	"strings"
	"unique"
)

// A unique.Handle[string] is stored as the string, and is the handle of that
// string again. Handles of other types are made by code that knows the type:
// programs register them (db.Handle).
func handleCodec(*Registry) valueCodec {
	return typedCodec[unique.Handle[string]]{"unique.Handle[string]", 1,
		func(dst []byte, v *unique.Handle[string]) ([]byte, error) {
			if *v == (unique.Handle[string]{}) {
				return dst, nil
			}
			return append(append(dst, 1), v.Value()...), nil
		},
		func(b []byte, v *unique.Handle[string]) error {
			if len(b) == 0 {
				return nil
			}
			if b[0] != 1 {
				return errors.New("damaged handle")
			}
			*v = unique.Make(string(b[1:]))
			return nil
		}, false}
}

// isHandle reports whether t is a unique.Handle of anything.
func isHandle(t reflect.Type) bool {
	return t.PkgPath() == "unique" && strings.HasPrefix(t.Name(), "Handle[")
}
