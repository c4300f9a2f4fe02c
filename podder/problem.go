package podder

import (
	"fmt"
	"go/token"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// maxProblems bounds the problems of one save that are reported one by one.
const maxProblems = 10_000

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

// place tells one problem from all others. The same one is met again if a region
// grew after it was scanned.
type place struct {
	region, elem int
	at           unsafe.Pointer
	typ          reflect.Type
	reason       string
}

// placeOf returns the place of p as things are now: its region may have become a
// part of another one since.
func (w *walk) placeOf(p problem) place {
	i := w.st.resolve(p.region)
	at := place{int(i), p.elem, p.at, p.typ, p.reason}
	switch r := w.st.regions.at(i); r.kind {
	case pod.SlotArray:
		if off := uintptr(p.at) - uintptr(r.addr); p.at != nil && uintptr(p.at) >= uintptr(r.addr) && off < w.st.size(r) {
			at.elem = int(off / r.plan.size)
		}
	case pod.SlotMap:
	default:
		at.elem = 0
	}
	return at
}

// unsupported makes the error of all problems, with their paths. Those that differ
// are told apart: by a number where their paths are alike.
func (w *walk) unsupported() error {
	e := &dberr.UnsupportedError{Unregistered: true}
	w.tellTwins()
	f := newPathFinder(w)
	steps := f.locate(w.problems)
	type what struct {
		at     unsafe.Pointer
		typ    reflect.Type
		reason string
	}
	met, located := map[place]bool{}, map[what]bool{}
	for k, p := range w.problems {
		if steps[k].found {
			located[what{p.at, p.typ, p.reason}] = true
		}
		f.want(w.st.resolve(p.region))
	}
	told := map[[2]string]int{}
	for k, p := range w.problems {
		e.Unregistered = e.Unregistered && p.unregistered
		at := w.placeOf(p)
		if met[at] || p.at != nil && !steps[k].found && located[what{p.at, p.typ, p.reason}] {
			continue // a region that grew was walked again
		}
		met[at] = true
		path := f.pathTo(w.st.resolve(p.region)) + steps[k].step
		alike := [2]string{path, p.reason}
		if told[alike]++; told[alike] > 1 {
			path += fmt.Sprintf(" #%d", told[alike])
		}
		e.Problems = append(e.Problems, dberr.PathProblem{Path: path, Type: p.typ.String(), Reason: p.reason, Err: p.err})
	}
	if f.err != nil {
		return f.err
	}
	if w.dropped > 0 {
		e.Problems = append(e.Problems, dberr.PathProblem{Path: "…", Reason: fmt.Sprintf("and %d more", w.dropped)})
	}
	return e
}
