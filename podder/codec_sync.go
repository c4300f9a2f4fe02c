package podder

import (
	"reflect"
	"sync"
)

// syncMap stores a sync.Map as its entries.
func syncMap() *handCodec {
	return &handCodec{registered: true, Codec: Codec{
		Type: reflect.TypeFor[sync.Map](), Name: "sync.Map", Version: 1,
		Store: func(w *ValueWriter, v any) error {
			v.(*sync.Map).Range(func(key, elem any) bool {
				w.Entry(key, elem)
				return true
			})
			return nil
		},
		Load: func(r *ValueReader, v any) error {
			for key, elem := range r.Entries() {
				v.(*sync.Map).Store(key, elem)
			}
			return nil
		},
	}}
}
