package graph

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
)

// mapPair is a map of a and its counterpart, with their entries. Those under
// keys that say by themselves who they are are paired at once. For the others a
// label is made of all that is known near them; labels that only one entry has
// make pairs, which makes more known, and so on until nothing is left but
// choices.
type mapPair struct {
	x, y reflect.Value // maps, or values of type sync.Map
	p, q uintptr       // where they are
	item int           // with the reference
	off  uintptr
	a, b []entry
	left int // entries without a counterpart
}

type entry struct {
	key, elem reflect.Value
	with      int // number of the counterpart, -1 if unknown
	label     []byte
}

// choice is a pair of entries that was tried where others were possible.
type choice struct {
	log, items, head int
	weak             int
	pair             *mapPair
	a                int
	rest             []int // of b, not tried
}

// maxFailures bounds the choices that are taken back.
const maxFailures = 2000

// retry takes the newest choice back and makes the next. It is false if there
// is none left: then the first difference that was met is the answer.
func (w *walk) retry(err error) bool {
	if w.first == nil {
		w.first = err
	}
	w.failures++
	for len(w.choices) > 0 {
		c := &w.choices[len(w.choices)-1]
		w.forget(c.log)
		w.items, w.head, w.weak = w.items[:c.items], c.head, w.weak[:c.weak]
		if len(c.rest) == 0 {
			w.choices = w.choices[:len(w.choices)-1]
			continue
		}
		if w.failures > maxFailures {
			w.first = errors.Join(w.first, errors.New("given up: too many entries of maps look alike"))
			return false
		}
		b := c.rest[0]
		c.rest = c.rest[1:]
		w.join(c.pair, c.a, b)
		return true
	}
	return false
}

func (w *walk) mapHeader(i int, a, b reflect.Value, off uintptr) error {
	if a.IsNil() || b.IsNil() {
		return w.nilness(i, a, b, off)
	}
	return w.pairMaps(i, a, b, a.Pointer(), b.Pointer(), off)
}

// pairMaps pairs two maps, which are at addr and to.
func (w *walk) pairMaps(i int, a, b reflect.Value, addr, to uintptr, off uintptr) error {
	n, ok := w.mapsA[addr]
	m, also := w.mapsB[to]
	if ok && also && n == m {
		return nil
	}
	as, bs := entriesOf(a), entriesOf(b)
	switch {
	case ok:
		return w.mismatch(i, off, fmt.Sprintf("one %v became two", a.Type()))
	case also:
		return w.mismatch(i, off, fmt.Sprintf("two %v became one", a.Type()))
	case len(as) != len(bs):
		return w.mismatch(i, off, fmt.Sprintf("%v of %d and %d entries", a.Type(), len(as), len(bs)))
	}
	p := &mapPair{x: a, y: b, p: addr, q: to, item: i, off: off, a: as, b: bs, left: len(as)}
	w.mapsA[addr], w.mapsB[to] = int32(len(w.pairs)), int32(len(w.pairs))
	w.pairs = append(w.pairs, p)
	w.learned(undo{pair: p, a: -1})
	if a.Kind() == reflect.Map && plainKey(a.Type().Key()) {
		return w.pairPlain(p)
	}
	return nil
}

func entriesOf(m reflect.Value) []entry {
	if m.Kind() != reflect.Map {
		return syncEntries(m.Addr().Interface().(*sync.Map))
	}
	list := make([]entry, 0, m.Len())
	for r := m.MapRange(); r.Next(); {
		list = append(list, entry{key: boxOf(r.Key()), elem: boxOf(r.Value()), with: -1})
	}
	return list
}

// plainKey reports whether equal keys of type t have equal bits and nothing
// else to compare.
func plainKey(t reflect.Type) bool {
	switch k := t.Kind(); k {
	case reflect.Struct:
		for i := range t.NumField() {
			if !plainKey(t.Field(i).Type) {
				return false
			}
		}
		return len(StoredFields(t)) == t.NumField()
	case reflect.Array:
		return plainKey(t.Elem())
	default:
		return k >= reflect.Bool && k <= reflect.Uintptr || k == reflect.String
	}
}

func (w *walk) pairPlain(p *mapPair) error {
	at := make(map[any]int, len(p.b))
	for k := range p.b {
		at[p.b[k].key.Interface()] = k
	}
	for k := range p.a {
		m, ok := at[p.a[k].key.Interface()]
		if !ok {
			return w.mismatch(p.item, p.off, fmt.Sprintf("%v: key %s is not in the other", p.x.Type(), keyText(p.a[k].key)))
		}
		w.join(p, k, m)
	}
	return nil
}

// join pairs two entries.
func (w *walk) join(p *mapPair, a, b int) {
	p.a[a].with, p.b[b].with = b, a
	p.left--
	w.learned(undo{pair: p, a: a, b: b})
	w.push(item{a: p.a[a].key, b: p.b[b].key, n: -1, parent: int32(p.item), off: p.off, step: stepKey, pair: p, entry: a})
	w.push(item{a: p.a[a].elem, b: p.b[b].elem, n: -1, parent: int32(p.item), off: p.off, step: stepElem, pair: p, entry: a})
}

// pairEntries pairs what labels tell apart, or makes a choice. more says that
// there is something to compare.
func (w *walk) pairEntries() (more bool, err error) {
	var first *mapPair
	for _, p := range w.pairs {
		if p.left == 0 {
			continue
		}
		if first == nil {
			first = p
		}
		joined, err := w.pairLabelled(p)
		if err != nil {
			return false, err
		}
		more = more || joined
	}
	if more || first == nil {
		return more, nil
	}
	a := slices.IndexFunc(first.a, func(e entry) bool { return e.with < 0 })
	c := choice{log: len(w.log), items: len(w.items), head: w.head, weak: len(w.weak), pair: first, a: a}
	for k := range first.b {
		if first.b[k].with < 0 && bytes.Equal(first.b[k].label, first.a[a].label) {
			c.rest = append(c.rest, k)
		}
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	w.choices = append(w.choices, c)
	w.join(first, a, b)
	return true, nil
}

// pairLabelled makes labels for the open entries of a pair and joins those
// whose label no other has.
func (w *walk) pairLabelled(p *mapPair) (joined bool, err error) {
	open := func(list []entry, l *labeller) []int {
		var at []int
		for k := range list {
			if list[k].with < 0 {
				list[k].label = l.entry(list[k])
				at = append(at, k)
			}
		}
		slices.SortFunc(at, func(i, j int) int { return bytes.Compare(list[i].label, list[j].label) })
		return at
	}
	as, bs := open(p.a, &labeller{w: w, ofA: true}), open(p.b, &labeller{w: w})
	for k := range as {
		if !bytes.Equal(p.a[as[k]].label, p.b[bs[k]].label) {
			return false, w.mismatch(p.item, p.off, fmt.Sprintf("%v: no entry of the other is like that under %s", p.x.Type(), keyText(p.a[as[k]].key)))
		}
	}
	for k := range as {
		label := p.a[as[k]].label
		alone := (k == 0 || !bytes.Equal(label, p.a[as[k-1]].label)) && (k+1 == len(as) || !bytes.Equal(label, p.a[as[k+1]].label))
		if alone {
			w.join(p, as[k], bs[k])
			joined = true
		}
	}
	return joined, nil
}
