package podder

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/poddb/poddb/internal/pod"
)

// PodPath says where variables reach a pod.
type PodPath struct {
	Path  string   // of the first object met in it: account/7.Owner
	Names []string // of the roots that reach it, in the order of the roots
}

// maxReach bounds the pods for which Paths looks for all roots.
const maxReach = 64

// Paths says by which paths variables reach pods, as memory is now. It walks all
// that the roots reach. A pod that none of them reaches any more has no entry.
func (g *Graph) Paths(ctx context.Context, roots []Root, pods []pod.ID) (_ map[pod.ID]PodPath, err error) {
	if roots, err = checkRoots(roots); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(g)
	w := newWalk(ctx, g)
	defer func() {
		w.st.release()
		own := w.own
		*w = walk{}
		own.release()
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.catchFault(&err)
	if err := w.discover(roots); err != nil {
		return nil, err
	}
	first := w.firstIn(g, pods)
	f := pathFinder{w: w, steps: map[int32]string{}, walked: map[int32]bool{}}
	for _, i := range first {
		f.want(i)
	}
	paths := make(map[pod.ID]PodPath, len(first))
	for id, i := range first {
		paths[id] = PodPath{Path: f.pathTo(i)}
	}
	if len(first) <= maxReach {
		for id, i := range first {
			p := paths[id]
			p.Names = w.reachedFrom(g, id, i)
			paths[id] = p
		}
	}
	return paths, nil
}

// firstIn returns the lowest region in each of the pods, as they were in the
// state before.
func (w *walk) firstIn(g *Graph, pods []pod.ID) map[pod.ID]int32 {
	first := make(map[pod.ID]int32, len(pods))
	number := make(map[int32]pod.ID, len(pods))
	for _, id := range pods {
		if n, ok := g.cur.byID[id]; ok {
			number[n] = id
		}
	}
	for _, c := range w.cells {
		if n, ok := g.cur.byID[g.roots[c.name]]; ok {
			if id, wanted := number[n]; wanted {
				first[id] = c.region
			}
		}
	}
	for i := range w.st.regions.len() {
		r := w.st.regions.at(i)
		if r.flags&flagSticky == 0 || r.kind == pod.SlotBox || r.kind == pod.SlotFree {
			continue
		}
		if id, wanted := number[r.pod]; wanted {
			if f, ok := first[id]; !ok || i < f {
				first[id] = i
			}
		}
	}
	return first
}

// reachedFrom names the roots that reach region to, or whose box lies in its
// pod: by going backward from it over the edges.
func (w *walk) reachedFrom(g *Graph, id pod.ID, to int32) (names []string) {
	n := w.st.regions.len()
	reaches := make([]bool, n)
	reaches[to] = true
	for changed := true; changed; { // most edges lead upwards: few rounds
		changed = false
		for i := n - 1; i >= 0; i-- {
			if reaches[i] {
				continue
			}
			r := w.st.regions.at(i)
			if r.kind == pod.SlotFree {
				continue
			}
			for k := r.edge; k < *w.edgeEnd.at(i); k++ {
				if reaches[w.st.resolve(*w.edges.at(int32(k)))] {
					reaches[i], changed = true, true
					break
				}
			}
		}
	}
	for _, c := range w.cells {
		if reaches[c.region] || g.roots[c.name] == id {
			names = append(names, c.name)
		}
	}
	return names
}

// InUse reports whether a slot held something that the graph knew at its newest
// load, or the pod is a chunk of such a thing.
func (g *Graph) InUse(id pod.ID, s pod.Slot) bool {
	_, ok := g.live(id, s)
	return ok || g.cur.hasChunk(id)
}
