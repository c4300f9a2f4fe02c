package graph

import (
	"encoding/binary"
	"reflect"
)

// labeller writes what is known near a value, equal for counterparts: numbers
// and strings, memory by its place in b if it is known, else by its contents
// some steps deep.
type labeller struct {
	w   *walk
	ofA bool
	out []byte
}

const (
	labelDepth = 3
	labelBytes = 512
	labelElems = 8
)

func (l *labeller) entry(e entry) []byte {
	l.out = nil
	l.value(e.key, labelDepth)
	l.out = append(l.out, '=')
	l.value(e.elem, labelDepth)
	return l.out
}

func (l *labeller) number(n uint64) { l.out = binary.AppendUvarint(l.out, n) }

// known writes the place in b of memory that has a counterpart.
func (l *labeller) known(p uintptr) bool {
	q := p
	_, ok := l.w.back.find(p)
	if l.ofA {
		q, ok = l.w.there.find(p)
	}
	if ok {
		l.out = append(l.out, '@')
		l.number(uint64(q))
	}
	return ok
}

// table writes how many entries the map at p has, and which one it is if it is known.
func (l *labeller) table(p uintptr, entries int) {
	n, ok := l.w.mapsB[p]
	if l.ofA {
		n, ok = l.w.mapsA[p]
	}
	l.number(uint64(entries))
	if ok {
		l.out = append(l.out, '@')
		l.number(uint64(n))
	}
}

func (l *labeller) value(v reflect.Value, depth int) {
	t := v.Type()
	layout := l.w.layoutOf(t)
	if len(l.out) > labelBytes {
		return
	}
	if layout.same != nil {
		l.out = append(l.out, meanings[t].text(v.Addr().Interface())...)
		return
	}
	if layout.flat {
		m := memory(v)
		for _, r := range layout.runs {
			l.out = append(l.out, m[r.off:r.off+r.n]...)
		}
		return
	}
	switch {
	case layout.cell != nil && layout.cell.weak:
		return
	case layout.cell != nil:
		v, t = layout.cell.pointerIn(v), reflect.PointerTo(layout.cell.elem)
	case t == syncMapType:
		l.table(v.Addr().Pointer(), len(entriesOf(v)))
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		for k := range layout.fields {
			l.value(layout.fields[k].of(v), depth)
		}
		return
	case reflect.Array:
		for k := range min(t.Len(), labelElems) {
			l.value(v.Index(k), depth)
		}
		return
	case reflect.String:
		l.number(uint64(v.Len()))
		l.out = append(l.out, v.String()[:min(v.Len(), labelBytes)]...)
		return
	}
	if v.IsNil() {
		l.out = append(l.out, 0)
		return
	}
	l.out = append(l.out, 1)
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Size() > 0 && !l.known(v.Pointer()) && depth > 0 {
			l.value(v.Elem(), depth-1)
		}
	case reflect.Slice:
		l.number(uint64(v.Len()))
		l.number(uint64(v.Cap()))
		if v.Cap() > 0 && t.Elem().Size() > 0 && !l.known(v.Pointer()) && depth > 0 {
			for k := range min(v.Len(), labelElems) {
				l.value(v.Index(k), depth-1)
			}
		}
	case reflect.Map:
		l.table(v.Pointer(), v.Len())
	case reflect.Interface:
		l.out = append(l.out, v.Elem().Type().String()...)
		if depth > 0 {
			l.value(boxOf(v.Elem()), depth-1)
		}
	}
}
