package mvcc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// pruneRun is the model with retention: which versions are gone, and who keeps
// others.
type pruneRun struct {
	*model
	t    *testing.T
	rng  *rand.Rand
	fs   *vfs.MemFS
	o    Options
	s    *Store
	gone map[Version]bool
	open []*Snapshot
	held []*modelTx
}

// toKeep is what Prune must keep.
func (p *pruneRun) toKeep(last int) map[Version]bool {
	keep := map[Version]bool{0: true}
	for branch, head := range p.heads {
		keep[head], keep[p.base[branch]], keep[p.origin[branch]] = true, true, true
		n := last
		for v := head; v > p.base[branch] && n > 0; v-- {
			if p.versions[v].branch == branch && !p.gone[v] {
				keep[v] = true
				n--
			}
		}
	}
	for _, sn := range p.open {
		keep[sn.Version()] = true
	}
	for _, x := range p.held {
		keep[x.base] = true
	}
	return keep
}

func (p *pruneRun) prune() {
	p.t.Helper()
	last := 1 + p.rng.IntN(12)
	keep := p.toKeep(last)
	var would PruneReport
	dry := p.rng.IntN(2) == 0
	if dry {
		would = must(p.s.Prune(bg, PruneOptions{KeepLast: last, DryRun: true}))(p.t)
	}
	ctx, cancel := context.WithCancel(bg)
	defer cancel()
	stop := uint64(1 << 30)
	if p.rng.IntN(2) == 0 {
		stop = uint64(p.rng.IntN(60))
	}
	rep, err := p.s.Prune(ctx, PruneOptions{KeepLast: last, Progress: func(done, _ uint64) {
		if done >= stop {
			cancel()
		}
	}})
	if err != nil && !errors.Is(err, context.Canceled) {
		p.t.Fatalf("Prune: %v", err)
	}
	n := uint64(0)
	for v := range p.versions {
		if v := Version(v); !keep[v] && !p.gone[v] {
			p.gone[v] = true
			n++
		}
	}
	if rep.Versions != n || dry && (would.Versions != n || err == nil && would.PodVersions != rep.PodVersions+rep.Pending) {
		p.t.Fatalf("pruned %+v, would have %+v, expected %d versions", rep, would, n)
	}
	verifyClean(p.t, p.s)
}

func (p *pruneRun) checkOne(v Version) {
	p.t.Helper()
	if !p.gone[v] {
		p.check(p.t, p.s, v)
		return
	}
	if _, err := p.s.At(bg, v); !errors.Is(err, dberr.ErrVersionGone) {
		p.t.Fatalf("At retired version %d: %v", v, err)
	}
}

func (p *pruneRun) checkEverything() {
	p.t.Helper()
	for v := range p.versions {
		p.checkOne(Version(v))
	}
	for _, sn := range p.open {
		p.check(p.t, p.s, sn.Version())
	}
	for branch := range p.heads {
		p.checkLog(branch)
	}
}

// checkLog compares a branch's history.
func (p *pruneRun) checkLog(branch string) {
	p.t.Helper()
	var want, got []Version
	for v := p.heads[branch]; v > 0; v-- {
		c := p.versions[v]
		if c.branch != branch {
			continue
		}
		if v == p.base[branch] {
			break
		}
		if !p.gone[v] && v > p.base[branch] {
			want = append(want, v)
		}
	}
	for c, err := range p.s.Log(bg, branch) {
		if err != nil {
			p.t.Fatal(err)
		}
		if c.Branch != branch {
			break
		}
		got = append(got, c.Version)
		if m := p.versions[c.Version]; c.Pods != len(m.wrote) {
			p.t.Fatalf("version %d wrote %d pods, expected %d", c.Version, c.Pods, len(m.wrote))
		}
	}
	if !slices.Equal(got, want) {
		p.t.Fatalf("log of %s is %v, expected %v", branch, got, want)
	}
}

func (p *pruneRun) reopen(s Options) {
	p.t.Helper()
	p.open, p.held = nil, nil
	p.o = s
	p.s = mustOpen(p.t, p.o)
	p.s.retireWeight, p.s.queueChunk, p.s.windowRows = uint64(20+p.rng.IntN(400)), 1+p.rng.IntN(40), 1+p.rng.IntN(8)
}

