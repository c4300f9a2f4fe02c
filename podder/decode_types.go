package podder

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// storedType is one type of the catalogue as this load sees it: its
// descriptor, and the Go type and plan once something of it must be made.
type storedType struct {
	id         pod.TypeID
	descriptor []byte
	node       *node
	typ        reflect.Type
	same       uintptr    // address of typ: equal for equal types
	predefined pod.TypeID // the id that typ has without a catalogue, 0 for none; not id, which may be read as another type
	plan       *decodePlan
	nests      bool           // plan.nests
	losesParts bool           // plan.losesParts
	pointers   bool           // typ is a pointer
	size       uintptr        // of typ
	entry      uintptr        // of key and element, if it is a map
	slice      reflect.Type   // []typ, for containers
	named      string         // the sentinel that it stands for; node is that of its type
	word       unsafe.Pointer // type word of an interface that holds a typ
	box        boxKind
	least      int // bytes of an interface that holds a typ
	filler     *mapFiller
	grown      *sliceHeader  // a []typ that is grown to allocate
	grow       reflect.Value // it, too
}

// typeAddress returns what is equal for equal types, and cheaper to compare.
func typeAddress(t reflect.Type) uintptr { return reflect.ValueOf(t).Pointer() }

// setType makes the type be read as a t.
func (st *storedType) setType(t reflect.Type, plan *decodePlan) {
	st.typ, st.same, st.plan = t, typeAddress(t), plan
	st.predefined, _ = predeclaredID(t)
	st.nests, st.pointers, st.losesParts = plan.nests(), t.Kind() == reflect.Pointer, plan.node.kind != nodeEntries && plan.losesParts()
	if st.size = t.Size(); t.Kind() == reflect.Map {
		st.entry = t.Key().Size() + t.Elem().Size()
	}
}

// sliceOf returns the type of slices of the type.
func (st *storedType) sliceOf() reflect.Type {
	if st.slice == nil {
		st.slice = reflect.SliceOf(st.typ)
	}
	return st.slice
}

type boxKind uint8

const (
	boxUnset    boxKind = iota
	boxPointer          // the data word is the pointer itself
	boxIndirect         // the data word points at the value
	boxReflect          // reflect knows
)

// emptyStruct is the one struct type that its text says everything about.
var emptyStruct = reflect.TypeFor[struct{}]()

// descriptorOf returns the parsed descriptor of a type id.
func (l *loader) descriptorOf(id pod.TypeID) (*storedType, error) {
	if st, ok := l.types[id]; ok {
		return st, nil
	}
	st := &storedType{id: id}
	var err error
	if t := predeclared(id); t != nil {
		if st.descriptor, err = describe(l.reg, t); err != nil {
			return nil, err
		}
		st.typ = t
	} else if id < pod.FirstCatalogType {
		return nil, dberr.Corrupt("", -1, "type %d is reserved", id)
	} else if st.descriptor, err = l.src.Type(l.ctx, id); err != nil {
		if errors.Is(err, dberr.ErrNotFound) {
			return nil, dberr.Corrupt("", -1, "type %d is not in the catalogue", id)
		}
		return nil, fmt.Errorf("type %d: %w", id, err)
	} else if l.home != nil {
		st.descriptor = bytes.Clone(st.descriptor) // it must not hold the page that it lies in
	}
	if st.node, err = l.reg.parsed(st.descriptor); err != nil {
		return nil, dberr.Corrupt("", -1, "type %d: %v", id, err)
	}
	if st.node.kind == nodeNamed {
		st.named, st.node = st.node.codec, st.node.elem
	}
	l.types[id] = st
	return st, nil
}

// Parsed descriptors are kept for the next load: a small one costs less than to
// parse them. What is kept is bounded, for they come from the file.
const (
	maxParsed      = 1024
	maxParsedBytes = 4 << 10 // of one descriptor
)

