package db

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/podder"
)

// StoredType describes how values of one type are laid out; StoredField is a
// field of one.
type (
	StoredType  = podder.StoredType
	StoredField = podder.StoredField
)

// TypeChange says what becomes of one stored layout in a program: same, added,
// removed, renamed, converted, checked (value by value), migrated, impossible or
// unknown.
type (
	TypeChange  = podder.TypeChange
	FieldChange = podder.FieldChange
)

// Schema returns the catalogue: every layout that any version of the database
// may have, in the order in which they were first stored, and the named types
// that are parts of them (ID 0).
func (d *DB) Schema(ctx context.Context) ([]StoredType, error) {
	var list []StoredType
	parts := map[string]bool{}
	err := d.store.Types(ctx, pod.FirstCatalogType, func(id pod.TypeID, descriptor []byte) error {
		all, err := podder.DescribeStored(id, descriptor)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		for _, t := range all {
			if t.ID == 0 {
				key, err := json.Marshal(t)
				if err != nil {
					return err
				}
				if parts[string(key)] {
					continue
				}
				parts[string(key)] = true
			}
			list = append(list, t)
		}
		return nil
	})
	return list, d.named(err)
}

// CountTypes counts the values of each type, by id, in all variables of a
// snapshot. It reads all of them.
func (s *Snapshot) CountTypes(ctx context.Context) (map[uint32]int64, error) {
	names, err := s.allNames(ctx)
	if err != nil {
		return nil, err
	}
	counts, err := podder.CountValues(ctx, s.sn, names)
	return counts, s.d.named(err)
}

// programTypes is what DescribeTypes writes.
type programTypes struct {
	Format int          `json:"poddb_types"` // 1
	Types  []StoredType `json:"types"`
}

// DescribeTypes writes the types of a program as JSON: those of the set and of
// Register, those of the given values, and all that they lead to. The command
// poddb schema compares it with a database; CompareTypes does the same.
func DescribeTypes(types TypeSet, variables ...any) ([]byte, error) {
	r, err := types.registry()
	if err != nil {
		return nil, err
	}
	var roots []reflect.Type
	for _, v := range variables {
		if v == nil {
			return nil, fmt.Errorf("%w: DescribeTypes with a nil value has no type to describe; pass a typed one", ErrInvalid)
		}
		roots = append(roots, reflect.TypeOf(v))
	}
	list, err := r.DescribeProgram(roots)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(programTypes{1, list}, "", "\t")
}

// CompareTypes says what becomes of stored types in the program that description
// is of: every stored layout of a named type, then the types that are new in
// the program. What differs between two versions of one layout is decided by
// type texts; whether each value fits, only a load can say.
func CompareTypes(stored []StoredType, description []byte) ([]TypeChange, error) {
	var p programTypes
	if err := json.Unmarshal(description, &p); err != nil {
		return nil, fmt.Errorf("%w: no description of types: %w", ErrInvalid, err)
	}
	switch {
	case p.Format > 1:
		return nil, fmt.Errorf("%w: description of format %d", ErrTooNew, p.Format)
	case p.Format != 1:
		return nil, fmt.Errorf("%w: no description of types; write one with db.DescribeTypes", ErrInvalid)
	}
	return podder.CompareTypes(stored, p.Types), nil
}
