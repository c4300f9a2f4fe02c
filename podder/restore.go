package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Restore brings live variables back to the state of another snapshot, in
// place. Order matters, because nothing may fail once the first live object
// was changed:
//
//  1. Decode everything. An object that lives at the (pod, slot) that the
//     snapshot gives it, with its type and at least its size, keeps its
//     address if the slot was in use all the time between the snapshot and what
//     is live: slots are given out again, and only then it is the same object.
//     It is decoded into shadow memory, while references to it already hold the
//     live address. All other objects get new memory, so they are decoded where
//     they will stay.
//  2. Ask what the pods are at the head of the branch. Last possible error.
//  3. Copy each shadow over its live object by typed stores, leaving alone what
//     plans mask: locks and fields tagged pod:"-". Maps are cleared and refilled.
//  4. Take over the snapshot's placement on top of the head's pods: what differs
//     from the head is unsaved and written by the next Save, and what the head
//     exports stays exported. An object whose slot was given to another one by
//     the head is new to the graph, so that the next Save gives it another slot:
//     a slot never goes from one object to another without a version between
//     in which it is free.

// Restored says what Restore did.
type Restored struct {
	// Values are the variables, as their boxes hold them now.
	Values map[string]reflect.Value
	// Moved names, in the order asked for, the variables that were live and
	// whose pointer, map or slice is at another address now: the program still
	// holds the old one.
	Moved []string
}

// FreedSlots tells which slots of a pod were out of use somewhere between two
// versions, so that they may hold different objects there.
type FreedSlots func(pod.ID) (func(pod.Slot) bool, error)

// History is what Restore must know about the versions after or before src. A
// nil function stands for no difference.
type History struct {
	// Head returns the states that pods have at the head of the branch, on which
	// the next Save commits; nil where that is the state in src, and CollectedPod
	// where the head does not have the pod any more.
	Head func([]pod.ID) ([]*pod.Pod, error)
	// LiveFreed is about src and the version that the graph was loaded from or
	// last saved as. It is asked for pods with live regions only.
	LiveFreed FreedSlots
	// HeadFreed is about src and the head. It is asked for pods that differ.
	HeadFreed FreedSlots
}

// collectedPod stands for a pod that is not there.
var collectedPod = &pod.Pod{}

// CollectedPod is what History.Head returns for a pod that was collected.
func CollectedPod() *pod.Pod { return collectedPod }

// Restore makes the named variables what they are in src, at the addresses
// that they have now where that is possible. A variable whose live type does
// not fit what is stored gets the stored type, found among the types that the
// graph has ever met, too. After an error nothing has changed.
//
// Errors are those of Load.
func (g *Graph) Restore(ctx context.Context, src pod.Source, names []string, h History) (*Restored, error) {
	defer runtime.KeepAlive(g) // the memory of its state
	want := make([]reflect.Type, len(names))
	g.overtake()
	g.settle()
	g.sweep()
	old := make([]reflect.Value, len(names))
	for i, name := range names {
		if box, ok := g.liveBox(name); ok {
			old[i], want[i] = box, box.Type()
		}
	}
	l := g.restorer(ctx, src, want, h)
	vars, err := l.load(names, want)
	if errors.Is(err, dberr.ErrTypeMismatch) {
		// A type that converts as far as can be told beforehand need not do so.
		again := g.restorer(ctx, src, want, h)
		again.ownTypes = true
		if them, ok := again.load(names, want); ok == nil {
			l, vars, err = again, them, nil
		}
	}
	if err != nil {
		return nil, err
	}
	pods, regions := l.loaded()
	if regions, err = h.ontoHead(pods, regions); err != nil {
		return nil, fmt.Errorf("compare with the head: %w", err)
	}
	for _, s := range l.shadows {
		l.overwrite(s.pod, s.slot)
	}
	was := g.cur
	g.cur = g.newState()
	was.release()
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
	g.reshaped = nil
	g.noteReshaped(l)
	g.adoptNamed(l)
	clear(g.hidden)
	g.hide(l.hidden)
	g.renewRefs()
	l.runHooksInPlace(ctx)
	l.report(ctx, &g.cfg)
	return res, nil
}

func (g *Graph) restorer(ctx context.Context, src pod.Source, want []reflect.Type, h History) *loader {
	l := newLoader(ctx, &g.cfg, src, want)
	l.lookup, l.inPlace, l.freed = g.liveIn(ctx, src), true, h.LiveFreed
	l.hidden, l.named = hiddenValues{}, namedLinks{g: g, anew: true}
	for t := range g.eng.plans {
		l.met = append(l.met, t)
	}
	return l
}

