package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Depth costs little: a graph is saved and loaded in about the time that its
// objects take in a balanced tree.

// deepNode is a node of the list and of the deep tree.
type deepNode struct {
	Value       int64
	Left, Right *deepNode
}

// deepGraph is a deep graph and a shallow one of as many equal nodes.
type deepGraph struct {
	name    string
	about   string
	objects int
	deep    func() []*deepNode
	shallow func() []*deepNode
	rounds  int
}

const (
	deepListNodes = 10_000_000
	deepTreeDepth = 1_000_000
)

func deepGraphs() []deepGraph {
	return []deepGraph{
		{name: "list", about: "a list of 10,000,000 nodes against a balanced tree of as many", objects: deepListNodes, rounds: 3,
			deep:    func() []*deepNode { return linkNodes(deepListNodes, 1)[:1] },
			shallow: func() []*deepNode { return balanceNodes(deepListNodes)[:1] }},
		{name: "tree", about: "a tree 1,000,000 levels deep, of 2,000,000 nodes, against a balanced one", objects: 2 * deepTreeDepth, rounds: 3,
			deep:    func() []*deepNode { return linkNodes(2*deepTreeDepth, 2)[:1] },
			shallow: func() []*deepNode { return balanceNodes(2 * deepTreeDepth)[:1] }},
	}
}

// linkNodes makes n nodes of which every step-th leads to the next such one, by
// Right, and to those between, by Left; step 0 leaves them alone.
func linkNodes(n, step int) []*deepNode {
	nodes := make([]*deepNode, n)
	for i := range nodes {
		nodes[i] = &deepNode{Value: int64(i)}
	}
	if step == 0 {
		return nodes
	}
	for i := 0; i < n; i += step {
		if step > 1 {
			nodes[i].Left = nodes[i+1]
		}
		if i+step < n {
			nodes[i].Right = nodes[i+step]
		}
	}
	return nodes
}

func balanceNodes(n int) []*deepNode {
	nodes := linkNodes(n, 0)
	for i := range nodes {
		if l := 2*i + 1; l < n {
			nodes[i].Left = nodes[l]
		}
		if r := 2*i + 2; r < n {
			nodes[i].Right = nodes[r]
		}
	}
	return nodes
}

// sumNodes counts and adds up nodes, in an order that needs no stack on the
// shapes made here: right spines in a loop, what hangs left by recursion.
func sumNodes(roots []*deepNode) (count int, sum int64) {
	for _, n := range roots {
		for ; n != nil; n = n.Right {
			count++
			sum += n.Value
			if n.Left != nil {
				c, s := sumNodes([]*deepNode{n.Left})
				count, sum = count+c, sum+s
			}
		}
	}
	return count, sum
}

func deepPromises() []promise {
	var out []promise
	for _, d := range deepGraphs() {
		out = append(out, promise{
			bars: []bar{
				{name: "deep-" + d.name + "-save", set: "fidelity", unit: "x-of-shallow", limit: 3, about: "CPU time an object of the save: " + d.about},
				{name: "deep-" + d.name + "-load", set: "fidelity", unit: "x-of-shallow", limit: 3, about: "the same of the load"},
			},
			measure: func(ctx context.Context, _ barEnv, bars []bar) []bar { return measureDeep(ctx, d, bars) },
		})
	}
	return out
}

// deepSample is what one process measured, in seconds of processor time.
type deepSample struct{ Save, Load []float64 }

func measureDeep(ctx context.Context, d deepGraph, bars []bar) []bar {
	var deep, shallow deepSample
	for range d.rounds {
		for _, part := range []struct {
			name string
			into *deepSample
		}{{"deep", &deep}, {"shallow", &shallow}} {
			s, err := runDeep(ctx, d.name, part.name)
			if err != nil {
				return broken(bars, fmt.Errorf("%s: %w", part.name, err))
			}
			part.into.Save, part.into.Load = append(part.into.Save, s.Save...), append(part.into.Load, s.Load...)
		}
	}
	for i, pair := range [][2][]float64{{deep.Save, shallow.Save}, {deep.Load, shallow.Load}} {
		a, b := median(pair[0]), median(pair[1])
		bars[i].value = a / b
		bars[i].note = fmt.Sprintf("CPU-ns/object: deep %.0f, shallow %.0f", 1e9*a/float64(d.objects), 1e9*b/float64(d.objects))
	}
	return bars
}

func runDeep(ctx context.Context, name, shape string) (s deepSample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.CommandContext(ctx, self, "helper", "deep-"+shape, name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// deepHelper is that process.
func deepHelper(name string, deep bool) error {
	for _, d := range deepGraphs() {
		if d.name != name {
			continue
		}
		build := d.shallow
		if deep {
			build = d.deep
		}
		s, err := deepRun(build())
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	return fmt.Errorf("no deep graph %q", name)
}

func deepRun(roots []*deepNode) (s deepSample, err error) {
	c := newPodCodec()
	used, err := cpuOf(func() error { return c.encode(roots) })
	if err != nil {
		return s, err
	}
	s.Save = append(s.Save, used)
	var got []*deepNode
	if used, err = cpuOf(func() error { return c.decode(&got) }); err != nil {
		return s, err
	}
	s.Load = append(s.Load, used)
	count, sum := sumNodes(roots)
	if n, m := sumNodes(got); n != count || m != sum {
		return s, fmt.Errorf("%d nodes with sum %d came back as %d with %d", count, sum, n, m)
	}
	runtime.KeepAlive(roots)
	return s, nil
}
