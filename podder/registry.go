package podder

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/poddb/poddb/internal/dberr"
)

// Registry knows the types that may stand behind interfaces, by a stable name
// that outlives renames of packages and types. Types that are reachable from
// the static type of a variable need no registration.
//
// A Registry may be used by many goroutines and shared by many graphs.
type Registry struct {
	mu      sync.RWMutex
	names   map[reflect.Type]string                    // registered name of a type
	types   map[string]reflect.Type                    // registered names and aliases
	aliases map[reflect.Type][]string                  // further names under which a type was stored
	texts   map[reflect.Type]string                    // type text, computed once
	claimed map[string]reflect.Type                    // which type a text stands for in stored data
	closure map[reflect.Type]typeSet                   // static closure, computed once
	refs    map[reflect.Type]bool                      // whether it has a Ref
	indexes map[reflect.Type]map[string][]reflect.Type // closure by type text
	plans   map[planKey]*decodePlan                    // compiled decoders
	// parsedNodes are parsed descriptors by their bytes
	parsedNodes map[string]*node
	// migrations by the name under which their old values are stored
	migrations map[string][]migration
	stored     map[uint64]storedIDs // by the seed of the database
	zones      *zones
	codecs     map[reflect.Type]storedCodec // nil for types that have none
	layouts    map[reflect.Type]string      // stdTypes, with the fields that they must have
	std        map[reflect.Type]bool        // types that every process knows
	values     map[reflect.Type]bool        // types of sentinels
	builtin    map[string]reflect.Type      // types of std and values by text
	sentinels  []sentinel                   // by address
	allowed    map[string]bool              // packages, by import path
	modules    ownModules
	lost       []string // stdValues that could not be registered
	// changes counts what may change how a stored type is read.
	changes atomic.Uint64
}

// NewRegistry returns a registry that knows the predeclared types.
func NewRegistry() *Registry {
	r := &Registry{
		modules: mainModule(),
		names:   map[reflect.Type]string{},
		types:   map[string]reflect.Type{},
		aliases: map[reflect.Type][]string{},
		texts:   map[reflect.Type]string{},
		claimed: map[string]reflect.Type{},
		closure: map[reflect.Type]typeSet{},
		indexes: map[reflect.Type]map[string][]reflect.Type{},
		plans:   map[planKey]*decodePlan{},

		parsedNodes: map[string]*node{},

		zones:   newZones(),
		codecs:  map[reflect.Type]storedCodec{},
		layouts: map[reflect.Type]string{},
		std:     map[reflect.Type]bool{},
		values:  map[reflect.Type]bool{},
		builtin: map[string]reflect.Type{},
	}
	r.addBuiltin()
	return r
}

