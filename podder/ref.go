package podder

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A Ref is a pointer that is followed when the program asks for it. It is one word
// that leads to a cell, which copies of the Ref share; the cell has the object, or
// the place where it is stored and who can load it:
//
//	nil word      the nil Ref
//	ptr != nil    loaded, or made by NewRef: from then on a plain pointer
//	ptr == nil    stored at place; gate leads to the graph that it belongs to
//
// Stored, a Ref is a pointer, in its bytes and in its descriptor: whoever reads
// pods (Diff, JSON, Verify, programs that have a plain pointer there) follows it
// without knowing. What makes it different is done here:
//
//   - a load that has a home for it (refHome) keeps the place and fetches nothing
//     (ref_load.go);
//   - a save writes the reference of one that is not loaded as it was, and has the
//     object that a loaded one leads to be the head of a pod (ref_save.go).

// Ref is a pointer to a T that is always the beginning of a pod and that a load
// leaves alone until Get is called. The zero value is nil.
type Ref[T any] struct {
	_    [0]*T
	_    [0]func() // copies of one Ref are equal when they lead to one object, which == does not say
	cell *refCell
}

// refCell is what a Ref leads to.
type refCell struct {
	ptr   unsafe.Pointer // the object; read and written atomically once the load is over
	gate  atomic.Pointer[refGate]
	place pod.Ref // where the object is stored
	tail  string  // of a reference into it: stored element and steps
	loose bool    // it is stored under another type
}

// refGate is what the cells of one load share.
type refGate struct {
	home *refHome
	open atomic.Bool // the load is over
}

// NewRef returns a Ref to p.
func NewRef[T any](p *T) Ref[T] {
	if p == nil {
		return Ref[T]{}
	}
	return Ref[T]{cell: &refCell{ptr: unsafe.Pointer(p)}}
}

// IsNil reports whether the Ref leads nowhere.
func (r Ref[T]) IsNil() bool { return r.cell == nil }

// Loaded returns the object if it is in memory, and whether that is so; nil and
// true of a nil Ref.
func (r Ref[T]) Loaded() (*T, bool) {
	if r.cell == nil {
		return nil, true
	}
	p := r.cell.object()
	return (*T)(p), p != nil
}

// Get returns the object, and loads it if that was not done.
func (r Ref[T]) Get(ctx context.Context) (*T, error) {
	if r.cell == nil {
		return nil, nil
	}
	if p := r.cell.object(); p != nil {
		return (*T)(p), nil
	}
	p, err := r.cell.load(ctx, reflect.TypeFor[T]())
	if err != nil {
		return nil, fmt.Errorf("load what a Ref[%v] leads to: %w", reflect.TypeFor[T](), err)
	}
	return (*T)(p), nil
}

func (c *refCell) object() unsafe.Pointer { return atomic.LoadPointer(&c.ptr) }

// load asks the home of the cell for the object. Whoever comes second finds it.
func (c *refCell) load(ctx context.Context, t reflect.Type) (p unsafe.Pointer, err error) {
	gate := c.gate.Load()
	if gate == nil {
		return c.object(), nil // somebody has been here since
	}
	if !gate.open.Load() {
		return nil, fmt.Errorf("its own load is not over (AfterLoad and UnmarshalPod cannot load more): %w", dberr.ErrInvalid)
	}
	err = gate.home.with(ctx, func(src pod.Source) error {
		if p = c.object(); p != nil {
			return nil
		}
		if err := gate.home.err; err != nil {
			return err
		}
		if p, err = gate.home.loadRef(ctx, src, c, t); err == nil {
			atomic.StorePointer(&c.ptr, p)
			c.gate.Store(nil)
		}
		return err
	})
	return p, err
}

// refType recognises Ref, and structs of nothing but one, by which a package gives
// it a name of its own.
var refType = reflect.TypeFor[Ref[int]]()

// refOf returns the type to which a Ref leads.
func refOf(t reflect.Type) (elem reflect.Type, ok bool) {
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	if t.NumField() == 1 && strings.HasPrefix(t.Name(), "Ref[") {
		t = t.Field(0).Type
	}
	if t.PkgPath() != refType.PkgPath() || !strings.HasPrefix(t.Name(), "Ref[") {
		return nil, false
	}
	return t.Field(0).Type.Elem().Elem(), true
}

// refAt returns the cell of the Ref at p.
func refAt(p unsafe.Pointer) *refCell { return *(**refCell)(p) }
