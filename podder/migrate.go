package podder

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// A migration makes values that were stored as one type into values of another
// by a function of the program, where fields alone do not say how. Values are
// decoded as the old type first. A slot that holds such values is decoded twice:
// once to place what it leads to, and again, when everything else is filled, to
// run the functions; so they see what their pointers lead to. Slots that were met
// last come first: of two values that are both migrated, what was met on the way
// from the other is ready first unless they form a cycle.

// migration is one registered function.
type migration struct {
	old, now reflect.Type
	run      func(old reflect.Value) (reflect.Value, error)
}

// Migrate has values that are stored under name, laid out as old is, made into
// values of now by run, which gets a pointer to a value of old and returns a value
// of now. An empty name stands for the one of now. Migrations are chained: old may
// be the now of another one. Under one name there may be several with different
// layouts; what is laid out as the type that now has the name needs none.
//
// It is an error (ErrInvalid) if old has a migration under that name already, or
// if a chain would lead back to where it began. CheckMigrations finds the rest.
func (r *Registry) Migrate(name string, old, now reflect.Type, run func(reflect.Value) (reflect.Value, error)) error {
	if name == "" {
		name = r.typeText(now)
	} else if err := checkName(name); err != nil {
		return fmt.Errorf("migrate %v: %w", old, err)
	}
	if old == now || old.Kind() == reflect.Interface || now.Kind() == reflect.Interface {
		return fmt.Errorf("migrate %v to %v: two concrete types are needed: %w", old, now, dberr.ErrInvalid)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.migrations[name] {
		if m.old == old {
			return fmt.Errorf("migrate %v: it has a migration of %q already, to %v: %w", old, name, m.now, dberr.ErrInvalid)
		}
	}
	if r.chain(now, old, map[reflect.Type]bool{}) != nil {
		return fmt.Errorf("migrate %v to %v: other migrations lead back: %w", old, now, dberr.ErrInvalid)
	}
	if r.migrations == nil {
		r.migrations = map[string][]migration{}
	}
	r.migrations[name] = append(r.migrations[name], migration{old: old, now: now, run: run})
	r.changes.Add(1)
	clear(r.plans)
	return nil
}

// CheckMigrations reports a migration of a name that belongs to a type which is
// neither on its chain nor at the end of it (ErrInvalid). It is called when all
// types and migrations are registered.
func (r *Registry) CheckMigrations() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.migrations)) {
		t, ok := r.types[name]
		for _, m := range r.migrations[name] {
			if ok && t != m.old && t != m.now && r.chain(m.now, t, map[reflect.Type]bool{}) == nil {
				return fmt.Errorf("migrate %v to %v: the name %q belongs to %v: %w", m.old, m.now, name, t, dberr.ErrInvalid)
			}
		}
	}
	return nil
}

// chain returns the migrations that lead from one type to another, nil if none
// do. The caller holds the lock.
func (r *Registry) chain(from, to reflect.Type, seen map[reflect.Type]bool) []migration {
	if seen[from] {
		return nil
	}
	seen[from] = true
	for _, list := range r.migrations {
		for _, m := range list {
			if m.old != from {
				continue
			}
			if m.now == to {
				return []migration{m}
			}
			if rest := r.chain(m.now, to, seen); rest != nil {
				return append([]migration{m}, rest...)
			}
		}
	}
	return nil
}

// last follows migrations from a type to one that has none. The caller holds the
// lock.
func (r *Registry) last(t reflect.Type) reflect.Type {
	for {
		next := t
		for _, list := range r.migrations {
			for _, m := range list {
				if m.old == t {
					next = m.now
				}
			}
		}
		if next == t {
			return t
		}
		t = next
	}
}

// migrates reports whether values stored as text can become a t.
func (r *Registry) migrates(text string, t reflect.Type) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, m := range r.migrations[text] {
		if m.now == t || r.chain(m.now, t, map[reflect.Type]bool{}) != nil {
			return true
		}
	}
	return false
}

