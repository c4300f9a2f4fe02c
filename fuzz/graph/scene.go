package graph

import (
	"reflect"
	"sync"
	"sync/atomic"
)

// scene is what a program sees when it walks from its variables: the places that
// it can write, and the memory that a reference may lead to. Its order depends
// on the graph alone.
type scene struct {
	w      *World
	spots  []reflect.Value                  // addressable values, parts before what they are parts of
	byType map[reflect.Type][]reflect.Value // the same
	arrays map[reflect.Type][]reflect.Value // by element: slices up to their capacity, addressable arrays
	maps   map[reflect.Type][]reflect.Value
	long   []string
	big    []reflect.Value // slices and strings that can be written, and maps
	queue  []reflect.Value
	done   map[visit]struct{}
}

// maxSpots bounds a scene; of larger graphs it shows what is near.
const maxSpots = 6000

// sampled is the number of elements of a long array that a scene shows.
const sampled = 24

func (w *World) look() *scene {
	s := &scene{w: w, byType: map[reflect.Type][]reflect.Value{}, arrays: map[reflect.Type][]reflect.Value{},
		maps: map[reflect.Type][]reflect.Value{}, done: map[visit]struct{}{}}
	for _, v := range w.vars {
		s.value(v.Value, false)
	}
	for _, v := range w.limbo {
		s.value(v, false)
	}
	s.drain()
	return s
}

func (s *scene) drain() {
	for len(s.queue) > 0 && len(s.spots) < maxSpots {
		v := s.queue[0]
		s.queue = s.queue[1:]
		switch v.Kind() {
		case reflect.Slice:
			s.elements(v)
		case reflect.Map:
			for _, k := range s.sample(s.w.keysOf(v)) {
				s.value(k, false)
				s.value(v.MapIndex(k), false)
			}
		case reflect.Interface:
			s.value(v.Elem(), false)
		default:
			s.value(v.Elem(), true)
		}
	}
	s.queue = nil
}

// sample chooses some keys of a big map.
func (s *scene) sample(keys []reflect.Value) []reflect.Value {
	if s.w.Limits.Big == 0 || len(keys) < 10*sampled {
		return keys
	}
	var some []reflect.Value
	for range sampled {
		some = append(some, s.w.one(keys))
	}
	return some
}

func (s *scene) elements(v reflect.Value) {
	n := v.Len()
	if n <= sampled {
		for k := range n {
			s.value(v.Index(k), true)
		}
		return
	}
	for range sampled {
		s.value(v.Index(s.w.rng.IntN(n)), true)
	}
}

// value shows a value; spot says that it is addressable memory.
func (s *scene) value(v reflect.Value, spot bool) {
	t := v.Type()
	if t.Size() == 0 {
		return
	}
	switch c, ok := cells[t]; {
	case ok && !c.weak:
		if !spot {
			v = boxOf(v)
		}
		s.parts(c.pointerIn(v), false)
	case t == reflect.TypeFor[atomic.Value](): // what it holds is seen, where it lies is not
		if !spot {
			v = boxOf(v)
		}
		s.parts(part(v, 0), false)
	case ok, means(t), t.PkgPath() == "sync/atomic":
	case t == syncMapType:
		if spot {
			s.sync(v.Addr().Interface().(*sync.Map))
		}
	default:
		s.parts(v, spot)
	}
	if spot {
		s.spots = append(s.spots, v)
		s.byType[t] = append(s.byType[t], v)
		if k := t.Kind(); (k == reflect.Slice || k == reflect.String) && s.w.isBig(v) {
			s.big = append(s.big, v)
		}
	}
}

func (s *scene) parts(v reflect.Value, spot bool) {
	t := v.Type()
	switch t.Kind() {
	case reflect.Struct:
		if !spot {
			v = boxOf(v)
		}
		for _, f := range s.w.family.fields[t] {
			s.value(part(v, f), spot)
		}
	case reflect.Array:
		if spot {
			s.arrays[t.Elem()] = append(s.arrays[t.Elem()], v)
		}
		for k := range min(t.Len(), sampled) {
			s.value(v.Index(k), spot)
		}
	case reflect.String:
		if v.Len() >= longString {
			s.long = append(s.long, v.String())
		}
	case reflect.Interface:
		if !v.IsNil() {
			s.queue = append(s.queue, v)
		}
	case reflect.Pointer:
		if !v.IsNil() && t.Elem().Size() > 0 && !isShared(v.Pointer()) && s.enter(visit{v.Pointer(), t, -1}) {
			s.queue = append(s.queue, v)
		}
	case reflect.Slice:
		if v.Cap() > 0 && t.Elem().Size() > 0 && s.enter(visit{v.Pointer(), t, v.Len()}) {
			s.queue = append(s.queue, v)
			if s.enter(visit{v.Pointer(), t, -v.Cap()}) {
				s.arrays[t.Elem()] = append(s.arrays[t.Elem()], v.Slice(0, v.Cap()))
			}
		}
	case reflect.Map:
		if !v.IsNil() && s.enter(visit{v.Pointer(), t, -1}) {
			s.queue = append(s.queue, v)
			s.maps[t] = append(s.maps[t], boxOf(v))
			if s.w.isBig(v) {
				s.big = append(s.big, s.maps[t][len(s.maps[t])-1])
			}
		}
	}
}

// visit is a reference that was followed.
type visit struct {
	addr uintptr
	typ  reflect.Type
	n    int
}

func (s *scene) enter(v visit) bool {
	if _, ok := s.done[v]; ok {
		return false
	}
	s.done[v] = struct{}{}
	return true
}

// add shows new memory.
func (s *scene) add(v reflect.Value) {
	s.value(v, false)
	s.drain()
}
