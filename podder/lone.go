package podder

import (
	"context"
	"encoding/binary"
	"reflect"
	"runtime/debug"

	"github.com/poddb/poddb/internal/pod"
)

// A lone variable is the only one of a graph, and leads to one object of numbers and short
// strings, with which it has a pod for itself. Many transactions read and change just that.
// For them the tables of a graph are most of the work, so they are not made:
//
//  1. A load that has found a lone variable notes it, and no more. Whatever else the graph
//     is asked for has it join the graph first (settle), as any load does at once.
//  2. SaveLast of the lone variable encodes the object and compares it with what is stored.
//     Equal bytes have equal hashes, nothing is placed or moved, and no reference changes: so
//     what it puts is what a walk would put.
//  3. What memory would have to be walked for (a long string, a type that is stored
//     otherwise now, another root) is left to the walk.
type lone struct {
	id      pod.ID // 0 if there is none
	name    string
	merged  *pod.Pod
	regions [2]liveRegion // box and object
	box     *plan
	object  *plan

	// What the next one uses again.
	spare  *pod.Pod
	buf    []byte
	change pod.Change
	write  [1]pod.SlotWrite
	known  map[*plan]pod.TypeID
}

// The slots of a lone variable's pod.
const (
	loneBox    pod.Slot = 0
	loneObject pod.Slot = 1
)

// loneBytes is the reference of the box to the object.
var loneBytes = string(binary.AppendUvarint(nil, codeBase+uint64(loneObject)<<codeShift))

// isLone reports whether merged holds a variable that refers to an object, without anything
// that leads in or out.
func isLone(merged *pod.Pod) bool {
	s := merged.Slots
	return len(s) == 2 && s[loneBox].Kind == pod.SlotBox && string(s[loneBox].Bytes) == loneBytes && s[loneObject].Kind == pod.SlotObject &&
		len(merged.Refs) == 0 && len(merged.Exports) == 1 && merged.Exports[0].Slot == loneBox
}

// noteLone notes the variable that a first load has read if it is a lone one. Then the memory of its pod is used again.
func (g *Graph) noteLone(l *loader, vars []variable) bool {
	if len(vars) != 1 || l.first == nil || l.first.before != nil || len(l.fetched) != 1 || len(l.reshaped)+len(l.forwarders)+len(l.hidden)+len(l.named.from) > 0 {
		return false
	}
	p := l.fetched[0]
	if p.released || !isLone(p.merged) || !p.slots[loneBox].isNew() || !p.slots[loneObject].isNew() {
		return false
	}
	x := &g.lone
	for s := range x.regions {
		if p.slots[s].typ == nil || p.slots[s].typ.losesParts {
			return false
		}
		x.regions[s] = p.slots[s].region(p, pod.Slot(s))
	}
	object := &x.regions[loneObject]
	x.box, x.object = g.eng.planOf(x.regions[loneBox].typ), g.eng.planOf(object.typ)
	if object.kind != pod.SlotObject || !x.object.plain || x.object.size == 0 || g.eng.sentinels.at(object.addr) != nil ||
		x.box.only != opPointer || x.box.ops[0].sub != x.object {
		return false
	}
	v := &vars[0]
	x.id, x.name, x.merged = v.root, v.name, p.merged
	if p.merged == l.lone {
		x.spare = l.lone // so that it is used again
	}
	g.roots[v.name] = v.root
	return true
}

// takeSpare returns the pod that the next load may read a variable's pod into. It is that
// load's: what is read into it may join the graph.
func (x *lone) takeSpare() *pod.Pod {
	p := x.spare
	if x.spare = nil; p == nil {
		p = new(pod.Pod)
	}
	return p
}

// keepSpare takes back what a load has not read into.
func (x *lone) keepSpare(l *loader) {
	if l.lone != nil && (len(l.fetched) == 0 || l.fetched[0].merged != l.lone) {
		x.spare = l.lone
	}
}

// settle has the lone variable join the graph.
func (g *Graph) settle() {
	x := &g.lone
	if x.id == 0 {
		return
	}
	id := x.id
	x.id = 0
	g.adopt([]loadedPod{{id, x.merged}}, x.regions[:], nil)
	g.eng.home.wantType(x.regions[loneBox].typ)
	x.spare = nil // the graph has it now
	x.forget()
}

// forget lets go of the lone variable.
func (x *lone) forget() {
	if x.spare != nil {
		clear(x.spare.Slots)
	}
	x.id, x.name, x.merged, x.regions = 0, "", nil, [2]liveRegion{}
}

// isRoot reports whether roots are the lone variable, as it was loaded.
func (x *lone) isRoot(roots []Root) bool {
	if x.id == 0 || len(roots) != 1 || roots[0].Name != x.name {
		return false
	}
	v := roots[0].Value
	return v.IsValid() && v.Kind() == reflect.Pointer && v.Type() == x.box.typ && v.UnsafePointer() == x.regions[loneObject].addr
}

// saveLone is SaveLast of the lone variable; nil if that is for the walk to do.
func (g *Graph) saveLone(ctx context.Context, sink pod.Sink) (*Saved, error) {
	x := &g.lone
	for s, pl := range [2]*plan{x.box, x.object} {
		id, err := g.loneType(ctx, sink, pl)
		if err != nil || id != x.merged.Slots[s].Type {
			return nil, err
		}
	}
	if !x.encode() {
		return nil, nil
	}
	s := &Saved{Objects: 2, Pods: 1, Walked: true, Roots: g.roots, last: true, g: g}
	stored := &x.merged.Slots[loneObject]
	if string(x.buf) == string(stored.Bytes) {
		return s, nil
	}
	x.write[0] = pod.SlotWrite{Slot: loneObject, Data: pod.Data{Kind: pod.SlotObject, Type: stored.Type, Bytes: x.buf}}
	x.change = pod.Change{ID: x.id, Exports: x.merged.Exports, Slots: x.write[:]}
	s.PodsChanged, s.SlotsChanged, s.Bytes = 1, 1, int64(len(x.buf))
	return s, sink.Put(ctx, &x.change)
}

// encode puts the stored form of the object into buf. It reports false if that is for the walk to do: it has
// a long string, or one that cannot be read, which the walk tells with its path.
func (x *lone) encode() (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			if _, fault := v.(memoryFault); !fault {
				panic(v)
			}
			ok = false
		}
	}()
	x.buf, ok = appendPlain(x.buf[:0], x.object, x.regions[loneObject].addr)
	return ok
}

// loneType returns the catalogue id of a type, which is the same as long as the store is open.
func (g *Graph) loneType(ctx context.Context, sink pod.Sink, pl *plan) (pod.TypeID, error) {
	x := &g.lone
	if id, ok := x.known[pl]; ok {
		return id, nil
	}
	e := encoder{placer: &placer{walk: &walk{eng: g.eng}, sink: sink}, ctx: ctx}
	id, err := e.askType(typeKey{plan: pl})
	if err != nil {
		return 0, err
	}
	if x.known == nil {
		x.known = map[*plan]pod.TypeID{}
	}
	x.known[pl] = id
	return id, nil
}
