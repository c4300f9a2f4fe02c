package podder

import (
	"fmt"
	"go/token"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// maxProblems bounds the problems of one save that are reported one by one.
const maxProblems = 10_000

// maxVisits bounds the values looked at to find one step of a path.
const maxVisits = 1 << 20

// problem is one value that cannot be stored, before its path is known. Paths
// are made only when a save has failed, by walking the regions on the way once
// more.
type problem struct {
	region int32
	elem   int // element of an array, entry of a map in order
	at     unsafe.Pointer
	typ    reflect.Type
	reason string
	// unregistered marks types that a later process would not know.
	unregistered bool
	part         reflect.Type // of typ, because of which it is not known
	err          error        // of a codec or method of the program
}

func (w *walk) problem(at unsafe.Pointer, t reflect.Type, reason string, unregistered bool) {
	if w.settled {
		return
	}
	if len(w.problems) >= maxProblems {
		w.dropped++
		return
	}
	w.problems = append(w.problems, problem{region: w.current, elem: w.elem, at: at, typ: t, reason: reason, unregistered: unregistered})
}

// failed is problem for an error of the program.
func (w *walk) failed(at unsafe.Pointer, t reflect.Type, err error) {
	n := len(w.problems)
	if w.problem(at, t, err.Error(), false); len(w.problems) > n {
		w.problems[n].err = err
	}
}

func (w *walk) unregistered(at unsafe.Pointer, d *dynamic) {
	if runsOnly(d.plan.typ.Kind()) {
		w.runsOnly(at, d.plan.typ, " behind an interface")
		return
	}
	n := len(w.problems)
	part := w.eng.reg.unmakable(d.plan.typ, w.static)
	if w.problem(at, d.plan.typ, w.eng.unknown(part, behindInterface, false), true); len(w.problems) > n {
		w.problems[n].part = part
	}
}

// runsOnly notes a func, channel or unsafe pointer that is not nil: a problem,
// or to be stored as nil. Keys of maps would become equal.
func (w *walk) runsOnly(at unsafe.Pointer, t reflect.Type, where string) {
	kind := t.Kind().String()
	switch {
	case !w.eng.zero:
		do := "set it to nil"
		if where != "" {
			do = "set the interface, not what is in it, to nil"
		}
		if w.inKey {
			do = "take that key out of the map, as a nil one would be a key, too"
		}
		w.problem(at, t, "a "+kind+" cannot be stored"+where+": "+do+", or skip the field with the tag `pod:\"-\"`", false)
	case w.inKey:
		w.problem(at, t, "a "+kind+" cannot be stored in the key of a map, not even as nil", false)
	case !w.settled && len(w.zeroed) < maxProblems:
		w.zeroed = append(w.zeroed, problem{region: w.current, elem: w.elem, at: at, typ: t})
	}
}

const behindInterface = "type behind an interface that"

// tellTwins says of types that are not known and have the text of another one what to
// do instead of what the text says.
func (w *walk) tellTwins() {
	first, twins := map[string]reflect.Type{}, map[string]bool{}
	for _, p := range w.problems {
		if p.part == nil {
			continue
		}
		text := w.eng.reg.typeText(p.part)
		if first[text] == nil {
			first[text] = p.part
		}
		twins[text] = twins[text] || first[text] != p.part
	}
	for i := range w.problems {
		if p := &w.problems[i]; p.part != nil && twins[w.eng.reg.typeText(p.part)] {
			p.reason = w.eng.unknown(p.part, behindInterface, true)
		}
	}
}

// unknown says that a later process could not know part of a type, and what to do.
func (e *engine) unknown(part reflect.Type, what string, twin bool) string {
	what += " a later process could not know"
	if !e.nameable(part) { // no word for its package would change that
		return fmt.Sprintf("%s: %v is private to package %s, so no program can register it: copy what matters into a type of your own, or skip the field with the tag `pod:\"-\"`", what, part, part.PkgPath())
	}
	if why := e.refusal(part); why != "" {
		return why
	}
	return what + ": " + e.reg.unknownHint(part, twin)
}

// nameable reports whether the program can write the name of t.
func (e *engine) nameable(t reflect.Type) bool {
	return t.PkgPath() == "" || t.Name() == "" || e.modules.own(t.PkgPath()) || token.IsExported(t.Name()) && !isInternal(t.PkgPath())
}

// isInternal reports whether only packages near a package may import it.
func isInternal(pkg string) bool { return slices.Contains(strings.Split(pkg, "/"), "internal") }

// known reports whether a later process that wants types whose closure is
// static can make t from its text.
func (e *engine) known(t reflect.Type, static typeSet) bool {
	return e.reg.known(t, static)
}

// overlap reports a reference to c in region i, where no such part is.
func (w *walk) overlap(at unsafe.Pointer, c candidate, i int32) {
	r := w.st.regions.at(i)
	reason := r.plan.typ.String()
	if r.kind == pod.SlotArray {
		reason = "array of " + reason
	}
	reason = "points into memory that is reached as " + reason + " elsewhere, which has no " + c.plan.typ.String() + " there"
	do := "point at it as what it is there, or save what holds both, or skip one of the two with the tag `pod:\"-\"`"
	if a, b := uintptr(c.addr), uintptr(r.addr); r.kind == pod.SlotObject || r.kind == pod.SlotArray {
		var field string
		if b <= a && c.end() <= b+w.st.size(r) {
			if field = w.eng.skippedAt(r.plan.typ, (a-b)%r.plan.size); field != "" {
				reason = "points into a field that is not stored: " + field
				do = storeField
			}
		} else if a <= b {
			if field = w.eng.skippedAt(c.plan.typ, (b-a)%c.plan.size); field != "" {
				reason = "another pointer points into a field of it that is not stored: " + field
				do = storeField
			}
		}
	}
	w.problem(at, c.plan.typ, reason+": "+do, false)
}

const storeField = "have the field stored (without the tag `pod:\"-\"`; locks never are), or skip the pointer with that tag"

// unsupported makes the error of all problems, with their paths.
func (w *walk) unsupported() error {
	e := &dberr.UnsupportedError{Unregistered: true}
	w.tellTwins()
	f := pathFinder{w: w, steps: map[int32]string{}, walked: map[int32]bool{}}
	for _, p := range w.problems {
		f.want(p.region)
	}
	told := map[[2]string]bool{}
	for _, p := range w.problems {
		at := dberr.PathProblem{Path: f.path(p), Type: p.typ.String(), Reason: p.reason, Err: p.err}
		if key := [2]string{at.Path, at.Reason}; !told[key] { // a region that grew was walked again
			told[key] = true
			e.Problems = append(e.Problems, at)
		}
		e.Unregistered = e.Unregistered && p.unregistered
	}
	if w.dropped > 0 {
		e.Problems = append(e.Problems, dberr.PathProblem{Path: "…", Reason: fmt.Sprintf("and %d more", w.dropped)})
	}
	return e
}

// pathFinder writes the way from a variable to a value as Go would: main.x.Items[3].onClose.
type pathFinder struct {
	w      *walk
	steps  map[int32]string // region to the step from its parent
	walked map[int32]bool   // parents whose children have their steps
	visits int
	elem   int  // that is being visited, of an array or map
	all    bool // every region is visited whole: only an element of it may take too long
}

// begin says that element k is visited next.
func (f *pathFinder) begin(k int) {
	if f.elem = k; f.all {
		f.visits = 0
	}
}

// Long paths keep their ends.
const (
	pathHead = 24
	pathTail = 8
)

// want finds the steps of region i and those above it, as far as they will be
// shown.
func (f *pathFinder) want(i int32) {
	for n := 0; i >= 0; n++ {
		p := f.w.st.regions.at(i).parent
		if p < 0 || f.walked[i] && f.steps[i] != "" {
			return
		}
		if n < pathTail || f.depth(i) < pathHead {
			f.stepsFrom(p)
		}
		i = p
	}
}

func (f *pathFinder) depth(i int32) (n int) {
	for i = f.w.st.regions.at(i).parent; i >= 0 && n <= pathHead; n++ {
		i = f.w.st.regions.at(i).parent
	}
	return n
}

// stepsFrom walks region p once and notes by which value its children are
// reached.
func (f *pathFinder) stepsFrom(p int32) {
	if f.walked[p] {
		return
	}
	f.walked[p] = true
	f.each(p, -1, func(at unsafe.Pointer, t reflect.Type, step func() string) bool {
		child := f.childAt(at, t)
		if child < 0 || f.w.st.regions.at(child).parent != p {
			return true
		}
		if _, ok := f.steps[child]; !ok {
			f.steps[child] = step()
		}
		return true
	})
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

func (f *pathFinder) path(p problem) string {
	last := ""
	if p.at == nil {
		return f.pathTo(p.region)
	}
	f.each(p.region, p.elem, func(at unsafe.Pointer, t reflect.Type, step func() string) bool {
		if at == p.at && (t == p.typ || leadsTo(t, p.typ)) {
			last = step()
			return false
		}
		return true
	})
	return f.pathTo(p.region) + last
}

func leadsTo(t, part reflect.Type) bool {
	k := t.Kind()
	return (k == reflect.Pointer || k == reflect.Slice) && t.Elem() == part
}

// pathTo returns the way to region i.
func (f *pathFinder) pathTo(i int32) string {
	var back []string // from the region up to the variable
	for f.w.st.regions.at(i).parent >= 0 {
		back = append(back, f.steps[i])
		i = f.w.st.regions.at(i).parent
	}
	var b strings.Builder
	for _, c := range f.w.cells {
		if c.region == i {
			b.WriteString(c.name)
		}
	}
	for k := len(back) - 1; k >= 0; k-- {
		if shown := len(back) - k; shown > pathHead && k >= pathTail {
			fmt.Fprintf(&b, "…(%d steps)…", k-pathTail+1)
			k = pathTail
			continue
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
		for n, key := range f.w.maps.list.at(r.extra).at {
			if elem >= 0 && n != elem {
				continue
			}
			f.begin(n)
			text := "[" + keyText(reflect.NewAt(r.plan.key.typ, key).Elem()) + "]"
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
	for _, at := range h.entries.at {
		pair := (*[2]any)(at)
		text := "{" + keyText(reflect.NewAt(anyType, at).Elem()) + "}"
		if !f.value(anyType, at, path+text+"(key)", depth+1, visit) ||
			!f.value(anyType, unsafe.Pointer(&pair[1]), path+text, depth+1, visit) {
			return false
		}
	}
	return true
}

func keyText(v reflect.Value) string {
	s := ""
	if v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	switch k := v.Kind(); {
	case k == reflect.String:
		s = strconv.Quote(v.String())
	case k >= reflect.Bool && k <= reflect.Complex128:
		s = fmt.Sprint(v)
	default:
		return v.Type().String()
	}
	if len(s) > 64 {
		return s[:60] + `…"`
	}
	return s
}

// value visits the leaves of the value of type t at p.
func (f *pathFinder) value(t reflect.Type, p unsafe.Pointer, path string, depth int, visit visitor) bool {
	leaf := func() string { return path }
	if f.visits++; f.visits > maxVisits {
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
