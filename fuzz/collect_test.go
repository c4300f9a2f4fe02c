package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// collecting drives a bank on a database that crashes: transfers, drops and new
// references to shared objects, a namespace, collects, prunes, checkpoints, compaction.
// One goroutine does all of it, also within a collect, when it tells its progress; so
// a seed repeats.
type collecting struct {
	t   *testing.T
	ctx context.Context
	rng *rand.Rand
	*mint
	d    *db.DB
	slow []*slowTx // that began a while ago
	ns   *db.Namespace
	live map[string]*purse // of the namespace
	kept []*asset          // that it dropped and the program still holds
	busy bool              // a collect runs

	commits, collects, spared, pods, slots, prunes, crashes, images int
	lost, dangling, unreachable                                     int
}

// slowTx is a transaction that has read two purses.
type slowTx struct {
	tx       *db.Tx
	from, to *purse
	name     string
	before   effect
	message  string
}

func (c *collecting) open(fs *vfs.MemFS) (err error) {
	if c.d, err = db.Open(c.ctx, "collect.pod", c.options(fs)); err != nil {
		return err
	}
	c.slow, c.kept, c.live = nil, nil, map[string]*purse{}
	c.ns, err = c.d.Namespace(c.ctx, "main")
	return err
}

func (c *collecting) options(fs vfs.FS) *db.Options {
	o := seededOptions(fs, c.rng.Uint64()&0xffff)
	o.Types, o.PodTargetBytes = mintTypes(), []int{64, 256, 1024}[c.rng.IntN(3)]
	return o
}

// step does one thing at random.
func (c *collecting) step() error {
	switch n := c.rng.IntN(20); {
	case n < 9:
		iso := db.Serializable
		if c.rng.IntN(2) == 0 {
			iso = db.SnapshotIsolation
		}
		c.commits++
		return c.update(c.ctx, c.d, iso, c.act(c.rng))
	case n < 11:
		return c.beginSlow()
	case n < 13:
		return c.endSlow()
	case n < 16:
		return c.save()
	case c.busy:
		return nil
	case n < 18:
		return c.collect()
	}
	switch c.rng.IntN(6) {
	case 0:
		return c.d.Checkpoint(c.ctx)
	case 1:
		_, err := c.d.Compact(c.ctx)
		return err
	}
	c.prunes++
	_, err := c.d.Prune(c.ctx, db.PruneOptions{Policy: db.KeepLast(2 + c.rng.IntN(20)), DryRun: c.rng.IntN(4) == 0})
	return err
}

func (c *collecting) beginSlow() error {
	i, j := c.rng.IntN(purses), c.rng.IntN(purses)
	if i == j || len(c.slow) > 4 {
		return nil
	}
	s := &slowTx{name: purseName(j), message: c.id("slow"), before: newEffect()}
	iso := db.SnapshotIsolation
	if c.rng.IntN(3) == 0 {
		iso = db.Serializable
	}
	var err error
	if s.tx, err = c.d.Begin(c.ctx, db.TxOptions{Message: s.message, Isolation: iso}); err != nil {
		return err
	}
	if s.from, err = db.Get[*purse](c.ctx, s.tx, purseName(i)); err == nil {
		s.to, err = db.Get[*purse](c.ctx, s.tx, s.name)
	}
	if err != nil {
		return err
	}
	s.before.note(purseName(i), s.from)
	s.before.note(s.name, s.to)
	c.slow = append(c.slow, s)
	return nil
}

// endSlow stores a reference to what the transaction has read a while ago.
func (c *collecting) endSlow() error {
	if len(c.slow) == 0 {
		return nil
	}
	k := c.rng.IntN(len(c.slow))
	s := c.slow[k]
	c.slow = slices.Delete(c.slow, k, k+1)
	x := anyAsset(c.rng, s.from)
	if x == nil {
		return s.tx.Rollback()
	}
	s.to.Assets = append(s.to.Assets, x)
	e := newEffect()
	e.note(s.name, s.to)
	e.since(s.before)
	c.commits++
	return c.commit(c.ctx, s.tx, s.message, e)
}

