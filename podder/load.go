package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Load returns the values of variables, in the order of names. want gives the
// type of each; nil stands for any type, the value's own type is taken then.
// What lives in the graph already keeps its address and its contents; the rest
// is decoded and joins the graph, so that a Save that follows writes nothing.
//
// Errors: ErrNotFound (no such variable), ErrTypeMismatch, ErrUnregistered,
// ErrCorrupt, ErrTooLarge. After an error the graph is as before.
func (g *Graph) Load(ctx context.Context, src pod.Source, names []string, want []reflect.Type) ([]reflect.Value, error) {
	defer runtime.KeepAlive(g) // the memory of its state
	g.overtake()
	g.settle()
	g.sweep()
	if g.isEmpty() {
		return g.loadFirst(ctx, src, names, want)
	}
	return g.load(ctx, src, names, want, nil)
}

// load is Load; first is not nil if the graph has nothing, and no pod may be needed
// again.
func (g *Graph) load(ctx context.Context, src pod.Source, names []string, want []reflect.Type, first *firstLoad) ([]reflect.Value, error) {
	var l *loader
	if len(want) == 1 {
		l = loaderFor(ctx, &g.cfg, src, want[0])
	} else {
		l = newLoader(ctx, &g.cfg, src, want)
	}
	if first != nil {
		l.first = first
		l.recycle(src)
		l.lone = g.lone.takeSpare()
	}
	l.lookup, l.knows, l.hidden, l.named.g = g.live, g.knows, hiddenValues{}, g
	l.keepRefs(g.eng.home)
	vars, err := l.load(names, want)
	if err != nil {
		return nil, err
	}
	defer l.giveBack()
	g.lone.keepSpare(l)
	if g.noteLone(l, vars) {
		l.report(ctx, &g.cfg)
		return values(vars), nil
	}
	pods, regions := l.loaded()
	roots := make(map[string]pod.ID, len(vars))
	for i, v := range vars {
		roots[names[i]] = v.root
	}
	g.adopt(pods, regions, roots)
	g.noteReshaped(l)
	g.adoptNamed(l)
	g.hide(l.hidden)
	l.openRefs()
	g.eng.home.want(vars)
	l.report(ctx, &g.cfg)
	return values(vars), nil
}

// Decode returns the values of variables in fresh memory of their own; nothing
// else refers to it. Arguments and errors are those of Graph.Load. It may be
// called by many goroutines with one src.
func Decode(ctx context.Context, cfg Config, src pod.Source, names []string, want []reflect.Type) ([]reflect.Value, error) {
	if cfg.Registry == nil {
		cfg.Registry = NewRegistry()
	}
	if cfg.Registry.hasRefs(want) {
		return decodeWithRefs(ctx, cfg, src, names, want)
	}
	l := newLoader(ctx, &cfg, src, want)
	l.recycle(src)
	l.noRefs = true
	vars, err := l.load(names, want)
	if errors.Is(err, errReleased) {
		l = newLoader(ctx, &cfg, src, want)
		l.noRefs = true
		vars, err = l.load(names, want)
	}
	if errors.Is(err, errRefMet) {
		return decodeWithRefs(ctx, cfg, src, names, want)
	}
	if err != nil {
		return nil, err
	}
	l.report(ctx, &cfg)
	return values(vars), nil
}

// DecodeOne is Decode of one variable, for which cfg has a Registry.
func DecodeOne(ctx context.Context, cfg *Config, src pod.Source, name string, want reflect.Type) (reflect.Value, error) {
	names, wants := [1]string{name}, [1]reflect.Type{want}
	if want == nil || !cfg.Registry.leadsToRef(want) {
		l := loaderFor(ctx, cfg, src, want)
		l.recycle(src)
		l.noRefs = true
		if l.home != nil && l.recycler == nil && l.spare == nil {
			l.spare = new(pod.Pod)
		}
		vars, err := l.load(names[:], wants[:])
		switch {
		case err == nil:
			l.report(ctx, cfg)
			v := vars[0].value
			l.giveBack()
			return v, nil
		case !errors.Is(err, errReleased) && !errors.Is(err, errRefMet):
			return reflect.Value{}, err
		}
	}
	vs, err := Decode(ctx, *cfg, src, names[:], wants[:])
	if err != nil {
		return reflect.Value{}, err
	}
	return vs[0], nil
}

// variable is one root in the course of a load.
type variable struct {
	name  string
	root  pod.ID
	value reflect.Value // valid when its box is decoded
}

func values(vars []variable) []reflect.Value {
	vs := make([]reflect.Value, len(vars))
	for i := range vars {
		vs[i] = vars[i].value
	}
	return vs
}

