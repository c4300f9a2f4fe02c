package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Every variable must be readable by a process that knows nothing but its type
// and what is registered. What plain references lead to is in the closure of the
// variable's type; two things are not: the types behind interfaces, and the
// type of a region that is reached as something else than it is (a pointer
// into it, a converted pointer). The walk checks the first for the variable
// that meets a region first. Other variables may lead to the region as well, so
// such types are noted with their regions, and afterwards one breadth-first
// pass a type looks whether a variable that does not know it gets there.
//
// A type that all variables of the save know costs nothing.
type needs struct {
	static []typeSet // closures, by root
	eng    *engine
	list   []need
	byType map[reflect.Type]int32 // in list; -1 if all variables know it
	last   reflect.Type           // asked last, and its number
	lastN  int32
	others []int32 // regions that were reached as something else than they are
	// later says that what is met now belongs to no variable in particular.
	later bool
}

// need is a type that some variables do not know.
type need struct {
	typ     reflect.Type
	lacking []int   // roots that do not know it
	regions []int32 // that hold values of it
}

func (n *needs) begin(eng *engine, roots []Root) {
	*n = needs{eng: eng, static: make([]typeSet, len(roots))}
	for i, r := range roots {
		n.static[i] = eng.reg.reachable(r.Value.Type())
	}
}

// add notes that region i holds a value of type t.
func (n *needs) add(t reflect.Type, i int32) {
	k := n.lastN
	if t != n.last {
		k = n.number(t)
		n.last, n.lastN = t, k
	}
	if k < 0 {
		return
	}
	x := &n.list[k]
	if m := len(x.regions); m == 0 || x.regions[m-1] != i {
		x.regions = append(roomy(x.regions), i)
	}
}

func (n *needs) number(t reflect.Type) int32 {
	if k, ok := n.byType[t]; ok {
		return k
	}
	var lacking []int
	for root, static := range n.static {
		if !n.eng.known(t, static) {
			lacking = append(lacking, root)
		}
	}
	k := int32(-1)
	if len(lacking) > 0 {
		k = int32(len(n.list))
		n.list = append(n.list, need{typ: t, lacking: lacking})
	}
	if n.byType == nil {
		n.byType = map[reflect.Type]int32{}
	}
	n.byType[t] = k
	return k
}

// askable notes a problem if the type of a variable is one that no program can
// name, to load it.
func (w *walk) askable(r Root) {
	t := w.eng.private(r.Value.Type())
	if t == nil {
		return
	}
	w.current, w.elem = w.cells[len(w.cells)-1].region, 0
	w.problem(w.st.regions.at(w.current).addr, r.Value.Type(), fmt.Sprintf("%v is private to package %s, so no program can name the type of this variable to load it", t, t.PkgPath()), true)
}

// private returns a part of the name of t that belongs to another package alone and
// that is not known without a name, nil if there is none.
func (e *engine) private(t reflect.Type) reflect.Type {
	for {
		if e.reg.std[t] {
			return nil
		}
		if t.Name() != "" {
			if e.nameable(t) || e.reg.known(t, nil) {
				return nil
			}
			return t
		}
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			t = t.Elem()
		case reflect.Map:
			if k := e.private(t.Key()); k != nil {
				return k
			}
			t = t.Elem()
		case reflect.Struct:
			for i := range t.NumField() {
				if p := e.private(t.Field(i).Type); p != nil {
					return p
				}
			}
			return nil
		default:
			return nil
		}
	}
}

// checkNeeds finds variables that lead to values of types that they do not
// know.
func (w *walk) checkNeeds() error {
	for _, i := range w.needs.others {
		if r := w.st.regions.at(w.st.resolve(i)); r.plan.sentinel != nil {
			continue // found by its name
		} else if r.kind == pod.SlotObject || r.kind == pod.SlotArray || r.kind == pod.SlotMap {
			w.st.ask(r.plan.typ)
			w.needs.add(r.plan.typ, w.st.resolve(i))
		}
	}
	var found []dberr.PathProblem
	for k := range w.needs.list {
		if n := &w.needs.list[k]; len(n.regions) > 0 {
			if p, ok := w.unmet(n); ok {
				found = append(found, p)
			}
		}
	}
	if len(found) > 0 {
		return &dberr.UnsupportedError{Problems: found, Unregistered: true}
	}
	w.noteLacks()
	return nil
}

// unmet goes breadth first from the variables that lack n until one of them
// gets to a region that needs it.
func (w *walk) unmet(n *need) (dberr.PathProblem, bool) {
	st := w.st
	wanted := map[int32]bool{}
	for _, i := range n.regions {
		wanted[st.resolve(i)] = true
	}
	from := make([]int32, st.regions.len()) // region + 1 from which it was reached
	var queue []int32
	for _, root := range n.lacking {
		i := w.cells[root].region
		from[i] = i + 1
		queue = append(queue, i)
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if wanted[i] {
			return w.needPath(n, i, from), true
		}
		for k := st.regions.at(i).edge; k < st.regions.at(i).edgeEnd; k++ {
			if to := st.resolve(*w.edges.at(int32(k))); from[to] == 0 {
				from[to] = i + 1
				queue = append(queue, to)
			}
		}
	}
	return dberr.PathProblem{}, false
}

// needPath writes the way to region i along from. The save has failed, so the
// regions on it may be given other parents.
func (w *walk) needPath(n *need, i int32, from []int32) dberr.PathProblem {
	regions := &w.st.regions
	for j := i; from[j]-1 != j; j = from[j] - 1 {
		regions.at(j).parent = from[j] - 1
	}
	f := newPathFinder(w)
	f.want(i)
	last, what := f.boxOf(i, n.typ), "type behind an interface that"
	if last == "" {
		what = "is a part of a value of another type that"
	}
	path := f.pathTo(i)
	root := i
	for regions.at(root).parent >= 0 {
		root = regions.at(root).parent
	}
	var static typeSet
	for k, c := range w.cells {
		if c.region == root {
			static = w.needs.static[k]
			what = fmt.Sprintf("%s, saved as variable %q alone,", what, c.name)
		}
	}
	return dberr.PathProblem{Path: path + last, Type: n.typ.String(), Reason: w.eng.unknown(w.eng.reg.unmakable(n.typ, static), what, false)}
}

// boxOf returns the step within region i to an interface that holds a value of
// type t, "" if there is none.
func (f *pathFinder) boxOf(i int32, t reflect.Type) (last string) {
	held := false
	f.each(i, -1, func(at unsafe.Pointer, u reflect.Type, step func() string) bool {
		if u == t && held {
			last = step()
			return false
		}
		held = u.Kind() == reflect.Interface // what it holds is visited next
		return true
	})
	return last
}
