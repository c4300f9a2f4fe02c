package podder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A stray is the target of references into a part of a value that the program no
// longer has: a removed field, an element beyond the new end of an array. It gets
// memory of its own, one for all that refer into it, holds what is stored there,
// and the load warns. If the value has been written without the field since, the
// stray is zero.

// stray is such a part, to be decoded.
type stray struct {
	place storedPlace
	st    *storedType
	value reflect.Value // pointer to its memory
}

// strayAt returns the spot of a part that has gone: the last of steps leads to n.
func (l *loader) strayAt(in spot, index uint64, steps []uint64, n *node, what string) (spot, bool) {
	key := strayKey(in.in, index, steps)
	x := l.strays[key]
	if x == nil {
		st, err := l.partAs(n, nil)
		if err != nil {
			l.failAt(fmt.Errorf("a pointer leads to %s: %w", what, err))
			return spot{}, false
		}
		if !l.charge(1, uint64(st.typ.Size()), 0) {
			return spot{}, false
		}
		x = &stray{storedPlace{in.in.pod, in.in.slot, index, slices.Clone(steps)}, st, reflect.New(st.typ)}
		if l.strays == nil {
			l.strays = map[string]*stray{}
		}
		l.strays[key] = x
		l.strayed = append(l.strayed, x)
		l.warn("pod %d slot %d: a pointer leads to %s; it is an object of its own now", in.in.pod.id, in.in.slot, what)
	}
	return spot{addr: x.value.UnsafePointer(), typ: x.st.typ, plan: x.st.plan, avail: 1, kind: pod.SlotObject, in: in.in, cut: true}, true
}

func strayKey(s loadSlot, index uint64, steps []uint64) string {
	b := binary.AppendUvarint(nil, uint64(s.pod.id))
	b = binary.AppendUvarint(b, uint64(s.slot))
	b = binary.AppendUvarint(b, index)
	for _, x := range steps {
		b = binary.AppendUvarint(b, x)
	}
	return string(b)
}

// decodeStrays decodes strays that were found, and keeps those for which pods are
// missing.
func (l *loader) decodeStrays() error {
	list := l.strayed
	l.strayed = nil
	for _, x := range list {
		l.start(loadSlot{x.place.pod, x.place.slot})
		l.begin(loadSlot{})
		hooks := len(l.hooks)
		place, ok := x.place, x.place.pod.merged != nil
		if ok {
			place, ok = l.inChunk(place)
		} else {
			l.need(place.pod)
		}
		if ok {
			var n *node
			var c cursor
			if n, c, ok = l.stored(place); ok && n != nil {
				l.value(place.pod, &c, x.st.plan, x.value.UnsafePointer())
			}
		}
		if l.err == nil && l.sawMigration {
			l.fail(fmt.Errorf("pod %d slot %d: a pointer leads to a part that the program no longer has, of a type with a migration: %w", l.at.pod.id, l.at.slot, dberr.ErrTypeMismatch))
		}
		if l.err != nil {
			return l.err
		}
		if l.missing {
			l.strayBlocked = append(l.strayBlocked, x)
			l.awaitPods()
			l.dropHooks(hooks, loadSlot{})
		}
	}
	return nil
}

// noField leads a reference to a field that the program no longer has to its
// stray; steps ends with the field.
func (l *loader) noField(at spot, index uint64, steps []uint64) (spot, bool) {
	id := steps[len(steps)-1]
	n := at.plan.node
	for i := range n.fields {
		if f := &n.fields[i]; uint64(f.id) == id {
			what := fmt.Sprintf("%s.%s (%s), a field that the program no longer has", n.text, f.name, f.node.text)
			return l.strayOrMismatch(at, index, steps, f.node, what)
		}
	}
	f, err := l.formerField(n.text, at.typ, id)
	if err != nil {
		l.failAt(err)
		return spot{}, false
	}
	if f == nil || at.in.pod == nil {
		l.corrupt("reference to field %d of %s", id, n.text)
		return spot{}, false
	}
	// Nothing is stored of it: decoding finds a zero value.
	what := fmt.Sprintf("%s.%s (%s), a field that is no longer stored", n.text, f.name, f.node.text)
	s, ok := l.strayOrMismatch(at, index, steps, f.node, what)
	l.strayed = slices.DeleteFunc(l.strayed, func(x *stray) bool { return ok && x.value.UnsafePointer() == s.addr })
	return s, ok
}

// strayOrMismatch is strayAt, where it is known what is stored.
func (l *loader) strayOrMismatch(at spot, index uint64, steps []uint64, n *node, what string) (spot, bool) {
	if at.in.pod == nil {
		l.fail(fmt.Errorf("pod %d slot %d: a pointer leads to %s: %w", l.at.pod.id, l.at.slot, what, dberr.ErrTypeMismatch))
		return spot{}, false
	}
	return l.strayAt(at, index, steps, n, what)
}

// shortened refuses a reference to n values of type t, if all that it lacks there are
// elements by which an array has become shorter.
func (l *loader) shortened(want string, s *spot, t reflect.Type, n int) bool {
	if s.array == nil {
		return false
	}
	need, has := uint64(n), uint64(s.array.typ.Len())
	switch {
	case sameMemory(s.typ, t):
	case t.Kind() == reflect.Array && t.Elem() == s.typ && t.Len() > 0 && need <= s.array.node.length:
		need *= uint64(t.Len())
	default:
		return false
	}
	stored := s.array.node.length
	if need == 0 || need > stored-s.index || need <= uint64(s.avail) {
		return false
	}
	l.fail(fmt.Errorf("pod %d slot %d: %s refers to elements %d to %d of %s, of which %d are stored, and the program has %d: give the array its %d elements again, or first shorten what refers to them (a slice with its capacity) with a program that has them all: %w",
		l.at.pod.id, l.at.slot, want, s.index, s.index+need-1, s.array.node.text, stored, has, stored, dberr.ErrTypeMismatch))
	return true
}

var errFound = errors.New("found")

// formerField finds a field that a struct had in some version, by its id.
func (l *loader) formerField(text string, t reflect.Type, id uint64) (*nodeField, error) {
	c, ok := l.src.(Catalogue)
	if !ok {
		return nil, nil
	}
	var found *nodeField
	var search func(n *node)
	search = func(n *node) {
		for _, part := range []*node{n.key, n.elem} {
			if part != nil {
				search(part)
			}
		}
		for i := range n.fields {
			f := &n.fields[i]
			if found == nil && uint64(f.id) == id && n.kind == nodeStruct && (n.text == text || l.reg.textIs(n.text, t)) {
				found = f
			}
			search(f.node)
		}
	}
	err := c.Types(l.ctx, pod.FirstCatalogType, func(_ pod.TypeID, d []byte) error {
		n, err := parseDescriptor(d)
		if err != nil {
			return dberr.Corrupt("", -1, "catalogue: %v", err)
		}
		if search(n); found != nil {
			return errFound
		}
		return nil
	})
	if err != nil && err != errFound {
		return nil, err
	}
	return found, nil
}

// maxWarnings bounds the warnings of one load.
const maxWarnings = 100

// warn notes something that the program should know and that is no error.
func (l *loader) warn(format string, args ...any) {
	switch n := len(l.warnings); {
	case n < maxWarnings:
		l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
	case n == maxWarnings:
		l.warnings = append(l.warnings, "more of the like")
	}
}

// report hands the warnings of a load that has succeeded to the program.
func (l *loader) report(ctx context.Context, cfg *Config) {
	if cfg.Warn == nil {
		return
	}
	for _, w := range l.warnings {
		cfg.Warn(ctx, w)
	}
}
