package podder

// What pods cost in the file, in bytes, as a database of package mvcc was measured to
// take (podbench strategies -costs; TestTheCostsAreThoseOfTheStorage).
const (
	// podCost is what one more pod costs once: its row, the head and directory of its
	// stored form, the reference to it.
	podCost = 30
	// versionCost is what one more version of a pod costs beside what changed.
	versionCost = 40

	// A change that is longer than a pod / longChange is stored as the whole pod. Others are
	// patches, until there are flatChain in a chain of them, or if the pod has flatBytes or
	// more and the change is no longer than a pod / smallChange, mostChain: then the next
	// version is whole (package mvcc, longestChange).
	longChange, smallChange = 2, 8
	flatBytes               = 1 << 10
	flatChain, mostChain    = 8, 16
	// patchHead is about what a patch has beside the change, which versionCost counts; a
	// whole version has less.
	patchHead = 16
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
	bundled := podCost + c.Both.over(horizon)
	split := 2*podCost + c.Piece.over(horizon) + c.ChildPiece.over(horizon)
	return split < clearlyLess*bundled
}

// over is what a pod is expected to store in so many commits beside what changes: the heads
// of its versions, and the rest of the pod for each that is whole. A chain of patches begins
// with the pod, so where few commits change it none is whole: of n versions after the
// first n/(d+1), rounded down, end a chain of d, in the mean (n-d/2)/(d+1), or none.
func (s PieceSize) over(commits float64) float64 {
	versions := s.Rate * commits
	if versions <= 0 {
		return 0
	}
	change, whole, chain := s.Changed/s.Rate, float64(s.Bytes), float64(flatChain)
	switch {
	case change > whole/longChange:
		chain = 0
	case whole >= flatBytes && change <= whole/smallChange:
		chain = mostChain
	}
	wholes := max(0, (versions-chain/2)/(chain+1))
	return versions*versionCost + wholes*max(whole-change-patchHead, 0)
}