// Register gives t a stable name under which its values are stored; values
// stored under one of the aliases are read as t, too. An empty name stands for
// the name that t has without registration. The same call again
// changes nothing; a name that another type has, or a second name for the same
// type, is an error (ErrInvalid), as is a type that has no name of its own to
// replace: register T, not *T or []T.
func (r *Registry) Register(t reflect.Type, name string, aliases ...string) error {
	if t == nil {
		return fmt.Errorf("register: no type: %w", dberr.ErrInvalid)
	}
	if t.Name() == "" && t.Kind() != reflect.Struct {
		return fmt.Errorf("register %v: only named types and structs have a name of their own, what is built from them follows: %w", t, dberr.ErrInvalid)
	}
	if _, ok := predeclaredID(t); ok {
		return fmt.Errorf("register %v: predeclared types keep their names: %w", t, dberr.ErrInvalid)
	}
	if t.Kind() == reflect.Struct && r.codec(t) == nil {
		if err := checkTags(t); err != nil {
			return fmt.Errorf("register: %w", err)
		}
	}
	if name == "" {
		name = r.typeText(t)
	}
	all := append([]string{name}, aliases...)
	for _, n := range all {
		if t.Name() == "" && n == r.typeText(t) {
			continue
		}
		if err := checkName(n); err != nil {
			return fmt.Errorf("register %v: %w", t, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.names[t]; ok && old != name {
		return fmt.Errorf("register %v as %q: it is registered as %q: %w", t, name, old, dberr.ErrInvalid)
	}
	for _, n := range all {
		if other, ok := r.types[n]; ok && other != t {
			whose := other.String()
			if whose == t.String() {
				whose = "another type that is called so, too (types local to two functions are): give this one a name of its own"
			}
			return fmt.Errorf("register %v as %q: that name belongs to %s: %w", t, n, whose, dberr.ErrInvalid)
		}
	}
	r.names[t] = name
	for _, n := range all {
		r.types[n] = t
	}
	r.aliases[t] = append(r.aliases[t], aliases...)
	r.changes.Add(1)
	// Texts and plans of types built from t contain the old name.
	clear(r.texts)
	clear(r.claimed)
	clear(r.indexes)
	clear(r.plans)
	return nil
}

// checkName refuses names that read as a composite or predeclared type.
func checkName(n string) error {
	switch {
	case n == "" || len(n) > maxTypeText:
		return fmt.Errorf("name of %d bytes: %w", len(n), dberr.ErrInvalid)
	case strings.ContainsAny(n[:1], "*[<("),
		strings.HasPrefix(n, "map["), strings.HasPrefix(n, "func("), strings.HasPrefix(n, "chan "), strings.HasPrefix(n, "chan<- "),
		strings.HasPrefix(n, "struct{"), strings.HasPrefix(n, "interface{"):
		return fmt.Errorf("name %q reads as a type expression: %w", n, dberr.ErrInvalid)
	}
	if _, ok := predeclaredByText(n); ok || n == "unsafe.Pointer" {
		return fmt.Errorf("name %q is predeclared: %w", n, dberr.ErrInvalid)
	}
	return nil
}

// registered returns the type that has the name or alias.
func (r *Registry) registered(name string) (reflect.Type, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if ms := r.migrations[name]; len(ms) > 0 {
		return r.last(ms[0].now), true
	}
	t, ok := r.types[name]
	return t, ok
}

// isRegistered reports whether t was given a name.
func (r *Registry) isRegistered(t reflect.Type) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := r.names[t]
	return ok
}

// registeredTypes returns all registered types, in no order.
func (r *Registry) registeredTypes() []reflect.Type {
	r.mu.RLock()
	defer r.mu.RUnlock()
	ts := make([]reflect.Type, 0, len(r.names))
	for t := range r.names {
		ts = append(ts, t)
	}
	return ts
}

// claim makes text stand for t in what is stored through this registry. Two
// types that cannot be told apart by text (types local to two functions) are
// refused until one is registered.
func (r *Registry) claim(text string, t reflect.Type) error {
	r.mu.RLock()
	old, ok := r.claimed[text]
	r.mu.RUnlock()
	if !ok {
		r.mu.Lock()
		if old, ok = r.claimed[text]; !ok {
			r.claimed[text] = t
		}
		r.mu.Unlock()
	}
	if ok && old != t {
		return &nameError{t, fmt.Sprintf("the program has another type that is called %s, too, and a later process could not tell them apart; %s", text, nameHint)}
	}
	return nil
}

// known reports whether a later process that has the same registry and wants
// types whose static closure is static can make t from its text. It says yes
// to what loader.resolve can do, and to nothing else.
func (r *Registry) known(t reflect.Type, static typeSet) bool {
	return r.unmakable(t, static) == nil
}

// unmakable returns the part of t because of which t is not known: a type that
// only a registration makes known, or an array type too big to be made from
// its text. It is nil if t is known.
func (r *Registry) unmakable(t reflect.Type, static typeSet) reflect.Type {
	for depth := 0; ; depth++ {
		if _, ok := static[t]; ok || r.isRegistered(t) {
			return nil
		}
		if _, ok := predeclaredID(t); ok || t == emptyStruct || r.std[t] || r.isValueType(t) {
			return nil
		}
		if r.knownBehindRegistered(t) {
			return nil
		}
		if t.Name() != "" || depth >= maxNodeDepth {
			return t
		}
		switch t.Kind() {
		case reflect.Array:
			if !madeArray(uint64(t.Len()), t.Elem()) {
				return t
			}
			t = t.Elem()
		case reflect.Pointer, reflect.Slice:
			t = t.Elem()
		case reflect.Map:
			if u := r.unmakable(t.Key(), static); u != nil {
				return u
			}
			t = t.Elem()
		default:
			return t
		}
	}
}

// unknownHint says what to do about a type that is not known, given the part
// that unmakable found.
//
// twin says that it is not the only one of its text: no program can write down which
// of them it means, other than in the function that declares it.
func (r *Registry) unknownHint(part reflect.Type, twin bool) string {
	switch {
	case part.Kind() == reflect.Array && part.Name() == "":
		return fmt.Sprintf("an array type of more than %d elements or bytes is not made from its text: use a slice, or give it a name and register that before Open", maxMadeArray)
	case part.Name() == "" && part.Kind() != reflect.Struct:
		return "give it a name and register that before Open"
	}
	if strings.Contains(part.String(), "·") {
		return fmt.Sprintf("it has a type argument that is local to a function; register it there before Open, with db.Register[T](name) for %v, or declare that type outside of functions", part)
	}
	text := r.typeText(part)
	if twin || r.isTaken(text, part) {
		return fmt.Sprintf("%v is %s; register it where it is declared, before Open, with db.Register[T](name) under a name of its own, or declare that type outside of functions", part, oneOfTwo)
	}
	return fmt.Sprintf("call db.Register[%v](%q) before Open", part, text)
}

// oneOfTwo says what types of the same text are.
const oneOfTwo = "not the only type that is called so (types local to two functions are)"

// isTaken reports whether the name belongs to another type than t.
func (r *Registry) isTaken(name string, t reflect.Type) bool {
	other, ok := r.registered(name)
	return ok && other != t
}

func (r *Registry) knownBehindRegistered(t reflect.Type) bool {
	for _, u := range r.registeredTypes() {
		if _, ok := r.reachable(u)[t]; ok {
			return true
		}
	}
	return false
}

// registerHint is the call that makes a type text known.
func registerHint(text string) string {
	return fmt.Sprintf("register it before opening: db.Register[T](%q)", text)
}
