package graph

import (
	"reflect"
)

// Mutate changes the world by about n steps and says which variables are new
// or bound anew and which are gone.
func (w *World) Mutate(n int) (bound []Variable, gone []string) {
	was := w.Variables()
	for n > 0 {
		w.scene = w.look()
		batch := min(n, 12)
		n -= batch
		for range batch {
			w.step()
		}
	}
	w.scene = nil
	return w.difference(was)
}

// ChangeOne writes to one place that the variables lead to, and none of them
// itself. What is written to can still be reached afterwards.
func (w *World) ChangeOne() {
	w.scene, w.single = w.look(), true
	w.inside()
	w.scene, w.single = nil, false
}

func (w *World) difference(was []Variable) (bound []Variable, gone []string) {
	old := map[string]reflect.Value{}
	for _, v := range was {
		old[v.Name] = v.Value
	}
	for _, v := range w.vars {
		before, ok := old[v.Name]
		if !ok || !before.Comparable() || !v.Value.Comparable() || before.Interface() != v.Value.Interface() {
			bound = append(bound, v)
		}
		delete(old, v.Name)
	}
	for _, v := range was {
		if _, ok := old[v.Name]; ok {
			gone = append(gone, v.Name)
		}
	}
	return bound, gone
}

// step is one change. Which, depends on what there is.
func (w *World) step() {
	r := w.rng
	limit := max(w.Limits.Variables, 6)
	switch {
	case len(w.vars) == 0, len(w.vars) < limit && r.IntN(12) == 0:
		w.set(Variable{w.newName(), w.root()})
		return
	case len(w.vars) > 1 && r.IntN(60) == 0:
		k := r.IntN(len(w.vars))
		w.keep(w.vars[k].Value)
		w.vars = append(w.vars[:k:k], w.vars[k+1:]...)
		return
	case r.IntN(60) == 0:
		k := r.IntN(len(w.vars))
		w.keep(w.vars[k].Value)
		w.vars[k].Value = w.root()
		return
	case w.Limits.Big > 0 && !w.bigMade:
		w.bigMade = true
		w.addBig()
		return
	}
	w.inside()
}

// inside changes what the variables lead to.
func (w *World) inside() {
	r := w.rng
	if len(w.scene.spots) == 0 {
		return
	}
	if r.IntN(6) == 0 && w.changeMap() {
		return
	}
	if len(w.scene.big) > 0 && r.IntN(4) == 0 && w.changeBig() {
		return
	}
	w.change(w.one(w.scene.spots))
}

// richest are types with much of everything.
var richest = []reflect.Type{reflect.TypeFor[Node](), reflect.TypeFor[Node](), reflect.TypeFor[Node](), reflect.TypeFor[Concurrent](), reflect.TypeFor[Library](), reflect.TypeFor[Standard]()}

// root makes the value of a variable: a pointer, mostly, into what there is or
// to something new, a map, or a plain value.
func (w *World) root() reflect.Value {
	r := w.rng
	list := w.family.Types
	if r.IntN(2) == 0 {
		list = w.family.random
	}
	t := list[r.IntN(len(list))]
	switch r.IntN(8) {
	case 0:
		t = richest[r.IntN(len(richest))]
		if w.Limits.Weak {
			t = reflect.TypeFor[Weakly]()
		}
	case 1:
		if len(w.scene.spots) > 0 {
			if v := w.one(w.scene.spots); !foreign(v.Type()) || v.Type().PkgPath() == "sync/atomic" {
				return v.Addr()
			}
		}
	case 2:
		for _, u := range []reflect.Type{reflect.TypeFor[AnyMap](), reflect.TypeFor[Set](), reflect.TypeFor[Bag](), t} {
			if u.Kind() == reflect.Map && r.IntN(3) == 0 {
				m := reflect.MakeMap(u)
				w.scene.add(m)
				w.fillMap(m)
				return m
			}
		}
	case 3:
		if k := t.Kind(); k <= reflect.Complex128 || k == reflect.String {
			return w.value(t, 0)
		}
	}
	p := reflect.New(t)
	w.fill(p.Elem(), 0)
	w.scene.add(p)
	return p
}

func (w *World) fillMap(m reflect.Value) {
	for range w.rng.IntN(6) {
		w.put(m, w.value(m.Type().Key(), 1), w.value(m.Type().Elem(), 1))
	}
}

