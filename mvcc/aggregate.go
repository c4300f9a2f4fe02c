package mvcc

import (
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
)

// net is what a run of commits on one line did to the set of pod version
// numbers: added are born in the run and current at its end, removed were
// current before it and are not at its end. Numbers never come back, so
//
//	set after = (set before − removed) ∪ added
//
// whatever the run's length. The index keeps the net of the rows at every full
// 64 and every full 4,096 positions of a line, stored as two sized sets. A
// folded row counts wholly at its own position, whichever run it stands for;
// positions whose rows are all gone have no aggregate, and it reads as empty.
type net struct {
	added, removed *Set
}

func newNet() *net { return &net{added: &Set{}, removed: &Set{}} }

// Lengths of the aggregates by level; level 0 is the commit itself.
var levelLen = [3]uint64{1, 64, 4096}

// commit appends one commit to the run.
func (n *net) commit(c *commitRow) {
	n.remove(c.removed)
	c.births(n.added)
}

// run appends a run to the run.
func (n *net) run(o *net) {
	n.remove(o.removed)
	n.added.union(o.added)
}

func (n *net) remove(gone *Set) {
	if gone.empty() {
		return
	}
	for _, no := range gone.list { // one or two, mostly
		if !n.added.remove(no) {
			n.removed.Add(no)
		}
	}
	if len(gone.parts) > 0 {
		before := gone.minus(n.added)
		n.added.subtract(gone)
		n.removed.union(before)
	}
}

// apply turns the set before the run into the set after it.
func (n *net) apply(s *Set) {
	s.subtract(n.removed)
	s.union(n.added)
}

func (n *net) append(dst []byte) []byte {
	return appendSizedSet(appendSizedSet(dst, n.added), n.removed)
}

func decodeNet(b []byte) (*net, error) {
	r := binenc.NewReader(b)
	n := &net{added: readSet(r), removed: readSet(r)}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("aggregate: %w", err)
	}
	return n, nil
}