// parsed is parseDescriptor. The node is never changed by anyone.
func (r *Registry) parsed(descriptor []byte) (*node, error) {
	r.mu.RLock()
	n, ok := r.parsedNodes[string(descriptor)]
	r.mu.RUnlock()
	if ok {
		return n, nil
	}
	n, err := parseDescriptor(descriptor)
	if err != nil || len(descriptor) > maxParsedBytes {
		return n, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.parsedNodes) >= maxParsed {
		clear(r.parsedNodes)
	}
	r.parsedNodes[string(descriptor)] = n
	return n, nil
}

// typeOf returns the stored type with the Go type that its text stands for
// and its plan.
func (l *loader) typeOf(id pod.TypeID) (*storedType, error) {
	recent := &l.recent[id%recentTypes]
	if *recent != nil && (*recent).id == id {
		return *recent, nil
	}
	st, err := l.descriptorOf(id)
	if err != nil {
		return nil, err
	}
	if st.plan != nil {
		*recent = st
		return st, nil
	}
	t := st.typ
	if st.named != "" {
		v, ok := l.reg.sentinelNamed(st.named)
		if !ok {
			return nil, unknownValue(st)
		}
		t = v.typ
	}
	if t == nil {
		if t, err = l.resolve(st.node.text); err != nil {
			return nil, err
		}
	}
	plan, err := l.plan(st.descriptor, st.node, t)
	if err != nil {
		return nil, err
	}
	st.setType(t, plan)
	*recent = st
	return st, nil
}

// recentTypes is how many types are found without a look into a Go map.
const recentTypes = 64

// typeAs is typeOf with a Go type that is known from elsewhere.
func (l *loader) typeAs(id pod.TypeID, t reflect.Type) (*storedType, error) {
	st, err := l.descriptorOf(id)
	if err != nil {
		return nil, err
	}
	if st.plan != nil && st.typ == t {
		return st, nil
	}
	key := typedKey{id, t}
	if as, ok := l.typed[key]; ok {
		return as, nil
	}
	plan, err := l.plan(st.descriptor, st.node, t)
	if err != nil {
		return nil, err
	}
	as := &storedType{id: id, named: st.named, descriptor: st.descriptor, node: st.node}
	as.setType(t, plan)
	l.typed[key] = as
	return as, nil
}

// typeWanted is typeOf, or typeAs if the reference being followed wants a type
// that is not the one stored.
func (l *loader) typeWanted(id pod.TypeID) (*storedType, error) {
	want := l.want
	if want == nil {
		return l.typeOf(id)
	}
	l.want = nil
	return l.typeAs(id, want)
}

// nodeType is a part of a descriptor, read as a type; nil stands for the type
// of its text.
type nodeType struct {
	node *node
	typ  reflect.Type
}

// partAs returns a part of a descriptor as a stored type of its own.
func (l *loader) partAs(n *node, t reflect.Type) (*storedType, error) {
	key := nodeType{n, t}
	if st, ok := l.nodes[key]; ok {
		return st, nil
	}
	if t == nil {
		var err error
		if t, err = l.resolve(n.text); err != nil {
			return nil, err
		}
	}
	d := appendNode([]byte{descriptorVersion}, n)
	plan, err := l.plan(d, n, t)
	if err != nil {
		return nil, err
	}
	st := &storedType{descriptor: d, node: n}
	st.setType(t, plan)
	l.nodes[key] = st
	return st, nil
}

type typedKey struct {
	id  pod.TypeID
	typ reflect.Type
}

// resolve finds the Go type that a type text stands for: registered, reachable
// from the wanted types or a registered one, predeclared, with a codec, met by
// the graph, or built from such. Registry.known promises what it can do.
func (l *loader) resolve(text string) (reflect.Type, error) {
	if t, ok := l.reg.registered(text); ok {
		return t, nil
	}
	for _, t := range l.wanted {
		if u, err := l.reg.find(t, text); u != nil || err != nil {
			return u, err
		}
	}
	if t, ok := predeclaredByText(text); ok {
		return t, nil
	}
	if t := l.reg.builtin[text]; t != nil {
		return t, nil
	}
	for _, t := range l.reg.registeredTypes() {
		if u, err := l.reg.find(t, text); u != nil || err != nil {
			return u, err
		}
	}
	if t := l.findOwn(text); t != nil {
		return t, nil
	}
	if t, err := l.findMet(text); t != nil || err != nil {
		return t, err
	}
	if t, err := l.compose(text); t != nil || err != nil {
		return t, err
	}
	return nil, fmt.Errorf("type %s is not known to this program; %s, or with db.Alias(%q) if it has another name now: %w", text, registerHint(text), text, dberr.ErrUnregistered)
}

