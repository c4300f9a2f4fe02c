package podder

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

// FuzzDescriptor: type descriptors from anywhere. One that is accepted is
// written again as one that reads the same.
func FuzzDescriptor(f *testing.F) {
	reg := NewRegistry()
	for _, typ := range []reflect.Type{reflect.TypeFor[descAll](), reflect.TypeFor[int](), reflect.TypeFor[**[]map[[2]string]any](), reflect.TypeFor[time.Time]()} {
		b, err := describe(reg, typ)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseDescriptor(b)
		if err != nil {
			return
		}
		once := appendNode([]byte{descriptorVersion}, n)
		again, err := parseDescriptor(once)
		if err != nil {
			t.Fatalf("%q was accepted; written as %q it is not: %v", b, once, err)
		}
		if twice := appendNode([]byte{descriptorVersion}, again); !bytes.Equal(once, twice) {
			t.Fatalf("%q, then %q", once, twice)
		}
	})
}
