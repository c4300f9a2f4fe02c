package mvcc

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/poddb/poddb/internal/dberr"
)

// What a policy keeps, per line. A commit goes if no rule keeps it, and nothing
// else (retire.go, invariants 1 and 2).
//
// Ages. The clock may jump, and a commit's time is never before the one of the
// commit before it. So an age is not the difference of two readings of the clock: it
// is the sum of the gaps between the commits since, and between the newest one and
// now, where a gap counts for a tenth of the rule's span at most, and for nothing if
// the clock goes backwards. So a jump, however far and in whichever direction,
// makes history older by at most a tenth of the span; a database that nobody
// writes to does not lose its history by waiting; and what a rule keeps is
// never less than what was committed in its span by the clock. It may be more, by about
// ten commits.
//
// Commits of a collect show what the one before them shows, without garbage. They
// are not counted, and no rule keeps them.
//
// Choosing is done once in a run: what goes does not depend on what went before
// in the same run.

// Tier keeps one commit, the newest, of each period of length Every since 1970,
// of those not older than For.
type Tier struct {
	Every time.Duration // 0: every commit
	For   time.Duration // 0: for ever
}

// ageSteps is how many gaps a span has at least.
const ageSteps = 10

// rules are what PruneOptions say.
type rules struct {
	last  int // newest commits of each line; 0 = no rule
	all   bool
	tiers []Tier
}

func (o PruneOptions) rules() (rules, error) {
	r := rules{last: o.KeepLast, all: o.KeepAll, tiers: o.Tiers}
	if o.KeepLast < 0 || o.KeepLast == 0 && !o.KeepAll && len(o.Tiers) == 0 {
		return r, fmt.Errorf("%w: KeepLast is %d, at least 1", dberr.ErrInvalid, o.KeepLast)
	}
	for _, t := range o.Tiers {
		if t.Every < 0 || t.For < 0 {
			return r, fmt.Errorf("%w: a tier of one commit every %v for %v", dberr.ErrInvalid, t.Every, t.For)
		}
	}
	return r, nil
}

// victims returns the commits of a line, oldest first, that the rules do not keep. The
// newest always stays.
func (r rules) victims(l *line, commits []lineCommit, now int64) map[Version]bool {
	gone := map[Version]bool{}
	if r.all && !l.deleted.Load() || len(commits) == 0 {
		return gone
	}
	last := max(r.last, 1)
	if l.deleted.Load() {
		r, last = rules{}, 1
	}
	for _, c := range slices.Backward(commits) {
		if last > 0 && !c.hidden {
			last--
		} else {
			gone[c.version] = true
		}
	}
	for _, t := range r.tiers {
		t.spare(commits, now, gone)
	}
	return gone
}

// spare takes the commits that the tier keeps out of gone.
func (t Tier) spare(commits []lineCommit, now int64, gone map[Version]bool) {
	span, step := int64(math.MaxInt64), int64(math.MaxInt64)
	if t.For > 0 {
		span, step = int64(t.For), max(int64(t.For)/ageSteps, 1)
	}
	period, first := int64(0), true
	for i, age, after := len(commits)-1, int64(0), now; i >= 0; i-- {
		c := commits[i]
		if t.For > 0 {
			if age += min(max(after-c.time, 0), step); age > span {
				return
			}
		}
		after = c.time
		if c.hidden {
			continue
		}
		if p := c.time / max(int64(t.Every), 1); first || p != period || t.Every == 0 {
			delete(gone, c.version)
			period, first = p, false
		}
	}
}
