package podder

import (
	"context"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// nullSink takes everything and keeps nothing.
type nullSink struct {
	ids   pod.ID
	types map[string]pod.TypeID
	puts  int
}

func newNullSink() *nullSink { return &nullSink{types: map[string]pod.TypeID{}} }

func (s *nullSink) NewPod() pod.ID { s.ids++; return s.ids }
func (s *nullSink) Type(_ context.Context, d []byte) (pod.TypeID, error) {
	if _, ok := s.types[string(d)]; !ok {
		s.types[string(d)] = pod.FirstCatalogType + pod.TypeID(len(s.types))
	}
	return s.types[string(d)], nil
}
func (s *nullSink) Put(context.Context, *pod.Change) error        { s.puts++; return nil }
func (s *nullSink) SetName(context.Context, string, pod.ID) error { return nil }
func (s *nullSink) DeleteName(_ context.Context, _ string) error  { return nil }

type bNode struct {
	Name        string
	Left, Right *bNode
}

// bTree makes a tree whose nodes lie in memory breadth first.
func bTree(n int) *bNode {
	nodes := make([]*bNode, n)
	for i := range nodes {
		nodes[i] = &bNode{Name: "some name of a node"}
	}
	for i := range nodes {
		if 2*i+2 < n {
			nodes[i].Left, nodes[i].Right = nodes[2*i+1], nodes[2*i+2]
		}
	}
	return nodes[0]
}

const benchObjects = 1 << 20

// BenchmarkFirstWalk saves a tree of structs with a string and two pointers into
// an empty graph.
func BenchmarkFirstWalk(b *testing.B) {
	roots := rootsOf("x", bTree(benchObjects))
	objects, start := 0, cpuSeconds()
	for b.Loop() {
		g, _ := NewGraph(Config{})
		s, err := g.Save(context.Background(), roots, newNullSink())
		if err != nil {
			b.Fatal(err)
		}
		objects += s.Objects
		s.Commit()
	}
	reportCPU(b, start, "object", objects)
}

// BenchmarkUnchanged saves the same tree when nothing changed.
func BenchmarkUnchanged(b *testing.B) {
	roots := rootsOf("x", bTree(benchObjects))
	g, _ := NewGraph(Config{})
	sink := newNullSink()
	s, err := g.Save(context.Background(), roots, sink)
	if err != nil {
		b.Fatal(err)
	}
	s.Commit()
	sink.puts = 0
	objects, start := 0, cpuSeconds()
	for b.Loop() {
		s, err := g.Save(context.Background(), roots, sink)
		if err != nil || sink.puts > 0 {
			b.Fatal(err, sink.puts)
		}
		objects += s.Objects
		s.Commit()
	}
	reportCPU(b, start, "object", objects)
}

// BenchmarkFlatCompare saves large arrays of numbers of which nothing changed.
func BenchmarkFlatCompare(b *testing.B) {
	x := make([][]float64, 16)
	for i := range x {
		x[i] = make([]float64, 1<<20)
		for k := range x[i] {
			x[i][k] = float64(k * i)
		}
	}
	roots := rootsOf("x", &x)
	g, _ := NewGraph(Config{})
	sink := newNullSink()
	s, err := g.Save(context.Background(), roots, sink)
	if err != nil {
		b.Fatal(err)
	}
	s.Commit()
	n, start := 0, cpuSeconds()
	for b.Loop() {
		s, err := g.Save(context.Background(), roots, sink)
		if err != nil {
			b.Fatal(err)
		}
		s.Commit()
		n += 16 << 23
	}
	b.ReportMetric(float64(n)/(cpuSeconds()-start)/1e9, "cpu-GB/s")
}

// BenchmarkStrings saves lists of strings for the first time.
func BenchmarkStrings(b *testing.B) {
	x := make([][]string, 100)
	for i := range x {
		x[i] = make([]string, 1000)
		for k := range x[i] {
			x[i][k] = string(make([]byte, 100))
		}
	}
	roots := rootsOf("x", &x)
	n, start := 0, cpuSeconds()
	for b.Loop() {
		n++
		g, _ := NewGraph(Config{})
		if _, err := g.Save(context.Background(), roots, newNullSink()); err != nil {
			b.Fatal(err)
		}
	}
	reportCPU(b, start, "string", n*100_000)
}

// BenchmarkMaps saves a map of a million entries for the first time.
func BenchmarkMaps(b *testing.B) {
	x := map[int]*bNode{}
	for i := range 1 << 20 {
		x[i] = &bNode{}
	}
	roots := rootsOf("x", &x)
	n, start := 0, cpuSeconds()
	for b.Loop() {
		n++
		g, _ := NewGraph(Config{})
		if _, err := g.Save(context.Background(), roots, newNullSink()); err != nil {
			b.Fatal(err)
		}
	}
	reportCPU(b, start, "entry", n<<20)
}