// save changes the variables of the namespace, which nobody else does, and saves: it
// never conflicts.
func (c *collecting) save() error {
	n := fmt.Sprint("ns/", c.rng.IntN(kept))
	e, a := newEffect(), c.live[n]
	before := newEffect()
	for m, x := range c.live {
		before.note(m, x)
	}
	switch what := c.rng.IntN(5); {
	case a == nil:
		a = &purse{}
		c.live[n] = a
		if err := c.ns.Set(c.ctx, n, a); err != nil {
			return err
		}
	case what == 0:
		delete(c.live, n)
		c.kept = append(c.kept, a.Assets...)
		if err := c.ns.Delete(c.ctx, n); err != nil {
			return err
		}
		e.purses[n] = ""
	case what == 1 && len(a.Assets) > 0:
		c.kept = append(c.kept, a.Assets[0])
		a.Assets = slices.Clone(a.Assets[1:])
	case what == 2 && len(c.kept) > 0:
		k := c.rng.IntN(len(c.kept))
		x := c.kept[k]
		c.kept = nil
		for y := x; y != nil; y = y.Next { // another object to the model: it may have been collected
			y.ID = c.id("k")
		}
		a.Assets = append(a.Assets, x)
	default:
		a.Assets = append(a.Assets, &asset{ID: c.id("n"), Next: &asset{ID: c.id("n"), Value: 1}})
	}
	for m, x := range c.live {
		e.note(m, x)
	}
	e.since(before)
	message := c.id("save")
	c.begin(message, e)
	base := c.ns.Base()
	v, err := c.ns.Save(c.ctx, db.SaveOptions{Message: message})
	if errors.Is(err, db.ErrConflict) {
		return fmt.Errorf("a namespace that nobody else touches: %v", err) // not a conflict to the model
	}
	if _, known := c.effects[v]; err == nil && (v == base || known) {
		c.end(message, v, db.ErrConflict)
		return nil
	}
	c.end(message, v, err)
	return err
}

// collect runs a collect, with other things in between, and sometimes ends it early.
func (c *collecting) collect() error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.busy = true
	defer func() { c.busy = false }()
	var inner error
	rep, err := c.d.Collect(ctx, db.CollectOptions{DryRun: c.rng.IntN(8) == 0, Progress: func(db.CollectProgress) {
		for c.rng.IntN(2) == 0 && inner == nil {
			inner = c.step()
		}
		if inner != nil || c.rng.IntN(12) == 0 {
			cancel()
		}
	}})
	c.collects++
	c.spared += int(rep.Spared)
	c.pods += int(rep.Pods)
	c.slots += int(rep.Slots)
	if inner != nil {
		return inner
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// check compares all that is kept with the model, and counts what is wrong.
func (c *collecting) check(newest db.Version) error {
	head, err := c.d.Head(c.ctx, "main")
	if err != nil {
		return err
	}
	if head < newest {
		c.lost++
		return fmt.Errorf("head is %d, version %d was acknowledged", head, newest)
	}
	for v := db.Version(1); v <= head; v++ {
		if err := c.checkVersion(v); err != nil {
			c.lost++
			return fmt.Errorf("version %d: %w", v, err)
		}
	}
	c.unknown = map[string]effect{}
	return c.verify(false)
}

// checkVersion settles the outcome of a version's commit, and compares it.
func (c *collecting) checkVersion(v db.Version) error {
	commit, err := c.d.CommitOf(c.ctx, v)
	if errors.Is(err, db.ErrVersionGone) {
		return nil
	}
	if err != nil {
		return err
	}
	if e, ok := c.unknown[commit.Message]; ok && commit.Message != "" {
		c.effects[v] = e
	}
	return c.compare(c.ctx, c.d, v)
}

// verify counts what Verify finds; empty says that nothing unreachable may be left.
func (c *collecting) verify(empty bool) error {
	rep, err := c.d.Verify(c.ctx, db.VerifyOptions{Deep: true})
	if err != nil {
		return err
	}
	if len(rep.Problems) > 0 {
		c.dangling += len(rep.Problems)
		return fmt.Errorf("verify: %v", rep.Problems)
	}
	if empty && rep.Unreachable+rep.UnreachableSlots > 0 {
		c.unreachable += int(rep.Unreachable + rep.UnreachableSlots)
		return fmt.Errorf("%d pods and %d slots are unreachable after a collect", rep.Unreachable, rep.UnreachableSlots)
	}
	return nil
}

// tidy collects and prunes with nobody else there.
func (c *collecting) tidy() error {
	for _, s := range c.slow {
		if err := s.tx.Rollback(); err != nil {
			return err
		}
	}
	c.slow = nil
	for i := range 2 { // the first may be one that was begun before
		if _, err := c.d.Collect(c.ctx, db.CollectOptions{}); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		if err := c.verify(true); err != nil {
			return err
		}
	}
	if _, err := c.d.Prune(c.ctx, db.PruneOptions{Policy: db.KeepLast(3)}); err != nil {
		return err
	}
	if _, err := c.d.Compact(c.ctx); err != nil {
		return err
	}
	return c.verify(true)
}

// epoch runs until a crash, and goes on from an image of it.
func (c *collecting) epoch(fs *vfs.MemFS, steps, crash int) (*vfs.MemFS, error) {
	if crash > 0 {
		fs.CrashAt(fs.Ops() + crash)
	}
	err := c.open(fs)
	for i := 0; i < steps && err == nil; i++ {
		err = c.step()
	}
	if err == nil {
		if err = c.check(c.newest()); err == nil {
			err = c.tidy()
		}
	}
	if c.d != nil {
		if closed := c.d.Close(); err == nil {
			err = closed
		}
	}
	if err != nil && !errors.Is(err, vfs.ErrCrashed) {
		return nil, err
	}
	c.crashes++
	var next *vfs.MemFS
	acked := c.newest()
	for i, image := range imagesOf(fs, 2, c.rng.Uint64()) {
		c.images++
		from := image.Crash(vfs.CrashKeepAll, 0)
		if err := c.recover(image, acked); err != nil {
			return nil, fmt.Errorf("image %d: %w", i, err)
		}
		if next == nil || c.rng.IntN(3) == 0 {
			next = from
		}
	}
	// What is only in images that were not chosen never happened.
	before := c.effects
	c.effects = map[db.Version]effect{}
	for v, e := range before {
		if v <= acked {
			c.effects[v] = e
		}
	}
	return next, c.recoverInto(next)
}

// recover opens an image and checks it, with the outcomes that it shows.
func (c *collecting) recover(image *vfs.MemFS, acked db.Version) error {
	effects, unknown := c.effects, c.unknown
	defer func() { c.effects, c.unknown = effects, unknown }()
	c.effects = map[db.Version]effect{}
	for v, e := range effects {
		c.effects[v] = e
	}
	if err := c.open(image); err != nil {
		return err
	}
	defer c.d.Close()
	if err := c.check(acked); err != nil {
		return err
	}
	return c.tidy()
}

// recoverInto takes over the outcomes that an image shows.
func (c *collecting) recoverInto(image *vfs.MemFS) error {
	if err := c.open(image); err != nil {
		return err
	}
	if err := c.check(0); err != nil {
		return err
	}
	return c.d.Close()
}

// TestCollect is the campaign of collect: nothing that was acknowledged is lost,
// nothing refers to what is not there, nothing unreachable is left. -rounds sets the
// number of crashes.
func TestCollect(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	if *flagRounds > 0 {
		rounds = *flagRounds
	}
	c := &collecting{t: t, ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, 17)), mint: newMint()}
	fs := vfs.NewMem()
	if err := c.open(fs); err != nil {
		t.Fatal(err)
	}
	if err := c.found(c.ctx, c.d); err != nil {
		t.Fatal(err)
	}
	if err := c.d.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		crash := 20 + c.rng.IntN(600)
		if round%4 == 3 {
			crash = 0
		}
		var err error
		if fs, err = c.epoch(fs, 150, crash); err != nil {
			t.Errorf("round %d, crash at operation %d: %v\n%s", round, crash, err, replay(t, "-rounds %d", rounds))
			break
		}
	}
	t.Logf("CAMPAIGN name=collect seed=%d rounds=%d commits=%d collects=%d pods=%d slots=%d spared=%d prunes=%d crashes=%d images=%d lost=%d dangling=%d unreachable=%d",
		*flagSeed, rounds, c.commits, c.collects, c.pods, c.slots, c.spared, c.prunes, c.crashes, c.images, c.lost, c.dangling, c.unreachable)
	if !t.Failed() && !testing.Short() && (c.spared == 0 || c.pods == 0 || c.slots <= c.pods) {
		t.Errorf("spared %d, took away %d pods and %d slots: the campaign proves nothing", c.spared, c.pods, c.slots)
	}
}

