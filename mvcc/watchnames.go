package mvcc

import (
	"context"
	"fmt"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// NameChange is a variable that is bound otherwise in two versions; 0 is not bound.
type NameChange struct {
	Name   string
	Before pid
	After  pid
}

// NamesChanged returns, in order, the variables with a prefix whose root pods differ in two
// versions. It looks at every name with that prefix.
func (s *Store) NamesChanged(ctx context.Context, a, b *Snapshot, prefix string) ([]NameChange, error) {
	if a.s != s || b.s != s {
		return nil, fmt.Errorf("%w: snapshots of another database", dberr.ErrInvalid)
	}
	var list []NameChange
	for from := escapedName([]byte{kindName}, prefix); from != nil; {
		if err := a.usable(ctx); err != nil {
			return nil, err
		}
		v, err := b.view(ctx)
		if err != nil {
			return nil, err
		}
		for range namesBatch {
			if from, err = v.nameChange(a, b, prefix, from, &list); err != nil || from == nil {
				break
			}
		}
		v.close()
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// nameChange compares the first name at or after a key, and returns the key behind it, nil
// if there is none.
func (v *view) nameChange(a, b *Snapshot, prefix string, from []byte, list *[]NameChange) ([]byte, error) {
	name, nk, ok, err := v.nameFrom(from)
	if err != nil || !ok || !strings.HasPrefix(name, prefix) {
		return nil, err
	}
	c := NameChange{Name: name}
	if c.Before, err = v.resolveName(a.lineage, nk); err != nil {
		return nil, err
	}
	if c.After, err = v.resolveName(b.lineage, nk); err != nil {
		return nil, err
	}
	if c.Before != c.After {
		*list = append(*list, c)
	}
	return behindName(nk), nil
}