// ontoHead gives pods the states that they have at the head, and returns the
// regions without those whose slot has another object there.
func (h *History) ontoHead(pods []loadedPod, regions []liveRegion) ([]liveRegion, error) {
	if h.Head == nil {
		return regions, nil
	}
	ids := make([]pod.ID, len(pods))
	for i, p := range pods {
		ids[i] = p.id
	}
	now, err := h.Head(ids)
	if err != nil {
		return nil, err
	}
	type change struct {
		head  *pod.Pod
		freed func(pod.Slot) bool
	}
	changes := map[pod.ID]change{}
	for i, p := range now {
		if p == nil {
			continue
		}
		pods[i].merged = p
		if h.HeadFreed == nil {
			continue
		}
		freed, err := h.HeadFreed(ids[i])
		if err != nil {
			return nil, err
		}
		changes[ids[i]] = change{p, freed}
	}
	return slices.DeleteFunc(regions, func(r liveRegion) bool {
		c, ok := changes[r.pod]
		if !ok || r.kind == pod.SlotBox || int(r.slot) >= len(c.head.Slots) {
			return false
		}
		k := c.head.Slots[r.slot].Kind
		return k != pod.SlotFree && k != pod.SlotForward && c.freed(r.slot)
	}), nil
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
	if same, ok := l.sameObject(p, s); !same || !ok {
		return false, ok
	}
	if storedKind(d) == pod.SlotString {
		text := d.Bytes
		if d.Kind == pod.SlotChunks {
			list, here := l.chunksOf(p, s)
			if !here {
				return false, false
			}
			text = l.joined(list)
		}
		if string(text) != unsafe.String((*byte)(lr.addr), lr.count) {
			return false, true
		}
		p.slots[s] = loadRegion{addr: lr.addr, count: uint64(lr.count)<<regionFlags | regionFilled}
		return true, true
	}
	st, err := l.typeAs(d.Type, lr.typ)
	if err != nil || !l.reg.textIs(st.node.text, lr.typ) || st.plan.boxes {
		return false, true // another type lives there; errors show when its own is resolved
	}
	if st.named != "" || l.reg.isSentinel(lr.addr) {
		return false, true // the program's own object is not written
	}
	var head slotHead
	shadow, ok := l.allocate(&head, d, st, p, s)
	if !ok {
		return false, false
	}
	if storedKind(d) == pod.SlotArray && lr.count < head.count {
		return false, true
	}
	p.slots[s] = newRegion(storedKind(d), lr.addr, st, head.count)
	p.shadow[s] = shadow
	at := loadSlot{p, s}
	l.shadows = append(l.shadows, at)
	l.queue = append(l.queue, at)
	return true, true
}

// sameObject reports whether the live region at slot s is the object that is
// stored there, and ok=false after an error.
func (l *loader) sameObject(p *loadPod, s pod.Slot) (same, ok bool) {
	if l.freed == nil {
		return true, true
	}
	if p.freed == nil {
		var err error
		if p.freed, err = l.freed(p.id); err != nil {
			l.fail(fmt.Errorf("history of pod %d: %w", p.id, err))
			return false, false
		}
	}
	return !p.freed(s), true
}

// overwrite copies shadow memory over the live object of a slot. It cannot
// fail.
func (l *loader) overwrite(p *loadPod, s pod.Slot) {
	r := &p.slots[s]
	shadow := p.shadow[s]
	t := r.typ.typ
	switch storedKind(&p.merged.Slots[s]) {
	case pod.SlotMap:
		overwriteMap(reflect.NewAt(t, unsafe.Pointer(&r.addr)).Elem(), reflect.NewAt(t, unsafe.Pointer(&shadow)).Elem())
	case pod.SlotArray:
		n := r.elements()
		l.reg.overwriteElems(reflect.NewAt(r.typ.sliceOf(), unsafe.Pointer(&sliceHeader{r.addr, n, n})).Elem(),
			reflect.NewAt(r.typ.sliceOf(), unsafe.Pointer(&sliceHeader{shadow, n, n})).Elem())
	default:
		l.reg.overwriteValue(reflect.NewAt(t, r.addr).Elem(), reflect.NewAt(t, shadow).Elem())
	}
}

func overwriteMap(dst, src reflect.Value) {
	dst.Clear()
	for it := src.MapRange(); it.Next(); {
		dst.SetMapIndex(it.Key(), it.Value())
	}
}

func (r *Registry) overwriteElems(dst, src reflect.Value) {
	if !r.hasMask(dst.Type().Elem()) {
		reflect.Copy(dst, src)
		return
	}
	for i := range dst.Len() {
		r.overwriteValue(dst.Index(i), src.Index(i))
	}
}

// overwriteValue copies a value but for its masked parts.
func (r *Registry) overwriteValue(dst, src reflect.Value) {
	t := dst.Type()
	if !r.hasMask(t) {
		dst.Set(src)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := storedFields(t)
		if r.codec(t) != nil { // UnmarshalPod has set all of them
			fields = unlockedFields(t)
		}
		for _, f := range fields {
			// Unexported fields are settable through their address only.
			d, s := dst.Field(f.Index[0]), src.Field(f.Index[0])
			r.overwriteValue(reflect.NewAt(f.Type, d.Addr().UnsafePointer()).Elem(), reflect.NewAt(f.Type, s.Addr().UnsafePointer()).Elem())
		}
	case reflect.Array:
		for i := range t.Len() {
			r.overwriteValue(dst.Index(i), src.Index(i))
		}
	default:
		dst.Set(src)
	}
}

// hasMask reports whether values of t have parts that are never written.
func (r *Registry) hasMask(t reflect.Type) bool {
	if c := r.codec(t); c != nil {
		h, ok := c.(*handCodec)
		return ok && h.fields
	}
	switch t.Kind() {
	case reflect.Array:
		return r.hasMask(t.Elem())
	case reflect.Struct:
		if isSync(t) {
			return true
		}
		for i := range t.NumField() {
			if f := t.Field(i); skipField(f) || r.hasMask(f.Type) {
				return true
			}
		}
	}
	return false
}
