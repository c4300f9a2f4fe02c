package pod

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// gen makes random pods, valid by construction.
type gen struct{ *rand.Rand }

func newGen(seed uint64) gen { return gen{rand.New(rand.NewPCG(seed, 1))} }

// seeds runs check on many seeds. A failure names its seed; the replay command
// is go test ./internal/pod -run 'TestName/seed=N'.
func seeds(t *testing.T, n uint64, check func(t *testing.T, g gen)) {
	for seed := range n {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { check(t, newGen(seed)) })
	}
}

func (g gen) bytes(most int) []byte {
	b := make([]byte, g.IntN(most+1))
	for i := range b {
		b[i] = byte(g.IntN(6))
	}
	return b
}

func (g gen) ref() Ref {
	switch g.IntN(8) {
	case 0:
		return Ref{}
	case 1:
		return Ref{Pod: ID(g.Uint64() | 1), Slot: Slot(g.Uint32())}
	case 2:
		return Ref{Pod: ID(g.IntN(300) + 1), Slot: Slot(g.IntN(300))}
	}
	return Ref{Pod: ID(g.IntN(300) + 1)}
}

func (g gen) refs(n int) []Ref {
	refs := make([]Ref, n)
	for i := range refs {
		if refs[i] = g.ref(); i > 0 && refs[i-1].Pod != 0 && g.IntN(2) == 0 {
			refs[i] = Ref{Pod: refs[i-1].Pod + 1}
		}
	}
	return refs
}

func (g gen) slot() Data {
	d := Data{Kind: Kind(g.IntN(int(slotKinds))), Type: TypeID(64 + g.IntN(3))}
	switch d.Kind {
	case SlotFree:
		return Data{}
	case SlotArray, SlotMap:
		d.Runs = make([]uint32, g.IntN(12)+1)
		for i := range d.Runs {
			run := g.bytes(g.IntN(2) * 40)
			if g.IntN(3) > 0 {
				run = make([]byte, 16)
			}
			d.Runs[i] = uint32(len(run))
			d.Bytes = append(d.Bytes, run...)
		}
	case SlotObject:
		d.Bytes = make([]byte, 24)
		d.Bytes[g.IntN(24)] = byte(g.Uint32())
	default:
		d.Bytes = g.bytes(30)
	}
	return d
}

func (g gen) pod() *Pod {
	p := &Pod{Refs: g.refs(g.IntN(20)), Slots: make([]Data, g.IntN(40))}
	for i := range p.Slots {
		if p.Slots[i] = g.slot(); i > 0 && g.IntN(3) == 0 {
			p.Slots[i] = p.Slots[i-1]
		}
	}
	g.export(p)
	g.giveOut(p)
	return p
}

// giveOut gives some slots other generations, often several in a row the same.
func (g gen) giveOut(p *Pod) {
	list := p.Given()
	p.Generations = nil
	now := Generation{}
	for _, s := range list {
		switch g.IntN(12) {
		case 0:
			now = Generation{Line: uint32(g.IntN(3) + 1), Number: g.Uint64() >> g.IntN(64)}
		case 1, 2:
			now = Generation{}
		case 3, 4, 5:
			s.Gen = now
		}
		if g.IntN(6) == 0 {
			s.Gen = s.Gen.At(s.Slot, Slot(g.IntN(40)))
		}
		if (s.Gen != Generation{}) {
			p.Generations = append(p.Generations, s)
		}
	}
}

// edges makes an edge set over the references in use.
func (g gen) edges(p *Pod) EdgeSet {
	switch g.IntN(4) {
	case 0:
		return EdgeSet{All: true}
	case 1:
		return EdgeSet{}
	}
	var e EdgeSet
	for n, ref := range p.Refs {
		if ref.Pod != 0 && g.IntN(3) == 0 {
			e.List = append(e.List, uint32(n))
		}
	}
	return e
}

// export gives p new exports, keeping those that may stay about half the time.
func (g gen) export(p *Pod) {
	old := p.Exports
	p.Exports = nil
	for i, d := range p.Slots {
		if d.Kind == SlotFree {
			continue
		}
		was := slices.IndexFunc(old, func(e Export) bool { return e.Slot == Slot(i) })
		keep := was >= 0 && g.IntN(4) > 0 && !slices.ContainsFunc(old[was].Edges.List, func(n uint32) bool {
			return int(n) >= len(p.Refs) || p.Refs[n].Pod == 0
		})
		switch {
		case keep:
			p.Exports = append(p.Exports, old[was])
		case i == 0 || g.IntN(3) == 0:
			e := Export{Slot(i), g.edges(p)}
			if n := len(p.Exports); n > 0 && g.IntN(2) == 0 {
				e.Edges = p.Exports[n-1].Edges
			}
			p.Exports = append(p.Exports, e)
		}
	}
}

