package podder

import "github.com/poddb/poddb/internal/pod"

// chooser asks a strategy where new regions begin pods (cluster.go). Regions are met
// from the last to the first, so what hangs on one is decided before it.
type chooser struct {
	*encoder
	strategy Strategy
	rates    *slotRates  // of Learned
	number   int         // of choices so far
	pieces   []PieceSize // by region, from the first new one on
	choice   Choice
}

// askStrategy has the save ask the strategy, if there is anything to ask: BundleAll, and
// Learned without a history, bundle everything up to what a pod may have.
func (e *encoder) askStrategy(g *Graph) error {
	c := &chooser{encoder: e, strategy: g.cfg.Strategy, number: g.choices}
	switch c.strategy.(type) {
	case bundleAll:
		return nil
	case learned:
		rated, ok := e.sink.(pod.RatedSink)
		if !ok {
			return nil
		}
		rates, err := rated.Rates(e.ctx)
		if err != nil || rates == nil {
			return err
		}
		if g.rates.counted != rates {
			g.rates = newSlotRates(rates, int(e.most))
		}
		if c.rates = &g.rates; !c.rates.worthwhile {
			return nil
		}
	}
	e.knowTypes()
	e.chooser = c
	return nil
}

// podBytes is up to where pods are filled.
func (c Config) podBytes() int {
	if _, all := c.Strategy.(bundleAll); all {
		return min(chunkFrom*c.TargetBytes, 1<<30)
	}
	return c.TargetBytes
}

// begins reports whether region i, which has not begun a piece, is to begin a pod. child
// and sibling are the heads of what is bundled below and beside it, -1 for none.
func (c *chooser) begins(i int32, r *region, child, sibling int32) bool {
	regions := &c.st.regions
	here := c.with(c.own(r), c.piece(child))
	parent := c.st.resolve(r.parent)
	up := regions.at(parent)
	joins := c.own(up)
	if parent < c.from || up.flags&flagSticky != 0 { // it has its pod
		joins.Bytes = max(joins.Bytes, c.st.pods[up.pod].bytes)
	}
	if joins.Bytes+here.Bytes > int(c.most) || c.rates != nil && (up.kind == pod.SlotArray || up.kind == pod.SlotMap) {
		// There is no room beside it. Or Learned asks: elements that are each better off
		// without their container are not better off each in a pod of its own.
		joins = PieceSize{}
	}
	ch := &c.choice
	*ch = Choice{
		Number: c.number,
		Parent: up.plan.typ, Child: r.plan.typ, Container: r.kind == pod.SlotArray || r.kind == pod.SlotMap,
		Piece: c.with(joins, c.piece(sibling)), ChildPiece: here,
	}
	ch.Both = c.with(ch.Piece, here)
	if c.rates != nil {
		ch.Commits = c.rates.counted.Commits
	}
	c.number++
	c.saved.choices++
	return c.strategy.Split(ch)
}

// note notes of what the piece of region i consists.
func (c *chooser) note(i int32, r *region, child, sibling int32) {
	if n := int(c.st.regions.len() - c.from); len(c.pieces) < n {
		c.pieces = make([]PieceSize, n)
	}
	c.pieces[i-c.from] = c.with(c.with(c.own(r), c.piece(child)), c.piece(sibling))
}

// with returns the size of two pieces together.
func (c *chooser) with(a, b PieceSize) PieceSize {
	if c.rates == nil {
		return a.with(b, 0)
	}
	return a.with(b, c.rates.counted.Together)
}

// piece returns the size of the piece that goes on with region i.
func (c *chooser) piece(i int32) PieceSize {
	if i < c.from {
		return PieceSize{}
	}
	return c.pieces[i-c.from]
}

// own returns the size of region r alone.
func (c *chooser) own(r *region) PieceSize {
	if r.kind == pod.SlotFree {
		return PieceSize{}
	}
	return PieceSize{Objects: 1, Bytes: int(r.weight) + slotOverhead, Rate: c.rate(r)}
}

// rate returns how often the slot of region r changes.
func (c *chooser) rate(r *region) float64 {
	if c.rates == nil {
		return 0
	}
	k := pod.RateKey{Kind: r.kind}
	switch r.kind {
	case pod.SlotObject, pod.SlotBox, pod.SlotArray:
		if r.plan.sentinel == nil {
			k.Type = c.typeID(r.plan, false)
		}
	case pod.SlotMap:
		k.Type = c.typeID(r.plan, true)
	}
	return c.rates.of(k)
}

// slotRates are the rates of change of slots, by what they hold.
type slotRates struct {
	counted    *pod.Rates
	pooled     float64 // of all slots together
	known      map[pod.RateKey]float64
	worthwhile bool // there may be something to cut
}

// A rate is what was counted, with priorSlots commits of a slot that changes as often as
// all others: little evidence moves it little. (The mean of a beta distribution
// after what was counted; the prior is that of the database itself.)
const priorSlots = 16

// newSlotRates estimates rates, for pods of up to target bytes.
func newSlotRates(counted *pod.Rates, target int) slotRates {
	var changes, commits int
	for _, n := range counted.Slots {
		changes, commits = changes+n.Changes, commits+n.Commits
	}
	s := slotRates{counted: counted, known: make(map[pod.RateKey]float64, len(counted.Slots))}
	s.pooled = (float64(changes) + 1) / float64(commits+priorSlots)
	for k, n := range counted.Slots {
		s.known[k] = (float64(n.Changes) + priorSlots*s.pooled) / float64(n.Commits+priorSlots)
	}
	s.worthwhile = s.mayCut(target)
	return s
}

func (s *slotRates) of(k pod.RateKey) float64 {
	if rate, ok := s.known[k]; ok {
		return rate
	}
	return s.pooled
}

// mayCut reports whether there is any cut that Learned may want to make in pods of
// up to target bytes: what changes most often away from what changes never.
func (s *slotRates) mayCut(target int) bool {
	most := s.pooled
	for _, rate := range s.known {
		most = max(most, rate)
	}
	c := Choice{Commits: s.counted.Commits, Piece: PieceSize{Bytes: target}, ChildPiece: PieceSize{Rate: min(most*float64(target), 1)}}
	c.Both = c.Piece.with(c.ChildPiece, 0)
	return learned{}.Split(&c)
}
