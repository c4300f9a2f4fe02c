package trace

import (
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
)

// World holds the live Go objects of a recorded program.
//
//  1. One recorded object is one Go object from the step that makes it to the
//     step that drops it; applying a change never replaces it.
//  2. A change writes only what differs: a slot that holds an equal value keeps
//     its box, and a backing array is replaced only when its capacity is used up,
//     as append does it, or when an array changes its size.
//  3. The Data of a View is always a sub-slice of its owner's Data.
//
// A World is used by one goroutine.
type World struct {
	// Vars are the variables by name: an object, a bare number, bool or string,
	// or a *Var for what can be none of these. Callers only read it.
	Vars map[string]any

	objects map[uint64]any
	views   map[uint64]bool
	classes map[string]*Class
	short   map[string]any // one box for equal short strings, like constants of a program
	key     []byte
}

// NewWorld returns a World without variables.
func NewWorld() *World {
	return &World{
		Vars:    map[string]any{},
		objects: map[uint64]any{},
		views:   map[uint64]bool{},
		classes: map[string]*Class{},
		short:   map[string]any{},
	}
}

// Len returns the number of live objects.
func (w *World) Len() int { return len(w.objects) }

// Apply makes the changes of a step in the live objects. Which variables were
// set or deleted stands in the step. After an error the World is of no more use.
func (w *World) Apply(s *Step) error {
	if err := w.makeShells(s); err != nil {
		return fmt.Errorf("trace: step %d: %w", s.Number, err)
	}
	for i := range s.Objects {
		rec := &s.Objects[i]
		r := binenc.NewReader(rec.Payload)
		w.fill(w.objects[rec.ID], r)
		if err := finish(r); err != nil {
			return fmt.Errorf("trace: step %d: object %d, kind %q: %w", s.Number, rec.ID, rec.Kind, err)
		}
	}
	if err := w.bindVars(s); err != nil {
		return fmt.Errorf("trace: step %d: %w", s.Number, err)
	}
	for _, id := range s.Dropped {
		delete(w.objects, id)
		delete(w.views, id)
	}
	for id := range w.views {
		if err := shareMemory(w.objects[id]); err != nil {
			return fmt.Errorf("trace: step %d: object %d: %w", s.Number, id, err)
		}
	}
	return nil
}

// makeShells gives every new object its Go object, because references may point
// forward.
func (w *World) makeShells(s *Step) error {
	for i := range s.Objects {
		rec := &s.Objects[i]
		if _, ok := w.objects[rec.ID]; ok != rec.Changed {
			return fmt.Errorf("object %d: known is %t, changed is %t", rec.ID, ok, rec.Changed)
		}
		if rec.Changed {
			continue
		}
		obj := shell(rec.Kind, rec.Payload)
		if obj == nil {
			return fmt.Errorf("object %d has unknown kind %q", rec.ID, rec.Kind)
		}
		w.objects[rec.ID] = obj
		if rec.Kind == 'v' {
			w.views[rec.ID] = true
		}
	}
	return nil
}

func (w *World) bindVars(s *Step) error {
	for _, v := range s.Vars {
		r := binenc.NewReader(v.Value)
		value := w.readValue(r, nil)
		if err := finish(r); err != nil {
			return fmt.Errorf("variable %q: %w", v.Name, err)
		}
		switch value.(type) {
		case nil, BigInt:
			value = &Var{value}
		}
		w.Vars[v.Name] = value
	}
	for _, name := range s.Deleted {
		delete(w.Vars, name)
	}
	return nil
}

func (w *World) shortString(text []byte) any {
	if box, ok := w.short[string(text)]; ok {
		return box
	}
	box := any(string(text))
	w.short[string(text)] = box
	return box
}

// finish returns the error of r, also when bytes are left over.
func finish(r *binenc.Reader) error {
	if r.Err() == nil && r.Len() > 0 {
		r.Fail("%d bytes left over", r.Len())
	}
	return r.Err()
}
