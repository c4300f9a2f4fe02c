package fuzz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/fuzz/graph"
	"github.com/poddb/poddb/internal/vfs"
)

const (
	boundedGraphs = 120
	// weakEvery and bigEvery are how often a graph has weak pointers, and how often
	// containers that are stored in chunks.
	weakEvery, bigEvery = 10, 20
	// graphsOfFamily is how many graphs in a row have the same types.
	graphsOfFamily = 20
	// collectEvery is how often a graph is saved and loaded with the collector
	// at work all the time.
	collectEvery = 50
)

// TestGraph saves random graphs over random types, changes them and saves again,
// and compares every version with what it was, each time: whole, in parts, through
// other namespaces, after Close and Open, after Checkout. A load followed by a
// save must write nothing.
func TestGraph(t *testing.T) {
	total := boundedGraphs
	switch {
	case *flagGraphs > 0:
		total = *flagGraphs
	case testing.Short():
		total /= 10
	}
	var count graphCounts
	first, end := int64(0), int64(total)
	if *flagCase >= 0 {
		first, end = int64(*flagCase), int64(*flagCase+1)
	}
	// Those that want the collector at work all the time run first: it is at work for the whole
	// process, which keeps the types of all graphs before.
	for _, harassed := range []bool{true, false} {
		percent := seldom
		if harassed {
			percent = 1
			runtime.GC()
		}
		restore := debug.SetGCPercent(percent)
		count.run(t, first, end, harassed)
		debug.SetGCPercent(restore)
	}
	t.Logf("CAMPAIGN name=graph seed=%d graphs=%d versions=%d comparisons=%d parts=%d reopened=%d restored=%d objects=%d moved=%d mismatches=%d", *flagSeed,
		end-first, count.versions.Load(), count.comparisons.Load(), count.parts.Load(), count.reopened.Load(), count.restored.Load(), count.objects.Load(), count.moved.Load(), count.mismatches.Load())
	if end-first >= 100 && (count.versions.Load() < 2*(end-first) || count.parts.Load() == 0 || count.reopened.Load() == 0 || count.restored.Load() == 0) {
		t.Error("hardly anything was done: the campaign proves nothing")
	}
}

// maxMismatches ends a campaign that has found enough.
const maxMismatches = 20

// seldom is how much the heap grows between collections where nobody asks for more.
const seldom = 400

type graphCounts struct {
	versions, comparisons, parts, reopened, restored, objects, moved, mismatches atomic.Int64
}

// run runs the graphs of a campaign from first to end that want the collector at
// work all the time, or those that do not.
func (c *graphCounts) run(t *testing.T, first, end int64, harassed bool) {
	var next atomic.Int64
	next.Store(first / graphsOfFamily)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			comparer := graph.NewComparer()
			for {
				block := next.Add(1) - 1
				from, to := max(first, block*graphsOfFamily), min(end, (block+1)*graphsOfFamily)
				if from >= to || c.mismatches.Load() >= maxMismatches {
					return
				}
				var family *graph.Family
				if block%100 == 99 && !harassed {
					t.Logf("at graph %d: %d versions, %d mismatches", from, c.versions.Load(), c.mismatches.Load())
				}
				for n := from; n < to; n++ {
					if harassed != (n%collectEvery == 17) {
						continue
					}
					if family == nil {
						family = graph.NewFamily(*flagSeed<<20 ^ uint64(block))
					}
					if err := runGraph(t.Context(), family, comparer, *flagSeed, n, c); err != nil {
						c.mismatches.Add(1)
						t.Errorf("graph %d: %v\n%s", n, err, replay(t, "-case %d", n))
					}
				}
			}
		})
	}
	workers.Wait()
}

// graphRun is one graph of the campaign: a database, a namespace whose live
// variables are those of a world, and every version as it was loaded right after
// its save, when it was compared with the live one.
type graphRun struct {
	ctx      context.Context
	rng      *rand.Rand
	count    *graphCounts
	comparer *graph.Comparer
	opts     *db.Options
	d        *db.DB
	ns       *db.Namespace
	world    *graph.World
	past     []pastVersion
	trace    []string
	ended    bool // a conversion has changed what is live
	// harass runs between steps.
	harass func()
}

type pastVersion struct {
	version db.Version
	vars    []graph.Variable
	orders  graph.Orders
}