// keep puts what is let go of among what may come back.
func (w *World) keep(v reflect.Value) {
	if k := v.Kind(); k != reflect.Pointer && k != reflect.Map && k != reflect.Slice || v.IsNil() {
		return
	}
	v = boxOf(v)
	if len(w.limbo) < 8 {
		w.limbo = append(w.limbo, v)
	} else {
		w.limbo[w.rng.IntN(8)] = v
	}
}

func (w *World) changeMap() bool {
	var all []reflect.Value
	for _, t := range w.family.all {
		all = append(all, w.scene.maps[t]...)
	}
	if len(all) == 0 {
		return false
	}
	w.changeEntry(w.one(all))
	return true
}

// changeEntry adds, removes or replaces an entry of a map, or clears it.
func (w *World) changeEntry(m reflect.Value) {
	keys := w.keysOf(m)
	switch w.rng.IntN(8) {
	case 0, 1, 2:
		w.put(m, w.value(m.Type().Key(), 2), w.value(m.Type().Elem(), 2))
	case 3, 4:
		if len(keys) > 0 {
			w.remove(m, w.rng.IntN(len(keys)))
		}
	case 5, 6:
		if len(keys) > 0 {
			w.put(m, w.one(keys), w.value(m.Type().Elem(), 2))
		}
	case 7:
		if w.rng.IntN(4) == 0 {
			m.Clear()
			delete(w.orders, m.Pointer())
		}
	}
}

// change writes an addressable value.
func (w *World) change(v reflect.Value) {
	r := w.rng
	t := v.Type()
	if t == syncMapType {
		w.fill(v, r.IntN(valueDepth))
		return
	}
	switch r.IntN(12) {
	case 0: // as another of its kind
		v.Set(w.another(v))
		return
	case 1: // change places
		if o := w.another(v); !w.single && !overlap(v, o) {
			x := boxOf(v)
			v.Set(o)
			o.Set(x)
		}
		return
	case 2:
		w.keep(v)
		v.SetZero()
		return
	case 3: // what was let go of comes back
		for _, x := range w.limbo {
			if x.Type().AssignableTo(t) {
				v.Set(x)
				return
			}
		}
	}
	switch {
	case t.Kind() == reflect.Slice && !v.IsNil() && r.IntN(4) > 0:
		w.changeSlice(v)
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Map:
		w.keep(v)
		w.fill(v, r.IntN(valueDepth))
	default:
		w.fill(v, 1+r.IntN(valueDepth))
	}
}

// another returns a value of v's type that the scene shows, or v.
func (w *World) another(v reflect.Value) reflect.Value {
	if list := w.scene.byType[v.Type()]; len(list) > 0 {
		return w.one(list)
	}
	return v
}

// overlap reports whether two values of one type have bytes in common.
func overlap(a, b reflect.Value) bool {
	x, y, n := a.Addr().Pointer(), b.Addr().Pointer(), a.Type().Size()
	return x < y+n && y < x+n
}

// replace makes a new array for v, with a new element at `at` or without the one
// that is there.
func (w *World) replace(v reflect.Value, at int, insert bool) {
	n := v.Len()
	s := reflect.MakeSlice(v.Type(), 0, n+1)
	s = reflect.AppendSlice(s, v.Slice(0, at))
	if insert {
		s = reflect.Append(s, w.value(v.Type().Elem(), 2))
	} else if at < n {
		at++
	}
	v.Set(reflect.AppendSlice(s, v.Slice(at, n)))
}

func (w *World) changeSlice(v reflect.Value) {
	r := w.rng
	e := v.Type().Elem()
	n := v.Len()
	if e.Size() == 0 {
		return
	}
	switch r.IntN(7) {
	case 0, 1:
		v.Set(reflect.Append(v, w.value(e, 2))) // into the array, if there is room
	case 2:
		v.Set(w.window(v.Slice(0, v.Cap())).Convert(v.Type()))
	case 3: // a new array with a hole or an insertion
		at := r.IntN(n + 1)
		w.replace(v, at, r.IntN(2) == 0)
	case 4: // within the array
		if n > 1 {
			at := r.IntN(n)
			reflect.Copy(v.Slice(at, n), v.Slice(r.IntN(n), n))
		}
	case 5:
		if n > 0 {
			v.Set(v.Slice(0, n-1))
		}
	case 6:
		if n > 0 {
			w.change(v.Index(r.IntN(n)))
		}
	}
}
