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
	s := PieceSize{Objects: 1, Bytes: int(r.weight) + slotOverhead}
	known := c.rate(r)
	s.Rate, s.Changed = known.rate, known.rate*min(known.bytes, float64(r.weight))
	return s
}

// rate returns how often the slot of region r changes, and how much.
func (c *chooser) rate(r *region) slotRate {
	if c.rates == nil {
		return slotRate{}
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
	pooled     slotRate // of all slots together
	known      map[pod.RateKey]slotRate
	worthwhile bool // there may be something to cut
}

// slotRate is how often a slot changes, of all commits, and how many bytes of it do then.
type slotRate struct{ rate, bytes float64 }

// A rate is what was counted, with priorSlots commits of a slot that changes as often as
// all others: little evidence moves it little. (The mean of a beta distribution
// after what was counted; the prior is that of the database itself.) How much changes is
// taken with one change of the mean of all.
const priorSlots = 16

// newSlotRates estimates rates, for pods of up to target bytes.
func newSlotRates(counted *pod.Rates, target int) slotRates {
	var all pod.Count
	for _, n := range counted.Slots {
		all = pod.Count{Changes: all.Changes + n.Changes, Commits: all.Commits + n.Commits, Bytes: all.Bytes + n.Bytes}
	}
	s := slotRates{counted: counted, known: make(map[pod.RateKey]slotRate, len(counted.Slots))}
	s.pooled = slotRate{(float64(all.Changes) + 1) / float64(all.Commits+priorSlots), float64(all.Bytes) / float64(max(all.Changes, 1))}
	for k, n := range counted.Slots {
		s.known[k] = slotRate{
			(float64(n.Changes) + priorSlots*s.pooled.rate) / float64(n.Commits+priorSlots),
			(float64(n.Bytes) + s.pooled.bytes) / float64(n.Changes+1),
		}
	}
	s.worthwhile = s.mayCut(target)
	return s
}

func (s *slotRates) of(k pod.RateKey) slotRate {
	if known, ok := s.known[k]; ok {
		return known
	}
	return s.pooled
}

// mayCut reports whether there is any cut that Learned may want to make in pods of
// up to target bytes: what changes away from what changes never, that fills the pod or is as
// long as the change, so that all is stored again each time.
func (s *slotRates) mayCut(target int) bool {
	most := s.pooled
	for _, known := range s.known {
		most.rate, most.bytes = max(most.rate, known.rate), max(most.bytes, known.bytes)
	}
	fill := float64(target)
	for _, change := range []float64{0, min(most.bytes, fill/longChange)} {
		rest := fill
		if change > 0 {
			rest = change
		}
		rate := min(most.rate*fill, 1)
		c := Choice{Commits: s.counted.Commits, Piece: PieceSize{Bytes: int(rest)}, ChildPiece: PieceSize{Bytes: int(change) + 1, Rate: rate, Changed: rate * (change + 1)}}
		c.Both = c.Piece.with(c.ChildPiece, 0)
		if (learned{}).Split(&c) {
			return true
		}
	}
	return false
}
