package mvcc

import (
	"bytes"
	"context"
	"math/bits"
	"slices"
	"sync"

	"github.com/poddb/poddb/internal/pod"
)

// How often slots change is in the history that is stored anyway: the versions of a pod
// say which of its slots changed, the commits since its birth how often they might have.
// So nothing is written to learn it, and it survives whatever the history does.
//
//  1. What is learned at a version is a function of the history up to the last
//     power of two of commits before it, so it is computed log n times in the life of a
//     database (and once after Open), and a process that opens it again learns the same, unless
//     retention has taken history away meanwhile: only what is kept counts.
//  2. A sample of pods is looked at, spread evenly over those there were, and the newest
//     versions of each. It takes some milliseconds, of pods of 64 KiB some tens.
//  3. It is advice: what cannot be read is left out, and no save fails for it.
const (
	leastHistory = 8  // commits from which on anything is learned
	ratedPods    = 32 // at least, of the pods that there are; at most about twice as many
	ratedBacks   = 8  // versions of each, the one that the others are compared with apart
	ratedMisses  = 16 // pods in a row that are not there end the search
)

// rateCache has what was learned, by line, for the newest power of two that was asked
// for there.
type rateCache struct {
	mu    sync.Mutex
	known map[uint32]learnedRates
}

type learnedRates struct {
	until Version
	rates *pod.Rates
}

var _ pod.RatedSink = (*Tx)(nil)

// Rates returns how often slots changed in the history of the transaction's base, nil
// if that is shorter than 8 commits. The result is shared and must not be changed. The error
// is ctx's, or ErrClosed.
func (t *Tx) Rates(ctx context.Context) (*pod.Rates, error) {
	if t.base.version < leastHistory || len(t.base.lineage) == 0 {
		return nil, nil
	}
	until := Version(1) << (bits.Len64(t.base.version) - 1)
	c, line := &t.s.rates, t.base.lineage[0].line
	c.mu.Lock()
	known, ok := c.known[line]
	c.mu.Unlock()
	if ok && known.until == until {
		return known.rates, nil
	}
	var rates *pod.Rates
	err := t.s.steady(ctx, func(v *view) (err error) {
		rates, err = v.rates(ctx, t.base.lineage, until)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	setIn(&c.known, line, learnedRates{until, rates})
	return rates, nil
}

// rates counts how often slots changed in a lineage up to a version.
func (v *view) rates(ctx context.Context, lineage []fork, until Version) (*pod.Rates, error) {
	end := v.s.published.Load().version + 1
	row, err := v.rowFrom(until, end)
	if err != nil || row == nil {
		return nil, ctx.Err() // nothing is known of that time
	}
	lineage = slices.Clone(lineage)
	for i := range lineage {
		lineage[i].number = min(lineage[i].number, row.last)
	}
	r := &pod.Rates{Commits: int(until), Slots: map[pod.RateKey]pod.Count{}}
	c := changeCounter{v: v, rates: r, until: until, end: end}
	for _, f := range v.ratedPods(lineage) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.count(ctx, f)
	}
	r.Together = c.together()
	return r, nil
}

// ratedPods returns the newest versions of pods of a lineage: of one in each stretch of
// ids as long as a power of two, the longest that gives enough.
func (v *view) ratedPods(lineage []fork) (list []found) {
	ids := v.s.published.Load().counters.pod
	for step := uint64(1) << bits.Len64(ids); step > 0; step /= 2 {
		list = list[:0]
		for from, misses := uint64(0), 0; from < ids && misses < ratedMisses && len(list) < 2*ratedPods; from += step {
			id := from + scatter(from+step)%step
			f, ok, err := v.resolve(lineage, pid(id))
			if misses++; err == nil && ok {
				f.env = bytes.Clone(f.env)
				list, misses = append(list, f), 0
			}
		}
		if len(list) >= ratedPods {
			return list
		}
	}
	return list
}

// scatter spreads numbers that have a pattern. (The finalizer of MurmurHash3.)
func scatter(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// newestVersions returns up to n versions of a pod on one line up to f, the newest first.
func (v *view) newestVersions(f found, n int) (list []found, err error) {
	from := versionKey(nil, f.pod, f.line, f.number)
	c := v.seek(from)
	for ; len(list) < n; c.next() {
		key, env, ok := c.at()
		if !ok || !bytes.HasPrefix(key, from[:versionKeyLen-8]) {
			break
		}
		_, _, number, ok := splitVersionKey(key)
		if !ok || len(env) == 0 {
			return nil, corrupt("version row %x", key)
		}
		if env[0] == envTombstone {
			break
		}
		list = append(list, found{f.pod, f.line, number, bytes.Clone(env)})
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, corrupt("version number %d of pod %d is gone", f.number, f.pod)
	}
	return list, nil
}

// changeCounter adds up changes of pods.
type changeCounter struct {
	v          *view
	rates      *pod.Rates
	until, end Version // of the history, and of all commits
	// Commits that changed a pod: seen, and expected if its slots changed independently,
	// or only when the one does that changes most.
	seen, apart, least float64
}

// count adds the changes of a pod's slots up to its version f. Slots that began later
// than the oldest version that is looked at are not counted.
func (c *changeCounter) count(ctx context.Context, f found) {
	versions, err := c.v.newestVersions(f, ratedBacks+1)
	if err != nil {
		return
	}
	oldest := versions[len(versions)-1]
	born, err := c.v.rowOfNumber(ctx, oldest.number, c.end)
	if err != nil || born.version >= c.until {
		return
	}
	first, err := c.v.buildBesideReclaim(oldest)
	if err != nil {
		return
	}
	changes, seen, before := make([]pod.Count, len(first.pod.Slots)), 0, first.pod
	for k := len(versions) - 2; k >= 0; k-- {
		now, err := c.v.buildBesideReclaim(versions[k])
		if err != nil {
			return
		}
		any := 0
		for s := range min(len(changes), len(before.Slots), len(now.pod.Slots)) {
			if !bytes.Equal(before.Slots[s].Bytes, now.pod.Slots[s].Bytes) {
				changes[s].Changes++
				changes[s].Bytes += pod.Differing(&before.Slots[s], &now.pod.Slots[s])
				any = 1
			}
		}
		seen, before = seen+any, now.pod
	}
	c.add(first.pod, changes, int(c.until-born.version))
	c.seen += float64(seen)
}

// add adds how often the slots of a pod changed in a number of commits.
func (c *changeCounter) add(p *pod.Pod, changes []pod.Count, commits int) {
	never, most := 1.0, 0
	for s, of := range changes {
		d := &p.Slots[s]
		if d.Kind == pod.SlotFree {
			continue
		}
		k := pod.RateKey{Kind: d.Kind, Type: d.Type}
		n, sum := of.Changes, c.rates.Slots[k]
		c.rates.Slots[k] = pod.Count{Changes: sum.Changes + n, Commits: sum.Commits + commits, Bytes: sum.Bytes + of.Bytes}
		never *= 1 - min(float64(n)/float64(commits), 1)
		most = max(most, n)
	}
	c.apart += float64(commits) * (1 - never)
	c.least += float64(most)
}

// priorTogether is how many commits of difference count as evidence.
const priorTogether = 4

// together returns pod.Rates.Together.
func (c *changeCounter) together() float64 {
	return max(0, min((c.apart-c.seen)/(c.apart-c.least+priorTogether), 1))
}