// next makes a later state of base, which it does not touch.
func (g gen) next(base *Pod) *Pod {
	p := &Pod{Refs: slices.Clone(base.Refs), Slots: slices.Clone(base.Slots), Exports: base.Exports}
	for range g.IntN(4) {
		if len(p.Refs) > 0 {
			p.Refs[g.IntN(len(p.Refs))] = g.ref()
		}
	}
	switch g.IntN(5) {
	case 0:
		p.Refs = append(p.Refs, g.refs(g.IntN(4))...)
	case 1:
		p.Refs = p.Refs[:g.IntN(len(p.Refs)+1)]
	}
	for range g.IntN(4) {
		if len(p.Slots) > 0 {
			i := g.IntN(len(p.Slots))
			p.Slots[i] = g.changed(p.Slots[i])
		}
	}
	switch g.IntN(5) {
	case 0:
		for range g.IntN(4) {
			p.Slots = append(p.Slots, g.slot())
		}
	case 1:
		p.Slots = p.Slots[:g.IntN(len(p.Slots)+1)]
	}
	g.export(p)
	p.Generations = withGenerations(base.Generations, nil, p.Slots)
	switch g.IntN(6) {
	case 0:
		g.giveOut(p)
	case 1, 2, 3: // as a change does
		for i := range p.Slots {
			if p.Slots[i].Kind != SlotFree && (i >= len(base.Slots) || base.Slots[i].Kind == SlotFree) {
				p.Generations = withGenerations(p.Generations, []SlotGeneration{{Slot(i), testOwn}}, p.Slots)
			}
		}
	}
	if g.IntN(20) == 0 {
		return g.pod()
	}
	return p
}

// changed makes a slot that d may have become, mostly by one run of it.
func (g gen) changed(d Data) Data {
	if d.Runs == nil || g.IntN(4) == 0 {
		return g.slot()
	}
	var runs [][]byte
	for i := range d.Runs {
		runs = append(runs, d.Run(i))
	}
	runs[g.IntN(len(runs))] = g.bytes(40)
	switch g.IntN(4) {
	case 0:
		runs = append(runs, g.bytes(40))
	case 1:
		runs = runs[:g.IntN(len(runs))+1]
	}
	d.Bytes, d.Runs = bytes.Join(runs, nil), make([]uint32, len(runs))
	for i := range runs {
		d.Runs[i] = uint32(len(runs[i]))
	}
	return d
}

// change makes the Change that turns base into next, as a sender would.
func (g gen) change(base, next *Pod) *Change {
	c := &Change{ID: 9, New: base == nil, Refs: slices.Clone(next.Refs), Exports: slices.Clone(next.Exports), Given: next.Given()}
	if base == nil || g.IntN(5) == 0 {
		c.Whole = true
		base = &Pod{}
	}
	for i, d := range next.Slots {
		var before Data
		if i < len(base.Slots) {
			before = base.Slots[i]
		}
		switch {
		case sameSlot(&before, &d):
		case d.Kind == SlotFree:
			c.Drop = append(c.Drop, Slot(i))
		case before.Runs != nil && d.Runs != nil && before.Kind == d.Kind && g.IntN(3) > 0:
			w := SlotWrite{Slot: Slot(i), Data: Data{Kind: d.Kind, Type: d.Type}, NumRuns: len(d.Runs), Runs: []RunWrite{}}
			eachChangedRun(before, d, func(run int, _, b []byte) { w.Runs = append(w.Runs, RunWrite{run, bytes.Clone(b)}) })
			c.Slots = append(c.Slots, w)
		default:
			d.Bytes, d.Runs = bytes.Clone(d.Bytes), slices.Clone(d.Runs)
			c.Slots = append(c.Slots, SlotWrite{Slot: Slot(i), Data: d})
		}
	}
	for i := len(next.Slots); i < len(base.Slots); i++ {
		if base.Slots[i].Kind != SlotFree {
			c.Drop = append(c.Drop, Slot(i))
		}
	}
	g.Shuffle(len(c.Slots), func(i, j int) { c.Slots[i], c.Slots[j] = c.Slots[j], c.Slots[i] })
	return c
}

// trimmed returns p without the free slots at its end.
func trimmed(p *Pod) *Pod {
	q := *p
	for len(q.Slots) > 0 && q.Slots[len(q.Slots)-1].Kind == SlotFree {
		q.Slots = q.Slots[:len(q.Slots)-1]
	}
	return &q
}
