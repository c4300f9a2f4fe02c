package db

import (
	"context"
	"fmt"
	"reflect"
)

// Reader is what variables can be read from: a *Snapshot (copies) or a
// *Namespace (the live objects).
type Reader interface {
	read(ctx context.Context, names []string, want []reflect.Type) ([]reflect.Value, error)
	readOne(ctx context.Context, name string, want reflect.Type) (reflect.Value, error)
}

// Get reads one variable as a T. From a Snapshot it is a private copy, from a
// Namespace the live object itself. A missing name is ErrNotFound, a value
// that is no T is ErrTypeMismatch.
func Get[T any](ctx context.Context, r Reader, name string) (T, error) {
	var zero T
	want := reflect.TypeFor[T]()
	v, err := r.readOne(ctx, name, want)
	if err != nil {
		return zero, err
	}
	return assign[T](v, want, name)
}

func assign[T any](v reflect.Value, want reflect.Type, name string) (T, error) {
	if v.IsValid() && v.CanAddr() && v.Type() == want {
		return *v.Addr().Interface().(*T), nil
	}
	var out T
	if !v.IsValid() {
		return out, nil
	}
	if !v.Type().AssignableTo(want) {
		return out, fmt.Errorf("%w: variable %q holds %v, not %v", ErrTypeMismatch, name, v.Type(), want)
	}
	reflect.ValueOf(&out).Elem().Set(v)
	return out, nil
}
