package mvcc

import (
	"bytes"
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// NameChange is a variable in two versions: the root pods that it is bound to, 0 if it is
// not bound.
type NameChange struct {
	Name   string
	Before pid
	After  pid
}

// NamesChanged returns, in order, the variables with a prefix whose root pods differ in two
// versions. It looks at the names that commits between them set, if the index of names has these,
// else at every name with that prefix.
func (s *Store) NamesChanged(ctx context.Context, a, b *Snapshot, prefix string) ([]NameChange, error) {
	var list []NameChange
	known, err := s.NamesOf(ctx, a, b, prefix, nil, func(c NameChange) { list = append(list, c) })
	if known || err != nil {
		return list, err
	}
	err = s.NamesOfBoth(ctx, a, b, prefix, func(c NameChange) {
		if c.Before != c.After {
			list = append(list, c)
		}
	})
	return list, err
}

// NamesOfBoth calls fn, in order, with the variables with a prefix that one of two
// versions has, or both. It walks once over the rows of names.
func (s *Store) NamesOfBoth(ctx context.Context, a, b *Snapshot, prefix string, fn func(NameChange)) error {
	if a.s != s || b.s != s {
		return fmt.Errorf("%w: snapshots of another database", dberr.ErrInvalid)
	}
	w := nameWalk{prefix: escapedName([]byte{kindName}, prefix), fn: fn}
	w.a.lineage, w.b.lineage = a.lineage, b.lineage
	for from := w.prefix; from != nil; {
		if err := a.usable(ctx); err != nil {
			return err
		}
		v, err := b.view(ctx)
		if err != nil {
			return err
		}
		from, err = w.some(v, from)
		v.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// nameWalk is a walk over the rows of names for two versions.
type nameWalk struct {
	prefix []byte
	a, b   nameSide
	nk     []byte // key of the name at hand
	fn     func(NameChange)
}

const (
	// nameWalkRows is about how many rows are read in one view.
	nameWalkRows = 1024
	// nameWalkStates is how many rows of one name are read; what more there are is passed
	// by seeking.
	nameWalkStates = 8
)

// some goes over some names from a key on, and returns the key to go on from, nil at the
// end.
func (w *nameWalk) some(v *view, from []byte) ([]byte, error) {
	c := v.seek(from)
	for rows := 0; rows < nameWalkRows; {
		key, _, ok := c.at()
		if !ok || !bytes.HasPrefix(key, w.prefix) {
			return nil, c.err()
		}
		name, nk, _, _, err := splitNameKey(key)
		if err != nil {
			return nil, err
		}
		w.nk = append(w.nk[:0], nk...)
		n, whole, err := w.states(c)
		if err != nil {
			return nil, err
		}
		rows += n
		if !whole || v.s.lost != nil {
			if err := w.seek(v); err != nil {
				return nil, err
			}
		}
		if w.a.root != 0 || w.b.root != 0 {
			w.fn(NameChange{name, w.a.root, w.b.root})
		}
		if !whole {
			c = v.seek(behindName(bytes.Clone(w.nk)))
		}
	}
	return behindName(bytes.Clone(w.nk)), nil
}

// states reads the rows of the name at hand, and says whether these were all.
func (w *nameWalk) states(c *cursor) (rows int, whole bool, err error) {
	w.a.begin()
	w.b.begin()
	for ; ; c.next() {
		key, val, ok := c.at()
		if !ok {
			return rows, true, c.err()
		}
		if len(key) != len(w.nk)+nameTailLen || !bytes.HasPrefix(key, w.nk) {
			return rows, true, nil
		}
		if rows++; rows > nameWalkStates {
			return rows, false, nil
		}
		tail := key[len(w.nk):]
		line, version := be.Uint32(tail), ^be.Uint64(tail[4:])
		if err := w.a.see(line, version, val); err != nil {
			return rows, false, err
		}
		if err := w.b.see(line, version, val); err != nil {
			return rows, false, err
		}
	}
}

// seek finds what the name at hand is by resolving it.
func (w *nameWalk) seek(v *view) (err error) {
	if w.a.root, err = v.resolveName(w.a.lineage, w.nk); err == nil {
		w.b.root, err = v.resolveName(w.b.lineage, w.nk)
	}
	return err
}

// nameSide is one of the versions.
type nameSide struct {
	lineage []fork
	nearer  []fork // of the lineage: the lines that would decide, if one had a row
	root    pid
}

func (n *nameSide) begin() { n.nearer, n.root = n.lineage, 0 }

// see takes a row of the name. Rows of one line come with the newest first, so the first
// that is not too new is the line's; that of the nearest line is what the version has.
func (n *nameSide) see(line uint32, version Version, val []byte) (err error) {
	for i, f := range n.nearer {
		if f.line == line {
			if version <= f.version {
				n.nearer = n.nearer[:i]
				n.root, err = decodeRoot(val)
			}
			break
		}
	}
	return err
}
