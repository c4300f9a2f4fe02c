package podder

import (
	"io/fs"
	"reflect"
	"testing"
)

// TestModuleDataIsToldFromTheHeap: package variables of this package and others,
// and nothing that was allocated.
func TestModuleDataIsToldFromTheHeap(t *testing.T) {
	data := moduleData()
	for _, p := range []any{&codecTable, &stdTypes, &fs.ErrExist} {
		if at := reflect.ValueOf(p).Pointer(); !data.has(at) {
			t.Errorf("a %T at %#x is not in [%#x, +%#x)", p, at, data.low, data.span)
		}
	}
	for n := 1; n < 1<<22; n *= 2 {
		if at := reflect.ValueOf(make([]byte, n)).Pointer(); data.has(at) {
			t.Errorf("%d bytes of the heap at %#x are in [%#x, +%#x)", n, at, data.low, data.span)
		}
	}
	near := addressRange{100, 10}
	if withoutHeap(near, 109).span != 0 || withoutHeap(near, 110) != near || withoutHeap(near, 99) != near {
		t.Error("a heap that lies near is not noticed")
	}
}