// runGraph runs graph n of a campaign.
func runGraph(ctx context.Context, family *graph.Family, comparer *graph.Comparer, seed uint64, n int64, count *graphCounts) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	rng := rand.New(rand.NewPCG(seed, uint64(n)))
	g := &graphRun{ctx: ctx, rng: rng, count: count, comparer: comparer, world: graph.NewWorld(rng, family), harass: func() {}}
	g.world.Limits.Large = n%40 == 13
	g.world.Limits.Variables = 2 + rng.IntN(9)
	g.world.Limits.Weak = n%weakEvery == 4
	g.opts = seededOptions(vfs.NewMem(), seed^uint64(n)<<8)
	g.opts.Types = graphTypes(family)
	g.opts.PodTargetBytes = 100 << rng.IntN(8)
	if n%bigEvery == 6 {
		g.opts.PodTargetBytes = 1 << (10 + rng.IntN(4))
		g.world.Limits.Big = 8 * g.opts.PodTargetBytes
	}
	if n%collectEvery == 17 {
		g.harass = runtime.GC
	}
	if err := g.open(); err != nil {
		return err
	}
	defer func() { _ = g.d.Close() }() // the second time, if all went well
	err = g.run(n)
	if err != nil {
		return fmt.Errorf("%w\nafter %v", err, g.trace)
	}
	return g.d.Close()
}

func graphTypes(family *graph.Family) db.TypeSet {
	var entries []db.TypeEntry
	for i, t := range family.Named {
		name := ""
		if i%3 == 0 {
			name = fmt.Sprint("type", i)
		}
		entries = append(entries, db.TypeOf(t, name))
	}
	entries = append(entries, db.Handle[graph.Place]())
	for name, v := range graph.Values() {
		entries = append(entries, db.Value(name, v))
	}
	return db.Types(entries...)
}

func (g *graphRun) open() (err error) {
	if g.d, err = db.Open(g.ctx, "graph.pod", g.opts); err != nil {
		return err
	}
	g.ns, err = g.d.Namespace(g.ctx, "main")
	return err
}

func (g *graphRun) note(format string, args ...any) {
	g.trace = append(g.trace, fmt.Sprintf(format, args...))
	g.harass()
}

func (g *graphRun) run(n int64) error {
	size := 3 + g.rng.IntN(20)
	switch {
	case n%40 == 13:
		size *= 10
	case n%8 == 3:
		size *= 4
	}
	for range 2 + g.rng.IntN(5) {
		if g.ended {
			break
		}
		if err := g.mutateAndSave(size); err != nil {
			return err
		}
		size = 1 + g.rng.IntN(size+20)
		if err := g.something(); err != nil {
			return err
		}
	}
	if n%10 == 0 {
		return g.tools()
	}
	return nil
}

// something is one of the things that happen between saves.
func (g *graphRun) something() error {
	switch g.rng.IntN(8) {
	case 0, 1:
		return g.reopen()
	case 2, 3:
		return g.checkout()
	case 4, 5:
		return g.saveThroughPart()
	case 6:
		g.note("checkpoint")
		return g.d.Checkpoint(g.ctx)
	}
	return nil
}

// mutateAndSave changes the world and saves it.
func (g *graphRun) mutateAndSave(steps int) error {
	g.note("mutate %d", steps)
	bound, gone := g.world.Mutate(steps)
	for _, name := range gone {
		if err := g.ns.Delete(g.ctx, name); err != nil && !errors.Is(err, db.ErrNotFound) {
			return err
		}
	}
	for _, v := range bound {
		if err := g.ns.Set(g.ctx, v.Name, v.Value.Interface()); err != nil {
			return err
		}
	}
	return g.save()
}

// save saves the live variables and checks everything that was ever saved.
func (g *graphRun) save() error {
	g.note("save")
	v, err := g.ns.Save(g.ctx)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return g.saved(v)
}

// saved checks version v, which is what the world is.
func (g *graphRun) saved(v db.Version) error {
	g.count.versions.Add(1)
	g.count.objects.Add(int64(g.ns.LastSave().Objects))
	g.count.moved.Add(int64(g.ns.LastSave().SlotsMoved))
	vars, err := g.load(v, nil)
	if err != nil {
		return fmt.Errorf("load of version %d: %w", v, err)
	}
	twins, err := g.compare(g.world.Variables(), vars)
	if err != nil {
		return fmt.Errorf("version %d, live and loaded: %w", v, err)
	}
	g.past = append(g.past, pastVersion{version: v, vars: vars, orders: g.world.Orders().Follow(twins)})
	if err := g.quiet(g.ns, "again"); err != nil {
		return err
	}
	for i, p := range g.past {
		if err := g.checkPast(p, i == len(g.past)-1); err != nil {
			return fmt.Errorf("after version %d: %w", v, err)
		}
	}
	return g.loadThenSave()
}

func (g *graphRun) compare(a, b []graph.Variable) (*graph.Twins, error) {
	g.count.comparisons.Add(1)
	return g.comparer.Compare(a, b)
}

// load reads variables of a version, all if names is nil.
func (g *graphRun) load(v db.Version, names map[string]bool) ([]graph.Variable, error) {
	s, err := g.d.At(g.ctx, v)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return g.read(s, names)
}

