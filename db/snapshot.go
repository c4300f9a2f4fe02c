package db

import (
	"context"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Snapshot is a read-only view of the database at one version. It never
// changes, blocks nobody, and may be used by many goroutines. What it reads
// are private copies.
type Snapshot struct {
	d  *DB
	sn *mvcc.Snapshot
}

// At opens a snapshot of a version. An unknown version is ErrNotFound.
// Version 0 is the empty database.
func (d *DB) At(ctx context.Context, v Version) (*Snapshot, error) {
	sn, err := d.store.At(ctx, v)
	if err != nil {
		return nil, d.named(err)
	}
	return &Snapshot{d: d, sn: sn}, nil
}

// Close releases the version to retention. It is safe to call twice.
func (s *Snapshot) Close() error {
	s.sn.Close()
	return nil
}

// Version returns the version that the snapshot shows.
func (s *Snapshot) Version() Version { return s.sn.Version() }

// Names yields the variables whose names begin with prefix, in byte order. At
// most one error is yielded, and it ends the sequence.
func (s *Snapshot) Names(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for n, err := range s.sn.Names(ctx, prefix) {
			if !yield(n, s.d.named(err)) {
				return
			}
		}
	}
}

func (s *Snapshot) read(ctx context.Context, names []string, want []reflect.Type) ([]reflect.Value, error) {
	vals, err := podder.Decode(ctx, s.d.conf, s.sn, names, want)
	return vals, s.d.named(err)
}

func (s *Snapshot) readOne(ctx context.Context, name string, want reflect.Type) (reflect.Value, error) {
	v, err := podder.DecodeOne(ctx, &s.d.conf, s.sn, name, want)
	if err != nil {
		return v, s.d.named(err)
	}
	return v, nil
}

// Load reads several variables in one call, so that what they share is one
// object again. dst is either
//
//   - a pointer to a struct: each exported field is filled from the variable
//     named by its tag `pod:"name"`, else by its own name, else by its name
//     with a lower-case first letter; `pod:"-"` leaves a field alone;
//   - a *map[string]any: the keys present name the variables; a nil map is
//     filled with all variables.
//
// A missing variable is ErrNotFound, and then nothing is filled.
func (s *Snapshot) Load(ctx context.Context, dst any) error {
	return load(ctx, s, dst, func(name string) (bool, error) { return s.has(ctx, name) },
		func() ([]string, error) { return s.allNames(ctx) })
}

func (s *Snapshot) has(ctx context.Context, name string) (bool, error) {
	_, err := s.sn.Root(ctx, name)
	return found(s.d.named(err))
}

func (s *Snapshot) allNames(ctx context.Context) ([]string, error) {
	var names []string
	for n, err := range s.Names(ctx, "") {
		if err != nil {
			return nil, err
		}
		names = append(names, n)
	}
	return names, nil
}

// load fills a struct or a map from r.
func load(ctx context.Context, r Reader, dst any, has func(string) (bool, error), all func() ([]string, error)) error {
	if m, ok := dst.(*map[string]any); ok {
		if m == nil {
			return fmt.Errorf("%w: Load into a nil *map[string]any", ErrInvalid)
		}
		return loadMap(ctx, r, m, all)
	}
	p := reflect.ValueOf(dst)
	if p.Kind() == reflect.Pointer && p.IsNil() {
		return fmt.Errorf("%w: Load into a nil %T", ErrInvalid, dst)
	}
	if p.Kind() != reflect.Pointer || p.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("%w: Load needs a pointer to a struct or a *map[string]any, not %T", ErrInvalid, dst)
	}
	fields, names, want, err := loadPlan(p.Elem(), has)
	if err != nil {
		return err
	}
	vals, err := r.read(ctx, names, want)
	if err != nil {
		return err
	}
	for i, v := range vals {
		if v.IsValid() && !v.Type().AssignableTo(want[i]) {
			return fmt.Errorf("%w: variable %q holds %v, not %v", ErrTypeMismatch, names[i], v.Type(), want[i])
		}
	}
	for i, v := range vals {
		if v.IsValid() {
			fields[i].Set(v)
		} else {
			fields[i].SetZero()
		}
	}
	return nil
}

func loadMap(ctx context.Context, r Reader, m *map[string]any, all func() ([]string, error)) error {
	var names []string
	if *m == nil {
		var err error
		if names, err = all(); err != nil {
			return err
		}
	} else {
		for n := range *m {
			names = append(names, n)
		}
	}
	vals, err := r.read(ctx, names, make([]reflect.Type, len(names)))
	if err != nil {
		return err
	}
	if *m == nil {
		*m = make(map[string]any, len(names))
	}
	for i, v := range vals {
		if v.IsValid() {
			(*m)[names[i]] = v.Interface()
		} else {
			(*m)[names[i]] = nil
		}
	}
	return nil
}

// loadPlan pairs the fields of a struct with variables.
func loadPlan(st reflect.Value, has func(string) (bool, error)) (fields []reflect.Value, names []string, want []reflect.Type, err error) {
	for i := range st.NumField() {
		f := st.Type().Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("pod"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		name := tag
		if name == "" {
			if name, err = fieldName(f.Name, has); err != nil {
				return nil, nil, nil, err
			}
		}
		fields = append(fields, st.Field(i))
		names = append(names, name)
		want = append(want, f.Type)
	}
	return fields, names, want, nil
}

// fieldName finds the variable for an untagged field.
func fieldName(field string, has func(string) (bool, error)) (string, error) {
	first, n := utf8.DecodeRuneInString(field)
	lower := string(unicode.ToLower(first)) + field[n:]
	for _, name := range []string{field, lower} {
		ok, err := has(name)
		if err != nil {
			return "", err
		}
		if ok {
			return name, nil
		}
	}
	return "", fmt.Errorf("%w: no variable %q or %q for field %s", ErrNotFound, field, lower, field)
}
