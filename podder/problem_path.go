package podder

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// maxVisits bounds the values looked at to find one step of a path.
const maxVisits = 1 << 20

// pathFinder writes the way from a variable to a value as Go would: main.x.Items[3].onClose.
// What many paths share is found once, so together they cost about as much as the
// regions above them, however deep these are.
type pathFinder struct {
	w     *walk
	ctx   context.Context
	steps map[int32]string // region to the step from its parent
	open  map[int32]bool   // regions whose step is to be found
	from  map[int32]int    // parents of those, with how many they have
	lines map[int32]line   // of some regions
	names map[int32]string // of variables, by region

	visits int
	ticks  int
	elem   int   // that is being visited, of an array or map
	all    bool  // every region is visited whole: only an element of it may take too long
	err    error // of the context: what is found then is not complete
}

// line is what is above a region.
type line struct {
	depth int   // regions above it
	head  int32 // the region on the way with depth pathHead; itself if it is not that deep
}

// Long paths keep their ends.
const (
	pathHead = 24
	pathTail = 8
)

// lineEvery is how far apart the regions are whose lines are kept.
const lineEvery = 64

// begin says that element k is visited next.
func (f *pathFinder) begin(k int) {
	if f.elem = k; f.all {
		f.visits = 0
	}
}

func newPathFinder(w *walk) *pathFinder {
	f := &pathFinder{w: w, ctx: w.ctx, steps: map[int32]string{}, open: map[int32]bool{}, from: map[int32]int{}, lines: map[int32]line{}, names: map[int32]string{}}
	for _, c := range w.cells {
		f.names[c.region] += c.name
	}
	return f
}

// stopped looks at the context from time to time.
func (f *pathFinder) stopped() bool {
	if f.ticks++; f.ticks&0xfff == 0 && f.err == nil && f.ctx != nil {
		f.err = f.ctx.Err()
	}
	return f.err != nil
}

func (f *pathFinder) parent(i int32) int32 { return f.w.st.regions.at(i).parent }

// above returns the region n steps above i.
func (f *pathFinder) above(i int32, n int) int32 {
	for ; n > 0 && !f.stopped(); n-- {
		i = f.parent(i)
	}
	return i
}

// line climbs from region i until it knows the way.
func (f *pathFinder) line(i int32) line {
	n, base := 0, line{}
	for j := i; ; n++ {
		l, ok := f.lines[j]
		if ok {
			base = l
			break
		}
		p := f.parent(j)
		if base.head = j; p < 0 || f.stopped() {
			break
		}
		j = p
	}
	if n == 0 {
		return base
	}
	depth := base.depth + n
	head := base.head
	if base.depth < pathHead {
		head = f.above(i, max(0, depth-pathHead))
	}
	for j, d := i, depth; d > base.depth && d >= pathHead && !f.stopped(); d-- {
		if d == depth || d%lineEvery == 0 {
			f.lines[j] = line{d, head}
		}
		j = f.parent(j)
	}
	return line{depth, head}
}

// shown calls visit for the regions of whose way to region i the step is shown, from
// i up, and returns how many are left out between the ends.
func (f *pathFinder) shown(i int32, visit func(int32)) (hidden int) {
	l := f.line(i)
	hidden = max(0, l.depth-pathHead-pathTail)
	n := l.depth
	if hidden > 0 {
		n = pathTail
	}
	up := func(j int32, n int) {
		for ; n > 0; n-- {
			visit(j)
			j = f.parent(j)
		}
	}
	if f.err != nil {
		return 0
	}
	if up(i, n); hidden > 0 {
		up(l.head, pathHead)
	}
	return hidden
}

// want notes that the steps to region i, as far as they are shown, are to be found.
func (f *pathFinder) want(i int32) {
	f.shown(i, func(j int32) {
		if _, ok := f.steps[j]; !ok {
			f.steps[j], f.open[j] = "", true
			f.from[f.parent(j)]++
		}
	})
}

