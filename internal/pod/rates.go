package pod

import "context"

// Rates are how often slots change, as the history of a database says.
type Rates struct {
	// Commits is the length of the history that was looked at.
	Commits int
	Slots   map[RateKey]Count
	// Together says how much slots of one pod change in the same commits: 0 as if they
	// knew nothing of each other, 1 only when the one does that changes most.
	Together float64
}

// RateKey is a class of slots.
type RateKey struct {
	Kind Kind
	Type TypeID
}

// Count is a numerator and a denominator: Changes of slots in Commits, one for each
// slot and each commit since its pod was made. Bytes is what all these changes together
// changed, as Differing says.
type Count struct{ Changes, Commits, Bytes int }

// Differing is how many bytes a patch stores of after where it was before, about.
func Differing(before, after *Data) int {
	if !sameShape(before, after) || after.Runs == nil {
		return len(cutOf(before.Bytes, after.Bytes).between(after.Bytes))
	}
	n := 0
	eachChangedRun(*before, *after, func(_ int, old, run []byte) { n += len(cutOf(old, run).between(run)) })
	return n
}

// RatedSink is a Sink that knows how often slots change.
type RatedSink interface {
	Sink
	// Rates returns what the history up to the transaction's base says, nil if that is
	// too short to say anything. The result is shared and must not be changed.
	Rates(ctx context.Context) (*Rates, error)
}

// SlotHistory says in which of a pod's newest versions its slots changed.
type SlotHistory struct {
	// Commits of the history from the oldest version that was looked at up to the
	// transaction's base.
	Commits int
	// Versions that were compared with the one before, at most 32.
	Versions int
	// Changed has by slot the versions that changed what is in it, bit 0 for the newest.
	Changed []uint32
	// Bytes has by slot how many bytes these versions changed of it, as Differing says.
	Bytes []int
}

// HistorySink is a Sink that knows when the slots of a pod changed.
type HistorySink interface {
	Sink
	// Commits is the length of the history of the transaction's base.
	Commits() int
	// SlotHistory returns what the newest versions of a pod up to the transaction's
	// base say, nothing if they cannot be read. The error is that of ctx or that of a sink
	// which is closed.
	SlotHistory(ctx context.Context, id ID) (SlotHistory, error)
}