type loader interface {
	Load(context.Context, any) error
}

func (g *graphRun) read(l loader, names map[string]bool) ([]graph.Variable, error) {
	var all map[string]any
	if names != nil {
		all = map[string]any{}
		for n := range names {
			all[n] = nil
		}
	}
	if err := l.Load(g.ctx, &all); err != nil {
		return nil, err
	}
	var vars []graph.Variable
	for _, n := range sortedNames(all) {
		vars = append(vars, graph.Variable{Name: n, Value: reflect.ValueOf(all[n])})
	}
	g.harass()
	return vars, nil
}

// some chooses a part of the variables.
func (g *graphRun) some(vars []graph.Variable) (names map[string]bool, part []graph.Variable) {
	names = map[string]bool{}
	for i, v := range vars {
		if g.rng.IntN(2) == 0 || i == len(vars)-1 && len(names) == 0 {
			names[v.Name] = true
			part = append(part, v)
		}
	}
	return names, part
}

// checkPast loads a version whole and in part. The newest was loaded whole just now,
// and will be again by another namespace.
func (g *graphRun) checkPast(p pastVersion, newest bool) error {
	if !newest {
		vars, err := g.load(p.version, nil)
		if err == nil {
			_, err = g.compare(p.vars, vars)
		}
		if err != nil {
			return fmt.Errorf("version %d: %w", p.version, err)
		}
	}
	names, want := g.some(p.vars)
	if len(names) == 0 || g.rng.IntN(2) == 0 {
		return nil
	}
	got, err := g.load(p.version, names)
	if err == nil {
		_, err = g.compare(want, got)
	}
	if err != nil {
		return fmt.Errorf("version %d, only %v: %w", p.version, sortedNames(names), err)
	}
	return nil
}

// quiet saves a namespace that has not changed.
func (g *graphRun) quiet(ns *db.Namespace, when string) error {
	base := ns.Base()
	v, err := ns.Save(g.ctx)
	if err != nil {
		return fmt.Errorf("save %s: %w", when, err)
	}
	if v != base {
		return fmt.Errorf("a save %s wrote version %d (%d pods, %d bytes), though nothing has changed since %d", when, v, ns.LastSave().PodsWritten, ns.LastSave().Bytes, base)
	}
	return nil
}

// loadThenSave loads the newest version into another namespace, all variables
// at once or one after the other, and saves it.
func (g *graphRun) loadThenSave() error {
	ns, err := g.d.Namespace(g.ctx, "main")
	if err != nil {
		return err
	}
	head := g.past[len(g.past)-1].vars
	if g.rng.IntN(2) == 0 && len(head) > 0 {
		for _, i := range g.rng.Perm(len(head)) {
			names := map[string]bool{head[i].Name: true}
			if _, err := g.read(ns, names); err != nil {
				return fmt.Errorf("load of %v after others: %w", sortedNames(names), err)
			}
			if g.rng.IntN(2) == 0 {
				if err := g.quiet(ns, "after a load of some variables"); err != nil {
					return err
				}
			}
		}
	}
	vars, err := g.read(ns, nil)
	if err == nil {
		_, err = g.compare(head, vars)
	}
	if err != nil {
		return fmt.Errorf("another namespace: %w", err)
	}
	return g.quiet(ns, "after a load")
}

// reopen closes the database, opens it again and goes on with what is loaded.
func (g *graphRun) reopen() error {
	g.note("reopen")
	if err := g.d.Close(); err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	g.count.reopened.Add(1)
	if err := g.adopt(g.past[len(g.past)-1], false); err != nil {
		return fmt.Errorf("reopened: %w", err)
	}
	return g.quiet(g.ns, "after reopening")
}

// adopt goes on with the live variables of the namespace, which are p's.
func (g *graphRun) adopt(p pastVersion, keep bool) error {
	vars, err := g.read(g.ns, nil)
	if err != nil {
		return err
	}
	twins, err := g.compare(p.vars, vars)
	if err != nil {
		return err
	}
	g.world.Adopt(vars, p.orders.Follow(twins), keep)
	return nil
}

// checkout brings an earlier version back, in place, and saves it as the newest.
func (g *graphRun) checkout() error {
	p := g.past[g.rng.IntN(len(g.past))]
	g.note("checkout %d", p.version)
	now := map[string]reflect.Type{} // what the namespace has
	for _, v := range g.world.Variables() {
		now[v.Name] = v.Value.Type()
	}
	if g.rng.IntN(3) == 0 {
		g.world.Mutate(5) // given up by force
	}
	if err := g.ns.Checkout(g.ctx, p.version, db.CheckoutOptions{Force: true}); err != nil {
		return fmt.Errorf("checkout of %d: %w", p.version, err)
	}
	g.count.restored.Add(1)
	if ok, err := g.keptTypes(p, now); !ok || err != nil {
		return err
	}
	if err := g.adopt(p, g.rng.IntN(2) == 0); err != nil {
		return fmt.Errorf("checkout of %d: %w", p.version, err)
	}
	return g.save()
}

