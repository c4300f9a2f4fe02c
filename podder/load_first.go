package podder

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A load of much into a graph that has nothing need not keep what it has read until its end: a pod
// that is filled joins the graph at once, in a state that nobody else has seen, and its memory is
// used again. If the load fails the state is dropped as a whole.
type firstLoad struct {
	adopter
	before *state // that the graph has if the load fails; nil until it reads much
}

// isEmpty reports whether nothing lives in the graph.
func (g *Graph) isEmpty() bool {
	st := g.cur
	return len(st.pods) == 0 && st.regions.len() == 0 && len(st.forwards) == 0 && len(st.named.regions) == 0 && len(g.roots) == 0
}

// loadFirst is load into a graph that has nothing.
func (g *Graph) loadFirst(ctx context.Context, src pod.Source, names []string, want []reflect.Type) ([]reflect.Value, error) {
	vs, err := g.tryFirst(ctx, src, names, want)
	if errors.Is(err, errReleased) {
		return g.load(ctx, src, names, want, nil)
	}
	return vs, err
}

func (g *Graph) tryFirst(ctx context.Context, src pod.Source, names []string, want []reflect.Type) (vs []reflect.Value, err error) {
	f := g.idle.takeFirst()
	f.g = g
	loaded := false
	defer func() { // also if a hook of the program panics
		f.end(loaded)
		g.idle.giveFirst(f)
	}()
	vs, err = g.load(ctx, src, names, want, f)
	loaded = err == nil
	return vs, err
}

// begin gives the graph the state in which pods join it.
func (f *firstLoad) begin() { f.before, f.g.cur = f.g.cur, f.g.newState() }

// end lets go of that state, or of the one before if all is loaded.
func (f *firstLoad) end(loaded bool) {
	switch {
	case f.before == nil:
	case loaded:
		f.before.release()
	default:
		f.g.cur.release()
		f.g.cur = f.before
	}
}

// take has a pod whose slots are all filled join the graph. Its memory is used again.
func (f *firstLoad) take(l *loader, p *loadPod) {
	exports := slices.Clone(p.merged.Exports)
	for i := range exports { // many have one list
		list := &exports[i].Edges.List
		if before := p.merged.Exports[max(0, i-1)].Edges.List; i > 0 && len(*list) == len(before) && unsafe.SliceData(*list) == unsafe.SliceData(before) {
			*list = exports[i-1].Edges.List
		} else {
			*list = slices.Clone(*list)
		}
	}
	f.g.adoptPod(loadedPod{p.id, p.merged})
	ps := &f.g.cur.pods[f.g.cur.byID[p.id]]
	ps.refs, ps.exports = slices.Clone(p.merged.Refs), exports
	f.enter(p.id, p.merged)
	for s := range p.slots {
		if r := &p.slots[s]; r.isNew() {
			lr := r.region(p, pod.Slot(s))
			l.noteLoss(p, pod.Slot(s))
			f.region(&lr, storedReach(p.merged, &lr))
		}
	}
}
