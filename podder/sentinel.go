package podder

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A sentinel is an object that the program knows by its address: io.EOF, a default
// value, a singleton. It is registered under a name. A save stores the name in
// place of its contents, in a slot of its own whose type (nodeNamed) says so, and a
// load leads references to that slot to the program's own object, which it neither
// reads nor writes. Pointers into it work as they do into other objects.
type sentinel struct {
	name string
	addr unsafe.Pointer
	typ  reflect.Type // of the object
}

func (s *sentinel) end() uintptr { return uintptr(s.addr) + s.typ.Size() }

// RegisterValue gives the object to which v points a name. What refers to it, in
// whatever variable, refers to the program's own object again after a load, in this
// process and in later ones that register the name. Its type is known behind
// interfaces from then on; that of foreign objects with private fields need not be
// storable otherwise.
//
// It is an error (ErrInvalid) if v is no pointer, or nil, or points to a value
// without size; if the name or the object has another one; if two such objects
// overlap.
func (r *Registry) RegisterValue(name string, v any) error {
	p := reflect.ValueOf(v)
	switch {
	case name == "" || len(name) > maxTypeText:
		return fmt.Errorf("value with a name of %d bytes: %w", len(name), dberr.ErrInvalid)
	case p.Kind() != reflect.Pointer || p.IsNil():
		return fmt.Errorf("value %q: %T is no pointer to an object: %w", name, v, dberr.ErrInvalid)
	case p.Type().Elem().Size() == 0:
		return fmt.Errorf("value %q: an object without size (%v) has no address of its own: %w", name, p.Type().Elem(), dberr.ErrInvalid)
	}
	s := sentinel{name, p.UnsafePointer(), p.Type().Elem()}
	r.addKnown(p.Type().Elem())
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.sentinels, s.addr, func(o sentinel, at unsafe.Pointer) int { return cmp.Compare(uintptr(o.addr), uintptr(at)) })
	for _, o := range r.sentinels {
		switch {
		case o == s:
			return nil
		case o.name == name:
			return fmt.Errorf("value %q: the name belongs to another object: %w", name, dberr.ErrInvalid)
		case uintptr(o.addr) < s.end() && uintptr(s.addr) < o.end():
			return fmt.Errorf("value %q: it is, or overlaps, the object called %q: %w", name, o.name, dberr.ErrInvalid)
		}
	}
	r.changes.Add(1)
	r.sentinels = slices.Insert(r.sentinels, i, s)
	return nil
}

