package podder

import (
	"context"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Field ids are what references into structs are made of. Such a reference may
// lie in a variable that is not loaded when the struct is written with other
// fields, so an id stands for one field name of one type for the life of the
// database. Ids are the indices of Go fields where the catalogue says nothing
// else; else:
//
//  1. A name keeps the id with which it was stored first, under the type's name
//     or an alias of it. A renamed field (was=) keeps the one of its old name.
//  2. A new name gets its index, or, if another name ever had that, the lowest id
//     above all.
//
// They are a function of the type and the catalogue. Struct types without a name
// have their fields in it, so their ids are always the indices.

// Catalogue is a sink or source that can tell which types are stored.
type Catalogue interface {
	// Types calls fn with the types of the catalogue from an id on, in order.
	Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error
}

// storedID is one field of a stored struct.
type storedID struct {
	name string
	id   uint32
	seq  int // order in the catalogue
}

// storedIDs are the fields of the structs of a catalogue, by the struct's text.
type storedIDs map[string][]storedID

// learn reads the catalogue of the database, once for all graphs of a registry:
// what they add follows from it.
func (e *engine) learn(ctx context.Context, sink pod.Sink) error {
	c, ok := sink.(Catalogue)
	if !ok || e.stored != nil {
		return nil
	}
	e.reg.mu.RLock()
	e.stored = e.reg.stored[e.seed]
	e.reg.mu.RUnlock()
	if e.stored != nil {
		return nil
	}
	ids, seq := storedIDs{}, 0
	err := c.Types(ctx, pod.FirstCatalogType, func(id pod.TypeID, descriptor []byte) error {
		n, err := parseDescriptor(descriptor)
		if err != nil {
			return dberr.Corrupt("", -1, "type %d: %v", id, err)
		}
		ids.add(n, &seq)
		return nil
	})
	if err != nil {
		return fmt.Errorf("catalogue: %w", err)
	}
	e.stored = ids
	e.reg.mu.Lock()
	defer e.reg.mu.Unlock()
	if e.reg.stored == nil {
		e.reg.stored = map[uint64]storedIDs{}
	}
	if first := e.reg.stored[e.seed]; first != nil {
		e.stored = first
	}
	e.reg.stored[e.seed] = e.stored
	return nil
}

// add notes the fields of all structs in a descriptor.
func (s storedIDs) add(n *node, seq *int) {
	for _, part := range []*node{n.key, n.elem} {
		if part != nil {
			s.add(part, seq)
		}
	}
	for i := range n.fields {
		f := &n.fields[i]
		s.note(n.text, storedID{f.name, f.id, *seq})
		*seq++
		s.add(f.node, seq)
	}
}

func (s storedIDs) note(text string, id storedID) {
	for _, have := range s[text] {
		if have.name == id.name || have.id == id.id {
			return // what came first counts
		}
	}
	s[text] = append(s[text], id)
}

// fieldIDs returns the ids of the fields of struct type t by their index; nil if
// they are the indices.
func (e *engine) fieldIDs(t reflect.Type) []uint32 {
	if len(e.stored) == 0 || t.Name() == "" {
		return nil
	}
	ids, ok := e.ids[t]
	if ok {
		return ids
	}
	ids = assignIDs(e.storedFor(t), t)
	if e.ids == nil {
		e.ids = map[reflect.Type][]uint32{}
	}
	e.ids[t] = ids
	return ids
}

// storedFor lists what is stored of t under its name and aliases.
func (e *engine) storedFor(t reflect.Type) []storedID {
	all := storedIDs{}
	e.reg.mu.RLock()
	names := append([]string(nil), e.reg.aliases[t]...)
	e.reg.mu.RUnlock()
	var list []storedID
	for _, name := range append(names, e.reg.typeText(t)) {
		list = append(list, e.stored[name]...)
	}
	for len(list) > 0 { // few: the first of what is left, again and again
		first := 0
		for i := range list {
			if list[i].seq < list[first].seq {
				first = i
			}
		}
		all.note("", list[first])
		list = append(list[:first], list[first+1:]...)
	}
	return all[""]
}

func assignIDs(stored []storedID, t reflect.Type) []uint32 {
	byName := make(map[string]uint32, len(stored))
	used := make(map[uint32]bool, len(stored))
	next := uint32(t.NumField())
	for _, s := range stored {
		byName[s.name] = s.id
		used[s.id] = true
		next = max(next, s.id+1)
	}
	fields := storedFields(t)
	ids := make([]uint32, t.NumField())
	done := make(map[int]bool, len(fields))
	take := func(f reflect.StructField, name string) {
		if id, ok := byName[name]; ok && !done[f.Index[0]] {
			ids[f.Index[0]], done[f.Index[0]] = id, true
			delete(byName, name)
		}
	}
	for _, f := range fields {
		take(f, storedName(f))
	}
	for _, f := range fields {
		for _, old := range formerNames(f) {
			take(f, old)
		}
	}
	plain := true
	for _, f := range fields {
		i := f.Index[0]
		if !done[i] {
			if ids[i] = uint32(i); used[uint32(i)] {
				ids[i] = next
				next++
			}
		}
		plain = plain && ids[i] == uint32(i)
	}
	if plain || next > maxFieldID {
		return nil
	}
	return ids
}

// withIDs gives the fields of a descriptor of t their ids.
func (e *engine) withIDs(descriptor []byte, t reflect.Type) ([]byte, error) {
	if len(e.stored) == 0 {
		return descriptor, nil
	}
	n, err := parseDescriptor(descriptor)
	if err != nil {
		return nil, err
	}
	e.setIDs(n, t)
	return appendNode([]byte{descriptorVersion}, n), nil
}

func (e *engine) setIDs(n *node, t reflect.Type) {
	switch n.kind {
	case nodeStruct:
		ids := e.fieldIDs(t)
		for k, f := range storedFields(t) {
			if ids != nil {
				n.fields[k].id = ids[f.Index[0]]
			}
			e.setIDs(n.fields[k].node, f.Type)
		}
	case nodeArray:
		e.setIDs(n.elem, t.Elem())
	case nodeNamed:
		e.setIDs(n.elem, t)
	case nodeEntries:
		e.setIDs(n.key, t.Key())
		e.setIDs(n.elem, t.Elem())
	}
}

// stepIDs makes field ids of the field indices in a way into a t.
func (e *engine) stepIDs(steps []uint64, t reflect.Type) {
	if len(e.stored) == 0 {
		return
	}
	for i, s := range steps {
		if t.Kind() == reflect.Struct {
			if ids := e.fieldIDs(t); ids != nil {
				steps[i] = uint64(ids[s])
			}
			t = t.Field(int(s)).Type
		} else {
			t = t.Elem()
		}
	}
}
