package history

import (
	"fmt"
	"strings"
)

// cycles reports a short cycle of each strongly connected component.
func (c *checker) cycles() {
	for _, part := range components(c.edges) {
		if len(part) < 2 {
			continue
		}
		in := make(map[int]bool, len(part))
		for _, n := range part {
			in[n] = true
		}
		c.cycle(part, in)
		if len(c.found) >= maxFound {
			return
		}
	}
}

// components are the strongly connected ones (Tarjan 1972), on a stack of its
// own.
func components(edges [][]edge) (parts [][]int) {
	type frame struct{ node, next int }
	index, low := make([]int, len(edges)), make([]int, len(edges))
	on := make([]bool, len(edges))
	var stack []int
	time := 0
	for root := range edges {
		if index[root] != 0 {
			continue
		}
		frames := []frame{{root, 0}}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			v := f.node
			if f.next == 0 {
				time++
				index[v], low[v] = time, time
				stack, on[v] = append(stack, v), true
			}
			if f.next < len(edges[v]) {
				w := edges[v][f.next].to
				f.next++
				if index[w] == 0 {
					frames = append(frames, frame{w, 0})
				} else if on[w] {
					low[v] = min(low[v], index[w])
				}
				continue
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				up := frames[len(frames)-1].node
				low[up] = min(low[up], low[v])
			}
			if low[v] != index[v] {
				continue
			}
			var part []int
			for {
				w := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				on[w] = false
				part = append(part, w)
				if w == v {
					break
				}
			}
			parts = append(parts, part)
		}
	}
	return parts
}

// maxStarts bounds from how many nodes of a component a cycle is looked for.
const maxStarts = 50

// cycle reports the cycle with the fewest read-write dependencies that it finds,
// then the shortest: without any of them it is worse than with one, and with one
// worse than with two.
func (c *checker) cycle(part []int, in map[int]bool) {
	var best []int // indices of edges, from start
	start, bestCost := 0, 1<<30
	tried := 0
	for _, s := range part {
		if s >= len(c.txns) { // a moment, no transaction
			continue
		}
		if tried++; tried > maxStarts {
			break
		}
		if path, cost := c.back(s, in); path != nil && cost < bestCost {
			best, start, bestCost = path, s, cost
		}
	}
	a := Anomaly{Kind: "cycle"}
	var b strings.Builder
	at := start
	for _, e := range best {
		x := c.edges[at][e]
		if at < len(c.txns) {
			fmt.Fprintf(&b, "T%d -%v", at, x.why)
			if x.key != "" {
				fmt.Fprintf(&b, " %s", x.key)
			}
			b.WriteString("-> ")
		}
		if x.why == readWrite {
			a.RW++
		}
		at = x.to
	}
	fmt.Fprintf(&b, "T%d", at)
	a.What = b.String()
	if len(c.found) < maxFound {
		c.found = append(c.found, a)
	}
}

// back finds the cheapest way from s to itself within a component: a read-write
// dependency costs a thousand, any other one.
func (c *checker) back(s int, in map[int]bool) (path []int, cost int) {
	type state struct{ node, cost int }
	type step struct{ from, edge, cost int }
	best := map[int]step{}
	queue := []state{{s, 0}} // small components: a plain list will do
	for len(queue) > 0 {
		low := 0
		for i := range queue {
			if queue[i].cost < queue[low].cost {
				low = i
			}
		}
		x := queue[low]
		queue[low] = queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if x.node == s && x.cost > 0 {
			break
		}
		if b, ok := best[x.node]; ok && x.node != s && b.cost < x.cost {
			continue
		}
		for i, e := range c.edges[x.node] {
			if !in[e.to] {
				continue
			}
			next := x.cost + 1
			if e.why == readWrite {
				next += 999
			}
			if b, ok := best[e.to]; !ok || next < b.cost {
				best[e.to] = step{x.node, i, next}
				queue = append(queue, state{e.to, next})
			}
		}
	}
	last, ok := best[s]
	if !ok {
		return nil, 0
	}
	cost = last.cost
	for at := s; ; {
		b := best[at]
		path = append([]int{b.edge}, path...)
		if at = b.from; at == s {
			return path, cost
		}
	}
}