func (p *pruneRun) crash() {
	p.t.Helper()
	kinds := []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix}
	image := p.fs.Crash(pick(p.rng, kinds), p.rng.Uint64())
	p.s.Close()
	p.fs = image
	o := p.o
	o.FS = image
	p.reopen(o)
	if newest := p.s.published.Load().version; newest != Version(len(p.versions)-1) {
		p.t.Fatalf("newest version after a crash is %d, acknowledged %d", newest, len(p.versions)-1)
	}
	verifyClean(p.t, p.s)
}

func (p *pruneRun) branch() {
	p.t.Helper()
	name := fmt.Sprintf("b%d", len(p.heads))
	at := Version(p.rng.IntN(len(p.versions)))
	err := p.s.CreateBranch(bg, name, at)
	if p.gone[at] != errors.Is(err, dberr.ErrVersionGone) || !p.gone[at] && err != nil {
		p.t.Fatalf("branch at %d, gone %v: %v", at, p.gone[at], err)
	}
	if err == nil {
		p.branched(p.t, p.s, name, at)
	}
}

// step does one random thing.
func (p *pruneRun) step() {
	p.t.Helper()
	switch r := p.rng.IntN(100); {
	case r < 3:
		if err := p.s.Checkpoint(bg); err != nil {
			p.t.Fatal(err)
		}
	case r < 5:
		if err := p.s.Close(); err != nil {
			p.t.Fatal(err)
		}
		p.reopen(p.o)
	case r < 7:
		p.crash()
	case r < 10 && len(p.heads) < maxBranches(p.o):
		p.branch()
	case r < 13:
		p.prune()
	case r < 17:
		if v := Version(p.rng.IntN(len(p.versions))); !p.gone[v] {
			p.open = append(p.open, must(p.s.At(bg, v))(p.t))
		}
	case r < 20 && len(p.open) > 0:
		i := p.rng.IntN(len(p.open))
		p.open[i].Close()
		p.open = slices.Delete(p.open, i, i+1)
	case r < 26:
		p.checkOne(Version(p.rng.IntN(len(p.versions))))
	case r < 34 && len(p.held) > 0:
		x := p.held[0]
		p.held = p.held[1:]
		x.commit(p.t)
	default:
		branch := pick(p.rng, slices.Sorted(maps.Keys(p.heads)))
		base := p.pickBase(p.rng, branch)
		if p.gone[base] {
			base = p.heads[branch]
		}
		x := p.begin(p.t, p.s, p.rng, branch, base)
		x.fill(p.t)
		if r > 92 {
			p.held = append(p.held, x)
			return
		}
		x.commit(p.t)
	}
}

// Commits, branches, snapshots, transactions left open, checkpoints, crashes and
// prunes in any order: what is kept equals the model, what is not is gone.
func TestPrunedDatabaseEqualsTheModel(t *testing.T) {
	seeds := []uint64{*seedFlag}
	if *seedFlag == 0 {
		seeds = []uint64{1, 2, 3, 4, 5, 6}
		if testing.Short() {
			seeds = seeds[:2]
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("replay: go test ./mvcc -run 'TestPrunedDatabaseEqualsTheModel' -mvcc.seed=%d -mvcc.steps=%d", seed, *stepsFlag)
				}
			}()
			p := &pruneRun{model: newModel(), t: t, rng: rand.New(rand.NewPCG(seed, 8)), fs: newFS(t), gone: map[Version]bool{}}
			o := testOptions(p.fs)
			if seed%3 == 0 {
				o.MemoryBytes = 8 << 20
			}
			if seed%2 == 0 {
				o.maxLineage = int(1 + seed/2%3)
			}
			p.reopen(o)
			for range 2 * *stepsFlag {
				p.step()
			}
			p.prune()
			p.checkEverything()
			if err := p.s.Close(); err != nil {
				t.Fatal(err)
			}
			p.reopen(p.o)
			p.checkEverything()
			verifyClean(t, p.s)
			t.Logf("%d of %d versions are gone; %+v", len(p.gone), len(p.versions)-1, p.s.Stats().PodVersions)
			if err := p.s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
