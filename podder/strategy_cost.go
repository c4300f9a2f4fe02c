package podder

// What pods cost in the file, in bytes, as a database of package mvcc was measured to
// take (podbench strategies -costs; TestTheCostsAreThoseOfTheStorage).
const (
	// podCost is what one more pod costs once: its row, the head and directory of its
	// stored form, the reference to it.
	podCost = 30
	// versionCost is what one more version of a pod costs beside what changed.
	versionCost = 40
	// wholeShare is how much of a pod each version stores beside what changed: after 8
	// patches a pod is stored whole.
	wholeShare = 1.0 / 9
)

// Horizon of Learned: as many commits are expected as there were, within these.
const (
	leastHorizon = 16
	mostHorizon  = 1024
)

// clearlyLess is by how much a cut must be cheaper: fewer pods are faster to load, and
// rates are estimates.
const clearlyLess = 0.9

type learned struct{}

// Split compares what is expected to be stored over the commits to come, beside what
// changes: one pod of which the rest is stored again when any part changes, or two, and
// the price of one more and of its versions.
func (learned) Split(c *Choice) bool {
	if c.Commits == 0 {
		return false
	}
	horizon := float64(min(max(c.Commits, leastHorizon), mostHorizon))
	bundled := podCost + horizon*c.Both.perCommit()
	split := 2*podCost + horizon*(c.Piece.perCommit()+c.ChildPiece.perCommit())
	return split < clearlyLess*bundled
}

// perCommit is what a pod is expected to store for each commit beside what changes.
func (s PieceSize) perCommit() float64 {
	return s.Rate * (versionCost + wholeShare*float64(s.Bytes))
}
