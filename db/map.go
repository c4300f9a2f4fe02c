package db

import (
	"context"
	"fmt"
	"slices"
)

// Map is an ordered collection that is read and written by chunks: in a transaction
// the change of one entry of a million reads the few nodes on the way to it and
// writes one chunk. The zero value is an empty Map, and it may be a part of any
// value that is stored; like a Go map it is a handle: copies of a Map that had an
// entry once show the same entries.
//
//	type World struct{ Users db.Map[string, User] }
//	u, ok, err := w.Users.Get(ctx, "ann")
//	for e, err := range w.Users.Range(ctx, "a", "b") { … e.Key, e.Value … }
//
// Keys are ordered by value: numbers (NaN before all others), bools (false first),
// strings byte by byte, arrays element by element, structs field by field in the
// order of declaration, and a type with a method Compare(K) int by that, which must
// order equal contents equally in every process and for as long as the data is kept
// (time.Time, netip.Addr). Other keys are ErrInvalid. The order is part of what is
// stored: a key type whose order changes needs a new Map.
//
// Values may be of any type that can be stored. What Get returns is a copy of the
// value as a Go map would give it; pointers in it lead to the one object that others
// may lead to as well, and changes there are found at Commit as any are.
//
// Transactions that change entries in different chunks do not collide, those that
// change one chunk do. A chunk that grows beyond its bound is divided, and small ones
// are joined; that alone changes the node above. A serializable transaction depends
// on what it has read: Len and All depend on every entry, Range on the chunks that it
// has come to.
//
// Many goroutines may read one Map of a Snapshot or Namespace at once; Put and Delete
// are writes: nobody may use the Map meanwhile. Errors, besides ErrInvalid, are those
// of Ref.Get. Nodes that were read stay in memory as long as the Map does.
type Map[K comparable, V any] struct {
	root Ref[mapNode[K, V]]
}

// MapEntry is one key and its value.
type MapEntry[K comparable, V any] struct {
	Key   K
	Value V
}

// NewMap returns an empty Map, for instance to be a variable.
func NewMap[K comparable, V any]() *Map[K, V] { return new(Map[K, V]) }

// Get returns the value of a key, and whether it is there.
func (m *Map[K, V]) Get(ctx context.Context, key K) (value V, ok bool, err error) {
	p, i, ok, err := m.find(ctx, &key)
	if err != nil || !ok {
		return value, false, err
	}
	return p.leaf.Entries[i].Value, true, nil
}

// Has reports whether a key is there.
func (m *Map[K, V]) Has(ctx context.Context, key K) (bool, error) {
	_, _, ok, err := m.find(ctx, &key)
	return ok, err
}

// Put gives a key a value, in place of the one that it had.
func (m *Map[K, V]) Put(ctx context.Context, key K, value V) error {
	p, i, ok, err := m.find(ctx, &key)
	if err != nil {
		return err
	}
	if m.root.IsNil() {
		p.leaf = new(mapNode[K, V])
		m.root.Set(p.leaf)
	}
	e := MapEntry[K, V]{key, value}
	switch n := p.leaf; {
	case ok:
		n.weigh()
		n.weight += weightOf(&e.Value) - weightOf(&n.Entries[i].Value)
		n.Entries[i].Value = value
	default:
		n.weigh()
		n.weight += weightOf(&e)
		n.Entries = slices.Insert(roomFor(n.Entries), i, e)
	}
	p.divide()
	return nil
}

// Delete removes a key, and reports whether it was there.
func (m *Map[K, V]) Delete(ctx context.Context, key K) (bool, error) {
	p, i, ok, err := m.find(ctx, &key)
	if err != nil || !ok {
		return false, err
	}
	n := p.leaf
	// What it may be joined with is read first: after an error nothing has changed.
	beside, err := p.neighbour(ctx, len(n.Entries)-1)
	if err != nil {
		return false, err
	}
	n.weigh()
	n.weight -= weightOf(&n.Entries[i])
	n.Entries = slices.Delete(n.Entries, i, i+1)
	if len(n.Entries) < cap(n.Entries)/2 {
		n.Entries = slices.Clone(n.Entries) // what is stored of an array shrinks with a new one only
	}
	p.join(beside)
	return true, nil
}

// Len counts the entries. It reads every chunk: counters above the chunks would have
// all transactions that add an entry collide. Keep a number beside the Map if it is
// needed often.
func (m *Map[K, V]) Len(ctx context.Context) (int, error) {
	root, err := m.root.Get(ctx)
	if err != nil || root == nil {
		return 0, err
	}
	return root.count(ctx, 0)
}

// First returns the entry of the least key, and whether there is one.
func (m *Map[K, V]) First(ctx context.Context) (MapEntry[K, V], bool, error) {
	return firstOf(m.All(ctx))
}

// Last returns the entry of the greatest key, and whether there is one.
func (m *Map[K, V]) Last(ctx context.Context) (MapEntry[K, V], bool, error) {
	return firstOf(m.Backward(ctx))
}

func firstOf[E any](seq func(func(E, error) bool)) (first E, ok bool, err error) {
	for first, err = range seq {
		return first, err == nil, err
	}
	return first, false, nil
}

// errNode says that a node is not what a Map makes.
func errNode(what string) error {
	return fmt.Errorf("a node of a Map %s: %w", what, ErrCorrupt)
}