// addKnown makes a type known behind interfaces that is not registered.
func (r *Registry) addKnown(t reflect.Type) {
	text := r.typeText(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.Name() != "" && r.builtin[text] == nil {
		r.changes.Add(1)
		r.values[t] = true
		r.builtin[text] = t
	}
}

// sentinelNamed returns the object of a name.
func (r *Registry) sentinelNamed(name string) (sentinel, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, s := range r.sentinels {
		if s.name == name {
			return s, true
		}
	}
	return sentinel{}, false
}

// sentinelSet finds sentinels by address, each with the plan of its region.
type sentinelSet struct {
	low, span uintptr // between which all of them lie
	list      []sentinel
	plans     []*plan
}

func (r *Registry) sentinelSet() sentinelSet {
	r.mu.RLock()
	defer r.mu.RUnlock()
	x := sentinelSet{list: slices.Clone(r.sentinels)}
	for i := range x.list {
		s := &x.list[i]
		x.plans = append(x.plans, &plan{typ: s.typ, size: s.typ.Size(), done: true, sentinel: s, number: i})
	}
	if n := len(x.list); n > 0 {
		x.low = uintptr(x.list[0].addr)
		x.span = x.list[n-1].end() - x.low
	}
	return x
}

// near reports whether q lies where sentinels do: mostly there is none.
func (x *sentinelSet) near(q unsafe.Pointer) bool { return uintptr(q)-x.low < x.span }

// at returns the plan of the sentinel whose memory has q, nil if there is none.
func (x *sentinelSet) at(q unsafe.Pointer) *plan {
	if !x.near(q) {
		return nil
	}
	i, found := slices.BinarySearchFunc(x.list, uintptr(q), func(s sentinel, at uintptr) int { return cmp.Compare(uintptr(s.addr), at) })
	if !found {
		i--
	}
	if i < 0 || uintptr(q) >= x.list[i].end() {
		return nil
	}
	return x.plans[i]
}

// sentinelRegion returns the region of the sentinel of plan p, of which c is a
// part; -1 if it is none.
func (w *walk) sentinelRegion(at unsafe.Pointer, p *plan, c candidate) int32 {
	addr := p.sentinel.addr
	if w.old.named.regions[p] != nil {
		if i := w.namedRegion(p); i >= 0 {
			if c.addr == addr && c.kind == pod.SlotObject && sameShape(c.plan.typ, p.typ) || w.within(i, c) {
				return i
			}
			w.overlap(at, c, i)
			return -1
		}
	}
	i := w.st.memory.find(w.st, addr)
	if i < 0 || w.st.regions.at(i).plan != p {
		whole := candidate{addr: addr, plan: p, kind: pod.SlotObject, count: 1, reach: 1}
		if i >= 0 || w.touches(addr, p.size) {
			i = w.settle(at, whole, i)
		} else {
			i = w.add(whole)
			if o := w.old.memory.find(w.old, addr); o >= 0 {
				if ro := w.old.regions.at(o); ro.addr == addr && ro.plan == p {
					w.stick(i, ro)
				}
			}
		}
	}
	if i < 0 || c.addr == addr && c.kind == pod.SlotObject && sameShape(c.plan.typ, p.typ) || w.within(i, c) {
		return i
	}
	w.overlap(at, c, i)
	return -1
}

// describeNamed is the descriptor of a sentinel: its name and how its type is laid
// out, by which references lead into it.
func (e *engine) describeNamed(s *sentinel) ([]byte, error) {
	text, err := nodeText(e.reg, s.typ)
	if err != nil {
		return nil, err
	}
	b := appendText([]byte{descriptorVersion, byte(nodeNamed)}, text)
	b = appendText(b, s.name)
	if b, err = appendType(b, e.reg, s.typ, 1); err != nil {
		return nil, err
	}
	return e.withIDs(b, s.typ)
}

func (e *encoder) namedType(s *sentinel) (pod.TypeID, error) {
	d, err := e.eng.describeNamed(s)
	if err != nil {
		return 0, err
	}
	return e.sink.Type(e.ctx, d)
}

// isSentinel reports whether an object of the program lies at p.
func (r *Registry) isSentinel(p unsafe.Pointer) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, found := slices.BinarySearchFunc(r.sentinels, p, func(s sentinel, at unsafe.Pointer) int { return cmp.Compare(uintptr(s.addr), uintptr(at)) })
	return found
}

// placeNamed leads references to a slot that stores a name to the program's object.
func (l *loader) placeNamed(p *loadPod, s pod.Slot, st *storedType) bool {
	v, ok := l.reg.sentinelNamed(st.named)
	switch {
	case !ok:
		l.failAt(unknownValue(st))
		return false
	case p.merged.Slots[s].Kind != pod.SlotObject || len(p.merged.Slots[s].Bytes) > 0:
		l.corrupt("slot %d of pod %d names a value and has contents", s, p.id)
		return false
	case v.typ != st.typ:
		l.failAt(fmt.Errorf("value %q is stored as %s, the program has %s: %w", st.named, st.node.text, l.reg.typeText(v.typ), dberr.ErrTypeMismatch))
		return false
	}
	p.slots[s] = newRegion(pod.SlotObject, v.addr, st, 1)
	l.filled(p, s)
	return true
}

func unknownValue(st *storedType) error {
	return fmt.Errorf("the value called %q, of type %s, is not known to this program: add db.Value(%q, pointer) to Options.Types: %w",
		st.named, st.node.text, st.named, dberr.ErrUnregistered)
}
