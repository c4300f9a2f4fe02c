package db

import (
	"context"
	"slices"
	"time"

	"github.com/poddb/poddb/mvcc"
)

// Policy says which versions Prune keeps, branch by branch. Heads, versions
// that branches begin at, versions with tags, and those that an open snapshot,
// namespace or transaction shows are kept whatever it says.
type Policy struct {
	last  int
	all   bool
	tiers []Tier
}

// Tier keeps the newest commit of each period of length Every (counted from 1970
// in UTC) among those not older than For; see Tiers.
type Tier = mvcc.Tier

// KeepAll keeps every version, but for those of deleted branches.
func KeepAll() Policy { return Policy{all: true} }

// KeepLast keeps the newest n commits of each branch, n at least 1.
func KeepLast(n int) Policy { return Policy{last: n} }

// KeepFor keeps the commits of each branch that are not older than d.
//
// A clock that jumped deletes no history. Ages are added up from the gaps between commits,
// and between the newest one and now, and a gap counts for a tenth of d at most. So
// a jump makes history older by a tenth of d at most; nothing goes only because
// nobody commits; and a little more than d is kept, by about ten commits. While a
// clock has been put back, nothing gets older.
func KeepFor(d time.Duration) Policy { return Tiers(Tier{For: d}) }

// Tiers keeps what any of the tiers keeps: all commits of a day, one an hour for a
// week, and one a day for ever are
//
//	db.Tiers(db.Tier{For: 24 * time.Hour}, db.Tier{Every: time.Hour, For: 7 * 24 * time.Hour}, db.Tier{Every: 24 * time.Hour})
//
// Every 0 is every commit, For 0 is for ever. For ages see KeepFor.
func Tiers(tiers ...Tier) Policy { return Policy{tiers: slices.Clone(tiers)} }

// Or keeps what p or q keeps: KeepFor(d).Or(KeepLast(10)).
func (p Policy) Or(q Policy) Policy {
	return Policy{last: max(p.last, q.last), all: p.all || q.all, tiers: slices.Concat(p.tiers, q.tiers)}
}

// PruneOptions configures Prune.
type PruneOptions struct {
	Policy Policy
	DryRun bool // only say what would be freed
	// Budget bounds giving back the space, not what is removed: when its time is over
	// Prune returns, and the rest goes on in the background.
	Budget Budget
	// Progress, if set, is called now and then with the number of pod versions
	// removed and to be removed.
	Progress func(done, total uint64)
}

// PruneReport says what Prune removed, or would remove.
type PruneReport = mvcc.PruneReport

// Prune removes the versions that the policy does not keep, in one step:
// from then on At gives ErrVersionGone for them. Objects that no variable reaches any more
// are not versions and stay. Then it frees what only they needed, a
// bit at a time; if that is interrupted it goes on in the background, also
// after the next Open. The file shrinks with later checkpoints, or Compact.
// A policy that keeps nothing is ErrInvalid.
func (d *DB) Prune(ctx context.Context, o PruneOptions) (PruneReport, error) {
	rep, err := d.store.Prune(ctx, mvcc.PruneOptions{
		KeepLast: o.Policy.last, KeepAll: o.Policy.all, Tiers: o.Policy.tiers,
		DryRun: o.DryRun, Budget: o.Budget, Progress: o.Progress,
	})
	return rep, d.named(err)
}
