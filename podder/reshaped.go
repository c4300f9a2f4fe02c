package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// An object whose type has changed is written in its new shape by the first save after
// its load. References from elsewhere lead into it by element, field ids and indexes:
// to a part that is still there in the new shape they go on leading. To one that is
// behind a pointer then, or gone, they would lead nowhere, and who holds them may not
// be loaded. Such a save is refused.
//
// A load notes the slots that lose parts (loader.loaded), a save those of them that it
// writes. Only if there are some, and others can refer to them, the variables that the
// save does not write are searched for references into what they lose. So a save pays
// for that once after a change of types, and never else.

// StoredSink is a Sink that can tell what a save leaves alone.
type StoredSink interface {
	pod.Sink
	// Stored returns the version from which the save goes on, and its variables that
	// will be there after it; a nil source if nothing will be written.
	Stored(ctx context.Context) (pod.Source, []string, error)
}

// losesParts reports whether there may be parts in a value that are somewhere else, or
// nowhere, in the program's shape of it.
func (pl *decodePlan) losesParts() bool {
	if pl.box != nil || pl.migrated {
		return true
	}
	switch pl.node.kind {
	case nodeStruct:
		if pl.changed || len(pl.fields) < len(pl.node.fields) {
			return true
		}
		for _, f := range pl.fields {
			if f.plan.losesParts() {
				return true
			}
		}
	case nodeArray:
		return pl.typ.Kind() != reflect.Array || uint64(pl.typ.Len()) < pl.node.length || pl.elem.losesParts()
	}
	return false
}

// lost says which part of a value a reference leads into that is not where it was in
// the program's shape, and what has become of it; "" if there is none. n is how many
// elements a slice has and may grow to, 0 for a pointer.
func (pl *decodePlan) lost(reg *Registry, steps []uint64, n uint64) (path, what string) {
	now := func() string {
		return fmt.Sprintf("stored as %s, the program has %s", pl.node.text, reg.typeText(pl.typ))
	}
	for k, step := range steps {
		array := pl.node.kind == nodeArray && pl.typ.Kind() == reflect.Array
		switch {
		case pl.box != nil || pl.migrated || pl.changed && !array:
			return path, now()
		case array:
			end := step + 1
			if k == len(steps)-1 && n > 0 {
				end = step + n
			}
			if end > uint64(pl.typ.Len()) {
				return path, now()
			}
			path += "[" + strconv.FormatUint(step, 10) + "]"
			pl = pl.elem
		case pl.node.kind == nodeStruct:
			i := slices.IndexFunc(pl.node.fields, func(f nodeField) bool { return uint64(f.id) == step })
			if i < 0 {
				return "", ""
			}
			path += "." + pl.node.fields[i].name
			f, ok := pl.fields[uint32(step)]
			if !ok {
				return path, fmt.Sprintf("stored as %s, a field that the program no longer has", pl.node.fields[i].node.text)
			}
			pl = f.plan
		default:
			return "", "" // damage, for whoever loads it
		}
	}
	if pl.box != nil && n == 0 {
		return path, now()
	}
	return "", ""
}

// noteReshaped takes over the slots that a load has found to lose parts.
func (g *Graph) noteReshaped(l *loader) {
	if len(l.reshaped) == 0 {
		return
	}
	if g.reshaped == nil {
		g.reshaped = map[pod.Ref]*decodePlan{}
	}
	for ref, pl := range l.reshaped {
		g.reshaped[ref] = pl
	}
}

// isReshaped reports whether what lives at a slot is still stored in another shape:
// then only what is stored says where references to it lead.
func (l *loader) isReshaped(id pod.ID, s pod.Slot) bool {
	return l.named.g != nil && l.named.g.reshaped[pod.Ref{Pod: id, Slot: s}] != nil
}

// reshaping is what a save meets that matters to values that lose parts.
type reshaping struct {
	losing   []pod.Ref // slots of theirs that it writes
	keptRefs []keptRef
}

// noteReshaped notes which of the slots of a change lose parts.
func (e *encoder) noteReshaped(c *pod.Change) {
	if len(e.saved.g.reshaped) == 0 {
		return
	}
	for i := range c.Slots {
		ref := pod.Ref{Pod: c.ID, Slot: c.Slots[i].Slot}
		if _, ok := e.saved.g.reshaped[ref]; ok && !c.New {
			e.saved.losing = append(e.saved.losing, ref)
		}
	}
}

