package db

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/poddb/poddb/podder"
)

// TypeSet is a set of types that may stand behind interfaces, made by Types.
type TypeSet struct {
	entries []TypeEntry
}

// TypeEntry is one element of a TypeSet.
type TypeEntry struct {
	typ     reflect.Type
	name    string
	aliases []string
}

// TypeOption refines a Type entry.
type TypeOption func(*TypeEntry)

// Type names T in the database. The name is stored with every value and must
// stay the same for the life of the data; it may differ from the Go name.
func Type[T any](name string, opts ...TypeOption) TypeEntry {
	return TypeOf(reflect.TypeFor[T](), name, opts...)
}

// TypeOf is Type for a type known only at run time.
func TypeOf(t reflect.Type, name string, opts ...TypeOption) TypeEntry {
	e := TypeEntry{typ: t, name: name}
	for _, o := range opts {
		o(&e)
	}
	return e
}

// Alias makes values stored under an older name load as this type.
func Alias(old string) TypeOption {
	return func(e *TypeEntry) { e.aliases = append(e.aliases, old) }
}

// Types collects entries for Options.Types. Two different types of one name,
// or one type with two names, are an error from Open.
func Types(entries ...TypeEntry) TypeSet { return TypeSet{entries: entries} }

// With returns the set with more entries.
func (s TypeSet) With(entries ...TypeEntry) TypeSet {
	return TypeSet{entries: append(append([]TypeEntry(nil), s.entries...), entries...)}
}

// registered holds what Register collected; Open reads it.
var registered struct {
	sync.Mutex
	entries []TypeEntry
}

// Register adds T to the types of every database opened afterwards, as
// Options.Types does for one. It may be called from any goroutine; a
// conflicting pair is an error from Open.
func Register[T any](name string, opts ...TypeOption) {
	registered.Lock()
	defer registered.Unlock()
	registered.entries = append(registered.entries, Type[T](name, opts...))
}

// registry builds the registry of one database.
func (s TypeSet) registry() (*podder.Registry, error) {
	registered.Lock()
	all := append(append([]TypeEntry(nil), registered.entries...), s.entries...)
	registered.Unlock()
	r := podder.NewRegistry()
	for _, e := range all {
		if e.typ == nil {
			return nil, fmt.Errorf("%w: empty TypeEntry; make entries with db.Type[T](name)", ErrInvalid)
		}
		if err := r.Register(e.typ, e.name, e.aliases...); err != nil {
			return nil, fmt.Errorf("register %v as %q: %w", e.typ, e.name, err)
		}
	}
	return r, nil
}
