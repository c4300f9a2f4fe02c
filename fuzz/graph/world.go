package graph

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"
)

// World is a set of variables over the types of a family, and what a program
// holds besides. It changes them at random; equal worlds with equal random
// sources change equally, wherever their memory lies.
//
// A World is not safe for concurrent use.
type World struct {
	rng    *rand.Rand
	family *Family
	vars   []Variable
	limbo  []reflect.Value // let go of, and may come back
	orders map[uintptr]*order
	next   int
	Limits Limits
	scene  *scene // what the steps of a batch choose from
	single bool   // ChangeOne
	// bigMade says that the variable with big containers was made.
	bigMade bool
}

// Limits bound what a World makes; the zero value is small.
type Limits struct {
	Large     bool // now and then arrays, maps and strings of some 100 KiB
	Weak      bool // weak pointers to what others hold
	Big       int  // containers just beyond so many stored bytes, if not 0
	Variables int  // at most; 0 means 6
}

// order lists the keys of a map as they came in, but for those that differ
// from themselves: Go's own order is another one each time.
type order struct {
	m    reflect.Value // keeps its address from being used again
	keys []reflect.Value
}

// NewWorld makes a world without variables.
func NewWorld(rng *rand.Rand, family *Family) *World {
	return &World{rng: rng, family: family, orders: map[uintptr]*order{}}
}

// Variables returns the variables in order of their names.
func (w *World) Variables() []Variable { return append([]Variable(nil), w.vars...) }

// Part returns a world of some of w's variables in the same memory, which
// changes them as a program would that knows only these.
func (w *World) Part(rng *rand.Rand, names map[string]bool) *World {
	p := &World{rng: rng, family: w.family, orders: w.orders, next: w.next, Limits: w.Limits}
	for _, v := range w.vars {
		if names[v.Name] {
			p.vars = append(p.vars, v)
		}
	}
	return p
}

// Adopt goes on with other memory: variables that are isomorphic to earlier
// ones, whose maps have the given orders. What the program had let go of is
// forgotten unless keep.
func (w *World) Adopt(vars []Variable, orders Orders, keep bool) {
	w.vars = append([]Variable(nil), vars...)
	if !keep {
		w.limbo = nil
		clear(w.orders)
	}
	maps.Copy(w.orders, orders)
}

// Orders are the orders in which the keys of maps came in, by the addresses of
// the maps.
type Orders map[uintptr]*order

// Orders returns those of the world's maps.
func (w *World) Orders() Orders { return Orders(w.orders) }

// Follow returns the orders for the graph that twins leads to.
func (o Orders) Follow(twins *Twins) Orders {
	list := Orders{}
	for _, m := range twins.Maps() {
		from := o[m.Map.Pointer()]
		if from == nil {
			from = &order{} // no entries, or only such that nobody finds again
		}
		at := make(map[any]reflect.Value, len(m.Keys))
		for k, key := range m.Keys {
			at[key.Interface()] = m.Twin[k]
		}
		to := &order{m: boxOf(m.Other)}
		for _, key := range from.keys {
			if twin, ok := at[key.Interface()]; ok {
				to.keys = append(to.keys, twin)
			}
		}
		list[m.Other.Pointer()] = to
	}
	return list
}

// Seen returns the orders of those maps that twins lists, as what it leads from.
// A part of the variables may lead to others too, by elements beyond the length
// of a slice, but nobody compared these: in what order their keys came in, a
// world of that part does not know.
func (o Orders) Seen(twins *Twins) Orders {
	list := Orders{}
	for _, m := range twins.Maps() {
		if at := m.Map.Pointer(); o[at] != nil {
			list[at] = o[at]
		}
	}
	return list
}

// With returns the orders in o, each behind what was known of the same map
// before: keys that are gone since are left out when somebody asks for them.
func (o Orders) With(before Orders) Orders {
	list := maps.Clone(o)
	for at, b := range before {
		now := &order{m: b.m, keys: slices.Clone(b.keys)}
		if o[at] != nil {
			for _, key := range o[at].keys {
				x := key.Interface()
				if !slices.ContainsFunc(now.keys, func(k reflect.Value) bool { return k.Interface() == x }) {
					now.keys = append(now.keys, key)
				}
			}
		}
		list[at] = now
	}
	return list
}

// put sets an entry of a map. Of two keys that are equal the map has the later
// one: 0 and -0. The order holds a copy of the key: the memory that it is taken
// from may change.
func (w *World) put(m, key, elem reflect.Value) {
	if !hashable(key) || zoned(key) {
		return
	}
	key = boxOf(key)
	x := key.Interface()
	if x != x {
		if m.Len() < 40 {
			m.SetMapIndex(key, elem)
		}
		return
	}
	o := w.orders[m.Pointer()]
	if o == nil {
		o = &order{m: boxOf(m)}
		w.orders[m.Pointer()] = o
	}
	k := -1
	if m.MapIndex(key).IsValid() {
		k = slices.IndexFunc(o.keys, func(v reflect.Value) bool { return v.Interface() == x })
	}
	if k >= 0 {
		o.keys[k] = key
	} else {
		o.keys = append(o.keys, key)
	}
	m.SetMapIndex(key, elem)
}

// hashable is Value.Comparable, which takes arrays without elements for
// comparable whatever their type.
func hashable(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Interface:
		return v.IsNil() || v.Elem().Type().Comparable() && hashable(v.Elem())
	case reflect.Array:
		for k := range v.Len() {
			if !hashable(v.Index(k)) {
				return false
			}
		}
	case reflect.Struct:
		for k := range v.NumField() {
			if !hashable(v.Field(k)) {
				return false
			}
		}
	}
	return true
}

// zoned reports whether a key has a location: a save refuses two that are equal and
// not the same, as the program's own and the one that a load made.
func zoned(v reflect.Value) bool {
	switch v.Type() {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Location]():
		return true
	}
	switch v.Kind() {
	case reflect.Interface:
		return !v.IsNil() && zoned(v.Elem())
	case reflect.Array:
		for k := range v.Len() {
			if zoned(v.Index(k)) {
				return true
			}
		}
	case reflect.Struct:
		for k := range v.NumField() {
			if zoned(v.Field(k)) {
				return true
			}
		}
	}
	return false
}

// remove deletes an entry of a map.
func (w *World) remove(m reflect.Value, k int) {
	o := w.orders[m.Pointer()]
	m.SetMapIndex(o.keys[k], reflect.Value{})
	o.keys = append(o.keys[:k:k], o.keys[k+1:]...)
}

// keysOf returns the ordered keys of a map. A map that the program had let go of
// may have fewer: a checkout takes it back to what it was.
func (w *World) keysOf(m reflect.Value) []reflect.Value {
	if o := w.orders[m.Pointer()]; o != nil {
		o.keys = slices.DeleteFunc(o.keys, func(k reflect.Value) bool { return !m.MapIndex(k).IsValid() })
		return o.keys
	}
	return nil
}

// set binds a variable.
func (w *World) set(v Variable) {
	for i := range w.vars {
		if w.vars[i].Name == v.Name {
			w.vars[i] = v
			return
		}
	}
	w.vars = append(w.vars, v)
	for i := len(w.vars) - 1; i > 0 && w.vars[i].Name < w.vars[i-1].Name; i-- {
		w.vars[i], w.vars[i-1] = w.vars[i-1], w.vars[i]
	}
}

func (w *World) newName() string {
	w.next++
	return fmt.Sprintf("v%03d", w.next)
}