// find walks the parents of all regions whose step is to be found, once.
func (f *pathFinder) find() {
	for p, left := range f.from {
		f.each(p, -1, func(at unsafe.Pointer, t reflect.Type, step func() string) bool {
			child := f.childAt(at, t)
			if child < 0 || !f.open[child] || f.parent(child) != p {
				return true
			}
			f.steps[child] = step()
			delete(f.open, child)
			left--
			return left > 0
		})
	}
	clear(f.from)
	clear(f.open)
}

// childAt returns the region to which the reference of type t at `at` leads.
func (f *pathFinder) childAt(at unsafe.Pointer, t reflect.Type) int32 {
	st := f.w.st
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if q := *(*unsafe.Pointer)(at); q != nil {
			return st.memory.find(st, q)
		}
	case reflect.String:
		if s := *(*string)(at); len(s) >= longString {
			return st.strings.find(st, unsafe.Pointer(unsafe.StringData(s)))
		}
	}
	return -1
}

// located is where in its region a problem is.
type located struct {
	step  string
	found bool
}

// locate finds the steps to problems within their regions. What several have in
// common is walked once.
func (f *pathFinder) locate(problems []problem) []located {
	out := make([]located, len(problems))
	in := map[[2]int]map[unsafe.Pointer][]int{} // region and element
	for k, p := range problems {
		if p.at == nil {
			continue
		}
		at := f.w.placeOf(p)
		key := [2]int{at.region, at.elem}
		if in[key] == nil {
			in[key] = map[unsafe.Pointer][]int{}
		}
		in[key][p.at] = append(in[key][p.at], k)
	}
	for key, wanted := range in {
		f.each(int32(key[0]), key[1], func(at unsafe.Pointer, t reflect.Type, step func() string) bool {
			left := wanted[at][:0]
			for _, k := range wanted[at] {
				if p := problems[k]; t == p.typ || leadsTo(t, p.typ) {
					out[k] = located{step(), true}
				} else {
					left = append(left, k)
				}
			}
			if len(left) > 0 {
				wanted[at] = left
			} else {
				delete(wanted, at)
			}
			return len(wanted) > 0
		})
	}
	return out
}

func (f *pathFinder) path(p problem) string {
	last := f.locate([]problem{p})[0].step
	return f.pathTo(f.w.st.resolve(p.region)) + last
}

func leadsTo(t, part reflect.Type) bool {
	k := t.Kind()
	return (k == reflect.Pointer || k == reflect.Slice) && t.Elem() == part
}

// pathTo returns the way to region i.
func (f *pathFinder) pathTo(i int32) string {
	f.want(i)
	if len(f.from) > 0 {
		f.find()
	}
	var back []string // from the region up to the variable
	top := i
	hidden := f.shown(i, func(j int32) {
		back = append(back, f.steps[j])
		top = f.parent(j)
	})
	var b strings.Builder
	b.WriteString(f.names[top])
	for k := len(back) - 1; k >= 0; k-- {
		if hidden > 0 && k == pathTail-1 {
			fmt.Fprintf(&b, "…(%d steps)…", hidden)
		}
		b.WriteString(back[k])
	}
	return b.String()
}

// visitor is called for every leaf of a region: what refers elsewhere or cannot
// be stored. It returns false to stop.
type visitor func(at unsafe.Pointer, t reflect.Type, step func() string) bool

// each visits the leaves of region i; of an array or map only those of one
// element, unless it is -1.
func (f *pathFinder) each(i int32, elem int, visit visitor) {
	r := f.w.st.regions.at(i)
	f.visits, f.elem = 0, 0
	switch r.kind {
	case pod.SlotObject, pod.SlotBox:
		f.value(r.plan.typ, r.addr, "", 0, visit)
	case pod.SlotArray:
		from, to := 0, f.w.elements(r)
		if elem >= 0 {
			from, to = elem, min(to, elem+1)
		}
		for k := from; k < to; k++ {
			f.begin(k)
			if !f.value(r.plan.typ, unsafe.Add(r.addr, uintptr(k)*r.plan.size), "["+strconv.Itoa(k)+"]", 0, visit) {
				return
			}
		}
	case pod.SlotMap:
		if r.extra < 0 {
			return
		}
		entries := f.w.maps.list.at(r.extra).at
		from, to := 0, len(entries)
		if elem >= 0 {
			from, to = elem, min(to, elem+1)
		}
		for n := from; n < to; n++ {
			f.begin(n)
			key := entries[n]
			text := "[" + entryText(reflect.NewAt(r.plan.key.typ, key).Elem(), n, len(entries)) + "]"
			if !f.value(r.plan.key.typ, key, text+"(key)", 0, visit) ||
				!f.value(r.plan.elem.typ, unsafe.Add(key, r.plan.layout.elem), text, 0, visit) {
				return
			}
		}
	}
}

