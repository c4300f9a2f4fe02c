package mvcc

// victimGraph says in which order victims go. Its parts are the strongly
// connected components of what refers to what among the victims (Tarjan,
// "Depth-first search and linear graph algorithms", SIAM J. Comput. 1972); each
// comes before those that it refers to.
type victimGraph struct {
	first []int32 // of the targets of each victim in to, and behind the last
	to    []int32
	parts [][]int32
}

// order makes the graph and its parts.
func (c *collection) order() {
	g := &c.graph
	c.index = make(map[pid]int32, len(c.victims))
	for i := range c.victims {
		c.index[c.victims[i].id] = int32(i)
	}
	for _, refs := range c.sweep.refs {
		g.first = append(g.first, int32(len(g.to)))
		for _, r := range refs {
			if j, ok := c.index[r.Pod]; ok && c.victims[j].has(r.Slot) {
				g.to = append(g.to, j)
			}
		}
	}
	g.first = append(g.first, int32(len(g.to)))
	c.sweep.refs = nil
	c.mark = marking{}
	g.components()
}

// targets are the victims that one refers to.
func (g *victimGraph) targets(i int32) []int32 { return g.to[g.first[i]:g.first[i+1]] }

// components fills parts.
func (g *victimGraph) components() {
	n := len(g.first) - 1
	s := &tarjan{graph: g, index: make([]int32, n), low: make([]int32, n), on: make([]bool, n)}
	for i := range int32(n) {
		if s.index[i] == 0 {
			s.visit(i)
		}
	}
	// They were completed targets first.
	for i, j := 0, len(g.parts)-1; i < j; i, j = i+1, j-1 {
		g.parts[i], g.parts[j] = g.parts[j], g.parts[i]
	}
}

type tarjan struct {
	graph      *victimGraph
	index, low []int32 // 0 = not visited
	on         []bool  // the stack
	stack      []int32
	frames     []tarjanFrame
	time       int32
}

type tarjanFrame struct {
	node int32
	next int // of its targets
}

func (s *tarjan) enter(i int32) {
	s.time++
	s.index[i], s.low[i], s.on[i] = s.time, s.time, true
	s.stack = append(s.stack, i)
	s.frames = append(s.frames, tarjanFrame{node: i})
}

func (s *tarjan) visit(i int32) {
	s.enter(i)
	for len(s.frames) > 0 {
		f := &s.frames[len(s.frames)-1]
		if to := s.graph.targets(f.node); f.next < len(to) {
			j := to[f.next]
			f.next++
			switch {
			case s.index[j] == 0:
				s.enter(j)
			case s.on[j]:
				s.low[f.node] = min(s.low[f.node], s.index[j])
			}
			continue
		}
		node := f.node
		s.frames = s.frames[:len(s.frames)-1]
		if len(s.frames) > 0 {
			up := s.frames[len(s.frames)-1].node
			s.low[up] = min(s.low[up], s.low[node])
		}
		if s.low[node] == s.index[node] {
			s.complete(node)
		}
	}
}

// complete makes a part of what is on the stack from a node on.
func (s *tarjan) complete(node int32) {
	at := len(s.stack) - 1
	for s.stack[at] != node {
		at--
	}
	part := append([]int32(nil), s.stack[at:]...)
	s.stack = s.stack[:at]
	for _, i := range part {
		s.on[i] = false
	}
	s.graph.parts = append(s.graph.parts, part)
}
