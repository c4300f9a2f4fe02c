package main

import (
	"context"
	"fmt"
	"reflect"
	"runtime"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/podder"
)

// barRuns is how often a bar is measured; the median counts.
const barRuns = 5

// treeNode is an object of the first walk.
type treeNode struct {
	ID          int64
	Score       float64
	Left, Right *treeNode
}

const walkObjects = 1_000_000

// buildTree makes a balanced tree of n nodes that lie in memory in the order in
// which a save meets them, breadth first: the heap of a program that built its
// graph in one go.
func buildTree(n int) *treeNode {
	nodes := make([]*treeNode, n)
	for i := range nodes {
		nodes[i] = &treeNode{ID: int64(i), Score: 1 / float64(i+1)}
	}
	for i := range nodes {
		if l := 2*i + 1; l < n {
			nodes[i].Left = nodes[l]
		}
		if r := 2*i + 2; r < n {
			nodes[i].Right = nodes[r]
		}
	}
	return nodes[0]
}

func measureWalk(ctx context.Context, _ barEnv, bars []bar) []bar {
	tree := buildTree(walkObjects)
	root := podder.Root{Name: "tree", Value: reflect.ValueOf(tree)}
	var rates []float64
	for range barRuns {
		graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry()})
		if err != nil {
			return broken(bars, err)
		}
		runtime.GC()
		before := cpuTime()
		_, err = graph.Save(ctx, []podder.Root{root}, newDiscard())
		used := cpuTime() - before
		if err != nil {
			return broken(bars, err)
		}
		rates = append(rates, walkObjects/used.Seconds())
	}
	runtime.KeepAlive(tree)
	bars[0].value = median(rates)
	return bars
}

const flatElements = 32 << 20 // 256 MiB

func measureFlat(ctx context.Context, _ barEnv, bars []bar) []bar {
	flat := make([]float64, flatElements)
	for i := range flat {
		flat[i] = float64(i)
	}
	graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry()})
	if err != nil {
		return broken(bars, err)
	}
	sink := newDiscard()
	roots := []podder.Root{{Name: "flat", Value: reflect.ValueOf(&flat)}}
	first, err := graph.Save(ctx, roots, sink)
	if err != nil {
		return broken(bars, err)
	}
	first.Commit()
	roots[0].Pod = sink.roots["flat"]
	var rates []float64
	for range barRuns {
		runtime.GC()
		puts := sink.puts
		before := cpuTime()
		saved, err := graph.Save(ctx, roots, sink)
		used := cpuTime() - before
		if err != nil {
			return broken(bars, err)
		}
		saved.Commit()
		if sink.puts != puts {
			return broken(bars, fmt.Errorf("unchanged memory was written again: %d pods", sink.puts-puts))
		}
		rates = append(rates, 8*flatElements/used.Seconds())
	}
	runtime.KeepAlive(flat)
	bars[0].value = median(rates)
	return bars
}

// discard is a sink that stores nothing, so that only podding is measured.
type discard struct {
	last  pod.ID
	puts  int
	types map[string]pod.TypeID
	roots map[string]pod.ID
}

func newDiscard() *discard {
	return &discard{types: map[string]pod.TypeID{}, roots: map[string]pod.ID{}}
}

func (d *discard) NewPod() pod.ID { d.last++; return d.last }

func (d *discard) Type(_ context.Context, descriptor []byte) (pod.TypeID, error) {
	id, ok := d.types[string(descriptor)]
	if !ok {
		id = pod.FirstCatalogType + pod.TypeID(len(d.types))
		d.types[string(descriptor)] = id
	}
	return id, nil
}

func (d *discard) Put(context.Context, *pod.Change) error { d.puts++; return nil }

func (d *discard) SetName(_ context.Context, name string, root pod.ID) error {
	d.roots[name] = root
	return nil
}

func (d *discard) DeleteName(context.Context, string) error { return nil }
