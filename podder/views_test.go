package podder

import (
	"errors"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

type viewLess struct {
	N int
	X complex64 `pod:"-"`
}

type viewMore struct {
	N int
	X complex64 `pod:"other"`
}

type viewAlso struct {
	N int
	X complex64
}

// An object that is reached as a type which stores a field and as one that does not is an error with
// the path: which of them is met first would decide what is kept. Other names of fields are none.
func TestOneObjectThatStoresAFieldAndDoesNot(t *testing.T) {
	type lessFirst struct {
		A *viewLess
		B *viewMore
	}
	type moreFirst struct {
		B *viewMore
		A *viewLess
	}
	x := &viewMore{1, 2}
	for _, top := range []any{&lessFirst{(*viewLess)(x), x}, &moreFirst{x, (*viewLess)(x)}} {
		s := newFakeStore()
		_, err := mustGraph(t, s.config()).Save(t.Context(), rootsOf("x", top), s.begin())
		if !errors.Is(err, dberr.ErrUnsupported) || !strings.Contains(err.Error(), "x") {
			t.Errorf("%T: %v", top, err)
		} else {
			t.Log(err)
		}
	}
	type both struct {
		A *viewAlso
		B *viewMore
	}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "x", &both{(*viewAlso)(x), x})
}