// findMet returns the type with a text in the closure of what the graph has
// met before, nil if there is none, and an error if there are two.
func (l *loader) findMet(text string) (reflect.Type, error) {
	var found reflect.Type
	for _, t := range l.met {
		u, err := l.reg.find(t, text)
		if err == nil && u != nil && found != nil && u != found {
			err = ambiguous(text, 2)
		}
		if err != nil {
			return nil, err
		}
		if u != nil {
			found = u
		}
	}
	return found, nil
}

// compose builds a pointer, slice, array or map type from its text, nil if the
// text is none. struct{} is the only struct that it makes.
func (l *loader) compose(text string) (reflect.Type, error) {
	if l.textDepth++; l.textDepth > maxNodeDepth {
		return nil, dberr.Corrupt("", -1, "type text nested deeper than %d", maxNodeDepth)
	}
	defer func() { l.textDepth-- }()
	if text == "struct{}" {
		return emptyStruct, nil
	}
	if rest, ok := strings.CutPrefix(text, "*"); ok {
		t, err := l.resolve(rest)
		if err == nil {
			err = l.mayMake(text)
		}
		if err != nil {
			return nil, err
		}
		return reflect.PointerTo(t), nil
	}
	if rest, ok := strings.CutPrefix(text, "[]"); ok {
		t, err := l.resolve(rest)
		if err == nil {
			err = l.mayMake(text)
		}
		if err != nil {
			return nil, err
		}
		return reflect.SliceOf(t), nil
	}
	if key, elem, ok := splitMapText(text); ok {
		return l.composeMap(text, key, elem)
	}
	if rest, ok := strings.CutPrefix(text, "["); ok {
		return l.composeArray(text, rest)
	}
	return nil, nil
}

func (l *loader) composeMap(text, key, elem string) (reflect.Type, error) {
	k, err := l.resolve(key)
	if err != nil {
		return nil, err
	}
	e, err := l.resolve(elem)
	if err != nil {
		return nil, err
	}
	if !k.Comparable() {
		return nil, dberr.Corrupt("", -1, "map type %s has a key that cannot be compared", text)
	}
	if err := l.mayMake(text); err != nil {
		return nil, err
	}
	return reflect.MapOf(k, e), nil
}

func (l *loader) composeArray(text, rest string) (reflect.Type, error) {
	digits, elem, ok := strings.Cut(rest, "]")
	if !ok {
		return nil, nil
	}
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return nil, nil
	}
	t, err := l.resolve(elem)
	if err != nil {
		return nil, err
	}
	if !madeArray(n, t) {
		return nil, fmt.Errorf("array type %s is not known to this program, and too big to be made from its text: name it in a type that is registered: %w", text, dberr.ErrUnregistered)
	}
	if err := l.mayMake(text); err != nil {
		return nil, err
	}
	return reflect.ArrayOf(int(n), t), nil
}

// find returns the type with a text in the static closure of t, nil if there
// is none, and an error if there are two.
func (r *Registry) find(t reflect.Type, text string) (reflect.Type, error) {
	r.mu.RLock()
	index, ok := r.indexes[t]
	r.mu.RUnlock()
	if !ok {
		index = map[string][]reflect.Type{}
		for u := range r.reachable(t) {
			s := r.typeText(u)
			index[s] = append(index[s], u)
		}
		r.mu.Lock()
		r.indexes[t] = index
		r.mu.Unlock()
	}
	found := index[text]
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, ambiguous(text, len(found))
}

func ambiguous(text string, n int) error {
	return fmt.Errorf("type %s: the program has %d types of that name; give them names of their own with Register: %w", text, n, dberr.ErrTypeMismatch)
}
