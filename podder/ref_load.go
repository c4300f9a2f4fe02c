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

// refHome loads what the Refs of one graph lead to, or those of one Decode: then
// it makes the graph when the first of them is asked for.
//
// Everything but with is used inside with alone.
type refHome struct {
	// with runs fn while nobody else uses the graph, with what the graph reads
	// from. It fails if that is over.
	with    func(ctx context.Context, fn func(pod.Source) error) error
	cfg     Config
	graph   *Graph
	wanted  []reflect.Type // of the variables that were loaded: what interfaces hold is found among what they reach
	pods    []loadedPod    // of Decode, until there is a graph
	regions []liveRegion
	decoded bool  // of Decode: nothing of it is saved
	err     error // why nothing can be loaded any more
}

// KeepRefs has later loads leave alone what Refs lead to. Get of such a Ref calls
// with, which calls the function that it is given while nobody else uses the graph,
// with the source of the loads, or fails. Without KeepRefs, and in Restore, Refs
// are followed like pointers.
func (g *Graph) KeepRefs(with func(ctx context.Context, fn func(pod.Source) error) error) {
	g.dropRefs(dberr.ErrDetached)
	g.eng.home = &refHome{with: with, cfg: g.cfg, graph: g}
}

// dropRefs has Refs that are not loaded fail with err from now on.
func (g *Graph) dropRefs(err error) {
	if h := g.eng.home; h != nil {
		h.err = err
		h.graph, h.pods, h.regions = nil, nil, nil
		g.eng.home = nil
	}
}

// renewRefs gives the graph a new home for Refs, when the objects that the old ones
// belong to are no part of it any more.
func (g *Graph) renewRefs() {
	if h := g.eng.home; h != nil {
		g.dropRefs(fmt.Errorf("the object with the Ref has left the namespace with a Checkout: %w", dberr.ErrDetached))
		g.eng.home = &refHome{with: h.with, cfg: g.cfg, graph: g}
	}
}

// keepRefs has the loader leave alone what Refs lead to.
func (l *loader) keepRefs(h *refHome) {
	if h != nil {
		l.gate = &refGate{home: h}
	}
}

// open ends the load under way for its Refs.
func (l *loader) openRefs() {
	if l.gate != nil {
		l.gate.open.Store(true)
	}
}

// want notes the types of variables that were loaded.
func (h *refHome) want(vars []variable) {
	if h == nil {
		return
	}
	for i := range vars {
		h.wantType(vars[i].value.Type())
	}
}

func (h *refHome) wantType(t reflect.Type) {
	if h != nil && !slices.Contains(h.wanted, t) {
		h.wanted = append(h.wanted, t)
	}
}

// errRefMet ends a load that keeps no addresses, and so cannot load more later.
var errRefMet = errors.New("a Ref was met")

// hasRefs reports whether values of one of the types can lead to a Ref without
// passing an interface.
func (r *Registry) hasRefs(types []reflect.Type) bool {
	return slices.ContainsFunc(types, func(t reflect.Type) bool { return t != nil && r.leadsToRef(t) })
}

func (r *Registry) leadsToRef(t reflect.Type) bool {
	r.mu.RLock()
	has, ok := r.refs[t]
	r.mu.RUnlock()
	if ok {
		return has
	}
	for u := range r.reachable(t) {
		if _, ok := refOf(u); ok {
			has = true
			break
		}
	}
	r.mu.Lock()
	if r.refs == nil {
		r.refs = map[reflect.Type]bool{}
	}
	r.refs[t] = has
	r.mu.Unlock()
	return has
}

// decodeWithRefs is Decode for values that may have Refs: what these lead to joins
// the objects that were decoded here, when it is asked for.
func decodeWithRefs(ctx context.Context, cfg Config, src pod.Source, names []string, want []reflect.Type) ([]reflect.Value, error) {
	h := &refHome{cfg: cfg, with: alone(src), decoded: true}
	l := newLoader(ctx, &cfg, src, want)
	l.keepRefs(h)
	vars, err := l.load(names, want)
	if err != nil {
		return nil, err
	}
	if l.kept > 0 {
		h.pods, h.regions = l.loaded()
		h.want(vars)
	}
	l.openRefs()
	l.report(ctx, &cfg)
	return values(vars), nil
}

// alone returns refHome.with of a source that has no other user.
func alone(src pod.Source) func(context.Context, func(pod.Source) error) error {
	free := make(chan struct{}, 1)
	return func(ctx context.Context, fn func(pod.Source) error) error {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-free }()
		return fn(src)
	}
}