// load decodes the named variables and all that they reach.
func (l *loader) load(names []string, want []reflect.Type) ([]variable, error) {
	if len(want) != len(names) {
		return nil, fmt.Errorf("%d types for %d names: %w", len(want), len(names), dberr.ErrInvalid)
	}
	if one, ok := l.src.(pod.VariableSource); ok && len(names) == 1 {
		vars := l.one[:]
		if err := l.fetchVariable(one, names[0], &vars[0]); err != nil {
			return nil, err
		}
		return vars, l.decode(vars, names, want)
	}
	vars := make([]variable, len(names))
	for i, name := range names {
		root, err := l.src.Root(l.ctx, name)
		if err != nil {
			return nil, fmt.Errorf("variable %q: %w", name, err)
		}
		vars[i] = variable{name: name, root: root}
		if p := l.pod(root); !p.asked {
			l.need(p)
		}
	}
	for len(l.ask) > 0 {
		if err := l.fetch(); err != nil {
			return nil, err
		}
	}
	return vars, l.decode(vars, names, want)
}

// fetchVariable gets the pod of a variable.
func (l *loader) fetchVariable(src pod.VariableSource, name string, v *variable) error {
	spare := l.spare
	if l.lookup != nil {
		spare = l.lone // what was loaded joins the graph
	}
	root, merged, err := src.Variable(l.ctx, name, spare)
	if err != nil {
		return fmt.Errorf("variable %q: %w", name, err)
	}
	*v = variable{name: name, root: root}
	p := l.pod(root)
	p.asked = true
	l.arrived(p, merged)
	return nil
}

// decode decodes variables whose pods are here.
func (l *loader) decode(vars []variable, names []string, want []reflect.Type) error {
	for i := range vars {
		if err := l.placeBox(&vars[i], want[i]); err != nil {
			return l.unloadable(vars, want, i, err)
		}
	}
	if err := l.run(); err != nil {
		return l.blame(names, want, err)
	}
	return nil
}

// blame adds to an error about types the name of the variable that it comes
// from. Slots do not know who reaches them, so if there are several it loads
// one after the other until one fails.
func (l *loader) blame(names []string, want []reflect.Type, err error) error {
	if !errors.Is(err, dberr.ErrTypeMismatch) && !errors.Is(err, dberr.ErrUnregistered) {
		return err
	}
	if len(names) == 1 {
		return fmt.Errorf("variable %q: %w", names[0], err)
	}
	for i := range names {
		one := newLoader(l.ctx, &Config{Registry: l.reg}, l.src, want)
		one.gate, one.noRefs = l.gate, l.noRefs
		one.lookup, one.inPlace, one.freed, one.met, one.hidden, one.ownTypes = l.lookup, l.inPlace, l.freed, l.met, l.hidden, l.ownTypes
		if l.first != nil { // what has joined the graph meanwhile will leave it
			one.lookup = nil
		}
		if _, alone := one.load(names[i:i+1], want[i:i+1]); alone != nil {
			return alone
		}
	}
	return err
}

// unloadable completes the error about variable i. Restore asks for all
// variables, whatever the program has loaded, so it names all whose type the
// program does not know, up to ten.
func (l *loader) unloadable(vars []variable, want []reflect.Type, i int, err error) error {
	if !l.inPlace || !errors.Is(err, dberr.ErrUnregistered) {
		return err
	}
	unknown := []string{strconv.Quote(vars[i].name)}
	for i++; i < len(vars); i++ {
		if len(unknown) == 10 {
			unknown = append(unknown, "more")
			break
		}
		if other := l.placeBox(&vars[i], want[i]); errors.Is(other, dberr.ErrUnregistered) {
			unknown = append(unknown, strconv.Quote(vars[i].name))
		}
	}
	return fmt.Errorf("the types of variables that were not loaded here are not known (%s): load them first, or register their types; %w",
		strings.Join(unknown, ", "), err)
}

// placeBox makes the memory of a variable and queues it.
func (l *loader) placeBox(v *variable, want reflect.Type) error {
	p := l.pods[v.root]
	l.at = loadSlot{p, 0}
	if len(p.slots) == 0 || p.merged.Slots[0].Kind != pod.SlotBox {
		return dberr.Corrupt("", -1, "pod %d, root of variable %q, has no box in slot 0", p.id, v.name)
	}
	id := p.merged.Slots[0].Type
	st, err := l.boxType(id, want)
	if err != nil {
		if errors.Is(err, dberr.ErrCorrupt) {
			l.failAt(err)
			return l.err
		}
		return fmt.Errorf("variable %q: %w", v.name, err)
	}
	if r := &p.slots[0]; r.addr != nil { // the same variable twice
		if r.typ.typ != st.typ {
			return fmt.Errorf("variable %q wanted as %v and as %v: %w", v.name, r.typ.typ, st.typ, dberr.ErrTypeMismatch)
		}
		v.value = reflect.NewAt(st.typ, r.addr).Elem()
		return nil
	}
	if st.node.kind == nodeEntries {
		l.corrupt("box of map entries")
		return l.err
	}
	box := reflect.New(st.typ)
	p.slots[0] = loadRegion{addr: box.UnsafePointer(), typ: st, count: 1 << regionFlags}
	l.queue = append(l.queue, loadSlot{p, 0})
	v.value = box.Elem()
	return nil
}

