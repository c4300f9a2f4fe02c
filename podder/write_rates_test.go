package podder

import (
	"context"
	"runtime"
	"strconv"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// wholeSink keeps the stored form of every pod, as a store would.
type wholeSink struct {
	nullSink
	bytes []byte
	slots []pod.Data
}

func (s *wholeSink) Put(_ context.Context, c *pod.Change) error {
	s.slots = s.slots[:0]
	for i := range c.Slots {
		w := &c.Slots[i]
		for len(s.slots) < int(w.Slot) {
			s.slots = append(s.slots, pod.Data{})
		}
		s.slots = append(s.slots, w.Data)
	}
	s.bytes = pod.AppendWhole(s.bytes, &pod.Pod{Refs: c.Refs, Exports: c.Exports, Slots: s.slots})
	return nil
}

type rateNode struct {
	Name     string
	Score    float64
	Tags     []string
	Children []*rateNode
	Attrs    map[string]int
}

var rateWords = [...]string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}

// rateTree makes node i of a complete tree of n, a parent before its children.
func rateTree(i, n int) *rateNode {
	word := func(k int) string { return rateWords[(i*7+k*5)%len(rateWords)] }
	node := &rateNode{Name: "node-" + strconv.Itoa(i), Score: 1 / float64(i+3), Attrs: make(map[string]int, 3)}
	for k := range i % 4 {
		node.Tags = append(node.Tags, word(k))
	}
	for k := range 1 + i%3 {
		node.Attrs[word(k)] = i + k
	}
	const fanOut = 8
	if first := fanOut*i + 1; first < n {
		node.Children = make([]*rateNode, min(fanOut, n-first))
		for k := range node.Children {
			node.Children[k] = rateTree(first+k, n)
		}
	}
	return node
}

type rateUser struct {
	ID       int64
	Name     string
	Email    string
	Balance  float64
	Active   bool
	Tags     []string
	Sessions []rateSession
}

type rateSession struct {
	Token   string
	Started int64
	Hits    int
}

func rateUsers(n int) map[string]*rateUser {
	m := make(map[string]*rateUser)
	for i := range n {
		id := strconv.Itoa(i)
		u := &rateUser{ID: int64(i), Name: "user " + id, Email: "user" + id + "@example.com", Balance: float64(i) / 7, Active: i%3 > 0}
		for k := range 1 + i%3 {
			u.Tags = append(u.Tags, rateWords[(i+k)%len(rateWords)])
			u.Sessions = append(u.Sessions, rateSession{Token: "token-" + id + "-" + strconv.Itoa(k), Started: 1_700_000_000 + int64(i), Hits: i % 97})
		}
		m["user-"+id] = u
	}
	return m
}

func rateCounts(n int) map[string]int {
	m := make(map[string]int)
	for i := range n {
		m["key-"+strconv.Itoa(i)] = i * 31
	}
	return m
}

// benchmarkFirstSave saves a value into an empty graph and a sink that keeps the
// stored form, each time on a heap that was just collected.
func benchmarkFirstSave(b *testing.B, value any, items int) {
	sink := &wholeSink{nullSink: *newNullSink()}
	used, n := 0.0, 0
	var before, after runtime.MemStats
	allocated := uint64(0)
	sink.bytes = make([]byte, 0, 200*items)
	clear(sink.bytes[:cap(sink.bytes)])
	for b.Loop() {
		sink.bytes, sink.nullSink = sink.bytes[:0], *newNullSink()
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := cpuSeconds()
		g, _ := NewGraph(Config{})
		s, err := g.Save(context.Background(), rootsOf("x", value), sink)
		if err != nil {
			b.Fatal(err)
		}
		s.Commit()
		runtime.ReadMemStats(&after)
		used, n, allocated = used+cpuSeconds()-start, n+items, allocated+after.TotalAlloc-before.TotalAlloc
	}
	b.ReportMetric(1e9*used/float64(n), "cpu-ns/item")
	b.ReportMetric(float64(allocated)/float64(n), "B/item")
	b.ReportMetric(float64(after.NumGC-before.NumGC), "collections")
	b.ReportMetric(float64(len(sink.bytes))/float64(items), "stored-B/item")
}

func BenchmarkFirstSaveTree(b *testing.B) {
	benchmarkFirstSave(b, rateTree(0, 1_000_000), 1_000_000)
}
func BenchmarkFirstSaveUsers(b *testing.B)  { benchmarkFirstSave(b, rateUsers(100_000), 100_000) }
func BenchmarkFirstSaveCounts(b *testing.B) { benchmarkFirstSave(b, rateCounts(100_000), 100_000) }
