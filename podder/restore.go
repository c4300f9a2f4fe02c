package podder

import (
	"context"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// Restore brings live variables back to the state of another snapshot, in
// place. Order matters, because nothing may fail once the first live object
// was changed:
//
//  1. Decode everything. An object that lives at the (pod, slot) that the
//     snapshot gives it, with its type and at least its size, keeps its
//     address: it is decoded into shadow memory, while references to it
//     already hold the live address. All other objects get new memory, so they
//     are decoded where they will stay.
//  2. Ask what the pods are at the head of the branch. Last possible error.
//  3. Copy each shadow over its live object by typed stores, leaving alone what
//     plans mask: locks and fields tagged pod:"-". Maps are cleared and refilled.
//  4. Take over the snapshot's placement on top of the head's pods: what differs
//     from the head is unsaved and written by the next Save, and what the head
//     exports stays exported.

// Restored says what Restore did.
type Restored struct {
	// Values are the variables, as their boxes hold them now.
	Values map[string]reflect.Value
	// Moved names, in the order asked for, the variables that were live and
	// whose pointer, map or slice is at another address now: the program still
	// holds the old one.
	Moved []string
}

// Restore makes the named variables what they are in src, at the addresses
// that they have now where that is possible. head returns the states that pods
// have at the head of the branch, on which the next Save commits; nil where
// that is the state in src. After an error nothing has changed.
func (g *Graph) Restore(ctx context.Context, src pod.Source, names []string, head func([]pod.ID) ([]*pod.Pod, error)) (*Restored, error) {
	want := make([]reflect.Type, len(names))
	old := make([]reflect.Value, len(names))
	for i, name := range names {
		if box, ok := g.liveBox(name); ok {
			old[i], want[i] = box, box.Type()
		}
	}
	l := newLoader(ctx, g.cfg.Registry, src, want)
	l.lookup, l.inPlace = g.live, true
	vars, err := l.load(names, want)
	if err != nil {
		return nil, err
	}
	pods, regions := l.loaded()
	ids := make([]pod.ID, len(pods))
	for i, p := range pods {
		ids[i] = p.id
	}
	now, err := head(ids)
	if err != nil {
		return nil, fmt.Errorf("compare with the head: %w", err)
	}
	for i, p := range now {
		if p != nil {
			pods[i].merged = p
		}
	}
	for _, s := range l.shadows {
		s.pod.overwrite(s.slot)
	}
	g.cur = newState(0)
	clear(g.roots)
	res := &Restored{Values: make(map[string]reflect.Value, len(vars))}
	roots := make(map[string]pod.ID, len(vars))
	for i, v := range vars {
		roots[v.name] = v.root
		res.Values[v.name] = v.value
		if old[i].IsValid() && moved(old[i], v.value) {
			res.Moved = append(res.Moved, v.name)
		}
	}
	g.adopt(pods, regions, roots)
	return res, nil
}

// liveBox returns the value that a variable has in the graph.
func (g *Graph) liveBox(name string) (reflect.Value, bool) {
	root, ok := g.rootPod(name)
	if !ok {
		return reflect.Value{}, false
	}
	lr, ok := g.live(root, 0)
	if !ok || lr.kind != pod.SlotBox || lr.addr == nil {
		return reflect.Value{}, false
	}
	return reflect.NewAt(lr.typ, lr.addr).Elem(), true
}

// moved reports whether what a variable refers to is somewhere else now.
func moved(old, now reflect.Value) bool {
	if old.Type() != now.Type() {
		return true
	}
	switch old.Kind() {
	case reflect.Pointer, reflect.Map:
		return old.UnsafePointer() != now.UnsafePointer()
	case reflect.Slice:
		return old.Cap() > 0 && now.Cap() > 0 && old.Type().Elem().Size() > 0 && old.UnsafePointer() != now.UnsafePointer()
	}
	return false
}

// placeOver makes slot s keep the address of the live region lr. It reports
// done if it could, and ok=false after an error.
func (l *loader) placeOver(p *loadPod, s pod.Slot, lr liveRegion) (done, ok bool) {
	d := &p.merged.Slots[s]
	if d.Kind == pod.SlotString {
		if string(d.Bytes) != unsafe.String((*byte)(lr.addr), lr.count) {
			return false, true
		}
		p.slots[s] = loadRegion{addr: lr.addr, count: uint64(lr.count)<<regionFlags | regionFilled}
		return true, true
	}
	st, err := l.typeAs(d.Type, lr.typ)
	if err != nil || !l.reg.textIs(st.node.text, lr.typ) {
		return false, true // another type lives there; errors show when its own is resolved
	}
	shadow, count, ok := l.allocate(d, st, p, s)
	if !ok {
		return false, false
	}
	if d.Kind == pod.SlotArray && lr.count < count {
		return false, true
	}
	p.slots[s] = newRegion(d.Kind, lr.addr, st, count)
	p.shadow[s] = shadow
	at := loadSlot{p, s}
	l.shadows = append(l.shadows, at)
	l.queue = append(l.queue, at)
	return true, true
}

// overwrite copies shadow memory over the live object of a slot. It cannot
// fail.
func (p *loadPod) overwrite(s pod.Slot) {
	r := &p.slots[s]
	shadow := p.shadow[s]
	t := r.typ.typ
	switch p.merged.Slots[s].Kind {
	case pod.SlotMap:
		overwriteMap(reflect.NewAt(t, unsafe.Pointer(&r.addr)).Elem(), reflect.NewAt(t, unsafe.Pointer(&shadow)).Elem())
	case pod.SlotArray:
		n := r.elements()
		overwriteElems(reflect.NewAt(r.typ.sliceOf(), unsafe.Pointer(&sliceHeader{r.addr, n, n})).Elem(),
			reflect.NewAt(r.typ.sliceOf(), unsafe.Pointer(&sliceHeader{shadow, n, n})).Elem())
	default:
		overwriteValue(reflect.NewAt(t, r.addr).Elem(), reflect.NewAt(t, shadow).Elem())
	}
}

func overwriteMap(dst, src reflect.Value) {
	dst.Clear()
	for it := src.MapRange(); it.Next(); {
		dst.SetMapIndex(it.Key(), it.Value())
	}
}

func overwriteElems(dst, src reflect.Value) {
	if !hasMask(dst.Type().Elem()) {
		reflect.Copy(dst, src)
		return
	}
	for i := range dst.Len() {
		overwriteValue(dst.Index(i), src.Index(i))
	}
}

// overwriteValue copies a value but for its masked parts.
func overwriteValue(dst, src reflect.Value) {
	t := dst.Type()
	if !hasMask(t) {
		dst.Set(src)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		for _, f := range storedFields(t) {
			// Unexported fields are settable through their address only.
			d, s := dst.Field(f.Index[0]), src.Field(f.Index[0])
			overwriteValue(reflect.NewAt(f.Type, d.Addr().UnsafePointer()).Elem(), reflect.NewAt(f.Type, s.Addr().UnsafePointer()).Elem())
		}
	case reflect.Array:
		for i := range t.Len() {
			overwriteValue(dst.Index(i), src.Index(i))
		}
	}
}

// hasMask reports whether values of t have parts that are never written.
func hasMask(t reflect.Type) bool {
	if codecFor(t) != nil {
		return false
	}
	switch t.Kind() {
	case reflect.Array:
		return hasMask(t.Elem())
	case reflect.Struct:
		if isSync(t) {
			return true
		}
		for i := range t.NumField() {
			if f := t.Field(i); skipField(f) || hasMask(f.Type) {
				return true
			}
		}
	}
	return false
}