// noteKept notes a reference that is written as it was read.
func (e *encoder) noteKept(r *opaqueRef, opaque bool) {
	if len(e.saved.g.reshaped) > 0 {
		e.saved.keptRefs = append(e.saved.keptRefs, keptRef{r.outside, r.tail, opaque, e.current})
	}
}

// keptRef is a reference that the save writes as it was read: of a Ref that was not
// followed, or of a value of an unknown type.
type keptRef struct {
	to     pod.Ref
	tail   []byte
	opaque bool
	region int32 // that holds it
}

// maxReferrers bounds the variables that a refusal names.
const maxReferrers = 10

// reshapeSearch looks for references into what a save takes away.
type reshapeSearch struct {
	*encoder
	v      *viewer
	losing map[target]bool
	names  []string // of the variables through which one was found
	kept   []string // paths of objects with Refs that are such references
	opaque []string // and of values of unknown types
	part   target   // the first that was found: into this slot
	path   string   // of the part in it
	what   string   // became of it
	seen   map[target]struct{}
	todo   []reshapeStep
}

type reshapeStep struct {
	at   target
	from referrer
}

// referrer is what has led the search somewhere: the path of an object that the save
// writes, or a variable that it does not, and the list of the like.
type referrer struct {
	name string
	list *[]string
}

// found notes that a reference into what is lost comes from there.
func (r referrer) found() {
	if !slices.Contains(*r.list, r.name) {
		*r.list = append(*r.list, r.name)
	}
}

// checkReshaped refuses a save that would take away parts of objects to which
// references lead that it does not write.
func (e *encoder) checkReshaped() error {
	sink, ok := e.sink.(StoredSink)
	if len(e.saved.losing) == 0 || !ok {
		return nil
	}
	s := reshapeSearch{encoder: e, losing: map[target]bool{}, seen: map[target]struct{}{}}
	for _, ref := range e.saved.losing {
		if e.othersMayReferTo(ref) {
			s.losing[target{ref.Pod, ref.Slot}] = true
		}
	}
	if len(s.losing) == 0 {
		return nil
	}
	src, names, err := sink.Stored(e.ctx)
	if err != nil || src == nil {
		return err
	}
	s.v = newViewer(e.ctx, src)
	if err := s.search(names); err != nil {
		return fmt.Errorf("look for references into objects whose type has changed: %w", err)
	}
	return s.refusal()
}

// othersMayReferTo reports whether there may be references to a slot from what this
// graph does not have: from other pods, or from slots of its own pod.
func (e *encoder) othersMayReferTo(ref pod.Ref) bool {
	ps := &e.old.pods[e.old.byID[ref.Pod]]
	return exported(ps.exports, ref.Slot) || slices.ContainsFunc(ps.slots, func(s slotState) bool {
		return s.region < 0 && s.kind != pod.SlotFree
	})
}

// writes reports whether the save writes what is in a slot, or would if it had changed.
func (s *reshapeSearch) writes(t target) bool {
	n, ok := s.st.byID[t.pod]
	return ok && int(t.slot) < len(s.st.pods[n].slots) && s.st.pods[n].slots[t.slot].region >= 0
}