// loadRef loads the object of a cell, which leads to a t, with all that it reaches
// but for further Refs.
func (h *refHome) loadRef(ctx context.Context, src pod.Source, c *refCell, t reflect.Type) (unsafe.Pointer, error) {
	if h.graph == nil {
		g, err := NewGraph(h.cfg)
		if err != nil {
			return nil, err
		}
		g.adopt(h.pods, h.regions, nil)
		h.graph, h.pods, h.regions = g, nil, nil
	}
	g := h.graph
	defer runtime.KeepAlive(g) // the memory of its state
	g.overtake()
	g.sweep()
	l := newLoader(ctx, &g.cfg, src, append([]reflect.Type{t}, h.wanted...))
	l.lookup, l.knows = g.live, g.knows
	if !h.decoded {
		l.hidden, l.named.g = hiddenValues{}, g
	}
	l.keepRefs(h)
	s, err := l.refTarget(c, t)
	if err == nil {
		err = l.run()
	}
	if err != nil {
		return nil, fmt.Errorf("pod %d slot %d: %w", c.place.Pod, c.place.Slot, l.gone(c, err))
	}
	pods, regions := l.loaded()
	g.adopt(pods, regions, nil)
	g.noteReshaped(l)
	if !h.decoded {
		g.adoptNamed(l)
		g.hide(l.hidden)
	}
	l.openRefs()
	l.report(ctx, &g.cfg)
	return s.addr, nil
}

// gone adds to an error that the object of a cell is not stored any more: in a graph
// that goes on from version to version the object with the Ref may have been dropped,
// and what it led to collected.
func (l *loader) gone(c *refCell, err error) error {
	if !errors.Is(err, dberr.ErrCorrupt) || l.named.g == nil {
		return err
	}
	pods, missing := l.src.Pods(l.ctx, []pod.ID{c.place.Pod})
	if errors.Is(missing, dberr.ErrNotFound) || missing == nil && !pods[0].Exported(c.place.Slot) {
		return fmt.Errorf("%w: it is not stored in this version: %w", dberr.ErrDetached, err)
	}
	return err
}

// refTarget returns where the object of a cell is, which leads to a t.
func (l *loader) refTarget(c *refCell, t reflect.Type) (spot, error) {
	to := loadSlot{l.pod(c.place.Pod), c.place.Slot}
	for {
		l.start(to)
		if c.loose && !c.leadsToPart() {
			l.want = t
		}
		s, ok := l.regionAt(nil, to, c.tail != "", 0)
		if ok && c.tail != "" {
			in := cursor{buf: []byte(c.tail)}
			index := l.readInterior(&in)
			s, ok = l.descend(s, index, l.steps)
			l.steps = l.steps[:0]
		}
		l.want = nil
		switch {
		case l.err != nil:
			return s, l.err
		case ok && !l.pointsTo(&s, t, c.loose):
			return s, l.err
		case ok:
			return s, nil
		}
		if err := l.fetch(); err != nil {
			return s, err
		}
	}
}

// leadsToPart reports whether the reference of a cell leads to a part of an object, or
// of an element.
func (c *refCell) leadsToPart() bool {
	in := cursor{buf: []byte(c.tail)}
	in.uvarint()
	return c.tail != "" && in.uvarint() > 0
}

// ref decodes a Ref: it keeps the place of what has not been fetched, and follows
// what another pod need not be asked for.
func (l *loader) ref(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	start := *c
	code := c.uvarint()
	switch {
	case c.bad:
		return
	case code == codeNil:
		*(**refCell)(at) = nil
		return
	case l.noRefs:
		l.fail(errRefMet)
		return
	}
	cell := refAt(at)
	if cell == nil || l.scratch > 0 { // a slot that is decoded again keeps its cells
		if !l.charge(1, uint64(unsafe.Sizeof(*cell)), 1) {
			return
		}
		cell = new(refCell)
		*(**refCell)(at) = cell
	}
	if l.gate != nil && code != codeZeroSize && l.keepPlace(p, c, code, cell) {
		cell.loose = m.loose
		cell.gate.Store(l.gate)
		l.kept++
		return
	}
	if *c = start; l.err == nil {
		l.pointer(p, c, m, unsafe.Pointer(&cell.ptr))
	}
}

// keepPlace notes in a cell where a reference leads. It reports false, and has read
// nothing for good, if only its pod knows the place: a slot that is not exported
// may become another object's.
func (l *loader) keepPlace(p *loadPod, c *cursor, code uint64, cell *refCell) bool {
	y := code - codeBase
	number := y >> codeShift
	if y&codeExternal != 0 {
		if number >= uint64(len(p.merged.Refs)) || p.merged.Refs[number].Pod == 0 {
			l.corrupt("reference %d of %d in the table", number, len(p.merged.Refs))
			return false
		}
		cell.place = p.merged.Refs[number]
	} else {
		if number >= uint64(len(p.slots)) {
			l.corrupt("reference to slot %d of %d", number, len(p.slots))
			return false
		}
		if cell.place = (pod.Ref{Pod: p.id, Slot: pod.Slot(number)}); !p.merged.Exported(cell.place.Slot) {
			return false
		}
	}
	cell.tail = ""
	if y&codeInterior != 0 {
		first, from := len(l.steps), c.off
		l.readInterior(c)
		l.steps = l.steps[:first]
		if c.bad {
			return false
		}
		cell.tail = string(c.buf[from:c.off])
	}
	return true
}