// boxType returns the type of a variable that is wanted as want.
func (l *loader) boxType(id pod.TypeID, want reflect.Type) (*storedType, error) {
	if want != nil && l.ownTypes {
		if st, err := l.typeOf(id); err == nil && !l.reg.textIs(st.node.text, want) {
			return st, nil
		}
	}
	if want != nil && want.Kind() != reflect.Interface {
		st, err := l.typeAs(id, want)
		if err == nil && len(st.plan.moves) == 1 && st.plan.moves[0].code >= moveBox {
			// A variable is a handle to the object: no copies of it.
			c := compiler{reg: l.reg}
			err = c.mismatch(st.node.text, st.node, want)
		}
		if !l.inPlace || !errors.Is(err, dberr.ErrTypeMismatch) {
			return st, err
		}
		want = nil // the live variable has another type than it had then
	}
	st, err := l.typeOf(id)
	if err != nil {
		return nil, err
	}
	if want != nil && !st.typ.Implements(want) {
		return nil, fmt.Errorf("stored as %s, which does not implement %s: %w", st.node.text, l.reg.typeText(want), dberr.ErrTypeMismatch)
	}
	return st, nil
}

// loaded lists what a load brought in, for the graph: pods in the order they
// came, regions by pod and slot. What lived before is left out.
func (l *loader) loaded() ([]loadedPod, []liveRegion) {
	pods := make([]loadedPod, len(l.fetched))
	n := 0
	fetched := slices.DeleteFunc(slices.Clone(l.fetched), func(p *loadPod) bool { return p.released })
	for i, p := range fetched {
		pods[i] = loadedPod{id: p.id, merged: p.merged}
		for s := range p.slots {
			if p.slots[s].isNew() {
				n++
			}
		}
	}
	pods = pods[:len(fetched)]
	n += len(l.forwarders)
	regions := make([]liveRegion, 0, n)
	order := fetched
	slices.SortFunc(order, func(a, b *loadPod) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for _, p := range order {
		for s := range p.slots {
			r := &p.slots[s]
			if r.isNew() {
				regions = append(regions, r.region(p, pod.Slot(s)))
				l.noteLoss(p, pod.Slot(s))
			} else if addr, ok := l.forwarders[loadSlot{p, pod.Slot(s)}]; ok {
				regions = append(regions, liveRegion{pod: p.id, slot: pod.Slot(s), kind: pod.SlotForward, addr: addr})
			}
		}
	}
	return pods, regions
}

// isNew reports whether the slot was placed and did not live before.
func (r *loadRegion) isNew() bool { return r.addr != nil && r.count&regionLive == 0 }

// noteLoss notes a slot whose value loses parts when it is written.
func (l *loader) noteLoss(p *loadPod, s pod.Slot) {
	r := &p.slots[s]
	if r.typ != nil && r.typ.losesParts && (r.kind() == pod.SlotObject || r.kind() == pod.SlotArray) {
		if l.reshaped == nil {
			l.reshaped = map[pod.Ref]*decodePlan{}
		}
		l.reshaped[pod.Ref{Pod: p.id, Slot: s}] = r.typ.plan
	}
}

// region describes a decoded slot to the graph.
func (r *loadRegion) region(p *loadPod, s pod.Slot) liveRegion {
	d := &p.merged.Slots[s]
	lr := liveRegion{pod: p.id, slot: s, kind: d.Kind, addr: r.addr, count: r.elements()}
	if r.typ == nil {
		lr.typ = reflect.TypeFor[string]()
	} else {
		lr.typ = r.typ.typ
	}
	if lr.typ == opaqueSlotType {
		lr.kind, lr.count = pod.SlotOpaque, 1
		return lr
	}
	lr.kind = storedKind(d)
	if lr.kind == pod.SlotArray {
		c := cursor{buf: d.Run(0)}
		if d.Kind == pod.SlotChunks {
			c.off = 2 // kind and flags
		}
		c.uvarint()
		c.uvarint()
		lr.perRun = int(c.uvarint())
	}
	return lr
}
