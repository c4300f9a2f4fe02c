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
	migrate func(*podder.Registry) error // instead of the above
	codec   *podder.Codec                // of typ
	err     error                        // of an option that does not fit typ
	other   func(*podder.Registry) error // what has no typ
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

// Migrate makes values that were stored under name with the fields of Old into
// values of New when they are loaded, where names of fields and kinds do not say
// how. Old is the type as it was, under any Go name, with pointers to its own
// kind as pointers to the newest; an empty name stands for the name of New. Migrations are chained (the New of one is the Old of another), and
// several of one name are told apart by their fields.
//
// fn gets a value that belongs to it, whose pointers lead to loaded objects; of
// those that are migrated, too, the ones that were met later are ready, unless
// they form a cycle. It may run for every load, on any goroutine, so it must
// depend on nothing but its argument. Its error, and a panic, fail the load.
// Pointers into a migrated value, past its start, are ErrTypeMismatch.
func Migrate[Old, New any](name string, fn func(*Old) (New, error)) TypeEntry {
	run := func(old reflect.Value) (reflect.Value, error) {
		now, err := fn(old.Interface().(*Old))
		return reflect.ValueOf(&now).Elem(), err
	}
	return TypeEntry{typ: reflect.TypeFor[New](), name: name, migrate: func(r *podder.Registry) error {
		return r.Migrate(name, reflect.TypeFor[Old](), reflect.TypeFor[New](), run)
	}}
}

// Opaque stands for a value behind an interface whose type the program does not
// know (it is not among Options.Types, nor reachable from the variables). It is
// written back as it was, with all that it leads to, and may be moved within the
// database. In an interface with methods such a value shows as nil in a Namespace
// and comes back with the next Save if it is still nil and in its place;
// elements of slices and maps have no such place, nor have copies: there it is
// ErrUnregistered.
type Opaque = podder.Opaque

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
		if e.other != nil {
			if err := e.other(r); err != nil {
				return nil, err
			}
			continue
		}
		if e.typ == nil {
			return nil, fmt.Errorf("%w: empty TypeEntry; make entries with db.Type[T](name)", ErrInvalid)
		}
		if e.migrate != nil {
			continue
		}
		if err := e.register(r); err != nil {
			return nil, fmt.Errorf("register %v as %q: %w", e.typ, e.name, err)
		}
	}
	for _, e := range all { // names first: codecs and migrations speak of them
		if e.codec != nil {
			if err := r.RegisterCodec(*e.codec); err != nil {
				return nil, err
			}
		}
		if e.migrate != nil {
			if err := e.migrate(r); err != nil {
				return nil, err
			}
		}
	}
	if err := r.CheckMigrations(); err != nil {
		return nil, err
	}
	return r, nil
}
