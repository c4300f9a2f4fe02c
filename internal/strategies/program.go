// Package strategies compares strategies of podding by what they store: on random small
// graphs that are changed and saved again and again, against all ways there are to cut
// them. It holds what the test and podbench have in common.
package strategies

import (
	"math/rand/v2"

	"github.com/poddb/poddb/db"
)

// Objects are of four types, each of which a program gives a size and a rate of change.
type (
	KindA struct {
		Contents
		Links
	}
	KindB struct {
		Contents
		Links
	}
	KindC struct {
		Contents
		Links
	}
	KindD struct {
		Contents
		Links
	}
	Contents struct {
		N    int
		Text string
	}
	Links struct {
		A *KindA
		B *KindB
		C *KindC
		D *KindD
	}
)

const kinds = 4

// Program is a random graph and what happens to it.
type Program struct {
	Seed    uint64
	Objects int
	Commits int  // that change it, after the first
	Repod   bool // saves may move what is stored
	// together says that what changes often changes whenever something else does;
	// else objects change independently.
	together bool
	size     [kinds]int
	rate     [kinds]float64
	rewrite  [kinds]bool // a change replaces the text too; else it is one of a number
	shape    []place     // of each object but the root
}

// place is where an object hangs, and which type it has.
type place struct{ up, kind int }

// Sizes of the texts and rates of change that a type may have.
var (
	sizes = [...]int{8, 40, 200, 1500}
	rates = [...]float64{0, 0.02, 0.1, 0.5, 0.9}
)

// types gives the types of programs and costs names: they are of an internal package, so another
// module that measures with them, as tools/podbench does, cannot name them.
func types() db.TypeSet {
	return db.Types(db.Type[KindA]("strategies.A"), db.Type[KindB]("strategies.B"), db.Type[KindC]("strategies.C"),
		db.Type[KindD]("strategies.D"), db.Type[CostRow]("strategies.row"))
}

// New returns a program of 3 to most objects, the same for each seed.
func New(seed uint64, most, commits int) *Program {
	r := rand.New(rand.NewPCG(seed, 1))
	p := &Program{Seed: seed, Objects: 3 + r.IntN(most-2), Commits: commits, together: seed%2 == 0}
	for k := range kinds {
		p.size[k], p.rate[k] = sizes[r.IntN(len(sizes))], rates[r.IntN(len(rates))]
		p.rewrite[k] = r.IntN(4) == 0
	}
	taken := map[place]bool{}
	for len(p.shape) < p.Objects-1 {
		at := place{r.IntN(len(p.shape) + 1), r.IntN(kinds)}
		if !taken[at] {
			taken[at] = true
			p.shape = append(p.shape, at)
		}
	}
	return p
}

// graph is one graph of a program.
type graph struct {
	p     *Program
	r     *rand.Rand
	root  *KindA
	kind  []int
	all   []*Contents
	below []*Links
}

// newGraph makes the graph of the program, with contents of its own for each number.
func (p *Program) newGraph(number uint64) *graph {
	g := &graph{p: p, r: rand.New(rand.NewPCG(p.Seed, 2+number)), root: &KindA{}}
	g.add(0, &g.root.Contents, &g.root.Links)
	for _, at := range p.shape {
		l := g.below[at.up]
		switch at.kind {
		case 0:
			l.A = &KindA{}
			g.add(0, &l.A.Contents, &l.A.Links)
		case 1:
			l.B = &KindB{}
			g.add(1, &l.B.Contents, &l.B.Links)
		case 2:
			l.C = &KindC{}
			g.add(2, &l.C.Contents, &l.C.Links)
		case 3:
			l.D = &KindD{}
			g.add(3, &l.D.Contents, &l.D.Links)
		}
	}
	return g
}

func (g *graph) add(kind int, c *Contents, l *Links) {
	g.kind, g.all, g.below = append(g.kind, kind), append(g.all, c), append(g.below, l)
	g.write(len(g.all) - 1)
}

// write gives object i a new text.
func (g *graph) write(i int) {
	b := make([]byte, g.p.size[g.kind[i]])
	for k := range b {
		b[k] = byte(g.r.IntN(256))
	}
	g.all[i].Text = string(b)
}

// change changes each object as often as its type says.
func (g *graph) change() {
	dice := g.r.Float64()
	for i := range g.all {
		if !g.p.together {
			dice = g.r.Float64()
		}
		if dice < g.p.rate[g.kind[i]] {
			if g.all[i].N += 1 + g.r.IntN(1<<30); g.p.rewrite[g.kind[i]] {
				g.write(i)
			}
		}
	}
}