func (s *reshapeSearch) search(names []string) error {
	for _, name := range names {
		if slices.ContainsFunc(s.cells, func(c boxCell) bool { return c.name == name }) {
			continue
		}
		id, err := s.v.src.Root(s.ctx, name)
		if errors.Is(err, dberr.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		s.push(target{pod: id}, referrer{name, &s.names})
	}
	for _, k := range s.saved.keptRefs {
		if err := s.keptRef(k); err != nil {
			return err
		}
	}
	for n := 0; len(s.todo) > 0; n++ {
		if n%64 == 0 {
			if err := s.ctx.Err(); err != nil {
				return err
			}
		}
		if len(s.v.pods) > maxSearchedPods {
			clear(s.v.pods)
		}
		x := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		if err := s.slot(x); err != nil {
			return err
		}
	}
	return nil
}

// maxSearchedPods bounds the pods that a search keeps in memory.
const maxSearchedPods = 1024

func (s *reshapeSearch) push(t target, from referrer) {
	if _, ok := s.seen[t]; !ok && !s.writes(t) {
		s.seen[t] = struct{}{}
		s.todo = append(s.todo, reshapeStep{t, from})
	}
}

// slot looks at all references in a slot.
func (s *reshapeSearch) slot(x reshapeStep) error {
	p, err := s.v.fetch(x.at.pod)
	if err != nil {
		return err
	}
	if int(x.at.slot) >= len(p.Slots) {
		return s.v.corrupt(x.at, "reference to a slot that is not there")
	}
	visit := func(w view, r reference, length uint64, _ *diffPath) error {
		if r.null || r.zeroSize {
			return nil
		}
		s.push(r.to, x.from)
		n := length
		if w.n != nil && w.n.kind == nodeSlice {
			c := w.c
			c.uvarint() // length
			n += c.uvarint()
		}
		ok, err := s.leadsIntoLost(r, n)
		if ok {
			x.from.found()
		}
		return err
	}
	if d := p.Slots[x.at.slot]; d.Kind == pod.SlotChunks {
		return s.v.eachPart(x.at, p, d, func(t target, in *pod.Pod, _ pod.Data) error {
			return s.v.slotReferences(t, in, visit)
		})
	}
	return s.v.slotReferences(x.at, p, visit)
}

// keptRef looks at a reference in an object that the save writes.
func (s *reshapeSearch) keptRef(k keptRef) error {
	f := newPathFinder(s.walk)
	f.want(k.region)
	from := referrer{f.pathTo(k.region), &s.kept}
	if k.opaque {
		from.list = &s.opaque
	}
	r := reference{to: target{k.to.Pod, k.to.Slot}, interior: len(k.tail) > 0}
	s.push(r.to, from)
	if !r.interior && k.opaque {
		return nil // it may be a slice
	}
	if r.interior {
		c := cursor{buf: k.tail}
		r.index = c.uvarint()
		for n := c.uvarint(); n > 0 && !c.bad; n-- {
			r.steps = append(r.steps, c.uvarint())
		}
	}
	ok, err := s.leadsIntoLost(r, 0)
	if ok {
		from.found()
	}
	return err
}

// leadsIntoLost reports whether a reference leads into a part that the save takes away.
func (s *reshapeSearch) leadsIntoLost(r reference, n uint64) (bool, error) {
	for range maxForwards {
		if s.losing[r.to] {
			break
		}
		if s.writes(r.to) {
			return false, nil // as it was, or what took its place
		}
		p, err := s.v.fetch(r.to.pod)
		if err != nil {
			return false, err
		}
		if int(r.to.slot) >= len(p.Slots) || p.Slots[r.to.slot].Kind != pod.SlotForward {
			return false, nil
		}
		c := cursor{buf: p.Slots[r.to.slot].Bytes}
		to, err := s.v.pointer(r.to, p, &c)
		if err != nil {
			return false, err
		}
		if len(to.steps) == 0 {
			to.index += r.index
		} else {
			to.steps[len(to.steps)-1] += r.index
		}
		to.steps = append(to.steps, r.steps...)
		r = to
	}
	pl := s.saved.g.reshaped[pod.Ref{Pod: r.to.pod, Slot: r.to.slot}]
	if pl == nil {
		return false, nil
	}
	p, err := s.v.fetch(r.to.pod)
	if err != nil {
		return false, err
	}
	array := int(r.to.slot) < len(p.Slots) && storedKind(&p.Slots[r.to.slot]) == pod.SlotArray
	if !array && len(r.steps) == 0 {
		return false, nil // the whole object
	}
	path, what := pl.lost(s.eng.reg, r.steps, n)
	if what == "" {
		return false, nil
	}
	if s.what == "" {
		if array {
			path = "[" + strconv.FormatUint(r.index, 10) + "]" + path
		}
		s.part, s.path, s.what = r.to, path, what
	}
	return true, nil
}

// refusal is the error that names what was found, nil if that is nothing.
func (s *reshapeSearch) refusal() error {
	if s.what == "" {
		return nil
	}
	at := fmt.Sprintf("(pod %d slot %d)", s.part.pod, s.part.slot)
	if s.writes(s.part) {
		i := s.st.pods[s.st.byID[s.part.pod]].slots[s.part.slot].region
		f := newPathFinder(s.walk)
		f.want(i)
		at = f.pathTo(i)
	}
	var todo []string
	list := func(names []string, do string) {
		if len(names) == 0 {
			return
		}
		slices.Sort(names)
		more := ""
		if len(names) > maxReferrers {
			names, more = names[:maxReferrers], " and others"
		}
		todo = append(todo, do+strings.Join(names, ", ")+more)
	}
	list(s.names, "load the variables that refer into it before saving: ")
	list(s.kept, "get the Refs that lead into it before saving: ")
	list(s.opaque, "register the types of the values that lead into it, or drop them: ")
	return fmt.Errorf("%s%s: %s, and references to it that this save does not write would lead nowhere; %s: %w",
		at, s.path, s.what, strings.Join(todo, "; "), dberr.ErrTypeMismatch)
}
