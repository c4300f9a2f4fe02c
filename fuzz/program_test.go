package fuzz

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/podder"
)

// node is the object that the random program works on: it has everything that
// a graph can share.
type node struct {
	ID     int
	Name   string
	Next   *node
	Kids   []*node
	Tags   map[string]*node
	Data   []float64
	Any    any
	Cursor *float64 // into somebody's Data
	hidden string
}

func types() db.TypeSet { return db.Types(db.Type[node]("fuzz.node")) }

func dbOptions(fs vfs.FS) *db.Options {
	// Small pods and pages make many of both. A save that does without a walk is followed by
	// one.
	return &db.Options{FS: fs, Types: types(), PageSize: 4096, PodTargetBytes: 256, CheckpointBytes: -1, VerifyEvery: 1}
}

// seededOptions replace the random source, so that operation n is the same
// operation in every run.
func seededOptions(fs vfs.FS, seed uint64) *db.Options {
	o := dbOptions(fs)
	o.Rand = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	o.Now = func() time.Time { return time.Unix(1_700_000_000, 0) }
	if seed>>8&1 == 1 { // objects leave their pods whenever they may
		o.Strategy = podder.Restless(seed)
	}
	return o
}

// program is a deterministic random program over a namespace. Its state is
// the live variables; text is what a reader must see.
type program struct {
	rng  *rand.Rand
	vars map[string]*node
	all  []*node
	next int
}

func newProgram(seed uint64) *program {
	return &program{rng: rand.New(rand.NewPCG(seed, 77)), vars: map[string]*node{}}
}

func (p *program) pick() *node {
	if len(p.all) == 0 {
		return p.fresh()
	}
	return p.all[p.rng.IntN(len(p.all))]
}

func (p *program) fresh() *node {
	p.next++
	n := &node{ID: p.next, Name: fmt.Sprintf("node %d %s", p.next, strings.Repeat("x", p.rng.IntN(40))), hidden: fmt.Sprint("h", p.next)}
	for range p.rng.IntN(6) {
		n.Data = append(n.Data, p.rng.Float64())
	}
	p.all = append(p.all, n)
	return n
}

// step changes the graph at random.
func (p *program) step() {
	for range 1 + p.rng.IntN(5) {
		n := p.pick()
		switch p.rng.IntN(12) {
		case 0:
			n.Next = p.fresh()
		case 1:
			n.Next = p.pick()
		case 2:
			n.Kids = append(n.Kids, p.fresh(), p.pick())
		case 3:
			if n.Tags == nil {
				n.Tags = map[string]*node{}
			}
			n.Tags[fmt.Sprint("t", p.rng.IntN(5))] = p.pick()
		case 4:
			n.ID = -n.ID
		case 5:
			n.Name += "!"
		case 6:
			n.Data = append(n.Data, p.rng.NormFloat64(), math.Inf(1))
		case 7:
			if o := p.pick(); len(o.Data) > 0 {
				n.Cursor = &o.Data[p.rng.IntN(len(o.Data))]
			}
		case 8:
			n.Any = []any{p.rng.IntN(9), "text", p.pick(), nil, 2.5}
		case 9:
			if len(n.Kids) > 1 {
				n.Kids = n.Kids[:len(n.Kids)-1]
			}
		case 10:
			n.hidden = fmt.Sprint("changed", p.rng.Uint32())
		case 11:
			n.Any, n.Next = nil, nil
		}
	}
}

// bind changes the variables themselves.
func (p *program) bind(ctx context.Context, ns *db.Namespace) error {
	name := fmt.Sprintf("v%02d", p.rng.IntN(8))
	if p.rng.IntN(4) == 0 && p.vars[name] != nil && len(p.vars) > 1 {
		delete(p.vars, name)
		return ns.Delete(ctx, name)
	}
	if p.vars[name] == nil || p.rng.IntN(3) == 0 {
		p.vars[name] = p.pick()
		return ns.Set(ctx, name, p.vars[name])
	}
	return nil
}

// adopt takes over the variables as a namespace loads them, after a reopen.
func (p *program) adopt(ctx context.Context, ns *db.Namespace) error {
	p.vars, p.all = map[string]*node{}, nil
	var all map[string]any
	if err := ns.Load(ctx, &all); err != nil {
		return err
	}
	for _, name := range sortedNames(all) {
		p.vars[name] = all[name].(*node)
	}
	p.all = reach(p.vars)
	return nil
}

func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// reach lists the nodes that the variables reach, in a fixed order.
func reach(vars map[string]*node) []*node {
	d := newDumper()
	for _, n := range sortedNames(vars) {
		d.ref(vars[n])
	}
	d.drain()
	return d.queue
}

// text writes the whole state, with identity: two graphs have one text if and
// only if they are isomorphic.
func text(vars map[string]*node) string {
	d := newDumper()
	for _, n := range sortedNames(vars) {
		fmt.Fprintf(&d.out, "%s=%s\n", n, d.ref(vars[n]))
	}
	d.drain()
	return d.out.String()
}

// dumper numbers nodes and arrays by first meeting.
type dumper struct {
	out    strings.Builder
	ids    map[*node]int
	floats map[*float64]string
	queue  []*node
	done   int
}

func newDumper() *dumper {
	return &dumper{ids: map[*node]int{}, floats: map[*float64]string{}}
}

func (d *dumper) ref(n *node) string {
	if n == nil {
		return "nil"
	}
	id, ok := d.ids[n]
	if !ok {
		id = len(d.queue)
		d.ids[n] = id
		d.queue = append(d.queue, n)
	}
	return fmt.Sprint("#", id)
}

// drain writes every node that was met. Cursors come last, when the arrays
// that they may point into have their names.
func (d *dumper) drain() {
	for ; d.done < len(d.queue); d.done++ {
		d.node(d.done, d.queue[d.done])
	}
	for i, n := range d.queue {
		if n.Cursor != nil {
			where, ok := d.floats[n.Cursor]
			if !ok {
				where = fmt.Sprintf("alone %x", math.Float64bits(*n.Cursor))
			}
			fmt.Fprintf(&d.out, "#%d cursor %s\n", i, where)
		}
	}
}

func (d *dumper) node(i int, n *node) {
	fmt.Fprintf(&d.out, "#%d %d %q %q next %s", i, n.ID, n.Name, n.hidden, d.ref(n.Next))
	fmt.Fprintf(&d.out, " kids %v %d/%d", n.Kids == nil, len(n.Kids), cap(n.Kids))
	for _, k := range n.Kids {
		d.out.WriteString(" " + d.ref(k))
	}
	fmt.Fprintf(&d.out, " tags %v", n.Tags == nil)
	for _, k := range sortedNames(n.Tags) {
		fmt.Fprintf(&d.out, " %s:%s", k, d.ref(n.Tags[k]))
	}
	fmt.Fprintf(&d.out, " data %v %d/%d", n.Data == nil, len(n.Data), cap(n.Data))
	for j := range n.Data {
		d.floats[&n.Data[j]] = fmt.Sprintf("#%d[%d]", i, j)
		fmt.Fprintf(&d.out, " %x", math.Float64bits(n.Data[j]))
	}
	list, _ := n.Any.([]any)
	fmt.Fprintf(&d.out, " any %v", n.Any == nil)
	for _, x := range list {
		if k, ok := x.(*node); ok {
			d.out.WriteString(" " + d.ref(k))
		} else {
			fmt.Fprintf(&d.out, " %T:%v", x, x)
		}
	}
	d.out.WriteByte('\n')
}
