package podder

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/poddb/poddb/internal/pod"
)

// PodPath says how variables reach a pod.
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
	g.settle()
	defer runtime.KeepAlive(g)
	w := newWalk(ctx, g)
	defer func() {
		w.st.release()
		w.end()
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.catchFault(&err)
	if err := w.discover(roots); err != nil {
		return nil, err
	}
	in := w.regionsIn(g, pods)
	f := newPathFinder(w)
	for _, regions := range in {
		f.want(slices.Min(regions))
	}
	paths := make(map[pod.ID]PodPath, len(in))
	for id, regions := range in {
		p := PodPath{Path: f.pathTo(slices.Min(regions))}
		if len(in) <= maxReach {
			p.Names = w.rootsOf(regions)
		}
		paths[id] = p
	}
	return paths, nil
}

// regionsIn lists the regions that lay in each of the pods in the state before.
func (w *walk) regionsIn(g *Graph, pods []pod.ID) map[pod.ID][]int32 {
	in := make(map[pod.ID][]int32, len(pods))
	number := make(map[int32]pod.ID, len(pods))
	for _, id := range pods {
		if n, ok := g.cur.byID[id]; ok {
			number[n] = id
		}
	}
	note := func(n, i int32) {
		if id, wanted := number[n]; wanted {
			in[id] = append(in[id], i)
		}
	}
	for _, c := range w.cells {
		if n, ok := g.cur.byID[g.roots[c.name]]; ok {
			note(n, c.region)
		}
	}
	for i := range w.st.regions.len() {
		if r := w.st.regions.at(i); r.flags&flagSticky != 0 && r.kind != pod.SlotBox && r.kind != pod.SlotFree {
			note(r.pod, i)
		}
	}
	return in
}

// rootsOf names the roots that reach one of the regions.
func (w *walk) rootsOf(to []int32) (names []string) {
	n := w.st.regions.len()
	reaches := make([]bool, n)
	for _, i := range to {
		reaches[i] = true
	}
	for changed := true; changed; { // most edges lead to higher numbers: few rounds
		changed = false
		for i := n - 1; i >= 0; i-- {
			if reaches[i] || w.st.regions.at(i).kind == pod.SlotFree {
				continue
			}
			for k := w.st.regions.at(i).edge; k < w.st.regions.at(i).edgeEnd; k++ {
				if reaches[w.st.resolve(*w.edges.at(int32(k)))] {
					reaches[i], changed = true, true
					break
				}
			}
		}
	}
	for _, c := range w.cells {
		if reaches[c.region] {
			names = append(names, c.name)
		}
	}
	return names
}

// InUse reports whether a slot held something that the graph knew at its newest
// load, or the pod is a chunk of such a thing.
func (g *Graph) InUse(id pod.ID, s pod.Slot) bool {
	g.settle()
	_, ok := g.live(id, s)
	return ok || g.cur.hasChunk(id)
}
