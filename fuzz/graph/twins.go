package graph

import "reflect"

// Twins says which parts of two isomorphic graphs correspond.
type Twins struct {
	maps []MapTwin
}

// MapTwin is a map and its counterpart. Keys[k] of the first is Twin[k] of the
// second.
type MapTwin struct {
	Map, Other reflect.Value
	Keys, Twin []reflect.Value
}

// Maps lists all maps that were compared.
func (t *Twins) Maps() []MapTwin { return t.maps }

func (w *walk) mapPairs() []MapTwin {
	list := make([]MapTwin, 0, len(w.pairs))
	for _, p := range w.pairs {
		m := MapTwin{Map: p.x, Other: p.y}
		for _, e := range p.a {
			m.Keys, m.Twin = append(m.Keys, e.key), append(m.Twin, p.b[e.with].key)
		}
		list = append(list, m)
	}
	return list
}
