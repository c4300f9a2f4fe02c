package podder

import (
	"iter"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Pool hands out empty graphs that know already what the ones before have
// compiled. It is safe for concurrent use; each graph has one user at a time.
type Pool struct {
	cfg Config

	mu   sync.Mutex
	free []*Graph
}

// maxPooled bounds the graphs that wait for use.
const maxPooled = 64

// NewPool returns a pool without graphs.
func NewPool(cfg Config) *Pool { return &Pool{cfg: cfg} }

// Get returns an empty graph. It fails on sizes that make no sense.
func (p *Pool) Get() (*Graph, error) {
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		g := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return g, nil
	}
	p.mu.Unlock()
	return NewGraph(p.cfg)
}

// Put takes back a graph that Get returned. It lets go of everything that the
// graph knew about objects.
func (p *Pool) Put(g *Graph) {
	g.reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < maxPooled {
		p.free = append(p.free, g)
	}
}

// maxPooledBytes bounds the blocks that a graph in a pool keeps.
const maxPooledBytes = 128 << 10

// reset makes the graph as empty as a new one; what the engine has compiled
// stays.
func (g *Graph) reset() {
	g.overtake()
	was := g.cur
	g.cur = g.newState()
	was.release()
	clear(g.roots)
	g.lone.forget()
	g.dropRefs(dberr.ErrDetached)
	g.hidden = hiddenValues{}
	g.zeroed, g.choices, g.reshaped = 0, 0, nil
	if g.spare.bytes > maxPooledBytes {
		g.spare.of, g.spare.bytes = nil, 0
	}
	g.idle.shrink()
}

// PodsFrom adds to set the pods that a variable reaches as it was loaded: all
// that are there if one of its pods leads to them.
func (g *Graph) PodsFrom(name string, set map[pod.ID]struct{}) {
	g.settle()
	root, ok := g.roots[name]
	if !ok {
		return
	}
	for todo := []pod.ID{root}; len(todo) > 0; {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, done := set[id]; done || !g.Holds(id) {
			continue
		}
		set[id] = struct{}{}
		if n, ok := g.cur.byID[id]; ok {
			for _, r := range g.cur.pods[n].refs {
				if r.Pod != 0 {
					todo = append(todo, r.Pod)
				}
			}
		}
	}
}

// Len returns the number of pods that All lists, some of them counted twice.
func (g *Graph) Len() int {
	if g.lone.id != 0 {
		return 1
	}
	g.cur.hasChunk(0)
	return g.cur.live.podCount(g.cur) + len(g.cur.chunkIDs)
}

// Has is Holds.
func (g *Graph) Has(id pod.ID) bool { return g.Holds(id) }

// All lists the pods that the graph holds, in no order.
func (g *Graph) All() iter.Seq[pod.ID] {
	return func(yield func(pod.ID) bool) {
		if id := g.lone.id; id != 0 {
			yield(id)
			return
		}
		holds := func(n int32) bool { return g.cur.live.hasPod(g.cur, n) }
		for id, n := range g.cur.byID {
			if holds(n) && !yield(id) {
				return
			}
		}
		g.cur.hasChunk(0)
		for id := range g.cur.chunkIDs {
			if n, ok := g.cur.byID[id]; !(ok && holds(n)) && !yield(id) {
				return
			}
		}
	}
}