// keptTypes is false if a variable that had another type then kept the one that
// it has now, because what was stored converts to it. Such a graph ends here.
func (g *graphRun) keptTypes(p pastVersion, now map[string]reflect.Type) (bool, error) {
	vars, err := g.read(g.ns, nil)
	if err != nil {
		return false, err
	}
	for i, v := range vars {
		if i < len(p.vars) && v.Name == p.vars[i].Name && v.Value.Type() != p.vars[i].Value.Type() && v.Value.Type() == now[v.Name] {
			g.ended = true
		}
	}
	return !g.ended, nil
}

// saveThroughPart changes and saves some variables in a namespace that never
// loads the others. What the others share with them must have changed with
// them, and nothing else: a copy of the whole is changed in the same way.
func (g *graphRun) saveThroughPart() error {
	p := g.past[len(g.past)-1]
	if len(p.vars) < 2 || g.world.Limits.Weak { // where a part keeps what the whole does not hold
		return nil
	}
	names, _ := g.some(p.vars)
	g.note("save of %v alone", sortedNames(names))
	ns, err := g.d.Namespace(g.ctx, "main")
	if err != nil {
		return err
	}
	live, twins, err := g.world2(p, p.orders, func() ([]graph.Variable, error) { return g.read(ns, names) }, names)
	if err != nil {
		return err
	}
	if twins.Chosen { // what looks alike here may not do so in the whole
		return nil
	}
	whole, all, err := g.world2(p, p.orders.Seen(twins), func() ([]graph.Variable, error) { return g.load(p.version, nil) }, nil)
	if err != nil {
		return err
	}
	g.count.parts.Add(1)
	var vars []graph.Variable
	var v db.Version
	for range 1 + g.rng.IntN(4) {
		seed := g.rng.Uint64()
		one, other := live.Part(rand.New(rand.NewPCG(seed, 5)), names), whole.Part(rand.New(rand.NewPCG(seed, 5)), names)
		one.ChangeOne()
		other.ChangeOne()
		if v, err = ns.Save(g.ctx); err != nil {
			return fmt.Errorf("save of %v alone: %w", sortedNames(names), err)
		}
		if vars, err = g.load(v, nil); err == nil {
			_, err = g.compare(whole.Variables(), vars)
		}
		if err != nil {
			return fmt.Errorf("version %d, after a save of %v alone: %w", v, sortedNames(names), err)
		}
	}
	// Go on with everything.
	if g.ns, err = g.d.Namespace(g.ctx, "main"); err != nil {
		return err
	}
	if twins, err = g.compare(whole.Variables(), vars); err != nil {
		return err
	}
	orders := whole.Orders().With(p.orders.Follow(all))
	if err := g.adopt(pastVersion{v, vars, orders.Follow(twins)}, false); err != nil {
		return fmt.Errorf("after a save of %v alone: %w", sortedNames(names), err)
	}
	return g.saved(v)
}

// world2 makes a world of variables that are isomorphic to p's, with those orders of
// p's maps, and says how they correspond.
func (g *graphRun) world2(p pastVersion, orders graph.Orders, read func() ([]graph.Variable, error), names map[string]bool) (*graph.World, *graph.Twins, error) {
	vars, err := read()
	if err != nil {
		return nil, nil, err
	}
	var want []graph.Variable
	for _, v := range p.vars {
		if names == nil || names[v.Name] {
			want = append(want, v)
		}
	}
	twins, err := g.compare(want, vars)
	if err != nil {
		return nil, nil, fmt.Errorf("version %d, only %v: %w", p.version, sortedNames(names), err)
	}
	w := g.world.Part(g.rng, nil)
	w.Adopt(vars, orders.Follow(twins), true)
	return w, twins, nil
}

// tools reads everything without the program's types, and verifies the file.
func (g *graphRun) tools() error {
	p := g.past[len(g.past)-1]
	s, err := g.d.At(g.ctx, p.version)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, v := range p.vars {
		if err := s.WriteJSON(g.ctx, io.Discard, v.Name, db.JSONOptions{}); err != nil {
			return fmt.Errorf("JSON of %s: %w", v.Name, err)
		}
	}
	rep, err := g.d.Verify(g.ctx, db.VerifyOptions{Deep: true})
	if err == nil && len(rep.Problems) > 0 {
		err = fmt.Errorf("verify: %v", rep.Problems)
	}
	return err
}