// handed visits what the codec of the value at p has handed over.
func (f *pathFinder) handed(t reflect.Type, p unsafe.Pointer, path string, depth int, visit visitor) bool {
	c, ok := f.w.eng.reg.codec(t).(*handCodec)
	if !ok || depth >= pathHead {
		return true
	}
	h := f.w.handed[handedKey{p, c}]
	if h == nil {
		return true
	}
	for i := range h.values {
		if !f.value(anyType, unsafe.Pointer(&h.values[i]), path+"{"+strconv.Itoa(i)+"}", depth+1, visit) {
			return false
		}
	}
	for n, at := range h.entries.at {
		pair := (*[2]any)(at)
		text := "{" + entryText(reflect.NewAt(anyType, at).Elem(), n, len(h.entries.at)) + "}"
		if !f.value(anyType, at, path+text+"(key)", depth+1, visit) ||
			!f.value(anyType, unsafe.Pointer(&pair[1]), path+text, depth+1, visit) {
			return false
		}
	}
	return true
}

// value visits the leaves of the value of type t at p.
func (f *pathFinder) value(t reflect.Type, p unsafe.Pointer, path string, depth int, visit visitor) bool {
	leaf := func() string { return path }
	if f.visits++; f.visits > maxVisits || f.stopped() {
		return false
	}
	if pl := f.w.eng.planOf(t); len(pl.refs) == 0 && f.w.eng.refusal(t) == "" && !pl.mayRefuse() {
		return true
	}
	if f.w.eng.refusal(t) != "" || f.w.eng.coded[t] {
		return visit(p, t, leaf) && f.handed(t, p, path, depth, visit)
	}
	if elem, code, ok := cellOf(t); ok {
		if code == opRef {
			return visit(p, reflect.PointerTo(elem), leaf) && visitRef(p, elem, leaf, visit)
		}
		return code == opWeak || visit(p, reflect.PointerTo(elem), leaf)
	}
	if code, ok := atomicOp(t); ok && code == opAtomicAny {
		v := f.w.loaded[p] // what the walk met
		if v == nil {
			v = new(any)
			*v = (*atomic.Value)(p).Load()
		}
		return f.value(anyType, unsafe.Pointer(v), path, depth, visit)
	}
	if t.Kind() == reflect.Struct && hasHook(t, storerType) && !visit(p, t, leaf) {
		return false
	}
	switch t.Kind() {
	case reflect.Struct:
		for _, sf := range storedFields(t) {
			if !f.value(sf.Type, unsafe.Add(p, sf.Offset), path+"."+sf.Name, depth, visit) {
				return false
			}
		}
	case reflect.Array:
		for i := range t.Len() {
			if !f.value(t.Elem(), unsafe.Add(p, uintptr(i)*t.Elem().Size()), path+"["+strconv.Itoa(i)+"]", depth, visit) {
				return false
			}
		}
	case reflect.Interface:
		if !visit(p, t, leaf) {
			return false
		}
		if (*interfaceWords)(p).tab == nil || depth >= pathHead {
			return true
		}
		d := f.w.eng.dynamicOf(t, p)
		if !visit(p, d.plan.typ, leaf) {
			return false
		}
		return f.value(d.plan.typ, d.value(p), path, depth+1, visit)
	default:
		return visit(p, t, leaf)
	}
	return true
}
