package podder

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"
)

// indexedTree returns a tree that was saved until later saves need no walk.
func indexedTree(b *testing.B) (*Graph, []Root, []*bNode, *nullSink) {
	root := bTree(benchObjects)
	nodes := []*bNode{root}
	for i := 0; i < len(nodes); i++ {
		if n := nodes[i]; n.Left != nil {
			nodes = append(nodes, n.Left, n.Right)
		}
	}
	g, err := NewGraph(Config{Index: true})
	if err != nil {
		b.Fatal(err)
	}
	roots, sink := rootsOf("x", root), newNullSink()
	for range 2 {
		benchSave(b, g, roots, sink)
	}
	return g, roots, nodes, sink
}

func benchSave(b *testing.B, g *Graph, roots []Root, sink *nullSink) *Saved {
	s, err := g.Save(context.Background(), roots, sink)
	if err != nil {
		b.Fatal(err)
	}
	s.Commit()
	return s
}

// BenchmarkUnchangedIndexed compares a tree of small objects with its fingerprints.
func BenchmarkUnchangedIndexed(b *testing.B) {
	g, roots, _, sink := indexedTree(b)
	sink.puts = 0
	objects, start := 0, cpuSeconds()
	for b.Loop() {
		s := benchSave(b, g, roots, sink)
		if s.Walked || sink.puts > 0 {
			b.Fatal("it walked, or wrote")
		}
		objects += s.Objects
	}
	reportCPU(b, start, "object", objects)
}

// BenchmarkScattered saves a tree of which one object in a hundred changed.
func BenchmarkScattered(b *testing.B) {
	g, roots, nodes, sink := indexedTree(b)
	r := rand.New(rand.NewPCG(1, 2))
	changed, cpu := 0, 0.0
	for b.Loop() {
		for range len(nodes) / 100 {
			nodes[r.IntN(len(nodes))].Name = "another name of a node"
			nodes[r.IntN(len(nodes))].Name = "some name of a node"
		}
		start := cpuSeconds()
		s := benchSave(b, g, roots, sink)
		cpu += cpuSeconds() - start
		if s.Walked {
			b.Fatal("it walked")
		}
		changed += s.SlotsChanged
	}
	b.ReportMetric(cpu*1e9/float64(b.N)/float64(len(nodes)), "cpu-ns/object")
	b.ReportMetric(float64(changed)/float64(b.N), "changed")
}

// BenchmarkArraysGrow saves objects each of which got one element more in the array that it has: the
// time an object does not depend on how many there are.
func BenchmarkArraysGrow(b *testing.B) {
	type node struct{ Tags []string }
	for _, n := range []int{1_000, 8_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			g, err := NewGraph(Config{Index: true})
			if err != nil {
				b.Fatal(err)
			}
			nodes := make([]*node, n)
			for i := range nodes {
				nodes[i] = &node{Tags: make([]string, 1, 24)}
			}
			roots, sink := rootsOf("x", nodes), newNullSink()
			for range 2 {
				benchSave(b, g, roots, sink)
			}
			cpu := 0.0
			for b.Loop() {
				for _, x := range nodes {
					if len(x.Tags) == cap(x.Tags) {
						x.Tags = x.Tags[:1]
					}
					x.Tags = append(x.Tags, "one more")
				}
				start := cpuSeconds()
				benchSave(b, g, roots, sink)
				cpu += cpuSeconds() - start
			}
			b.ReportMetric(cpu*1e9/float64(b.N)/float64(n), "cpu-ns/object")
		})
	}
}