// migration returns the functions that make what is stored as n a t, first the
// one whose old type is laid out like n; nil if there are none, or n is laid out
// like t. If one layout fits no old type, the one migration of that name tries.
func (r *Registry) migration(n *node, t reflect.Type) []migration {
	r.mu.RLock()
	var found [][]migration
	for _, m := range r.migrations[n.text] {
		if m.now == t {
			found = append(found, []migration{m})
		} else if rest := r.chain(m.now, t, map[reflect.Type]bool{}); rest != nil {
			found = append(found, append([]migration{m}, rest...))
		}
	}
	r.mu.RUnlock()
	if len(found) == 0 || r.laidOutLike(n, t) {
		return nil
	}
	for _, chain := range found {
		if r.laidOutLike(n, chain[0].old) {
			return chain
		}
	}
	if len(found) == 1 {
		return found[0]
	}
	return nil
}

// laidOutLike reports whether n is how values of t are stored, whatever t is
// called and wherever its fields lie.
func (r *Registry) laidOutLike(n *node, t reflect.Type) bool {
	d, err := describe(r, t)
	if err != nil {
		return false
	}
	m, err := parseDescriptor(d)
	return err == nil && sameLayout(n, m, true)
}

func sameLayout(a, b *node, top bool) bool {
	if a.kind != b.kind || a.basic != b.basic || a.keyText != b.keyText || a.valText != b.valText || a.length != b.length ||
		a.codec != b.codec || a.version != b.version || len(a.fields) != len(b.fields) || !top && a.text != b.text {
		return false
	}
	if a.elem != nil && !sameLayout(a.elem, b.elem, false) {
		return false
	}
	fields := make(map[string]*node, len(b.fields))
	for i := range b.fields {
		fields[b.fields[i].name] = b.fields[i].node
	}
	for i := range a.fields {
		if f := fields[a.fields[i].name]; f == nil || !sameLayout(a.fields[i].node, f, false) {
			return false
		}
	}
	return true
}

// migrate compiles the decoding of n as the old type of a migration.
func (c *compiler) migrate(pl *decodePlan, chain []migration, n *node, t reflect.Type, path string) error {
	old := chain[0].old
	sub := &decodePlan{typ: old, node: n}
	var err error
	if n.kind == nodeStruct && c.reg.kindOf(old) == nodeStruct {
		err = c.structure(sub, n, old, path)
	} else {
		sub, err = c.compile(n, old, path)
	}
	if err != nil {
		return fmt.Errorf("for the migration to %s: %w", c.reg.typeText(t), err)
	}
	pl.changed, pl.migrated, pl.fixed = true, true, n.flat()
	pl.ifaces = true // what a function returns may hold anything
	pl.one(decodeMove{code: moveMigrate, typ: t, sub: sub, chain: chain, path: path})
	return nil
}

// migrate decodes a value as the old type and, when all else is filled, runs the
// migrations.
func (l *loader) migrate(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	l.sawMigration = true
	if !l.charge(1, uint64(m.sub.typ.Size()), c.left()) {
		return
	}
	old := reflect.New(m.sub.typ)
	l.scratch++
	l.value(p, c, m.sub, old.UnsafePointer())
	l.scratch--
	if !l.migrating || l.err != nil || c.bad {
		return
	}
	for _, step := range m.chain {
		now, err := runMigration(step, old)
		if err != nil {
			l.fail(fmt.Errorf("pod %d slot %d: %s: migration from %v to %v: %w: %w", l.at.pod.id, l.at.slot, m.path, step.old, step.now, err, dberr.ErrTypeMismatch))
			return
		}
		old = reflect.New(step.now)
		old.Elem().Set(now)
	}
	reflect.NewAt(m.typ, at).Elem().Set(old.Elem())
}

func runMigration(m migration, old reflect.Value) (now reflect.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	return m.run(old)
}

// migrateSlots fills slots that hold values to be migrated once more.
func (l *loader) migrateSlots() error {
	l.migrating = true
	l.inTurn(l.migrations)
	l.dropHooks(0, l.migrations...)
	for i := len(l.migrations) - 1; i >= 0; i-- {
		s := l.migrations[i]
		l.start(s)
		l.begin(s)
		if l.fill(s.pod, s.slot); l.err != nil {
			return l.err
		}
	}
	l.migrations = nil
	return nil
}