// Several goroutines on one bank, with collects and prunes beside them; of use
// under the race detector above all.
func TestCollectBesideCommitters(t *testing.T) {
	ctx := context.Background()
	o := dbOptions(vfs.NewMem())
	o.Types = mintTypes()
	d, err := db.Open(ctx, "collect.pod", o)
	if err != nil {
		t.Fatal(err)
	}
	b := newMint()
	if err := b.found(ctx, d); err != nil {
		t.Fatal(err)
	}
	n := 60
	if testing.Short() {
		n = 15
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range uint64(4) {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(*flagSeed, w))
			for range n {
				iso := []db.Isolation{db.Serializable, db.SnapshotIsolation}[r.IntN(2)]
				if err := b.update(ctx, d, iso, b.act(r)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var upkeep sync.WaitGroup
	beside := func(fn func() error) {
		upkeep.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	beside(func() error { _, err := d.Collect(ctx, db.CollectOptions{}); return err })
	beside(func() error {
		_, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(20)})
		return err
	})
	wg.Wait()
	close(stop)
	upkeep.Wait()
	c := &collecting{t: t, ctx: ctx, rng: rand.New(rand.NewPCG(*flagSeed, 9)), mint: b, d: d}
	if err := c.check(b.newest()); err != nil {
		t.Fatal(err)
	}
	if err := c.tidy(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
