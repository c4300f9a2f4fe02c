package podder

// What pods cost in the file, in bytes. All are what a database of package mvcc was
// measured to take (podbench strategies -costs; docs/evaluation.md has the figures).
const (
	// podCost is what one more pod costs once: its row, the head and directory of its
	// stored form, the reference to it.
	podCost = 60
	// versionCost is what one more version of a pod costs beside what changed.
	versionCost = 40
	// wholeShare is how much of a pod each version stores beside what changed: after 8
	// patches it is stored whole (package mvcc), and compressed with its neighbours.
	wholeShare = 0.1
)

// Horizon of Learned: as many commits are expected as there were, within these.
const (
	leastHorizon = 16
	mostHorizon  = 1024
)

type learned struct{}

// Split compares what bundling costs over the commits to come, the rest of each pod
// stored again when the other part changes, with the price of one more pod and of its
// versions.
func (learned) Split(c *Choice) bool {
	if c.Commits == 0 {
		return false
	}
	horizon := float64(min(max(c.Commits, leastHorizon), mostHorizon))
	p, q, both := c.Piece, c.ChildPiece, c.Piece.with(c.ChildPiece)
	again := float64(both.Bytes)*both.Rate - float64(p.Bytes)*p.Rate - float64(q.Bytes)*q.Rate
	versions := p.Rate + q.Rate - both.Rate
	return horizon*wholeShare*again > podCost+horizon*versionCost*versions
}
