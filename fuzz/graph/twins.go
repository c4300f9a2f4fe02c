package graph

import "reflect"

// Twins says which parts of two isomorphic graphs correspond.
type Twins struct {
	maps []MapTwin
	// Chosen says that entries of maps looked alike, so that others may be twins as well.
	Chosen bool
}

// MapTwin is a map and its counterpart. Keys[k] of the first is Twin[k] of the
// second.
type MapTwin struct {
	Map, Other reflect.Value
	Keys, Twin []reflect.Value
}

// Maps lists all maps that were compared, but for those of package sync.
func (t *Twins) Maps() []MapTwin { return t.maps }

func (w *walk) mapPairs() []MapTwin {
	list := make([]MapTwin, 0, len(w.pairs))
	for _, p := range w.pairs {
		if p.x.Kind() != reflect.Map {
			continue
		}
		m := MapTwin{Map: p.x, Other: p.y}
		for _, e := range p.a {
			m.Keys, m.Twin = append(m.Keys, e.key), append(m.Twin, p.b[e.with].key)
		}
		list = append(list, m)
	}
	return list
}
